"""Writes the provider's log: one JSON object a line, in a thread of its own.

Whoever reads the log may stop reading, and then a write waits for ever. Nothing else waits for that thread: lines that find no
room are counted and left out.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
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
        self._lines: queue.Queue[Json | None] = queue.Queue(MAX_LINES)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def event(self, name: str, **facts: Any) -> None:
        """Log what happened. Texts in ``facts`` may come from outside; they are encoded, and hold no secret."""
        moment = f"{datetime.now(UTC).isoformat(timespec='milliseconds')[:-6]}Z"
        try:
            self._lines.put_nowait(json_text({"time": moment, "event": name, **facts}, None))
        except queue.Full:
            # The newest is left out: those before it tell how it came to this.
            self._dropped()

    def add(self, text: str) -> None:
        """Log what went wrong in a thread (``resident.server.permit_pool.Log``)."""
        self.event("fault", message=plain(text, 1000))

    def remarks(self, texts: Iterable[str]) -> None:
        """Log what is not wrong, but may not be meant."""
        for text in texts:
            self.event("remark", message=plain(text, 512))

    def close(self) -> None:
        """Write what is left, so far as it is taken at once."""
        self._closed.set()
        # Wakes the thread where it waits for a line; where there is no room for that, it has lines enough.
        with suppress(queue.Full):
            self._lines.put_nowait(None)
        # Not for ever: whoever reads the log may have stopped.
        self._thread.join(CLOSE_SECONDS)

    def _run(self) -> None:
        # Until it is closed, and all is written.
        while not (self._closed.is_set() and self._lines.empty()):
            first = self._lines.get()
            # Ends at once when the server does.
            self._closed.wait(GATHER_SECONDS)
            rest = [self._lines.get() for _ in range(self._lines.qsize())]
            lines = [line for line in (first, *rest) if line is not None]
            try:
                self._write(lines)
            except (OSError, ValueError):
                # Nobody reads any more, or the stream is closed: decisions go on.
                for _ in lines:
                    self._dropped()
