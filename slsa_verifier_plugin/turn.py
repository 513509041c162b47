"""Whose turn it is to work: a call that waits for somebody else lets another one work meanwhile.

Waiting costs a thread alone; working wants a processor, of which there are few. So many calls may wait at once, and few work.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Turn(Protocol):
    """The turn of one call, which the thread that works on it holds."""

    def give(self) -> None:
        """Let another call work; never waits."""

    def take(self) -> None:
        """Wait until this call may work again."""


_own = threading.local()


@contextmanager
def held(turn: Turn) -> Iterator[None]:
    """Let what this thread does in the block give ``turn`` away while it waits."""
    _own.turn = turn
    try:
        yield
    finally:
        _own.turn = None


@contextmanager
def aside() -> Iterator[None]:
    """Let another call work while this thread waits in the block: for a network, a program or another call.

    Without a turn, as in a process that has one call only, this does nothing; neither does it within itself.
    """
    turn: Turn | None = getattr(_own, "turn", None)
    # A process for one call has nobody to let work; a thread that waits within a wait has given its turn already.
    if turn is None:
        yield
        return
    # So that what waits within this wait does not give the same turn away twice.
    _own.turn = None
    turn.give()
    try:
        yield
    finally:
        turn.take()
        _own.turn = turn
