"""Notices that files have changed: written anew, replaced, or behind a link that now leads elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterable

Stamp = tuple[tuple[str, int, int, int], ...]


def stamp_of(paths: Iterable[str]) -> Stamp:
    """Return what changes when one of the files does, or a folder gets or loses one.

    Links are followed: a mounted ConfigMap or Secret is renewed by turning one link (``..data``) to a new folder, which changes
    the file that every other link leads to. A path that leads nowhere has zeros.
    """
    stamps = []
    for path in paths:
        try:
            status = os.stat(path)  # noqa: PTH116 (follows links, once for all facts)
        # Not there is a state like another: a file that comes or goes is a change.
        except (OSError, ValueError):
            stamps.append((path, 0, 0, 0))
        else:
            stamps.append((path, status.st_mtime_ns, status.st_size, status.st_ino))
    return tuple(stamps)
