"""Things that expire and are fetched once for many: tokens, credentials, temporary keys, what is known of a registry.

A fetch runs in a thread of its own, and everybody who wants its result waits for it until their own deadline, whatever the
fetch is stuck in (an SDK's retries, a name lookup). A value that is about to end can be renewed while it is still used.
"""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import InternalError, Reason, RegistryError, VerifierError
from slsa_verifier_plugin.lru import LruCache

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

EARLY_SECONDS = 300.0
"""Time before its end at which a cloud's value is renewed (Ratify v1.4.4: 5 minutes, for AWS and Azure)."""

SKEW_SECONDS = 15.0
"""Time before its end at which a cloud's value is no longer handed out: the request takes its time, and clocks differ."""

EARLY_PART = 0.1
"""Last part of a token's life, in which it is no longer handed out: it could expire on its way."""

BACKGROUND_SECONDS = 10.0
"""Longest renewal of a value that is still good; nobody waits for it."""

RETRY_SECONDS = 10.0
"""Shortest time between two beginnings of such a renewal, so that a broken token service is not flooded."""

MAX_FETCHES = 16
"""Fetches under way at once, those included whose callers have stopped waiting."""

MAX_LEASES = 256
"""Keys kept, the least recently used out first: an image's name, and so its registry, is chosen by others."""


@dataclass(frozen=True, slots=True)
class Lease(Generic[V]):
    """A value, when it ends, until when it is handed out, and when to look for a new one: seconds of its ``Leases``' clock."""

    value: V = field(repr=False)
    ends: float
    usable_until: float
    renew_at: float

    @classmethod
    def until(cls, value: V, ends: float, early: float = EARLY_SECONDS) -> Lease[V]:
        """Return a lease of a value that ends at a time of day; it is renewed ``early`` seconds before that."""
        return cls(value, ends, ends - SKEW_SECONDS, ends - early)

    @classmethod
    def lasting(cls, value: V, seconds: float) -> Lease[V]:
        """Return a lease of a value that is good for some seconds from now, by a clock that nobody sets."""
        now = time.monotonic()
        last = now + seconds * (1 - EARLY_PART)
        return cls(value, now + seconds, last, last)


@dataclass(slots=True, eq=False)
class _Fetch(Generic[V]):
    """One fetch, under way or done."""

    deadline: Deadline
    begun: float
    done: threading.Event = field(default_factory=threading.Event)
    lease: Lease[V] | None = None
    error: VerifierError | None = None

    @property
    def is_under_way(self) -> bool:
        """False once it is done, and once its time is over: whoever has more then begins another."""
        return not self.done.is_set() and not self.deadline.expired()


class Leases(Generic[K, V]):
    """Hands out values by key; safe for many threads.

    Args:
        what: what the values are, for messages, as "an ECR authorization token".
        fetch: gets the value of a key; runs in a thread of its own and raises ``VerifierError``s.
        clock: seconds, by which leases end.
    """

    def __init__(
        self,
        what: str,
        fetch: Callable[[K, Deadline], Lease[V]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what = what
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()
        # Not by age: a registry in daily use must not give way to names that were met once.
        self._leases: LruCache[K, Lease[V]] = LruCache(MAX_LEASES)
        self._fetches: LruCache[K, _Fetch[V]] = LruCache(MAX_LEASES)
        self._running = 0

    def get(self, key: K, deadline: Deadline) -> V:
        """Return the value of ``key``: the one at hand, or what the one fetch for all brings.

        Raises:
            RegistryError: the fetch failed; every caller that waited for it gets that error.
            DeadlineError: out of time.
        """
        # Round again for who waited for a fetch that ran out of its own time, not the waiting caller's.
        while True:
            with self._lock:
                # The usual way: one look under the lock, no thread, no wait.
                lease = self._usable(key)
                if lease is not None:
                    if self._clock() >= lease.renew_at and self._may_renew(key):
                        # Where no thread can be had, the value is still good, and the next call tries.
                        with suppress(RegistryError):
                            self._begin(key, Deadline(BACKGROUND_SECONDS))
                    return lease.value
                deadline.check(f"getting {self._what}")
                fetch = self._fetches.get(key)
                # Whoever comes first begins it; a thousand calls at once make one request to the cloud.
                if fetch is None or not fetch.is_under_way:
                    fetch = self._begin(key, deadline)
            # Outside the lock: others find what is at hand meanwhile.
            fetch.done.wait(min(deadline.remaining(), fetch.deadline.remaining()))
            if fetch.lease is not None:
                return fetch.lease.value
            if fetch.error is not None and not fetch.deadline.expired():
                # Raised in several threads, so each gets an error of its own, with a traceback of its own.
                raise copy.copy(fetch.error)
            # The fetch ran out of the time of the caller that began it; whoever has more begins another.

    def peek(self, key: K) -> V | None:
        """Return the value of ``key`` if there is one at hand; never waits."""
        with self._lock:
            lease = self._usable(key)
        return None if lease is None else lease.value

    def drop(self, key: K, value: V) -> None:
        """Forget the value of ``key`` if it is still ``value``: another caller may have renewed it."""
        with self._lock:
            lease = self._leases.get(key)
            if lease is not None and lease.value == value:
                # Compared by value, so a late complaint about an old token does not take away the new one.
                self._leases.drop(key)

    def _usable(self, key: K) -> Lease[V] | None:
        lease = self._leases.get(key)
        return lease if lease is not None and self._clock() < lease.usable_until else None

    def _may_renew(self, key: K) -> bool:
        last = self._fetches.get(key)
        # By the beginning, not by the end: a service that hangs would otherwise be asked again at once when it fails.
        is_spaced = last is None or time.monotonic() - last.begun >= RETRY_SECONDS
        return self._running < MAX_FETCHES and is_spaced and (last is None or not last.is_under_way)

    def _begin(self, key: K, deadline: Deadline) -> _Fetch[V]:
        """Start the fetch for ``key``; the caller holds the lock."""
        if self._running >= MAX_FETCHES:
            # Threads cannot be ended: a service that never answers would take all that this process may have.
            raise self._failed(f"{MAX_FETCHES} fetches are under way and none has ended", transient=True)
        fetch: _Fetch[V] = _Fetch(deadline, time.monotonic())
        try:
            threading.Thread(target=self._run, args=(key, fetch), name="lease", daemon=True).start()
        # Python raises it where the system gives no further thread.
        except RuntimeError:
            raise self._failed("no thread could be started", transient=True) from None
        self._running += 1
        self._fetches.put(key, fetch)
        return fetch

    def _run(self, key: K, fetch: _Fetch[V]) -> None:
        """Fetch, keep what came, and wake those who wait."""
        lease: Lease[V] | None = None
        try:
            lease = self._fetch(key, fetch.deadline)
            if lease.usable_until <= self._clock():
                lease = None
                # Handed out, it would be refused by the registry, and the credentials blamed for it.
                fetch.error = self._failed("it had expired when it arrived; check this machine's clock")
        # Handed to whoever waits: an error does not leave its thread by itself.
        except VerifierError as caught:
            fetch.error = caught
        except Exception as caught:  # noqa: BLE001  a thread's error would be printed, with what it holds
            # The class alone is named: an SDK's text may hold the signed request.
            fetch.error = InternalError(
                f"getting {self._what} failed in a way that was not foreseen ({type(caught).__name__}); please report it"
            )
        with self._lock:
            # Also for a fetch that nobody waits for any more: its thread is free again.
            self._running -= 1
            known = self._leases.get(key)
            # A fetch that was given up may come in after a later one, with what ends earlier.
            if lease is not None and (known is None or known.ends <= lease.ends):
                self._leases.put(key, lease)
        fetch.lease = lease
        fetch.done.set()

    def _failed(self, why: str, *, transient: bool = False) -> RegistryError:
        return RegistryError(
            f"getting {self._what} failed: {why}", reason=Reason.REGISTRY_CREDENTIALS, transient=transient
        )
