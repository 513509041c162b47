"""The bounded cache: what it keeps, what it drops, and that it never grows past its capacity."""

from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from slsa_verifier_plugin.lru import LruCache


def test_what_was_put_is_kept_and_counted() -> None:
    cache: LruCache[str, int] = LruCache(8)
    assert cache.get("a") is None
    cache.put("a", 1)
    assert (cache.get("a"), len(cache), cache.hits, cache.misses) == (1, 1, 1, 1)
    cache.put("a", 2)
    assert (cache.get("a"), len(cache)) == (2, 1)
    cache.clear()
    assert (cache.get("a"), len(cache)) == (None, 0)


def test_the_least_recently_used_goes_first() -> None:
    cache: LruCache[int, int] = LruCache(4)
    for number in range(4):
        cache.put(number, number)
    cache.get(0)
    cache.put(2, 2)
    cache.put(4, 4)
    assert [number for number in range(5) if cache.get(number) is not None] == [0, 2, 3, 4]


def test_one_value_takes_no_more_than_a_quarter() -> None:
    cache: LruCache[str, str] = LruCache(100)
    cache.put("small", "x", 25)
    cache.put("large", "y", 26)
    assert (cache.get("small"), cache.get("large")) == ("x", None)


def test_a_dearer_value_pushes_out_as_many_as_it_needs() -> None:
    cache: LruCache[int, int | None] = LruCache(100)
    for number in range(10):
        cache.put(number, number, 10)
    cache.put(10, 10, 25)
    assert [number for number in range(11) if cache.get(number) is not None] == [3, 4, 5, 6, 7, 8, 9, 10]


def test_replacing_a_value_counts_its_cost_once() -> None:
    cache: LruCache[str, int] = LruCache(100)
    for _ in range(1000):
        cache.put("a", 1, 25)
    for name in "bcd":
        cache.put(name, 1, 25)
    assert len(cache) == 4


def test_after_clearing_there_is_room_for_all() -> None:
    cache: LruCache[int, int] = LruCache(4)
    for _ in range(3):
        for number in range(4):
            cache.put(number, number)
        assert len(cache) == 4
        cache.clear()


OPERATIONS = st.lists(st.tuples(st.sampled_from("pgc"), st.integers(0, 9), st.integers(0, 12)), max_size=60)


@given(OPERATIONS, st.integers(4, 40))
def test_the_cost_never_exceeds_the_capacity(operations: list[tuple[str, int, int]], capacity: int) -> None:
    cache: LruCache[int, tuple[int, int]] = LruCache(capacity)
    costs: dict[int, int] = {}
    for what, key, cost in operations:
        if what == "p":
            cache.put(key, (key, cost), cost)
            if cost <= capacity // 4:
                costs[key] = cost
        elif what == "g":
            found = cache.get(key)
            assert found is None or found == (key, costs[key])
        elif key == 0:
            cache.clear()
        kept = [value for number in range(10) if (value := cache._items.get(number)) is not None]
        assert sum(cost for _, cost in kept) == cache._cost <= capacity


def test_many_threads_agree() -> None:
    cache: LruCache[int, int] = LruCache(64)
    wrong: list[object] = []

    def work(seed: int) -> None:
        for number in range(3000):
            key = (number * seed) % 97
            cache.put(key, key * 2)
            found = cache.get((key * 31) % 97)
            if found is not None and found != ((key * 31) % 97) * 2:
                wrong.append(found)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in (3, 5, 7, 11)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(cache) == 64 == cache._cost
    assert cache.hits + cache.misses == 12_000


def test_what_is_dropped_is_gone_and_costs_nothing() -> None:
    cache: LruCache[str, int] = LruCache(8)
    cache.put("a", 1, 2)
    cache.put("b", 2, 2)
    cache.drop("a")
    cache.drop("unknown")
    assert (cache.get("a"), cache.get("b"), cache.usage()["bytes"]) == (None, 2, 2)
