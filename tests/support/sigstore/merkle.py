"""An append-only Merkle tree (RFC 6962 section 2.1)."""

from __future__ import annotations

import hashlib


class Tree:
    """Leaf hashes and those of all complete subtrees, so that 10,000 entries cost no more than ten each."""

    def __init__(self) -> None:
        self._levels: list[list[bytes]] = [[]]

    def __len__(self) -> int:
        return len(self._levels[0])

    def append(self, entry: bytes) -> int:
        """Add ``entry`` and return its index."""
        index = len(self)
        node = hashlib.sha256(b"\0" + entry).digest()
        for level, nodes in enumerate(self._levels):
            nodes.append(node)
            if len(nodes) % 2:
                return index
            node = _parent(nodes[-2], nodes[-1])
            if level + 1 == len(self._levels):
                self._levels.append([])
                self._levels[-1].append(node)
                return index
        raise AssertionError("unreachable: the loop ends at the top level")

    def root(self) -> bytes:
        """Return the root hash, MTH(D[n])."""
        return self._hash(0, len(self)) if len(self) else hashlib.sha256().digest()

    def inclusion_proof(self, index: int) -> list[bytes]:
        """Return the hashes of PATH(index, D[n]), the leaf's sibling first."""
        start, end, path = 0, len(self), []
        while end - start > 1:
            middle = start + _split(end - start)
            if index < middle:
                path.append(self._hash(middle, end))
                end = middle
            else:
                path.append(self._hash(start, middle))
                start = middle
        return path[::-1]

    def _hash(self, start: int, end: int) -> bytes:
        size = end - start
        level = size.bit_length() - 1
        if size == 1 << level and start % size == 0:
            return self._levels[level][start >> level]
        middle = start + _split(size)
        return _parent(self._hash(start, middle), self._hash(middle, end))


def _split(size: int) -> int:
    """Return the largest power of two below ``size``."""
    return 1 << ((size - 1).bit_length() - 1)


def _parent(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()
