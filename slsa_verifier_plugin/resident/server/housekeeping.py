"""Looks after a server's memory, descriptors and files, and after the code that it was started from."""

from __future__ import annotations

import fcntl
import gc
import os
import resource
from contextlib import suppress
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")
_M_ARENA_MAX = -8
"""Of ``malloc.h`` (mallopt(3))."""
MOST_DESCRIPTORS = 4096
"""That a server may want: two for each call, the caller's connection and the registry's."""


def resident_bytes() -> int | None:
    """Return the bytes of this process's resident set; None where there is no ``/proc``."""
    try:
        # Field 2 of proc_pid_statm(5), in pages. Not ru_maxrss: that never falls again.
        return int(Path("/proc/self/statm").read_bytes().split()[1]) * _PAGE
    except (OSError, ValueError, IndexError):
        return None


def release_memory() -> None:
    """Collect garbage, and give what the C library holds free back to the system."""
    # Here and not above: a megabyte, for what most verifiers never do.
    import ctypes

    # First what is garbage: only what is free can be given back.
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it, musl needs none
    if trim is not None:
        trim(0)


def share_arenas() -> None:
    """Have all threads share two heaps; before the first of them. With one each, what one frees another cannot use.

    The resident verifier is started with ``MALLOC_ARENA_MAX`` instead; this is for processes that others start.
    """
    import ctypes

    choose = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc, as above
    if choose is not None:
        # Without it glibc makes up to eight heaps a processor.
        choose(_M_ARENA_MAX, 2)


def widen_descriptor_table() -> None:
    """Have the kernel make this process's table of descriptors as large as it may become; before the first thread.

    Where there are threads, a table that grows waits until each processor has changed its task (RCU). With 600 callers at once
    that took 1.4 s, in which nothing was opened or accepted: callers took the verifier for one that hangs, and ended it.
    """
    size = min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], MOST_DESCRIPTORS)
    # The last one is taken, so the table is as large as it can be; or none is free, which whoever needs one will say.
    with suppress(OSError):
        root = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # The table keeps its size when this is closed; it has eight bytes a descriptor.
            os.close(fcntl.fcntl(root, fcntl.F_DUPFD_CLOEXEC, size - 1))
        finally:
            os.close(root)


def file_identity(path: str) -> tuple[int, int, int] | None:
    """Return device, inode and owner of a file itself, not of what a symbolic link names; None where there is none."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    # An inode's number is unique within one device, and may be given again once its file is gone.
    return found.st_dev, found.st_ino, found.st_uid


def source_state() -> tuple[int, int]:
    """Return what changes when a source file of this package is added, replaced or removed: count and newest change.

    A verifier whose code on the disk is no longer the one in its memory must end: a later import would mix the two, and a
    correction would have no effect. The build identity, which every call computes, is too coarse for that.
    """
    count = newest = 0
    # Both times: a tool that restores an older file sets its mtime to the past, and cannot set its ctime.
    for directory, _, names in os.walk(Path(__file__).parents[2]):
        for name in names:
            if name.endswith(".py"):
                try:
                    found = os.stat(f"{directory}/{name}")  # noqa: PTH116 (some dozens, every few seconds)
                # Removed since it was listed: the smaller count tells.
                except OSError:
                    continue
                count += 1
                newest = max(newest, found.st_mtime_ns, found.st_ctime_ns)
    return count, newest
