"""Opens HTTP exchanges by the rules of this room: for registries, token servers and TUF alike.

Every wait ends (``sockets``), certificates and proxies are the environment's (``tls``, ``proxies``), and a host that somebody
else named is connected to only where its address may be (``addresses``).
"""

from __future__ import annotations

import http.client
from collections.abc import Callable, Mapping
from typing import TypeVar
from urllib.parse import unquote, urlsplit

import urllib3
from urllib3.exceptions import HTTPError

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.lru import LruCache
from slsa_verifier_plugin.network import waits as limits
from slsa_verifier_plugin.network.addresses import REACH, AddressRefused, Kind, check_name
from slsa_verifier_plugin.network.dialing import Resolver
from slsa_verifier_plugin.network.hosts import with_canonical_host
from slsa_verifier_plugin.network.origins import origin_of
from slsa_verifier_plugin.network.proxies import proxy_for
from slsa_verifier_plugin.network.sockets import timed_pools
from slsa_verifier_plugin.network.tls import TrustStore

T = TypeVar("T")

Allowed = frozenset[Kind] | None
"""Kinds of address that may be connected to, None for all."""

GLOBAL_ONLY = REACH[Kind.GLOBAL]

FAILURES = (HTTPError, http.client.HTTPException, OSError, ValueError)
"""What urllib3, http.client, ssl and the socket raise for a peer's or the network's fault.

``ValueError`` is among them because http.client raises it for some malformed answers and URLs.
"""


class Pools:
    """Keeps connections and opens exchanges on them; safe for many threads.

    Args:
        environ: proxies and places of certificates.
        trust: makes the TLS contexts; that of ``environ`` if left out.
        resolver: finds addresses.
    """

    def __init__(
        self, environ: Mapping[str, str], trust: TrustStore | None = None, resolver: Resolver | None = None
    ) -> None:
        self._environ = environ
        self._trust = trust or TrustStore(environ)
        self.resolver = resolver or Resolver()
        self._managers: LruCache[object, urllib3.PoolManager] = LruCache(limits.MAX_POOLS)

    def open(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        timeout: urllib3.Timeout,
        body: bytes | None = None,
        allowed: Allowed = None,
    ) -> urllib3.BaseHTTPResponse:
        """Return the answer to one request, its body unread and not decoded; no redirect, no retry.

        Args:
            method: GET, HEAD, POST or PUT.
            url: where to; no user information.
            headers: beside those that HTTP itself needs.
            timeout: one limit for all of it (``sockets.total``).
            body: what is sent.
            allowed: kinds of address that may be connected to.

        Raises:
            AddressRefused: the host has an address of another kind than ``allowed``.
            RegistryError: the environment names certificates or a proxy that cannot be used.
        """
        proxy = proxy_for(url, self._environ)
        if proxy and allowed is not None:
            # The proxy looks the name up, so the dialer never sees the address that it finds.
            check_name(urlsplit(url).hostname or "", allowed)
            # What was judged is what the proxy gets to read: it might read 0x7f.1 in another way.
            url = with_canonical_host(url)
        return self._manager(url, proxy, allowed).urlopen(
            method,
            url,
            body=body,
            headers=headers,
            timeout=timeout,
            # The callers follow redirects and repeat requests: each judges every target anew, within its own limits.
            redirect=False,
            retries=False,
            # The body is the caller's to read, within its limit; it is never unpacked, which could fill the memory.
            preload_content=False,
            decode_content=False,
        )

    def close(self) -> None:
        """Close every connection that is not in use; new ones are opened when they are needed."""
        for manager in self._managers.values():
            manager.clear()

    def _manager(self, url: str, proxy: str | None, allowed: Allowed) -> urllib3.PoolManager:
        is_secure = urlsplit(url).scheme == "https"
        context = self._trust.context(_host_of(url)) if is_secure else None
        # By the allowed kinds: a connection that is kept to an address of another kind is never used again.
        # By the context: after a CA was renewed, connections are made anew.
        key = (origin_of(url), proxy, allowed, context)
        manager = self._managers.get(key)
        if manager is None:
            # Two threads may make one each; the later one is kept, and the other's connections end with it.
            manager = self._made(proxy, context)
            # Where a proxy is, the operator says, so it may be anywhere.
            manager.pool_classes_by_scheme = timed_pools(self.resolver, None if proxy else allowed)
            self._managers.put(key, manager)
        return manager

    def _made(self, proxy: str | None, context: object) -> urllib3.PoolManager:
        kept = {"maxsize": limits.MAX_CONNECTIONS_A_HOST, "ssl_context": context}
        if not proxy:
            return urllib3.PoolManager(**kept)  # type: ignore[arg-type]  # keywords of its pools
        parts = urlsplit(proxy)
        # A proxy that is spoken to over TLS has a certificate of its own, beside the server's inside the tunnel.
        own = self._trust.context(_host_of(proxy)) if parts.scheme == "https" else None
        has_login = parts.username is not None
        # ":" and "@" in a password stand percent-encoded in the URL.
        login = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}" if has_login else None
        # urllib3 leaves out the user's name and password in a proxy's URL.
        headers = urllib3.make_headers(proxy_basic_auth=login) if login else {}
        return urllib3.ProxyManager(proxy, proxy_headers=headers, proxy_ssl_context=own, **kept)  # type: ignore[arg-type]


def within_reach(url: str, home: str, send: Callable[[Allowed], T], reach: Callable[[], Allowed]) -> T:
    """Return what ``send`` returns: to the configured server anywhere, to another host only where the server could lead us.

    Args:
        url: where ``send`` sends to.
        home: the configured server.
        send: sends to addresses of the kinds that it is given.
        reach: the kinds of address to which the server may send us.

    Raises:
        AddressRefused: the host has an address of another kind.
    """
    if origin_of(url) == origin_of(home):
        # Where the operator's own server is, is the operator's business.
        return send(None)
    try:
        # Nearly every redirect leads to a public object store, so no lookup of the registry's own name is needed.
        return send(GLOBAL_ONLY)
    except AddressRefused:
        # Looked up only now: behind a proxy the server's name may be unknown here, which takes its time.
        allowed = reach()
    return send(allowed)


def reach_of(home: str, resolver: Resolver, deadline: Deadline) -> frozenset[Kind]:
    """Return the kinds of address to which the server at ``home`` may send us, from where it is itself."""
    # The port makes no difference to where a host is, but getaddrinfo wants one.
    parts = urlsplit(home)
    try:
        return resolver.reach(parts.hostname or "", parts.port or 443, deadline)
    except OSError:
        # Behind a proxy, perhaps, which alone knows the name: then nothing but global addresses.
        return GLOBAL_ONLY


def _host_of(url: str) -> str:
    # With the port, for which ``certs.d`` may have a directory of its own.
    return urlsplit(url).netloc.rpartition("@")[2]
