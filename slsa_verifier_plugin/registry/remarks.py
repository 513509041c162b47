"""What went wrong without harm to a result: kept for a store, and given to the call that met it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from slsa_verifier_plugin.lru import LruCache
from slsa_verifier_plugin.text import plain

MAX_REMARKS = 32
"""Remarks that are kept of a store, and of one call."""

_log = logging.getLogger(__name__)


class Remarks:
    """The last remarks of one store, each once; safe for many threads."""

    def __init__(self) -> None:
        self._all: LruCache[str, str] = LruCache(MAX_REMARKS)
        self._call = threading.local()

    def add(self, remark: str) -> None:
        """Keep a remark, and log it the first time."""
        call: dict[str, None] | None = getattr(self._call, "remarks", None)
        # For the call that met it, also where the store has met it before.
        if call is not None and len(call) < MAX_REMARKS:
            # A dict for its order, and because each is told once.
            call[remark] = None
        # Logged once: a cache that cannot be written would fill the log.
        if self._all.get(remark) is None:
            self._all.put(remark, remark)
            _log.warning("%s", plain(remark, 1000))

    def all(self) -> tuple[str, ...]:
        """Return the remarks that are kept, the latest last."""
        return tuple(self._all.values())

    @contextmanager
    def of_this_call(self) -> Iterator[dict[str, None]]:
        """Give the remarks that this thread makes within the block, in their order: a call stays in its thread."""
        remarks: dict[str, None] = {}
        self._call.remarks = remarks
        try:
            yield remarks
        finally:
            self._call.remarks = None
