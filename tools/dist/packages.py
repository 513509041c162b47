"""Builds the wheel and the source archive from a clean copy of the tree, the same bytes every time."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tools.dist.commands import run
from tools.dist.errors import BuildError

_LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "*.pyc", "dist", "build", "*.egg-info")
_EPOCH = "1577836800"
"""2020-01-01T00:00:00Z, the date in the archives where ``SOURCE_DATE_EPOCH`` names no other."""


def build_packages(project: Path, python: Path, work: Path, output: Path) -> tuple[Path, Path]:
    """Build both into ``output`` and return the wheel and the source archive.

    The copy leaves out what other tools have left in a checkout, which a build backend would take for data.

    Args:
        project: the directory with ``pyproject.toml``.
        python: the interpreter that has the build tools.
        work: a directory for the copy.
        output: where the results go; older ones of the same project are removed.

    Raises:
        BuildError: the build fails, or makes something else.
    """
    copy = work / "source"
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir(parents=True)
    for path in sorted(project.iterdir()):
        if path.name.startswith(".") or path.name in ("dist", "build"):
            continue
        if path.is_dir():
            # The tools' directory is named as the one that builds leave behind.
            ignore = (
                _LEFT_OUT if path.name != "tools" else shutil.ignore_patterns(".*", "__pycache__", "*.pyc")
            )
            shutil.copytree(path, copy / path.name, symlinks=True, ignore=ignore)
        else:
            shutil.copyfile(path, copy / path.name)
    built = work / "packages"
    shutil.rmtree(built, ignore_errors=True)
    epoch = os.environ.get("SOURCE_DATE_EPOCH", _EPOCH)
    command = [
        str(python),
        "-m",
        "build",
        "--no-isolation",
        "--sdist",
        "--wheel",
        "--outdir",
        str(built),
        str(copy),
    ]
    run(command, settings={"SOURCE_DATE_EPOCH": epoch})
    wheels, archives = sorted(built.glob("*.whl")), sorted(built.glob("*.tar.gz"))
    if len(wheels) != 1 or len(archives) != 1:
        raise BuildError("the build made something else than one wheel and one source archive")
    for old in (*output.glob("slsa_verifier_plugin-*.whl"), *output.glob("slsa_verifier_plugin-*.tar.gz")):
        old.unlink()
    return Path(shutil.copy(wheels[0], output)), Path(shutil.copy(archives[0], output))
