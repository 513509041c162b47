"""The store on an honest registry: content, resolving, caches, connections, many callers."""

from __future__ import annotations

import json

import pytest

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import Reason, RegistryError
from slsa_verifier_plugin.model.digest import Descriptor, Digest
from slsa_verifier_plugin.registry.memory_cache import ContentCache
from slsa_verifier_plugin.registry.reference import Reference
from slsa_verifier_plugin.registry.settings import StoreSettings
from slsa_verifier_plugin.registry.store import RegistryStore
from slsa_verifier_plugin.verification.ports import ArtifactStore
from tests.support import toxins
from tests.support.content import NOTE, push
from tests.support.embedded_registry import EmbeddedRegistry
from tests.support.names import nowhere
from tests.support.registries import RecordingRegistry, ToxicRegistry
from tests.support.registry_handler import RegistryHandler
from tests.support.registry_storage import INDEX_TYPE, MANIFEST_TYPE
from tests.support.waiting import at_once

pytestmark = pytest.mark.server("embedded registry")

HTTP = StoreSettings(use_http=True)


def test_the_store_is_what_the_use_case_asks_for() -> None:
    with RegistryStore(HTTP, None, {}) as made:
        store: ArtifactStore = made
        assert store is made


def test_manifest_and_blob_are_fetched_once_and_then_known() -> None:
    with RecordingRegistry() as registry, RegistryStore(HTTP, None, {}) as store:
        pushed = push(registry)
        for _ in range(3):
            manifest = store.manifest(pushed.image, pushed.artifact, Deadline(5))
            assert Digest.of(manifest) == pushed.artifact.digest
            assert store.blob(pushed.image, pushed.blob, len(NOTE), Deadline(5)) == NOTE
        assert len(registry.seen) == 2
        asked = registry.seen[0].headers
    assert asked["Accept-Encoding"] == "identity"
    assert asked["User-Agent"] == "slsa-verifier-plugin"
    assert "Cookie" not in asked


def test_known_content_is_returned_even_when_no_time_is_left() -> None:
    with EmbeddedRegistry() as registry, RegistryStore(HTTP, None, {}) as store:
        pushed = push(registry)
        store.blob(pushed.image, pushed.blob, len(NOTE), Deadline(5))
        assert store.blob(pushed.image, pushed.blob, len(NOTE), Deadline(0)) == NOTE


def test_known_content_is_held_against_the_limit_and_the_size() -> None:
    with EmbeddedRegistry() as registry, RegistryStore(HTTP, None, {}) as store:
        pushed = push(registry)
        store.blob(pushed.image, pushed.blob, len(NOTE), Deadline(5))
        with pytest.raises(RegistryError) as caught:
            store.blob(pushed.image, pushed.blob, len(NOTE) - 1, Deadline(5))
        assert caught.value.reason is Reason.LIMIT_EXCEEDED
        lying = Descriptor("text/plain", pushed.blob.digest, len(NOTE) - 1)
        with pytest.raises(RegistryError) as caught:
            store.blob(pushed.image, lying, len(NOTE), Deadline(5))
        assert caught.value.reason is Reason.REGISTRY_INVALID_RESPONSE


def test_a_tag_is_resolved_to_what_it_names() -> None:
    with EmbeddedRegistry() as registry, RegistryStore(HTTP, None, {}) as store:
        image = registry.push_image("team/app", "v1")
        tagged = Reference.parse(f"{registry.host}/team/app:v1")
        assert store.resolve(tagged, Deadline(5)) == image
        assert store.resolve(tagged.with_digest(image.digest), Deadline(5)) == image
        with pytest.raises(RegistryError) as caught:
            store.resolve(Reference.parse(f"{registry.host}/team/app:v2"), Deadline(5))
        assert caught.value.reason is Reason.REGISTRY_NOT_FOUND
        assert "MANIFEST_UNKNOWN" in caught.value.message


@pytest.mark.parametrize(
    ("content", "media_type", "headers"),
    [
        (b'{"manifests":[],"layers":[]}', MANIFEST_TYPE, {}),
        (b'{"manifests":[],"mediaType":"' + MANIFEST_TYPE.encode() + b'"}', MANIFEST_TYPE, {}),
        (b'{"layers":[],"mediaType":"' + MANIFEST_TYPE.encode() + b'"}', INDEX_TYPE, {}),
        (b'{"layers":[]}', INDEX_TYPE, {}),
        (b"[]", MANIFEST_TYPE, {}),
        (b"not JSON", MANIFEST_TYPE, {}),
        (b'{"layers":[]}', MANIFEST_TYPE, {"Docker-Content-Digest": "sha256:" + "0" * 64}),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(
    content: bytes, media_type: str, headers: dict[str, str]
) -> None:
    def toxin(handler: RegistryHandler, registry: ToxicRegistry) -> bool:
        handler.answer(200, content, media_type, headers)
        return True

    with (
        ToxicRegistry(toxin, "/manifests/") as registry,
        RegistryStore(HTTP, None, {}) as store,
        pytest.raises(RegistryError) as caught,
    ):
        store.resolve(Reference.parse(f"{registry.host}/team/app:v1"), Deadline(5))
    assert caught.value.reason is Reason.REGISTRY_INVALID_RESPONSE


def test_a_digest_that_answers_with_other_content_is_refused() -> None:
    with ToxicRegistry(toxins.body(b'{"layers":[]}', MANIFEST_TYPE), "/manifests/") as registry:
        pushed = push(registry)
        with RegistryStore(HTTP, None, {}) as store, pytest.raises(RegistryError) as caught:
            store.resolve(pushed.image, Deadline(5))
    assert caught.value.reason is Reason.REGISTRY_INVALID_RESPONSE


def test_an_ipv6_registry_is_reached() -> None:
    with EmbeddedRegistry(host="::1") as registry, RegistryStore(HTTP, None, {}) as store:
        pushed = push(registry)
        assert pushed.image.registry.startswith("[::1]:")
        assert store.referrers(pushed.image, Deadline(5))
        assert store.blob(pushed.image, pushed.blob, len(NOTE), Deadline(5)) == NOTE


def test_without_use_http_nothing_is_asked_in_plain_http() -> None:
    with RecordingRegistry() as registry, RegistryStore(StoreSettings(), None, {}) as store:
        pushed = push(registry)
        with pytest.raises(RegistryError) as caught:
            store.referrers(pushed.image, Deadline(5))
        assert registry.seen == []
    assert caught.value.reason is Reason.REGISTRY_TLS


def test_docker_hub_is_served_by_its_own_host() -> None:
    from slsa_verifier_plugin.network.dialing import Endpoint, Resolver

    asked: list[str] = []

    def lookup(host: str, port: int) -> list[Endpoint]:
        asked.append(f"{host}:{port}")
        return nowhere(host, port)

    image = Reference.parse("alpine@sha256:" + "0" * 64)
    with (
        RegistryStore(StoreSettings(), None, {}, resolver=Resolver(lookup)) as store,
        pytest.raises(RegistryError),
    ):
        store.referrers(image, Deadline(5))
    assert asked == ["registry-1.docker.io:443"]


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("localhost/app", "http://localhost/v2/app"),
        ("localhost/team/app", "http://localhost/v2/team/app"),
        ("localhost:5000/app", "http://localhost:5000/v2/app"),
        ("[::1]:5000/app", "http://[::1]:5000/v2/app"),
        ("registry.example/a/b/c", "http://registry.example/v2/a/b/c"),
        ("alpine", "http://registry-1.docker.io/v2/library/alpine"),
        ("docker.io/team/app", "http://registry-1.docker.io/v2/team/app"),
    ],
)
def test_every_url_is_of_the_references_registry(name: str, base: str) -> None:
    digest = "sha256:" + "0" * 64
    with RegistryStore(HTTP, None, {}) as store:
        client = store.client(Reference.parse(name))
    for path in ("manifests/1", f"blobs/{digest}", f"referrers/{digest}", "tags/list"):
        assert client.url(path) == f"{base}/{path}"


def test_tags_and_repositories_are_listed_over_pages() -> None:
    with EmbeddedRegistry(page_size=2) as registry, RegistryStore(HTTP, None, {}) as store:
        for tag in "abcde":
            registry.push_image("team/app", tag)
        image = Reference.parse(f"{registry.host}/team/app")
        assert store.tags(image, Deadline(5)) == list("abcde")
        assert store.repositories(registry.host, Deadline(5)) == ["team/app"]


def test_connections_are_kept_for_32_callers() -> None:
    with RecordingRegistry(latency=0.01) as registry, RegistryStore(HTTP, None, {}) as store:
        pushed = push(registry)
        connections = set()
        original = registry.respond

        def respond(handler: RegistryHandler, seen: object) -> bool:
            connections.add(handler.client_address)
            return original(handler, seen)  # type: ignore[arg-type]

        registry.respond = respond  # type: ignore[method-assign]
        for _ in range(3):
            at_once(32, lambda _: store.referrers(pushed.image, Deadline(10)))
        assert len(registry.seen) == 96
        assert len(connections) <= 32


def test_a_connection_that_the_registry_closed_is_opened_again() -> None:
    with EmbeddedRegistry() as registry, RegistryStore(HTTP, None, {}) as store:
        pushed = push(registry)
        for _ in range(3):
            assert store.referrers(pushed.image, Deadline(5))
            assert registry._server is not None
            registry._server.end_connections()


def test_a_closed_store_can_be_used_again() -> None:
    with EmbeddedRegistry() as registry, RegistryStore(HTTP, None, {}) as store:
        pushed = push(registry)
        store.referrers(pushed.image, Deadline(5))
        store.close()
        assert store.referrers(pushed.image, Deadline(5))


def test_stores_may_share_their_content() -> None:
    cache = ContentCache()
    with RecordingRegistry() as registry:
        pushed = push(registry)
        for _ in range(3):
            with RegistryStore(HTTP, None, {}, cache=cache) as store:
                store.blob(pushed.image, pushed.blob, len(NOTE), Deadline(5))
        assert len(registry.seen) == 1


def test_an_index_is_resolved_as_one() -> None:
    with EmbeddedRegistry() as registry, RegistryStore(HTTP, None, {}) as store:
        image = registry.push_image("team/app", "amd64")
        content = json.dumps({"schemaVersion": 2, "manifests": []}).encode()
        pushed = registry.storage.put_manifest("team/app", content, INDEX_TYPE, "multi")
        found = store.resolve(Reference.parse(f"{registry.host}/team/app:multi"), Deadline(5))
        assert found == pushed
        assert found != image
