"""One HTTP exchange: no retry, no redirect, no authentication, but a deadline, bounds and errors of our own.

Connections are those of ``network/pools``, for reading and for writing alike.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

import urllib3
from urllib3.exceptions import InvalidHeader, LocationValueError

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import DeadlineError, Reason, RegistryError
from slsa_verifier_plugin.network import faults
from slsa_verifier_plugin.network import waits as limits
from slsa_verifier_plugin.network.addresses import AddressRefused, check_name
from slsa_verifier_plugin.network.hosts import with_canonical_host
from slsa_verifier_plugin.network.origins import origin_of
from slsa_verifier_plugin.network.pools import FAILURES, GLOBAL_ONLY, Allowed, Pools
from slsa_verifier_plugin.network.proxies import proxy_for

AGENT = "slsa-verifier-plugin"
"""The ``User-Agent`` of requests that name no other."""

_QUIET = ("urllib3.connectionpool", "urllib3.connection", "urllib3.response")
"""Loggers that write whole URLs, with the signatures of object stores, and header lines as received."""

for _name in _QUIET:
    logging.getLogger(_name).addFilter(lambda _: False)


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
        response: urllib3's, with its body unread.
        request: what it answers.
        deadline: the end of the exchange.
    """

    def __init__(self, response: urllib3.BaseHTTPResponse, request: HttpRequest, deadline: Deadline) -> None:
        self._response = response
        self._request = request
        self._deadline = deadline
        self.url = request.url
        self.status = response.status

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
        # Two values arrive joined with a comma, and are no number: urllib3 has refused those that differ.
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
                piece = self._response.read(min(limits.READ_CHUNK_BYTES, left), decode_content=False)
                if not piece:
                    return
                left -= len(piece)
                yield piece
        except FAILURES as error:
            # What is left of the body would be taken for the next answer's head.
            self.close()
            raise _worded(error, self._request, self._deadline) from None

    def read(self, limit: int) -> bytes:
        """Return the whole body.

        Raises:
            RegistryError: as ``chunks``; reason ``LIMIT_EXCEEDED`` for a body of more than ``limit`` bytes.
            DeadlineError: out of time.
        """
        # Refused by its announced length, before a byte of the body is read.
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
            # An error's body only helps a message. Failing to read it must not hide the status.
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


class Transport(Pools):
    """Sends requests, and words what goes wrong; arguments as of ``Pools``; safe for many threads."""

    def send(self, request: HttpRequest, deadline: Deadline, home: str = "") -> Reply:
        """Return the answer to one request, whatever its status; the body is still to be read.

        Args:
            request: what to send; its URL holds no user information.
            deadline: the end of connecting, sending and receiving, the body included.
            home: the configured server's URL, where the request may be for another host that it has named.

        Raises:
            RegistryError: no answer, TLS, an answer that is not HTTP, or a host to which ``home`` may not send us.
            DeadlineError: out of time.
        """
        # Before the connection: a call that is out of time would only take one from others.
        deadline.check(request.operation)
        try:
            return Reply(self._answer(request, deadline, home), request, deadline)
        # A public registry with a private object store ends here (docs/registries.md, "What is sent where").
        except AddressRefused as refused:
            # Where the server's own name was not looked up in time, its reach is not known.
            deadline.check(request.operation)
            why = (
                f"{faults.redacted(home)} sends its client to {faults.redacted(request.url)}, a {refused.kind} address, and is "
                "not at such an address itself; give that host an address like its own, or check who runs it"
            )
            raise faults.failure(request.operation, why, Reason.REGISTRY_INVALID_RESPONSE) from None
        except FAILURES as error:
            raise _worded(error, request, deadline) from None

    def _answer(self, request: HttpRequest, deadline: Deadline, home: str) -> urllib3.BaseHTTPResponse:
        """Send to the configured server wherever that is, to another host only where the server could lead us."""
        # Where the operator's own server is, is the operator's business.
        if not home or origin_of(request.url) == origin_of(home):
            return self._open(request, deadline, None)
        try:
            # Nearly every redirect leads to a public object store, so no lookup of the server's own name is needed.
            return self._open(request, deadline, GLOBAL_ONLY)
        except AddressRefused:
            # Looked up only now: behind a proxy the server's name may be unknown here, which takes its time.
            allowed = self.reach(home, deadline)
        return self._open(request, deadline, allowed)

    def _open(self, request: HttpRequest, deadline: Deadline, allowed: Allowed) -> urllib3.BaseHTTPResponse:
        """Return the answer, its body unread and not decoded; ``allowed`` are kinds of address that may be connected to."""
        url, proxy = request.url, proxy_for(request.url, self.environ)
        if proxy and allowed is not None:
            # The proxy looks the name up, so the dialer never sees the address that it finds.
            check_name(urlsplit(url).hostname or "", allowed)
            # What was judged is what the proxy gets to read: it might read 0x7f.1 in another way.
            url = with_canonical_host(url)
        # No coding, so that there is nothing that could be a decompression bomb.
        headers = {"User-Agent": AGENT, **request.headers, "Accept-Encoding": "identity"}
        body = request.body
        if isinstance(body, Mapping):
            # RFC 6749, B: OAuth2's requests are forms.
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            body = urlencode(dict(body)).encode("ascii")
        return self.manager(url, proxy, allowed).urlopen(
            request.method,
            url,
            body=body,
            headers=headers,
            # 0 would be an error in urllib3; a thousandth is over before anything is sent.
            timeout=urllib3.Timeout(total=max(deadline.remaining(), 0.001)),
            # The callers follow redirects and repeat requests: each judges every target anew, within its own limits.
            redirect=False,
            retries=False,
            # The body is the caller's to read, within its limit; it is never unpacked, which could fill the memory.
            preload_content=False,
            decode_content=False,
        )


def _worded(error: Exception, request: HttpRequest, deadline: Deadline) -> RegistryError | DeadlineError:
    """Return the error to raise ``from None`` for one of ``FAILURES``.

    It is returned and not raised here: raised here it would carry the library's error along, whose text has the signature in a
    redirect's URL, and a traceback would show it.
    """
    if deadline.expired():
        # Whatever else it looks like: sockets are closed, and answers broken off, because time is over.
        return deadline.error(request.operation)
    host = faults.redacted(request.url)
    # Of urllib3 and of IDNA, for a host that is none.
    if isinstance(error, (LocationValueError, UnicodeError)):
        return faults.invalid_response(request.operation, f"{host} is not a URL that can be asked")
    # Two Content-Lengths: which one counts is how requests are smuggled (RFC 9112, 6.3).
    if isinstance(error, InvalidHeader):
        return faults.invalid_response(request.operation, f"the headers of {host} contradict each other")
    return faults.unreachable(request.operation, request.url, error)
