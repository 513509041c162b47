"""Builds the one-file plugin for tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from launcher.tests.harness import ROOT
from tests.e2e.peers import cache_root


def _ignored(directory: str, names: list[str]) -> set[str]:
    """Return what is not copied: what tools and builds leave in a checkout (``tools/dist`` has the name of a result)."""
    ours = Path(directory).name == "tools"
    return {
        name
        for name in names
        if name[0] == "." or name in ("__pycache__", "build") or (name == "dist" and not ours)
    }


def build(directory: Path, source: Path = ROOT, **settings: str) -> Path:
    """Build everything below ``directory`` from a copy of ``source``: it may change meanwhile, and its path must not matter.

    What pip installs is kept outside the tree, but not what was compressed: a second build would find it.
    """
    copy, output, cache = directory / "source", directory / "dist", cache_root().with_name("dist")
    shutil.copytree(source, copy, symlinks=True, ignore=_ignored)
    command = [
        sys.executable,
        "-m",
        "tools.dist",
        "--level",
        "1",
        "--output",
        str(output),
        "--work",
        str(directory / "work"),
    ]
    command += ["--cache", str(cache), "--payloads", str(directory / "payloads")]
    environment = {**os.environ, "PYTHONPATH": "", **settings}
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return directory
