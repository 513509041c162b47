"""Keeps the latest errors of a resident verifier: some in memory for its status, more in a file that stays small."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from slsa_verifier_plugin.text import plain

MAX_BYTES = 256 << 10
"""Bytes of the file; over that, the older half is dropped."""
MAX_SHOWN = 20
"""Lines kept for the status."""
MAX_LINE = 512
"""Characters of a line's text."""


class ErrorLog:
    """Keeps lines of text; no failure to write one disturbs who reports it.

    Args:
        path: the file, made in mode 0600 where it is missing; a symbolic link is not followed.
        echo: gets every line as well, for a verifier in the foreground.
    """

    def __init__(self, path: str, echo: Callable[[str], None] | None = None) -> None:
        self._lock = threading.Lock()
        self._echo = echo
        self._latest: deque[str] = deque(maxlen=MAX_SHOWN)
        self.unwritten = 0
        try:
            # Non-blocking: a named pipe in its place must not hold up whoever has an error to tell.
            self.descriptor = os.open(
                path,
                os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK,
                0o600,
            )
        # The lines stay in memory alone, and the status says how many were not written.
        except OSError:
            self.descriptor = -1

    def add(self, text: str) -> None:
        """Add a line with the time (UTC) in front; foreign text in it is made safe."""
        # Foreign text may hold line ends and a terminal's commands: each error is one line, whatever it says.
        line = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {plain(text, MAX_LINE)}"
        with self._lock:
            self._latest.append(line)
            try:
                self._write(line.encode() + b"\n")
            except OSError:  # a full disk, or none: the status says how many are missing
                self.unwritten += 1
        if self._echo is not None:
            self._echo(line)

    def latest(self) -> list[str]:
        """Return the latest lines, oldest first."""
        with self._lock:
            return list(self._latest)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self.descriptor >= 0:
                os.close(self.descriptor)
                self.descriptor = -1

    def _write(self, line: bytes) -> None:
        # Where no file could be made, or it was a symbolic link, this fails as well: the lines are in memory alone.
        size = os.fstat(self.descriptor).st_size
        if size + len(line) > MAX_BYTES:
            # The watchdog writes here too, so the size is asked for, not counted.
            # The older half goes at once: cutting a little at each line would write the file anew each time.
            kept = os.pread(self.descriptor, MAX_BYTES // 2, max(size - MAX_BYTES // 2, 0))
            os.ftruncate(self.descriptor, 0)
            # From the first whole line on.
            os.write(self.descriptor, kept[kept.find(b"\n") + 1 :])
        os.write(self.descriptor, line)


def describe(error: BaseException) -> str:
    """Return an exception's kind and where it was raised, and nothing of its text, which may hold a secret."""
    # To the innermost frame, where it was raised.
    step = error.__traceback__
    while step is not None and step.tb_next is not None:
        step = step.tb_next
    if step is None:
        return type(error).__name__
    return f"{type(error).__name__} in {Path(step.tb_frame.f_code.co_filename).name} line {step.tb_lineno}"
