"""The launcher as a client of the resident verifier: the same on the wire as the thin client in Python, fault by fault."""

from __future__ import annotations

import hashlib
import os
import random
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher.tests.harness import (
    CALL,
    Listener,
    Plugin,
    answering,
    denial,
    launcher,
    saying,
    told,
)
from slsa_verifier_plugin.environment import PER_CALL, passed_on
from slsa_verifier_plugin.resident import protocol
from slsa_verifier_plugin.resident.client import client
from slsa_verifier_plugin.resident.place import key_of, peer_of
from tests.support.processes import wait_for_end


@pytest.fixture
def plugin() -> Iterator[Plugin]:
    with Plugin() as plugin:
        yield plugin


def test_a_call_passes_as_it_was_made(plugin: Plugin) -> None:
    answer = (1, b'{"code":2}\n', b"info: said\n")
    with Listener(plugin, answering(answer)) as listener:
        done = plugin.run(stdin=b"\x00 in\xff", RATIFY_VERIFIER_SUBJECT="r/x\udcff@sha256:0")
    assert (done.returncode, done.stdout, done.stderr) == answer
    elapsed, *fields = protocol.decode_request(listener.requests[0])
    assert fields == [b"VERIFY", b"r/x\xff@sha256:0", b"1.0.0", b"\x00 in\xff"]
    assert elapsed < 2


def test_its_frame_is_the_python_clients_byte_for_byte(plugin: Plugin) -> None:
    with Listener(plugin, answering((0, b"", b""))) as listener:
        plugin.run(stdin=b"in", RATIFY_VERIFIER_SUBJECT="r/x@sha256:0", RATIFY_VERIFIER_VERSION="1.0.0")
    elapsed = int.from_bytes(listener.requests[0][:4]) / 1000
    expected = protocol.encode_request((elapsed, b"VERIFY", b"r/x@sha256:0", b"1.0.0", b"in"))
    assert listener.requests[0] == expected[protocol.HEADER_BYTES :]


@pytest.mark.parametrize("names", [["COMMAND"], ["SUBJECT"], ["VERSION"], ["VERSION", "SUBJECT", "COMMAND"]])
def test_without_ratifys_variables_it_says_so_and_starts_nothing(plugin: Plugin, names: list[str]) -> None:
    environ: dict[str, Any] = {f"RATIFY_VERIFIER_{name}": "" for name in names}
    done = plugin.run(stdin=b"x" * (protocol.MAX_STDIN + 1), **environ)
    expected = client.refusal({**plugin.environ, **environ})
    assert (done.returncode, done.stdout, done.stderr) == expected
    assert plugin.pids() == []


def test_it_starts_the_server_that_python_finds_and_the_next_call_finds_it(plugin: Plugin) -> None:
    first = plugin.run()
    [pid] = plugin.pids()
    assert (first.returncode, first.stdout, first.stderr) == (0, b"resident %d\n" % pid, b"")
    assert [plugin.run().stdout for _ in range(3)] == [first.stdout] * 3
    # Where the Python client looks, with the payload's digest as the build.
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(plugin.place.socket)
        assert peer_of(connection)[0] == pid


def test_the_server_has_nothing_of_its_caller(plugin: Plugin) -> None:
    settings = {
        "RATIFY_VERIFIER_SUBJECT": "s",
        "SLSA_VERIFIER_RESIDENT": "require",
        "LD_PRELOAD": "",
        "AWS_REGION": "r",
        "LANG": "C",
        "OWN_SECRET": "not listed",
        "GOOGLE_APPLICATION_CREDENTIALS": "/g",
        "SLSA_VERIFIER_EXECUTABLE": "/x",
    }
    reader, writer = os.pipe()
    try:
        os.set_inheritable(writer, True)
        every = {**plugin.environ, **settings}
        subprocess.run([plugin.path], input=b"", capture_output=True, env=every, close_fds=False, check=True)
    finally:
        os.close(writer)
    assert os.read(reader, 1) == b""  # nobody else holds it
    os.close(reader)
    process = Path(f"/proc/{plugin.pids()[0]}")
    environment = dict(
        item.split(b"=", 1) for item in (process / "environ").read_bytes().split(b"\0") if item
    )
    assert environment[b"SLSA_VERIFIER_BUILD"] == plugin.digest.encode()
    assert environment[b"AWS_REGION"] == b"r"
    assert environment[b"MALLOC_ARENA_MAX"] == b"2"
    unwanted = {name.encode() for name in PER_CALL} - {b"SLSA_VERIFIER_BUILD"}
    assert not (unwanted | {b"LD_PRELOAD", b"SLSA_VERIFIER_EXECUTABLE"}) & environment.keys()
    # Python's own coercion of the locale (PEP 538) may add one.
    passed = {name.encode() for name in passed_on(every)} | {b"SLSA_VERIFIER_BUILD", b"MALLOC_ARENA_MAX"}
    assert environment.keys() - {b"LC_CTYPE"} == passed
    assert (process / "cwd").readlink() == Path("/")
    assert {str((process / "fd" / name).readlink()) for name in "012"} == {"/dev/null"}
    session = (process / "stat").read_text().rpartition(")")[2].split()[3]
    assert session == process.name


@pytest.mark.parametrize("seed", range(8))
def test_its_key_is_pythons(seed: int) -> None:
    names = [
        "HOME",
        "PATH",
        "AWS_A",
        "AZURE_B",
        "ALIBABA_CLOUD_C",
        "KUBERNETES_D",
        "SLSA_VERIFIER_X",
        "RATIFY_Y",
        "RATIFY_",
        "SLSA_VERIFIER_PASS_ENV",
        "OWN_TOKEN",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "PYTHONPATH",
        "LD_PRELOAD_X",
    ]
    names += ["http_proxy", "HTTP_PROXY", "no_proxy", "SHELL", "HOME2", "XHOME", "aws_a", *PER_CALL]
    chance = random.Random(seed)
    environment = {name: f"{chance.random()}\udcff=é" for name in names if chance.random() < 0.7}
    if seed % 2:
        environment["SLSA_VERIFIER_PASS_ENV"] = chance.choice(
            ["OWN_TOKEN", "X,OWN_TOKEN,SHELL", ",OWN_TOKEN,", "OWN_TOKE"]
        )
    done = subprocess.run(
        [launcher("units-gcc"), "key", f"build{seed}"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == key_of(f"build{seed}", environment)


def test_tens_of_thousands_of_variables_take_no_time_from_a_call(plugin: Plugin) -> None:
    """Each name was compared with every other one: 20,000 took seconds, each time that the place was looked for."""
    plugin.environ |= {f"AWS_{number}": "x" * 20 for number in range(20_000)}
    plugin.run()
    begun = time.monotonic()
    assert plugin.run().stdout == b"resident %d\n" % plugin.pids()[0]
    assert time.monotonic() - begun < 2


@pytest.mark.parametrize("size", [0, 1, 55, 56, 63, 64, 65, 119, 120, 1000, 65536, 999_999])
def test_its_sha256_is_the_systems(size: int) -> None:
    data = os.urandom(size)
    for program in ("units-gcc", "units-portable"):
        done = subprocess.run([launcher(program), "digest"], input=data, capture_output=True, check=True)
        assert done.stdout.decode().strip() == hashlib.sha256(data).hexdigest()


def test_settings_of_one_caller_never_reach_another(plugin: Plugin) -> None:
    one, other = plugin.run(AWS_PROFILE="one"), plugin.run(AWS_PROFILE="other")
    assert one.stdout != other.stdout
    assert plugin.run(AWS_PROFILE="one").stdout == one.stdout
    assert len(plugin.pids()) == 2


ANSWER = protocol.encode_answer((0, b'{"isSuccess":true}\n', b""))


@pytest.mark.parametrize(
    ("value", "used"),
    [
        ("250", 250),
        ("4000000000", 4_000_000_000),
        ("", 0),
        ("-1", 0),
        ("1e3", 0),
        ("12345678901", 0),
        (" 7", 0),
    ],
)
def test_time_that_was_used_before_counts(plugin: Plugin, value: str, used: int) -> None:
    with Listener(plugin, answering((0, b"", b""))) as listener:
        plugin.run(SLSA_VERIFIER_ELAPSED_MS=value)
    elapsed = int.from_bytes(listener.requests[0][:4])
    # Never before the machine's own start.
    assert min(used, int(time.monotonic() * 1000) - 5000) <= elapsed < used + 3000


def test_one_that_accepts_and_is_silent_gets_the_fixed_line(plugin: Plugin) -> None:
    with Listener(plugin, saying(protocol.encode_accepted(0.3))):
        begin = time.monotonic()
        done = plugin.run()
    assert (done.returncode, done.stdout, done.stderr) == (0, protocol.DEADLINE_LINE, b"")
    assert 0.3 <= time.monotonic() - begin < 2
    assert denial(done)["extensions"]["reason"] == "DEADLINE_EXCEEDED"


def test_an_accepted_answer_is_waited_for_as_long_as_was_promised(plugin: Plugin) -> None:
    def converse(connection: socket.socket, body: bytes) -> None:
        connection.sendall(protocol.encode_accepted(20))
        for begin in range(len(ANSWER)):
            time.sleep(2 / len(ANSWER))
            connection.sendall(ANSWER[begin : begin + 1])

    with Listener(plugin, converse):
        assert plugin.run().stdout == b'{"isSuccess":true}\n'


def test_off_asks_nobody(plugin: Plugin) -> None:
    with Listener(plugin, answering((0, b"", b""))) as listener:
        done = plugin.run(stdin=b"in", SLSA_VERIFIER_RESIDENT="off")
    assert listener.requests == []
    assert told(done)["stdin"] == b"in".hex()
    assert done.stderr == b""


def test_require_denies_without_a_resident_verifier(plugin: Plugin) -> None:
    with Listener(plugin, saying(protocol.frame(protocol.BUSY))):
        done = plugin.run(SLSA_VERIFIER_RESIDENT="require")
    assert (done.returncode, done.stdout) == (0, protocol.REQUIRED_LINE)
    assert done.stderr == b"warn: the resident verifier has too many calls waiting\n"
    assert denial(done)["extensions"]["reason"] == "INTERNAL_ERROR"


def test_a_process_of_its_own_has_what_it_needs(plugin: Plugin) -> None:
    value = told(
        plugin.run(
            stdin=b"x" * 300_000, SLSA_VERIFIER_RESIDENT="off", LD_PRELOAD="", LD_LIBRARY_PATH="/x", OTHER="1"
        )
    )
    assert (value["size"], bytes.fromhex(value["stdin"])) == (300_000, b"x" * 1000)
    assert value["variables"] == [
        CALL[f"RATIFY_VERIFIER_{name}"] for name in ("COMMAND", "SUBJECT", "VERSION")
    ]
    assert value["environment"]["SLSA_VERIFIER_BUILD"] == plugin.digest
    assert value["environment"]["OTHER"] == "1"
    assert 0 <= value["elapsed"] < 3000
    assert "SLSA_VERIFIER_ELAPSED_MS" not in value["environment"]
    assert not {"LD_PRELOAD", "LD_LIBRARY_PATH"} & value["environment"].keys()
    assert value["arguments"][-4:] == ["-I", "-m", "slsa_verifier_plugin", "own-process"]
    # Its own directory's listing takes number 3.
    assert value["descriptors"] == [0, 1, 2, 3]


@pytest.mark.parametrize(("size", "fits"), [(protocol.MAX_STDIN, True), (protocol.MAX_STDIN + 1, False)])
def test_standard_input_has_a_limit(plugin: Plugin, size: int, fits: bool) -> None:
    done = plugin.run(stdin=b"x" * size)
    if fits:  # but not into a frame with its other fields
        assert told(done)["size"] == size
        assert done.stderr.startswith(b"warn: the request is longer than the resident verifier takes; ")
    else:
        assert (done.returncode, done.stdout, done.stderr) == (
            1,
            protocol.stdin_line(protocol.STDIN_LARGE),
            b"",
        )


def test_the_largest_request_passes(plugin: Plugin) -> None:
    names = ("RATIFY_VERIFIER_COMMAND", "RATIFY_VERIFIER_SUBJECT", "RATIFY_VERIFIER_VERSION")
    command, subject, version = (plugin.environ[name].encode() for name in names)
    size = (
        protocol.MAX_REQUEST
        - len(protocol.encode_request((0, command, subject, version, b"")))
        + protocol.HEADER_BYTES
    )
    with Listener(plugin, answering((0, b"x" * 200_000, b""))) as listener:
        done = plugin.run(stdin=b"x" * size)
    assert len(listener.requests[0]) == protocol.MAX_REQUEST
    assert done.stdout == b"x" * 200_000


def test_standard_input_that_never_ends_is_a_contract_error(plugin: Plugin) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"{")
    begin = time.monotonic()
    try:
        done = subprocess.run(
            [plugin.path], stdin=reader, capture_output=True, env=plugin.environ, timeout=20, check=False
        )
    finally:
        os.close(reader)
        os.close(writer)
    assert (done.returncode, done.stdout, done.stderr) == (1, protocol.stdin_line(protocol.STDIN_SLOW), b"")
    assert 2 <= time.monotonic() - begin < 4


def test_standard_input_that_cannot_be_read_is_a_contract_error(plugin: Plugin) -> None:
    directory = os.open("/", os.O_RDONLY)
    try:
        done = subprocess.run(
            [plugin.path], stdin=directory, capture_output=True, env=plugin.environ, check=False
        )
    finally:
        os.close(directory)
    assert (done.returncode, done.stdout, done.stderr) == (1, protocol.stdin_line(protocol.STDIN_FAILED), b"")


def test_closed_standard_files_do_no_harm(plugin: Plugin) -> None:
    command = ["/bin/sh", "-c", 'exec "$0" <&- 2>&-', str(plugin.path)]
    assert plugin.run_in(command).stdout == b"resident %d\n" % plugin.pids()[0]


def test_nobody_holds_the_callers_files_open(plugin: Plugin) -> None:
    begin = time.monotonic()
    done = plugin.run()  # returns once both pipes have no writer any more
    assert time.monotonic() - begin < 5
    assert done.stdout == b"resident %d\n" % plugin.pids()[0]
    os.kill(plugin.pids()[0], 0)  # and the server lives on


def test_directories_are_chosen_as_python_chooses_them(plugin: Plugin) -> None:
    session, temporary = plugin.home / "s", plugin.home / "t"
    session.mkdir(mode=0o700)
    temporary.mkdir(mode=0o755)
    choices: list[tuple[dict[str, Any], Path]] = [
        ({"XDG_RUNTIME_DIR": str(session)}, session),
        ({"XDG_RUNTIME_DIR": str(temporary), "TMPDIR": str(temporary)}, temporary),
        ({"XDG_RUNTIME_DIR": "relative", "TMPDIR": str(temporary)}, temporary),
    ]
    for settings, expected in choices:
        done = plugin.run(SLSA_VERIFIER_DIR="", **settings)
        place = plugin.place_for(SLSA_VERIFIER_DIR="", **settings)
        assert done.stdout == b"resident %d\n" % plugin.pids()[-1]
        assert Path(place.socket).is_socket()
        assert Path(place.socket).is_relative_to(expected)


def test_the_server_ends_when_told_and_the_next_call_starts_another(plugin: Plugin) -> None:
    plugin.run()
    [pid] = plugin.pids()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(plugin.place.socket)
        connection.sendall(protocol.frame(protocol.STOP))
        assert connection.recv(100)
    assert wait_for_end(pid)
    assert plugin.run().stdout == b"resident %d\n" % plugin.pids()[1]
