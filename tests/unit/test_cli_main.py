"""The program's boundary: what is imported, which line is printed, which status it ends with."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from slsa_verifier_plugin import __version__
from slsa_verifier_plugin.checking.status import Decision, Status, decision_of, status_of
from slsa_verifier_plugin.cli import main
from slsa_verifier_plugin.cli.lazy import Lazy
from slsa_verifier_plugin.cli.session import Session, pass_session, say
from slsa_verifier_plugin.errors import ContractCode, ContractError, Reason, RegistryError, UsageError
from tests.support import interrupts
from tests.support.command_line import ROOT, TESTDATA, Done, cli, process
from tests.support.hostile import commands_in, unseen_in

HEAVY = ("sigstore", "oras", "requests", "jsonschema", "cryptography", "tuf", "yaml", "google", "re2", "rich")


@pytest.mark.parametrize(
    ("arguments", "environ"),
    [
        (["--version"], {}),
        (["--help"], {}),
        (["verify", "--help"], {}),
        (["resident", "--help"], {}),
        ([], {main.COMPLETION_VARIABLE: "bash_complete", "COMP_WORDS": "x verify --p", "COMP_CWORD": "2"}),
        ([], {main.COMPLETION_VARIABLE: "bash_complete", "COMP_WORDS": "x ver", "COMP_CWORD": "1"}),
    ],
)
def test_help_version_and_completion_load_nothing_heavy(
    arguments: list[str], environ: dict[str, str]
) -> None:
    program = (
        "import sys\n"
        "from slsa_verifier_plugin.cli.main import run\n"
        f"status = run({arguments!r})\n"
        f"loaded = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "sys.exit(f'status {status}, loaded {loaded}' if status or loaded else 0)\n"
    )
    done = process("-c", program, environ=environ, command=[sys.executable])
    assert (done.status, done.err) == (0, "")
    assert done.out


def test_every_command_of_the_table_exists_and_says_what_the_table_says() -> None:
    context = click.Context(main.program)
    for name, lazy in main.COMMANDS.items():
        command = main.program.get_command(context, name)
        assert command is not None
        assert command.name == name
        assert command.help
        assert lazy.help.endswith(".")


def test_version() -> None:
    assert cli("--version").out == f"slsa-verifier-plugin {__version__}\n"


def test_no_arguments_show_the_help() -> None:
    done = cli()
    assert done.status == 0
    assert done.out.startswith("Usage: slsa-verifier-plugin")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["vrify"], "there is no command 'vrify'; did you mean 'verify'?"),
        (["xyzzy"], "there is no command 'xyzzy'; known are verify, "),
        (["resident", "stauts"], "did you mean 'status'?"),
        (["verify"], "an IMAGE is missing"),
        (["verify", "x", "--polcy", "y"], "No such option '--polcy'"),
        (["--color", "pink", "verify"], "'pink' is not one of"),
        (
            ["verify", "registry.example/a", "--policy", "/nowhere.yaml"],
            '"/nowhere.yaml" cannot be read: No such file',
        ),
        (["verify", "registry.example/a"], "nothing says what to expect; give --policy FILE"),
        (
            ["verify", "NO IMAGE", "--level", "SLSA_SOURCE_LEVEL_2", "--resource-uri", "x"],
            "is not an image reference",
        ),
        (
            ["verify", "a/b", "--level", "SLSA_SOURCE_LEVEL_2", "--resource-uri", "x", "--timeout", "1y"],
            '--timeout "1y": expected a duration between 100ms and 5m',
        ),
        (
            ["verify", "a/b", "--level", "SLSA_SOURCE_LEVEL_2"],
            "--resource-uri is missing; without --policy FILE both",
        ),
        (
            ["verify", "--bundle", "-", "--policy", "-"],
            "standard input can be the policy or the bundle, not both",
        ),
        (["demo", "--ratify", "/nowhere/ratify"], "/nowhere/ratify is no program"),
    ],
)
def test_misuse_is_one_helpful_line_and_status_2(arguments: list[str], expected: str) -> None:
    done = cli(*arguments)
    assert (done.status, done.out) == (Status.USAGE, "")
    assert expected in done.err
    assert done.err.startswith("slsa-verifier-plugin: ")
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "status", "expected"),
    [
        (UsageError("do this"), Status.USAGE, "do this"),
        (ContractError(ContractCode.INVALID_CONFIG, "bad", "detail"), Status.USAGE, "bad: detail"),
        (RegistryError("gone", reason=Reason.REGISTRY_UNREACHABLE), Status.UNDECIDED, "gone"),
        (OSError(28, "No space left on device", "/full"), Status.USAGE, "No space left on device: /full"),
        (
            ZeroDivisionError("one\ntwo {}"),
            Status.UNDECIDED,
            "a defect: ZeroDivisionError: one?two (); please report",
        ),
        (click.Abort(), Status.INTERRUPTED, "interrupted"),
        (KeyboardInterrupt(), Status.INTERRUPTED, "interrupted"),
    ],
)
def test_whatever_ends_a_command_is_one_line_and_a_status(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, status: Status, expected: str
) -> None:
    done = _run_command(monkeypatch, _raising(error))
    assert done.status == status
    assert expected in done.err
    assert "Traceback" not in done.err
    assert done.err.count("\n") == 1


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    done = _run_command(monkeypatch, _raising(ZeroDivisionError("x")), "--debug")
    assert "Traceback" in done.err
    assert done.status == Status.UNDECIDED


def test_a_traceback_is_no_command_either(monkeypatch: pytest.MonkeyPatch) -> None:
    done = _run_command(monkeypatch, _raising(ZeroDivisionError("##vso[x]y\n::error::\x1b[2J")), "--debug")
    assert "ZeroDivisionError" in done.err
    assert commands_in(done.err) == []
    assert unseen_in(done.err) == []


def test_a_command_gets_the_programs_options(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Session] = []

    body = pass_session(seen.append)
    _run_command(monkeypatch, body, "--debug", "--color", "always")
    assert (seen[0].debug, seen[0].color) == (True, "always")
    # By itself, as tests and tools call one.
    click.Command("trial", callback=body).main([], standalone_mode=False)
    assert seen[1].color == "auto"


def test_a_broken_pipe_is_quiet() -> None:
    command = (
        f"{sys.executable} -m slsa_verifier_plugin verify --verbose --bundle {TESTDATA}/level-3.intoto.jsonl"
    )
    options = f"--level SLSA_SOURCE_LEVEL_1 --resource-uri '**' --trusted-root {TESTDATA}/trusted_root.json"
    shell = f"exec 3>&1; ({command} {options}; echo $? >&3) | exec 3>&- true"
    done = subprocess.run(
        ["bash", "-c", shell], capture_output=True, text=True, cwd=ROOT, timeout=60, check=False
    )
    assert (done.stdout, done.stderr) == (f"{int(Status.BROKEN_PIPE)}\n", "")


def test_ctrl_c_is_one_line_and_130(tmp_path: Path) -> None:
    fifo = tmp_path / "policy.yaml"
    os.mkfifo(fifo)
    with interrupts.heard():
        child = subprocess.Popen(
            [sys.executable, "-m", "slsa_verifier_plugin", "verify", "a/b", "--policy", fifo],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
        )
    # It has passed every import once it waits for somebody to write the policy.
    _wait_until(lambda: "pipe" in Path(f"/proc/{child.pid}/wchan").read_text() or _opens_fifo(child.pid))
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=30)
    assert (child.returncode, out, err) == (130, b"", b"slsa-verifier-plugin: interrupted\n")


def _opens_fifo(process_id: int) -> bool:
    stack = Path(f"/proc/{process_id}/syscall").read_text().split()
    return stack[0] in ("2", "257")


def _wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("success", "reason", "expected"),
    [
        (True, Reason.VERIFIED, Decision.ADMITTED),
        (False, Reason.LEVEL_TOO_LOW, Decision.DENIED),
        (False, Reason.NO_ATTESTATION, Decision.DENIED),
        (False, Reason.UNKNOWN_LOG, Decision.DENIED),
        *[
            (False, reason, Decision.UNDECIDED)
            for reason in Reason
            if reason.startswith("REGISTRY_")
            or reason in (Reason.TRUST_ROOT_UNAVAILABLE, Reason.DEADLINE_EXCEEDED, Reason.INTERNAL_ERROR)
        ],
    ],
)
def test_what_cannot_be_decided_is_told_from_a_denial(
    success: bool, reason: Reason, expected: Decision
) -> None:
    assert decision_of(success, reason) is expected


@pytest.mark.parametrize(
    ("decisions", "expected"),
    [
        ([Decision.ADMITTED, Decision.ADMITTED], Status.ADMITTED),
        ([Decision.ADMITTED, Decision.UNDECIDED], Status.UNDECIDED),
        ([Decision.UNDECIDED, Decision.DENIED, Decision.ADMITTED], Status.DENIED),
        ([], Status.ADMITTED),
    ],
)
def test_a_denial_outweighs_what_is_undecided(decisions: list[Decision], expected: Status) -> None:
    assert status_of(decisions) is expected


def test_text_that_the_encoding_lacks_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    done = _run_command(monkeypatch, lambda: say("naïve ✓"), encoding="ascii")
    assert (done.status, done.out) == (0, "na\\xefve \\u2713\n")


def _raising(error: BaseException) -> Callable[[], None]:
    def body() -> None:
        raise error

    return body


def _run_command(
    monkeypatch: pytest.MonkeyPatch, body: Callable[[], None], *options: str, encoding: str = "utf-8"
) -> Done:
    command = click.Command("trial", callback=body)
    monkeypatch.setattr(sys.modules[__name__], "trial", command, raising=False)
    monkeypatch.setitem(sys.modules, "slsa_verifier_plugin.cli.commands.trial_command", sys.modules[__name__])
    monkeypatch.setitem(main.COMMANDS, "trial", Lazy("trial", "For this test."))
    return cli(*options, "trial", encoding=encoding)


def test_without_a_home_directory() -> None:
    """As in a container whose user has none."""
    program = (
        "import os, sys\nos.environ.pop('HOME', None)\n"
        "from slsa_verifier_plugin.cli.main import run\nsys.exit(run(sys.argv[1:]))"
    )
    refused = process("-c", program, "install", command=[sys.executable])
    assert (refused.status, refused.err.count("\n")) == (Status.USAGE, 1)
    assert "there is no home directory; name Ratify's plugin directory with --plugins-dir" in refused.err
    assert process("-c", program, "doctor", command=[sys.executable]).status == Status.ADMITTED


@pytest.mark.parametrize(
    ("closed", "name", "status"),
    [
        (">&-", "level-1", Status.DENIED),
        ("2>&-", "level-1", Status.DENIED),
        (">&- 2>&-", "level-1", Status.DENIED),
        ("<&-", "level-1", Status.DENIED),
        # Of an admission there is nothing more to write than of a denial.
        (">&- 2>&- <&-", "level-3", Status.ADMITTED),
    ],
)
def test_closed_streams_change_no_exit_status(closed: str, name: str, status: Status) -> None:
    options = f"--level SLSA_SOURCE_LEVEL_2 --resource-uri '**' --trusted-root {TESTDATA}/trusted_root.json"
    command = (
        f"{sys.executable} -m slsa_verifier_plugin verify {options} --bundle {TESTDATA}/{name}.intoto.jsonl"
    )
    done = subprocess.run(
        ["bash", "-c", f"exec 3>/dev/null; {command} >&3 {closed}"],
        cwd=ROOT,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (status, b"")
