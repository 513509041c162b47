"""The build's own tools, and the packages that go into the runtime: both from files with hashes, both kept between builds."""

from __future__ import annotations

import hashlib
import shutil
import sys
from pathlib import Path

from tools.dist.commands import run

_PIP = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input")

SOURCES = ("alibabacloud-tea",)
"""Packages that are published as source alone."""


def tools_python(cache: Path, requirements: Path) -> Path:
    """Return the interpreter of an environment that has the build's own tools.

    Raises:
        BuildError: it cannot be made.
    """
    directory = cache / f"tools-{_digest(requirements)}"
    python = directory / "bin" / "python"
    if not (directory / "complete").exists():
        shutil.rmtree(directory, ignore_errors=True)
        run([sys.executable, "-m", "venv", str(directory)])
        run([str(python), *_PIP, "--no-deps", "--require-hashes", "--requirement", str(requirements)])
        (directory / "complete").touch()
    return python


def runtime_packages(cache: Path, requirements: Path, python: Path) -> Path:
    """Return a directory with what ``requirements`` pins, as pip installs it: wheels, so that nothing is compiled here.

    What is published as source alone (``SOURCES``, plain Python) is built by ``python``'s own pinned setuptools.

    Raises:
        BuildError: pip fails, for example on a hash.
    """
    directory = cache / f"packages-{_digest(requirements)}"
    if not directory.exists():
        part = directory.with_name(directory.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        binary = ("--only-binary", ":all:", "--no-binary", ",".join(SOURCES), "--no-build-isolation")
        source = (*binary, "--require-hashes", "--requirement", str(requirements))
        run([str(python), *_PIP, "--no-compile", "--no-deps", "--target", str(part), *source])
        part.rename(directory)
    return directory


def install_wheel(wheel: Path, target: Path) -> None:
    """Install one wheel without its dependencies into the new directory ``target``.

    Raises:
        BuildError: pip fails.
    """
    run([sys.executable, *_PIP, "--no-compile", "--no-deps", "--target", str(target), str(wheel)])


def _digest(requirements: Path) -> str:
    """Return what tells this set of packages, for this interpreter, from others."""
    content = sys.version.encode() + b"\0" + requirements.read_bytes()
    return hashlib.sha256(content).hexdigest()[:16]
