"""Registries that stop in the middle of a large content hold up no other, over real sockets."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import DeadlineError
from slsa_verifier_plugin.model.digest import Descriptor, Digest
from slsa_verifier_plugin.registry.reference import Reference
from slsa_verifier_plugin.registry.settings import StoreSettings
from slsa_verifier_plugin.registry.store import RegistryStore
from slsa_verifier_plugin.verification.capacity import LARGE_PLACES, MEDIUM_BYTES, SMALL_BYTES, Capacity
from tests.support.http_server import AnsweringHandler, listening

LIMIT = 16 << 20
CONTENT = bytes(MEDIUM_BYTES + 1)
BLOB = Descriptor("application/octet-stream", Digest.of(CONTENT), len(CONTENT))
SLOW = 5


@contextmanager
def registry(go_on: threading.Event | None = None) -> Iterator[Reference]:
    """Serve ``CONTENT``; with ``go_on``, half of what is free at first, and the rest once it is set."""

    class Handler(AnsweringHandler):
        def asked(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            if go_on is not None:
                self.wfile.write(CONTENT[: SMALL_BYTES // 2])
                go_on.wait(60)
            self.wfile.write(CONTENT[SMALL_BYTES // 2 if go_on else 0 :])

    with listening(Handler) as host:
        yield Reference.parse(f"{host}/app@{BLOB.digest}")


def store() -> RegistryStore:
    return RegistryStore(StoreSettings.parse({"useHttp": True}), None, {})


@pytest.fixture
def capacity() -> Capacity:
    return Capacity()


def test_five_registries_that_stop_hold_up_no_other(capacity: Capacity) -> None:
    go_on, ended = threading.Event(), []

    def call(image: Reference) -> None:
        with store() as own, capacity.for_call(own) as guarded:
            ended.append(len(guarded.blob(image, BLOB, LIMIT, Deadline(60.0))))

    with ExitStack() as stack:
        images = [stack.enter_context(registry(go_on)) for _ in range(SLOW)]
        threads = [threading.Thread(target=call, args=(image,)) for image in images]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join(0.05)
            other = stack.enter_context(registry())
            with store() as own, capacity.for_call(own) as guarded:
                assert guarded.blob(other, BLOB, LIMIT, Deadline(10.0)) == CONTENT
            assert not ended
        finally:
            go_on.set()
            for thread in threads:
                thread.join(60)
    assert ended == [len(CONTENT)] * SLOW, "each gets its place once its content comes"


def test_a_call_without_a_place_leaves_a_connection_that_can_be_used_no_more(capacity: Capacity) -> None:
    with ExitStack() as stack:
        for _ in range(LARGE_PLACES):
            image = stack.enter_context(registry())
            own = stack.enter_context(store())
            stack.enter_context(capacity.for_call(own)).blob(image, BLOB, LIMIT, Deadline(60.0))
        image = stack.enter_context(registry())
        own = stack.enter_context(store())
        with capacity.for_call(own) as guarded, pytest.raises(DeadlineError, match="room for"):
            guarded.blob(image, BLOB, LIMIT, Deadline(0.5))
        assert own.blob(image, BLOB, LIMIT, Deadline(60.0)) == CONTENT
