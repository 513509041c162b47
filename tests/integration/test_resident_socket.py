"""The resident verifier's socket is not what it was, or somebody else's, and what its callers get then."""

from __future__ import annotations

import codecs
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from slsa_verifier_plugin.resident import protocol
from slsa_verifier_plugin.resident.client import manage
from slsa_verifier_plugin.resident.place import Place, check_directories
from slsa_verifier_plugin.resident.server.server import serve
from slsa_verifier_plugin.resident.server.server_settings import ServerSettings
from tests.support.answers import LATE, is_own, pid_elsewhere, pid_of
from tests.support.processes import wait_for_end, wait_until
from tests.support.resident import Caller, ObedientService, World
from tests.support.users import OTHER_USER, as_root


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
    assert pid_of(world.call()) == world.server()
    assert not Path(world.place.socket).is_dir()


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
        wait_until(lambda: b"another user listens" in world.call()[2])
        assert pid_elsewhere(world.call(), b"another user listens") in world.pids()
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
                ObedientService(), world.environ, ServerSettings(source_seconds=3600.0, memory_bytes=1 << 40)
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
        # Where that user can read this checkout a verifier of its own is started elsewhere, else none can be.
        codecs.lookup("ascii")
        answer = Caller(lambda: as_other("call")).result()
        assert b"system error 13" in answer[2]
        assert is_own(answer) or pid_elsewhere(answer, b"") not in (ours, server.pid)
        world.environ["SLSA_VERIFIER_DIR"] = theirs
        assert pid_elsewhere(world.call(), b"not private to this user") not in (ours, server.pid)
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
    "accepts for days": (protocol.encode_accepted(600.251), "stay", b"cannot be understood"),
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
        assert time.monotonic() - started < 30, "the caller has a time limit of its own"
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
            assert 0.9 < time.monotonic() - started < 30
        finally:
            for connection in crowd:
                connection.close()
