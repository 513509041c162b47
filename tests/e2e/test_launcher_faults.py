"""The launcher where the resident verifier, or the place that it should be in, is not what it should be."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.tests.harness import (
    Listener,
    Plugin,
    answering,
    saying,
    told,
    until_closed,
)
from slsa_verifier_plugin.resident import protocol
from slsa_verifier_plugin.resident.place import Place, check_directories
from slsa_verifier_plugin.resident.protocol import DEADLINE_LINE, NO_TURN_LINE
from tests.support.load import PROMISE
from tests.support.processes import kill, wait_for_end, wait_until
from tests.support.waiting import at_once

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be two users")


@pytest.fixture
def plugin() -> Iterator[Plugin]:
    with Plugin() as plugin:
        yield plugin


ACCEPTED = protocol.encode_accepted(5)


ANSWER = protocol.encode_answer((0, b'{"isSuccess":true}\n', b""))


BROKEN = {
    "garbage": b"HTTP/1.1 200 OK\r\n\r\n",
    "another version": b"SLSV\0\2" + ACCEPTED[6:],
    "an unknown kind": protocol.frame(99),
    "four GiB by its header": b"SLSV\0\1\0\2\xff\xff\xff\xff",
    "four GiB after accepting": ACCEPTED + b"SLSV\0\1\0\2\xff\xff\xff\xff",
    "a byte over the limit": ACCEPTED + b"SLSV\0\1\0\2" + (protocol.MAX_REPLY + 1).to_bytes(4),
    "an answer before accepting": ANSWER,
    "accepting without a time": protocol.frame(protocol.ACCEPTED),
    "accepting with too much": protocol.frame(protocol.ACCEPTED, b"\0\0\0\5\0"),
    "accepting for longer than any call has": protocol.encode_accepted(600.251) + ANSWER,
    "busy": protocol.frame(protocol.BUSY),
    "accepting twice": ACCEPTED + ACCEPTED + ANSWER,
    "an answer without fields": ACCEPTED + protocol.frame(protocol.ANSWER, b"\0"),
    "an answer that is empty": ACCEPTED + protocol.frame(protocol.ANSWER),
    "a field beyond its frame": ACCEPTED + protocol.frame(protocol.ANSWER, b"\0\0\0\0\x09abc\0\0\0\0"),
    "a field that is not set": ACCEPTED + protocol.frame(protocol.ANSWER, b"\0" + b"\xff" * 4 + b"\0" * 4),
    "bytes behind the fields": ACCEPTED + protocol.frame(protocol.ANSWER, b"\0" + b"\0" * 8 + b"x"),
}


@pytest.mark.parametrize("said", BROKEN.values(), ids=BROKEN.keys())
def test_what_is_no_answer_is_verified_in_a_process_of_its_own(plugin: Plugin, said: bytes) -> None:
    with Listener(plugin, saying(said)):
        done = plugin.run(stdin=b"the input")
    assert bytes.fromhex(told(done)["stdin"]) == b"the input"
    assert done.stderr.startswith(b"warn: the resident verifier ")
    assert b"{" not in done.stderr


@pytest.mark.parametrize(
    "part", [b"", ACCEPTED[:5], ACCEPTED, ACCEPTED + ANSWER[:-1]], ids=["nothing", "part", "late", "cut"]
)
def test_a_server_that_closes_early_is_followed_by_another(plugin: Plugin, part: bytes) -> None:
    def converse(connection: socket.socket, body: bytes) -> None:
        connection.sendall(part)
        Path(plugin.place.socket).unlink()

    with Listener(plugin, converse):
        done = plugin.run()
    assert done.stdout == b"resident %d\n" % plugin.pids()[0]


@pytest.mark.parametrize(
    ("said", "asked"), [(b"", 3), (ACCEPTED, 2)], ids=["before accepting", "after accepting"]
)
def test_a_server_that_always_closes_early_is_given_up(plugin: Plugin, said: bytes, asked: int) -> None:
    """Before it accepted it may just have been ending; after that the call itself may be what ends it."""
    with Listener(plugin, lambda connection, body: connection.sendall(said)) as listener:
        done = plugin.run()
    assert told(done)["called"] == []
    assert done.stderr.startswith(b"warn: the resident verifier ended before it had answered; ")
    assert len(listener.requests) == asked
    assert plugin.pids() == []


def test_one_that_never_answers_is_given_up_after_a_second(plugin: Plugin) -> None:
    with Listener(plugin, until_closed):
        begin = time.monotonic()
        done = plugin.run()
    assert told(done)["called"] == []
    assert 1 <= time.monotonic() - begin < PROMISE
    assert told(done)["elapsed"] >= 1000
    assert done.stderr.startswith(b"warn: the resident verifier does not answer; ")


def test_one_that_takes_no_connection_is_given_up_after_a_second(plugin: Plugin) -> None:
    with Listener(plugin, None, backlog=0), socket.socket(socket.AF_UNIX) as first:
        first.connect(plugin.place.socket)  # the only place in its queue
        begin = time.monotonic()
        assert told(plugin.run())["called"] == []
        assert 0.9 <= time.monotonic() - begin < PROMISE


def test_sixty_four_first_callers_start_one_server(plugin: Plugin) -> None:
    results = at_once(64, lambda number: plugin.run(stdin=b"%d" % number))
    assert len(plugin.pids()) == 1
    assert {(done.returncode, done.stdout, done.stderr) for done in results} == {
        (0, b"resident %d\n" % plugin.pids()[0], b"")
    }


def test_a_killed_server_is_followed_by_another(plugin: Plugin) -> None:
    plugin.run()
    kill(plugin.pids()[0])
    assert plugin.run().stdout == b"resident %d\n" % plugin.pids()[1]


def test_a_server_killed_while_it_answers_is_followed_by_another(plugin: Plugin) -> None:
    plugin.run()
    [pid] = plugin.pids()
    with plugin.began() as waiting:
        kill(pid)
        output, _ = waiting.communicate(timeout=20)
    assert output.startswith((b"resident ", b"{"))
    assert plugin.run().stdout == b"resident %d\n" % plugin.pids()[-1]


def test_a_server_that_ends_at_once_costs_little(plugin: Plugin) -> None:
    ended = plugin.home / "ended"
    begin = time.monotonic()
    results = at_once(16, lambda number: plugin.run(TEST_LAUNCHER_SERVER_ENDS=str(ended)))
    assert time.monotonic() - begin < 10
    assert all(told(done)["called"] == [] for done in results)
    assert b"no resident verifier could be started" in results[0].stderr
    # Those who waited believe the first one; only such as came later try again.
    assert len(ended.read_text().split()) < 16


def test_a_stopped_server_is_ended_and_followed_by_another(plugin: Plugin) -> None:
    plugin.run()
    [pid] = plugin.pids()
    os.kill(pid, signal.SIGSTOP)
    begin = time.monotonic()
    results = at_once(8, lambda number: plugin.run())
    assert time.monotonic() - begin < PROMISE
    assert wait_for_end(pid)
    # The figures are those of ``test_launcher_storms.py``; here a busy machine may leave some to turns, or without one.
    pids = {b"resident %d\n" % later for later in plugin.pids()[1:]}
    for done in results:
        if done.stdout not in pids | {DEADLINE_LINE, NO_TURN_LINE}:
            assert told(done)["called"] == []


def test_a_starter_that_is_stopped_is_passed_over(plugin: Plugin) -> None:
    plugin.run()
    kill(plugin.pids()[0])
    with plugin.began(TEST_RESIDENT_START_DELAY="1") as starter:
        wait_until(lambda: len(plugin.pids()) == 2)
        starter.send_signal(signal.SIGSTOP)
        os.kill(plugin.pids()[1], signal.SIGKILL)
        done = plugin.run(TEST_RESIDENT_START_DELAY="1")
        # A busy machine may leave too little time for the next one; then it is there for the next call.
        assert (
            done.stdout in {b"resident %d\n" % plugin.pids()[-1], DEADLINE_LINE} or told(done)["called"] == []
        )
        assert len(plugin.pids()) == 3
        starter.send_signal(signal.SIGCONT)
        output, _ = starter.communicate(timeout=20)
        # Its own time is counted from its start, however long it was stopped.
        assert output.startswith((b"resident ", b"{"))


LISTENS = """
import socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen(8)
print("x", end="", flush=True)
while True:
    listener.accept()
"""


@contextlib.contextmanager
def stopped_listener(place: Place) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process that listens on the place's socket and is stopped."""
    with subprocess.Popen([sys.executable, "-c", LISTENS, place.socket], stdout=subprocess.PIPE) as listener:
        try:
            assert listener.stdout is not None
            assert listener.stdout.read(1) == b"x"
            listener.send_signal(signal.SIGSTOP)
            yield listener
        finally:
            listener.kill()


def test_a_pipe_in_the_place_of_a_claim_is_not_waited_for(plugin: Plugin) -> None:
    place = plugin.place
    check_directories(place, make=True)
    os.mkfifo(place.claim, 0o600)
    pipe = os.open(place.claim, os.O_RDWR)
    try:
        with stopped_listener(place):
            assert told(plugin.run())["called"] == []
    finally:
        os.close(pipe)


def test_one_that_is_silent_and_no_server_is_never_ended(plugin: Plugin) -> None:
    """Another process of this user listens there, stopped: it has not claimed the place."""
    place = plugin.place
    check_directories(place, make=True)
    with stopped_listener(place) as listener:
        for content in (None, b"%d" % listener.pid):
            if content is not None:
                Path(place.claim).write_bytes(content)  # named, but nobody holds it
            assert told(plugin.run())["called"] == []
        assert listener.poll() is None
        assert plugin.pids() == []


def test_a_stale_socket_is_replaced(plugin: Plugin) -> None:
    check_directories(plugin.place, make=True)
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(plugin.place.socket)
    assert plugin.run().stdout == b"resident %d\n" % plugin.pids()[0]


def test_a_symbolic_link_for_a_socket_is_not_followed(plugin: Plugin) -> None:
    with Listener(plugin, answering((0, b"of another\n", b"")), AWS_PROFILE="other") as listener:
        check_directories(plugin.place, make=True)
        Path(plugin.place.socket).symlink_to(plugin.place_for(AWS_PROFILE="other").socket)
        done = plugin.run()
        assert listener.requests == []
    assert done.stdout == b"resident %d\n" % plugin.pids()[0]


@ROOT_ONLY
def test_another_users_listener_is_told_nothing(plugin: Plugin) -> None:
    place = plugin.place
    check_directories(place, make=True)
    ready, wrote = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(place.socket)
            os.setuid(65532)
            listener.listen(8)  # here the kernel takes down the user that a client will see
            os.write(wrote, b"x")
            connection, _ = listener.accept()
            os._exit(1 if connection.recv(100) else 0)
        finally:
            os._exit(2)
    try:
        assert os.read(ready, 1) == b"x"
        done = plugin.run()
    finally:
        os.close(ready)
        os.close(wrote)
        heard = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert done.stdout == b"resident %d\n" % plugin.pids()[0]
    assert b"another user listens" in done.stderr
    assert heard == 0, "it was sent the request"


def _unsafe(kind: str, directory: Path) -> None:
    if kind == "wide":
        directory.mkdir(mode=0o700)
        directory.chmod(0o777)
    elif kind == "group":
        directory.mkdir(mode=0o700)
        directory.chmod(0o710)
    elif kind == "foreign":
        directory.mkdir(mode=0o700)
        os.chown(directory, 65532, 65532)
    elif kind == "link":
        (directory.parent / "target").mkdir(mode=0o700)
        directory.symlink_to("target")
    else:
        directory.touch(mode=0o600)


@pytest.mark.parametrize("kind", ["wide", "group", pytest.param("foreign", marks=ROOT_ONLY), "link", "file"])
@pytest.mark.parametrize("level", ["parent", "directory"])
def test_a_directory_that_is_not_private_is_not_used(plugin: Plugin, kind: str, level: str) -> None:
    place = plugin.place
    if level == "directory":
        Path(place.parent).mkdir(mode=0o700)
    _unsafe(kind, Path(getattr(place, level)))
    done = plugin.run()
    assert done.stdout == b"resident %d\n" % plugin.pids()[0]
    assert done.stderr.startswith(b"warn: a directory is not private to this user")
    assert done.stderr.endswith(b"; a resident verifier in another folder is used\n")


def test_a_socket_path_that_is_too_long_is_not_used(plugin: Plugin) -> None:
    done = plugin.run(SLSA_VERIFIER_DIR=str(plugin.home / ("d" * 100)))
    assert done.stdout == b"resident %d\n" % plugin.pids()[0]
    assert b"more than 107 bytes" in done.stderr
