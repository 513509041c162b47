"""Several things fetched at once, a bounded number ahead, and never longer than the deadline."""

from __future__ import annotations

import threading
import time

import pytest

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import DeadlineError, RegistryError
from slsa_verifier_plugin.verification.prefetch import prefetched


@pytest.mark.parametrize("workers", [0, 1, 3, 100])
@pytest.mark.parametrize("count", [0, 1, 2, 50])
def test_everything_comes_once(workers: int, count: int) -> None:
    found = list(prefetched(range(count), lambda n: n * n, workers, Deadline(60), "counting"))
    assert sorted(found) == [(n, n * n) for n in range(count)]


@pytest.mark.parametrize("workers", [1, 4])
def test_what_is_raised_is_handed_over(workers: int) -> None:
    error = RegistryError("away")

    def fetch(number: int) -> int:
        if number == 2:
            raise error
        return number

    found = dict(prefetched(range(5), fetch, workers, Deadline(60), "counting"))
    assert found == {0: 0, 1: 1, 2: error, 3: 3, 4: 4}


def test_several_are_under_way_at_once() -> None:
    """All four wait for each other: one after the other they would wait for ever."""
    meeting = threading.Barrier(4, timeout=30)
    assert len(list(prefetched(range(4), lambda _: meeting.wait(), 4, Deadline(60), "meeting"))) == 4


def test_no_more_are_ahead_than_the_bound() -> None:
    begun = 0
    guard = threading.Lock()

    def fetch(number: int) -> int:
        nonlocal begun
        with guard:
            begun += 1
        return number

    taken = prefetched(range(1000), fetch, 3, Deadline(60), "counting")
    next(taken)
    time.sleep(0.3)
    # One taken, three waiting to be taken, three that wait to hand over.
    assert begun <= 7
    taken.close()
    time.sleep(0.3)
    assert begun <= 8


@pytest.mark.parametrize("workers", [1, 2])
def test_out_of_time(workers: int) -> None:
    release = threading.Event()
    try:
        with pytest.raises(DeadlineError, match="while hanging"):
            list(prefetched(range(4), lambda _: release.wait(0.2), workers, Deadline(0.1), "hanging"))
    finally:
        release.set()


def test_what_is_under_way_in_the_end_is_waited_for_and_nothing_more_is_begun() -> None:
    begun, ended = [], []

    def fetch(number: int) -> int:
        begun.append(number)
        time.sleep(0.05)
        ended.append(number)
        return number

    taken = prefetched(range(1000), fetch, 4, Deadline(60), "counting")
    next(taken)
    taken.close()
    assert len(begun) == len(ended) <= 12


def test_one_that_hangs_delays_the_end_no_longer_than_a_moment() -> None:
    release = threading.Event()
    taken = prefetched(range(4), lambda n: n or release.wait(60), 2, Deadline(60), "counting")
    assert next(taken)[0] > 0
    started = time.monotonic()
    taken.close()
    assert time.monotonic() - started < 30
    release.set()


def test_one_that_hangs_keeps_no_other_from_coming() -> None:
    release = threading.Event()
    taken = prefetched(range(10), lambda n: n or release.wait(60), 2, Deadline(60), "counting")
    assert sorted(next(taken)[0] for _ in range(9)) == list(range(1, 10))
    release.set()
    assert next(taken)[0] == 0


@pytest.mark.parametrize(("count", "workers"), [(1, 8), (3, 1)])
def test_one_worker_is_the_caller(count: int, workers: int) -> None:
    found = prefetched(range(count), lambda _: threading.get_ident(), workers, Deadline(60), "counting")
    assert {where for _, where in found} == {threading.get_ident()}


@pytest.mark.parametrize("most", [0, 1, 2])
def test_where_no_more_threads_may_be_started_fewer_do(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    started = 0
    start = threading.Thread.start

    def limited(thread: threading.Thread) -> None:
        nonlocal started
        if started == most:
            raise RuntimeError("can't start new thread")
        started += 1
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    assert sorted(prefetched(range(9), lambda n: n, 4, Deadline(60), "counting")) == [
        (n, n) for n in range(9)
    ]
