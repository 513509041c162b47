"""A resident verifier is killed or stopped, or has to serve many callers before it is there, and what they get then."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from slsa_verifier_plugin.resident import protocol
from slsa_verifier_plugin.resident.client import manage
from slsa_verifier_plugin.resident.place import check_directories
from slsa_verifier_plugin.resident.protocol import Answer
from tests.support.answers import LATE, is_own, pid_of
from tests.support.load import PROMISE
from tests.support.processes import is_stopped, kill, wait_for_end, wait_until
from tests.support.resident import START_DELAY, Caller, World


def test_killed_while_idle(world: World) -> None:
    first = world.server()
    kill(first)
    assert Path(world.place.socket).exists()
    assert world.server() not in (0, first)


def test_killed_while_answering(world: World) -> None:
    first = world.server()
    callers = [world.begin_held() for _ in range(6)]
    wait_until(lambda: world.report()["running"] == 6)
    kill(first)
    world.signal.touch()
    answers = {pid_of(caller.result()) for caller in callers}
    assert answers == {world.server()}
    assert first not in answers


def test_killed_while_starting(world: World) -> None:
    """One that was killed says nothing about the next one, which its starter starts."""
    world.environ[START_DELAY] = "2"
    callers = [world.begin() for _ in range(4)]
    wait_until(world.pids)
    kill(world.pids()[0])
    answers = {pid_of(caller.result()) for caller in callers}
    assert answers == {world.pids()[1]}
    assert len(world.pids()) == 2


def test_its_starter_killed_while_starting(world: World) -> None:
    world.environ[START_DELAY] = "1"
    starter = world.begin()
    wait_until(world.pids)
    others = [world.begin() for _ in range(3)]
    os.kill(starter.pid, signal.SIGKILL)
    (pid,) = {pid_of(caller.result()) for caller in others}
    with pytest.raises(AssertionError, match="without an answer"):
        starter.result()
    # The others may have started one more, which finds the place taken.
    wait_until(lambda: all(wait_for_end(other, 0.1) for other in world.pids() if other != pid))
    assert world.server() == pid


def test_its_starter_stopped_while_starting(world: World) -> None:
    """Who holds the lock and does not live is passed over, and not ended: where it goes on, it is answered."""
    world.environ[START_DELAY] = "1"
    starter = world.begin()
    wait_until(world.pids)
    os.kill(starter.pid, signal.SIGSTOP)
    os.kill(world.pids()[0], signal.SIGKILL)
    others = [world.begin() for _ in range(3)]
    (pid,) = {pid_of(caller.result()) for caller in others}
    os.kill(starter.pid, signal.SIGCONT)
    assert pid_of(starter.result()) == pid
    assert world.server() == pid


def test_a_starter_that_works_keeps_its_lock(hasty: World) -> None:
    with claimant(hasty, works=True, path=hasty.place.lock):
        before = Path(hasty.place.lock).stat().st_ino
        assert is_own(hasty.call(), b"could be started in time")
        assert Path(hasty.place.lock).stat().st_ino == before
    assert hasty.pids() == []


def test_stopped(hasty: World) -> None:
    pid = hasty.server()
    os.kill(pid, signal.SIGSTOP)
    assert hasty.status().problem == "a process listens, but does not answer"
    started = time.monotonic()
    callers = [hasty.begin() for _ in range(8)]
    answers = [caller.result() for caller in callers]
    assert time.monotonic() - started < PROMISE
    assert wait_for_end(pid)
    # The figures are those of ``tests/e2e/test_python_storms.py``; here a busy machine may leave some to turns, or without one.
    assert all(is_honest(answer, hasty.pids()[1:]) for answer in answers)


def is_honest(answer: Answer, pids: list[int]) -> bool:
    """Return True for the word of one of these verifiers, of a process of its own, or of a client without time."""
    if answer[1] in (LATE[1], protocol.NO_TURN_LINE):
        return True
    return is_own(answer) or pid_of(answer) in pids


def test_stopped_but_no_verifier_of_this_place(hasty: World) -> None:
    """A process of this user that listens there and does not live is left alone: it has not claimed the place."""
    check_directories(hasty.place, make=True)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(hasty.place.socket)
        listener.listen(8)
        os.write(writer, b"x")
        signal.pause()
    try:
        os.read(reader, 1)
        for claim in (b"", b"%d" % child):
            Path(hasty.place.claim).write_bytes(claim)
            assert is_own(hasty.call(), b"does not answer")
        assert os.waitpid(child, os.WNOHANG) == (0, 0)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@contextmanager
def claimant(
    world: World, number: int | None = None, *, works: bool = False, path: str = ""
) -> Iterator[int]:
    """A process that has claimed the place (or holds the lock ``path``) and does not listen: stopped, or at work.

    ``number`` is what it says of itself.
    """
    check_directories(world.place, make=True)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        claim = os.open(path or world.place.claim, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(claim, fcntl.LOCK_EX)
        os.write(claim, b"%d" % (number or os.getpid()))
        os.write(writer, b"x")
        while works:
            sum(range(10_000))
        signal.pause()
    try:
        os.read(reader, 1)
        if not works:
            os.kill(child, signal.SIGSTOP)
        yield child
    finally:
        os.close(reader)
        os.close(writer)
        kill(child)


def test_stopped_before_it_listens(world: World) -> None:
    with claimant(world) as stopped:
        # Whoever starts the next one waits for the place, and no call for anything else.
        pid = world.server()
        assert pid != stopped
        assert wait_for_end(stopped)
    assert world.server() == pid


def test_one_that_works_before_it_listens_is_left_alone(hasty: World) -> None:
    with claimant(hasty, works=True) as working:
        assert is_own(hasty.call(), b"could be started in time")
        assert os.waitpid(working, os.WNOHANG) == (0, 0)


def test_a_claim_that_names_a_stranger_ends_nobody(hasty: World) -> None:
    """A number may be one of another namespace of processes: here it is somebody's who only sleeps."""
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        with claimant(hasty, stranger.pid) as stopped:
            assert is_own(hasty.call(), b"could be started in time")
            assert os.waitpid(stopped, os.WNOHANG) == (0, 0)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_one_whose_claim_was_tidied_away_is_followed_by_another(world: World) -> None:
    """Callers could not end it, once it hangs."""
    pid = world.server()
    Path(world.place.claim).unlink()
    assert wait_for_end(pid)
    assert world.server() != pid


def test_signals_that_its_starter_has_blocked_end_it(world: World) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = world.server()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    os.kill(pid, signal.SIGTERM)
    assert wait_for_end(pid)


def test_stopped_while_answering(hasty: World) -> None:
    pid = hasty.server()
    caller = hasty.begin_held(b"budget=0.8")
    wait_until(lambda: hasty.report()["running"] == 1)
    os.kill(pid, signal.SIGSTOP)
    assert caller.result() == LATE
    hasty.signal.touch()
    os.kill(pid, signal.SIGCONT)
    wait_until(lambda: hasty.call() == (0, b"resident %d\n" % pid, b""))


def test_stopped_while_answering_a_call_with_more_time(hasty: World) -> None:
    pid = hasty.server()
    caller = hasty.begin_held()
    wait_until(lambda: hasty.report()["running"] == 1)
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: is_stopped(pid))
    hasty.signal.touch()
    answer = caller.result()
    assert wait_for_end(pid)
    assert is_honest(answer, hasty.pids()[1:])


def test_a_stopped_one_can_be_ended_by_the_command_line(
    hasty: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manage, "ASK_SECONDS", 0.3)
    pid = hasty.server()
    os.kill(pid, signal.SIGSTOP)
    assert manage.stop(hasty.environ, 20) == manage.Stopped(pid, killed=True)
    assert hasty.server() != pid


def test_64_callers_as_the_very_first(world: World) -> None:
    reader, writer = os.pipe()

    def call() -> Answer:
        os.close(writer)
        os.read(reader, 1)  # returns for all at once, when the last writer has closed
        return world.call(b"sleep=0.01")

    callers = [Caller(call) for _ in range(64)]
    os.close(writer)
    try:
        results = [caller.result(60) for caller in callers]
    finally:
        os.close(reader)
    answers = [pid_of(result) for result in results]
    assert len(world.pids()) == 1
    assert answers == world.pids() * 64
    assert world.server() == answers[0]
    assert world.report()["calls"]["accepted"] == 65
