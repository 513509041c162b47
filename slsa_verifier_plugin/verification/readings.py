"""What attestations say, kept by their very bytes: to read the same again would give the same.

Nothing here depends on a policy or on a signature, so what is kept decides nothing.
"""

from __future__ import annotations

from slsa_verifier_plugin.errors import StatementError
from slsa_verifier_plugin.lru import LruCache
from slsa_verifier_plugin.model.envelope import Blob, Candidate, read_blob
from slsa_verifier_plugin.model.manifest import Manifest, parse_manifest
from slsa_verifier_plugin.model.statement import decode, predicate_type_in
from slsa_verifier_plugin.model.vsa import PREDICATE_TYPE, Reading, read_decoded
from slsa_verifier_plugin.strict_json import is_dense

Said = tuple[str | None, Reading | None]
"""The predicate type that a payload claims, None for no statement; and what it says, None for another kind than a summary."""

_COPIES = 3
"""Bytes kept for each byte that was read: lines, payloads, certificates."""
_MANIFEST_COPIES = 9
"""The same for manifests, whose descriptors are short."""
# What the objects of one entry cost beside its bytes.
_OVERHEAD = 2048


class Readings:
    """Reads manifests, blobs and payloads, and keeps what came of it; safe under threads.

    Args:
        capacity: bytes that are kept of blobs and of payloads, a quarter of it of manifests; 0 for none.
    """

    def __init__(self, capacity: int = 0) -> None:
        self._blobs: LruCache[tuple[bytes, int], Blob] = LruCache(capacity)
        self._said: LruCache[tuple[str, bytes], Said] = LruCache(capacity)
        self._manifests: LruCache[tuple[bytes, str], Manifest] = LruCache(capacity // 4)

    def blob(self, content: bytes, most: int) -> Blob:
        """Return the candidates in ``content``; as ``read_blob``, which says what it raises."""
        # The limit is part of the key: what is read under one limit is an error under a lower one.
        key = (content, most)
        cost = _COPIES * len(content) + _OVERHEAD
        return self._blobs.get_or_make(key, lambda: read_blob(content, most), cost)

    def manifest(self, content: bytes, media_type: str) -> Manifest:
        """Return the manifest in ``content``; as ``parse_manifest``, which says what it raises."""
        # The type is part of the key: the same bytes under another type are an error (OCI image specification 1.1,
        # "mediaType").
        key = (content, media_type)
        cost = _MANIFEST_COPIES * len(content) + _OVERHEAD
        return self._manifests.get_or_make(key, lambda: parse_manifest(content, media_type), cost)

    def said(self, candidate: Candidate) -> Said:
        """Return what the payload of ``candidate`` says. This verifies nothing."""
        # The bytes themselves and no digest of them, which would be one more thing to trust.
        key = (candidate.payload_type, candidate.payload)
        said = self._said.get(key)
        if said is None:
            said = _read(*key)
            # An error holds on to the frames that it came through.
            if not isinstance(said[1], StatementError):
                self._said.put(key, said, _COPIES * len(candidate.payload) + _OVERHEAD)
        return said

    def usage(self) -> dict[str, int]:
        """Return how often something had been read before and had not, and the bytes kept, for the status."""
        each = self._blobs.usage(), self._said.usage(), self._manifests.usage()
        return {name: sum(one[name] for one in each) for name in each[0]}

    def clear(self) -> None:
        """Drop everything."""
        self._blobs.clear()
        self._said.clear()
        self._manifests.clear()


def _read(payload_type: str, payload: bytes) -> Said:
    # A megabyte of "1,1,1,1" takes twenty times its size to parse. No honest statement has as many values for its size.
    if is_dense(payload):
        # Nobody vouches for it yet, and parsing it would cost what it likes.
        return None, StatementError("the signed payload has more values than a statement of its size has")
    try:
        value = decode(payload_type, payload)
    except StatementError as error:
        return None, error
    kind = predicate_type_in(value)
    # Of another kind only the type is told. None goes on to be an error, for a payload without a type may be a broken
    # summary.
    # An attestation of another kind is not parsed further: it says nothing about the source, whatever is in it.
    return kind, read_decoded(value) if kind in (None, PREDICATE_TYPE) else None


NOTHING_KEPT = Readings()
"""For one verification alone."""
