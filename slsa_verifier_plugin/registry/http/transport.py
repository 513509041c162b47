"""One HTTP exchange: no retry, no redirect, no authentication, but a deadline, bounds and errors of our own.

The connections are those of the ``requests`` session that oras-py's client owns, with adapters that apply the
room's own rules: time limits (``sockets``), certificates (``tls``), proxies (``proxies``)
and the addresses that may be connected to (``addresses``).
"""

from __future__ import annotations

import http.client
import logging
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import requests
import requests.adapters
import urllib3
import urllib3.exceptions

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import DeadlineError, RegistryError
from slsa_verifier_plugin.network.addresses import Kind, Resolver, check_name
from slsa_verifier_plugin.network.hosts import with_canonical_host
from slsa_verifier_plugin.network.proxies import proxy_for
from slsa_verifier_plugin.network.sockets import timed_pools, total
from slsa_verifier_plugin.network.tls import TrustStore
from slsa_verifier_plugin.registry import faults, limits

_FAILURES = (
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    OSError,
    ValueError,
)
"""What requests, urllib3, http.client, ssl and the socket raise for a peer's or the network's fault.

``ValueError`` is among them because http.client raises it for some malformed answers and URLs.
"""

_QUIET = ("urllib3.connectionpool", "urllib3.connection", "urllib3.response")
"""Loggers that write whole URLs, with the signatures of object stores, and header lines as received."""


class Reply:
    """The answer to one request; its body is read in bounded pieces, never decoded.

    Args:
        response: what ``requests`` returned, with its body unread.
        operation: what is being done, for messages.
        url: the URL that was asked.
        deadline: the end of the exchange.
    """

    def __init__(self, response: requests.Response, operation: str, url: str, deadline: Deadline) -> None:
        self._response = response
        self._operation = operation
        self.url = url
        self.status: int = response.status_code
        self._deadline = deadline

    def header(self, name: str) -> str:
        """Return a header's value, "" where there is none; several are joined with commas (RFC 9110, 5.3)."""
        return self._response.headers.get(name) or ""

    def headers(self) -> dict[str, str]:
        """Return all headers."""
        return dict(self._response.headers)

    @property
    def length(self) -> int | None:
        """Bytes that the body will have, None where the answer does not say (chunked)."""
        text = self.header("Content-Length").strip()
        if self.header("Transfer-Encoding") or not (text.isascii() and text.isdigit()):
            return None
        return int(text) if len(text) < 19 else sys.maxsize

    def chunks(self, limit: int) -> Iterator[bytes]:
        """Yield the body in pieces, at most ``limit`` bytes and one more byte, which says that there are more.

        Raises:
            RegistryError: the connection broke, or the body ended before its announced length.
            DeadlineError: out of time.
        """
        left = limit + 1
        try:
            while left > 0:
                piece = self._response.raw.read(min(limits.READ_CHUNK_BYTES, left), decode_content=False)
                if not piece:
                    return
                left -= len(piece)
                yield piece
        except _FAILURES as error:
            self.close()
            raise _worded(error, self._operation, self.url, self._deadline) from None

    def read(self, limit: int) -> bytes:
        """Return the whole body.

        Raises:
            RegistryError: as ``chunks``; reason ``LIMIT_EXCEEDED`` for a body of more than ``limit`` bytes.
            DeadlineError: out of time.
        """
        if self.length is not None and self.length > limit:
            self.close()
            raise faults.too_large(self._operation, self.length, limit)
        body = b"".join(self.chunks(limit))
        if len(body) > limit:
            self.close()
            raise faults.too_large(self._operation, None, limit)
        return body

    def error_body(self) -> bytes:
        """Return an error's body, b"" where it is too long or broken; the connection is usable again or closed."""
        try:
            return self.read(limits.MAX_ERROR_BYTES)
        except RegistryError:
            return b""

    def close(self) -> None:
        """Close the connection unless the body was read to its end, in which case it is kept."""
        self._response.close()


class Transport:
    """Sends requests for one store; safe for many threads.

    Args:
        session: oras-py's session, which is given adapters that apply the rules of this room.
        environ: proxies and places of certificates.
        trust: makes the TLS contexts.
        resolver: finds addresses.
    """

    def __init__(
        self,
        session: requests.Session,
        environ: Mapping[str, str],
        trust: TrustStore,
        resolver: Resolver | None = None,
    ) -> None:
        self._environ = environ
        self._trust = trust
        self.resolver = resolver or Resolver()
        self._adapters: dict[frozenset[Kind] | None, _Adapter] = {}
        self._lock = threading.Lock()
        session.trust_env = False  # the environment is the caller's, not this process's; no .netrc either
        for scheme in ("https://", "http://"):
            session.mount(scheme, self._adapter(None))
        for name in _QUIET:
            logging.getLogger(name).addFilter(_drop)

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        deadline: Deadline,
        operation: str,
        *,
        allowed: frozenset[Kind] | None = None,
        form: Mapping[str, str] | None = None,
        content: bytes | None = None,
    ) -> Reply:
        """Return the answer to one request, whatever its status; the body is still to be read.

        Args:
            method: GET, HEAD or POST.
            url: where to; no user information.
            headers: beside those that are always sent.
            deadline: the end of connecting, sending and receiving, the body included.
            operation: what is being done, for messages, as "fetching the manifest sha256:...".
            allowed: kinds of address that may be connected to, None for all.
            form: a body to send as a form.
            content: a body to send as it is.

        Raises:
            AddressRefused: the host has an address of another kind than ``allowed``.
            RegistryError: no answer, TLS, or an answer that is not HTTP.
            DeadlineError: out of time.
        """
        deadline.check(operation)
        proxy = proxy_for(url, self._environ)
        if proxy and allowed is not None:
            check_name(urlsplit(url).hostname or "", allowed)
            url = with_canonical_host(url)  # what was judged is what the proxy gets to read
        try:
            response = self._adapter(allowed).send(
                _prepared(method, url, headers, form or content),
                stream=True,
                timeout=total(deadline),  # type: ignore[arg-type]  # requests' types do not name urllib3's
                proxies={urlsplit(url).scheme: proxy} if proxy else None,
            )
        except _FAILURES as error:
            raise _worded(error, operation, url, deadline) from None
        return Reply(response, operation, url, deadline)

    def close(self) -> None:
        """Close every connection that is not in use; new ones are opened when they are needed."""
        with self._lock:
            adapters = list(self._adapters.values())
        for adapter in adapters:
            adapter.close()

    def _adapter(self, allowed: frozenset[Kind] | None) -> _Adapter:
        with self._lock:
            adapter = self._adapters.get(allowed)
            if adapter is None:
                adapter = self._adapters[allowed] = _Adapter(self._trust, self.resolver, allowed)
            return adapter


class _Adapter(requests.adapters.HTTPAdapter):
    """Connects by our own rules. One for each set of allowed kinds of address, so that no pooled connection to an
    address of another kind is ever reused."""

    def __init__(self, trust: TrustStore, resolver: Resolver, allowed: frozenset[Kind] | None) -> None:
        self._trust = trust
        self._direct = timed_pools(resolver, allowed)
        self._to_proxy = timed_pools(resolver, None)
        super().__init__(pool_connections=limits.MAX_HOSTS, pool_maxsize=limits.MAX_CONNECTIONS_A_HOST)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._direct

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        if proxy not in self.proxy_manager and urlsplit(proxy).scheme == "https":
            kwargs["proxy_ssl_context"] = self._trust.context(_host_of(proxy))
        manager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = self._to_proxy
        return manager

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> Any:
        host, _ = super().build_connection_pool_key_attributes(request, True, None)
        if host["scheme"] == "http":
            return host, {}
        return host, {"ssl_context": self._trust.context(_host_of(request.url or ""))}

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Leave the connection's TLS context as it is: it verifies, and holds the roots that count."""


class _DeadlineAdapter(_Adapter):
    """The same for a session that somebody else sends with: every request ends at one deadline, whatever it is sent with."""

    def __init__(self, trust: TrustStore, deadline: Deadline) -> None:
        super().__init__(trust, Resolver(), None)
        self._deadline = deadline

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        kwargs.update(timeout=total(self._deadline))
        return super().send(request, *args, **kwargs)


def session_until(deadline: Deadline, trust: TrustStore) -> requests.Session:
    """Return a session for an SDK that takes one: its requests, their answers included, end at ``deadline``."""
    session = requests.Session()
    session.trust_env = False
    for scheme in ("https://", "http://"):
        session.mount(scheme, _DeadlineAdapter(trust, deadline))
    return session


def _prepared(
    method: str, url: str, headers: Mapping[str, str], body: Mapping[str, str] | bytes | None
) -> requests.PreparedRequest:
    """Return a request as it is to be sent.

    A session would merge its own settings into it, of which there are none, in three times the time that the rest
    of the request takes.
    """
    request = requests.PreparedRequest()
    if body:
        data = body if isinstance(body, bytes) else dict(body)
        request.prepare(method=method, url=url, headers=headers, data=data)
    else:
        request.method, request.url = method, url
        request.headers = requests.structures.CaseInsensitiveDict(headers)
    return request


def _host_of(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


def _drop(record: logging.LogRecord) -> bool:
    return False


def _worded(error: Exception, operation: str, url: str, deadline: Deadline) -> RegistryError | DeadlineError:
    """Return the error to raise ``from None`` for one of ``_FAILURES``; whatever it is, once time is over it is that.

    It is returned and not raised here: raised here it would carry the library's error along, whose text has the signature in a
    redirect's URL, and a traceback would show it.
    """
    if deadline.expired():
        return deadline.error(operation)
    if isinstance(error, (requests.exceptions.InvalidURL, UnicodeError)):
        return faults.invalid_response(operation, f"{faults.redacted(url)} is not a URL that can be asked")
    if isinstance(error, requests.exceptions.InvalidHeader):
        return faults.invalid_response(
            operation, f"the headers of {faults.redacted(url)} contradict each other"
        )
    return faults.unreachable(operation, url, error)
