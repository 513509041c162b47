"""What many calls at once may hold of large content (``docs/operations/sizing.md``)."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING

from slsa_verifier_plugin.permit import aside
from slsa_verifier_plugin.registry import arrival

if TYPE_CHECKING:
    from slsa_verifier_plugin.deadline import Deadline
    from slsa_verifier_plugin.model.digest import Descriptor
    from slsa_verifier_plugin.registry.reference import Reference
    from slsa_verifier_plugin.verification.ports import ArtifactStore

SMALL_BYTES = 256 << 10
"""Manifests and blobs that a call may read without asking: some fifteen signed bundles."""
MEDIUM_BYTES = 2 << 20
"""Up to here a call takes one of many places, beyond one of few: content takes up to six times its bytes while it is read."""
MEDIUM_PLACES, MEDIUM_PLACES_EACH = 8, 2
"""Calls that hold medium content at once, and those of them for one registry: together 88 MiB."""
LARGE_PLACES, LARGE_PLACES_EACH = 2, 1
"""The same for large content, of up to ``maxAttestationBytes``: together 180 MiB by its default."""


class Capacity:
    """Lets few calls at a time hold large content, and fewer of one registry.

    ``maxAttestationBytes`` holds for each call; without this, as many calls as there are workers would need that many times the
    memory, which a Pod does not have. A place is taken once more has come than a class allows, and kept until the call ends.
    So whoever waits for a registry that is slow to answer, or sends a byte now and then, has no place that others lack; and no
    registry gets all of the places.
    """

    def __init__(self) -> None:
        self._medium = _Places(MEDIUM_PLACES, MEDIUM_PLACES_EACH)
        self._large = _Places(LARGE_PLACES, LARGE_PLACES_EACH)

    def for_call(self, store: ArtifactStore) -> closing[_GuardedStore]:
        """Return a context with ``store`` for one call, which holds what it read until the end of the block."""
        # One for each call, for places are counted by call: two calls to one registry never share a place.
        return closing(_GuardedStore(store, ((SMALL_BYTES, self._medium), (MEDIUM_BYTES, self._large))))


class _Places:
    """Places for calls, at most ``total``, and at most ``each`` for one registry."""

    def __init__(self, total: int, each: int) -> None:
        self._total = total
        self._each = each
        self._taken: Counter[str] = Counter()
        self._changed = threading.Condition()

    def take(self, registry: str, deadline: Deadline, doing: str) -> None:
        """Take a place for a call to ``registry``, after waiting for one if need be.

        Raises:
            DeadlineError: there was none in time.
        """
        with self._changed:
            # Both at once: a place for all, and a place of this registry's. Whoever waits for its own registry takes none
            # from others.
            while self._taken.total() >= self._total or self._taken[registry] >= self._each:
                deadline.check(doing)
                self._changed.wait(deadline.remaining())
            self._taken[registry] += 1

    def leave(self, registry: str) -> None:
        """Give a place back."""
        with self._changed:
            self._taken[registry] -= 1
            if not self._taken[registry]:
                del self._taken[registry]  # registries' names come from callers
            # All are woken, and not one: the first that wakes may wait for its registry's own places, and go on waiting.
            self._changed.notify_all()


class _GuardedStore:
    """An ``ArtifactStore`` of one call that takes a place before it reads more than a class of content allows.

    Several threads of the call use it at once, and some may still do so when the call has ended: they get no place any more.

    Args:
        store: where content comes from.
        classes: bytes up to which nothing of a class is needed, and the places of that class, in the order in which every call
            takes them: so no two calls ever wait for each other.
    """

    def __init__(self, store: ArtifactStore, classes: tuple[tuple[int, _Places], ...]) -> None:
        self._store = store
        self._classes = classes
        self._bytes = 0
        self._taken: list[tuple[_Places, str]] = []
        self._has_left = False
        # Two locks: ``_state`` is held for moments, ``_asking`` by one thread for as long as it waits for places.
        self._state = threading.Lock()
        self._asking = threading.Lock()

    def manifest(self, image: Reference, descriptor: Descriptor, deadline: Deadline) -> bytes:
        return self._counted(image, deadline, lambda: self._store.manifest(image, descriptor, deadline))

    def blob(self, image: Reference, descriptor: Descriptor, limit: int, deadline: Deadline) -> bytes:
        return self._counted(image, deadline, lambda: self._store.blob(image, descriptor, limit, deadline))

    def referrers(self, image: Reference, deadline: Deadline) -> list[Descriptor]:
        return self._store.referrers(image, deadline)

    def resolve(self, image: Reference, deadline: Deadline) -> Descriptor:
        return self._store.resolve(image, deadline)

    def dropped(self, size: int) -> None:
        """Note that ``size`` bytes of what was read are held no more."""
        with self._state:
            self._bytes -= size

    def close(self) -> None:
        """Let other calls have this one's places."""
        with self._state:
            # From now on a thread that still fetches for this call gets its place back at once (``_keep``).
            self._has_left = True
            taken, self._taken = self._taken, []
        # In the reverse order of taking: the large class, which the fewest calls get, is free first.
        for places, registry in reversed(taken):
            places.leave(registry)

    def _counted(self, image: Reference, deadline: Deadline, fetch: Callable[[], bytes]) -> bytes:
        """Return what ``fetch`` does. Counted while it comes, with the places that it needs; nothing of what does not come."""
        held = 0

        def hold(size: int) -> None:
            nonlocal held
            # Told of what has come so far, not of what the descriptor announces: announcing costs nobody anything.
            if size > held:  # a body that broke off may begin anew
                more, held = size - held, size
                self._ask(image, more, deadline)

        try:
            with arrival.told(hold):
                content = fetch()
                arrival.hold(len(content))
                return content
        except BaseException:
            # What did not come is not held. The places stay taken until the call ends: it has asked for that much, and may
            # ask again.
            self.dropped(held)
            raise

    def _ask(self, image: Reference, size: int, deadline: Deadline) -> None:
        with self._state:
            self._bytes += size
            # Of all that the call holds, not of this content: two medium blobs are a large call.
            wanted = self._bytes
            # The usual call is small, takes no place and waits for nobody.
            if not self._needed(wanted):
                return
        doing = f"waiting for room for {wanted} bytes beside other calls' large attestations"
        with aside():
            # One thread asks for all of the call: the place that it waits for is none that another of them holds.
            deadline.acquire(self._asking, doing)
            try:
                # Asked once more behind the lock: another thread of this call may have taken them meanwhile.
                for places in self._needed(wanted):
                    places.take(image.registry, deadline, doing)
                    self._keep(places, image.registry)
            finally:
                self._asking.release()

    def _needed(self, wanted: int) -> list[_Places]:
        """Return the places that ``wanted`` bytes need beside those that the call has."""
        # The classes come in one order for all calls, and the taken ones are always the first of them.
        return [places for more_than, places in self._classes[len(self._taken) :] if wanted > more_than]

    def _keep(self, places: _Places, registry: str) -> None:
        with self._state:
            if not self._has_left:
                self._taken.append((places, registry))
                return
        # The call has ended meanwhile: nobody is left who would give this place back later.
        places.leave(registry)
