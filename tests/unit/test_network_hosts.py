"""Hosts in their one form: as the C library, which is asked for the right answer, and browsers read them."""

from __future__ import annotations

import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slsa_verifier_plugin.network.addresses import REACH, AddressRefused, Kind, check_name, kind_of, literal
from slsa_verifier_plugin.network.hosts import canonical_host, with_canonical_host
from slsa_verifier_plugin.network.origins import is_url, origin_of, target_of

WIDE = str.maketrans("0123456789abcdefx.", "".join(chr(ord(sign) + 0xFEE0) for sign in "0123456789abcdefx."))
ALL = frozenset(Kind)


@st.composite
def written(draw: st.DrawFn, address: ipaddress.IPv4Address) -> str:
    """Return one of the ways to write an IPv4 address: 1 to 4 parts, each in one of three bases, in ASCII or not."""
    count = draw(st.integers(1, 4))
    octets = list(address.packed)
    numbers = [*octets[: count - 1], int.from_bytes(octets[count - 1 :])]
    formats = ("{}", "0{:o}", "0x{:x}", "0X{:X}", "00{:o}", "0x0{:x}")
    text = ".".join(draw(st.sampled_from(formats)).format(number) for number in numbers)
    if draw(st.booleans()):
        text = text.lower().translate(WIDE)
    dots = draw(st.sampled_from([".", "\u3002", "\uff0e", "\uff61"]))
    return text.replace(".", dots) + draw(st.sampled_from(["", ".", "\u3002"]))


@given(st.data(), st.ip_addresses(v=4))
def test_an_address_is_judged_alike_in_every_form(
    data: st.DataObject, address: ipaddress.IPv4Address
) -> None:
    text = data.draw(written(address))
    assert canonical_host(text) == str(address)
    assert kind_of(text) is kind_of(str(address))
    for allowed in REACH.values():
        if kind_of(str(address)) in allowed:
            check_name(text, allowed)
        else:
            with pytest.raises(AddressRefused):
                check_name(text, allowed)
    assert origin_of(f"http://{text}/") == f"http://{address}:80"


@given(st.text(alphabet="0123456789abcdefxX.", max_size=16) | st.text(max_size=12))
def test_what_the_c_library_takes_for_an_address_is_that_address(text: str) -> None:
    try:
        found = socket.getaddrinfo(text, 80, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError, ValueError):
        return
    assert literal(text) is not None, "the C library connects to what is judged as a name"
    assert ipaddress.ip_address(literal(text) or "") == ipaddress.ip_address(found[0][4][0])


@given(st.text(alphabet="0123456789abcdefxX.-_:[]%/@\\ \u3002\uff11", max_size=20) | st.text(max_size=20))
def test_a_host_has_one_form_or_none(text: str) -> None:
    try:
        once = canonical_host(text)
    except ValueError:
        with pytest.raises(AddressRefused):
            check_name(text, frozenset({Kind.GLOBAL}))
        return
    assert canonical_host(once) == once
    assert once == once.lower()
    assert ":" in once or not set("/@\\ ?#%[]") & set(once)


@given(st.ip_addresses(v=4))
def test_an_address_within_another_is_judged_as_itself(address: ipaddress.IPv4Address) -> None:
    kind = kind_of(str(address))
    assert kind_of(f"[::ffff:{address}]") is kind
    assert kind_of(str(ipaddress.IPv6Address((0x64FF9B << 96) | int(address)))) is kind
    assert kind_of(str(ipaddress.IPv6Address((0x2002 << 112) | (int(address) << 80)))) is kind
    # The forms that are in no use reach nothing.
    for prefix in (0, 0xFFFF << 32, 0x20010000 << 96):
        text = str(ipaddress.IPv6Address(prefix | int(address)))
        if ipaddress.IPv6Address(text).ipv4_mapped is None:
            assert kind_of(text) is not Kind.GLOBAL


@pytest.mark.parametrize(
    ("host", "canonical"),
    [
        ("Registry.Example", "registry.example"),
        ("registry.example.", "registry.example"),
        ("1.example", "1.example"),
        ("0x.example", "0x.example"),
        ("my_host", "my_host"),
        ("b\u00fccher.example", "xn--bcher-kva.example"),
        ("[2001:DB8::0001]", "2001:db8::1"),
        ("[fe80::1%25eth0]", "fe80::1%25eth0"),
        ("0", "0.0.0.0"),
        ("0x", "0.0.0.0"),
        ("lo\u00adcalhost", "localhost"),
    ],
)
def test_forms(host: str, canonical: str) -> None:
    assert canonical_host(host) == canonical


@pytest.mark.parametrize(
    "host",
    [
        *(
            "",
            ".",
            "a..b",
            ".a",
            "a b",
            "a%2eb",
            "a/b",
            "a@b",
            "a\\b",
            "a:80",
            "[127.0.0.1]",
            "[v1.x]",
            "[::1",
            "::g",
        ),
        *(
            "1.2.3.4.5",
            "256.1.1.1",
            "1.16777216",
            "1.2.3.08",
            "4294967296",
            "0x100000000",
            "a.1",
            "a.0x1",
            "1.2.3.4.5.",
        ),
        *("a" * 64, "a." * 127 + "b", "\u2024", "evil\uff20x", "evil\uff0fx", "\x00", "1\x00"),
    ],
)
def test_what_is_no_host_or_not_for_everybody_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        canonical_host(host)


@pytest.mark.parametrize(
    "host",
    ["a..b", "a%2eb", "u@a", "a\\b", "256.1", "a.1", "1.2.3.4.5", "[::g]", "a b", "\uff11.example"],
)
def test_nobody_is_sent_there(host: str) -> None:
    assert target_of("https://registry.example/", f"https://{host}/") is None


@pytest.mark.parametrize("host", ["a", "a.example.", "127.1", "[::1]", "1.example", "A.EXAMPLE:8443"])
def test_where_one_is_sent_is_judged_afterwards(host: str) -> None:
    assert target_of("https://registry.example/", f"https://{host}/x") == f"https://{host}/x"


@pytest.mark.parametrize(
    "name",
    [
        "localhost",
        "LOCALHOST.",
        "a.localhost",
        "localhost.localdomain",
        "ip6-loopback",
        "metadata",
        "Metadata.goog.",
    ],
)
def test_names_that_say_where_they_lead(name: str) -> None:
    with pytest.raises(AddressRefused):
        check_name(name, frozenset({Kind.GLOBAL, Kind.PRIVATE}))


@pytest.mark.parametrize(
    "name", ["localhost.example", "metadata.example", "notlocalhost", "xmetadata.google.internal"]
)
def test_names_like_them_lead_anywhere(name: str) -> None:
    check_name(name, frozenset({Kind.GLOBAL}))  # raises nothing
    with pytest.raises(AddressRefused):
        check_name("localhost", frozenset({Kind.GLOBAL}))


@pytest.mark.parametrize(
    ("url", "canonical"),
    [
        ("http://134744072/x?y=1", "http://8.8.8.8/x?y=1"),
        ("http://8.8.2056:81/x", "http://8.8.8.8:81/x"),
        ("http://8.8.8.8:81/x", "http://8.8.8.8:81/x"),
        ("http://CDN.example./x", "http://CDN.example./x"),
        ("http://[2606:4700::1]:81/x", "http://[2606:4700::1]:81/x"),
    ],
)
def test_what_was_judged_is_what_is_sent(url: str, canonical: str) -> None:
    assert with_canonical_host(url) == canonical


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://registry.example/token?service=a", True),
        ("http://127.0.0.1:5000", True),
        ("HTTPS://Registry.Example", True),
        ("https://[::1]:443/", True),
        ("", False),
        ("registry.example", False),
        ("/token", False),
        ("//registry.example", False),
        ("ftp://registry.example", False),
        ("https://", False),
        ("https://[", False),
        ("https://a:b/", False),
        ("https://a:0/", False),
        ("https://user:password@registry.example", False),
        ("https://registry.example/a b", False),
        ("https://registry.example/a\n", False),
        ("https://registry.example/\u00e4", False),
        ("https://256.1.1.1/", False),
    ],
)
def test_urls_that_can_be_asked(text: str, expected: bool) -> None:
    assert is_url(text) is expected
