"""Puts the modules of the runtime that need no file of their own into one archive that Python reads in place.

Unpacking takes as long as the files are many: on a slow disk a millisecond for each. ``lib/pythonXY.zip`` is the first place in which
the interpreter looks, without being told. It is stored, not compressed: the payload is compressed as a whole, and reading a module
from it takes no more than from a file.

What stays on the disk: shared objects, which the loader opens by their path, and packages that have any; packages that open
files beside their modules by path; and the one module by which Python finds its library.
"""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

NAME = f"python{sys.version_info.major}{sys.version_info.minor}.zip"
LANDMARK = "os.pyc"
"""By this the interpreter tells its library's directory (CPython's ``getpath``)."""
ON_DISK = (
    "certifi",  # OpenSSL reads its certificates by path
    "botocore",  # looks for its services' descriptions beside its modules
    "sigstore",  # its trusted roots and jsonschema's schemas are read by importlib.resources,
    "jsonschema_specifications",  # which takes longer to list an archive than to verify
)
IN_PLACE = ("slsa_verifier_plugin", "dateutil")
"""Packages with other files than modules, which they read by ``pkgutil.get_data``."""
DOCUMENTS = (".md", ".rst", ".txt", ".sh", ".js", ".gitignore", "LICENSE")
"""How the names of files end that no module reads."""
_EPOCH = (1980, 1, 1, 0, 0, 0)


def zip_modules(library: Path) -> None:
    """Move what can be read in place from ``library`` (lib/pythonX.Y) into the archive beside it."""
    packages = library / "site-packages"
    entries = {path.relative_to(library).as_posix(): path for path in _of_library(library)}
    entries |= {path.relative_to(packages).as_posix(): path for path in _of(packages)}
    # A directory without a module of its own is a package, too; Python 3.11 knows it by its entry alone.
    directories = {f"{above}/" for name in entries for above in _above(name) if f"{above}/__init__.pyc" not in entries}
    with zipfile.ZipFile(library.parent / NAME, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted([*entries, *directories]):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.external_attr = (0o40755 << 16 | 0x10) if name in directories else 0o100644 << 16
            archive.writestr(info, b"" if name in directories else entries[name].read_bytes())
    for path in entries.values():
        path.unlink()
    _remove_empty(library)


def _above(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def _of_library(library: Path) -> Iterator[Path]:
    """Yield the compiled modules of the standard library."""
    for path in library.rglob("*.pyc"):
        where = path.relative_to(library)
        if where.parts[0] not in ("site-packages", "lib-dynload") and where.as_posix() != LANDMARK:
            yield path


def _of(packages: Path) -> Iterator[Path]:
    """Yield the files of all packages that consist of modules, of ours, and of what is known about each package."""
    for top in packages.iterdir():
        files = [top] if top.is_file() else [path for path in top.rglob("*") if path.is_file()]
        if _is_readable(top.name, files):
            yield from files


def _is_readable(name: str, files: Iterable[Path]) -> bool:
    """Return True where all of a package can be read in place."""
    if name.endswith(".dist-info") or name in IN_PLACE:
        return True
    return name not in ON_DISK and all(path.name.endswith((".pyc", *DOCUMENTS)) for path in files)


def _remove_empty(directory: Path) -> None:
    for path in sorted(directory.rglob("*"), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
