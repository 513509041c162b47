"""GitLab's and GHCR's ways to answer, before a registry of the tests: all ways in agree on what is attached."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from slsa_verifier_plugin.checking.status import Status
from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import Reason, RegistryError
from slsa_verifier_plugin.registry.reference import Reference
from slsa_verifier_plugin.registry.settings import StoreSettings
from slsa_verifier_plugin.registry.store import RegistryStore
from tests.support.agreement import said_of
from tests.support.command_line import ARTIFACT_TYPE, LEVEL_3, cli, verifier, write_yaml
from tests.support.embedded_registry import EmbeddedRegistry
from tests.support.fronts import (
    INDEX_TYPE,
    NOT_FOUND,
    Answer,
    Front,
    Manner,
    ghcr_empty,
    ghcr_missing,
    gitlab,
    retyped,
)

pytestmark = pytest.mark.server("GitLab's and GHCR's ways, before a registry")

HTTP = StoreSettings(use_http=True)
REPOSITORY = "team/app"
WRONG = "application/vnd.oci.empty.v1+json"


@pytest.fixture(autouse=True)
def _own_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def behind() -> Iterator[EmbeddedRegistry]:
    """A registry without the API, so that what is attached is listed by the tag."""
    with EmbeddedRegistry(referrers_api=False) as registry:
        yield registry


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    return write_yaml(tmp_path / "verifier.yaml", verifier())


def pushed(behind: EmbeddedRegistry, front: Front, *, attested: bool) -> str:
    image = behind.push_image(REPOSITORY, "v1")
    if attested:
        behind.attach(REPOSITORY, image, ARTIFACT_TYPE, [LEVEL_3.read_bytes()])
    return f"{front.host}/{REPOSITORY}@{image.digest}"


@pytest.mark.parametrize("manner", [ghcr_empty, ghcr_missing])
def test_what_the_tag_lists_is_found_by_all(
    behind: EmbeddedRegistry, policy: Path, tmp_path: Path, manner: Manner
) -> None:
    with Front(behind.host, manner) as front:
        said = said_of(pushed(behind, front, attested=True), policy, tmp_path)
    assert (said.verify, said.reason) == (Status.ADMITTED, "VERIFIED")
    assert "SLSA_SOURCE_LEVEL_3" in said.inspect
    assert said.audit == "admitted"
    assert said.init == Status.ADMITTED
    assert said.plugin == [True]
    assert said.bound == "SOURCE_NOT_BOUND"


@pytest.mark.parametrize("manner", [gitlab, ghcr_empty, ghcr_missing])
def test_nothing_is_attached_to_a_bare_image_and_all_say_so(
    behind: EmbeddedRegistry, policy: Path, tmp_path: Path, manner: Manner
) -> None:
    with Front(behind.host, manner) as front:
        said = said_of(pushed(behind, front, attested=False), policy, tmp_path)
    assert (said.verify, said.reason) == (Status.DENIED, "NO_ATTESTATION")
    assert "found nothing attached" in said.message
    assert "nothing is attached" in said.inspect
    assert said.audit == "denied"
    assert said.init == Status.DENIED
    assert said.plugin == []


def test_gitlab_serves_a_multi_platform_image_under_the_tag(
    behind: EmbeddedRegistry, policy: Path, tmp_path: Path
) -> None:
    child = behind.push_image(REPOSITORY, "child")
    entry = {"mediaType": child.media_type, "digest": str(child.digest), "size": child.size}
    platform = {**entry, "platform": {"os": "linux", "architecture": "amd64"}}
    index = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [platform]}
    image = behind.storage.put_manifest(REPOSITORY, json.dumps(index).encode(), INDEX_TYPE, "v1").digest
    with Front(behind.host, gitlab) as front:
        said = said_of(f"{front.host}/{REPOSITORY}@{image}", policy, tmp_path)
    assert (said.verify, said.reason, said.audit) == (Status.DENIED, "NO_ATTESTATION", "denied")


@pytest.mark.parametrize("artifact_type", [None, "", WRONG, "application/vnd.acme.thing"])
def test_the_remedy_for_an_index_with_wrong_types_names_who_wrote_it(
    behind: EmbeddedRegistry, policy: Path, tmp_path: Path, artifact_type: str | None
) -> None:
    with Front(behind.host, retyped(artifact_type)) as front:
        said = said_of(pushed(behind, front, attested=True), policy, tmp_path)
    assert (said.verify, said.reason, said.audit) == (Status.DENIED, "NO_ATTESTATION", "denied")
    assert "the client that attached it wrote that index" in said.message
    assert "attach it again" in said.message
    assert "use a registry" not in said.message
    assert "the index under the fallback tag lists it" in said.inspect
    assert "attach it again" in said.inspect
    assert said.plugin == []


@pytest.mark.parametrize("artifact_type", [None, WRONG])
def test_to_attach_it_again_is_a_remedy(
    behind: EmbeddedRegistry, policy: Path, tmp_path: Path, artifact_type: str | None
) -> None:
    with Front(behind.host, ghcr_empty) as front:
        image = pushed(behind, front, attested=True)
        tag = str(Reference.parse(image).digest).replace(":", "-")
        found = behind.storage.manifest(REPOSITORY, tag)
        assert found is not None
        entries = json.loads(found[1].content)["manifests"]
        for entry in entries:
            entry.pop("artifactType")
            if artifact_type is not None:
                entry["artifactType"] = artifact_type
        behind.storage.put_manifest(REPOSITORY, Answer.index(*entries).body, INDEX_TYPE, tag)
        assert said_of(image, policy, tmp_path).verify == Status.DENIED
        attached = cli("attach", image, LEVEL_3, "--plain-http", "--policy", policy)
        assert attached.status == Status.ADMITTED, attached
        assert said_of(image, policy, tmp_path).verify == Status.ADMITTED


OTHER_MANIFESTS = [
    {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {},
        "layers": [],
    },
    {"schemaVersion": 2, "config": {}, "layers": []},
    {"schemaVersion": 1, "fsLayers": [], "history": []},
    {
        "mediaType": "application/vnd.docker.distribution.manifest.list.v2+json",
        "manifests": [{"digest": "x"}],
    },
    {"mediaType": "application/vnd.oci.artifact.manifest.v1+json", "blobs": []},
]


@pytest.mark.parametrize("manifest", OTHER_MANIFESTS)
def test_what_is_no_index_lists_nothing(behind: EmbeddedRegistry, manifest: dict[str, object]) -> None:
    def manner(path: str, forward: object) -> Answer | None:
        return Answer(200, {}, json.dumps(manifest).encode()) if "/manifests/sha256-" in path else NOT_FOUND

    with Front(behind.host, manner) as front, RegistryStore(HTTP, None, {}) as store:
        image = Reference.parse(pushed(behind, front, attested=True))
        assert store.referrers(image, Deadline(5)) == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"x"',
        b'{"manifests": 7}',
        b'{"manifests": [7]}',
        b"<html>",
        b'{"mediaType":"","manifests":"x"}',
    ],
)
def test_what_cannot_be_read_is_an_error_and_no_empty_list(behind: EmbeddedRegistry, body: bytes) -> None:
    def manner(path: str, forward: object) -> Answer | None:
        return Answer(200, {}, body) if "/manifests/sha256-" in path else Answer.index()

    with Front(behind.host, manner) as front, RegistryStore(HTTP, None, {}) as store:
        image = Reference.parse(pushed(behind, front, attested=True))
        with pytest.raises(RegistryError) as caught:
            store.referrers(image, Deadline(5))
    assert caught.value.reason is Reason.REGISTRY_INVALID_RESPONSE


@pytest.mark.parametrize(
    ("status", "reason"), [(403, Reason.REGISTRY_FORBIDDEN), (500, Reason.REGISTRY_ERROR)]
)
def test_a_tag_that_is_not_to_be_had_is_no_empty_list_either(
    behind: EmbeddedRegistry, status: int, reason: Reason
) -> None:
    def manner(path: str, forward: object) -> Answer | None:
        return Answer(status) if "/manifests/sha256-" in path else Answer.index()

    with Front(behind.host, manner) as front, RegistryStore(HTTP, None, {}) as store:
        image = Reference.parse(pushed(behind, front, attested=True))
        with pytest.raises(RegistryError) as caught:
            store.referrers(image, Deadline(5))
    assert caught.value.reason is reason


def test_the_tag_is_looked_at_only_where_the_api_lists_nothing_and_then_once() -> None:
    with (
        EmbeddedRegistry(referrers_api=True) as registry,
        Front(registry.host, lambda path, forward: None) as front,
        RegistryStore(HTTP, None, {}) as store,
    ):
        bare = Reference.parse(pushed(registry, front, attested=False))
        assert store.referrers(bare, Deadline(5)) == []
        assert [path.split("/")[-2] for path in front.asked] == ["referrers", "manifests"]
        # Nothing of it is remembered: what is attached by now is found at once, with one request.
        registry.attach(
            REPOSITORY, registry.push_image(REPOSITORY, "v1"), ARTIFACT_TYPE, [LEVEL_3.read_bytes()]
        )
        front.asked.clear()
        [found] = store.referrers(bare, Deadline(5))
        assert (found.artifact_type, found.listed_by_tag) == (ARTIFACT_TYPE, False)
        assert [path.split("/")[-2] for path in front.asked] == ["referrers"]


def test_what_a_filter_leaves_nothing_of_is_not_asked_for_by_the_tag(behind: EmbeddedRegistry) -> None:
    """Only a list over the limit is asked for with a filter, so it is not empty."""
    with Front(behind.host, ghcr_empty) as front, RegistryStore(HTTP, None, {}) as store:
        image = Reference.parse(pushed(behind, front, attested=True))
        assert store.referrers(image, Deadline(5), "application/spdx+json") == []
        assert len(front.asked) == 1
