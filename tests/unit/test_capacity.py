"""Few calls at a time hold large content, and fewer of one registry; small content is free."""

from __future__ import annotations

import random
import threading

import pytest

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import DeadlineError, RegistryError
from slsa_verifier_plugin.model.digest import Descriptor, Digest
from slsa_verifier_plugin.registry import arrival
from slsa_verifier_plugin.registry.reference import Reference
from slsa_verifier_plugin.verification.capacity import (
    LARGE_PLACES,
    MEDIUM_BYTES,
    MEDIUM_PLACES,
    MEDIUM_PLACES_EACH,
    SMALL_BYTES,
    Capacity,
)
from slsa_verifier_plugin.verification.ports import ArtifactStore
from tests.support.simulators import MemoryStore

LIMIT = 16 << 20


def image(registry: str = "registry.example") -> Reference:
    return Reference.parse(f"{registry}/app@sha256:" + "a" * 64)


IMAGE = image()


def plenty() -> Deadline:
    """Return a deadline that no test reaches."""
    return Deadline(60.0)


def medium(store: MemoryStore) -> Descriptor:
    return store.put(b"x" * (SMALL_BYTES + 1))


def large(store: MemoryStore) -> Descriptor:
    return store.put(b"x" * (MEDIUM_BYTES + 1))


def test_a_second_large_one_of_a_registry_waits_until_its_time_is_over_and_says_for_what() -> None:
    store, capacity = MemoryStore(), Capacity()
    content = large(store)
    with capacity.for_call(store) as first, capacity.for_call(store) as second:
        assert len(first.blob(IMAGE, content, LIMIT, plenty())) == content.size
        with pytest.raises(DeadlineError, match=f"room for {content.size} bytes") as caught:
            second.blob(IMAGE, content, LIMIT, Deadline(0.05))
        assert caught.value.transient


def test_a_registry_that_is_waited_for_leaves_room_for_the_others() -> None:
    """A slow registry's calls held the one turn there was: another registry's call went from 0.05 s to 3.5 s."""
    store, capacity = MemoryStore(), Capacity()
    hanging, go_on = threading.Semaphore(0), threading.Event()

    class Slow(MemoryStore):
        def blob(self, image: Reference, descriptor: Descriptor, limit: int, deadline: Deadline) -> bytes:
            hanging.release()
            assert go_on.wait(60)
            return store.blob(image, descriptor, limit, deadline)

    slow = Slow()
    contents = [medium(store), large(store)]

    def wait(content: Descriptor) -> None:
        with capacity.for_call(slow) as guarded:
            guarded.blob(image("slow.example"), content, LIMIT, plenty())

    # More calls than there are places, of both classes.
    threads = [
        threading.Thread(target=wait, args=(contents[index % 2],)) for index in range(3 * MEDIUM_PLACES)
    ]
    for thread in threads:
        thread.start()
    for _ in range(MEDIUM_PLACES_EACH):
        assert hanging.acquire(timeout=60)
    try:
        for content in contents:
            with capacity.for_call(store) as other:
                # It would wait for ever: the slow one answers only once this has its content.
                assert len(other.blob(IMAGE, content, LIMIT, plenty())) == content.size
    finally:
        go_on.set()
        for thread in threads:
            thread.join(60)
    assert not any(thread.is_alive() for thread in threads)


class _Arriving(MemoryStore):
    """A registry over a network, which sends ``first`` bytes and hangs."""

    def __init__(self, first: int) -> None:
        super().__init__()
        self._first = first
        self.hanging, self.go_on = threading.Semaphore(0), threading.Event()

    def blob(self, image: Reference, descriptor: Descriptor, limit: int, deadline: Deadline) -> bytes:
        for size in range(0, self._first + 1, SMALL_BYTES // 4):
            arrival.hold(size)
        self.hanging.release()
        assert self.go_on.wait(60)
        return super().blob(image, descriptor, limit, deadline)


@pytest.mark.parametrize("make", [medium, large])
@pytest.mark.parametrize("first", [0, SMALL_BYTES // 4, SMALL_BYTES])
def test_no_number_of_slow_registries_takes_the_places_for_content_that_has_not_come(
    first: int, make: type
) -> None:
    slow, store, capacity = _Arriving(first), MemoryStore(), Capacity()
    content, own = make(slow), make(store)

    def wait(number: int) -> None:
        with capacity.for_call(slow) as guarded:
            guarded.blob(image(f"slow{number}.example"), content, LIMIT, plenty())

    threads = [threading.Thread(target=wait, args=(number % 12,)) for number in range(3 * MEDIUM_PLACES)]
    for thread in threads:
        thread.start()
    try:
        for _ in threads:
            assert slow.hanging.acquire(timeout=60)
        with capacity.for_call(store) as other:
            assert len(other.blob(IMAGE, own, LIMIT, Deadline(10.0))) == own.size
    finally:
        slow.go_on.set()
        for thread in threads:
            thread.join(60)
    _expect_empty(capacity, store)


def test_what_has_come_needs_a_place_before_more_of_it_comes() -> None:
    store, capacity = MemoryStore(), Capacity()
    came: list[int] = []

    class Sending(MemoryStore):
        def blob(self, image: Reference, descriptor: Descriptor, limit: int, deadline: Deadline) -> bytes:
            for size in range(0, descriptor.size, SMALL_BYTES // 4):
                arrival.hold(size)
                came.append(size)
            return store.blob(image, descriptor, limit, deadline)

    with capacity.for_call(store) as first, capacity.for_call(Sending()) as second:
        first.blob(IMAGE, large(store), LIMIT, plenty())
        with pytest.raises(DeadlineError):
            second.blob(IMAGE, large(store), LIMIT, Deadline(0.0))
        assert max(came) == MEDIUM_BYTES, "there was a place of the one class left, none of the other"
        came.clear()
        # What did not come is not held.
        second.blob(IMAGE, store.put(b"z" * 9), LIMIT, plenty())
        assert came == [0]


def test_a_body_that_begins_anew_is_counted_once() -> None:
    store, capacity = MemoryStore(), Capacity()
    content = store.put(b"x" * SMALL_BYTES)

    class Breaking(MemoryStore):
        def blob(self, image: Reference, descriptor: Descriptor, limit: int, deadline: Deadline) -> bytes:
            for _ in range(3):
                arrival.hold(descriptor.size - 1)
            return store.blob(image, descriptor, limit, deadline)

    with capacity.for_call(Breaking()) as guarded:
        guarded.blob(IMAGE, content, LIMIT, plenty())
        assert not capacity._medium._taken
        guarded.blob(IMAGE, store.put(b"y"), LIMIT, plenty())
        assert capacity._medium._taken == {IMAGE.registry: 1}


@pytest.mark.parametrize(("make", "places"), [(medium, MEDIUM_PLACES), (large, LARGE_PLACES)])
def test_there_are_only_so_many_places_for_all(make: type, places: int) -> None:
    store, capacity = MemoryStore(), Capacity()
    content = make(store)
    calls = [capacity.for_call(store) for _ in range(places + 1)]
    guarded = [call.__enter__() for call in calls]
    for index in range(places):
        guarded[index].blob(image(f"r{index}.example"), content, LIMIT, plenty())
    with pytest.raises(DeadlineError, match="room for"):
        guarded[places].blob(image("last.example"), content, LIMIT, Deadline(0.05))
    calls[0].__exit__(None, None, None)
    assert guarded[places].blob(image("last.example"), content, LIMIT, plenty())
    for call in calls[1:]:
        call.__exit__(None, None, None)


def test_the_end_of_a_call_makes_room_however_it_ends() -> None:
    store, capacity = MemoryStore(), Capacity()
    content = large(store)
    with pytest.raises(RegistryError), capacity.for_call(store) as failing:
        failing.blob(IMAGE, Descriptor(content.media_type, Digest.of(b"gone"), content.size), LIMIT, plenty())
    got: list[int] = []
    with capacity.for_call(store) as holder:
        holder.blob(IMAGE, content, LIMIT, plenty())

        def wait() -> None:
            with capacity.for_call(store) as waiting:
                got.append(len(waiting.blob(IMAGE, content, LIMIT, plenty())))

        thread = threading.Thread(target=wait)
        thread.start()
        thread.join(0.1)
        assert not got
    thread.join(30)
    assert got == [content.size]


def test_many_small_ones_of_one_call_are_large_together() -> None:
    store, capacity = MemoryStore(), Capacity()
    half = store.put(b"y" * (SMALL_BYTES // 2))
    with capacity.for_call(store) as one, capacity.for_call(store) as two, capacity.for_call(store) as other:
        for holder in (one, two):
            holder.blob(IMAGE, medium(store), LIMIT, plenty())
            holder.blob(IMAGE, medium(store), LIMIT, plenty())
        for _ in range(2):
            other.blob(IMAGE, half, LIMIT, plenty())
        with pytest.raises(DeadlineError, match="room for"):
            other.blob(IMAGE, half, LIMIT, Deadline(0.05))


def test_many_calls_that_grow_never_wait_for_each_other() -> None:
    store, capacity = MemoryStore(), Capacity()
    pieces = [store.put(bytes([index]) * (SMALL_BYTES * size)) for index, size in enumerate((1, 2, 7, 9))]
    done: list[int] = []

    def call(number: int) -> None:
        chance = random.Random(number)
        with capacity.for_call(store) as guarded:
            for _ in range(4):
                where = image(f"r{chance.randrange(4)}.example")
                guarded.blob(where, chance.choice(pieces), LIMIT, plenty())
        done.append(number)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(done) == list(range(64))
    _expect_empty(capacity, store)


def _expect_empty(capacity: Capacity, store: ArtifactStore) -> None:
    for places in (capacity._medium, capacity._large):
        assert not places._taken


def test_what_else_a_store_does_is_the_stores() -> None:
    store, capacity = MemoryStore(), Capacity()
    assert IMAGE.digest is not None
    listed = store.put(b"{}")
    store.referring[IMAGE.digest] = [listed]
    with capacity.for_call(store) as guarded:
        assert guarded.referrers(IMAGE, plenty()) == [listed]
