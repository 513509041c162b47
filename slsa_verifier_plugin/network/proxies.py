"""Proxies from the environment, as Go's ``net/http`` reads them (``golang.org/x/net/http/httpproxy``).

``HTTP_PROXY``, ``HTTPS_PROXY`` and ``NO_PROXY``, or their lower-case forms; ``localhost`` and loopback addresses are
never reached through a proxy. ``ALL_PROXY`` is read as curl reads it, where the other two say nothing.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

from slsa_verifier_plugin.errors import Reason, RegistryError
from slsa_verifier_plugin.network.addresses import literal

# NO_PROXY by hand: requests lets "example" match "notexample", and knows neither "*.example" nor IPv6 ranges. Ratify, which calls
# the plugin in the same environment, is a Go program: what it reaches directly must be reached directly here.
_PORTS = {"http": 80, "https": 443}


def proxy_for(url: str, environ: Mapping[str, str]) -> str | None:
    """Return the proxy's URL for a request to ``url``, or None for a direct connection.

    Raises:
        RegistryError: the environment names a proxy that cannot be used; its URL, which may hold a password, is
            not shown.
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    name = f"{parts.scheme}_proxy"
    # By the scheme of what is asked for, not of the proxy (Go: ``HTTPS_PROXY`` is for https URLs).
    # ALL_PROXY as curl has it; Go itself knows none.
    value = _get(environ, name) or _get(environ, "all_proxy")
    if not value or bypassed(host, parts.port or _PORTS[parts.scheme], _get(environ, "no_proxy")):
        return None
    # Go takes a value without a scheme for an HTTP proxy.
    proxy = value if "://" in value else f"http://{value}"
    try:
        proxy_parts = urlsplit(proxy)
        usable = proxy_parts.scheme in _PORTS and bool(proxy_parts.hostname) and proxy_parts.port != 0
    except ValueError:
        # urlsplit raises for ports and brackets that are none.
        usable = False
    # SOCKS proxies are refused as well (docs/registries.md, "What is sent where").
    if not usable:
        raise RegistryError(
            f"the proxy in {name.upper()} (or ALL_PROXY) is not an http:// or https:// URL with a host; "
            "set it right, or name the registry in NO_PROXY",
            reason=Reason.REGISTRY_UNREACHABLE,
        )
    return proxy


def bypassed(host: str, port: int, no_proxy: str) -> bool:
    """Return True if ``host`` is reached directly: loopback, or matched by ``no_proxy``.

    ``no_proxy`` is a comma-separated list of host names (which match their subdomains as well), ``.suffix``,
    ``*.suffix``, IP addresses, CIDR ranges, each of the names with an optional ``:port``, or ``*``.
    """
    host = host.lower().rstrip(".")
    text = literal(host)
    # "::ffff:10.0.0.1" must match an entry for 10.0.0.1: the kernel connects to that.
    address = _unmapped(text) if text else None
    # Go never sends loopback to a proxy, whatever NO_PROXY says.
    if host == "localhost" or (address is not None and address.is_loopback):
        return True
    entries = (item.strip().lower() for item in no_proxy.split(","))
    return any(_matches(entry, host, address, port) for entry in entries if entry)


def _unmapped(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return the address in ``text``, an IPv4 one also where it is written as an IPv6 one (``::ffff:127.0.0.1``)."""
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _matches(
    entry: str, host: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address | None, port: int
) -> bool:
    if entry == "*":
        return True
    # A range matches addresses only: Go looks no name up for it.
    if "/" in entry:
        try:
            # "10.1.2.3/8" is the network 10.0.0.0/8 to Go as well.
            return address is not None and address in ipaddress.ip_network(entry, strict=False)
        except ValueError:
            # An entry that is no range matches nothing, and takes none of the other entries away.
            return False
    # "host:port" matches that port alone (httpproxy).
    name, wanted_port = entry, ""
    # "fd00::1" has colons and no port.
    if literal(entry) is None:
        head, colon, tail = entry.rpartition(":")
        if colon and tail.isdigit():
            name, wanted_port = head, tail
    if wanted_port and int(wanted_port) != port:
        return False
    bare = literal(name)
    if bare is not None:
        # Compared as addresses: "::1" and "0:0:0:0:0:0:0:1" are one.
        return address is not None and _unmapped(bare) == address
    suffix = name.removeprefix("*")
    # ".example" matches below example, not example itself (httpproxy).
    if suffix.startswith("."):
        return host.endswith(suffix)
    # A bare name matches its subdomains, too, but not "notexample" for "example" (httpproxy).
    return host == suffix or host.endswith(f".{suffix}")


def _get(environ: Mapping[str, str], name: str) -> str:
    # Upper case first, as in Go; curl reads the lower-case form first, where the two seldom differ.
    return environ.get(name.upper()) or environ.get(name) or ""
