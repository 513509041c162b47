"""Where a connection may go: kinds of network addresses, name lookup with a deadline, and the dialer.

A registry may send a client elsewhere, by redirect or by naming a token server. Unless the registry itself is in
such a place, that elsewhere must not be this machine, its link or a private network: whoever controls a registry
would otherwise make the verifier ask internal services for it.
"""

from __future__ import annotations

import contextlib
import copy
import errno
import functools
import ipaddress
import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.lru import LruCache
from slsa_verifier_plugin.network import waits as limits
from slsa_verifier_plugin.network.hosts import canonical_host

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Kind(StrEnum):
    """What an IP address reaches; the later in this list, the fewer servers may send us there."""

    GLOBAL = "global"
    PRIVATE = "private"
    LOOPBACK = "loopback"
    LINK_LOCAL = "link-local"
    UNUSABLE = "reserved"
    METADATA = "cloud metadata"


METADATA_ADDRESSES = frozenset(
    ipaddress.ip_address(text)
    for text in (
        # AWS, Azure, Google, Oracle and others, on the link itself
        "169.254.169.254",
        # AWS: credentials of ECS tasks, and of EKS Pods
        "169.254.170.2",
        "169.254.170.23",
        # Tencent
        "169.254.0.23",
        # Scaleway
        "169.254.42.42",
        # Alibaba, among the addresses that carriers share
        "100.100.100.200",
        # Azure: a public address that is only reached from within
        "168.63.129.16",
        # Oracle
        "192.0.0.192",
        # the same services over IPv6: AWS, Scaleway, Google
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd00:42::42",
        "fd20:ce::254",
    )
)
"""Metadata services of AWS, Azure, Google, Alibaba, Oracle, Tencent and Scaleway: never a registry's object store."""

METADATA_NAMES = frozenset(
    {
        "metadata",
        "metadata.google.internal",
        "metadata.goog",
        "instance-data",
        "instance-data.ec2.internal",
        "metadata.tencentyun.com",
        "metadata.platformequinix.com",
    }
)
"""Names of the same services, refused where a proxy would look the name up."""

LOOPBACK_NAMES = frozenset(
    {
        "localhost",
        "localhost.localdomain",
        "localhost6",
        "localhost6.localdomain6",
        "ip6-localhost",
        "ip6-loopback",
    }
)
"""Names of this machine in ``/etc/hosts``, and of the proxy's own there; beside those that end with ``.localhost`` (RFC 6761)."""

_PRIVATE = tuple(
    map(
        ipaddress.ip_network,
        (
            "100.64.0.0/10",  # shared by carriers, RFC 6598
            "192.0.0.0/24",  # IETF protocol assignments, RFC 6890
            "192.88.99.0/24",  # 6to4 relays, RFC 7526
            "64:ff9b:1::/48",  # translation within one network, RFC 8215, where no IPv4 address is inside
            "2001::/23",  # IETF protocol assignments, Teredo among them, which holds an IPv4 address
            "3fff::/20",  # documentation, RFC 9637
            "5f00::/16",  # segment routing, RFC 9602
            "fec0::/10",  # site-local, RFC 3879
        ),
    )
)
"""Networks that are not the Internet's, and that ``ipaddress`` counts to it in one version of Python or another."""

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_LOCAL_NAT64 = ipaddress.ip_network("64:ff9b:1::/48")
_INSIDE_LOCAL_NAT64 = ((6, 7, 9, 10), (7, 9, 10, 11), (9, 10, 11, 12), (12, 13, 14, 15))
"""Bytes of the IPv4 address behind a prefix of 48, 56, 64 and 96 bits (RFC 6052, 2.2): the network's operator chooses which."""

REACH = {
    Kind.GLOBAL: frozenset({Kind.GLOBAL}),
    Kind.PRIVATE: frozenset({Kind.GLOBAL, Kind.PRIVATE}),
    Kind.LINK_LOCAL: frozenset({Kind.GLOBAL, Kind.PRIVATE, Kind.LINK_LOCAL}),
    Kind.LOOPBACK: frozenset({Kind.GLOBAL, Kind.PRIVATE, Kind.LOOPBACK}),
    Kind.METADATA: frozenset({Kind.GLOBAL}),
    Kind.UNUSABLE: frozenset({Kind.GLOBAL}),
}
"""Kinds of address to which a registry at an address of the given kind may send its client."""


class AddressRefused(Exception):  # noqa: N818  (not an error of its own: the transport words it)
    """The host's address is of a kind that may not be connected to here."""

    def __init__(self, host: str, kind: Kind) -> None:
        super().__init__(kind)
        self.host = host
        self.kind = kind


def kind_of(text: str) -> Kind:
    """Return the kind of the IP address written in ``text``, in any form; an IPv4 address within an IPv6 one decides.

    Where it is not known which IPv4 address is inside, the kind is that of the one that the fewest may be sent to.

    Raises:
        ValueError: it is no address.
    """
    return _kind_of(canonical_host(text).partition("%")[0])


@functools.lru_cache(maxsize=256)
def _kind_of(text: str) -> Kind:
    return max(map(_kind_of_one, _embedded(ipaddress.ip_address(text))), key=list(Kind).index)


def _kind_of_one(address: Address) -> Kind:
    # First: some of them count as private or global otherwise.
    if address in METADATA_ADDRESSES:
        # Of clouds that keep credentials there: whoever reads an answer acts as this machine.
        return Kind.METADATA
    # Linux connects 0.0.0.0 and :: to this machine.
    if address.is_unspecified or address.is_loopback:
        return Kind.LOOPBACK
    # 169.254.0.0/16 and fe80::/10: the link's own services, metadata services that are not listed above among them.
    if address.is_link_local:
        return Kind.LINK_LOCAL
    # Before what ipaddress says, which differs from one version of Python to the next.
    if any(address in network for network in _PRIVATE):
        return Kind.PRIVATE
    # No TCP connection ends there; whoever names it has something else in mind.
    if address.is_multicast or address.is_reserved:
        return Kind.UNUSABLE
    if address.is_private or not address.is_global:
        return Kind.PRIVATE
    return Kind.GLOBAL


def _embedded(address: Address) -> Sequence[Address]:
    """Return what a connection to ``address`` ends at; several where that depends on the network."""
    if isinstance(address, ipaddress.IPv6Address):
        # The kernel connects ::ffff:127.0.0.1 to 127.0.0.1.
        if address.ipv4_mapped is not None:
            return [address.ipv4_mapped]
        # A relay would connect to the IPv4 address inside (RFC 3056).
        if address.sixtofour is not None:
            return [address.sixtofour]
        # A NAT64 gateway would, too (RFC 6052).
        if address in _NAT64:
            return [ipaddress.IPv4Address(address.packed[12:])]
        # So would the gateway of a network with a prefix of its own (RFC 8215). Its length is not known here, so an address can
        # be read in four ways. 0.0.0.0/8 is no destination: that is what the bytes before and behind the real one read as.
        if address in _LOCAL_NAT64:
            inside = (bytes(address.packed[index] for index in places) for places in _INSIDE_LOCAL_NAT64)
            return [ipaddress.IPv4Address(part) for part in inside if part[0]] or [address]
    return [address]


def literal(host: str) -> str | None:
    """Return ``host`` as ``ipaddress`` writes it, without brackets, if it is an IP address in any form; else None."""
    try:
        canonical = canonical_host(host)
        ipaddress.ip_address(canonical.partition("%")[0])
    except ValueError:
        return None
    return canonical


def check_name(host: str, allowed: frozenset[Kind]) -> None:
    """Refuse what can be told from the name alone: a proxy, not we, looks names up.

    Raises:
        AddressRefused: ``host`` names an address of another kind than ``allowed``, or can be no host.
    """
    try:
        name = canonical_host(host)
    except ValueError:
        raise AddressRefused(host, Kind.UNUSABLE) from None
    kind = Kind.GLOBAL  # what cannot be told from the name: the proxy's operator decides where it leads
    if literal(name) is not None:
        kind = kind_of(name)
    # A name that a proxy in a cloud resolves to that cloud's own metadata service
    elif name in METADATA_NAMES:
        # Refused by name, for the proxy would find an address that we never see.
        kind = Kind.METADATA
    # The proxy's own machine: services there trust whoever comes from loopback.
    elif name in LOOPBACK_NAMES or name.endswith(".localhost"):
        kind = Kind.LOOPBACK
    if kind not in allowed:
        raise AddressRefused(host, kind)


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
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [Endpoint(family, sockaddr) for family, _, _, _, sockaddr in found]


class Resolver:
    """Looks names up in threads of their own, because the system's resolver knows no deadline.

    All who ask for one name at a time share one lookup: a name whose servers are dead takes one of the lookups that there are,
    however many calls wait for it, and leaves the others to other names.

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
        # Each kind with its own time: what was met an hour ago says nothing of where the host is now.
        met = self._met.get(host) or {}
        self._met.put(host, {**met, kind_of(address): time.monotonic()})

    def reach(self, host: str, port: int, deadline: Deadline) -> frozenset[Kind]:
        """Return the kinds of address to which ``host`` may send its client, from where it is itself.

        Where it is, its name says now, and what was connected to: whoever owns the name answers the second lookup as he likes.

        Raises:
            socket.gaierror: the name has no address.
            TimeoutError: the resolver did not answer before the deadline.
        """
        kinds = {endpoint.kind for endpoint in self.resolve(host, port, deadline)}
        # DNS rebinding: a public name that answers with a private address for the second question would widen its own
        # reach.
        since = time.monotonic() - limits.MET_SECONDS
        kinds |= {kind for kind, moment in (self._met.get(host) or {}).items() if moment >= since}
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
            return system_lookup(address, port)  # a literal is only parsed: nothing is asked
        try:
            return self._ask((host, port)).result(deadline.remaining())
        except FutureTimeout:
            raise TimeoutError("the system's resolver did not answer") from None
        except UnicodeError:
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
                    raise AddressRefused(host, endpoint.kind)
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
                # From here on the caller's time counts, for TLS and the request.
                sock.settimeout(max(deadline.remaining(), 0.001))
            except OSError as error:
                with contextlib.suppress(OSError):
                    sock.close()
                # The last address's error is told: with one address it is the only one, with two they mostly agree.
                last = error
            else:
                return sock
        raise last
