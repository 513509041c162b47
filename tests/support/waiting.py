"""Helpers for tests that run many callers at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def at_once(callers: int, call: Callable[[int], T]) -> Sequence[T]:
    """Run ``call`` in ``callers`` threads, handing each its number; return the results or raise the first error."""
    with ThreadPoolExecutor(callers) as pool:
        return list(pool.map(call, range(callers)))
