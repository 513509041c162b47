"""Where a connection may go: kinds of network addresses, and which of them a server may send us to.

A registry may send a client elsewhere, by redirect or by naming a token server. Unless the registry itself is in
such a place, that elsewhere must not be this machine, its link or a private network: whoever controls a registry
would otherwise make the verifier ask internal services for it.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Sequence
from enum import StrEnum

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
        # OpenStack, on the link itself
        "fe80::a9fe:a9fe",
    )
)
"""Metadata services of AWS, Azure, Google, Alibaba, Oracle, Tencent, Scaleway and OpenStack: never a registry's object store."""

METADATA_NAMES = frozenset(
    {
        "metadata",
        "metadata.google.internal",
        "metadata.goog",
        "instance-data",
        "instance-data.ec2.internal",
        "metadata.tencentyun.com",
        "metadata.platformequinix.com",
        "metadata.azure.internal",
        "api.metadata.cloud.ibm.com",
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
    # No registry is at these: what claims to be one gets no more than a public one.
    Kind.METADATA: frozenset({Kind.GLOBAL}),
    Kind.UNUSABLE: frozenset({Kind.GLOBAL}),
}
"""Kinds of address to which a registry at an address of the given kind may send its client."""


class AddressRefused(Exception):  # noqa: N818  (not an error of its own: the transport words it)
    """The host's address is of a kind that may not be connected to here."""

    def __init__(self, kind: Kind) -> None:
        super().__init__(kind)
        self.kind = kind


def kind_of(text: str) -> Kind:
    """Return the kind of the IP address written in ``text``, in any form; an IPv4 address within an IPv6 one decides.

    Where several IPv4 addresses may be inside, the most restricted kind counts.

    Raises:
        ValueError: it is no address.
    """
    # A zone names the interface, and changes nothing of the kind.
    return _kind_of(canonical_host(text).partition("%")[0])


@functools.lru_cache(maxsize=256)
def _kind_of(text: str) -> Kind:
    # Kinds are listed by how few may be sent there: the last of them decides.
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
        raise AddressRefused(Kind.UNUSABLE) from None
    # What cannot be told from the name passes: the proxy's operator decides where it leads.
    kind = Kind.GLOBAL
    if literal(name) is not None:
        kind = kind_of(name)
    # A proxy in a cloud resolves these to that cloud's metadata service, at an address that we never see.
    elif name in METADATA_NAMES:
        kind = Kind.METADATA
    # The proxy's own machine: services there trust whoever comes from loopback.
    elif name in LOOPBACK_NAMES or name.endswith(".localhost"):
        kind = Kind.LOOPBACK
    if kind not in allowed:
        raise AddressRefused(kind)
