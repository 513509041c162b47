"""Reports how many bytes of a content are held while it arrives, to whoever limits memory (``capacity``).

What a slow registry has not sent takes no memory, so nobody else has to wait for it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_own = threading.local()


@contextmanager
def told(listener: Callable[[int], None]) -> Iterator[None]:
    """Within the block, call ``listener`` in this thread with the number of bytes that are held of one content."""
    # By thread and not by argument: the layers between the limit on memory and the socket need not know of it.
    _own.listener = listener
    try:
        yield
    finally:
        _own.listener = None


def hold(size: int) -> None:
    """Report that this thread is about to hold ``size`` bytes of its content; may wait for room.

    Raises:
        DeadlineError: there was no room in time.
    """
    listener: Callable[[int], None] | None = getattr(_own, "listener", None)
    if listener is not None:
        listener(size)
