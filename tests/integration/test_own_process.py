"""The runtime as a process of the launcher's own: one request on standard input, one answer, nothing that others could use."""

from __future__ import annotations

import json
import os
import pty
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from slsa_verifier_plugin.resident import isolate, protocol
from slsa_verifier_plugin.resident.channel import Channel
from tests.support.load import TESTDATA
from tests.support.processes import open_files
from tests.support.resident import ROOT

COMMAND = [sys.executable, "-P", "-m", "slsa_verifier_plugin", "own-process"]
CALL = (b"VERIFY", b"1.0.0")


@contextmanager
def started(tmp_path: Path, began: str) -> Iterator[tuple[subprocess.Popen[bytes], Channel]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = subprocess.Popen(
            [*COMMAND, began],
            stdin=theirs.fileno(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)},
        )
        theirs.close()
        with process:
            try:
                yield process, Channel(ours)
            finally:
                process.kill()


def now() -> str:
    return str(int(time.monotonic() * 1000))


def request(host: str, elapsed: float = 0.0, timeout: str = "4s") -> bytes:
    stdin = json.loads((TESTDATA / "stdin-level-3.json").read_text())
    stdin["config"]["timeout"] = timeout
    stdin["config"]["trustedRoot"]["path"] = str(TESTDATA / "trusted_root.json")
    subject = f"{host}/team/app@sha256:{'a' * 64}".encode()
    return protocol.encode_request((elapsed, CALL[0], subject, CALL[1], json.dumps(stdin).encode()))


def test_it_accepts_with_the_calls_own_time_and_answers(tmp_path: Path) -> None:
    with started(tmp_path, now()) as (process, channel):
        end = time.monotonic() + 60
        channel.send(request("127.0.0.1:1", elapsed=0.5, timeout="60s"), end)
        kind, body = channel.receive(end)
        assert (kind, protocol.decode_accepted(body)) == (protocol.ACCEPTED, 59.5 + isolate.TELL_SECONDS)
        kind, body = channel.receive(end)
        assert kind == protocol.ANSWER
        status, stdout, _ = protocol.decode_answer(body)
        assert status == 0
        assert json.loads(stdout)["extensions"]["reason"] == "REGISTRY_UNREACHABLE"
        assert process.wait(20) == 0


def test_what_it_starts_cannot_answer_for_it(tmp_path: Path) -> None:
    with socket.socket() as silent, started(tmp_path, now()) as (process, channel):
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        channel.send(request(f"127.0.0.1:{silent.getsockname()[1]}", timeout="60s"), time.monotonic() + 60)
        assert channel.receive(time.monotonic() + 60)[0] == protocol.ACCEPTED
        files = open_files(process.pid)
        assert [files[number] for number in (0, 1, 2)] == ["/dev/null"] * 3


def test_time_since_the_beginning_counts(tmp_path: Path) -> None:
    """The frame's time is from before this process was there."""
    with started(tmp_path, str(int(time.monotonic() * 1000) - 5000)) as (_, channel):
        end = time.monotonic() + 60
        channel.send(request("127.0.0.1:1"), end)
        assert channel.receive(end)[0] == protocol.ACCEPTED
        value = json.loads(protocol.decode_answer(channel.receive(end)[1])[1])
    assert value["extensions"]["reason"] == "DEADLINE_EXCEEDED"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
        protocol.frame(protocol.STATUS),
        protocol.frame(protocol.VERIFY, b"abc"),
    ],
    ids=["nothing", "no frame", "another kind", "no request"],
)
def test_what_is_no_request_is_not_answered(tmp_path: Path, content: bytes) -> None:
    with started(tmp_path, now()) as (process, channel):
        channel.send(content, time.monotonic() + 5)
        channel.connection.shutdown(socket.SHUT_WR)
        stdout, stderr = process.communicate(timeout=30)
    assert (process.returncode, stdout) == (2, b"")
    assert stderr.startswith(b"own-process is for the one-file plugin alone")


@pytest.mark.parametrize("began", ["soon", "1"])
def test_a_person_is_told_what_to_do(tmp_path: Path, began: str) -> None:
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run(
            [*COMMAND, began], stdin=theirs, capture_output=True, cwd=tmp_path, timeout=30, check=False
        )
    finally:
        os.close(ours)
        os.close(theirs)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"own-process is for the one-file plugin alone")
