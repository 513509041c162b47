"""Content by digest, kept in memory for all verifications of one process.

A digest names its content whatever the registry, so the cache carries nothing but bytes that were checked against
their digest from one request to another: no settings, no credentials, no verdicts.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

from slsa_verifier_plugin.model.digest import Digest

DEFAULT_BUDGET_BYTES = 48 * 1024 * 1024
"""Bytes of content kept: a quarter of the resident verifier's memory limit."""

ENTRY_OVERHEAD_BYTES = 512
"""Bytes that one entry costs beside its content, so that tiny entries are bounded too."""


class ContentCache:
    """A bounded store of checked content, the least recently used out first; safe for many threads.

    Args:
        budget: bytes of content and overhead that are kept at most.
    """

    def __init__(self, budget: int = DEFAULT_BUDGET_BYTES) -> None:
        self._budget = budget
        self._used = 0
        self._entries: OrderedDict[Digest, bytes] = OrderedDict()
        self._lock = threading.Lock()
        self._hits = 0
        self._misses = 0

    def get(self, digest: Digest) -> bytes | None:
        """Return the content with this digest, or None."""
        with self._lock:
            content = self._entries.get(digest)
            if content is None:
                self._misses += 1
            else:
                self._hits += 1
                self._entries.move_to_end(digest)
            return content

    def put(self, digest: Digest, content: bytes) -> None:
        """Keep ``content``, which the caller has checked to have ``digest``.

        Content of more than a quarter of the budget is not kept: it would push out everything else.
        """
        cost = len(content) + ENTRY_OVERHEAD_BYTES
        if cost > self._budget // 4:
            return
        with self._lock:
            if digest in self._entries:
                self._entries.move_to_end(digest)
                return
            self._entries[digest] = content
            self._used += cost
            while self._used > self._budget:
                _, dropped = self._entries.popitem(last=False)
                self._used -= len(dropped) + ENTRY_OVERHEAD_BYTES

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()
            self._used = 0

    def usage(self) -> dict[str, int]:
        """Return how often content was found and not found, and the bytes kept, for the status."""
        return {"hits": self._hits, "misses": self._misses, "bytes": self._used}

    @property
    def used(self) -> int:
        """Bytes in use, overhead included."""
        return self._used

    def __len__(self) -> int:
        return len(self._entries)
