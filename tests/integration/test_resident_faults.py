"""What may happen to a resident verifier, and what its callers get then.

In each case every caller gets exactly one honest answer: the resident's, or that of a process of its own, or a denial because the
time is over. Never a success that nobody gave, never silence; and the next call works.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from slsa_verifier_plugin.resident import manage, protocol
from slsa_verifier_plugin.resident.lifecycle import Place, check_directories
from slsa_verifier_plugin.resident.protocol import Answer
from slsa_verifier_plugin.resident.server import serve
from slsa_verifier_plugin.resident.settings import Settings
from tests.support.resident import (
    OWN,
    ROOT,
    START,
    START_DELAY,
    Caller,
    ObedientService,
    World,
    kill,
    wait_for_end,
    wait_until,
)

LATE: Answer = (0, protocol.DEADLINE_LINE, b"")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act for another user")
OTHER_USER = 12345


@pytest.fixture
def world() -> Iterator[World]:
    with World() as world:
        yield world


@pytest.fixture
def hasty() -> Iterator[World]:
    """A world whose callers wait exactly as long as the product's."""
    with World(patient=False) as world:
        yield world


def is_own(answer: Answer, reason: bytes = b"") -> bool:
    """Return True for the answer of a process of its own, that says why on standard error."""
    status, stdout, stderr = answer
    assert b"{" not in stderr
    return (status, stdout) == OWN[:2] and stderr.startswith(b"warn: ") and reason in stderr


def pid_of(answer: Answer) -> int:
    """Return the resident verifier that an answer is from."""
    status, stdout, stderr = answer
    assert (status, stderr) == (0, b""), answer
    assert stdout.startswith(b"resident "), answer
    return int(stdout.split()[1])


# Killed and stopped


def test_killed_while_idle(world: World) -> None:
    first = world.server()
    kill(first)
    assert Path(world.place.socket).exists()
    assert world.server() not in (0, first)


def test_killed_while_answering(world: World) -> None:
    first = world.server()
    callers = [world.begin(b"sleep=0.6") for _ in range(6)]
    wait_until(lambda: world.report()["running"] == 6)
    kill(first)
    answers = {pid_of(caller.result()) for caller in callers}
    assert answers == {world.server()}
    assert first not in answers


def test_killed_while_starting(world: World) -> None:
    world.environ[START_DELAY] = "60"
    callers = [world.begin() for _ in range(4)]
    wait_until(world.pids)
    time.sleep(0.1)
    kill(world.pids()[0])
    for caller in callers:
        assert is_own(caller.result(10), b"no resident verifier could be started")
    assert len(world.pids()) == 1
    del world.environ[START_DELAY]
    assert world.server()


def test_its_starter_killed_while_starting(world: World) -> None:
    world.environ[START_DELAY] = "1"
    starter = world.begin()
    wait_until(world.pids)
    others = [world.begin() for _ in range(3)]
    time.sleep(0.1)
    os.kill(starter.pid, signal.SIGKILL)
    (pid,) = {pid_of(caller.result()) for caller in others}
    with pytest.raises(AssertionError, match="without an answer"):
        starter.result()
    # The others may have started one more, which finds the place taken.
    wait_until(lambda: all(wait_for_end(other, 0.1) for other in world.pids() if other != pid))
    assert world.server() == pid


def test_stopped(hasty: World) -> None:
    pid = hasty.server()
    os.kill(pid, signal.SIGSTOP)
    started = time.monotonic()
    assert is_own(hasty.call(), b"does not answer")
    assert is_own(hasty.call(b"budget=1.5"), b"does not answer")
    # One second, and the tenth that a call gets whose own process needs the rest of its time.
    assert 1.0 <= time.monotonic() - started < 3.5
    assert hasty.status().problem == "a process listens, but does not answer"
    os.kill(pid, signal.SIGCONT)
    wait_until(lambda: hasty.call() == (0, b"resident %d\n" % pid, b""))


def test_stopped_while_answering(hasty: World) -> None:
    pid = hasty.server()
    caller = hasty.begin(b"budget=0.8 sleep=0.4")
    wait_until(lambda: hasty.report()["running"] == 1)
    os.kill(pid, signal.SIGSTOP)
    assert caller.result(5) == LATE
    os.kill(pid, signal.SIGCONT)
    wait_until(lambda: hasty.call() == (0, b"resident %d\n" % pid, b""))


def test_a_stopped_one_can_be_ended_by_the_command_line(
    hasty: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manage, "ASK_SECONDS", 0.3)
    pid = hasty.server()
    os.kill(pid, signal.SIGSTOP)
    assert manage.stop(hasty.environ, 20) == manage.Stopped(pid, killed=True)
    assert hasty.server() != pid


# The socket is not what it was


def test_its_socket_is_removed(world: World) -> None:
    first = world.server()
    Path(world.place.socket).unlink()
    second = world.server()
    assert second != first
    assert wait_for_end(first)
    assert world.server() == second


def test_its_socket_is_a_symbolic_link(world: World) -> None:
    first = world.server()
    trap = socket.socket(socket.AF_UNIX)
    with trap:
        trap.bind(str(world.home / "trap"))
        trap.listen()
        trap.setblocking(False)
        Path(world.place.socket).unlink()
        Path(world.place.socket).symlink_to(world.home / "trap")
        second = world.server()
        with pytest.raises(BlockingIOError):
            trap.accept()
    assert wait_for_end(first)
    assert world.server() == second
    assert not Path(world.place.socket).is_symlink()
    assert (world.home / "trap").exists()


def test_its_socket_is_a_directory(world: World) -> None:
    check_directories(world.place, make=True)
    Path(world.place.socket).mkdir()
    assert is_own(world.call(), b"could be started")
    Path(world.place.socket).rmdir()
    assert world.server()


@as_root
def test_its_socket_is_another_users(world: World) -> None:
    first = world.server()
    os.chown(world.place.socket, OTHER_USER, -1)
    second = world.server()
    assert second != first
    assert wait_for_end(first)
    assert world.server() == second


@as_root
def test_another_user_listens(world: World) -> None:
    check_directories(world.place, make=True)

    def listen() -> str:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(world.place.socket)
            os.setuid(OTHER_USER)
            listener.listen()
            time.sleep(60)
        return "ended"

    listener = Caller(listen)
    try:
        wait_until(lambda: Path(world.place.socket).exists())
        wait_until(lambda: is_own(world.call(), b"another user listens"))
        assert world.pids() == []
    finally:
        os.kill(listener.pid, signal.SIGKILL)
        with pytest.raises(AssertionError):
            listener.result()
    assert world.server()


@as_root
def test_another_user_calls(world: World) -> None:
    world.server()
    # As if the directories had not kept the other user out.
    Path(world.place.socket).chmod(0o666)
    for path in (world.place.parent, world.place.directory):
        Path(path).chmod(0o711)

    def connect() -> bytes:
        os.chdir(world.place.directory)
        os.setuid(OTHER_USER)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect("socket")
            try:
                connection.sendall(protocol.encode_request((0.0, None, None, None, b"")))
                return connection.recv(100)
            except (BrokenPipeError, ConnectionResetError):
                return b""

    assert Caller(connect).result() == b""
    for path in (world.place.parent, world.place.directory):
        Path(path).chmod(0o700)
    assert world.report()["calls"]["foreign"] == 1
    assert world.report()["calls"]["accepted"] == 1


@as_root
def test_two_users(world: World) -> None:
    """Each has a verifier of its own, in the same world-writable directory, and neither uses the other's."""
    world.home.chmod(0o1777)
    del world.environ["SLSA_VERIFIER_DIR"]
    world.environ["TMPDIR"] = str(world.home)

    def as_other(work: str) -> object:
        os.setgid(OTHER_USER)
        os.setuid(OTHER_USER)
        if work == "serve":
            return serve(
                ObedientService(), world.environ, Settings(source_seconds=3600.0, memory_bytes=1 << 40)
            )
        return world.call()

    ours = world.server()
    server = Caller(lambda: as_other("serve"))
    try:
        wait_until(lambda: list(world.home.glob(f"slsa-verifier-plugin-{OTHER_USER}/*/socket")))
        answers = [pid_of(Caller(lambda: as_other("call")).result()) for _ in range(2)]
        assert answers == [server.pid] * 2
        assert world.server() == ours
        # The other user is pointed at our directory, and then the other way round.
        mine, theirs = (f"{world.home}/slsa-verifier-plugin-{user}" for user in (0, OTHER_USER))
        world.environ["SLSA_VERIFIER_DIR"] = mine
        assert is_own(Caller(lambda: as_other("call")).result(), b"no resident verifier is used")
        world.environ["SLSA_VERIFIER_DIR"] = theirs
        assert is_own(world.call(), b"not private to this user")
    finally:
        os.kill(server.pid, signal.SIGKILL)
        with pytest.raises(AssertionError):
            server.result()


SUCCESS = protocol.encode_answer((0, b'{"isSuccess":true}\n', b""))
ACCEPTED = protocol.encode_accepted(0.4)
IMPOSTORS = {
    "says nothing": (b"", "stay", b"does not answer"),
    "closes at once": (b"", "close", b"ended before it had answered"),
    "zeros": (bytes(100), "stay", b"cannot be understood"),
    "speaks HTTP": (b"HTTP/1.1 200 OK\r\n\r\n{}", "close", b"cannot be understood"),
    "another version": (b"SLSV\x00\x02" + ACCEPTED[6:], "stay", b"cannot be understood"),
    "4 GiB": (b"SLSV\x00\x01\x00\x03\xff\xff\xff\xff", "stay", b"cannot be understood"),
    "an answer before its acceptance": (SUCCESS, "stay", b"cannot be understood"),
    "too busy": (protocol.frame(protocol.BUSY), "close", b"too many calls waiting"),
    "an acceptance without time": (protocol.frame(protocol.ACCEPTED), "stay", b"cannot be understood"),
    "accepts twice": (ACCEPTED * 2, "stay", b"cannot be understood"),
    "accepts, then garbage": (ACCEPTED + b"x" * 20, "stay", b"cannot be understood"),
    "accepts, then closes": (ACCEPTED, "close", b"ended before it had answered"),
    "half an answer, then closes": (ACCEPTED + SUCCESS[:-1], "close", b"ended before it had answered"),
    "an answer with more behind": (
        ACCEPTED + protocol.frame(protocol.ANSWER, SUCCESS[12:] + b"x"),
        "stay",
        b"cannot be understood",
    ),
    "accepts, then says nothing": (ACCEPTED, "stay", None),
    "half an answer, then nothing": (ACCEPTED + SUCCESS[:-1], "stay", None),
}
"""What somebody says who listens in the resident verifier's place, what follows, and the caller's reason to verify by itself;
None for a denial because the time is over."""


@contextmanager
def impostor(place: Place, says: bytes, then: str) -> Iterator[None]:
    """Listen at a place, and say the same to everybody."""
    check_directories(place, make=True)
    kept: list[socket.socket] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(place.socket)
        listener.listen()

        def answer() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                try:
                    connection.settimeout(0.2)
                    connection.recv(65536)
                    connection.sendall(says)
                except OSError:
                    connection.close()
                if then == "close":
                    connection.close()
                kept.append(connection)

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in kept:
                connection.close()
    Path(place.socket).unlink()


@pytest.mark.parametrize("name", IMPOSTORS)
def test_somebody_else_answers(hasty: World, name: str) -> None:
    says, then, reason = IMPOSTORS[name]
    with impostor(hasty.place, says, then):
        started = time.monotonic()
        answer = hasty.call()
        assert time.monotonic() - started < 4
        assert answer == LATE if reason is None else is_own(answer, reason)
        required = hasty.call(SLSA_VERIFIER_RESIDENT="require")
        assert required[:2] == (LATE[:2] if reason is None else (0, protocol.REQUIRED_LINE))
        assert manage.status(hasty.environ, 0.3).report is None
    assert hasty.pids() == []
    assert hasty.server()


def test_a_full_backlog_is_waited_for_no_longer_than_a_silent_one(hasty: World) -> None:
    check_directories(hasty.place, make=True)
    crowd: list[socket.socket] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(hasty.place.socket)
        listener.listen(0)
        try:
            while not crowd or crowd[-1].connect_ex(hasty.place.socket) == 0:
                assert len(crowd) < 10
                crowd.append(socket.socket(socket.AF_UNIX))
                crowd[-1].setblocking(False)
            started = time.monotonic()
            assert is_own(hasty.call(), b"does not answer")
            assert 0.9 < time.monotonic() - started < 3
        finally:
            for connection in crowd:
                connection.close()


# Directories


def open_to_all(path: Path) -> None:
    path.chmod(0o777)


def given_away(path: Path) -> None:
    os.chown(path, OTHER_USER, -1)


def linked(path: Path) -> None:
    path.rename(path.with_name("moved"))
    path.symlink_to(path.with_name("moved"))


@pytest.mark.parametrize("which", ["parent", "directory"])
@pytest.mark.parametrize("change", [open_to_all, pytest.param(given_away, marks=as_root), linked])
def test_a_directory_that_others_can_change(world: World, which: str, change: object) -> None:
    assert callable(change)
    check_directories(world.place, make=True)
    change(Path(getattr(world.place, which)))
    assert is_own(world.call(), b"not private to this user")
    assert world.pids() == []
    done = subprocess.run(START, env=world.environ, cwd=ROOT, capture_output=True, timeout=30, check=False)
    assert done.returncode == 2
    assert b"not private to this user" in done.stderr


def test_a_directory_that_is_opened_under_a_server(world: World) -> None:
    pid = world.server()
    world.base.chmod(0o777)
    assert is_own(world.call(), b"not private to this user")
    assert "not private" in world.status().problem
    world.base.chmod(0o700)
    assert world.server() == pid


@pytest.mark.parametrize("name", ["SLSA_VERIFIER_DIR", "TMPDIR"])
def test_no_directory_can_be_made(world: World, name: str) -> None:
    del world.environ["SLSA_VERIFIER_DIR"]
    world.environ[name] = "/proc/none"
    assert is_own(world.call(), b"a directory cannot be made")


@contextmanager
def small_disk(world: World, options: str) -> Iterator[None]:
    """Mount a file system in memory over the world's directory."""
    world.base.mkdir(0o700)
    command = ["mount", "-t", "tmpfs", "-o", f"mode=0700,{options}", "none", str(world.base)]
    mounted = subprocess.run(command, capture_output=True, check=False) if os.geteuid() == 0 else None
    if mounted is None or mounted.returncode != 0:
        pytest.skip("no file system can be mounted here")
    try:
        yield
    finally:
        for pid in world.pids():
            kill(pid)
        subprocess.run(["umount", str(world.base)], check=True)


def test_a_disk_without_room_for_another_file(world: World) -> None:
    with small_disk(world, "size=64k,nr_inodes=2"):
        Path(world.base / "file").touch()
        assert is_own(world.call(), b"a directory cannot be made")
        (world.base / "file").unlink()
        # Room for DIR/KEY, but for nothing in it.
        assert is_own(world.call(), b"system error 28")
    assert world.pids() == []


def test_a_disk_without_room_for_another_byte(world: World) -> None:
    with small_disk(world, "size=64k"):
        (world.base / "filling").write_bytes(bytes(64 << 10))
        pid = world.server()
        assert world.call(b"raise=secret") == (0, protocol.INTERNAL_LINE, b"")
        assert world.report()["unwrittenErrors"] == 1
        assert "ValueError" in world.report()["latestErrors"][0]
        assert world.server() == pid
        (world.base / "filling").unlink()
        world.call(b"raise=secret")
        assert "ValueError" in Path(world.place.log).read_text()


def test_a_disk_that_becomes_read_only(world: World) -> None:
    with small_disk(world, "size=64k"):
        pid = world.server()
        kill(pid)
        subprocess.run(["mount", "-o", "remount,ro", str(world.base)], check=True)
        assert is_own(world.call(), b"system error 30")
        assert is_own(world.call(AWS_PROFILE="other"), b"a directory cannot be made")
        subprocess.run(["mount", "-o", "remount,rw", str(world.base)], check=True)
        assert world.server() != pid


def test_no_file_may_grow(world: World) -> None:
    def call() -> Answer:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        return world.call()

    answer = Caller(call).result()
    assert is_own(answer) or pid_of(answer) in world.pids()
    assert world.server()


# What comes over the socket


@contextmanager
def connections(place: Place, count: int) -> Iterator[list[socket.socket]]:
    opened: list[socket.socket] = []
    try:
        for _ in range(count):
            opened.append(socket.socket(socket.AF_UNIX))
            opened[-1].settimeout(20)
            opened[-1].connect(place.socket)
        yield opened
    finally:
        for connection in opened:
            connection.close()


def test_200_connections_that_send_nothing(world: World) -> None:
    pid = world.server()
    with connections(world.place, 200) as silent:
        started = time.monotonic()
        assert [world.server() for _ in range(5)] == [pid] * 5
        assert world.report()["connections"] >= 200 or time.monotonic() - started > protocol.FRAME_SECONDS
        for connection in silent:
            assert connection.recv(1) == b""
        assert time.monotonic() - started < protocol.FRAME_SECONDS + 5
    assert world.report()["connections"] <= 1


def test_more_connections_than_it_keeps() -> None:
    with World({"connections": 40}) as world:
        pid = world.server()
        with connections(world.place, 100):
            assert [world.server() for _ in range(5)] == [pid] * 5
            assert world.report()["connections"] <= 40


def test_fewer_descriptors_than_connections() -> None:
    with World() as world:
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, before[1]))
        try:
            pid = world.server()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        with connections(world.place, 150):
            assert [world.server() for _ in range(3)] == [pid] * 3
            assert any("cannot accept" in line for line in world.report()["latestErrors"])
        assert world.server() == pid


@pytest.mark.parametrize(
    "data",
    [
        b"SLSV\x00\x01\x00\x01\xff\xff\xff\xff",
        b"SLSV\x00\x01\x00\x01\xff\xff\xff\xff" + b"x" * 100_000,
        b"SLSV\x00\x01\x00\x01\x00\x40\x00\x01",
        b"SLSV\x00\x09\x00\x01\x00\x00\x00\x00",
        b"GET / HTTP/1.1\r\n\r\n",
        protocol.frame(protocol.ANSWER, b"\x00" * 9),
        protocol.frame(99),
        protocol.frame(protocol.VERIFY),
        protocol.frame(protocol.STATUS, b"x"),
        protocol.frame(protocol.STOP, b"x"),
        protocol.frame(protocol.STATUS) + b"x",
        protocol.frame(protocol.STATUS) * 2,
    ],
)
def test_a_broken_frame_ends_its_connection_only(world: World, data: bytes) -> None:
    pid = world.server()
    with connections(world.place, 1) as (connection,):
        try:
            connection.sendall(data)
            assert connection.recv(100) == b""
        except (BrokenPipeError, ConnectionResetError):
            pass
        wait_until(lambda: world.report()["calls"]["refused"] == 1)
    assert world.server() == pid


def test_whatever_comes_it_goes_on(world: World) -> None:
    pid = world.server()
    source = random.Random(20251124)
    good = protocol.encode_request((0.0, b"VERIFY", b"subject", b"1.0.0", b"x" * 40))
    for _ in range(150):
        data = bytearray(good[: source.randrange(1, len(good) + 1)])
        for _ in range(source.randrange(1, 4)):
            data[source.randrange(len(data))] = source.randrange(256)
        with connections(world.place, 1) as (connection,):
            try:
                connection.sendall(bytes(data))
                if source.random() < 0.5:
                    connection.shutdown(socket.SHUT_WR)
            except BrokenPipeError:
                continue
    assert world.server() == pid


def test_a_frame_that_comes_in_drops_has_2_seconds_in_all(world: World) -> None:
    world.server()
    frame = protocol.encode_request((0.0, None, None, None, b"x" * 1000))
    with connections(world.place, 1) as (connection,):
        started = time.monotonic()
        try:
            for byte in frame:
                connection.sendall(bytes([byte]))
                time.sleep(0.05)
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert protocol.FRAME_SECONDS - 0.1 <= time.monotonic() - started < protocol.FRAME_SECONDS + 5


def test_more_bytes_than_it_holds() -> None:
    with World({"held_bytes": 1 << 20}) as world:
        pid = world.server()
        with connections(world.place, 3) as hoarders:
            for connection in hoarders:
                connection.setblocking(False)
            content = protocol.encode_request((0.0, None, None, None, bytes(3 << 20)))[:-1]
            unsent = {connection: memoryview(content) for connection in hoarders}
            end = time.monotonic() + 1
            while unsent and time.monotonic() < end:
                for connection in list(unsent):
                    try:
                        unsent[connection] = unsent[connection][connection.send(unsent[connection]) :]
                    except BlockingIOError:
                        continue
                    except OSError:
                        del unsent[connection]
            assert world.report()["calls"]["busy"] >= 2
        assert world.server() == pid


def test_more_calls_than_it_queues() -> None:
    with World({"workers": 1, "queue": 3}) as world:
        pid = world.server()
        callers = [world.begin(b"sleep=0.15") for _ in range(10)]
        answers = [caller.result() for caller in callers]
        answered = [answer for answer in answers if not is_own_or_busy(answer)]
        assert {pid_of(answer) for answer in answered} == {pid}
        assert 4 <= len(answered) < 10
        assert world.report()["calls"]["busy"] == 10 - len(answered)


def is_own_or_busy(answer: Answer) -> bool:
    return answer[1] == OWN[1] and b"too many calls waiting" in answer[2]


def test_standard_input_that_never_ends(hasty: World) -> None:
    command = [sys.executable, "-m", "tests.support.resident", "call"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=hasty.environ
    ) as caller:
        assert caller.stdin is not None
        assert caller.stdout is not None
        assert caller.stderr is not None
        caller.stdin.write(b"{")
        caller.stdin.flush()
        assert caller.wait(30) == 1
        assert caller.stdout.read() == protocol.STDIN_SLOW_LINE
        assert caller.stderr.read() == b""
    assert hasty.pids() == []


# Workers


@pytest.mark.parametrize("stdin", [b"raise=secret", b"exit=0", b"junk=1", b"size=262144"])
def test_a_worker_that_fails(world: World, stdin: bytes) -> None:
    pid = world.server()
    assert [world.call(stdin) for _ in range(20)] == [(0, protocol.INTERNAL_LINE, b"")] * 20
    assert world.server() == pid
    assert world.report()["calls"]["failed"] == 20
    assert world.report()["threads"] <= 8


def test_a_call_that_ends_verifiers(world: World) -> None:
    first = world.server()
    assert is_own(world.call(b"die=1"), b"ended before it had answered")
    assert len(world.pids()) == 2
    assert world.server() not in world.pids()[:2]
    assert world.pids()[0] == first


def test_a_worker_that_loops() -> None:
    with World({"late_seconds": 0.5}) as world:
        first = world.server()
        looping = [world.begin(b"budget=0.3 loop=1") for _ in range(2)]
        wait_until(lambda: world.report()["running"] == 2)
        assert world.server() == first
        assert [caller.result() for caller in looping] == [LATE] * 2
        assert wait_for_end(first)
        assert "a verification does not end" in Path(world.place.log).read_text()
        assert world.server() != first


def test_all_workers_loop() -> None:
    with World({"late_seconds": 30.0, "workers": 2}) as world:
        first = world.server()
        looping = [world.begin(b"budget=0.2 loop=1") for _ in range(2)]
        assert [caller.result() for caller in looping] == [LATE] * 2
        # Others have taken their place.
        assert world.server() == first
        looping = [world.begin(b"budget=0.2 loop=1") for _ in range(2)]
        assert [caller.result() for caller in looping] == [LATE] * 2
        assert world.call(b"budget=0.2") == LATE
        assert manage.stop(world.environ, 20) == manage.Stopped(first)
        assert world.server() != first


def test_a_worker_that_keeps_the_interpreter_to_itself() -> None:
    with World({"watchdog_seconds": 1.5}, patient=False) as world:
        first = world.server()
        holding = world.begin(b"budget=0.5 hold=1")
        wait_until(lambda: not manage.status(world.environ, 0.2).report)
        meanwhile = world.call()
        assert is_own(meanwhile) or pid_of(meanwhile) != first
        assert holding.result() == LATE
        assert wait_for_end(first)
        assert "Timeout" in Path(world.place.log).read_text()
        wait_until(lambda: world.call()[1].startswith(b"resident "))


def test_a_worker_that_leaks() -> None:
    with World({"memory_bytes": 80 << 20}) as world:
        first = world.server()
        assert pid_of(world.call(b"leak=90")) == first
        assert wait_for_end(first)
        log = Path(world.place.log).read_text()
        assert "MiB are over the limit of 80" in log
        assert "it needs too much memory" in log
        assert world.server() != first


def test_caches_that_grow_are_emptied() -> None:
    with World({"memory_bytes": 80 << 20}) as world:
        first = world.server()
        assert pid_of(world.call(b"cache=90")) == first
        wait_until(lambda: world.report()["service"]["trims"] >= 1)
        wait_until(lambda: world.report()["memoryBytes"] < 72 << 20)
        assert world.server() == first


def test_a_service_that_cannot_warm_up(world: World) -> None:
    world.environ["TEST_RESIDENT_WARM_FAILS"] = "1"
    pid = world.server()
    assert "warming up failed: RuntimeError" in world.report()["latestErrors"][0]
    assert world.server() == pid


# Many at once


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
