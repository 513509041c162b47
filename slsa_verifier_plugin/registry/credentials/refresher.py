"""Secrets that expire: one exchange for all who wait for it, renewed before they expire, kept in memory only.

An exchange runs in a thread of its own. So a caller stops waiting at its deadline whatever the exchange is stuck
in (an SDK's retries, a name lookup), and a value that is about to expire is renewed while it is still used. If that
renewal fails it is begun again; its error reaches a caller once the value is no longer good.
"""

from __future__ import annotations

import copy
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import InternalError, RegistryError, VerifierError
from slsa_verifier_plugin.registry.credentials.credential_failures import failed

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

EARLY_SECONDS = 300.0
"""Time before the expiry at which a value is renewed (Ratify v1.4.4: 5 minutes, for AWS and Azure)."""

SKEW_SECONDS = 15.0
"""Time before the expiry at which a value is no longer handed out: it has a way to go, and clocks differ."""

BACKGROUND_SECONDS = 10.0
"""Longest renewal of a value that is still good; nobody waits for it."""

RETRY_SECONDS = 10.0
"""Shortest time between two beginnings of such a renewal, so that a broken token service is not flooded."""

MAX_EXCHANGES = 16
"""Exchanges of one provider under way at once, those included whose callers have stopped waiting."""

MAX_VALUES = 256
"""Values kept, the least recently used out first: an image's name, and so its registry, is chosen by others."""


@dataclass(frozen=True, slots=True)
class Lease(Generic[V]):
    """A value, when it ends, and when to look for a new one (seconds since the epoch)."""

    value: V = field(repr=False)
    expires_at: float
    renew_at: float

    @classmethod
    def until(cls, value: V, expires_at: float, early: float = EARLY_SECONDS) -> Lease[V]:
        """Return a lease that is renewed ``early`` seconds before it ends."""
        return cls(value, expires_at, expires_at - early)


@dataclass(slots=True, eq=False)
class _Flight(Generic[V]):
    """One exchange under way."""

    deadline: Deadline
    done: threading.Event = field(default_factory=threading.Event)
    lease: Lease[V] | None = None
    error: VerifierError | None = None


class Refresher(Generic[K, V]):
    """Hands out values by key; safe for many threads.

    Args:
        provider: the provider's name, for messages.
        what: what the values are, for messages, as "an ECR authorization token".
        fetch: gets a value; runs in a thread of its own and raises ``VerifierError``s.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        provider: str,
        what: str,
        fetch: Callable[[K, Deadline], Lease[V]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._provider = provider
        self._what = what
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()
        self._leases: OrderedDict[K, Lease[V]] = OrderedDict()
        self._flights: dict[K, _Flight[V]] = {}
        self._begun: OrderedDict[K, float] = OrderedDict()
        self._running = 0

    def get(self, key: K, deadline: Deadline) -> V:
        """Return the value of ``key``.

        Raises:
            RegistryError: the exchange failed; every caller that waited for it gets that error.
            DeadlineError: out of time.
        """
        while True:
            with self._lock:
                lease = self._usable(key)
                if lease is not None:
                    if self._clock() >= lease.renew_at and self._may_renew(key):
                        with suppress(
                            RegistryError
                        ):  # no thread to be had: the value is good, the next call tries
                            self._begin(key, Deadline(BACKGROUND_SECONDS))
                    return lease.value
                deadline.check(f"waiting for {self._what} from {self._provider}")
                flight = self._flights.get(key)
                if flight is None or flight.deadline.expired():
                    flight = self._begin(key, deadline)
            flight.done.wait(min(deadline.remaining(), flight.deadline.remaining()))
            if flight.lease is not None:
                return flight.lease.value
            if flight.error is not None and not flight.deadline.expired():
                # Raised in several threads, so each gets an error of its own, with a traceback of its own.
                raise copy.copy(flight.error)
            # The exchange ran out of the time of the caller that began it; whoever has more begins another.

    def _usable(self, key: K) -> Lease[V] | None:
        lease = self._leases.get(key)
        if lease is None or self._clock() >= lease.expires_at - SKEW_SECONDS:
            return None
        self._leases.move_to_end(key)
        return lease

    def _may_renew(self, key: K) -> bool:
        flight = self._flights.get(key)
        if self._running >= MAX_EXCHANGES or (flight is not None and not flight.deadline.expired()):
            return False
        return time.monotonic() - self._begun.get(key, -RETRY_SECONDS) >= RETRY_SECONDS

    def _begin(self, key: K, deadline: Deadline) -> _Flight[V]:
        if self._running >= MAX_EXCHANGES:
            raise failed(
                self._provider,
                f"getting {self._what}",
                f"{MAX_EXCHANGES} exchanges are under way and none has ended",
                transient=True,
            )
        flight: _Flight[V] = _Flight(deadline)
        thread = threading.Thread(
            target=self._run, args=(key, flight), name=f"credentials-{self._provider}", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:
            raise failed(
                self._provider, f"getting {self._what}", "no thread could be started", transient=True
            ) from None
        self._running += 1
        self._flights[key] = flight
        self._begun[key] = time.monotonic()
        self._begun.move_to_end(key)
        while len(self._begun) > MAX_VALUES:
            self._begun.popitem(last=False)
        return flight

    def _run(self, key: K, flight: _Flight[V]) -> None:
        lease: Lease[V] | None = None
        error: VerifierError | None = None
        try:
            lease = self._checked(self._fetch(key, flight.deadline))
        except VerifierError as caught:
            error = caught
        except Exception as caught:  # noqa: BLE001  a thread's error would be printed, with what it holds
            error = InternalError(
                f"the credential provider {self._provider} failed at: getting {self._what}, in a way that was not "
                f"foreseen ({type(caught).__name__}); please report it"
            )
        with self._lock:
            self._running -= 1
            if self._flights.get(key) is flight:
                del self._flights[key]
            if lease is not None:
                self._keep(key, lease)
        flight.lease, flight.error = lease, error
        flight.done.set()

    def _checked(self, lease: Lease[V]) -> Lease[V]:
        if lease.expires_at - SKEW_SECONDS <= self._clock():
            raise failed(
                self._provider,
                f"getting {self._what}",
                "it had expired when it arrived; check this machine's clock",
            )
        return lease

    def _keep(self, key: K, lease: Lease[V]) -> None:
        known = self._leases.get(key)
        if known is not None and known.expires_at > lease.expires_at:
            return  # an exchange that was given up came in late
        self._leases[key] = lease
        self._leases.move_to_end(key)
        while len(self._leases) > MAX_VALUES:
            self._leases.popitem(last=False)
