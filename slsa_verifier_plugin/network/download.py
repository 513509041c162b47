"""Files of a repository on a foreign server (TUF), with one limit for the time of all of them.

The rules are those for registries: every wait ends (``sockets``), certificates and proxies are the environment's, and a
redirect leads only where the server that is configured could reach us from (``addresses.REACH``).
"""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import unquote, urlsplit

import urllib3
from urllib3.exceptions import HTTPError

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.network import waits as limits
from slsa_verifier_plugin.network.addresses import REACH, AddressRefused, Kind, Resolver, check_name
from slsa_verifier_plugin.network.failures import failure_of
from slsa_verifier_plugin.network.hosts import with_canonical_host
from slsa_verifier_plugin.network.origins import REDIRECTS, origin_of, target_of
from slsa_verifier_plugin.network.proxies import proxy_for
from slsa_verifier_plugin.network.sockets import timed_pools, total
from slsa_verifier_plugin.network.tls import TrustStore

_FAILURES = (HTTPError, http.client.HTTPException, OSError, ValueError)
"""What urllib3, http.client, ssl and the socket raise for a peer's or the network's fault."""

Allowed = frozenset[Kind] | None


class NotDownloaded(Exception):  # noqa: N818  (whoever asked words the error)
    """A file did not arrive; the text says why, for people."""


class Download:
    """One answer; its body is read once.

    Args:
        answer: urllib3's, its body unread.
        worded: makes the error for what breaks the body off.
    """

    def __init__(
        self, answer: urllib3.BaseHTTPResponse, worded: Callable[[Exception], NotDownloaded]
    ) -> None:
        self._answer = answer
        self._worded = worded
        self.status = answer.status

    def chunks(self, size: int) -> Iterator[bytes]:
        """Yield the body in pieces of at most ``size`` bytes.

        Raises:
            NotDownloaded: it broke off, or out of time.
        """
        try:
            # Not ``stream``, which waits until a whole piece has come together.
            while piece := self._answer.read1(size):
                yield piece
        except _FAILURES as error:
            raise self._worded(error) from None
        finally:
            self.close()

    def close(self) -> None:
        """Close the connection unless the body was read to its end."""
        self._answer.close()


class Downloader:
    """Fetches files. For one thread, and for one task.

    Args:
        environ: proxies and places of certificates.
        deadline: the end of everything that is fetched with it.
        agent: the ``User-Agent``.
        resolver: finds addresses.
    """

    def __init__(
        self, environ: Mapping[str, str], deadline: Deadline, agent: str, resolver: Resolver | None = None
    ) -> None:
        self._environ = environ
        self._deadline = deadline
        self._headers = {"User-Agent": agent, "Accept-Encoding": "identity"}
        self._resolver = resolver or Resolver()
        self._trust = TrustStore(environ)
        self._managers: dict[tuple[str, str | None, Allowed], urllib3.PoolManager] = {}

    def get(self, url: str) -> Download:
        """Return the answer at the end of the redirects, whatever its status; its body is still to be read.

        Raises:
            NotDownloaded: no answer, a redirect that is not followed, or out of time.
            RegistryError: the environment names certificates or a proxy that cannot be used.
        """
        home = url
        for _ in range(limits.MAX_REDIRECTS + 1):
            answer = self._send(url, home)
            location = answer.headers.get("Location")
            if answer.status not in REDIRECTS or not location:
                return Download(answer, self._worded)
            answer.close()
            target = target_of(url, location)
            if target is None or (urlsplit(url).scheme == "https" and urlsplit(target).scheme == "http"):
                raise NotDownloaded("it redirects to what is no URL, or from HTTPS to plain HTTP")
            url = target
        raise NotDownloaded(f"it redirects more than {limits.MAX_REDIRECTS} times")

    def _send(self, url: str, home: str) -> urllib3.BaseHTTPResponse:
        """Send to the configured server anywhere, to another only where its address allows it."""
        if origin_of(url) == origin_of(home):
            return self._ask(url, None)
        try:
            return self._ask(url, self._reach_of(home))
        except AddressRefused as refused:
            raise NotDownloaded(f"it redirects to a {refused.kind} address, and is at none itself") from None

    def _ask(self, url: str, allowed: Allowed) -> urllib3.BaseHTTPResponse:
        self._check()
        if allowed is not None:
            url = with_canonical_host(url)  # what is judged is what a proxy gets to read
        manager = self._manager(url, allowed)
        try:
            return manager.urlopen(
                "GET",
                url,
                redirect=False,
                retries=False,
                headers=self._headers,
                preload_content=False,
                decode_content=False,
                timeout=total(self._deadline, limits.REQUEST_SECONDS),
            )
        except _FAILURES as error:
            raise self._worded(error) from None

    def _manager(self, url: str, allowed: Allowed) -> urllib3.PoolManager:
        proxy = proxy_for(url, self._environ)
        if proxy and allowed is not None:
            check_name(urlsplit(url).hostname or "", allowed)
        key = (origin_of(url), proxy, allowed)
        manager = self._managers.get(key)
        if manager is None:
            secure = urlsplit(url).scheme == "https"
            context = self._trust.context(_host_of(url)) if secure else None
            if proxy:
                own = self._trust.context(_host_of(proxy)) if urlsplit(proxy).scheme == "https" else None
                manager = urllib3.ProxyManager(
                    proxy, proxy_headers=_password_of(proxy), ssl_context=context, proxy_ssl_context=own
                )
            else:
                manager = urllib3.PoolManager(ssl_context=context)
            manager.pool_classes_by_scheme = timed_pools(self._resolver, None if proxy else allowed)
            self._managers[key] = manager
        return manager

    def _reach_of(self, home: str) -> frozenset[Kind]:
        """Return the kinds of address to which the configured server may send us, from where it is itself."""
        parts = urlsplit(home)
        try:
            return self._resolver.reach(parts.hostname or "", parts.port or 443, self._deadline)
        except OSError:
            return REACH[Kind.GLOBAL]  # behind a proxy, perhaps: then nothing but global addresses

    def _worded(self, error: Exception) -> NotDownloaded:
        self._check()
        return NotDownloaded(failure_of(error).sentence)

    def _check(self) -> None:
        if self._deadline.remaining() <= 0:
            raise NotDownloaded(
                f"not complete after {self._deadline.seconds:g} s; try again, or look at the network or proxy between"
            )


def _password_of(proxy: str) -> dict[str, str]:
    """Return the header with the user's name and password in a proxy's URL, which urllib3 would leave out."""
    parts = urlsplit(proxy)
    if parts.username is None:
        return {}
    return urllib3.make_headers(proxy_basic_auth=f"{unquote(parts.username)}:{unquote(parts.password or '')}")


def _host_of(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]
