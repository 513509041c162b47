"""Kinds of addresses, name lookup with a deadline, and the dialer."""

from __future__ import annotations

import ipaddress
import socket
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.network import waits as limits
from slsa_verifier_plugin.network.addresses import REACH, AddressRefused, Kind, kind_of, literal
from slsa_verifier_plugin.network.dialing import Dialer, Endpoint, Resolver
from tests.support.names import endpoint


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("8.8.8.8", Kind.GLOBAL),
        ("2606:4700::1", Kind.GLOBAL),
        ("10.0.0.1", Kind.PRIVATE),
        ("172.16.0.1", Kind.PRIVATE),
        ("192.168.1.1", Kind.PRIVATE),
        ("100.64.0.1", Kind.PRIVATE),
        ("fd12::1", Kind.PRIVATE),
        ("127.0.0.1", Kind.LOOPBACK),
        ("127.255.0.1", Kind.LOOPBACK),
        ("::1", Kind.LOOPBACK),
        ("0.0.0.0", Kind.LOOPBACK),
        ("::", Kind.LOOPBACK),
        ("169.254.1.1", Kind.LINK_LOCAL),
        ("fe80::1", Kind.LINK_LOCAL),
        ("fe80::1%eth0", Kind.LINK_LOCAL),
        ("169.254.169.254", Kind.METADATA),
        ("100.100.100.200", Kind.METADATA),
        ("168.63.129.16", Kind.METADATA),
        ("fd00:ec2::254", Kind.METADATA),
        ("fe80::a9fe:a9fe%eth0", Kind.METADATA),
        ("::ffff:169.254.169.254", Kind.METADATA),
        ("64:ff9b::a9fe:a9fe", Kind.METADATA),
        ("2002:a9fe:a9fe::", Kind.METADATA),
        ("::ffff:127.0.0.1", Kind.LOOPBACK),
        ("224.0.0.1", Kind.UNUSABLE),
        ("ff02::1", Kind.UNUSABLE),
        ("240.0.0.1", Kind.UNUSABLE),
        ("192.0.2.1", Kind.PRIVATE),
        ("fec0::1", Kind.PRIVATE),
        ("feff:ffff::1", Kind.PRIVATE),
        ("192.0.0.192", Kind.METADATA),
        ("192.0.0.9", Kind.PRIVATE),
        ("::ffff:192.0.0.192", Kind.METADATA),
        ("64:ff9b::c000:c0", Kind.METADATA),
        ("64:ff9b:1::7f00:1", Kind.LOOPBACK),
        ("64:ff9b:1:abcd::a9fe:a9fe", Kind.METADATA),
        ("64:ff9b:1:abcd::a01:203", Kind.PRIVATE),
        ("64:ff9b:1:abcd::808:808", Kind.GLOBAL),
        # The same metadata service behind a prefix of 48, 56 and 64 bits, whatever stands behind it.
        ("64:ff9b:1:a9fe:a9:fe00::", Kind.METADATA),
        ("64:ff9b:1:ca9:fe:a9fe::", Kind.METADATA),
        ("64:ff9b:1:abcd:a9:fea9:fe00:0", Kind.METADATA),
        ("64:ff9b:1:a9fe:a9:fe00:808:808", Kind.METADATA),
        ("64:ff9b:1::", Kind.PRIVATE),
        ("64:ff9b:2::808:808", Kind.UNUSABLE),
        ("2001:0:a9fe:a9fe::1", Kind.PRIVATE),
        ("::127.0.0.1", Kind.UNUSABLE),
        ("::ffff:0:127.0.0.1", Kind.UNUSABLE),
        ("3fff::1", Kind.PRIVATE),
        ("fd00:ec2::23", Kind.METADATA),
        ("2852039166", Kind.METADATA),
        ("0251.254.0xa9fe", Kind.METADATA),
    ],
)
def test_kinds(address: str, kind: Kind) -> None:
    assert kind_of(address) is kind


@given(st.ip_addresses(v=4))
def test_an_address_within_an_address_is_of_the_same_kind(address: ipaddress.IPv4Address) -> None:
    assert kind_of(f"::ffff:{address}") is kind_of(str(address))
    assert kind_of(str(ipaddress.IPv6Address((0x64FF9B << 96) | int(address)))) is kind_of(str(address))
    # Of a translation within one network only where the address cannot be read in another way (RFC 6052, 2.2).
    local = kind_of(str(ipaddress.IPv6Address((0x64FF9B0001 << 80) | int(address))))
    assert local is (kind_of(str(address)) if address.packed[0] else Kind.PRIVATE)


def test_nothing_but_its_like_reaches_what_is_not_global() -> None:
    for own, reach in REACH.items():
        assert Kind.GLOBAL in reach
        assert Kind.METADATA not in reach
        assert Kind.UNUSABLE not in reach
        assert (Kind.LOOPBACK in reach) == (own is Kind.LOOPBACK)
        assert (Kind.LINK_LOCAL in reach) == (own is Kind.LINK_LOCAL)
    assert REACH[Kind.GLOBAL] == {Kind.GLOBAL}


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("[::1]", "::1"),
        ("::1", "::1"),
        ("localhost", None),
        ("127.1", "127.0.0.1"),
        ("0x7f000001", "127.0.0.1"),
        ("127.0.0.1.", "127.0.0.1"),
        ("::0001%eth0", "::1%eth0"),
        ("256.1", None),
        ("1.2.3.4.5", None),
        ("", None),
    ],
)
def test_literals(host: str, expected: str | None) -> None:
    assert literal(host) == expected


def test_a_lookup_that_hangs_ends_at_the_deadline_and_holds_few_threads() -> None:
    release = threading.Event()

    def hangs(host: str, port: int) -> list[Endpoint]:
        release.wait(60)
        return []

    resolver = Resolver(hangs)
    before = threading.active_count()
    begin = time.monotonic()
    for _ in range(3):
        with pytest.raises(TimeoutError):
            resolver.resolve("registry.example", 443, Deadline(0.05))
    assert time.monotonic() - begin < 30, "each lookup takes 60 s"
    assert threading.active_count() <= before + 3
    release.set()


def test_a_resolver_that_is_dead_is_not_asked_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slsa_verifier_plugin.network.waits.MAX_LOOKUPS", 2)
    release = threading.Event()
    asked = []

    def hangs(host: str, port: int) -> list[Endpoint]:
        asked.append(host)
        release.wait(10)
        return []

    resolver = Resolver(hangs)
    for name in ("dead.example", "dead.example", "other.example", "third.example", "dead.example"):
        with pytest.raises(TimeoutError):
            resolver.resolve(name, 443, Deadline(0.02))
    assert asked == ["dead.example", "other.example"], "one lookup a name, and no more than there may be"
    release.set()


def test_a_name_that_is_waited_for_leaves_lookups_for_the_others() -> None:
    release = threading.Event()

    def lookup(host: str, port: int) -> list[Endpoint]:
        if host == "dead.example":
            release.wait(30)
        return [endpoint("127.0.0.1", port)]

    resolver = Resolver(lookup)
    for _ in range(100):
        with pytest.raises(TimeoutError):
            resolver.resolve("dead.example", 443, Deadline(0.001))
    assert resolver.resolve("alive.example", 443, Deadline(30)) == [endpoint("127.0.0.1", 443)]
    release.set()
    assert resolver.resolve("dead.example", 443, Deadline(30)) == [endpoint("127.0.0.1", 443)]


def test_who_shares_a_lookup_shares_its_failure() -> None:
    begun, release = threading.Event(), threading.Event()

    def lookup(host: str, port: int) -> list[Endpoint]:
        begun.set()
        release.wait(30)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    resolver = Resolver(lookup)
    caught: list[socket.gaierror] = []

    def ask() -> None:
        try:
            resolver.resolve("none.example", 443, Deadline(30))
        except socket.gaierror as error:
            caught.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert begun.wait(30)
    release.set()
    for thread in threads:
        thread.join(30)
    assert [error.errno for error in caught] == [socket.EAI_NONAME] * 4
    assert len({id(error) for error in caught}) == 4


def test_a_name_that_cannot_be_written_has_no_address() -> None:
    resolver = Resolver()
    with pytest.raises(socket.gaierror):
        resolver.resolve("a" * 64 + ".example", 443, Deadline(1))


def _listening() -> tuple[socket.socket, int]:
    listener = socket.create_server(("127.0.0.1", 0))
    return listener, listener.getsockname()[1]


def _plain(family: int) -> socket.socket:
    return socket.socket(family, socket.SOCK_STREAM)


def test_the_next_address_is_tried_where_one_refuses() -> None:
    listener, port = _listening()
    with listener:
        resolver = Resolver(lambda host, number: [endpoint("127.0.0.2", 1), endpoint("127.0.0.1", port)])
        with Dialer(resolver, None, _plain).dial("registry.example", port, Deadline(2)) as sock:
            assert sock.getpeername()[0] == "127.0.0.1"


def test_every_address_must_be_allowed() -> None:
    resolver = Resolver(lambda host, number: [endpoint("127.0.0.1", number), endpoint("10.0.0.1", number)])
    dialer = Dialer(resolver, frozenset({Kind.LOOPBACK}), _plain)
    with pytest.raises(AddressRefused) as caught:
        dialer.dial("registry.example", 1, Deadline(1))
    assert caught.value.kind is Kind.PRIVATE


def test_a_name_without_addresses_is_an_error() -> None:
    with pytest.raises(OSError, match="no address"):
        Dialer(Resolver(lambda host, number: []), None, _plain).dial("registry.example", 1, Deadline(1))


@pytest.mark.parametrize(
    ("met", "answered", "reach"),
    [
        ([], ["8.8.8.8"], {Kind.GLOBAL}),
        ([], ["10.0.0.1"], {Kind.GLOBAL, Kind.PRIVATE}),
        ([], [], {Kind.GLOBAL}),
        (["10.0.0.1"], ["10.0.0.1"], {Kind.GLOBAL, Kind.PRIVATE}),
        (["10.0.0.1"], ["10.9.9.9"], {Kind.GLOBAL, Kind.PRIVATE}),
        # Whoever owns the name answers as he likes, but cannot be met where he is not.
        (["8.8.8.8"], ["10.0.0.1"], {Kind.GLOBAL}),
        (["8.8.8.8", "10.0.0.1"], ["10.0.0.1"], {Kind.GLOBAL}),
        (["8.8.8.8"], ["127.0.0.1"], {Kind.GLOBAL}),
        (["10.0.0.1"], ["127.0.0.1"], {Kind.GLOBAL, Kind.PRIVATE}),
        (["169.254.169.254"], ["10.0.0.1"], {Kind.GLOBAL}),
    ],
)
def test_a_host_may_send_to_where_it_was_met_and_is(
    met: list[str], answered: list[str], reach: set[Kind]
) -> None:
    resolver = Resolver(lambda host, number: [endpoint(address, number) for address in answered])
    for address in met:
        resolver.note("registry.example", address)
        resolver.note("another.example", "8.8.8.8")
    assert resolver.reach("registry.example", 443, Deadline(1)) == reach


def test_where_a_host_was_met_counts_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry that moves into the private network may send there, once it has not been met outside for a while."""
    resolver = Resolver(lambda host, number: [endpoint("10.0.0.1", number)])
    resolver.note("registry.example", "8.8.8.8")
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + limits.MET_SECONDS - 1)
    assert resolver.reach("registry.example", 443, Deadline(1)) == {Kind.GLOBAL}
    monkeypatch.setattr(time, "monotonic", lambda: now + limits.MET_SECONDS + 1)
    assert resolver.reach("registry.example", 443, Deadline(1)) == {Kind.GLOBAL, Kind.PRIVATE}
