"""Ends a resident verifier that hangs: it is stopped, frozen or held by a debugger. Loaded only where one does."""

import os

from slsa_verifier_plugin.locks import MAX_DIGITS, is_locked, try_lock
from slsa_verifier_plugin.resident.channel import ProcessWatch, time_used
from slsa_verifier_plugin.resident.client.held_process import HeldProcess
from slsa_verifier_plugin.resident.place import Place

# For a killed process to end, in seconds.
_END_SECONDS = 0.3


def end_hung(watch: ProcessWatch, place: Place) -> bool:
    """End a process that hangs, if it is the verifier that has claimed ``place`` and no other caller is at it.

    Returns:
        True where it was ended, or another caller is at it.
    """
    try:
        lock = try_lock(place.lock)
        # Another caller ends it or starts the next one; both take the lock.
        if lock is None:
            return True
        try:
            return end_claimant(watch, place)
        finally:
            os.close(lock)
    except ProcessLookupError:
        return True
    # It cannot be held (no pidfd_open before Linux 5.3) or has no claim: it is left alone, and this call goes other ways.
    except OSError:
        return False


def end_claimant(watch: ProcessWatch, place: Place) -> bool:
    """End a process that hangs, if it has claimed ``place``; return whether it had.

    Raises:
        ProcessLookupError: it has ended.
        OSError: its claim cannot be looked at.
    """
    process = HeldProcess(watch.process)
    try:
        # Whoever listens there may be any process of this user. The same time used says that it is the one that was watched.
        if not _is_claimed_by(place, watch.process) or time_used(watch.process) != watch.used:
            return False
        process.kill()
        if not process.has_ended(_END_SECONDS):
            # A frozen control group keeps even a killed process: its place is cleared for another.
            for path in (place.socket, place.claim):
                try:
                    os.unlink(path)  # noqa: PTH108 (pathlib is slow to import)
                except FileNotFoundError:
                    continue  # one that was frozen before it listened has no socket
        return True
    finally:
        process.close()


def _is_claimed_by(place: Place, process: int) -> bool:
    """Return True where the file that verifiers claim a place with is claimed, by ``process``."""
    # A pipe in its place has nobody who writes.
    claim = os.open(place.claim, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        # A number without the lock is what one that has ended left behind.
        return os.read(claim, MAX_DIGITS) == b"%d" % process and is_locked(claim)
    finally:
        os.close(claim)
