"""What went wrong with a connection: one of few kinds, with what the system or TLS said of it, and no library's own words."""

from __future__ import annotations

import http.client
import re
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

from slsa_verifier_plugin.text import plain

_BROKEN_OFF = (http.client.RemoteDisconnected, http.client.IncompleteRead)
_TUNNEL = re.compile(r"Tunnel connection failed: ([0-9]{3})\b")


class Trouble(Enum):
    """Kinds of failure."""

    UNTRUSTED = auto()
    TLS = auto()
    NO_ADDRESS = auto()
    NOT_HTTP = auto()
    PROXY = auto()
    NO_ANSWER = auto()
    BROKEN_OFF = auto()


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request got no answer.

    ``detail`` is safe to show: an operating system's or OpenSSL's own text, an HTTP status, the name of an exception's class.
    """

    trouble: Trouble
    detail: str
    transient: bool

    def sentence(self, who: str) -> str:
        """Return what happened and what to look at, for people; ``who`` is the server."""
        return {
            Trouble.UNTRUSTED: f"the certificate of {who} is not trusted ({self.detail}); add its CA to SSL_CERT_FILE, "
            "SSL_CERT_DIR or the host's certs.d",
            Trouble.TLS: f"TLS with {who} failed ({self.detail})",
            Trouble.NO_ADDRESS: f"the host of {who} has no address ({self.detail}); check the name and DNS",
            Trouble.NOT_HTTP: f"the answer of {who} is not proper HTTP ({self.detail})",
            Trouble.PROXY: f"the proxy did not connect to {who} (HTTP {self.detail}); check the proxy in "
            "HTTPS_PROXY, its credentials and what it allows",
            Trouble.NO_ANSWER: f"no answer from {who} ({self.detail}); check the host, its port, the "
            "network and proxy settings",
            Trouble.BROKEN_OFF: f"the answer of {who} broke off ({self.detail}); look at the server and what is "
            "before it",
        }[self.trouble]


def failure_of(error: BaseException) -> Failure:
    """Return what ``error`` of urllib3, http.client, ssl or a socket means."""
    for cause in causes(error):
        # Before SSLError, of which it is one: only this one is mended by a CA.
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Failure(Trouble.UNTRUSTED, plain(cause.verify_message), transient=False)
        if isinstance(cause, ssl.SSLError):
            # Only where the connection ended in the middle: a wrong protocol or key is there the next time as well.
            return Failure(Trouble.TLS, plain(str(cause.reason)), transient="EOF" in str(cause.reason))
        # "No such name" stays; "try again" of a DNS server passes.
        if isinstance(cause, socket.gaierror):
            transient = cause.errno != socket.EAI_NONAME
            return Failure(Trouble.NO_ADDRESS, plain(str(cause.strerror)), transient)
        # Text that is no HTTP stays so; an answer cut short may come whole the next time.
        if isinstance(cause, http.client.HTTPException) and not isinstance(cause, _BROKEN_OFF):
            return Failure(Trouble.NOT_HTTP, type(cause).__name__, transient=False)
        # http.client says it in the text of an OSError alone.
        if isinstance(cause, OSError) and (match := _TUNNEL.match(str(cause))):
            return Failure(Trouble.PROXY, match[1], transient=True)
        # A timeout of our own sockets has no errno.
        if isinstance(cause, OSError) and (cause.strerror or isinstance(cause, TimeoutError)):
            return Failure(Trouble.NO_ANSWER, plain(cause.strerror or "timed out"), transient=True)
    # Named by its class alone: a library's text may hold a URL with the signature that opens a blob.
    return Failure(Trouble.BROKEN_OFF, type(next(causes(error))).__name__, transient=True)


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield ``error`` and everything it was raised from, the innermost first; libraries wrap several times."""
    found: list[BaseException] = []
    pending: list[object] = [error]
    while pending:
        # Level by level, so that the innermost comes last.
        item = pending.pop(0)
        # Chains may be circles.
        if isinstance(item, BaseException) and item not in found:
            found.append(item)
            # urllib3 puts causes into ``reason`` and ``args`` as well, and leaves ``__cause__`` empty.
            pending += [item.__cause__, item.__context__, getattr(item, "reason", None), *item.args]
    return reversed(found)
