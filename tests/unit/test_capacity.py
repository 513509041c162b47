"""One call at a time holds large content; small content is free."""

from __future__ import annotations

import threading

import pytest

from slsa_verifier_plugin.capacity import SMALL_BYTES, Capacity
from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import DeadlineError, RegistryError
from slsa_verifier_plugin.model.digest import Descriptor, Digest
from slsa_verifier_plugin.registry.reference import Reference
from tests.support.simulators import MemoryStore

IMAGE = Reference.parse("registry.example/app@sha256:" + "a" * 64)


def plenty() -> Deadline:
    """Return a deadline that no test reaches."""
    return Deadline(60.0)


def large(store: MemoryStore) -> Descriptor:
    return store.put(b"x" * (SMALL_BYTES + 1))


def test_a_second_large_one_waits_until_its_time_is_over_and_says_for_what() -> None:
    store, capacity = MemoryStore(), Capacity()
    content = large(store)
    with capacity.for_call(store) as first, capacity.for_call(store) as second:
        assert len(first.blob(IMAGE, content, 1 << 20, plenty())) == content.size
        with pytest.raises(DeadlineError, match=f"room for {content.size} bytes") as caught:
            second.blob(IMAGE, content, 1 << 20, Deadline(0.05))
        assert caught.value.transient
        assert store.asked[content.digest] == 1, "nothing is read before there is room"


def test_the_end_of_a_call_makes_room_however_it_ends() -> None:
    store, capacity = MemoryStore(), Capacity()
    content = large(store)
    with pytest.raises(RegistryError), capacity.for_call(store) as failing:
        failing.blob(
            IMAGE, Descriptor(content.media_type, Digest.of(b"gone"), content.size), 1 << 20, plenty()
        )
    got: list[int] = []
    with capacity.for_call(store) as holder:
        holder.blob(IMAGE, content, 1 << 20, plenty())

        def wait() -> None:
            with capacity.for_call(store) as waiting:
                got.append(len(waiting.blob(IMAGE, content, 1 << 20, plenty())))

        thread = threading.Thread(target=wait)
        thread.start()
        thread.join(0.1)
        assert not got
    thread.join(30)
    assert got == [content.size]


def test_many_small_ones_of_one_call_are_large_together() -> None:
    store, capacity = MemoryStore(), Capacity()
    half = store.put(b"y" * (SMALL_BYTES // 2))
    with capacity.for_call(store) as holder, capacity.for_call(store) as other:
        holder.blob(IMAGE, large(store), 1 << 20, plenty())
        holder.blob(IMAGE, large(store), 1 << 20, plenty())
        for _ in range(2):
            other.blob(IMAGE, half, 1 << 20, plenty())
        with pytest.raises(DeadlineError):
            other.blob(IMAGE, half, 1 << 20, Deadline(0.0))


def test_what_else_a_store_does_is_the_stores() -> None:
    store, capacity = MemoryStore(), Capacity()
    assert IMAGE.digest is not None
    listed = store.put(b"{}")
    store.referring[IMAGE.digest] = [listed]
    with capacity.for_call(store) as guarded:
        assert guarded.referrers(IMAGE, plenty()) == [listed]
