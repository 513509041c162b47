"""Counts what became of calls, for the status."""

from __future__ import annotations

import threading


class Counters:
    """Counts by name; safe under threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}

    def add(self, name: str) -> None:
        """Count one more."""
        # Reading, adding and storing are three steps of the interpreter, between which another thread may run.
        with self._lock:
            self._counts[name] = self._counts.get(name, 0) + 1

    def get(self, name: str) -> int:
        """Return a count."""
        with self._lock:
            return self._counts.get(name, 0)
