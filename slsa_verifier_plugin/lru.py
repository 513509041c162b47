"""A bounded cache, least recently used out first."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class LruCache(Generic[K, V]):
    """Maps keys to values up to a total cost; safe under threads.

    Args:
        capacity: the total cost kept; bytes, or a count where every cost is 1.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._items: OrderedDict[K, tuple[V, int]] = OrderedDict()
        # Taken once more within itself: ``get_or_make`` keeps a value under it.
        self._lock = threading.RLock()
        self._cost = 0
        self.hits = 0
        self.misses = 0

    def get(self, key: K) -> V | None:
        """Return the value of ``key``, or None where it is not kept."""
        with self._lock:
            # Under the lock: an OrderedDict that is changed by two threads at once loses entries.
            item = self._items.get(key)
            if item is None:
                self.misses += 1
                return None
            self.hits += 1
            self._items.move_to_end(key)
            return item[0]

    def put(self, key: K, value: V, cost: int = 1) -> None:
        """Keep ``value``, unless it alone costs more than a quarter of the capacity."""
        # One large value would throw out everything else, for one that may never be asked for again.
        if cost > self._capacity // 4:
            return
        with self._lock:
            # Two calls may have made the same value at once: the later one counts, and its cost once.
            self._forget(key)
            self._items[key] = (value, cost)
            self._cost += cost
            # What was asked for the longest ago goes first.
            while self._cost > self._capacity:
                self._cost -= self._items.popitem(last=False)[1][1]

    def get_or_make(self, key: K, make: Callable[[], V], cost: int = 1) -> V:
        """Return the value of ``key``, made and kept where it is not there.

        Two threads at once may both make it; what the first of them has made is then everybody's, with its connections, say.
        """
        value = self.get(key)
        if value is not None:
            return value
        # Outside the lock, or one slow value would hold up everybody who asks for another.
        # An error is not kept: it passes through here, and the next caller tries again.
        made = make()
        with self._lock:
            if key in self._items:
                return self._items[key][0]
            self.put(key, made, cost)
        return made

    def drop(self, key: K) -> None:
        """Keep the value of ``key`` no longer."""
        with self._lock:
            self._forget(key)

    def _forget(self, key: K) -> None:
        if key in self._items:
            self._cost -= self._items.pop(key)[1]

    def clear(self) -> None:
        """Drop everything."""
        with self._lock:
            self._items.clear()
            self._cost = 0

    def values(self) -> list[V]:
        """Return what is kept, least recently used first; no use of it."""
        with self._lock:
            return [value for value, _ in self._items.values()]

    def usage(self) -> dict[str, int]:
        """Return how often something was found and not found, and what is kept costs, for the status."""
        return {"hits": self.hits, "misses": self.misses, "bytes": self._cost}

    def __len__(self) -> int:
        return len(self._items)
