"""``verify`` where something else listens than a resident verifier, or one that does not answer: it verifies by itself."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from slsa_verifier_plugin.checking.status import Status
from slsa_verifier_plugin.cli import through_resident
from slsa_verifier_plugin.resident import protocol
from slsa_verifier_plugin.resident.place import find_place
from tests.support.command_line import (
    Done,
    cli,
)
from tests.support.embedded_registry import EmbeddedRegistry
from tests.support.interrupts import heard
from tests.support.resident_reports import OWN, REPOSITORY
from tests.support.users import OTHER_USER, as_root


@contextlib.contextmanager
def listener(place: dict[str, str], answer: Callable[[socket.socket, bytes], None]) -> Iterator[None]:
    """Listen at a place in the stead of a resident verifier."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in place.items():
            patch.setenv(name, value)
        where = find_place(os.environ)
    Path(where.directory).mkdir(mode=0o700, parents=True)
    Path(where.parent).chmod(0o700)
    server = socket.socket(socket.AF_UNIX)
    server.bind(where.socket)
    server.listen(8)

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                buffer = bytearray()
                while (taken := protocol.take_frame(buffer, protocol.MAX_REQUEST)) is None:
                    buffer += connection.recv(65536)
                answer(connection, taken[1])

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()


def _says(status: int, printed: bytes, with_proof: bool = True) -> Callable[[socket.socket, bytes], None]:
    def answer(connection: socket.socket, body: bytes) -> None:
        proof = through_resident._proof(protocol.decode_request(body)[1:]) if with_proof else b""
        connection.sendall(protocol.encode_accepted(5.0) + protocol.encode_answer((status, printed, proof)))

    return answer


def _sends(data: bytes) -> Callable[[socket.socket, bytes], None]:
    return lambda connection, _: connection.sendall(data)


HOSTILE = {
    "closed at once": _sends(b""),
    "no frame": _sends(b"HTTP/1.1 200 OK\r\n\r\nADMITTED"),
    "busy": _sends(protocol.frame(protocol.BUSY)),
    "accepted and closed": _sends(protocol.encode_accepted(5.0)),
    "half an answer": _sends(
        protocol.encode_accepted(5.0) + protocol.encode_answer((0, b"ADMITTED", b""))[:-3]
    ),
    "a huge answer": _sends(protocol.encode_accepted(5.0) + b"SLSV\0\1\0\2" + b"\xff" * 4 + b"x" * 65536),
    "a line of the client's own": _says(0, protocol.DEADLINE_LINE, with_proof=False),
    "an admission without proof": _says(0, b"ADMITTED  x\n", with_proof=False),
    "nothing": _says(0, b""),
    "a usage error": _says(2, b"ADMITTED  x\n"),
    "another status": _says(141, b"ADMITTED  x\n"),
    "a terminal's command": _says(0, b"ADMITTED \033[2J x\n"),
    "a title": _says(0, b"ADMITTED \033]0;x\007\n"),
    "a line's start": _says(0, b"DENIED\rADMITTED\n"),
    "an eight-bit command": _says(0, "ADMITTED \x9b2J\n".encode()),
    "no text": _says(0, b"\xff\xfeADMITTED\n"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_who_listens_and_is_no_verifier(
    name: str, deserted: dict[str, str], registry: EmbeddedRegistry, policy: Path
) -> None:
    image = f"{registry.host}/{REPOSITORY}:low"
    own = cli("verify", image, "--policy", policy, environ={**deserted, **OWN})
    assert own.status == Status.DENIED
    with listener(deserted, HOSTILE[name]):
        assert cli("verify", image, "--policy", policy, environ=deserted) == own


def test_an_honest_answer_is_printed(
    deserted: dict[str, str], registry: EmbeddedRegistry, policy: Path
) -> None:
    with listener(deserted, _says(3, "UNDECIDED \033[1mä\033[0m\n".encode())):
        done = cli("verify", f"{registry.host}/{REPOSITORY}:low", "--policy", policy, environ=deserted)
    assert done == Done(3, "UNDECIDED \033[1mä\033[0m\n", "")


def test_who_never_answers_is_not_waited_for_without_end(
    deserted: dict[str, str], registry: EmbeddedRegistry, policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(through_resident, "LISTING_SECONDS", 0.5)
    monkeypatch.setattr(through_resident, "SPARE_SECONDS", 0.5)
    over = threading.Event()

    def wait(connection: socket.socket, _: bytes) -> None:
        connection.sendall(protocol.encode_accepted(600.0))
        over.wait(60)

    started = time.monotonic()
    with listener(deserted, wait):
        done = cli("verify", f"{registry.host}/{REPOSITORY}:low", "--policy", policy, environ=deserted)
        assert not over.is_set()
        over.set()
    assert (done.status, done.err) == (Status.DENIED, "")
    assert time.monotonic() - started < 30


def test_a_person_who_does_not_want_to_wait(deserted: dict[str, str], policy: Path) -> None:
    asked, over = threading.Event(), threading.Event()

    def wait(connection: socket.socket, _: bytes) -> None:
        connection.sendall(protocol.encode_accepted(20.0))
        asked.set()
        over.wait(60)

    command = [
        sys.executable,
        "-m",
        "slsa_verifier_plugin",
        "verify",
        "localhost:1/app:1",
        "--policy",
        str(policy),
    ]
    with listener(deserted, wait), heard():
        caller = subprocess.Popen(
            command,
            env={**os.environ, **deserted},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert asked.wait(30)
        caller.send_signal(signal.SIGINT)
        out, err = caller.communicate(timeout=30)
        over.set()
    assert (caller.returncode, out) == (Status.INTERRUPTED, b"")
    assert err == b"slsa-verifier-plugin: interrupted\n"


@as_root
def test_another_user_s_socket_is_left_alone(
    deserted: dict[str, str], registry: EmbeddedRegistry, policy: Path
) -> None:
    def answer(connection: socket.socket, body: bytes) -> None:
        raise AssertionError("asked")

    with listener(deserted, answer):
        (path,) = Path(deserted["SLSA_VERIFIER_DIR"]).glob("*/socket")
        os.lchown(path, OTHER_USER, OTHER_USER)
        done = cli("verify", f"{registry.host}/{REPOSITORY}:low", "--policy", policy, environ=deserted)
    assert (done.status, done.err) == (Status.DENIED, "")


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_a_verifier_that_was_stopped_or_killed(
    number: signal.Signals, deserted: dict[str, str], registry: EmbeddedRegistry, policy: Path
) -> None:
    arguments = ("verify", f"{registry.host}/{REPOSITORY}:high", "--policy", policy)
    own = cli(*arguments, environ={**deserted, **OWN})
    assert cli("resident", "start", environ=deserted).status == Status.ADMITTED
    try:
        pid = json.loads(cli("resident", "status", "--json", environ=deserted).out)["pid"]
        os.kill(pid, number)
        assert cli(*arguments, environ=deserted) == own
    finally:
        cli("resident", "stop", environ=deserted)
