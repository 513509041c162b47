"""Redirects, followed by our own code only.

``requests`` would read a redirect's body without a bound, go anywhere, and decide on its own what to forward. Here:
at most five; never from HTTPS to HTTP; an ``Authorization`` header stays with the origin it was meant for; another
host must have an address of a kind that the registry itself could reach us from (``addresses.REACH``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import Reason, RegistryError
from slsa_verifier_plugin.network.addresses import REACH, AddressRefused, Kind
from slsa_verifier_plugin.network.origins import REDIRECTS, origin_of, target_of
from slsa_verifier_plugin.registry import faults, limits
from slsa_verifier_plugin.registry.auth.expiring import ExpiringCache
from slsa_verifier_plugin.registry.http.transport import Reply, Transport

_GLOBAL_ONLY = REACH[Kind.GLOBAL]


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and the head of its answer, for a person who wants to see them; not yet redacted."""

    method: str
    url: str
    home: str
    reply: Reply = field(repr=False)
    seconds: float


class Courier:
    """Sends a request and follows its redirects; safe for many threads.

    Args:
        transport: sends one request.
        observer: called with every answer, its body unread.
    """

    def __init__(self, transport: Transport, observer: Callable[[Exchange], None] | None = None) -> None:
        self._transport = transport
        self._observer = observer
        self._reach: ExpiringCache[str, frozenset[Kind]] = ExpiringCache(limits.MAX_HOSTS)

    def carry(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        deadline: Deadline,
        operation: str,
        *,
        home: str,
        form: Mapping[str, str] | None = None,
        leave_home: bool = True,
    ) -> Reply:
        """Return the answer at the end of the redirects, whatever its status.

        Args:
            method: GET, HEAD or POST; a POST's redirect is not followed.
            url: where to.
            headers: an ``Authorization`` among them is for the origin of ``url`` alone.
            deadline: the end of all of it.
            operation: what is being done, for messages.
            home: the registry's scheme and host: what is configured, and so may be connected to wherever it is.
            form: a POST's body.
            leave_home: False to return a redirect to another origin instead of following it.

        Raises:
            RegistryError: reason ``REGISTRY_INVALID_RESPONSE`` for a redirect that is not followed; else as
                ``Transport.send``.
            DeadlineError: out of time.
        """
        sent = dict(headers)
        meant_for = origin_of(url)
        for _ in range(limits.MAX_REDIRECTS + 1):
            begin = time.monotonic()
            reply = self._send(method, url, sent, deadline, operation, home=home, form=form)
            if self._observer is not None:
                self._observer(Exchange(method, url, home, reply, time.monotonic() - begin))
            if reply.status not in REDIRECTS or not reply.header("Location"):
                return reply
            target = target_of(url, reply.header("Location"))
            if target is None:
                reply.close()
                raise _refused(operation, url, "its target is not a plain HTTP URL")
            if form is not None:
                reply.close()
                raise _refused(
                    operation, url, "a token server must not redirect a request that carries a secret"
                )
            if not leave_home and origin_of(target) != origin_of(home):
                return reply
            reply.error_body()
            if urlsplit(url).scheme == "https" and urlsplit(target).scheme == "http":
                raise _refused(operation, url, "it leads from HTTPS to plain HTTP")
            if origin_of(target) != meant_for:
                sent.pop("Authorization", None)
            url = target
        raise _refused(
            operation, url, f"there were more than {limits.MAX_REDIRECTS} of them, or they go in a circle"
        )

    def _send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        deadline: Deadline,
        operation: str,
        *,
        home: str,
        form: Mapping[str, str] | None,
    ) -> Reply:
        """Send to the registry itself anywhere, to another host only where the registry's own address allows it."""
        send = self._transport.send
        if origin_of(url) == origin_of(home):
            return send(method, url, headers, deadline, operation, form=form)
        try:
            return send(method, url, headers, deadline, operation, form=form, allowed=_GLOBAL_ONLY)
        except AddressRefused:
            # Looked up only now: behind a proxy the registry's name may be unknown here, which takes its time.
            allowed = self._reach_of(home, deadline)
        try:
            return send(method, url, headers, deadline, operation, form=form, allowed=allowed)
        except AddressRefused as refused:
            raise _not_there(operation, url, refused.kind) from None

    def _reach_of(self, home: str, deadline: Deadline) -> frozenset[Kind]:
        """Return the kinds of address to which the registry may send us, from where it is itself."""

        def look_up() -> tuple[frozenset[Kind], float]:
            parts = urlsplit(home)
            try:
                reach = self._transport.resolver.reach(parts.hostname or "", parts.port or 443, deadline)
            except OSError:
                return _GLOBAL_ONLY, 1.0  # behind a proxy, perhaps: then nothing but global addresses
            return reach, limits.CREDENTIALS_SECONDS

        return self._reach.get(home, look_up, deadline, "looking up the registry's address")


def _refused(operation: str, url: str, why: str) -> RegistryError:
    return RegistryError(
        f"{operation} failed: a redirect from {faults.redacted(url)} is not followed: {why}; correct the "
        "registry's or its storage's configuration",
        reason=Reason.REGISTRY_INVALID_RESPONSE,
    )


def _not_there(operation: str, url: str, kind: Kind) -> RegistryError:
    return RegistryError(
        f"{operation} failed: the registry sends its client to {faults.redacted(url)}, a {kind} address, and is "
        "not at such an address itself; give that host an address like the registry's, or check who runs the registry",
        reason=Reason.REGISTRY_INVALID_RESPONSE,
    )
