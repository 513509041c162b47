"""One HTTP exchange: no retry, no redirect, no authentication, but a deadline, bounds and errors of our own.

Connections are made by adapters of ``requests`` that apply the rules of ``network/``: time limits (``sockets``),
certificates (``tls``), proxies (``proxies``) and the addresses that may be connected to (``addresses``).
"""

from __future__ import annotations

import http.client
import logging
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
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


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One HTTP request; its headers and body, which may hold secrets, stay out of ``repr``.

    ``operation`` says what is being done, for messages: "fetching the manifest sha256:...". An ``Authorization`` among the
    headers is for the origin of ``url`` alone. A mapping as ``body`` is sent as a form, bytes as they are.
    """

    operation: str
    url: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: Mapping[str, str] | bytes | None = field(default=None, repr=False)


class Reply:
    """The answer to one request; its body is read in bounded pieces, never decoded.

    Args:
        response: what ``requests`` returned, with its body unread.
        request: what it answers.
        deadline: the end of the exchange.
    """

    def __init__(self, response: requests.Response, request: HttpRequest, deadline: Deadline) -> None:
        self._response = response
        self._request = request
        self._deadline = deadline
        self.url = request.url
        self.status: int = response.status_code

    def header(self, name: str) -> str:
        """Return a header's value, "" where there is none; several are joined with commas (RFC 9110, 5.3)."""
        return self._response.headers.get(name) or ""

    def headers(self) -> dict[str, str]:
        """Return all headers."""
        return dict(self._response.headers)

    @property
    def media_type(self) -> str:
        """The media type in the ``Content-Type``, in lower case and without its parameters."""
        return self.header("Content-Type").partition(";")[0].strip().lower()

    @property
    def length(self) -> int | None:
        """Bytes that the body will have, None where the answer does not say (chunked)."""
        if self._request.method == "HEAD":
            # Its Content-Length is that of the body which a GET would have (RFC 9110, 9.3.2).
            return 0
        text = self.header("Content-Length").strip()
        # With Transfer-Encoding a Content-Length says nothing (RFC 9112, 6.3).
        if self.header("Transfer-Encoding") or not (text.isascii() and text.isdigit()):
            return None
        # int() refuses more than 4,300 digits; this many are over every limit anyway.
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
                # Not decoded: a compressed body of a few bytes could fill the memory.
                piece = self._response.raw.read(min(limits.READ_CHUNK_BYTES, left), decode_content=False)
                if not piece:
                    return
                left -= len(piece)
                yield piece
        except _FAILURES as error:
            # What is left of the body would be taken for the next answer's head.
            self.close()
            raise _worded(error, self._request, self._deadline) from None

    def read(self, limit: int) -> bytes:
        """Return the whole body.

        Raises:
            RegistryError: as ``chunks``; reason ``LIMIT_EXCEEDED`` for a body of more than ``limit`` bytes.
            DeadlineError: out of time.
        """
        size = self.length
        if size is None or size <= limit:
            body = b"".join(self.chunks(limit))
            if len(body) <= limit:
                return body
        self.close()
        raise faults.too_large(self._request.operation, size, limit)

    def error_body(self) -> bytes:
        """Return an error's body, b"" where it is too long or broken; the connection is usable again or closed."""
        try:
            return self.read(limits.MAX_ERROR_BYTES)
        except RegistryError:
            return b""

    def refusal(self) -> faults.StatusError:
        """Return the error for this answer's status, and read its body for the error codes in it."""
        codes = faults.error_codes(self.error_body())
        error = faults.status_error(self._request.operation, self.url, self.status, codes)
        error.retry_after = self.header("Retry-After")
        return error

    def expect(self, status: int = 200) -> None:
        """Raise the ``RegistryError`` for an answer of another status."""
        if self.status != status:
            raise self.refusal()

    def close(self) -> None:
        """Close the connection unless the body was read to its end, in which case it is kept."""
        self._response.close()


class Transport:
    """Sends requests for one store; safe for many threads.

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
        self._adapters: dict[frozenset[Kind] | None, _Adapter] = {}
        self._lock = threading.Lock()
        for name in _QUIET:
            logging.getLogger(name).addFilter(_drop)

    def send(self, request: HttpRequest, deadline: Deadline, allowed: frozenset[Kind] | None = None) -> Reply:
        """Return the answer to one request, whatever its status; the body is still to be read.

        Args:
            request: what to send; its URL holds no user information.
            deadline: the end of connecting, sending and receiving, the body included.
            allowed: kinds of address that may be connected to, None for all.

        Raises:
            AddressRefused: the host has an address of another kind than ``allowed``.
            RegistryError: no answer, TLS, or an answer that is not HTTP.
            DeadlineError: out of time.
        """
        deadline.check(request.operation)
        proxy = proxy_for(request.url, self._environ)
        if proxy and allowed is not None:
            # The proxy looks the name up, so the dialer never sees the address that it finds.
            check_name(urlsplit(request.url).hostname or "", allowed)
            # What was judged is what the proxy gets to read: it might read 0x7f.1 in another way.
            request = replace(request, url=with_canonical_host(request.url))
        try:
            response = self._adapter(allowed).send(
                _prepared(request),
                stream=True,
                timeout=total(deadline),
                proxies={urlsplit(request.url).scheme: proxy} if proxy else None,
            )
        except _FAILURES as error:
            raise _worded(error, request, deadline) from None
        return Reply(response, request, deadline)

    def close(self) -> None:
        """Close every connection that is not in use; new ones are opened when they are needed."""
        with self._lock:
            adapters = list(self._adapters.values())
        for adapter in adapters:
            adapter.close()

    def _adapter(self, allowed: frozenset[Kind] | None) -> _Adapter:
        # One for each set of allowed kinds: a connection that is kept to an address of another kind is never used again.
        with self._lock:
            if allowed not in self._adapters:
                self._adapters[allowed] = _Adapter(self._trust, self.resolver, allowed)
            return self._adapters[allowed]


class _Adapter(requests.adapters.HTTPAdapter):
    """Gives requests' connection pools our connections (``network/sockets``) and our TLS contexts, and does nothing else.

    ``requests`` asks for a pool in one of two ways: for a host (``build_connection_pool_key_attributes``, then the pool
    manager), or for a proxy (``proxy_manager_for``). Each way is overridden once.

    Args:
        trust: makes the TLS contexts.
        resolver: finds addresses.
        allowed: kinds of address that may be connected to, None for all.
        deadline: the end of every request, whatever limit it is sent with; None where the sender sets it.
    """

    def __init__(
        self,
        trust: TrustStore,
        resolver: Resolver,
        allowed: frozenset[Kind] | None = None,
        deadline: Deadline | None = None,
    ) -> None:
        self._trust = trust
        self._deadline = deadline
        self._direct = timed_pools(resolver, allowed)
        # Where a proxy is, the operator says, so it may be anywhere.
        self._to_proxy = timed_pools(resolver, None)
        super().__init__(pool_connections=limits.MAX_HOSTS, pool_maxsize=limits.MAX_CONNECTIONS_A_HOST)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._direct

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        # A proxy that is spoken to over TLS has a certificate of its own, beside the registry's inside the tunnel.
        if proxy not in self.proxy_manager and urlsplit(proxy).scheme == "https":
            kwargs["proxy_ssl_context"] = self._trust.context(_host_of(proxy))
        manager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = self._to_proxy
        return manager

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> Any:
        host, _ = super().build_connection_pool_key_attributes(request, True, None)
        # The context is part of the pool's key: a renewed CA makes new connections.
        secure = host["scheme"] != "http"
        return host, {"ssl_context": self._trust.context(_host_of(request.url or ""))} if secure else {}

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Leave the connection's TLS context as it is: it verifies, and holds the roots that count."""

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        if self._deadline is not None:
            # An SDK's own limits are for the silence between two bytes: a peer that trickles would hold it for ever.
            kwargs.update(timeout=total(self._deadline))
        return super().send(request, *args, **kwargs)


def session_until(deadline: Deadline, trust: TrustStore) -> requests.Session:
    """Return a session for an SDK that takes one: its requests, their answers included, end at ``deadline``."""
    session = requests.Session()
    session.trust_env = False  # the environment is the caller's, not this process's; no .netrc either
    for scheme in ("https://", "http://"):
        session.mount(scheme, _Adapter(trust, Resolver(), deadline=deadline))
    return session


def _prepared(request: HttpRequest) -> requests.PreparedRequest:
    """Return a request as ``requests``' adapters take it."""
    prepared = requests.PreparedRequest()
    if request.body:
        data = request.body if isinstance(request.body, bytes) else dict(request.body)
        prepared.prepare(method=request.method, url=request.url, headers=request.headers, data=data)
    else:
        # A session would merge its own settings in, of which there are none, in three times the rest's time.
        prepared.method, prepared.url = request.method, request.url
        prepared.headers = requests.structures.CaseInsensitiveDict(request.headers)
        if request.method in ("POST", "PUT"):
            # Without a length the server waits for a body (RFC 9110, 8.6).
            prepared.headers["Content-Length"] = "0"
    return prepared


def _host_of(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


def _drop(record: logging.LogRecord) -> bool:
    return False


def _worded(error: Exception, request: HttpRequest, deadline: Deadline) -> RegistryError | DeadlineError:
    """Return the error to raise ``from None`` for one of ``_FAILURES``.

    It is returned and not raised here: raised here it would carry the library's error along, whose text has the signature in a
    redirect's URL, and a traceback would show it.
    """
    if deadline.expired():
        # Whatever else it looks like: sockets are closed, and answers broken off, because time is over.
        return deadline.error(request.operation)
    host = faults.redacted(request.url)
    if isinstance(error, (requests.exceptions.InvalidURL, UnicodeError)):
        return faults.invalid_response(request.operation, f"{host} is not a URL that can be asked")
    if isinstance(error, requests.exceptions.InvalidHeader):
        return faults.invalid_response(request.operation, f"the headers of {host} contradict each other")
    return faults.unreachable(request.operation, request.url, error)
