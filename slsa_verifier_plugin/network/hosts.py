"""The one form of a host in which it is judged: what the C library, a browser or a proxy would make of it.

A guard that reads ``2852039166``, ``0xa9fea9fe``, ``127.1`` or a number in full-width digits as a name lets through what
connects to 169.254.169.254 and 127.0.0.1. So every host (a registry's realm or redirect, a TUF mirror's, an entry of
``NO_PROXY``) is brought into this form before anybody looks at it, and a host that has no such form is refused.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from urllib.parse import urlsplit

MAX_HOST_CHARACTERS = 253
"""Characters of a host name without the trailing dot (RFC 1035, 2.3.4)."""

_NAME = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


def canonical_host(host: str) -> str:
    """Return a host in its one form: lower case, ASCII, no trailing dot, an IP address as ``ipaddress`` writes it.

    Numbers are read as ``inet_aton`` and the URL standard (WHATWG, "IPv4 parser") read them: decimal, octal, hexadecimal, one
    to four parts. Other scripts' digits and dots are mapped as IDNA maps them (RFC 3490), which is what ``getaddrinfo`` does.

    Args:
        host: as in a URL, an IPv6 address with or without brackets, and with or without a zone, which is kept.

    Raises:
        ValueError: this can be no host, or only some programs take it for one.
    """
    # Kept by their text, so a huge one must not be kept.
    return _known(host) if len(host) <= MAX_HOST_CHARACTERS else _canonical(host)


def _canonical(host: str) -> str:
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    # Only IPv6 addresses have colons; a port is not part of a host.
    if ":" in bare:
        address, percent, zone = bare.partition("%")
        # A zone is kept (RFC 6874): without it a link-local address cannot be connected to.
        return f"{ipaddress.IPv6Address(address)}{percent}{zone}"
    # Brackets are for IPv6 alone (RFC 3986, 3.2.2).
    if bare is not host or len(bare) > MAX_HOST_CHARACTERS + 1:
        raise ValueError("brackets are for IPv6 addresses, and a host has at most 253 characters")
    # "①②⑦" is 127 to getaddrinfo, which maps it by IDNA.
    name = bare if bare.isascii() else bare.encode("idna").decode("ascii")
    # "a.example." is "a.example" without the resolver's search list; certificates and NO_PROXY know one form.
    name = name.lower().removesuffix(".")
    if not _NAME.fullmatch(name):
        raise ValueError("not the name of a host")
    parts = name.split(".")
    # No top-level domain is a number: what ends with one is an address, or nothing (WHATWG, "ends in a number").
    return str(_ipv4(parts)) if _NUMBER.fullmatch(parts[-1]) else name


# One request asks for the form of the same two or three hosts a dozen times.
_known = lru_cache(maxsize=256)(_canonical)


def _ipv4(parts: list[str]) -> ipaddress.IPv4Address:
    """Return the address in one to four numbers, the last of which fills what the others leave."""
    *first, last = map(_number, parts)
    # What inet_aton does not take, no connection goes to.
    if len(first) > 3 or any(number > 255 for number in first) or last >= 256 ** (4 - len(first)):
        raise ValueError("not an IPv4 address")
    # inet_aton: in "127.1" the last number fills the three bytes that are left.
    value = last
    for index, number in enumerate(first):
        value += number << (8 * (3 - index))
    return ipaddress.IPv4Address(value)


def _number(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise ValueError("not a number")
    # "0x" alone is 0 to browsers.
    if text.startswith("0x"):
        return int(text[2:] or "0", 16)
    # A leading zero means octal: 010.0.0.1 is 8.0.0.1.
    return int(text, 8 if len(text) > 1 and text.startswith("0") else 10)


def with_canonical_host(url: str) -> str:
    """Return ``url`` with its host in its one form where that is an IPv4 address, so that nobody reads it in another way.

    Raises:
        ValueError: as ``canonical_host``.
    """
    parts = urlsplit(url)
    host = canonical_host(parts.hostname or "")
    # In its one form only an IPv4 address is digits and dots.
    if not re.fullmatch(r"[0-9.]+", host) or parts.netloc.partition(":")[0] == host:
        return url
    # User information is not kept: URLs that have any were refused before.
    port = "" if parts.port is None else f":{parts.port}"
    return parts._replace(netloc=f"{host}{port}").geturl()
