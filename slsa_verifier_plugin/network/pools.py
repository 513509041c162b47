"""Keeps connections by the rules of this room: for registries, token servers, clouds and TUF alike.

Every wait ends (``sockets``), certificates and proxies are the environment's (``tls``, ``proxies``), and a host that somebody
else named is connected to only where its address may be (``addresses``).
"""

from __future__ import annotations

import http.client
import time
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

import urllib3
from urllib3.exceptions import HTTPError

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.lru import LruCache
from slsa_verifier_plugin.network import waits as limits
from slsa_verifier_plugin.network.addresses import REACH, Kind
from slsa_verifier_plugin.network.dialing import Resolver
from slsa_verifier_plugin.network.origins import origin_of
from slsa_verifier_plugin.network.sockets import timed_pools
from slsa_verifier_plugin.network.tls import TrustStore

Allowed = frozenset[Kind] | None
"""Kinds of address that may be connected to, None for all."""

GLOBAL_ONLY = REACH[Kind.GLOBAL]

FAILURES = (HTTPError, http.client.HTTPException, OSError, ValueError)
"""What urllib3, http.client, ssl and the socket raise for a peer's or the network's fault.

``ValueError`` is among them because http.client raises it for some malformed answers and URLs.
"""


class Pools:
    """Keeps connections, and where a server may send us; safe for many threads.

    Args:
        environ: proxies and places of certificates.
        trust: makes the TLS contexts; that of ``environ`` if left out.
        resolver: finds addresses.
    """

    def __init__(
        self, environ: Mapping[str, str], trust: TrustStore | None = None, resolver: Resolver | None = None
    ) -> None:
        self.environ = environ
        self._trust = trust or TrustStore(environ)
        self.resolver = resolver or Resolver()
        self._managers: LruCache[object, urllib3.PoolManager] = LruCache(limits.MAX_POOLS)
        self._reaches: LruCache[str, tuple[float, frozenset[Kind]]] = LruCache(limits.MAX_MET_HOSTS)

    def reach(self, home: str, deadline: Deadline) -> frozenset[Kind]:
        """Return the kinds of address to which the server at ``home`` may send us, from where it is itself."""
        ends, reach = self._reaches.get(home) or (0.0, GLOBAL_ONLY)
        # Kept for a while, for each redirected blob would otherwise cost a lookup of the server's own name.
        if time.monotonic() < ends:
            return reach
        # The port makes no difference to where a host is, but getaddrinfo wants one.
        parts = urlsplit(home)
        try:
            reach = self.resolver.reach(parts.hostname or "", parts.port or 443, deadline)
        except OSError:
            # Behind a proxy, perhaps, which alone knows the name: then nothing but global addresses.
            reach = GLOBAL_ONLY
        # Soon again where it is the least: the server's name may have been unknown for a moment.
        seconds = 1.0 if reach == GLOBAL_ONLY else limits.REACH_SECONDS
        self._reaches.put(home, (time.monotonic() + seconds, reach))
        return reach

    def close(self) -> None:
        """Close every connection that is not in use; new ones are opened when they are needed."""
        for manager in self._managers.values():
            manager.clear()

    def manager(self, url: str, proxy: str | None, allowed: Allowed) -> urllib3.PoolManager:
        """Return what keeps the connections to the server of ``url``.

        Args:
            url: no user information.
            proxy: the proxy's URL.
            allowed: kinds of address that may be connected to.

        Raises:
            RegistryError: the environment names certificates that cannot be used.
        """
        is_secure = urlsplit(url).scheme == "https"
        context = self._trust.context(_host_of(url)) if is_secure else None
        # By the allowed kinds: a connection that is kept to an address of another kind is never used again.
        # By the context: after a CA was renewed, connections are made anew.
        key = (origin_of(url), proxy, allowed, context)

        def made() -> urllib3.PoolManager:
            manager = self._made(proxy, context)
            # Where a proxy is, the operator says, so it may be anywhere.
            manager.pool_classes_by_scheme = timed_pools(self.resolver, None if proxy else allowed)
            return manager

        # Two threads may make one each; the first is kept, and the other's connections end with it.
        return self._managers.get_or_make(key, made)

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


def _host_of(url: str) -> str:
    # With the port, for which ``certs.d`` may have a directory of its own.
    return urlsplit(url).netloc.rpartition("@")[2]
