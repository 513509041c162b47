"""Values that expire and are costly to get: one caller gets them, the others wait for that one."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from slsa_verifier_plugin.deadline import Deadline

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

RENEWED_EARLY = 0.1
"""Part of its life at whose end a value is no longer used, so that it does not expire on its way."""


@dataclass(slots=True)
class _Slot(Generic[V]):
    """One key: its value, when that ends, and whether somebody is getting a new one."""

    value: V | None = None
    ends: float = 0.0
    loading: bool = False
    changed: threading.Condition = field(default_factory=threading.Condition)


class ExpiringCache(Generic[K, V]):
    """At most ``size`` values by key; safe for many threads.

    Args:
        size: keys kept, the least recently used out first.
        clock: seconds, monotonic.
    """

    def __init__(self, size: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._size = size
        self._clock = clock
        self._slots: OrderedDict[K, _Slot[V]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: K, load: Callable[[], tuple[V, float]], deadline: Deadline, doing: str) -> V:
        """Return the value of ``key``, from ``load`` if there is none or its time is over.

        One caller loads at a time. Where it fails, its error is its own, and one of those who wait tries next:
        the others may have more time, or better luck.

        Args:
            key: what the value is for.
            load: returns the value and the seconds for which it is good.
            deadline: the end of waiting.
            doing: completes "while ..." in the error of a caller that ran out of time.

        Raises:
            DeadlineError: out of time while another caller was loading.
        """
        slot = self._slot(key)
        with slot.changed:
            while True:
                if slot.value is not None and self._clock() < slot.ends:
                    return slot.value
                if not slot.loading:
                    slot.loading = True
                    break
                deadline.check(doing)
                slot.changed.wait(deadline.remaining())
        value: V | None = None
        ends = 0.0
        try:
            value, seconds = load()
            ends = self._clock() + seconds * (1 - RENEWED_EARLY)
        finally:
            with slot.changed:
                slot.value, slot.ends, slot.loading = value, ends, False
                slot.changed.notify_all()
        return value

    def peek(self, key: K) -> V | None:
        """Return the value of ``key`` if there is a fresh one; never waits."""
        with self._lock:
            slot = self._slots.get(key)
        if slot is None:
            return None
        with slot.changed:
            return slot.value if self._clock() < slot.ends else None

    def drop(self, key: K, value: V) -> None:
        """Forget the value of ``key`` if it is still ``value``: another caller may have renewed it."""
        with self._lock:
            slot = self._slots.get(key)
        if slot is not None:
            with slot.changed:
                if slot.value == value:
                    slot.value, slot.ends = None, 0.0

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._slots.clear()

    def _slot(self, key: K) -> _Slot[V]:
        with self._lock:
            slot = self._slots.get(key)
            if slot is None:
                slot = self._slots[key] = _Slot()
                while len(self._slots) > self._size:
                    self._slots.popitem(last=False)
            else:
                self._slots.move_to_end(key)
            return slot
