"""What comes over a resident verifier's connections, and how many there are, and what its callers get then."""

from __future__ import annotations

import functools
import random
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from slsa_verifier_plugin.resident import protocol
from slsa_verifier_plugin.resident.client import client
from slsa_verifier_plugin.resident.place import Place
from slsa_verifier_plugin.resident.server.server import LIMITS
from tests.support.answers import pid_of
from tests.support.processes import size_of_descriptor_table, wait_until
from tests.support.resident import OWN, ROOT, World


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
        assert time.monotonic() - started < protocol.FRAME_SECONDS + 60
    assert world.report()["connections"] <= 1


def test_more_connections_than_it_keeps() -> None:
    with World({"connections": 40}) as world:
        pid = world.server()
        with connections(world.place, 100):
            assert [world.server() for _ in range(5)] == [pid] * 5
            assert world.report()["connections"] <= 40


def test_fewer_descriptors_than_connections() -> None:
    with World() as world:
        pid = world.server()
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (64, 64))
        with connections(world.place, 150):
            assert [world.server() for _ in range(3)] == [pid] * 3
            assert any("cannot accept" in line for line in world.report()["latestErrors"])
        assert world.server() == pid


def test_as_many_descriptors_as_it_may_have() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with World() as world:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, before[1]))
        try:
            pid = world.server()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        assert (soft, hard) == (min(LIMITS[0][2], hard), before[1])
        # Never later: callers took a verifier whose table grew in a burst for one that hangs, and ended it.
        assert size_of_descriptor_table(pid) >= soft


@pytest.mark.parametrize(
    ("soft", "before"), [(1024, "pass"), (3000, "pass"), (64, "os.dup2(0, 63)"), (64, "os.dup2(0, 62)")]
)
def test_a_table_of_descriptors_is_made_at_its_full_size_whatever_is_open(soft: int, before: str) -> None:
    widened = python(
        f"narrow({soft}); {before}; opened = os.listdir('/proc/self/fd'); widen_descriptor_table();"
        "assert os.listdir('/proc/self/fd') == opened; print(size_of_descriptor_table(os.getpid()))"
    )
    assert int(widened) >= soft


def test_a_server_without_a_descriptor_to_spare_keeps_its_table() -> None:
    assert (
        python("narrow(8); [os.dup2(0, n) for n in range(3, 8)]; widen_descriptor_table(); print(0)") == "0\n"
    )


def python(code: str) -> str:
    """Return what a process of its own prints that may have fewer descriptors, and widens its table."""
    ran = subprocess.run(
        [
            sys.executable,
            "-c",
            "import os, resource; from tests.support.processes import size_of_descriptor_table;"
            "from slsa_verifier_plugin.resident.server.housekeeping import widen_descriptor_table;"
            "hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1];"
            "narrow = lambda soft: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard));" + code,
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    return ran.stdout


@pytest.mark.parametrize(("number", "least", "most", "what"), LIMITS)
def test_a_starter_with_narrow_limits_starts_none_for_others(
    number: int, least: int, most: int, what: str
) -> None:
    """A verifier has its starter's limits, and would deny others for what only the starter lacks."""
    with World({"idle_seconds": 1}) as world:
        for limit in (least - 1, least):
            done = subprocess.run(
                world.start,
                env=world.environ,
                cwd=ROOT,
                capture_output=True,
                preexec_fn=functools.partial(resource.setrlimit, number, (limit, limit)),
                timeout=60,
                check=False,
            )
            assert done.returncode == (2 if limit < least else 0), done
            assert (what.encode() in done.stderr) == (limit < least)
        # Who may have enough is served by one all the same.
        assert world.server()


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
        protocol.frame(protocol.CHECK),
        protocol.encode_request((0.0, b"/p", b"r/i", None, b"9000"), protocol.CHECK),
        protocol.encode_request((0.0, b"/p", b"r/i", b"sha256:0", b"-1"), protocol.CHECK),
        protocol.encode_request((0.0, b"/p", b"r/i", b"sha256:0", b"600001"), protocol.CHECK),
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


def test_a_question_about_an_image_is_answered_and_a_failure_of_it_denies(world: World) -> None:
    fields = (b"/etc/policy", b"registry.example/app", b"sha256:0", b"9000")
    question = protocol.Question(protocol.CHECK, fields, 9.0)

    def ask(asked: protocol.Question) -> protocol.Answer:
        return client.ask(world.environ, asked, lambda turn: OWN, world.start, time.monotonic())

    status, stdout, _ = ask(question)
    assert (status, stdout[-60:]) == (0, repr(fields).encode()[-60:])
    raising = protocol.Question(protocol.CHECK, (b"/etc/policy", b"raise/app", b"sha256:0", b"9000"), 9.0)
    assert ask(raising)[1] == protocol.INTERNAL_LINE
    assert world.server()


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
        assert protocol.FRAME_SECONDS - 0.1 <= time.monotonic() - started < protocol.FRAME_SECONDS + 60


def test_more_bytes_than_it_holds() -> None:
    with World({"held_bytes": 1 << 20}) as world:
        pid = world.server()
        with connections(world.place, 3) as hoarders:
            for connection in hoarders:
                connection.setblocking(False)
            content = protocol.encode_request((0.0, None, None, None, bytes(3 << 20)))[:-1]
            unsent = {connection: memoryview(content) for connection in hoarders}
            end = time.monotonic() + 60
            # It holds what one of them sends, at most: the others are refused in the middle of it.
            while len(unsent) > 1:
                assert time.monotonic() < end
                for connection in list(unsent):
                    try:
                        unsent[connection] = unsent[connection][connection.send(unsent[connection]) :]
                    except BlockingIOError:
                        continue
                    except OSError:
                        del unsent[connection]
            wait_until(lambda: world.report()["calls"]["busy"] >= 2)
        assert world.server() == pid


def test_more_calls_than_it_queues() -> None:
    with World({"workers": 1, "queue": 3}) as world:
        pid = world.server()
        callers = [world.begin_held() for _ in range(10)]
        # Who is told that too many wait asks again, until its time is over.
        wait_until(lambda: world.report()["calls"]["busy"] >= 1)
        world.signal.touch()
        assert {pid_of(caller.result()) for caller in callers} == {pid}


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
        assert caller.stdout.read() == protocol.stdin_line(protocol.STDIN_SLOW)
        assert caller.stderr.read() == b""
    assert hasty.pids() == []
