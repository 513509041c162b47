"""``verify`` by a resident verifier: to the byte what a process of its own says, or else that process says it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from slsa_verifier_plugin.checking.status import Status
from slsa_verifier_plugin.cli import through_resident
from slsa_verifier_plugin.cli.commands import verify_command
from slsa_verifier_plugin.resident import protocol
from slsa_verifier_plugin.resident.client import manage
from slsa_verifier_plugin.resident.place import find_place
from tests.support.command_line import (
    ARTIFACT_TYPE,
    LEVEL_1,
    LEVEL_3,
    SOURCE,
    TESTDATA,
    TRUSTED_ROOT,
    Done,
    cli,
    process,
    verifier,
    write_yaml,
)
from tests.support.embedded_registry import EmbeddedRegistry
from tests.support.interrupts import heard
from tests.support.users import OTHER_USER, as_root

TAMPERED = TESTDATA / "tampered.intoto.jsonl"
REPOSITORY = "team/app"
NOTES = {
    "low": [LEVEL_1],
    "high": [LEVEL_3],
    "tampered": [TAMPERED],
    "both": [LEVEL_1, LEVEL_3],
    "many": [TAMPERED, LEVEL_1, LEVEL_3, LEVEL_1],
    "none": [],
}
OWN = {"SLSA_VERIFIER_RESIDENT": "off"}
_MILLISECONDS = re.compile(r'("durationMs": |time=")[0-9.]+')


def patient(level: int = 2) -> dict[str, Any]:
    """Return a Verifier whose time no busy machine takes up."""
    found = verifier(level=level)
    found["spec"]["parameters"]["timeout"] = "60s"
    return found


@pytest.fixture(scope="module")
def place() -> Iterator[dict[str, str]]:
    """Variables of a resident verifier that runs for these tests."""
    with tempfile.TemporaryDirectory(prefix="v-") as folder:
        environ = {"SLSA_VERIFIER_DIR": f"{folder}/d", "HOME": folder, "SLSA_VERIFIER_REFRESH_HOURS": "0"}
        try:
            assert cli("resident", "start", environ=environ).status == Status.ADMITTED
            yield environ
        finally:
            cli("resident", "stop", environ=environ)


@pytest.fixture
def deserted() -> Iterator[dict[str, str]]:
    """Variables of a place at which no resident verifier runs."""
    with tempfile.TemporaryDirectory(prefix="v-") as folder:
        yield {"SLSA_VERIFIER_DIR": f"{folder}/d", "HOME": folder, "SLSA_VERIFIER_REFRESH_HOURS": "0"}


@pytest.fixture(scope="module")
def registry() -> Iterator[EmbeddedRegistry]:
    with EmbeddedRegistry() as running:
        for tag, notes in NOTES.items():
            image = running.push_image(REPOSITORY, tag)
            for note in notes:
                running.attach(REPOSITORY, image, ARTIFACT_TYPE, [note.read_bytes()])
        yield running


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    return write_yaml(tmp_path / "verifier.yaml", patient())


@pytest.fixture
def never_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where this process verifies by itself."""
    monkeypatch.setattr(verify_command, "reports_on", _refuse)


def _refuse(*_: object) -> None:
    raise AssertionError("verified by itself")


def accepted(place: dict[str, str]) -> int:
    """Return how many calls the resident verifier has accepted."""
    with contextlib.ExitStack() as stack:
        environ = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in place.items():
            environ.setenv(name, value)
        report = manage.status(os.environ).report
    assert report is not None
    return int(report["calls"]["accepted"])


def same(done: Done) -> Done:
    """Return a run without the times that it took."""
    return Done(done.status, _MILLISECONDS.sub(r"\g<1>0", done.out), done.err)


FORMS = (
    (),
    ("--verbose",),
    ("--json",),
    *(("--format", form) for form in ("sarif", "markdown", "junit")),
)


@pytest.mark.parametrize("form", FORMS, ids=" ".join)
@pytest.mark.parametrize("tag", [*NOTES, "absent"])
@pytest.mark.parametrize("rule", ["--any", "--all"])
def test_an_image_in_every_form(
    place: dict[str, str],
    registry: EmbeddedRegistry,
    policy: Path,
    monkeypatch: pytest.MonkeyPatch,
    form: tuple[str, ...],
    tag: str,
    rule: str,
) -> None:
    arguments: tuple[str | Path, ...]
    arguments = ("verify", f"{registry.host}/{REPOSITORY}:{tag}", "--policy", policy, rule, *form)
    statuses = {"high": 0, "low": 1, "tampered": 1, "none": 1, "absent": 3}
    statuses |= dict.fromkeys(("both", "many"), int(rule == "--all"))
    own = cli(*arguments, environ={**place, **OWN})
    monkeypatch.setattr(verify_command, "reports_on", _refuse)
    assert same(cli(*arguments, environ=place)) == same(own)
    assert own.status == statuses[tag]


@pytest.mark.usefixtures("never_alone")
def test_what_the_caller_s_terminal_shows(
    place: dict[str, str], registry: EmbeddedRegistry, policy: Path
) -> None:
    arguments = ("verify", f"{registry.host}/{REPOSITORY}:high", "--policy", policy)
    plain = cli(*arguments, environ=place).out
    assert "\033" not in plain
    assert "✓" in plain
    assert "\033[32" in cli(*arguments, environ=place, terminal=True).out
    assert "\033" not in cli(*arguments, environ={**place, "NO_COLOR": "1"}, terminal=True).out
    assert "\033[32" in cli("--color", "always", *arguments, environ=place).out
    letters = cli(*arguments, environ=place, encoding="ascii").out
    assert "✓" not in letters
    assert " ok " in letters


@pytest.mark.parametrize("bundle", [LEVEL_1, LEVEL_3, TAMPERED], ids=lambda path: path.name)
@pytest.mark.parametrize("form", FORMS, ids=" ".join)
@pytest.mark.parametrize("way", ["absolute", "relative", "stdin", "for an image"])
def test_a_bundle_is_read_by_the_caller(
    place: dict[str, str],
    policy: Path,
    monkeypatch: pytest.MonkeyPatch,
    bundle: Path,
    form: tuple[str, ...],
    way: str,
) -> None:
    # Where the verifier is, a file of this name would be a reference.
    name = "localhost/notes:v1"
    (policy.parent / "localhost").mkdir()
    shutil.copy(bundle, policy.parent / name)
    monkeypatch.chdir(policy.parent)
    named = {"absolute": str(bundle), "relative": name, "stdin": "-"}.get(way, str(bundle))
    image = (f"localhost/app@sha256:{'1' * 64}",) if way == "for an image" else ()
    arguments = ("verify", *image, "--bundle", named, "--policy", policy.name, *form)
    stdin = bundle.read_bytes() if way == "stdin" else b""
    own = cli(*arguments, environ={**place, **OWN}, stdin=stdin)
    monkeypatch.setattr(verify_command, "reports_on", _refuse)
    assert same(cli(*arguments, environ=place, stdin=stdin)) == same(own)
    assert own.status in (Status.ADMITTED, Status.DENIED)
    assert own.err == ""


@pytest.mark.usefixtures("never_alone")
def test_policies_from_everywhere(
    place: dict[str, str],
    registry: EmbeddedRegistry,
    policy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    image = f"{registry.host}/{REPOSITORY}:high"
    piped = cli("verify", image, "--policy", "-", environ=place, stdin=policy.read_bytes())
    assert piped.status == Status.ADMITTED
    options = ["--level", "SLSA_SOURCE_LEVEL_3", "--resource-uri", SOURCE]
    # Relative to where the person is, which is not where the verifier is.
    shutil.copy(TRUSTED_ROOT, tmp_path / "root.json")
    monkeypatch.chdir(tmp_path)
    assert cli("verify", image, *options, "--trusted-root", "root.json", environ=place).status == 0
    beside = patient()
    beside["spec"]["parameters"]["trustedRoot"] = {"path": "root.json"}
    (tmp_path / "deep").mkdir()
    shutil.copy(TRUSTED_ROOT, tmp_path / "deep" / "root.json")
    (tmp_path / "root.json").unlink()
    write_yaml(tmp_path / "deep" / "v.yaml", beside)
    assert cli("verify", image, "--policy", "deep/v.yaml", environ=place).status == Status.ADMITTED
    late = cli("verify", image, "--policy", policy, "--max-age", "1h", environ=place)
    assert "  TOO_OLD  " in late.out
    early = cli(
        "verify", image, "--policy", policy, "--max-age", "1h", "--at", "2025-11-24T12:00:00Z", environ=place
    )
    assert late.out != early.out


@pytest.mark.usefixtures("never_alone")
def test_what_changes_between_two_calls_is_seen_at_once(
    place: dict[str, str], policy: Path, tmp_path: Path
) -> None:
    root = tmp_path / "root.json"
    shutil.copy(TRUSTED_ROOT, root)
    with EmbeddedRegistry() as registry:
        first = registry.push_image(REPOSITORY, "moving")
        registry.attach(REPOSITORY, first, ARTIFACT_TYPE, [LEVEL_3.read_bytes()])

        def call() -> Done:
            image = f"{registry.host}/{REPOSITORY}:moving"
            return cli("verify", image, "--policy", policy, "--trusted-root", root, environ=place)

        assert call().status == Status.ADMITTED
        write_yaml(policy, patient(4))
        assert "LEVEL_TOO_LOW" in call().out
        write_yaml(policy, patient())
        assert call().status == Status.ADMITTED
        registry.attach(REPOSITORY, first, ARTIFACT_TYPE, [TAMPERED.read_bytes()])
        assert call().status == Status.DENIED
        second = registry.push_image(REPOSITORY, "moving", {"number": "2"})
        assert "NO_ATTESTATION" in call().out
        registry.attach(REPOSITORY, second, ARTIFACT_TYPE, [LEVEL_3.read_bytes()])
        assert call().status == Status.ADMITTED
        # Another root: what was verified under the first one is no help.
        value = json.loads(root.read_text())
        value["certificateAuthorities"] = value["certificateAuthorities"][:0]
        root.write_text(json.dumps(value))
        assert call().status != Status.ADMITTED


def test_what_is_wrong_is_said_as_ever(
    place: dict[str, str], registry: EmbeddedRegistry, policy: Path, tmp_path: Path
) -> None:
    image = f"{registry.host}/{REPOSITORY}:high"
    broken = tmp_path / "broken.yaml"
    broken.write_text("kind: [\n")
    wrong: list[tuple[str | Path, ...]] = [
        (image,),
        (image, "--policy", tmp_path / "missing.yaml"),
        (image, "--policy", broken),
        (image, "--policy", policy, "--verifier", "other"),
        (image, "--policy", policy, "--max-age", "soon"),
        ("./nothing.json", "--policy", policy),
        ("UPPER/app:1", "--policy", policy),
        ("--bundle", tmp_path / "missing.jsonl", "--policy", policy),
        (image, "--bundle", LEVEL_3, "--policy", policy),
        ("--bundle", "-", "--policy", "-"),
    ]
    for arguments in wrong:
        for debug in ([], ["--debug"]):
            own = cli(*debug, "verify", *arguments, environ={**place, **OWN})
            assert (own.status, own.out) == (Status.USAGE, "")
            assert cli(*debug, "verify", *arguments, environ=place) == own


def test_what_a_process_of_its_own_does_better(
    place: dict[str, str], registry: EmbeddedRegistry, policy: Path
) -> None:
    before = accepted(place)
    images = [f"{registry.host}/{REPOSITORY}:{tag}" for tag in ("high", "low")]
    assert cli("verify", *images, "--policy", policy, environ=place).status == Status.DENIED
    assert cli("verify", images[0], "--policy", policy, environ={**place, **OWN}).status == 0
    pipe = process(
        "verify", "--bundle", "/dev/stdin", "--policy", policy, environ=place, stdin=LEVEL_3.read_bytes()
    )
    assert pipe.status == Status.ADMITTED
    assert accepted(place) == before
    assert cli("verify", images[0], "--policy", policy, environ=place).status == Status.ADMITTED
    assert accepted(place) == before + 1


def test_nothing_is_started(deserted: dict[str, str], registry: EmbeddedRegistry, policy: Path) -> None:
    image = f"{registry.host}/{REPOSITORY}:high"
    assert cli("verify", image, "--policy", policy, environ=deserted).status == Status.ADMITTED
    assert not Path(deserted["SLSA_VERIFIER_DIR"]).exists()


def test_other_rights_have_a_process_of_their_own(
    place: dict[str, str], registry: EmbeddedRegistry, policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = through_resident.standing()
    image = f"{registry.host}/{REPOSITORY}:high"
    monkeypatch.setattr(through_resident, "standing", lambda: [*own[:1], [0], *own[2:]])
    before = accepted(place)
    assert cli("verify", image, "--policy", policy, environ=place).status == Status.ADMITTED
    assert accepted(place) == before + 1
    monkeypatch.setattr(verify_command, "reports_on", _refuse)
    # The defect is this test's own: the verifier has declined.
    assert cli("verify", image, "--policy", policy, environ=place).status == Status.UNDECIDED
    monkeypatch.setattr(through_resident, "standing", lambda: own)
    assert cli("verify", image, "--policy", policy, environ=place).status == Status.ADMITTED


@as_root
def test_rights_are_groups_capabilities_and_networks() -> None:
    code = "from slsa_verifier_plugin.cli.through_resident import standing; print(standing())"

    def said(prepare: Callable[[], object]) -> str:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, preexec_fn=prepare
        )
        return done.stdout

    usual = said(lambda: None)
    assert said(lambda: None) == usual
    assert said(lambda: os.setgroups([4242])) != usual
    assert said(lambda: os.setegid(4242)) != usual


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


def test_what_fits_in_no_request_is_verified_here(
    place: dict[str, str], policy: Path, tmp_path: Path
) -> None:
    large = tmp_path / "large.jsonl"
    large.write_bytes(LEVEL_3.read_bytes() + b"\n" * protocol.MAX_REQUEST)
    before = accepted(place)
    own = cli("verify", "--bundle", large, "--policy", policy, environ={**place, **OWN})
    assert cli("verify", "--bundle", large, "--policy", policy, environ=place) == own
    assert accepted(place) == before


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


HEAVY = (
    "sigstore",
    "requests",
    "jinja2",
    "jsonschema",
    "yaml",
    "cryptography",
    "oras",
    "rich",
    "tuf",
    "google",
)


def test_the_caller_imports_little(place: dict[str, str], registry: EmbeddedRegistry, policy: Path) -> None:
    # Where this process would verify by itself, the list would be long.
    command = (sys.executable, "-X", "importtime", "-m", "slsa_verifier_plugin")
    arguments = ("verify", f"{registry.host}/{REPOSITORY}:high", "--policy", policy)
    environ = {**place, "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    if not environ["PYTHONPATH"]:
        del environ["PYTHONPATH"]
    done = subprocess.run(
        [*command, *arguments], capture_output=True, text=True, env={**os.environ, **environ}, check=True
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert {name.partition(".")[0] for name in imported}.isdisjoint(HEAVY)
    ours = {name for name in imported if name.startswith("slsa_verifier_plugin.")}
    assert not {
        name for name in ours if name.split(".")[1] in ("service", "signatures", "verification", "model")
    }
    assert done.stdout.startswith("ADMITTED")
