"""Somebody who follows a page of the documentation: has the command line installed, and types commands in a folder."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def installed(folder: Path, home: Path) -> dict[str, str]:
    """Put ``slsa-verifier-plugin`` into ``folder/bin``, and return the environment of who finds it there.

    Args:
        folder: gets the program.
        home: the person's.
    """
    program = folder / "bin" / "slsa-verifier-plugin"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m slsa_verifier_plugin "$@"\n')
    program.chmod(0o755)
    return {
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "PYTHONUTF8": "1",
        "HOME": str(home),
    }


def typed(
    command: str, folder: Path, environ: Mapping[str, str], seconds: float
) -> subprocess.CompletedProcess[str]:
    """Run what is typed at a shell's prompt; standard output has all that is seen, errors too."""
    return subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
        check=False,
    )
