"""Files that a policy or a setting names: read without waiting, no more of them than is wanted, and again once they change."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable

from slsa_verifier_plugin.errors import TrustRootError

Stamp = tuple[tuple[str, int, int, int], ...]


def read_regular(path: str, most: int) -> bytes:
    """Return the first ``most`` bytes of a regular file; links, as those of a mounted ConfigMap, are followed.

    A pipe would hold its reader for as long as nobody writes, and a device may never end.

    Raises:
        OSError: it cannot be read, or is no regular file.
        ValueError: ``path`` cannot be one.
    """
    # O_NONBLOCK: opening a pipe would wait for a writer. O_NOCTTY: a terminal must not become this process's own.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        # Asked of what is open, not of the path, which may lead elsewhere a moment later.
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        with open(descriptor, "rb", closefd=False) as file:
            # A file that grows while it is read is cut; whoever asks for one byte more than allowed can tell.
            return file.read(most) or b""
    finally:
        os.close(descriptor)


def read_configured(path: str, most: int, what: str, remedy: str) -> bytes:
    """Return the first ``most`` bytes of a file that a policy's trust depends on.

    Args:
        path: as the policy names it.
        most: bytes.
        what: the file, for people.
        remedy: what to do where it cannot be read.

    Raises:
        TrustRootError: it cannot be read.
    """
    try:
        return read_regular(path, most)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        raise TrustRootError(f"{what} cannot be read: {reason}", remedy) from error


def stamp_of(paths: Iterable[str]) -> Stamp:
    """Return what changes when one of the files does, or a folder gets or loses one.

    Links are followed: a mounted ConfigMap or Secret is renewed by turning one link (``..data``) to a new folder, which changes
    the file that every other link leads to, sometimes within one tick of the clock and with the same size. A path that leads
    nowhere has zeros.
    """
    stamps = []
    for path in paths:
        try:
            status = os.stat(path)  # noqa: PTH116 (pathlib costs where each call asks)
        # Not there is a state like another: a file that comes or goes is a change.
        except (OSError, ValueError):
            stamps.append((path, 0, 0, 0))
        else:
            stamps.append((path, status.st_mtime_ns, status.st_size, status.st_ino))
    return tuple(stamps)
