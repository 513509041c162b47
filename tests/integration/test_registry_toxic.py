"""Registries that misbehave: each ends within the deadline, with its own reason, in bounded memory."""

from __future__ import annotations

import threading
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import DeadlineError, Reason, RegistryError, VerifierError
from slsa_verifier_plugin.model.digest import Descriptor, Digest
from slsa_verifier_plugin.registry.settings import StoreSettings
from slsa_verifier_plugin.registry.store import RegistryStore
from tests.support import toxins
from tests.support.content import NOTE, Pushed, push
from tests.support.registries import ToxicRegistry, Toxin

pytestmark = pytest.mark.server("toxic registries")

SECONDS = 1.0
"""The deadline of the calls that run into it."""

SLACK = 30.0
"""Seconds beyond the deadline for a machine that is busy with other tests; no toxin would ever end by itself."""

AMPLE = 20.0
"""The deadline of the calls that end by themselves; less than what a registry here asks to wait for."""

MEMORY = 24 * 1024 * 1024
"""Bytes that a call may allocate: the largest limit is 16 MiB, with room for copies."""


@dataclass(frozen=True)
class Case:
    """A toxin, where it strikes, and how the call must end."""

    toxin: Toxin
    reason: Reason
    where: str = "/blobs/"
    late: bool = False

    @property
    def name(self) -> str:
        return getattr(self.toxin, "__qualname__", "toxin").split(".")[0]


AT_DEADLINE = [
    Case(toxin, Reason.DEADLINE_EXCEEDED, late=True)
    for toxin in (
        toxins.silent,
        toxins.silent_body,
        toxins.dripping_headers,
        toxins.dripping_body,
        toxins.endless_continue,
        toxins.endless_processing,
    )
]
AT_ONCE = [
    Case(toxins.flooding_headers, Reason.REGISTRY_INVALID_RESPONSE),
    Case(toxins.endless_header, Reason.REGISTRY_INVALID_RESPONSE),
    Case(toxins.endless_status_line, Reason.REGISTRY_INVALID_RESPONSE),
    Case(toxins.endless_chunk_size, Reason.REGISTRY_INVALID_RESPONSE),
    Case(toxins.flooding_interim, Reason.REGISTRY_INVALID_RESPONSE),
    Case(toxins.reset, Reason.REGISTRY_UNREACHABLE),
    Case(toxins.hang_up, Reason.REGISTRY_UNREACHABLE),
    Case(toxins.not_http, Reason.REGISTRY_INVALID_RESPONSE),
    Case(toxins.two_lengths, Reason.REGISTRY_INVALID_RESPONSE),
    Case(toxins.endless_body, Reason.REGISTRY_INVALID_RESPONSE),
    Case(toxins.endless_chunks, Reason.REGISTRY_INVALID_RESPONSE),
    Case(toxins.body(NOTE[:-1] + b"!"), Reason.REGISTRY_INVALID_RESPONSE),
    Case(toxins.body(NOTE[:-1]), Reason.REGISTRY_INVALID_RESPONSE),
    Case(toxins.body(NOTE + b"more"), Reason.REGISTRY_INVALID_RESPONSE),
    Case(toxins.body(NOTE, length=len(NOTE) + 4), Reason.REGISTRY_INVALID_RESPONSE),
    Case(toxins.body(NOTE, length=1 << 40), Reason.REGISTRY_INVALID_RESPONSE),
    Case(toxins.body(b""), Reason.REGISTRY_INVALID_RESPONSE),
    Case(toxins.chunked(NOTE + b"more", size=4096), Reason.REGISTRY_INVALID_RESPONSE),
    Case(toxins.compressed(NOTE), Reason.REGISTRY_INVALID_RESPONSE),
    Case(toxins.truncating(0), Reason.REGISTRY_UNREACHABLE),
    Case(toxins.truncating(1000), Reason.REGISTRY_UNREACHABLE),
    Case(toxins.flood(100 * 1024 * 1024), Reason.REGISTRY_INVALID_RESPONSE),
    Case(toxins.flood(100 * 1024 * 1024, announced=False), Reason.REGISTRY_INVALID_RESPONSE),
    Case(toxins.status(401), Reason.REGISTRY_UNAUTHORIZED),
    Case(
        toxins.status(401, {"WWW-Authenticate": 'Negotiate, Digest realm="x"'}), Reason.REGISTRY_UNAUTHORIZED
    ),
    Case(toxins.status(401, {"WWW-Authenticate": 'Basic realm="x"'}), Reason.REGISTRY_UNAUTHORIZED),
    Case(
        toxins.status(401, {"WWW-Authenticate": 'Bearer realm="ftp://x"'}), Reason.REGISTRY_INVALID_RESPONSE
    ),
    Case(toxins.status(403), Reason.REGISTRY_FORBIDDEN),
    Case(toxins.status(404), Reason.REGISTRY_NOT_FOUND),
    Case(toxins.status(418), Reason.REGISTRY_ERROR),
    Case(toxins.status(429, {"Retry-After": "30"}), Reason.REGISTRY_THROTTLED),
    Case(toxins.status(429), Reason.REGISTRY_THROTTLED),
    Case(toxins.status(500), Reason.REGISTRY_ERROR),
    Case(toxins.status(503), Reason.REGISTRY_ERROR),
    Case(toxins.redirect("SELFPATH"), Reason.REGISTRY_INVALID_RESPONSE),
    Case(toxins.redirect("SELFPATHx"), Reason.REGISTRY_INVALID_RESPONSE),
    Case(toxins.redirect("ftp://elsewhere.example/x"), Reason.REGISTRY_INVALID_RESPONSE),
    Case(toxins.redirect("http://user:secret@127.0.0.1/x"), Reason.REGISTRY_INVALID_RESPONSE),
    Case(toxins.redirect("http://169.254.169.254/latest/meta-data"), Reason.REGISTRY_INVALID_RESPONSE),
    Case(toxins.redirect("http://[::ffff:169.254.169.254]/latest"), Reason.REGISTRY_INVALID_RESPONSE),
    Case(toxins.redirect("http://0xa9fea9fe/latest"), Reason.REGISTRY_INVALID_RESPONSE),
    Case(toxins.redirect("http://[fe80::1]/x"), Reason.REGISTRY_INVALID_RESPONSE),
    Case(toxins.redirect_with_endless_body("SELFPATH"), Reason.REGISTRY_INVALID_RESPONSE),
]


@pytest.fixture
def store() -> Iterator[RegistryStore]:
    with RegistryStore(StoreSettings(use_http=True), None, {}) as made:
        yield made


@pytest.mark.parametrize("case", AT_DEADLINE + AT_ONCE, ids=lambda case: case.name)
def test_a_toxic_blob_ends_with_its_reason(store: RegistryStore, case: Case) -> None:
    with ToxicRegistry(case.toxin, case.where) as registry:
        pushed = push(registry)
        error, seconds, memory = _fails(store, pushed, SECONDS if case.late else AMPLE)
    assert error.reason is case.reason, error.message
    if case.late:
        assert isinstance(error, DeadlineError)
        assert SECONDS <= seconds < SECONDS + SLACK
    else:
        assert seconds < AMPLE
    assert memory < MEMORY
    assert registry.hits >= 1
    _check_wording(error, pushed)


def test_a_blob_with_an_endless_trailer_ends(store: RegistryStore) -> None:
    """At the deadline, or sooner: newer versions of Python count a trailer's lines."""
    with ToxicRegistry(toxins.endless_trailer, "/blobs/") as registry:
        pushed = push(registry)
        error, seconds, memory = _fails(store, pushed, SECONDS)
    assert error.reason in (Reason.DEADLINE_EXCEEDED, Reason.REGISTRY_INVALID_RESPONSE), error.message
    assert seconds < SECONDS + SLACK
    assert memory < MEMORY
    assert registry.hits >= 1
    _check_wording(error, pushed)


def _check_wording(error: VerifierError, pushed: Pushed) -> None:
    """A message says what was done, where and what to do, whether to try again, and nothing that breaks a log."""
    assert f"blob {pushed.blob.digest} of" in error.message or "authentication with" in error.message
    assert pushed.image.registry in error.message
    assert ";" in error.message
    assert ("trying again may help" in error.message or "try again" in error.message) == error.transient
    assert error.message.isprintable()
    assert "{" not in error.message


def _fails(store: RegistryStore, pushed: Pushed, seconds: float) -> tuple[VerifierError, float, int]:
    """Fetch the blob; return the error, how long it took and the bytes it allocated at most."""
    tracemalloc.start()
    try:
        begin = time.monotonic()
        with pytest.raises(VerifierError) as caught:
            store.blob(pushed.image, pushed.blob, 16 * 1024 * 1024, Deadline(seconds))
        return caught.value, time.monotonic() - begin, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_manifest_of_100_mib_is_not_read(store: RegistryStore) -> None:
    for announced in (True, False):
        toxin = toxins.flood(100 * 1024 * 1024, announced=announced)
        with ToxicRegistry(toxin, "/manifests/") as registry:
            pushed = push(registry)
            with pytest.raises(RegistryError) as caught:
                store.resolve(pushed.image, Deadline(AMPLE))
            assert caught.value.reason is Reason.LIMIT_EXCEEDED


def test_what_says_that_it_is_too_large_is_not_asked_for(store: RegistryStore) -> None:
    with ToxicRegistry(toxins.silent) as registry:
        pushed = push(registry)
        large = Descriptor("text/plain", Digest.of(b""), 100 * 1024 * 1024)
        with pytest.raises(RegistryError) as caught:
            store.manifest(pushed.image, large, Deadline(AMPLE))
        assert caught.value.reason is Reason.LIMIT_EXCEEDED
        with pytest.raises(RegistryError) as caught:
            store.blob(pushed.image, large, 1000, Deadline(AMPLE))
        assert caught.value.reason is Reason.LIMIT_EXCEEDED
        assert registry.hits == 0


def test_a_body_that_breaks_off_is_continued(store: RegistryStore) -> None:
    content = bytes(range(256)) * 512
    with ToxicRegistry(toxins.truncating(50_000), "/blobs/") as registry:
        pushed = push(registry, content=content)
        assert store.blob(pushed.image, pushed.blob, len(content), Deadline(AMPLE)) == content
        ranges = [seen.headers.get("Range") for seen in registry.seen if "/blobs/" in seen.path]
    assert ranges == [None, "bytes=50000-", "bytes=100000-"]


def test_a_chunked_body_is_read(store: RegistryStore) -> None:
    with ToxicRegistry(toxins.chunked(NOTE), "/blobs/") as registry:
        pushed = push(registry)
        assert store.blob(pushed.image, pushed.blob, len(NOTE), Deadline(AMPLE)) == NOTE


def test_interim_answers_are_read_past(store: RegistryStore) -> None:
    """RFC 9110, 15.2: 102 and 103 come before the answer, and none of them is the answer."""
    with ToxicRegistry(toxins.with_hints, "") as registry:
        pushed = push(registry)
        assert store.blob(pushed.image, pushed.blob, len(NOTE), Deadline(AMPLE)) == NOTE
        assert registry.hits >= 1


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504])
def test_a_failure_that_passes_is_repeated(store: RegistryStore, code: int) -> None:
    with ToxicRegistry(toxins.status(code), "/blobs/", times=2) as registry:
        pushed = push(registry)
        assert store.blob(pushed.image, pushed.blob, len(NOTE), Deadline(AMPLE)) == NOTE
        assert registry.hits == 2


@pytest.mark.parametrize("toxin", [toxins.reset, toxins.hang_up, toxins.truncating(10)])
def test_a_broken_connection_is_repeated(store: RegistryStore, toxin: Toxin) -> None:
    with ToxicRegistry(toxin, "/blobs/", times=1) as registry:
        pushed = push(registry)
        assert store.blob(pushed.image, pushed.blob, len(NOTE), Deadline(AMPLE)) == NOTE


@pytest.mark.parametrize("code", [400, 403, 404, 405, 416])
def test_a_failure_that_lasts_is_not_repeated(store: RegistryStore, code: int) -> None:
    with ToxicRegistry(toxins.status(code), "/blobs/") as registry:
        pushed = push(registry)
        with pytest.raises(RegistryError) as caught:
            store.blob(pushed.image, pushed.blob, len(NOTE), Deadline(AMPLE))
        assert registry.hits == 1
        assert not caught.value.transient


def test_retry_after_is_waited_for_within_the_deadline(store: RegistryStore) -> None:
    with ToxicRegistry(toxins.status(429, {"Retry-After": "1"}), "/blobs/", times=1) as registry:
        pushed = push(registry)
        begin = time.monotonic()
        assert store.blob(pushed.image, pushed.blob, len(NOTE), Deadline(AMPLE)) == NOTE
        assert time.monotonic() - begin >= 1


def test_a_retry_after_beyond_the_deadline_is_an_answer_at_once(store: RegistryStore) -> None:
    with ToxicRegistry(toxins.status(429, {"Retry-After": "60"}), "/blobs/") as registry:
        pushed = push(registry)
        begin = time.monotonic()
        with pytest.raises(RegistryError) as caught:
            store.blob(pushed.image, pushed.blob, len(NOTE), Deadline(40))
        assert time.monotonic() - begin < 30, "at once, and not at the deadline"
    assert caught.value.reason is Reason.REGISTRY_THROTTLED
    assert caught.value.transient


def test_a_name_server_that_does_not_answer_ends_at_the_deadline() -> None:
    from slsa_verifier_plugin.network.dialing import Endpoint, Resolver
    from slsa_verifier_plugin.registry.reference import Reference

    over = threading.Event()

    def hangs(host: str, port: int) -> list[Endpoint]:
        over.wait(60)
        return []

    image = Reference.parse("registry.example/app@sha256:" + "0" * 64)
    with RegistryStore(StoreSettings(), None, {}, resolver=Resolver(hangs)) as store:
        begin = time.monotonic()
        with pytest.raises(DeadlineError):
            store.referrers(image, Deadline(0.3))
        assert time.monotonic() - begin < 0.3 + SLACK
        over.set()


def test_an_address_that_does_not_answer_ends_at_the_deadline() -> None:
    import socket

    from slsa_verifier_plugin.registry.reference import Reference

    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        waiting = []
        try:
            for _ in range(4):  # the queue of a server that never accepts: further connections hang
                client = socket.socket()
                client.setblocking(False)
                client.connect_ex(("127.0.0.1", port))
                waiting.append(client)
            image = Reference.parse(f"127.0.0.1:{port}/app@sha256:" + "0" * 64)
            with RegistryStore(StoreSettings(use_http=True), None, {}) as store:
                begin = time.monotonic()
                with pytest.raises(DeadlineError):
                    store.referrers(image, Deadline(0.5))
                assert time.monotonic() - begin < 0.5 + SLACK
        finally:
            for client in waiting:
                client.close()
