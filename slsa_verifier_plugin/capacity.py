"""What many calls at once may hold of large content (``docs/operations/sizing.md``)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from slsa_verifier_plugin.turn import aside

if TYPE_CHECKING:
    from slsa_verifier_plugin.deadline import Deadline
    from slsa_verifier_plugin.evidence import ArtifactStore
    from slsa_verifier_plugin.model.digest import Descriptor
    from slsa_verifier_plugin.registry.reference import Reference

SMALL_BYTES = 256 << 10
"""Manifests and blobs that a call may read without asking: some fifteen signed bundles."""


class Capacity:
    """Lets one call at a time hold large content, which takes several times its bytes while it is read.

    ``maxAttestationBytes`` holds for each call; without this, as many calls as there are workers would need that many times
    the memory, which a Pod does not have.
    """

    def __init__(self) -> None:
        self._free = threading.Lock()

    @contextmanager
    def for_call(self, store: ArtifactStore) -> Iterator[ArtifactStore]:
        """Yield ``store`` for one call, which holds what it read until the end of the block."""
        guarded = _GuardedStore(store, self._free)
        try:
            yield guarded
        finally:
            guarded.leave()


class _GuardedStore:
    """An ``ArtifactStore`` of one call that waits for its turn before it reads more than ``SMALL_BYTES`` in all.

    Several threads of the call use it at once, and some may still do so when the call has ended: they get no turn any more.
    """

    def __init__(self, store: ArtifactStore, free: threading.Lock) -> None:
        self._store = store
        self._free = free
        self._bytes = 0
        self._has_turn = False
        self._has_left = False
        self._state = threading.Lock()
        self._asking = threading.Lock()

    def manifest(self, image: Reference, descriptor: Descriptor, deadline: Deadline) -> bytes:
        self._ask(descriptor, deadline)
        return self._store.manifest(image, descriptor, deadline)

    def blob(self, image: Reference, descriptor: Descriptor, limit: int, deadline: Deadline) -> bytes:
        self._ask(descriptor, deadline)
        return self._store.blob(image, descriptor, limit, deadline)

    def referrers(self, image: Reference, deadline: Deadline) -> list[Descriptor]:
        return self._store.referrers(image, deadline)

    def resolve(self, image: Reference, deadline: Deadline) -> Descriptor:
        return self._store.resolve(image, deadline)

    def leave(self) -> None:
        """Let another call have its turn."""
        with self._state:
            self._has_left = True
            has_turn, self._has_turn = self._has_turn, False
        if has_turn:
            self._free.release()

    def _ask(self, descriptor: Descriptor, deadline: Deadline) -> None:
        with self._state:
            self._bytes += descriptor.size
            wanted = self._bytes
            if self._has_turn or wanted <= SMALL_BYTES:
                return
        doing = f"waiting for room for {wanted} bytes beside another call's large attestations"
        with aside():
            # One thread asks for all of the call: the turn that it waits for is none that another of them holds.
            deadline.acquire(self._asking, doing)
            try:
                self._take_turn(deadline, doing)
            finally:
                self._asking.release()

    def _take_turn(self, deadline: Deadline, doing: str) -> None:
        if self._has_turn:
            return
        deadline.acquire(self._free, doing)
        with self._state:
            self._has_turn = not self._has_left
        if not self._has_turn:
            self._free.release()
