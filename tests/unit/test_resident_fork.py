"""A fork that does work: whatever becomes of it, who asks is told so in time and nothing else is said."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from slsa_verifier_plugin.resident import isolate, processors
from slsa_verifier_plugin.resident.processors import usable_processors
from slsa_verifier_plugin.resident.server import fork as forking
from slsa_verifier_plugin.resident.server.fork import MAX_REPLY, MAX_REQUEST, Fork, Work
from slsa_verifier_plugin.resident.spawn import close_from
from tests.support.processes import is_stopped, is_there, wait_until

BASE = os.getpid()


def obey(request: bytes) -> bytes:
    """Do what the request's first word says."""
    word, _, rest = request.partition(b" ")
    if word == b"die":
        os.kill(os.getpid(), signal.SIGKILL)
    if word == b"exit":
        os._exit(0)
    if word == b"sleep":
        time.sleep(float(rest))
    if word == b"until":
        wait_until(Path(os.fsdecode(rest)).exists, 60)
    if word == b"raise":
        raise ValueError("secret")
    if word == b"long":
        return b"x" * (MAX_REPLY + 1)
    if word == b"empty":
        return b""
    if word == b"files":
        return " ".join(os.listdir("/proc/self/fd")).encode()  # noqa: PTH208
    return b"%d %d " % (os.getpid(), len(request)) + request[:16]


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine makes no fork late: what is about being late sets its own seconds."""
    monkeypatch.setattr(forking, "READY_SECONDS", 60.0)
    monkeypatch.setattr(forking, "ASK_SECONDS", 60.0)


@pytest.fixture
def fork() -> Iterator[Fork]:
    made = Fork(lambda: obey, 4)
    made.start()
    yield made
    made.end()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fork]:
    """A fork that is waited for no longer than a moment."""
    monkeypatch.setattr(forking, "ASK_SECONDS", 0.5)
    made = Fork(lambda: obey, 4)
    made.start()
    yield made
    made.end()


def pid_of(fork: Fork) -> int:
    reply = fork.ask(b"who")
    assert reply is not None
    return int(reply.split()[0])


def test_work_is_done_in_another_process(fork: Fork) -> None:
    pid = pid_of(fork)
    assert pid != BASE
    assert fork.state == f"process {pid}"
    assert fork.ask(b"hello") == b"%d 5 hello" % pid


def test_many_ask_at_once_and_each_gets_its_own_reply(fork: Fork) -> None:
    wrong: list[bytes | None] = []

    def ask_often(name: int) -> None:
        for number in range(50):
            word = b"%d-%d" % (name, number)
            reply = fork.ask(word)
            if reply is not None and not reply.endswith(b" " + word):
                wrong.append(reply)

    threads = [threading.Thread(target=ask_often, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert fork.ask(b"still") is not None


def test_who_finds_no_lane_does_not_wait(fork: Fork, tmp_path: Path) -> None:
    go_on = tmp_path / "go on"
    order = b"until " + os.fsencode(go_on)
    threads = [threading.Thread(target=fork.ask, args=(order,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    wait_until(fork._free.empty)
    # Whoever waited would wait until the file is there, and would be answered.
    assert fork.ask(b"hello") is None
    go_on.touch()
    for thread in threads:
        thread.join()
    assert fork.ask(b"hello") is not None


@pytest.mark.parametrize("order", [b"raise", b"long", b"empty"])
def test_work_that_fails_is_no_reply_and_the_fork_goes_on(fork: Fork, order: bytes) -> None:
    pid = pid_of(fork)
    assert fork.ask(order) is None
    assert pid_of(fork) == pid


def test_a_request_may_be_large_but_not_larger(fork: Fork) -> None:
    reply = fork.ask(b"x" * MAX_REQUEST)
    assert reply is not None
    assert b" %d " % MAX_REQUEST in reply
    assert fork.ask(b"x" * (MAX_REQUEST + 1)) is None
    assert pid_of(fork)


def test_a_fork_that_is_slow_to_die_is_no_zombie_for_long(
    hasty: Fork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a machine so busy that a killed process gets no processor to die on in time."""
    monkeypatch.setattr(isolate, "REAP_SECONDS", 0.0)
    pid = int(hasty.state.removeprefix("process "))
    hasty.end()
    wait_until(lambda: not is_there(pid))


@pytest.mark.parametrize("order", [b"die", b"exit", b"sleep 60"])
def test_a_fork_that_gives_no_reply_is_ended(hasty: Fork, order: bytes) -> None:
    pid = int(hasty.state.removeprefix("process "))
    started = time.monotonic()
    assert hasty.ask(order) is None
    assert time.monotonic() - started < 30, "the work takes 60 s"
    wait_until(lambda: not is_there(pid))
    assert hasty.state == f"ended: no answer of process {pid}"
    assert hasty.ask(b"hello") is None


def test_a_stopped_fork_holds_nobody_for_long(hasty: Fork) -> None:
    pid = int(hasty.state.removeprefix("process "))
    os.kill(pid, signal.SIGSTOP)
    replies: list[bytes | None] = []
    threads = [threading.Thread(target=lambda: replies.append(hasty.ask(b"hello"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        # It is stopped for ever: whoever waited for it would never return.
        thread.join(30)
    assert replies == [None] * 8
    wait_until(lambda: not is_there(pid))


def test_a_fork_has_none_of_its_parents_files(fork: Fork) -> None:
    with Path("/dev/null").open("rb"):
        other = Fork(lambda: obey, 1)
        other.start()
    try:
        reply = other.ask(b"files")
        assert reply is not None
        # Standard files, one lane, and the directory that is being listed.
        assert len(reply.split()) == 5
        standard = [os.readlink(f"/proc/{pid_of(other)}/fd/{number}") for number in (0, 1, 2)]  # noqa: PTH115
        assert standard == ["/dev/null"] * 3
        assert os.getpgid(pid_of(other)) == pid_of(other)
    finally:
        other.end()


@pytest.mark.parametrize("stopped", [False, True])
def test_a_fork_ends_with_its_parent(stopped: bool) -> None:
    reader, writer = os.pipe()
    parent = os.fork()
    if parent == 0:
        made = Fork(lambda: obey, 2)
        made.start()
        os.write(writer, b"%d" % pid_of(made))
        signal.pause()
    os.close(writer)
    child = int(os.read(reader, 20))
    os.close(reader)
    assert is_there(child)
    if stopped:
        os.kill(child, signal.SIGSTOP)
        # The signal takes effect only when the child next has a processor. Where the parent ends before that, the kernel finds no
        # stopped process in the group that it orphans, and wakes none.
        wait_until(lambda: is_stopped(child))
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    wait_until(lambda: not is_there(child))


def test_work_without_an_end_is_ended_by_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forking, "WORK_SECONDS", 1)
    made = Fork(lambda: obey, 1)
    made.start()
    try:
        started = time.monotonic()
        assert made.ask(b"sleep 60") is None
        assert time.monotonic() - started < 30, "it is asked for 60 s, and the work takes as long"
    finally:
        made.end()


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_a_fork_that_is_lost_before_it_has_closed_what_it_inherited_is_ended(
    monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    def lose(*_: int) -> None:
        if os.getpid() != BASE:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(forking, "close_from", lose)
    monkeypatch.setattr(forking, "READY_SECONDS", 0.3)
    reader, writer = os.pipe()  # stands for the listening socket and its claim
    made = Fork(lambda: obey, 2)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    made.start()
    os.close(writer)
    assert os.read(reader, 1) == b"", "nobody holds it"
    os.close(reader)
    assert made.state.startswith("ended: process ")
    assert len(os.listdir("/proc/self/fd")) == before - 2  # noqa: PTH208
    assert made.ask(b"hello") is None


def test_when_it_has_started_nothing_that_it_inherited_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    def slowly(first: int, *kept: int) -> None:
        if os.getpid() != BASE:
            time.sleep(0.3)
        close_from(first, *kept)

    monkeypatch.setattr(forking, "close_from", slowly)
    reader, writer = os.pipe()
    made = Fork(lambda: obey, 2)
    made.start()
    try:
        os.kill(int(made.state.removeprefix("process ")), signal.SIGSTOP)
        os.close(writer)
        assert os.read(reader, 1) == b""
        os.close(reader)
    finally:
        made.end()


def test_where_nothing_can_be_forked_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", refuse)
    made = Fork(lambda: obey, 4)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    made.start()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    assert made.state == "not started: Resource temporarily unavailable"
    assert made.ask(b"hello") is None
    made.end()


def test_before_it_is_started_nothing_is_asked() -> None:
    assert Fork(lambda: obey, 4).ask(b"hello") is None


def test_a_fork_that_cannot_prepare_gives_no_reply() -> None:
    def fail() -> Work:
        raise ImportError("no such module")

    made = Fork(fail, 1)
    made.start()
    assert made.ask(b"hello") is None
    made.end()


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 8),
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.max": "100000 100000\n"}, 1),
        ({"cpu.max": "150000 100000\n"}, 1),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "1600000 100000\n"}, 8),
        ({"cpu.max": "nonsense"}, 8),
        ({"cpu.max": ""}, 8),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2),
        ({"cpu/cpu.cfs_quota_us": "200000\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "0\n"}, 8),
    ],
)
def test_usable_processors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], expected: int
) -> None:
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(processors, "_CONTROL_GROUPS", str(tmp_path))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert usable_processors() == expected


def test_a_mask_of_one_processor_is_one() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert usable_processors() == 1
    finally:
        os.sched_setaffinity(0, before)
