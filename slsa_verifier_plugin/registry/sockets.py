"""Connections whose every wait ends at the request's own time limit.

The timeouts of ``requests`` bound the silence between two bytes, so a peer that sends one byte a second holds a
caller for as long as it likes: in the headers, in the body, in TLS. Here the timeout given to a request is the time
from its start to the last byte of its body, and each system call waits only for what is left of it.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from typing import Any

import urllib3.connection
import urllib3.connectionpool
import urllib3.response

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.registry.addresses import Dialer


def _left(end: float) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError("the time limit was reached")
    return left


class DeadlineSocket(socket.socket):
    """A TCP socket that stops waiting at ``end`` (``time.monotonic``); 0, its first value, is always over."""

    end = 0.0

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        """Receive, waiting no longer than ``end``."""
        self.settimeout(_left(self.end))
        return super().recv_into(*args, **kwargs)

    def recv(self, *args: Any, **kwargs: Any) -> bytes:
        """Receive, waiting no longer than ``end`` (TLS within TLS reads this way)."""
        self.settimeout(_left(self.end))
        return super().recv(*args, **kwargs)

    def sendall(self, *args: Any, **kwargs: Any) -> None:
        """Send everything, waiting no longer than ``end``."""
        self.settimeout(_left(self.end))
        super().sendall(*args, **kwargs)


class DeadlineSSLSocket(ssl.SSLSocket):
    """The same over TLS; made by ``DeadlineContext``."""

    end = 0.0

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        """Receive, waiting no longer than ``end``."""
        self.settimeout(_left(self.end))
        return super().recv_into(*args, **kwargs)

    def recv(self, *args: Any, **kwargs: Any) -> bytes:
        """Receive, waiting no longer than ``end``."""
        self.settimeout(_left(self.end))
        return super().recv(*args, **kwargs)

    def send(self, *args: Any, **kwargs: Any) -> int:
        """Send a part, waiting no longer than ``end``; ``sendall`` calls it again and again."""
        self.settimeout(_left(self.end))
        return super().send(*args, **kwargs)


class DeadlineContext(ssl.SSLContext):
    """A client's TLS context whose sockets take the time limit over from the socket below them."""

    sslsocket_class = DeadlineSSLSocket

    def wrap_socket(self, sock: socket.socket, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        """Return ``sock`` with TLS on it; the handshake waits for as long as ``sock`` is set to."""
        end = getattr(sock, "end", 0.0)
        wrapped = super().wrap_socket(sock, *args, **kwargs)
        if isinstance(wrapped, DeadlineSSLSocket):
            wrapped.end = end
        return wrapped


class TimedHTTPConnection(urllib3.connection.HTTPConnection):
    """A connection with one time limit for an exchange: connecting, TLS, sending and receiving.

    urllib3's pool sets ``timeout`` to what is left of the request's total before it connects or sends.
    """

    _end = 0.0
    _begun = False
    _answer: http.client.HTTPResponse | None = None

    def __init__(self, *args: Any, dialer: Dialer, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._dialer = dialer

    def connect(self) -> None:
        """Connect, TLS handshake included; the exchange's time starts now."""
        self._begin()
        super().connect()
        self._pass_on()

    def request(self, *args: Any, **kwargs: Any) -> None:
        """Send a request; the exchange's time starts now unless connecting for it has started it."""
        if not self._begun:
            self._begin()
        try:
            super().request(*args, **kwargs)
        finally:
            self._begun = False

    def getresponse(self) -> urllib3.response.HTTPResponse:  # type: ignore[override]  # as in urllib3
        """Receive the head of the answer; one that urllib3 does not accept is closed, which it leaves undone."""
        try:
            return super().getresponse()
        except BaseException:
            if self._answer is not None:
                self._answer.close()
            raise
        finally:
            self._answer = None

    def response_class(  # type: ignore[override]  # a method where http.client has a class to call
        self, *args: Any, **kwargs: Any
    ) -> http.client.HTTPResponse:
        """Make the answer to a request (http.client's hook)."""
        self._answer = http.client.HTTPResponse(*args, **kwargs)
        return self._answer

    def _begin(self) -> None:
        self._begun = True
        seconds = self.timeout
        self._end = time.monotonic() + (float(seconds) if isinstance(seconds, (int, float)) else 0.0)
        self._pass_on()

    def _pass_on(self) -> None:
        # With TLS inside TLS (a proxy that is spoken to over TLS) the inner socket does the waiting.
        sock: Any = self.sock
        while sock is not None:
            if isinstance(sock, (DeadlineSocket, DeadlineSSLSocket)):
                sock.end = self._end
            sock = getattr(sock, "socket", None)

    def _new_conn(self) -> socket.socket:
        sock = self._dialer.dial(self._dns_host, self.port, Deadline(_left(self._end)))
        if isinstance(sock, DeadlineSocket):
            sock.end = self._end
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
