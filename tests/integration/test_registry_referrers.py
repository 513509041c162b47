"""Referrers: the API with its pages, the fallback tag, and registries that report wrong types."""

from __future__ import annotations

import json
from typing import Any

import pytest

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import DeadlineError, Reason, RegistryError
from slsa_verifier_plugin.model.digest import Descriptor
from slsa_verifier_plugin.model.envelope import PREDICATE_TYPE_ANNOTATION
from slsa_verifier_plugin.registry import limits
from slsa_verifier_plugin.registry.settings import StoreSettings
from slsa_verifier_plugin.registry.store import RegistryStore
from tests.support import toxins
from tests.support.content import ARTIFACT_TYPE, Pushed, push
from tests.support.embedded_registry import EmbeddedRegistry
from tests.support.registries import RecordingRegistry, Seen, ToxicRegistry, Toxin
from tests.support.registry_handler import RegistryHandler
from tests.support.registry_storage import INDEX_TYPE, MANIFEST_TYPE

pytestmark = pytest.mark.server("registries with pages, without the API, with wrong types")

HTTP = StoreSettings(use_http=True)


def entry(number: int, artifact_type: str | None = ARTIFACT_TYPE) -> dict[str, Any]:
    found = {"mediaType": MANIFEST_TYPE, "digest": f"sha256:{number:064x}", "size": 100}
    return found if artifact_type is None else {**found, "artifactType": artifact_type}


def index(*entries: object) -> bytes:
    return json.dumps({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": entries}).encode()


def failure(store: RegistryStore, pushed: Pushed) -> RegistryError:
    with pytest.raises(RegistryError) as caught:
        store.referrers(pushed.image, Deadline(5))
    return caught.value


@pytest.mark.parametrize("api", [True, False])
def test_what_was_attached_is_listed(api: bool) -> None:
    with EmbeddedRegistry(referrers_api=api) as registry, RegistryStore(HTTP, None, {}) as store:
        pushed = push(registry)
        subject = Descriptor(MANIFEST_TYPE, pushed.image.digest, 394) if pushed.image.digest else None
        assert subject is not None
        other = registry.attach("team/app", subject, "application/spdx+json", [b"{}"])
        listed = store.referrers(pushed.image, Deadline(5))
        assert {item.digest for item in listed} == {pushed.artifact.digest, other.digest}
        assert {item.artifact_type for item in listed} == {ARTIFACT_TYPE, "application/spdx+json"}
        assert store.matching_referrers(pushed.image, ARTIFACT_TYPE, Deadline(5)) == [
            item for item in listed if item.artifact_type == ARTIFACT_TYPE
        ]


@pytest.mark.parametrize("api", [True, False])
def test_an_image_without_referrers_has_none(api: bool) -> None:
    with EmbeddedRegistry(referrers_api=api) as registry, RegistryStore(HTTP, None, {}) as store:
        pushed = push(registry)
        image = pushed.image.with_digest(registry.push_image("team/app", "2").digest)
        assert store.referrers(image, Deadline(5)) == []


def test_all_pages_are_read() -> None:
    with RecordingRegistry(page_size=3) as registry, RegistryStore(HTTP, None, {}) as store:
        pushed = push(registry)
        assert pushed.image.digest is not None
        subject = Descriptor(MANIFEST_TYPE, pushed.image.digest, 394)
        for number in range(7):
            registry.attach("team/app", subject, ARTIFACT_TYPE, [b"%d" % number])
        assert len({item.digest for item in store.referrers(pushed.image, Deadline(5))}) == 8
        assert len([path for path in registry.paths() if "/referrers/" in path]) == 3


def test_a_missing_api_is_asked_once() -> None:
    with RecordingRegistry(referrers_api=False) as registry, RegistryStore(HTTP, None, {}) as store:
        pushed = push(registry)
        for _ in range(3):
            assert store.referrers(pushed.image, Deadline(5))
        asked = [path for path in registry.paths() if "/referrers/" in path]
    assert len(asked) == 1


def test_a_repository_without_the_api_says_nothing_of_the_others() -> None:
    with (
        ToxicRegistry(toxins.status(404), "/v2/old/.*/referrers/") as registry,
        RegistryStore(HTTP, None, {}) as store,
    ):
        old, new = push(registry, "old/app"), push(registry, "new/app")
        assert store.referrers(old.image, Deadline(5)) == []
        assert [item.digest for item in store.referrers(new.image, Deadline(5))] == [new.artifact.digest]


@pytest.mark.parametrize(
    "toxin",
    [
        toxins.status(404),
        toxins.status(405, error="UNSUPPORTED"),
        toxins.status(501),
        toxins.body(b"<html>", "text/html"),
        toxins.redirect("http://login.example/"),
        toxins.redirect("https://login.example/", 303),
    ],
)
def test_whatever_is_no_api_leads_to_the_fallback_tag(toxin: Toxin) -> None:
    with (
        ToxicRegistry(toxin, "/referrers/", referrers_api=False) as registry,
        RegistryStore(HTTP, None, {}) as store,
    ):
        pushed = push(registry)
        assert [item.digest for item in store.referrers(pushed.image, Deadline(5))] == [
            pushed.artifact.digest
        ]


@pytest.mark.parametrize(
    ("toxin", "reason"),
    [
        (toxins.status(404, error="NAME_UNKNOWN"), Reason.REGISTRY_NOT_FOUND),
        (toxins.status(403), Reason.REGISTRY_FORBIDDEN),
        (toxins.status(500), Reason.REGISTRY_ERROR),
        (toxins.body(b"not JSON", INDEX_TYPE), Reason.REGISTRY_INVALID_RESPONSE),
        (toxins.body(b"[]", INDEX_TYPE), Reason.REGISTRY_INVALID_RESPONSE),
        (toxins.body(b'{"manifests":7}', INDEX_TYPE), Reason.REGISTRY_INVALID_RESPONSE),
        (toxins.body(b'{"manifests":[],"manifests":[]}', INDEX_TYPE), Reason.REGISTRY_INVALID_RESPONSE),
        (toxins.body(index({"digest": "sha256:1"}), INDEX_TYPE), Reason.REGISTRY_INVALID_RESPONSE),
        (toxins.body(b"[" * 100_000, INDEX_TYPE), Reason.REGISTRY_INVALID_RESPONSE),
        (toxins.flood(5 * 1024 * 1024, INDEX_TYPE), Reason.LIMIT_EXCEEDED),
        (toxins.flood(100 * 1024 * 1024, INDEX_TYPE, announced=False), Reason.LIMIT_EXCEEDED),
        (
            toxins.body(index(*(entry(number) for number in range(10_001))), INDEX_TYPE),
            Reason.LIMIT_EXCEEDED,
        ),
    ],
)
def test_a_broken_list_is_an_error_and_not_an_empty_one(toxin: Toxin, reason: Reason) -> None:
    with ToxicRegistry(toxin, "/referrers/") as registry, RegistryStore(HTTP, None, {}) as store:
        error = failure(store, push(registry))
    assert error.reason is reason, error.message


def test_an_empty_list_may_be_written_as_null() -> None:
    with (
        ToxicRegistry(
            toxins.body(b'{"schemaVersion":2,"manifests":null}', INDEX_TYPE), "/referrers/"
        ) as registry,
        RegistryStore(HTTP, None, {}) as store,
    ):
        assert store.referrers(push(registry).image, Deadline(5)) == []


def test_ten_thousand_referrers_are_read_and_no_more() -> None:
    with RecordingRegistry(page_size=2500) as registry, RegistryStore(HTTP, None, {}) as store:
        pushed = push(registry)
        entries = [entry(number) for number in range(limits.MAX_LISTED_REFERRERS)]
        registry.storage.referrers = lambda name, digest: entries  # type: ignore[method-assign]
        assert len(store.referrers(pushed.image, Deadline(30))) == limits.MAX_LISTED_REFERRERS
        entries.append(entry(limits.MAX_LISTED_REFERRERS))
        assert failure(store, pushed).reason is Reason.LIMIT_EXCEEDED


def test_a_list_that_is_too_long_is_asked_for_with_the_filter() -> None:
    with RecordingRegistry(page_size=5000) as registry, RegistryStore(HTTP, None, {}) as store:
        pushed = push(registry)
        entries = [entry(number, "application/spdx+json") for number in range(limits.MAX_LISTED_REFERRERS)]
        own = {**entry(0), "digest": str(pushed.artifact.digest), "size": pushed.artifact.size}
        registry.storage.referrers = lambda name, digest: [*entries, own]  # type: ignore[method-assign]
        found = store.matching_referrers(pushed.image, ARTIFACT_TYPE, Deadline(30))
        assert [item.digest for item in found] == [pushed.artifact.digest]
        assert any("artifactType=slsla%2Fattestation" in path for path in registry.paths())


def test_of_the_annotations_in_a_list_one_is_kept() -> None:
    kind = {PREDICATE_TYPE_ANNOTATION: "https://slsa.dev/provenance/v1"}
    entries = [{**entry(number), "annotations": {"a": "b" * 1000}} for number in range(3)]
    entries[1]["annotations"] |= kind
    entries[2] = {**entry(2, "x/" + "y" * 10_000), "annotations": {PREDICATE_TYPE_ANNOTATION: "z" * 10_000}}
    with RecordingRegistry() as registry, RegistryStore(HTTP, None, {}) as store:
        pushed = push(registry)
        registry.storage.referrers = lambda name, digest: entries  # type: ignore[method-assign]
        found = store.referrers(pushed.image, Deadline(5))
    assert [dict(item.annotations) for item in found[:2]] == [{}, kind]
    most = limits.MAX_TYPE_CHARACTERS
    assert [len(found[2].artifact_type or ""), len(found[2].annotations[PREDICATE_TYPE_ANNOTATION])] == [
        most,
        most,
    ]


@pytest.mark.parametrize("api", [True, False])
def test_the_values_of_a_list_are_counted_over_its_pages(api: bool) -> None:
    many = {"mediaType": MANIFEST_TYPE, "digest": "sha256:" + "0" * 64, "size": 1, "annotations": {}}
    many["annotations"] = {f"{number}": "" for number in range(limits.MAX_REFERRERS_VALUES // 100)}
    with (
        RecordingRegistry(page_size=50, referrers_api=api) as registry,
        RegistryStore(HTTP, None, {}) as store,
    ):
        pushed = push(registry)
        entries = [many] * 90
        registry.storage.referrers = lambda name, digest: entries  # type: ignore[method-assign]
        tag = str(pushed.image.digest).replace(":", "-")
        registry.storage.put_manifest("team/app", index(*entries), INDEX_TYPE, tag)
        assert len(store.referrers(pushed.image, Deadline(30))) == 90
        entries += [many] * 20
        registry.storage.put_manifest("team/app", index(*entries), INDEX_TYPE, tag)
        error = failure(store, pushed)
        assert (error.reason, f"more than {limits.MAX_REFERRERS_VALUES} values" in error.message) == (
            Reason.LIMIT_EXCEEDED,
            True,
        )


def test_a_page_that_waits_for_others_to_be_parsed_waits_until_the_deadline() -> None:
    with RecordingRegistry() as registry, RegistryStore(HTTP, None, {}) as store:
        pushed = push(registry)
        with store._parsing, pytest.raises(DeadlineError):
            store.referrers(pushed.image, Deadline(0.5))
        assert store.referrers(pushed.image, Deadline(5))


def _linking(link: str) -> Toxin:
    def toxin(handler: RegistryHandler, registry: ToxicRegistry) -> bool:
        target = link.replace("<number>", str(registry.hits)).replace("<self>", handler.path.split("?")[0])
        handler.answer(200, index(entry(registry.hits)), INDEX_TYPE, {"Link": f'<{target}>; rel="next"'})
        return True

    return toxin


@pytest.mark.parametrize(
    ("link", "reason", "requests"),
    [
        ("<self>", Reason.REGISTRY_INVALID_RESPONSE, 1),
        ("<self>?page=1", Reason.REGISTRY_INVALID_RESPONSE, 2),
        ("<self>?page=<number>", Reason.LIMIT_EXCEEDED, limits.MAX_LIST_PAGES),
        ("http://elsewhere.example/x", Reason.REGISTRY_INVALID_RESPONSE, 1),
        ("//elsewhere.example/x", Reason.REGISTRY_INVALID_RESPONSE, 1),
    ],
)
def test_links_in_a_circle_without_end_or_to_elsewhere_end(link: str, reason: Reason, requests: int) -> None:
    with ToxicRegistry(_linking(link), "/referrers/") as registry, RegistryStore(HTTP, None, {}) as store:
        error = failure(store, push(registry))
        assert registry.hits == requests
    assert error.reason is reason


class ConfigTypes(RecordingRegistry):
    """Reports the config's media type as the artifact type, and filters by it, as go-containerregistry does."""

    def respond(self, handler: RegistryHandler, seen: Seen) -> bool:
        if "/referrers/" not in seen.path:
            return False
        entries = self.storage.referrers("team/app", seen.path.split("/")[-1].split("?")[0])
        for item in entries:
            found = self.storage.manifest("team/app", item["digest"])
            assert found is not None
            item["artifactType"] = found[1].fields["config"]["mediaType"]
        wanted = seen.query.get("artifactType")
        if wanted:
            entries = [item for item in entries if item["artifactType"] in wanted]
        handler.answer(200, index(*entries), INDEX_TYPE)
        return True


def test_the_manifest_decides_where_the_registry_reports_the_configs_type() -> None:
    with ConfigTypes() as registry, RegistryStore(HTTP, None, {}) as store:
        pushed = push(registry)
        assert [item.artifact_type for item in store.referrers(pushed.image, Deadline(5))] != [ARTIFACT_TYPE]
        found = store.matching_referrers(pushed.image, ARTIFACT_TYPE, Deadline(5))
        assert [item.digest for item in found] == [pushed.artifact.digest]
        assert store.matching_referrers(pushed.image, "application/other", Deadline(5)) == []


@pytest.mark.parametrize("reported", [None, "", "application/vnd.acme.thing"])
def test_the_manifest_decides_where_the_fallback_index_is_silent_or_wrong(reported: str | None) -> None:
    with EmbeddedRegistry(referrers_api=False) as registry, RegistryStore(HTTP, None, {}) as store:
        pushed = push(registry)
        own = {
            "mediaType": MANIFEST_TYPE,
            "digest": str(pushed.artifact.digest),
            "size": pushed.artifact.size,
        }
        if reported is not None:
            own["artifactType"] = reported
        tag = str(pushed.image.digest).replace(":", "-")
        registry.storage.put_manifest("team/app", index(own), INDEX_TYPE, tag)
        found = store.matching_referrers(pushed.image, ARTIFACT_TYPE, Deadline(5))
        assert [item.digest for item in found] == [pushed.artifact.digest]


def test_at_most_64_manifests_are_looked_into() -> None:
    with (
        ToxicRegistry(toxins.status(404), "/manifests/sha256:0") as registry,
        RegistryStore(HTTP, None, {}) as store,
    ):
        pushed = push(registry)
        entries = [entry(number, None) for number in range(200)]
        registry.storage.referrers = lambda name, digest: entries  # type: ignore[method-assign]
        assert store.matching_referrers(pushed.image, ARTIFACT_TYPE, Deadline(10)) == []
        assert registry.hits == limits.MAX_INSPECTED_MANIFESTS
        assert any("200 referrers" in warning for warning in store.remarks.all())


def test_a_sha512_digest_is_cut_in_its_fallback_tag() -> None:
    from slsa_verifier_plugin.model.digest import Digest
    from slsa_verifier_plugin.registry.referrers import fallback_tag

    assert fallback_tag(Digest("sha256", "a" * 64)) == "sha256-" + "a" * 64
    assert fallback_tag(Digest("sha512", "b" * 128)) == "sha512-" + "b" * 64
