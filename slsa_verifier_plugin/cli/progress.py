"""A progress bar with a live count, on standard error and only on a terminal."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, TextIO

from slsa_verifier_plugin.checking.status import Decision
from slsa_verifier_plugin.cli.render.painter import Painter

if TYPE_CHECKING:
    from slsa_verifier_plugin.audit.auditor import Progress

SECONDS = 0.1
"""Between two pictures."""
_BAR = 24


class Bar:
    """Shows how far an audit is; says nothing where nobody watches.

    Args:
        painter: how the terminal is written to.
        stream: standard error by default.
    """

    def __init__(self, painter: Painter, stream: TextIO | None = None) -> None:
        self._painter = painter
        self._stream = stream or sys.stderr
        self._started = time.monotonic()
        self._last = 0.0
        self._first = 0
        self._drawn = False

    def show(self, progress: Progress) -> None:
        """Draw, if it is time to."""
        if not self._stream.isatty():
            return
        now = time.monotonic()
        if self._last == 0.0:
            self._first = progress.done
        elif now - self._last < SECONDS and progress.done < progress.total:
            return
        self._last = now
        self._stream.write(f"\r\033[K{self._line(progress, now)}")
        self._stream.flush()
        self._drawn = True

    def clear(self) -> None:
        """Take the bar away."""
        if self._drawn:
            self._stream.write("\r\033[K")
            self._stream.flush()
            self._drawn = False

    def _line(self, progress: Progress, now: float) -> str:
        share = progress.done / progress.total if progress.total else 1.0
        filled = round(_BAR * share)
        full, empty = ("█", "░") if self._painter.symbols else ("#", ".")
        seconds = max(now - self._started, 0.001)
        rate = (progress.done - self._first) / seconds
        counts = " ".join(f"{progress.decisions.get(decision, 0)} {decision}" for decision in Decision)
        line = (
            f"{progress.done}/{progress.total} {full * filled}{empty * (_BAR - filled)} {counts} {rate:.0f}/s"
        )
        return line[: (self._painter.width or 80) - 1]
