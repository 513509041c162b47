"""Ends a resident verifier that hangs. Loaded only where one does."""

import fcntl
import os
import select
import signal

from slsa_verifier_plugin.resident.channel import ProcessWatch, time_used
from slsa_verifier_plugin.resident.place import Place

_END_SECONDS = 0.3


def end_hung(watch: ProcessWatch, place: Place) -> bool:
    """End a process that hangs, if it is the verifier that has claimed ``place`` and nobody else is at it.

    One that does not end at once, since it is frozen, has its place cleared for another.

    Returns:
        True where it was ended, or somebody else is at it.
    """
    try:
        lock = os.open(place.lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return _end(watch, place)
    except (BlockingIOError, ProcessLookupError):
        return True
    except OSError:
        return False
    finally:
        os.close(lock)


def _end(watch: ProcessWatch, place: Place) -> bool:
    process = os.pidfd_open(watch.process)
    try:
        # The descriptor names one process for good, and the same time used says that it is the one that was watched.
        if not _is_claimed_by(place, watch.process) or time_used(watch.process) != watch.used:
            return False
        signal.pidfd_send_signal(process, signal.SIGKILL)
        waiter = select.poll()
        waiter.register(process, select.POLLIN)
        if not waiter.poll(_END_SECONDS * 1000):
            os.unlink(place.socket)  # noqa: PTH108 (pathlib is slow to import)
            os.unlink(place.claim)  # noqa: PTH108
        return True
    finally:
        os.close(process)


def _is_claimed_by(place: Place, process: int) -> bool:
    """Return True where the file that verifiers claim a place with is claimed, by ``process``."""
    claim = os.open(place.claim, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.read(claim, 15) != b"%d" % process:
            return False
        try:
            fcntl.flock(claim, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False
    finally:
        os.close(claim)
