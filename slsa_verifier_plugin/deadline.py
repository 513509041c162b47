"""One deadline for everything a verification does."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from slsa_verifier_plugin.errors import DeadlineError

if TYPE_CHECKING:
    from threading import Lock


class Deadline:
    """A moment after which nothing more is waited for.

    Args:
        seconds: the time given.
        elapsed: how much of it is used already.
    """

    __slots__ = ("_end", "seconds")

    def __init__(self, seconds: float, elapsed: float = 0.0) -> None:
        self.seconds = seconds
        # Not the time of day, which somebody may set while a call runs.
        self._end = time.monotonic() + seconds - elapsed

    def remaining(self) -> float:
        """Return the seconds left, never below zero."""
        return max(0.0, self._end - time.monotonic())

    def expired(self) -> bool:
        """Return True once no time is left."""
        return time.monotonic() >= self._end

    def check(self, doing: str) -> None:
        """Raise ``DeadlineError`` once no time is left; ``doing`` completes "while ..."."""
        if self.expired():
            raise self.error(doing)

    def error(self, doing: str) -> DeadlineError:
        """Return what ``check`` raises."""
        return DeadlineError(
            f"the time limit of {self.seconds:g} s was reached while {doing}",
            "try again, raise the Verifier's timeout parameter, or look at the registry's latency",
        )

    def acquire(self, lock: Lock, doing: str) -> None:
        """Take ``lock``, which the caller releases; raise ``DeadlineError`` as ``check`` does where it is not free in time."""
        # Python may give up a moment too early; then there is still time, and it is tried again.
        while not lock.acquire(timeout=self.remaining()):
            self.check(doing)

    def within(self, seconds: float) -> Deadline:
        """Return a deadline at most ``seconds`` from now, and no later than this one."""
        # Never longer than what is left: a part of a call cannot outlive the call.
        return Deadline(min(seconds, self.remaining()))
