"""When a soak is over, and what it says on the way."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from tools.soak.judging import Tally


class Run:
    """One soak; safe under threads, and ``end`` in a signal's handler.

    Args:
        seconds: after which no call begins.
        calls: after which none does; 0 for any number.
        report: calls between two lines.
    """

    def __init__(self, seconds: float, calls: int, report: int) -> None:
        self._began = time.monotonic()
        self._end = self._began + seconds
        self._calls = calls
        self._report = report
        self._lock = threading.Lock()
        self._begun = self._made = 0
        self._is_ended = False

    def end(self) -> None:
        """Let no call begin any more."""
        # Without the lock: a handler runs in a thread that may hold it.
        self._is_ended = True

    def goes_on(self) -> bool:
        """Return True where one more call may begin, which then counts."""
        with self._lock:
            if (
                self._is_ended
                or time.monotonic() >= self._end
                or (self._calls and self._begun >= self._calls)
            ):
                return False
            self._begun += 1
            return True

    def count(self, tallies: Sequence[Tally]) -> None:
        """Count a call that has ended; print what all came to, now and then."""
        with self._lock:
            self._made += 1
            if self._made % self._report:
                return
            # In order, whatever else ends meanwhile.
            seconds = time.monotonic() - self._began
            print(
                f"after {seconds:.0f} s and {self._made} calls:",
                *(tally.line() for tally in tallies),
                flush=True,
            )
