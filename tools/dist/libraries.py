"""Finds the shared libraries that a set of ELF files needs, as the loader would on this machine."""

from __future__ import annotations

import platform
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from tools.dist import elf
from tools.dist.commands import run
from tools.dist.errors import BuildError

LOADERS = {"x86_64": "ld-linux-x86-64.so.2", "aarch64": "ld-linux-aarch64.so.1"}
"""The loader's name by machine; the launcher has the same names (``launcher/src/runtime.c``)."""

LOADED_BY_NAME = ("libgcc_s.so.1",)
"""Libraries that glibc loads on its own accord, to end a thread."""

_LDCONFIG_MARKS = {"x86_64": "x86-64", "aarch64": "AArch64"}


def loader_name() -> str:
    """Return the name of this machine's loader.

    Raises:
        BuildError: the launcher knows none for it.
    """
    try:
        return LOADERS[platform.machine()]
    except KeyError:
        raise BuildError(
            f"no loader is known for {platform.machine()}; add it here and to launcher/src/runtime.c"
        ) from None


@dataclass
class Finder:
    """Where libraries are looked for.

    Attributes:
        extra: directories to look into before the system's.
        found: what was found so far, by the name that it is asked for by.
    """

    extra: tuple[Path, ...]
    found: dict[str, Path] = field(default_factory=dict)
    _system: dict[str, Path] = field(default_factory=dict, init=False)

    def collect(self, start: list[Path]) -> dict[str, Path]:
        """Return every library that ``start`` needs, directly or not, by name.

        Libraries beside the files that ask for them (``$ORIGIN`` run paths of wheels) stay where they are, and are followed.

        Raises:
            BuildError: one cannot be found.
        """
        waiting = list(start)
        followed: set[Path] = set()
        while waiting:
            path = waiting.pop()
            if path in followed:
                continue
            followed.add(path)
            dynamic = elf.read_dynamic(path)
            for name in dynamic.needed:
                beside = _beside(path, dynamic, name)
                if beside is not None:
                    waiting.append(beside)
                elif name not in self.found:
                    self.found[name] = self.locate(name, path)
                    waiting.append(self.found[name])
        return self.found

    def locate(self, name: str, asked_by: Path | None = None) -> Path:
        """Return the file of a library.

        Raises:
            BuildError: there is none.
        """
        for directory in self.extra:
            if (directory / name).is_file():
                return (directory / name).resolve()
        if not self._system:
            self._system = _read_ldconfig()
        if name in self._system:
            return self._system[name].resolve()
        raise BuildError(
            f"the library {name}, which {asked_by.name if asked_by else 'the runtime'} needs, is not on this machine"
        )


def _beside(path: Path, dynamic: elf.Dynamic, name: str) -> Path | None:
    for run_path in dynamic.run_paths:
        if run_path.startswith("$ORIGIN"):
            candidate = Path(run_path.replace("$ORIGIN", str(path.parent))) / name
            if candidate.is_file():
                return candidate.resolve()
    return None


def _read_ldconfig() -> dict[str, Path]:
    """Return the system's libraries of this machine's kind, by name, as the loader's cache has them."""
    program = shutil.which("ldconfig", path="/sbin:/usr/sbin:/bin:/usr/bin")
    if program is None:
        raise BuildError("ldconfig is not on this machine; install glibc's programs")
    mark = _LDCONFIG_MARKS[platform.machine()]
    listing = run([program, "-p"])
    libraries: dict[str, Path] = {}
    for line in listing.splitlines():
        name, _, rest = line.strip().partition(" ")
        kind, _, path = rest.partition(" => ")
        if path and mark in kind:
            libraries.setdefault(name, Path(path))
    return libraries
