"""Tells whoever guards memory how much of a content has come, while it comes (``capacity``).

What a slow registry has not sent takes no memory, so nobody else has to wait for it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_own = threading.local()


@contextmanager
def told(listener: Callable[[int], None]) -> Iterator[None]:
    """Have ``listener`` told in this thread, within the block, how many bytes of one content are held."""
    # By thread and not by argument: it passes through oblivious layers, from the capacity of verification to the
    # socket.
    _own.listener = listener
    try:
        yield
    finally:
        _own.listener = None


def hold(size: int) -> None:
    """Tell that ``size`` bytes of the content that this thread is after are about to be held; may wait for room.

    Raises:
        DeadlineError: there was no room in time.
    """
    listener: Callable[[int], None] | None = getattr(_own, "listener", None)
    if listener is not None:
        listener(size)
