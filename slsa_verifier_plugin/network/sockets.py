"""Connections whose every wait ends at the request's own time limit: the one mechanism for registries, tokens and TUF.

The timeouts of urllib3 bound the silence between two bytes, so a peer that sends one byte a second holds
a caller for as long as it likes: in interim answers, in the headers, in the body, in TLS. Here the timeout given to a
request is the time from its start to the last byte of its body, and each system call waits only for what is left of it.

Whoever makes a urllib3 pool manager gives it the classes of ``timed_pools``.
"""

from __future__ import annotations

import functools
import http.client
import socket
import ssl
import time
from typing import Any

import urllib3
import urllib3.connection
import urllib3.connectionpool
import urllib3.response

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.network import waits as limits
from slsa_verifier_plugin.network.addresses import Kind
from slsa_verifier_plugin.network.dialing import Dialer, Resolver


class TimeLimit:
    """The end of an exchange (``time.monotonic``), shared by all sockets of one connection. A new one has already ended."""

    end = 0.0

    def left(self) -> float:
        """Return the seconds left; raise ``TimeoutError`` where there are none."""
        left = self.end - time.monotonic()
        if left <= 0:
            raise TimeoutError("the time limit was reached")
        return left


class DeadlineSocket(socket.socket):
    """A TCP socket of which no call waits longer than its ``limit``."""

    # One that is over: a socket that nobody gave a limit waits for nothing.
    limit = TimeLimit()

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        """Receive within the limit (http.client reads this way)."""
        # Before each call: the time that earlier calls took is gone.
        self.settimeout(self.limit.left())
        return super().recv_into(*args, **kwargs)

    def recv(self, *args: Any, **kwargs: Any) -> bytes:
        """Receive within the limit (TLS within TLS reads this way)."""
        self.settimeout(self.limit.left())
        return super().recv(*args, **kwargs)

    def sendall(self, *args: Any, **kwargs: Any) -> None:
        """Send everything within the limit."""
        self.settimeout(self.limit.left())
        super().sendall(*args, **kwargs)


class DeadlineSSLSocket(DeadlineSocket, ssl.SSLSocket):
    """The same over TLS; made by ``DeadlineContext``."""

    def send(self, *args: Any, **kwargs: Any) -> int:
        """Send a part within the limit; an SSLSocket's ``sendall`` calls it again and again."""
        self.settimeout(self.limit.left())
        return super().send(*args, **kwargs)


class DeadlineContext(ssl.SSLContext):
    """A client's TLS context whose sockets take the time limit over from the socket below them."""

    sslsocket_class = DeadlineSSLSocket

    def wrap_socket(self, sock: socket.socket, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        """Return ``sock`` with TLS on it; the handshake waits for as long as ``sock`` is set to."""
        # Read before: wrapping closes ``sock``.
        limit = getattr(sock, "limit", DeadlineSocket.limit)
        wrapped = super().wrap_socket(sock, *args, **kwargs)
        if isinstance(wrapped, DeadlineSSLSocket):
            # The same object: when the connection is used again, the new exchange's limit holds for its TLS as well.
            wrapped.limit = limit
        return wrapped


class FinalAnswer(http.client.HTTPResponse):
    """The answer after the interim ones (RFC 9110, 15.2: a client must read past any 1xx), which are bounded in size.

    http.client reads past 100 alone, as many as come, and takes a 102 or 103 for the answer.
    """

    def _read_status(self) -> tuple[str, int, str]:
        budget = limits.MAX_INTERIM_BYTES
        while True:
            version, status, reason = super()._read_status()  # type: ignore[misc]  # http.client's own step
            # 101 ends HTTP/1.1 on this connection, and nobody asked for it: it counts as an answer, and is refused as
            # one.
            if status == http.client.SWITCHING_PROTOCOLS or not 100 <= status < 200:
                return version, status, reason
            # Bounded in bytes and not in number: one answer could have headers without end.
            budget -= len(version) + len(reason.strip()) + len("  100\r\n")
            # The interim answer's headers mean nothing here. The one byte more shows a line over the budget.
            while line := self.fp.readline(max(budget, 0) + 1):
                budget -= len(line)
                if budget < 0:
                    raise http.client.HTTPException("interim answers without end")
                if not line.strip():
                    break


class TimedHTTPConnection(urllib3.connection.HTTPConnection):
    """A connection with one time limit for an exchange: connecting, TLS, sending and receiving.

    The limit starts when the connection is opened or else, on one that is used again, when the request is sent; all its sockets
    look at that one ``TimeLimit``. urllib3's pool sets ``timeout`` to what is left of the request's total before either.
    """

    _is_started = False
    _answer: http.client.HTTPResponse | None = None

    def __init__(self, *args: Any, dialer: Dialer, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._dialer = dialer
        self._limit = TimeLimit()

    def connect(self) -> None:
        """Connect, TLS handshake included; the exchange's time starts now."""
        self._start()
        super().connect()

    def request(self, *args: Any, **kwargs: Any) -> None:
        """Send a request; the exchange's time starts now unless connecting for it has started it."""
        if not self._is_started:
            # On a connection that was kept; a new one has started its time in ``connect``, which came first.
            self._start()
        try:
            super().request(*args, **kwargs)
            # Through a proxy it is the proxy's address, which says nothing of the host.
            if self.proxy is None and self.sock is not None:
                self._dialer.note(self._dns_host, self.sock)
        finally:
            # Whether it was sent or not: the next request has a time of its own.
            self._is_started = False

    def getresponse(self) -> urllib3.response.HTTPResponse:  # type: ignore[override]  # as in urllib3
        """Receive the head of the answer; one that urllib3 does not accept is closed, which it leaves undone."""
        try:
            return super().getresponse()
        except BaseException:
            # urllib3 refuses an answer with two Content-Lengths, and leaves its connection open with the body on it.
            if self._answer is not None:
                self._answer.close()
            raise
        finally:
            self._answer = None

    def response_class(  # type: ignore[override]  # a method where http.client has a class to call
        self, *args: Any, **kwargs: Any
    ) -> http.client.HTTPResponse:
        """Make the answer to a request (http.client's hook)."""
        # Kept, to be closed where urllib3 refuses it half-read.
        self._answer = FinalAnswer(*args, **kwargs)
        return self._answer

    def _start(self) -> None:
        self._is_started = True
        # Without a number there is no limit, which must not mean for ever: nothing is waited for then.
        seconds = float(self.timeout) if isinstance(self.timeout, (int, float)) else 0.0
        self._limit.end = time.monotonic() + seconds

    def _new_conn(self) -> socket.socket:
        # ``_dns_host``: urllib3's ``host`` has lost the dot at the end, which a resolver reads as "no search list".
        sock = self._dialer.dial(self._dns_host, self.port, Deadline(self._limit.left()))
        if isinstance(sock, DeadlineSocket):
            sock.limit = self._limit
        # A request's head and body are two writes; Nagle's algorithm would hold the second for an acknowledgement (40 ms).
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock


class TimedHTTPSConnection(TimedHTTPConnection, urllib3.connection.HTTPSConnection):
    """The same over TLS."""


class TimedHTTPPool(urllib3.connectionpool.HTTPConnectionPool):
    """A pool of ``TimedHTTPConnection``."""

    ConnectionCls = TimedHTTPConnection


class TimedHTTPSPool(urllib3.connectionpool.HTTPSConnectionPool):
    """A pool of ``TimedHTTPSConnection``."""

    ConnectionCls = TimedHTTPSConnection


def timed_pools(resolver: Resolver, allowed: frozenset[Kind] | None) -> dict[str, Any]:
    """Return what urllib3 calls ``pool_classes_by_scheme``: pools that keep the time limit.

    Args:
        resolver: finds addresses.
        allowed: kinds of address that may be connected to, None for all.
    """
    dialer = Dialer(resolver, allowed, DeadlineSocket)
    return {
        "http": functools.partial(TimedHTTPPool, dialer=dialer),
        "https": functools.partial(TimedHTTPSPool, dialer=dialer),
    }
