"""Completion in a real bash, through a terminal of its own; the scripts of the other shells."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from slsa_verifier_plugin.checking.status import Status
from tests.support.command_line import ROOT, cli

SECONDS = 60
PROMPT = "READY> "


class Bash:
    """An interactive bash that has sourced the completion script."""

    def __init__(self, folder: Path) -> None:
        program = folder / "bin" / "slsa-verifier-plugin"
        program.parent.mkdir()
        program.write_text(
            f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m slsa_verifier_plugin "$@"\n'
        )
        program.chmod(0o755)
        script = folder / "completion.bash"
        script.write_text(cli("completion", "bash").out)
        environ = {
            "PATH": f"{program.parent}:{os.environ['PATH']}",
            "HOME": str(folder),
            "TERM": "dumb",
            "INPUTRC": "/dev/null",
            "PS1": PROMPT,
        }
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            ["bash", "--norc", "--noprofile", "-i"],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environ,
            cwd=folder,
            start_new_session=True,
        )
        os.close(slave)
        self.read_until(PROMPT)
        self.send(f"source {script}; bind 'set bell-style none'; bind 'set show-all-if-ambiguous on'\n")
        self.read_until(PROMPT)

    def send(self, text: str) -> None:
        os.write(self.master, text.encode())

    def read_until(self, wanted: str) -> str:
        seen, end = "", time.monotonic() + SECONDS
        while wanted not in seen:
            ready, _, _ = select.select([self.master], [], [], end - time.monotonic())
            assert ready, f"waited for {wanted!r} in {seen!r}"
            seen += os.read(self.master, 4096).decode()
        return seen

    def complete(self, typed: str, wanted: str) -> str:
        """Type, press Tab, wait for ``wanted``; return what was shown, and give the line up."""
        self.send(f"{typed}\t")
        shown = self.read_until(wanted)
        self.send("\x15\n")
        self.read_until(PROMPT)
        return shown

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)


@pytest.fixture
def bash(tmp_path: Path) -> Iterator[Bash]:
    if shutil.which("bash") is None:
        pytest.skip("needs bash")
    running = Bash(tmp_path)
    try:
        yield running
    finally:
        running.close()


def test_commands_options_and_files_complete_in_bash(bash: Bash, tmp_path: Path) -> None:
    assert bash.complete("slsa-verifier-plugin ver", "verify ")
    assert bash.complete("slsa-verifier-plugin policy in", "init ")
    shown = bash.complete("slsa-verifier-plugin verify --trusted", "--trusted-root ")
    assert "--trusted-root" in shown
    (tmp_path / "my-verifier.yaml").write_text("")
    assert bash.complete("slsa-verifier-plugin verify --policy my-", "my-verifier.yaml ")
    several = bash.complete("slsa-verifier-plugin resident st", "stop")
    assert {"start", "status", "stop"} <= set(re.findall(r"\w+", several))
    assert bash.complete("slsa-verifier-plugin verify --format s", "sarif ")
    assert bash.complete("slsa-verifier-plugin audit me", "merge ")
    (tmp_path / "audit-0.db").write_text("")
    assert bash.complete("slsa-verifier-plugin audit merge aud", "audit-0.db ")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_always_gives_the_program_an_argument(shell: str) -> None:
    """Without one, and without a terminal, the program is Ratify's plugin and answers with a contract error."""
    done = cli("completion", shell)
    assert done.status == Status.ADMITTED
    calls = re.findall(rf".*_SLSA_VERIFIER_PLUGIN_COMPLETE={shell}_complete.*", done.out)
    # Once for each name of the program.
    assert len(calls) == 3
    assert all(re.search(r"(\$1|slsa-verifier-plugin|slsa|slsla) --help\)", called) for called in calls)


def test_an_unknown_shell() -> None:
    done = cli("completion", "tcsh")
    assert (done.status, "'tcsh' is not one of 'bash', 'zsh', 'fish'" in done.err) == (Status.USAGE, True)
