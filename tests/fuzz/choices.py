"""Decisions taken from bytes, so that a fuzzer that changes the bytes changes the decisions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Choices:
    """Takes decisions from ``data``, byte by byte; once it is used up every decision is the first."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self, below: int) -> int:
        """Return a number from 0 to ``below`` - 1."""
        value, size = 0, 1
        while size < below:
            value, size = value << 8 | self._byte(), size << 8
        return value % below

    def one_of(self, items: Sequence[T]) -> T:
        """Return one of ``items``."""
        return items[self.number(len(items))]

    def chance(self, of: int) -> bool:
        """Return True in one of ``of`` cases."""
        return self.number(of) == 1

    def some_of(self, items: Sequence[T], most: int) -> list[T]:
        """Return up to ``most`` of ``items``, in any order, perhaps one twice."""
        return [self.one_of(items) for _ in range(self.number(most + 1))]

    def bytes(self, most: int) -> bytes:
        """Return up to ``most`` bytes."""
        return bytes(self._byte() for _ in range(self.number(most + 1)))

    def _byte(self) -> int:
        if self._at >= len(self._data):
            return 0
        self._at += 1
        return self._data[self._at - 1]
