"""Content by digest, kept in memory for all verifications of one process.

A digest names its content whatever the registry, so the cache carries nothing but bytes that were checked against
their digest from one request to another: no settings, no credentials, no verdicts.
"""

from __future__ import annotations

from slsa_verifier_plugin.lru import LruCache
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
        self._kept: LruCache[Digest, bytes] = LruCache(budget)

    def get(self, digest: Digest) -> bytes | None:
        """Return the content with this digest, or None."""
        return self._kept.get(digest)

    def put(self, digest: Digest, content: bytes) -> None:
        """Keep ``content``, which the caller has checked to have ``digest``.

        Content of more than a quarter of the budget is not kept: it would push out everything else.
        """
        self._kept.put(digest, content, len(content) + ENTRY_OVERHEAD_BYTES)

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()

    def usage(self) -> dict[str, int]:
        """Return how often content was found and not found, and the bytes kept, for the status."""
        return self._kept.usage()

    @property
    def used(self) -> int:
        """Bytes in use, overhead included."""
        return self._kept.usage()["bytes"]

    def __len__(self) -> int:
        return len(self._kept)
