"""The permit to work: a call that waits for somebody else gives its permit to another one meanwhile.

Waiting costs a thread alone; working wants a processor, of which there are few. So many calls may wait at once, and few work.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Of each thread its own: a call's permit is held by the one thread that works on it.
_own = threading.local()


@contextmanager
def held(give: Callable[[], None], take: Callable[[], None]) -> Iterator[None]:
    """Make a permit the one that ``aside`` gives away while this thread waits in the block.

    Args:
        give: lets another call work; never waits.
        take: waits until this call may work again.
    """
    _own.permit = give, take
    try:
        yield
    finally:
        _own.permit = None


@contextmanager
def aside() -> Iterator[None]:
    """Let another call work while this thread waits in the block: for a network, a program or another call.

    Without a permit, as in a process that has one call only, this does nothing; neither does it within itself.
    """
    permit = getattr(_own, "permit", None)
    # A process for one call has nobody to let work; a thread that waits within a wait has given its permit already.
    if permit is None:
        yield
        return
    # So that what waits within this wait does not give the same permit away twice.
    _own.permit = None
    give, take = permit
    give()
    try:
        yield
    finally:
        take()
        _own.permit = permit
