"""Whether the process that listens lives: its processor time moves.

A stopped or frozen one, or one held by a debugger, uses none, while one that only waits for its own turn uses some as often
as those who watch it. So the sign of life costs the resident verifier nothing. Loaded only where an answer is slow.
"""

import fcntl
import os
import select
import time

from slsa_verifier_plugin.resident.lifecycle import Place

LOOK_SECONDS = 0.1
"""Between two looks."""
STILL_SECONDS = 1.0
"""Without any processor time, though a call waits to be accepted."""
STILL_AT_WORK_SECONDS = 2.0
"""The same for a call that was accepted: a verifier that waits looks around once a second."""
_LOOKS = 10
_END_SECONDS = 0.3
_CLOCK_OF_PROCESS = 2
_SIGKILL = 9  # on every Linux; importing signal costs 5 ms


class Life:
    """Watches one process.

    Args:
        process: its number; 0 for none, which is never still.
    """

    def __init__(self, process: int) -> None:
        self.process = process
        self.used = _time_used(process)
        self._since = time.monotonic()
        self._looks = 0

    def is_still(self, patience: float) -> bool:
        """Look once, and return whether nothing has moved for ``patience`` seconds and ten looks.

        So many turns on a processor whoever watches has had; a verifier that is only starved had as many.
        """
        used = _time_used(self.process)
        if used is None or used != self.used:
            self.used, self._since, self._looks = used, time.monotonic(), 0
            return False
        self._looks += 1
        return self._looks >= _LOOKS and time.monotonic() - self._since >= patience


def end_still(life: Life, place: Place) -> bool:
    """End a process that is still, if it is the verifier that has claimed ``place`` and nobody else is at it.

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
        return _end(life, place)
    except (BlockingIOError, ProcessLookupError):
        return True
    except OSError:
        return False
    finally:
        os.close(lock)


def _end(life: Life, place: Place) -> bool:
    import signal

    process = os.pidfd_open(life.process)
    try:
        # The descriptor names one process for good, and the same time used says that it is the one that was watched.
        if not _is_claimed_by(place, life.process) or _time_used(life.process) != life.used:
            return False
        signal.pidfd_send_signal(process, _SIGKILL)
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


def _time_used(process: int) -> int | None:
    """Return the nanoseconds of processor time that a process has used; None where there is no such process."""
    if process <= 0:
        return None
    try:
        # As clock_getcpuclockid(3) makes it. Needs no /proc.
        return time.clock_gettime_ns((~process << 3) | _CLOCK_OF_PROCESS)
    except OSError:
        return None
