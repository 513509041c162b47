"""On real terminals, narrow and wide, in encodings with and without check marks."""

from __future__ import annotations

import os
import re
import sys

import pytest

from slsa_verifier_plugin.cli.main import run
from tests.support.command_line import LEVEL_1, ROOT, SOURCE, TRUSTED_ROOT
from tests.support.terminal import fork_on_terminal, run_on_terminal

POLICY = f"--level SLSA_SOURCE_LEVEL_2 --resource-uri {SOURCE} --trusted-root {TRUSTED_ROOT}"
COMMANDS = {
    "verify": (f"verify {POLICY} --bundle {LEVEL_1}", 1),
    "inspect": (f"inspect {LEVEL_1}", 0),
    "trust list": ("trust list", 0),
    "misuse": ("verify", 2),
}
_COLORS = re.compile(r"\033\[[0-9;]*m")


def on_a_terminal(command: str, columns: int, **environ: str) -> tuple[int, str]:
    return fork_on_terminal(lambda: run(command.split()), columns, {**os.environ, "TERM": "xterm", **environ})


@pytest.mark.parametrize("columns", [40, 72])
@pytest.mark.parametrize("name", COMMANDS)
def test_lines_keep_to_the_terminal(name: str, columns: int) -> None:
    command, expected = COMMANDS[name]
    status, text = on_a_terminal(command, columns)
    assert status == expected
    for line in _COLORS.sub("", text).splitlines():
        # One word is not broken, so that it can be copied; the line of an error is for logs.
        words = line.split()
        if name != "misuse" and len(line) > columns and max(map(len, words)) <= columns // 2:
            pytest.fail(f"{len(line)} columns: {line}")


def test_colours_are_for_terminals_that_have_them() -> None:
    command, _ = COMMANDS["verify"]
    assert "\033[31;1mDENIED" in on_a_terminal(command, 100)[1]
    assert "\033" not in on_a_terminal(command, 100, NO_COLOR="1")[1]
    assert "\033" not in on_a_terminal(command, 100, TERM="dumb")[1]
    assert "\033" in on_a_terminal(f"--color always {command}", 100, TERM="dumb", NO_COLOR="1")[1]


def test_a_terminal_without_utf_8_gets_letters() -> None:
    command, expected = COMMANDS["verify"]
    program = [sys.executable, "-m", "slsa_verifier_plugin", *command.split()]
    environ = {"PYTHONUTF8": "0", "PYTHONIOENCODING": "latin-1", "NO_COLOR": "1", "TERM": "xterm"}
    status, text = run_on_terminal(program, 100, ROOT, {**os.environ, **environ})
    assert status == expected
    assert text.isascii()
    assert "X  11 levels" in text
    assert "ok 10 resource URI" in text


def test_no_arguments_on_a_terminal_show_the_help() -> None:
    status, text = on_a_terminal("", 100)
    assert (status, text.startswith("Usage: slsa-verifier-plugin")) == (0, True)
