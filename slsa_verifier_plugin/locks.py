"""Lock files: who may start or end a verifier, who serves a place, whose turn it is. Loaded only where one is needed."""

import fcntl
import os
import stat

MAX_DIGITS = 15
"""Bytes of a file that are read for a number: no process's is as long."""


def try_lock(path: str) -> int | None:
    """Return a descriptor that holds the lock of a file until all its copies are closed; None while another holds it.

    The kernel gives a lock up when its holder ends, however it ends: nothing is left to be cleaned up.

    Args:
        path: the file, in a folder that nobody else may change, made in mode 0600 where it is missing. What is there and is no
            such file is moved aside.

    Raises:
        OSError: the file cannot be made or opened, or has no locks.
    """
    try:
        found = os.lstat(path)
        # Looked at and not opened: a pipe or a device may keep whoever opens it, and any of them may have locks. Of two callers
        # the slower one may move the faster one's new file aside, and both have a lock: one verifier more is started, which
        # ends where the place is claimed, or one process more has a turn.
        if not (
            stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and found.st_mode & 0o600 == 0o600
        ):
            move_aside(path)
    except FileNotFoundError:
        pass
    return try_lock_of(
        os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    )


def try_lock_of(lock: int) -> int | None:
    """Return an open file's descriptor once it holds its lock; None, with the file closed, while another holds it.

    A lock is no writing: a file of a read-only file system has one as well.

    Raises:
        OSError: the file has no locks; it is closed.
    """
    try:
        # Never waited for here: callers look again when they like, and have other things to look at meanwhile.
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException as error:
        # Without the lock the descriptor is of no use.
        os.close(lock)
        if isinstance(error, BlockingIOError):
            return None
        raise
    return lock


def move_aside(path: str) -> None:
    """Give what stands in the place of a file of ours a name of its own: it is somebody's, and nothing of it is lost.

    Raises:
        OSError: that cannot be: it is a mount point, say.
    """
    try:
        os.rename(path, f"{path}.{os.getpid()}")  # noqa: PTH104 (pathlib is slow to import)
    # Another caller was faster.
    except FileNotFoundError:
        return


def named_in(path: str) -> int:
    """Return the number of the process that a lock file names, 0 for none; who holds the lock is another question."""
    try:
        # A pipe in its place has nobody who writes.
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            text = os.read(file, MAX_DIGITS)
        finally:
            os.close(file)
    except OSError:
        return 0
    # Empty between lock and number, or where a full disk took none.
    return int(text) if text.isdigit() else 0


def write_word(lock: int, word: bytes) -> None:
    """Have a lock file say a word, where limits of file sizes and disks let it; where they do not, it says none."""
    try:
        os.ftruncate(lock, 0)
        os.pwrite(lock, word, 0)
    except OSError:
        return


def is_locked(descriptor: int) -> bool:
    """Return True while somebody holds the lock of an open file; else this descriptor has a share of it until it is closed."""
    try:
        # Shared: two that look at the same time do not take each other for a holder.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
