from __future__ import annotations

import ast
import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from slsa_verifier_plugin.resident import isolate
from slsa_verifier_plugin.resident.isolate import run_isolated
from slsa_verifier_plugin.resident.protocol import (
    DEADLINE_LINE,
    ENDED_LINE,
    MAX_REPLY,
    Answer,
    encode_answer,
    lack_line,
)
from tests.support.processes import children, open_files, wait_until

LATE = DEADLINE_LINE
CRASHED = ENDED_LINE
GOOD: Answer = (0, b"good\n", b"warn: x\n")


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine the end of a killed child may take longer than a caller waits for it."""
    monkeypatch.setattr(isolate, "REAP_SECONDS", 20.0)


def run(work: Callable[[], Answer], seconds: float = 20.0) -> Answer:
    """Run it isolated; whatever it does, it leaves no child, not even a dead one."""
    before = children(threading.get_native_id())
    answer = run_isolated(lambda: (seconds, lambda elapsed: work()), time.monotonic(), seconds)
    assert children(threading.get_native_id()) == before
    return answer


@pytest.mark.parametrize("answer", [GOOD, (1, b"", b""), (255, b"x" * 200_000, b"y" * 50_000)])
def test_the_answer_of_the_work_is_returned(answer: Answer) -> None:
    assert run(lambda: answer) == answer


def test_the_work_runs_in_another_process() -> None:
    status, stdout, _ = run(lambda: (0, b"%d %d" % (os.getpid(), os.getsid(0)), b""))
    process, session = stdout.split()
    assert status == 0
    assert int(process) != os.getpid()
    assert session == process


def raising() -> NoReturn:
    raise RuntimeError("secret")


def exiting() -> NoReturn:
    sys.exit(0)


def exiting_at_once() -> NoReturn:
    os._exit(0)


def killed() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def too_long() -> Answer:
    return 0, bytes(MAX_REPLY), b""


def no_answer() -> Answer:
    return None  # type: ignore[return-value]


@pytest.mark.parametrize("work", [raising, exiting, exiting_at_once, killed, too_long, no_answer])
def test_no_complete_answer_is_a_crash(work: Callable[[], Answer]) -> None:
    assert run(work) == (0, CRASHED, b"")


@pytest.mark.parametrize(
    ("error", "names"),
    [
        (OSError(errno.EMFILE, "secret"), b"limit of descriptors"),
        (MemoryError("secret"), b"no more memory"),
        (RuntimeError("can't start new thread"), b"limit of processes"),
    ],
)
def test_what_the_system_gives_no_more_of_is_named(error: Exception, names: bytes) -> None:
    """Beneath all that a verification itself catches: an import that finds no descriptor, say."""

    def work() -> Answer:
        raise error

    status, stdout, stderr = run(work)
    assert (status, stderr) == (0, b"")
    assert names in stdout
    assert json.loads(stdout)["extensions"]["transient"] is True
    assert b"secret" not in stdout


def into_the_connection(data: bytes) -> Callable[[], Answer]:
    """Return work that writes to the parent by itself, and ends."""

    def work() -> Answer:
        os.write(connection_of_the_child(), data)
        os._exit(0)

    return work


def connection_of_the_child() -> int:
    """Return the only descriptor beyond the standard files that a child has."""
    for descriptor in range(3, 1000):
        try:
            os.fstat(descriptor)
        except OSError:
            continue
        return descriptor
    raise AssertionError("there is none")


@pytest.mark.parametrize(
    "data",
    [
        encode_answer(GOOD)[:-1],
        encode_answer(GOOD)[:11],
        b"{" * 100,
        b"SLSV\x00\x01\x00\x02\xff\xff\xff\xff",
        b"SLSV\x00\x01\x00\x03\x00\x00\x00\x00",
        b"SLSV\x00\x01\x00\x02\x00\x00\x00\x01\x00",
    ],
    ids=["cut", "cut header", "no frame", "too long", "another frame", "no answer"],
)
def test_a_broken_answer_is_a_crash(data: bytes) -> None:
    assert run(into_the_connection(data)) == (0, CRASHED, b"")


def test_a_whole_answer_counts_even_if_the_child_then_crashes() -> None:
    assert run(into_the_connection(encode_answer(GOOD))) == GOOD


def looping() -> Answer:
    while True:
        pass


def stopped() -> Answer:
    os.kill(os.getpid(), signal.SIGSTOP)
    return GOOD


def deaf() -> Answer:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)
    time.sleep(60)
    return GOOD


def told_to_end() -> Answer:
    os.kill(os.getpid(), signal.SIGALRM)
    time.sleep(60)
    return GOOD


def test_an_alarm_ends_it_whatever_its_caller_has_blocked() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        assert run(told_to_end, 30.0) == (0, CRASHED, b"")
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def half() -> Answer:
    os.write(connection_of_the_child(), encode_answer(GOOD)[:-1])
    time.sleep(60)
    return GOOD


@pytest.mark.parametrize("work", [looping, stopped, deaf, half])
def test_what_does_not_end_is_late_and_killed(work: Callable[[], Answer]) -> None:
    started = time.monotonic()
    assert run(work, 0.3) == (0, LATE, b"")
    assert time.monotonic() - started < 30, "the work takes 60 s, or has no end"


def test_no_time_is_late() -> None:
    assert run(looping, -1.0) == (0, LATE, b"")


def test_grandchildren_are_killed() -> None:
    def work() -> Answer:
        # A credential helper that stays: it has whatever descriptors are inheritable.
        helper = subprocess.Popen(["sleep", "60"], close_fds=False)
        return 0, b"%d" % helper.pid, b""

    grandchild = int(run(work)[1])
    wait_until(lambda: has_ended(grandchild))


def has_ended(pid: int) -> bool:
    """Return True for a process that is gone, or only waits for its parent to notice."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def test_a_fork_that_keeps_the_connection_does_not_delay_the_crash() -> None:
    def work() -> Answer:
        if os.fork() == 0:
            time.sleep(60)
        os._exit(0)

    started = time.monotonic()
    assert run(work) == (0, CRASHED, b"")
    assert time.monotonic() - started < 30, "the fork stays for 60 s"


def test_the_child_has_no_descriptor_but_the_connection() -> None:
    kept = os.open("/dev/zero", os.O_RDONLY)
    os.set_inheritable(kept, True)

    def work() -> Answer:
        return 0, repr(open_files("self")).encode(), b""

    try:
        files = ast.literal_eval(run(work)[1].decode())
    finally:
        os.close(kept)
    assert [files.pop(number) for number in (0, 1, 2)] == ["/dev/null"] * 3
    assert [name.split(":")[0] for name in files.values()] == ["socket"]


def test_what_the_child_prints_goes_nowhere(capfd: pytest.CaptureFixture[str]) -> None:
    def work() -> Answer:
        os.write(1, b'{"isSuccess":true}')
        os.write(2, b"noise")
        return GOOD

    assert run(work) == GOOD
    assert capfd.readouterr() == ("", "")


def test_no_process_to_be_had_is_a_denial_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def fork() -> int:
        raise BlockingIOError(errno.EAGAIN, "no more processes")

    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    monkeypatch.setattr(os, "fork", fork)
    assert run(lambda: GOOD) == (0, lack_line(errno.EAGAIN), b"")
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_where_the_kernel_reaps_children_it_works_too() -> None:
    """A caller that ignores SIGCHLD has no dead children to look at."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert run(lambda: GOOD) == GOOD
        assert run(exiting) == (0, CRASHED, b"")
        assert run(looping, 0.2) == (0, LATE, b"")
        test_a_fork_that_keeps_the_connection_does_not_delay_the_crash()
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_an_orphan_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolate, "ORPHAN_SECONDS", 1)
    reader, writer = os.pipe()
    # The child is to tell its number to this test, which takes a descriptor that it would close.
    monkeypatch.setattr(isolate, "close_from", lambda first, *kept: None)

    def work() -> Answer:
        os.write(writer, b"%d" % os.getpid())
        return looping()

    parent = os.fork()
    if parent == 0:
        try:
            run(work, 0.5)
        finally:
            os._exit(0)
    os.close(writer)
    child = int(os.read(reader, 100))
    os.close(reader)
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    assert not has_ended(child)
    wait_until(lambda: has_ended(child))
