"""Writes the provider's log: one JSON object a line, in a thread of its own.

Whoever reads the log may stop reading, and then a write waits for ever. Nothing else waits for that thread: lines that find no
room are counted and left out.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from slsa_verifier_plugin.sinks import Json, json_text
from slsa_verifier_plugin.text import plain

MAX_LINES = 4096
"""Lines that wait to be written, half a kilobyte each."""
GATHER_SECONDS = 0.02
"""Time in which lines gather before they are written in one go: each write takes the interpreter from whoever answers."""
CLOSE_SECONDS = 1.0
"""Time for the lines that are left when the server ends."""

Write = Callable[[Sequence[Json]], None]
"""Writes texts, a line each, and may wait."""


class DecisionLog:
    """Writes what happened; safe under threads, and never waits.

    Args:
        write: where lines go.
        dropped: called for each line that found no room.
    """

    def __init__(self, write: Write, dropped: Callable[[], None] = lambda: None) -> None:
        self._write = write
        self._dropped = dropped
        self._lines: deque[Json] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def event(self, name: str, **facts: Any) -> None:
        """Log what happened. Texts in ``facts`` may come from outside; they are encoded, and hold no secret."""
        moment = f"{datetime.now(UTC).isoformat(timespec='milliseconds')[:-6]}Z"
        text = json_text({"time": moment, "event": name, **facts}, None)
        with self._changed:
            # The newest is left out: those before it tell how it came to this.
            if len(self._lines) >= MAX_LINES:
                self._dropped()
                return
            self._lines.append(text)
            # Only a thread that found nothing waits to be told: to wake one costs more than the line.
            if len(self._lines) == 1:
                self._changed.notify()

    def add(self, text: str) -> None:
        """Log what went wrong in a thread (``resident.server.permit_pool.Log``)."""
        self.event("fault", message=plain(text, 1000))

    def remarks(self, texts: Iterable[str]) -> None:
        """Log what is not wrong, but may not be meant."""
        for text in texts:
            self.event("remark", message=plain(text, 512))

    def close(self) -> None:
        """Write what is left, so far as it is taken at once."""
        with self._changed:
            self._closing = True
            self._closed.set()
            self._changed.notify()
        # Not for ever: whoever reads the log may have stopped.
        self._thread.join(CLOSE_SECONDS)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._lines and not self._closing:
                    self._changed.wait()
                # The log is closing, and all is written.
                if not self._lines:
                    return
            # Ends at once when the server does.
            self._closed.wait(GATHER_SECONDS)
            with self._changed:
                # Taken out before they are written: a write that waits holds no lock.
                lines = list(self._lines)
                self._lines.clear()
            try:
                self._write(lines)
            except (OSError, ValueError):
                # Nobody reads any more, or the stream is closed: decisions go on.
                for _ in lines:
                    self._dropped()
