"""Files that people name, read within bounds. Imports next to nothing: a resident verifier may parse what is read here."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from slsa_verifier_plugin.errors import UsageError
from slsa_verifier_plugin.text import quoted

MAX_FILE = 64 << 20
"""Bytes of a file of Kubernetes resources."""
STANDARD_INPUT = "-"

NamedFile = tuple[bytes, str, Path]
"""A file's bytes, its name for people, and the folder that relative paths in it are of."""
Read = Callable[[str], NamedFile]


def read_file(path: str, limit: int | None = None) -> NamedFile:
    """Return a file's bytes, its name for people, and the folder that relative paths in it are of.

    Args:
        path: the file; ``-`` is standard input.
        limit: bytes that it may have; ``MAX_FILE`` by default.

    Raises:
        UsageError: it cannot be read, or is too large.
    """
    most = MAX_FILE if limit is None else limit
    # A closed standard input is None in Python, as in a daemon.
    if path == STANDARD_INPUT:
        if sys.stdin is None:
            raise UsageError("standard input is closed; name a file, or pipe one in")
        return _bounded(sys.stdin.buffer.read(most + 1), "standard input", most), "<stdin>", Path.cwd()
    try:
        with Path(path).open("rb") as file:
            # One byte more than is allowed tells that a file is too large, however large it is.
            content = file.read(most + 1)
    except IsADirectoryError as error:
        # An empty name is the folder that one is in.
        found = f"{quoted(path)} is a folder" if path else "the name of a file is empty"
        raise UsageError(f"{found}; name a file, or - for standard input") from error
    # ValueError: a name with a zero byte in it.
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        raise UsageError(f"{quoted(path)} cannot be read: {reason}") from error
    return _bounded(content, path, most), path, Path(path).absolute().parent


def write_new(path: Path, content: bytes, force: bool) -> None:
    """Write a file that must not be there yet, unless ``force``.

    Raises:
        UsageError: it is there.
    """
    try:
        # "x" asks the system: between a look and a write somebody else could make the file.
        with path.open("wb" if force else "xb") as file:
            file.write(content)
    except FileExistsError as error:
        raise UsageError(f"{quoted(str(path))} exists; --force replaces it") from error


class ReadOnce:
    """Reads each file once, and says the same of it each time: standard input, or a pipe, cannot be read again."""

    def __init__(self) -> None:
        self._kept: dict[str, NamedFile | UsageError] = {}

    def __call__(self, path: str) -> NamedFile:
        """Return what ``read_file`` returns, or raise what it raises."""
        if path not in self._kept:
            try:
                self._kept[path] = read_file(path)
            except UsageError as error:
                # An error is kept as well: a second try would read what is left of a pipe, and take it for all.
                self._kept[path] = error
        found = self._kept[path]
        if isinstance(found, UsageError):
            raise found
        return found


def _bounded(content: bytes, name: str, most: int) -> bytes:
    if len(content) > most:
        raise UsageError(f"{quoted(name)} is larger than {most >> 20} MiB")
    return content
