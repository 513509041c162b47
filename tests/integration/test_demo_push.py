"""``demo --push``: what it puts into a registry and beside it, and what it leaves alone."""

from __future__ import annotations

import base64
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from slsa_verifier_plugin.checking.status import Status
from slsa_verifier_plugin.demo import pushing, scene
from tests.support.command_line import Done, cli
from tests.support.embedded_registry import EmbeddedRegistry
from tests.support.registries import BasicRegistry, RecordingRegistry, Seen
from tests.support.registry_handler import RegistryHandler

TAGS = ["level-1", "level-3", "unattested"]
NAME = "team/slsa-demo"
PASSWORD = "a-word-that-nobody-prints"


@pytest.fixture(autouse=True)
def _own_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("DOCKER_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(params=[True, False], ids=["referrers-api", "tag-fallback"])
def registry(request: pytest.FixtureRequest, soon_quiet: None) -> Iterator[EmbeddedRegistry]:
    with EmbeddedRegistry(referrers_api=request.param) as running:
        yield running


def push(registry: EmbeddedRegistry, *more: str) -> Done:
    return cli("demo", "--push", f"{registry.host}/team", *more)


def test_three_images_are_pushed_and_judged_as_they_must_be(registry: EmbeddedRegistry) -> None:
    done = push(registry)
    assert (done.status, done.err) == (Status.ADMITTED, "")
    assert set(TAGS) <= set(registry.storage.tags(NAME))
    for tag, fate in zip(TAGS, ("denied: LEVEL_TOO_LOW", "admitted", "denied: NO_ATTESTATION"), strict=True):
        found = registry.storage.manifest(NAME, tag)
        assert found is not None
        image = f"{registry.host}/{NAME}@{found[0]}"
        assert f"{image}  pushed, to be {fate}" in done.out
        assert f"kubectl run {tag} --image {image}" in done.out
        # By the files that lie there, as a person would ask again.
        again = cli("verify", image, "--policy", f"slsa-demo/{pushing.VERIFIER_FILE}", "--any")
        assert (again.status == Status.ADMITTED) is (fate == "admitted")
    assert "TEST ONLY" in done.out


def test_what_trusts_the_test_root_says_so_and_the_store_is_left_alone(registry: EmbeddedRegistry) -> None:
    push(registry, "-o", "some/where")
    patch = yaml.safe_load(Path("some/where", pushing.PATCH_FILE).read_text())
    assert set(patch["data"]) == {"policy.yaml", "test-only-trusted-root"}
    assert patch["data"]["test-only-trusted-root"].encode().strip() == scene.trusted_root().strip()
    verifier, policy = yaml.safe_load_all(patch["data"]["policy.yaml"])
    assert verifier["metadata"]["name"] == "test-only-slsa-demo"
    assert verifier["spec"]["parameters"]["trustedRoot"] == {"path": "/policy/test-only-trusted-root"}
    assert policy["spec"]["parameters"]["artifactVerificationPolicies"] == {"slsla/attestation": "any"}
    assert {file.name for file in Path("some/where").iterdir()} == {
        "test-only-policy.yaml",
        "test-only-trusted-root.json",
        "test-only-verifier.yaml",
    }


def test_a_second_time_writes_no_tag_and_attaches_nothing_twice(registry: EmbeddedRegistry) -> None:
    first = push(registry, "--json")
    again = push(registry, "--json")
    images = json.loads(again.out)["images"]
    assert [one["pushed"] for one in images] == [False] * 3
    assert [one["image"] for one in images] == [one["image"] for one in json.loads(first.out)["images"]]
    assert json.loads(again.out)["asExpected"] is True
    for one, count in zip(images, (1, 1, 0), strict=True):
        shown = json.loads(cli("inspect", one["image"], "--json").out)
        assert len(shown["artifacts"]) == count


class Immutable(RecordingRegistry):
    """Takes each tag once (ECR's immutable tags)."""

    def respond(self, handler: RegistryHandler, seen: Seen) -> bool:
        tag = seen.path.rpartition("/")[2]
        if seen.method == "PUT" and tag in TAGS and self.storage.manifest(NAME, tag):
            handler.fail(400, "TAG_INVALID")
            return True
        return False


def test_tags_that_are_written_once_are_no_obstacle() -> None:
    with Immutable() as registry:
        assert push(registry).status == Status.ADMITTED
        assert push(registry).status == Status.ADMITTED


@pytest.mark.parametrize("tag", TAGS)
def test_a_tag_of_somebody_elses_is_left_alone_and_nothing_is_pushed(
    registry: EmbeddedRegistry, tag: str
) -> None:
    theirs = registry.push_image(NAME, tag)
    done = push(registry)
    assert (done.status, done.out) == (Status.USAGE, "")
    assert f"{registry.host}/{NAME}:{tag} is another image already" in done.err
    assert "nothing was pushed" in done.err
    assert registry.storage.tags(NAME) == [tag]
    found = registry.storage.manifest(NAME, tag)
    assert found is not None
    assert found[0] == str(theirs.digest)
    assert not Path("slsa-demo").exists()
    # What the sentence advises.
    assert cli("demo", "--push", f"{registry.host}/team/try").status == Status.ADMITTED


def test_a_registry_that_takes_nothing_is_told_of_and_no_password_is() -> None:
    with BasicRegistry({"me": "right"}) as registry:
        folder = Path("docker")
        folder.mkdir()
        secret = base64.b64encode(f"me:{PASSWORD}".encode()).decode()
        (folder / "config.json").write_text(json.dumps({"auths": {registry.host: {"auth": secret}}}))
        done = cli("demo", "--push", registry.host, environ={"DOCKER_CONFIG": str(folder)})
        assert (done.status, done.out) == (Status.UNDECIDED, "")
        assert "401" in done.err
        assert PASSWORD not in done.err
        assert secret not in done.err
        assert registry.storage.repositories() == []
        assert not Path("slsa-demo").exists()
        right = base64.b64encode(b"me:right").decode()
        (folder / "config.json").write_text(json.dumps({"auths": {registry.host: {"auth": right}}}))
        done = cli("demo", "--push", registry.host, environ={"DOCKER_CONFIG": str(folder)})
        assert done.status == Status.ADMITTED


class ReadOnly(RecordingRegistry):
    """Is read from alone."""

    def respond(self, handler: RegistryHandler, seen: Seen) -> bool:
        if seen.method in ("POST", "PUT"):
            handler.fail(405, "UNSUPPORTED")
            return True
        return False


def test_a_registry_that_is_only_read() -> None:
    with ReadOnly() as registry:
        done = push(registry)
    assert (done.status, done.out) == (Status.UNDECIDED, "")
    assert "pushing the blob" in done.err
    assert "405" in done.err
    assert "Traceback" not in done.err


class Forgetful(RecordingRegistry):
    """Takes referrers, and says that there are none."""

    def respond(self, handler: RegistryHandler, seen: Seen) -> bool:
        if seen.method == "GET" and ("/referrers/" in seen.path or "/manifests/sha256-" in seen.path):
            handler.fail(404, "NOT_FOUND")
            return True
        return False


def test_a_registry_that_loses_what_was_attached_is_no_success() -> None:
    with Forgetful() as registry:
        done = push(registry)
        assert done.status == Status.DENIED
        assert "level-3 is denied from this registry" in done.out
        assert "kubectl" not in done.out
        assert json.loads(push(registry, "--json").out)["asExpected"] is False


def test_an_attestation_on_the_one_that_has_none_is_no_success(registry: EmbeddedRegistry) -> None:
    assert push(registry).status == Status.ADMITTED
    artifact = scene.pieces()[1].artifact
    assert artifact is not None
    Path("level-3.jsonl").write_bytes(artifact.blobs[1])
    assert cli("attach", f"{registry.host}/{NAME}:unattested", "level-3.jsonl").status == Status.ADMITTED
    done = push(registry)
    assert done.status == Status.DENIED
    assert "unattested is admitted from this registry" in done.out


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("", "is no registry; expected registry.example or"),
        ("/", "is no registry; expected registry.example or"),
        ("registry.example/app:v1", '"registry.example/app:v1" is no registry'),
        ("registry.example/app@sha256:" + "0" * 64, "a name with @ is no registry"),
        (f"me:{PASSWORD}@registry.example", "a name with @ is no registry"),
        ("https://registry.example", "take away the https:// at the start"),
        ("oci://registry.example/team", "take away the oci:// at the start"),
        ("registry.example/Team", "a repository's name has no upper case"),
    ],
)
def test_names_that_are_no_registry(target: str, said: str) -> None:
    done = cli("demo", "--push", target)
    assert (done.status, done.out) == (Status.USAGE, "")
    assert said in done.err
    assert PASSWORD not in done.err


@pytest.mark.parametrize("more", [["--provider"], ["--serve", "x"], ["--without-ratify"]])
def test_what_does_not_go_with_it(more: list[str]) -> None:
    assert cli("demo", "--push", "registry.example", *more).status == Status.USAGE


@pytest.mark.parametrize("alone", [["--plain-http"], ["-o", "x"]])
def test_what_goes_with_it_alone(alone: list[str]) -> None:
    done = cli("demo", *alone)
    assert (done.status, "are for --push" in done.err) == (Status.USAGE, True)


def test_a_node_can_unpack_the_layer_of_each_image() -> None:
    pieces = scene.pieces()
    assert len(pieces) == 3
    for piece in pieces:
        config, layer = piece.image.blobs
        with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
            assert [entry.name for entry in archive] == ["slsa-demo"]
        (digest,) = json.loads(config)["rootfs"]["diff_ids"]
        assert digest == json.loads(piece.image.manifest)["layers"][0]["digest"]
