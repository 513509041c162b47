from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from slsa_verifier_plugin.resident import protocol
from slsa_verifier_plugin.resident.client import client
from slsa_verifier_plugin.resident.client.client import StdinError
from tests.support.deciding import DecidingService
from tests.support.resident import OWN, piped

ROOT = Path(__file__).parents[2]
PACKAGE = "slsa_verifier_plugin"
LOADED = {
    *("select", "_socket", "_sha2", "_sha256"),
    *(PACKAGE, f"{PACKAGE}.environment", f"{PACKAGE}.resident"),
    *(f"{PACKAGE}.resident.{name}" for name in ("channel", "client", "client.client", "place", "protocol")),
}
"""Everything that the client may load beyond a bare interpreter."""


def loaded_by(statement: str) -> set[str]:
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); before = set(sys.modules); {statement}; "
        "print(*(set(sys.modules) - before))"
    )
    command = [sys.executable, "-I", "-c", program]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def test_the_client_loads_only_these_modules() -> None:
    assert loaded_by(f"import {PACKAGE}.resident.client.client") <= LOADED


def test_a_call_of_the_plugin_loads_hardly_more() -> None:
    """``typing`` alone would make a call half as long again."""
    ways_in = {f"{PACKAGE}.entry", f"{PACKAGE}.plugin", "__future__"}
    loaded = loaded_by(f"import {PACKAGE}.entry, {PACKAGE}.plugin")
    assert loaded <= LOADED | ways_in


def test_the_list_can_fail() -> None:
    assert "json" in loaded_by("import json")


def test_starting_and_isolating_load_little_more() -> None:
    names = ("spawn", "isolate", "client.own_turns", "processors")
    statement = "import " + ", ".join(f"{PACKAGE}.resident.{name}" for name in names)
    more = {
        "fcntl",
        f"{PACKAGE}.lacks",
        f"{PACKAGE}.locks",
        *(f"{PACKAGE}.resident.{name}" for name in names),
    }
    assert loaded_by(statement) - LOADED <= more


def call(stdin: int, **environ: str) -> protocol.Answer:
    return client.call(environ, stdin, lambda content, started, turn: OWN, ["/nonexistent/python"])


ALL = {
    "RATIFY_VERIFIER_COMMAND": "VERIFY",
    "RATIFY_VERIFIER_SUBJECT": "r/x@sha256:0",
    "RATIFY_VERIFIER_VERSION": "1",
}


@pytest.mark.parametrize("value", [None, ""])
@pytest.mark.parametrize(
    "names", [("SUBJECT",), ("VERSION",), ("COMMAND",), ("SUBJECT", "VERSION", "COMMAND")]
)
def test_without_ratifys_variables_there_is_the_contracts_word(
    names: tuple[str, ...], value: str | None
) -> None:
    environ = dict(ALL)
    for name in names:
        del environ[f"RATIFY_VERIFIER_{name}"]
        if value is not None:
            environ[f"RATIFY_VERIFIER_{name}"] = value
    response = DecidingService(lambda *_: pytest.fail("nothing to decide")).respond(environ, b"")
    assert client.refusal(environ) == (response.status, response.stdout, response.stderr)
    assert client.refusal(ALL) is None


@pytest.mark.parametrize("stdin", [b"", b"{", b"x" * (protocol.MAX_STDIN + 1)])
def test_without_them_nothing_is_read_and_nothing_started(tmp_path: Path, stdin: bytes) -> None:
    place = tmp_path / "place"
    done = subprocess.run(
        [sys.executable, "-m", PACKAGE],
        env={"SLSA_VERIFIER_DIR": str(place), "HOME": str(tmp_path)},
        input=stdin,
        capture_output=True,
        cwd=ROOT,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == client.refusal({})
    assert not place.exists()


def test_off_is_always_a_process_of_its_own(tmp_path: Path) -> None:
    seen: list[tuple[bytes, float]] = []

    def own(content: bytes, started: float, turn: int) -> protocol.Answer:
        seen.append((content, time.monotonic() - started))
        return 1, b"own", b"log\n"

    with piped(b"{}") as stdin:
        environ = {"SLSA_VERIFIER_RESIDENT": "off", "SLSA_VERIFIER_DIR": str(tmp_path / "place")}
        answer = client.call(environ, stdin, own, ["/nonexistent/python"])
    assert answer == (1, b"own", b"log\n")
    ((content, elapsed),) = seen
    assert content == b"{}"
    assert 0 <= elapsed < 60


@pytest.mark.parametrize(
    ("value", "least"),
    [("1500", 1.5), ("", 0.0), ("soon", 0.0), ("-5", 0.0), ("\u0663", 0.0), ("9" * 11, 0.0)],
)
def test_time_used_before_counts(tmp_path: Path, value: str, least: float) -> None:
    seen: list[float] = []

    def own(_: bytes, started: float, turn: int) -> protocol.Answer:
        seen.append(time.monotonic() - started)
        return OWN

    environ = {
        "SLSA_VERIFIER_DIR": str(tmp_path / "place"),
        "SLSA_VERIFIER_RESIDENT": "off",
        "SLSA_VERIFIER_ELAPSED_MS": value,
    }
    with piped(b"") as stdin:
        client.call(environ, stdin, own, ["/nonexistent/python"])
    assert least <= seen[0] < least + 60


def test_require_without_a_place_denies() -> None:
    with piped(b"{}") as stdin:
        answer = call(stdin, SLSA_VERIFIER_RESIDENT="require", SLSA_VERIFIER_DIR="relative")
    assert answer == (
        0,
        protocol.REQUIRED_LINE,
        b"warn: no resident verifier is used: SLSA_VERIFIER_DIR is a relative path\n",
    )


def test_a_place_that_cannot_be_used_is_said_on_standard_error() -> None:
    with piped(b"{}") as stdin:
        status, stdout, stderr = call(stdin, SLSA_VERIFIER_DIR="/proc/none")
    assert (status, stdout) == OWN[:2]
    assert stderr == (
        b"warn: no resident verifier is used: a directory cannot be made; "
        b"this call was verified in a process of its own\n"
    )


def test_standard_input_of_the_most_bytes_is_read() -> None:
    content = b"x" * protocol.MAX_STDIN
    with piped(content) as stdin:
        assert client.read_stdin(stdin, time.monotonic() + 10) == content


def test_more_standard_input_is_contract_error_5() -> None:
    with piped(b"x" * (protocol.MAX_STDIN + 1)) as stdin:
        assert call(stdin) == (1, protocol.stdin_line(protocol.STDIN_LARGE), b"")


def test_standard_input_that_never_ends_is_contract_error_5(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "STDIN_SECONDS", 0.1)
    reader, writer = os.pipe()
    try:
        os.write(writer, b"{")
        assert call(reader) == (1, protocol.stdin_line(protocol.STDIN_SLOW), b"")
    finally:
        os.close(reader)
        os.close(writer)


def test_standard_input_that_goes_on_and_on_is_contract_error_5() -> None:
    zero = os.open("/dev/zero", os.O_RDONLY)
    try:
        assert call(zero) == (1, protocol.stdin_line(protocol.STDIN_LARGE), b"")
    finally:
        os.close(zero)


def test_unreadable_standard_input_is_contract_error_5(tmp_path: Path) -> None:
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        assert call(directory) == (1, protocol.stdin_line(protocol.STDIN_FAILED), b"")
    finally:
        os.close(directory)


def test_closed_standard_input_is_contract_error_5() -> None:
    reader, writer = os.pipe()
    os.close(writer)
    os.close(reader)
    assert call(reader) == (1, protocol.stdin_line(protocol.STDIN_FAILED), b"")


def test_read_stdin_raises_for_each() -> None:
    with piped(b"") as stdin, pytest.raises(StdinError):
        client.read_stdin(stdin, 0.0)
