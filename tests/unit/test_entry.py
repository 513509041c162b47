"""The two ways in, as processes: which one a call is, what it loads, and what it touches."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from slsa_verifier_plugin import __version__, ratify
from slsa_verifier_plugin.plugin import write_all
from tests.support.content import push
from tests.support.policies import BASE
from tests.support.processes import wait_until
from tests.support.registries import RecordingRegistry
from tests.support.sigstore import Lab, vsa

ROOT = Path(__file__).parents[2]
DIGEST = "sha256:" + "ab" * 32
GOOD = {ratify.COMMAND: "VERIFY", ratify.SUBJECT: f"registry.example/app@{DIGEST}", ratify.VERSION: "1.0.0"}
STDIN = json.dumps(
    {
        "config": BASE,
        "storeConfig": {"store": {"name": "oras"}},
        "referenceDesc": {"mediaType": "a/b", "digest": DIGEST, "size": 3},
    }
).encode()
HEAVY = {
    "sigstore",
    "sigstore_models",
    "tuf",
    "cryptography",
    "oras",
    "requests",
    "urllib3",
    "jsonschema",
    "google",
    "re2",
}
COMMAND_LINE = {"click", "yaml"}


@dataclass(frozen=True)
class Done:
    """What a process printed, the modules that it loaded, and its exit status."""

    status: int
    out: bytes
    err: bytes
    loaded: set[str]


def start(
    arguments: list[str], environ: Mapping[str, str | None], stdin: bytes | int, home: Path | None = None
) -> Done:
    """Run the program as installed does, in an environment of its own, and tell what it imported (``-X importtime``)."""
    kept = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "HOME": str(home or "/nonexistent"),
        "SLSA_VERIFIER_RESIDENT": "off",
    }
    chosen = {name: value for name, value in {**kept, **environ}.items() if value is not None}
    command = [sys.executable, "-X", "importtime", "-m", "slsa_verifier_plugin", *arguments]
    if isinstance(stdin, bytes):
        done = subprocess.run(command, env=chosen, capture_output=True, timeout=60, check=False, input=stdin)
    else:
        done = subprocess.run(command, env=chosen, capture_output=True, timeout=60, check=False, stdin=stdin)
    lines = done.stderr.splitlines(keepends=True)
    imported = [line for line in lines if line.startswith(b"import time:")]
    loaded = {line.rpartition(b"|")[2].strip().decode().split(".")[0] for line in imported}
    assert "slsa_verifier_plugin" in loaded
    return Done(
        done.returncode, done.stdout, b"".join(line for line in lines if line not in imported), loaded
    )


@pytest.mark.parametrize(
    ("environ", "stdin", "code"),
    [
        ({}, b"", 1),
        ({}, b"{", 1),
        ({ratify.COMMAND: "LIST"}, STDIN, 3),
        ({ratify.SUBJECT: None}, STDIN, 4),
        ({ratify.COMMAND: None, ratify.SUBJECT: None, ratify.VERSION: None}, b"", 4),
        ({}, b" " * (ratify.MAX_STDIN + 1), 5),
        ({ratify.VERSION: "2.0.0"}, STDIN, 6),
        ({ratify.SUBJECT: "registry.example/app"}, STDIN, 7),
    ],
)
def test_a_contract_error_loads_nothing_heavy(
    environ: dict[str, str | None], stdin: bytes, code: int
) -> None:
    done = start([], {**GOOD, **environ}, stdin)
    assert (done.status, done.err) == (1, b"")
    assert json.loads(done.out)["code"] == code
    assert done.out.count(b"\n") == 1
    assert not done.loaded & (HEAVY | COMMAND_LINE)


@pytest.mark.parametrize("argument", ["--version", "--help"])
def test_version_and_help_load_nothing_heavy(argument: str) -> None:
    done = start([argument], {}, b"")
    assert (done.status, done.err) == (0, b"")
    assert (__version__ if argument == "--version" else "Usage: slsa-verifier-plugin").encode() in done.out
    assert not done.loaded & HEAVY


def test_arguments_make_it_the_command_line_whatever_ratify_says() -> None:
    assert __version__.encode() in start(["--version"], GOOD, STDIN).out


def test_ratifys_environment_makes_it_the_plugin_even_on_a_terminal() -> None:
    ours, theirs = pty.openpty()
    try:
        os.write(ours, b"\x04")
        done = start([], {**GOOD, ratify.SUBJECT: None}, theirs)
    finally:
        os.close(ours)
        os.close(theirs)
    assert json.loads(done.out)["code"] == 4


def test_a_terminal_without_ratify_gets_the_help() -> None:
    ours, theirs = pty.openpty()
    try:
        done = start([], {}, theirs)
    finally:
        os.close(ours)
        os.close(theirs)
    assert (done.status, done.err) == (0, b"")
    assert done.out.startswith(b"Usage: slsa-verifier-plugin")
    assert "click" in done.loaded


def test_a_closed_standard_input_is_answered_too() -> None:
    command = [sys.executable, "-m", "slsa_verifier_plugin"]
    for more, code in (({}, 4), (GOOD, 5)):
        done = subprocess.run(
            ["/bin/sh", "-c", 'exec "$@" <&-', "sh", *command],
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(ROOT),
                "SLSA_VERIFIER_RESIDENT": "off",
                **more,
            },
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (1, b"")
        assert json.loads(done.stdout)["code"] == code


def _is_full(writer: int) -> bool:
    return not select.select([], [writer], [], 0)[1]


@pytest.mark.parametrize("blocks", [True, False])
def test_a_pipe_that_is_full_gets_all_of_it_from_a_reader_that_comes_late(blocks: bool) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, blocks)
    content = os.urandom(300_000)
    with ThreadPoolExecutor(1) as pool, os.fdopen(reader, "rb") as file:

        def late() -> bytes:
            wait_until(lambda: _is_full(writer))
            return file.read(len(content))

        read = pool.submit(late)
        assert write_all(writer, content, time.monotonic() + 60)
        assert read.result(60) == content
    os.close(writer)


@pytest.mark.parametrize("blocks", [True, False])
def test_a_pipe_that_nobody_reads_is_given_up_in_time(blocks: bool) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, blocks)
    begun = time.monotonic()
    assert not write_all(writer, bytes(300_000), begun + 0.2)
    assert 0.2 <= time.monotonic() - begun < 10
    assert _is_full(writer)
    os.close(reader)
    assert not write_all(writer, b"x", time.monotonic() + 60)
    os.close(writer)


def test_a_verdict_that_nobody_takes_has_no_status_of_one() -> None:
    assert not write_all(-1, b"x", time.monotonic() + 60)
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "slsa_verifier_plugin"],
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(ROOT),
                "SLSA_VERIFIER_RESIDENT": "off",
                **GOOD,
            },
            input=STDIN,
            stdout=full,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1


AUDITED = """
import os, sys
log = sys.argv.pop(1)
busy = False
RUNS = ("socket.getaddrinfo", "socket.gethostbyname", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.system")
MAKES = ("os.mkdir", "os.rename", "os.symlink", "os.link", "shutil.copyfile", "tempfile.mkstemp", "tempfile.mkdtemp")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT

def note(line):
    # Opened anew each time: the verification runs in a fork that closes all descriptors but its own.
    global busy
    busy = True
    try:
        with open(log, "a") as file:
            file.write(line + "\\n")
    finally:
        busy = False

def hook(event, arguments):
    if busy:
        return
    if event in ("socket.connect", "socket.sendto", "socket.bind"):
        note(f"{event} {arguments[1]!r}")
    elif event in RUNS:
        note(f"{event} {arguments[0]!r}")
    elif event == "open" and isinstance(arguments[0], (str, bytes)) and (arguments[2] or 0) & WRITES:
        note(f"write {os.fsdecode(arguments[0])}")
    elif event in MAKES:
        note(f"{event} {arguments!r}")

sys.addaudithook(hook)
sys.argv[0] = "slsla"
note("begin")
from slsa_verifier_plugin.entry import main
main()
"""


HARMLESS = {
    "write /dev/null",
    "socket.bind ('::1', 0)",  # urllib3 looks whether there is IPv6, on loopback
    "subprocess.Popen 'uname'",  # Python's platform.platform(), which Azure's library calls where it is installed
}


def audited(folder: Path, stdin: Any, environ: Mapping[str, str]) -> tuple[Any, list[str], Path]:
    """Run the plugin under an audit hook; return its result, what it did that others could see, and its empty home."""
    home, log = folder / "home", folder / "audit"
    home.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", AUDITED, str(log)],
        input=json.dumps(stdin).encode(),
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": str(home),
            "SLSA_VERIFIER_RESIDENT": "off",
            "SLSA_VERIFIER_DIR": str(folder / "place"),
            **environ,
        },
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == b""
    events = [line for line in log.read_text().splitlines() if line not in HARMLESS]
    assert events.pop(0) == "begin"
    # It takes its turn, and nothing else of that directory.
    [key] = (folder / "place").iterdir()
    assert f"write {key}/own-0" in events
    turn = {f"write {key}/own-{number}" for number in (0, 1)}
    turn |= {f"os.mkdir ({str(path)!r}, 448, -1)" for path in (key.parent, key)}
    events = [event for event in events if event not in turn]
    return json.loads(done.stdout), events, home


def test_a_verification_touches_its_registry_and_its_turn_alone(near: Path) -> None:
    root = near / "root.json"
    root.write_bytes(Lab().trusted_root())
    with RecordingRegistry() as registry:
        pushed = push(registry, content=Lab().sign(vsa()))
        stdin = {
            "config": {**BASE, "trustedRoot": ["public-good", "staging", {"path": str(root)}]},
            "storeConfig": {"store": {"name": "oras", "useHttp": True}},
            "referenceDesc": {
                "mediaType": pushed.artifact.media_type,
                "digest": str(pushed.artifact.digest),
                "size": pushed.artifact.size,
            },
        }
        subject = f"{pushed.image.registry}/{pushed.image.repository}@{pushed.image.digest}"
        result, events, home = audited(near, stdin, {**GOOD, ratify.SUBJECT: subject})
        host, _, port = registry.host.partition(":")
        asked = registry.paths()
    assert result["isSuccess"] is True
    assert asked
    assert [event for event in events if event.startswith("socket.connect")]
    allowed = {f"socket.connect ({host!r}, {port})", f"socket.getaddrinfo {host!r}"}
    assert set(events) <= allowed
    assert list(home.iterdir()) == []


def test_without_any_network_a_denial_is_honest_and_writes_nothing(near: Path) -> None:
    stdin = json.loads(STDIN)
    stdin["storeConfig"]["store"]["useHttp"] = True
    result, events, home = audited(near, stdin, {**GOOD, ratify.SUBJECT: f"127.0.0.1:1/app@{DIGEST}"})
    assert (result["isSuccess"], result["extensions"]["reason"]) == (False, "REGISTRY_UNREACHABLE")
    assert {event.partition(" ")[0] for event in events} <= {"socket.connect", "socket.getaddrinfo"}
    assert list(home.iterdir()) == []


def age(statement: str) -> float:
    """Return what a new process says of its age, after a statement."""
    program = (
        f"import time; {statement}; from slsa_verifier_plugin import plugin; print(plugin.process_age())"
    )
    command = [sys.executable, "-P", "-c", program]
    environ = {"PYTHONPATH": str(ROOT)}
    return float(subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout)


def test_a_call_begins_with_its_process() -> None:
    """Of many interpreters that start at once each waits long for a processor, which its caller counts too."""
    started = time.monotonic()
    seconds = age("time.sleep(0.5)")
    # The kernel counts in hundredths of a second.
    assert 0.5 <= seconds <= time.monotonic() - started + 0.02


def test_a_process_that_is_older_than_any_call_was_something_else_before() -> None:
    assert age("import slsa_verifier_plugin.plugin as p; p.OLDEST_SECONDS = 0.1; time.sleep(0.2)") == 0.0
