"""Transparency logs: Rekor v1 (a SET, a time of integration) and Rekor v2 (a checkpoint alone)."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.sigstore.encoding import b64, canonical
from tests.support.sigstore.keys import Key
from tests.support.sigstore.merkle import Tree

EARLIER_ENTRIES = 5
"""Entries of others that each log holds from the start, so that proofs have hashes on both kinds of path."""


class RekorV1:
    """A log as rekor.sigstore.dev is one: its tree is the current shard, older ones hold ``offset``."""

    def __init__(
        self,
        key: Key,
        host: str = "rekor.lab.invalid",
        tree_id: int = 1193050959916656506,
        offset: int = 121904262,
        earlier: int = EARLIER_ENTRIES,
    ) -> None:
        self.key, self.host = key, host
        self._origin, self._offset = f"{host} - {tree_id}", offset
        self._tree = _tree_of_others(host, earlier)

    @property
    def log_id(self) -> bytes:
        """The log's id: SHA-256 of its public key."""
        return self.key.key_id

    def add(self, kind: str, version: str, body: bytes, at: datetime) -> dict[str, Any]:
        """Log ``body`` at ``at`` and return the entry as bundles hold it (``TransparencyLogEntry``)."""
        index = self._tree.append(body)
        log_index, seconds = self._offset + index, int(at.timestamp())
        promise = {
            "body": b64(body),
            "integratedTime": seconds,
            "logID": self.log_id.hex(),
            "logIndex": log_index,
        }
        return {
            "logIndex": str(log_index),
            "logId": {"keyId": b64(self.log_id)},
            "kindVersion": {"kind": kind, "version": version},
            "integratedTime": str(seconds),
            "inclusionPromise": {"signedEntryTimestamp": b64(self.key.sign(canonical(promise)))},
            "inclusionProof": _proof(self._tree, index, self._origin, self.host, self.log_id[:4], self.key),
            "canonicalizedBody": b64(body),
        }


class RekorV2:
    """A log as log2025-1.rekor.sigstore.dev is one: Ed25519, its id that of a C2SP signed note's key."""

    def __init__(
        self, key: Key, host: str = "log2025-1.rekor.lab.invalid", earlier: int = EARLIER_ENTRIES
    ) -> None:
        self.key, self.host = key, host
        self._tree = _tree_of_others(host, earlier)
        raw = key.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.log_id = hashlib.sha256(host.encode() + b"\n\x01" + raw).digest()

    def add(self, kind: str, version: str, body: bytes, at: datetime) -> dict[str, Any]:
        """Log ``body`` and return the entry; ``at`` leaves no trace, this log vouches for no time."""
        del at
        index = self._tree.append(body)
        return {
            "logIndex": str(index),
            "logId": {"keyId": b64(self.log_id)},
            "kindVersion": {"kind": kind, "version": version},
            "inclusionProof": _proof(self._tree, index, self.host, self.host, self.log_id[:4], self.key),
            "canonicalizedBody": b64(body),
        }


def checkpoint(origin: str, name: str, size: int, root: bytes, hint: bytes, key: Key) -> str:
    """Return a signed checkpoint (C2SP tlog-checkpoint): origin, size and root, then one signature line."""
    note = f"{origin}\n{size}\n{b64(root)}\n"
    return f"{note}\n\u2014 {name} {b64(hint + key.sign(note.encode()))}\n"


def _proof(tree: Tree, index: int, origin: str, name: str, hint: bytes, key: Key) -> dict[str, Any]:
    root = tree.root()
    return {
        "logIndex": str(index),
        "rootHash": b64(root),
        "treeSize": str(len(tree)),
        "hashes": [b64(one) for one in tree.inclusion_proof(index)],
        "checkpoint": {"envelope": checkpoint(origin, name, len(tree), root, hint, key)},
    }


def _tree_of_others(host: str, count: int) -> Tree:
    tree = Tree()
    for number in range(count):
        tree.append(f"entry {number} of somebody else in {host}".encode())
    return tree
