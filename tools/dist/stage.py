"""Assembles the runtime's tree: interpreter, its library and shared libraries, the packages and ours.

bin/python3          starts libexec/python3 with the carried loader (``launcher/src/python.c``)
libexec/python3      the interpreter
lib/                 the loader and every shared library
lib/pythonX.Y/       the standard library, precompiled; lib-dynload/; site-packages/
licenses/            of the libraries that are a system package's
"""

from __future__ import annotations

import shutil
import sys
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tools.dist import elf, trim
from tools.dist.commands import run
from tools.dist.errors import BuildError
from tools.dist.libraries import LOADED_BY_NAME, Finder, loader_name

PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"


@dataclass(frozen=True)
class Carried:
    """One shared library or program that comes from this machine, for the bill of materials.

    Attributes:
        path: where it is in the runtime.
        source: the file on this machine that it was made from.
    """

    path: Path
    source: Path


def assemble(root: Path, packages: tuple[Path, ...], relay: Path) -> list[Carried]:
    """Fill the empty directory ``root``; the Python sources are compiled later.

    Args:
        root: the runtime's directory.
        packages: directories that pip installed into.
        relay: the program that becomes ``bin/python3``.

    Returns:
        What comes from this machine's interpreter and system.

    Raises:
        BuildError: a part is missing, or is not what it must be.
    """
    library = root / "lib" / PYTHON
    for directory in (root / "bin", root / "libexec", library):
        directory.mkdir(parents=True)
    _copy_tree(Path(sysconfig.get_path("stdlib")), library, trim.STDLIB_LEFT_OUT)
    _drop_extensions(library / "lib-dynload")
    for directory in packages:
        _copy_tree(directory, library / "site-packages", trim.PACKAGES_LEFT_OUT)

    interpreter = root / "libexec" / "python3"
    source = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    _copy(source, interpreter)
    carried = [Carried(interpreter.relative_to(root), source), *_copy_libraries(root, interpreter, library)]
    for path in sorted(elf_files(root)):
        _strip(path)
        if any(not run_path.startswith("$ORIGIN") for run_path in elf.read_dynamic(path).run_paths):
            elf.drop_run_paths(path)
    _copy(relay, root / "bin" / "python3")
    return carried


def elf_files(root: Path) -> Iterable[Path]:
    """Yield every ELF file below ``root``."""
    return (path for path in root.rglob("*") if path.is_file() and elf.is_elf(path))


def _copy_libraries(root: Path, interpreter: Path, library: Path) -> list[Carried]:
    library_directory = sysconfig.get_config_var("LIBDIR")
    finder = Finder(extra=(Path(library_directory),) if library_directory else ())
    found = finder.collect([interpreter, *sorted(elf_files(library))])
    for name in (loader_name(), *LOADED_BY_NAME):
        found.setdefault(name, finder.locate(name))
    finder.collect(list(found.values()))
    carried = []
    for name, source in sorted(found.items()):
        _copy(source, root / "lib" / name)
        carried.append(Carried(Path("lib") / name, source))
    return carried


def _copy_tree(source: Path, target: Path, left_out: tuple[str, ...]) -> None:
    """Copy files; links become what they point to, and compiled modules are made anew."""
    if not source.is_dir():
        raise BuildError(f"{source.name} is no directory")
    for path in sorted(source.rglob("*")):
        name = path.relative_to(source).as_posix()
        if "__pycache__" in path.parts or trim.is_left_out(name, left_out):
            continue
        if path.is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            _copy(path, target / name)


def _drop_extensions(directory: Path) -> None:
    for path in sorted(directory.iterdir()):
        if trim.is_left_out(path.name, trim.EXTENSIONS_LEFT_OUT):
            path.unlink()


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    target.chmod(0o755 if elf.is_elf(target) else 0o644)


def _strip(path: Path) -> None:
    run(["strip", "--strip-unneeded", str(path)])
