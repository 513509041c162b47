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


class ContentCache(LruCache[Digest, bytes]):
    """A bounded store of checked content, the least recently used out first; safe for many threads.

    Args:
        budget: bytes of content and overhead that are kept at most.
    """

    def __init__(self, budget: int = DEFAULT_BUDGET_BYTES) -> None:
        super().__init__(budget)

    def put(self, key: Digest, value: bytes, cost: int = 0) -> None:
        """Keep content, which the caller has checked to have the digest.

        Content of more than a quarter of the budget is not kept: it would push out everything else.

        Args:
            key: the digest.
            value: the content.
            cost: bytes that it costs; its size and an entry's overhead if left out.
        """
        super().put(key, value, cost or len(value) + ENTRY_OVERHEAD_BYTES)
