"""How late the machine is: what a sleeper that wants nothing but the clock oversleeps, and no call can make up for."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

NAP_SECONDS = 0.02


class Lateness:
    """Measures from the start of a ``with`` block to its end, in this very process: its own threads make calls late, too."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._naps: list[tuple[float, float]] = []
        self._thread = threading.Thread(target=self._measure, name="lateness")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def since(self, started: float) -> float:
        """Return the seconds that were overslept from ``started`` (``time.monotonic``) until now."""
        total = 0.0
        for ended, late in reversed(self._naps):
            if ended <= started:
                break
            total += late
        return total

    def _measure(self) -> None:
        while not self._over.is_set():
            began = time.monotonic()
            time.sleep(NAP_SECONDS)
            ended = time.monotonic()
            late = ended - began - NAP_SECONDS
            # A millisecond more is the clock's own grain.
            if late > 0.001:
                self._naps.append((ended, late))
