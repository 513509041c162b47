"""Looks names up with a deadline, and connects to addresses of allowed kinds only (``addresses``)."""

from __future__ import annotations

import contextlib
import copy
import errno
import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from typing import Any

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.lru import LruCache
from slsa_verifier_plugin.network import waits as limits
from slsa_verifier_plugin.network.addresses import REACH, AddressRefused, Kind, kind_of, literal


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address to connect to, as ``getaddrinfo`` gives it."""

    family: int
    sockaddr: tuple[Any, ...]

    @property
    def kind(self) -> Kind:
        """The kind of its IP address."""
        return kind_of(str(self.sockaddr[0]))


Lookup = Callable[[str, int], Sequence[Endpoint]]
"""Host and port to addresses; may block as long as the system's resolver does."""


def system_lookup(host: str, port: int) -> list[Endpoint]:
    """Return the addresses of ``host`` from the system's resolver.

    Raises:
        socket.gaierror: there are none.
    """
    # With a type, or each address would come again for UDP and for raw sockets.
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [Endpoint(family, sockaddr) for family, _, _, _, sockaddr in found]


class Resolver:
    """Looks names up in threads of their own, because the system's resolver knows no deadline.

    Calls that ask for one name at the same time share one lookup. So a name whose servers are dead takes one of
    ``MAX_LOOKUPS``, however many calls wait for it.

    Args:
        lookup: what asks the system; tests replace it.
    """

    def __init__(self, lookup: Lookup = system_lookup) -> None:
        self._lookup = lookup
        self._lock = threading.Lock()
        self._under_way: dict[tuple[str, int], Future[Sequence[Endpoint]]] = {}
        self._met: LruCache[str, dict[Kind, float]] = LruCache(limits.MAX_MET_HOSTS)

    def note(self, host: str, address: str) -> None:
        """Note that ``host`` was spoken to at ``address`` just now."""
        # Each kind keeps its own time: an address met an hour ago does not show where the host is now.
        met = self._met.get(host) or {}
        self._met.put(host, {**met, kind_of(address): time.monotonic()})

    def reach(self, host: str, port: int, deadline: Deadline) -> frozenset[Kind]:
        """Return the kinds of address to which ``host`` may send its client, from where it is itself.

        Its name is looked up now, and the addresses that were connected to count as well: the owner of a name can answer
        the second lookup as he likes.

        Raises:
            socket.gaierror: the name has no address.
            TimeoutError: the resolver did not answer before the deadline.
        """
        kinds = {endpoint.kind for endpoint in self.resolve(host, port, deadline)}
        # DNS rebinding: a public name that answers with a private address for the second question would widen its own
        # reach.
        since = time.monotonic() - limits.MET_SECONDS
        kinds |= {kind for kind, moment in (self._met.get(host) or {}).items() if moment >= since}
        # Of a name with several kinds of address, only what all of them allow.
        return frozenset.intersection(*(REACH[kind] for kind in kinds)) if kinds else REACH[Kind.GLOBAL]

    def resolve(self, host: str, port: int, deadline: Deadline) -> Sequence[Endpoint]:
        """Return the addresses of ``host``.

        Raises:
            socket.gaierror: the name has none.
            TimeoutError: the resolver did not answer before the deadline, or too many other lookups are under way.
        """
        address = literal(host)
        # A literal is only parsed: nothing is asked, so no thread is needed.
        if address is not None:
            return system_lookup(address, port)
        try:
            return self._ask((host, port)).result(deadline.remaining())
        except FutureTimeout:
            # The lookup goes on in its thread; whoever asks again while it lasts waits for the same one.
            raise TimeoutError("the system's resolver did not answer") from None
        except UnicodeError:
            # Python encodes the name by IDNA first, which refuses an empty label and one over 63 characters.
            raise socket.gaierror(socket.EAI_NONAME, "not a host name") from None
        except OSError as error:
            # One for each thread that waits, with a traceback of its own.
            raise copy.copy(error) from None

    def _ask(self, key: tuple[str, int]) -> Future[Sequence[Endpoint]]:
        """Return the lookup of a host and port that is under way, or a new one."""
        with self._lock:
            # Two that ask at once share an answer; one that asks later asks the system, whose cache knows the name's life.
            asked = self._under_way.get(key)
            if asked is not None:
                return asked
            # A lookup cannot be interrupted: without a limit, names whose servers are dead would take every thread there is.
            if len(self._under_way) >= limits.MAX_LOOKUPS:
                raise TimeoutError("too many name lookups are waiting for the system's resolver")
            asked = self._under_way[key] = Future()
        try:
            # A daemon: a lookup that hangs must not keep the process from ending.
            threading.Thread(target=self._run, args=(key, asked), name="name-lookup", daemon=True).start()
        except RuntimeError:
            # The lookup never began, so nobody would take it out of the list.
            self._end(key)
            asked.set_exception(OSError(errno.EAGAIN, "no thread can be started"))
        return asked

    def _run(self, key: tuple[str, int], asked: Future[Sequence[Endpoint]]) -> None:
        try:
            found = self._lookup(*key)
        except BaseException as error:  # noqa: BLE001  whoever waits must learn of it, whatever it is
            self._end(key)
            asked.set_exception(error)
        else:
            self._end(key)
            asked.set_result(found)

    def _end(self, key: tuple[str, int]) -> None:
        # Before the result is there: whoever asks after it asks the system anew.
        with self._lock:
            del self._under_way[key]


@dataclass(frozen=True, slots=True)
class Dialer:
    """Opens TCP connections to hosts, to addresses of allowed kinds only.

    The check is made on the very address that is connected to, so no second lookup can give another.

    Args:
        resolver: finds the addresses.
        allowed: kinds that may be connected to, None for all (the registry itself, and proxies).
        open_socket: makes the socket for an address family.
    """

    resolver: Resolver
    allowed: frozenset[Kind] | None
    open_socket: Callable[[int], socket.socket]

    def note(self, host: str, sock: socket.socket) -> None:
        """Note where ``host`` is spoken to, for ``Resolver.reach``."""
        with contextlib.suppress(OSError, ValueError):  # one that is closed, or whose address says nothing
            self.resolver.note(host, str(sock.getpeername()[0]))

    def dial(self, host: str, port: int, deadline: Deadline) -> socket.socket:
        """Return a socket connected to the first address of ``host`` that answers.

        Each address gets an equal part of the time left, so that a dead one leaves time for the next.

        Raises:
            AddressRefused: an address is of a kind that is not allowed, whichever else the name has.
            OSError: no address could be connected to; a ``TimeoutError`` where time was the reason.
        """
        endpoints = self.resolver.resolve(host, port, deadline)
        # All of them, before any is tried: a name with one bad address is not to be trusted with the others.
        if self.allowed is not None:
            for endpoint in endpoints:
                if endpoint.kind not in self.allowed:
                    raise AddressRefused(endpoint.kind)
        last: OSError = OSError("the name has no address")
        for index, endpoint in enumerate(endpoints):
            left = deadline.remaining()
            # Before the socket is made: a timeout of 0 means "non-blocking" to Python, not "at once".
            if left <= 0:
                raise TimeoutError("the deadline was reached while connecting")
            sock = self.open_socket(endpoint.family)
            try:
                # An equal part of what is left, so that a dead address leaves time for the next.
                sock.settimeout(left / (len(endpoints) - index))
                sock.connect(endpoint.sockaddr)
                # From here on the caller's time counts, for TLS and the request; never 0, which would mean "non-blocking".
                sock.settimeout(max(deadline.remaining(), 0.001))
            except OSError as error:
                with contextlib.suppress(OSError):
                    sock.close()
                # The last address's error is told: with one address it is the only one, with two they mostly agree.
                last = error
            else:
                return sock
        raise last
