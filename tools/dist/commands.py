"""Runs the programs that a build needs."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tools.dist.errors import BuildError

MAX_SHOWN = 4000
"""Characters of a failed program's output that an error shows."""


def run(command: list[str], *, where: Path | None = None, settings: dict[str, str] | None = None) -> str:
    """Run a program to its end and return its standard output.

    Args:
        command: the program and its arguments.
        where: the directory to run it in.
        settings: variables to set beside this process's own.

    Raises:
        BuildError: the program is missing, or fails.
    """
    program = shutil.which(command[0])
    if program is None:
        raise BuildError(
            f"{command[0]} is not on this machine; install it (docs/one-file.md lists what a build needs)"
        )
    done = _run([program, *command[1:]], where, settings)
    if done.returncode != 0:
        output = (done.stdout + done.stderr)[-MAX_SHOWN:]
        raise BuildError(f"{' '.join(command[:4])} ... failed with status {done.returncode}:\n{output}")
    return done.stdout


def try_run(command: list[str]) -> str | None:
    """Run a program to its end and return its standard output; None where it is missing or fails."""
    program = shutil.which(command[0])
    done = _run([program, *command[1:]], None, None) if program is not None else None
    return done.stdout if done is not None and done.returncode == 0 else None


def _run(
    command: list[str], where: Path | None, settings: dict[str, str] | None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=where,
        env={**os.environ, **(settings or {})},
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
