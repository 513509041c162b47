"""When a resident verifier counts as hung, and what may then be ended."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from slsa_verifier_plugin.locks import named_in
from slsa_verifier_plugin.resident.channel import ProcessWatch
from slsa_verifier_plugin.resident.client.end_hung import end_hung
from slsa_verifier_plugin.resident.place import Place


@pytest.fixture
def stopped() -> Iterator[int]:
    """A child that has been stopped."""
    child = os.fork()
    if child == 0:
        os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(0)
    os.waitpid(child, os.WUNTRACED)
    try:
        yield child
    finally:
        if not ended(child):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def ended(child: int) -> bool:
    try:
        return os.waitpid(child, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return True


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(str(tmp_path), "key")
    Path(place.directory).mkdir(mode=0o700)
    return place


def watched(process: int) -> ProcessWatch:
    watch = ProcessWatch()
    # The first look is what the others are held against.
    for _ in range(10):
        assert not watch.looks_hung(process, 0.0), "too few looks"
    assert not watch.looks_hung(process, 60.0), "too soon"
    return watch


@contextmanager
def claimed(place: Place, number: int) -> Iterator[None]:
    claim = os.open(place.claim, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(claim, fcntl.LOCK_EX)
        os.ftruncate(claim, 0)
        os.pwrite(claim, b"%d" % number, 0)
        yield
    finally:
        os.close(claim)


def test_nobody_and_one_that_works_are_never_hung() -> None:
    watch = ProcessWatch()
    # The last number is none that a process can have: a claim may say anything.
    for process in (0, os.getpid(), 10**15 - 1):
        for _ in range(20):
            assert not watch.looks_hung(process, 0.0)


def test_what_was_seen_of_one_process_says_nothing_of_another(stopped: int) -> None:
    watch = watched(stopped)
    assert not watch.looks_hung(os.getpid(), 0.0)
    assert not watch.looks_hung(stopped, 0.0)


def test_one_that_is_stopped_and_has_claimed_the_place_is_ended(stopped: int, place: Place) -> None:
    watch = watched(stopped)
    assert watch.looks_hung(stopped, 0.0)
    with claimed(place, stopped):
        assert end_hung(watch, place)
    assert os.waitpid(stopped, 0)[1] == signal.SIGKILL


def test_nothing_else_is_ended(stopped: int, place: Place) -> None:
    watch = watched(stopped)
    assert not end_hung(watch, place), "nobody has claimed the place"
    with claimed(place, stopped + 1):
        assert not end_hung(watch, place), "another process has"
    with claimed(place, stopped):
        pass
    assert not end_hung(watch, place), "it does not hold its claim any more"
    with claimed(place, stopped):
        assert watch.used is not None
        watch.used += 1
        assert not end_hung(watch, place), "it is another process of that number"
        watch.used -= 1
        lock = os.open(place.lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            assert end_hung(watch, place), "somebody else is at it"
        finally:
            os.close(lock)
    assert not ended(stopped)


def test_a_pipe_in_the_place_of_its_claim_is_not_waited_for(stopped: int, place: Place) -> None:
    watch = watched(stopped)
    os.mkfifo(place.claim, 0o600)
    # As a verifier opens its claim: there is somebody who could write.
    pipe = os.open(place.claim, os.O_RDWR)
    try:
        assert not end_hung(watch, place)
        assert named_in(place.claim) == 0
    finally:
        os.close(pipe)
    assert not ended(stopped)


def test_what_a_lock_file_names(place: Place) -> None:
    assert named_in(place.lock) == 0
    for content, number in ((b"", 0), (b"failed", 0), (b"-1", 0), (b"12 ", 0), (b"4711", 4711)):
        Path(place.lock).write_bytes(content)
        assert named_in(place.lock) == number


def test_one_that_has_ended_needs_no_ending(stopped: int, place: Place) -> None:
    watch = watched(stopped)
    os.kill(stopped, signal.SIGKILL)
    os.waitpid(stopped, 0)
    with claimed(place, stopped):
        assert end_hung(watch, place)
    assert not watch.looks_hung(stopped, 0.0)
