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

    @property
    def sentence(self) -> str:
        """What happened, for people, without the host."""
        match self.trouble:
            case Trouble.UNTRUSTED:
                return f"its certificate is not trusted ({self.detail})"
            case Trouble.TLS:
                return f"TLS failed ({self.detail})"
            case Trouble.NO_ADDRESS:
                return f"its host has no address ({self.detail})"
            case Trouble.NOT_HTTP:
                return f"the answer is not proper HTTP ({self.detail})"
            case Trouble.PROXY:
                return f"the proxy did not connect (HTTP {self.detail})"
            case Trouble.NO_ANSWER:
                return f"no answer ({self.detail})"
            case Trouble.BROKEN_OFF:
                return f"the download broke off ({self.detail})"


def failure_of(error: BaseException) -> Failure:
    """Return what ``error`` of requests, urllib3, http.client, ssl or a socket means."""
    for cause in causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Failure(Trouble.UNTRUSTED, plain(cause.verify_message), transient=False)
        if isinstance(cause, ssl.SSLError):
            return Failure(Trouble.TLS, plain(str(cause.reason)), transient="EOF" in str(cause.reason))
        if isinstance(cause, socket.gaierror):
            transient = cause.errno != socket.EAI_NONAME
            return Failure(Trouble.NO_ADDRESS, plain(str(cause.strerror)), transient)
        if isinstance(cause, http.client.HTTPException) and not isinstance(cause, _BROKEN_OFF):
            return Failure(Trouble.NOT_HTTP, type(cause).__name__, transient=False)
        if isinstance(cause, OSError) and (match := _TUNNEL.match(str(cause))):
            return Failure(Trouble.PROXY, match[1], transient=True)
        if isinstance(cause, OSError) and (cause.strerror or isinstance(cause, TimeoutError)):
            return Failure(Trouble.NO_ANSWER, plain(cause.strerror or "timed out"), transient=True)
    return Failure(Trouble.BROKEN_OFF, type(next(causes(error))).__name__, transient=True)


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield ``error`` and everything it was raised from, the innermost first; libraries wrap several times."""
    found: list[BaseException] = []
    pending: list[object] = [error]
    while pending:
        item = pending.pop(0)
        if isinstance(item, BaseException) and item not in found:
            found.append(item)
            pending += [item.__cause__, item.__context__, getattr(item, "reason", None), *item.args]
    return reversed(found)
