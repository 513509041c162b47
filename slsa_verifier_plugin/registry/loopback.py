"""Finds out whether a registry on this machine speaks plain HTTP, so that a person need not say so, as with crane and cosign.

Only for loopback: what goes there leaves the machine on no wire. The plugin never asks; a Store says ``useHttp``.
"""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

from slsa_verifier_plugin.registry.settings import StoreSettings

SECONDS = 1.0
"""To connect, and for the first bytes of an answer; on loopback both take less than a millisecond."""
_MAX_HEAD = 512


def is_plain_http(settings: StoreSettings, registry: str) -> bool:
    """Return True where a registry is to be spoken to without TLS.

    Args:
        settings: the store's; ``use_http`` decides where it is set.
        registry: host, and port if any.
    """
    # In the cluster nothing is guessed: whoever could answer on a port would decide whether TLS is used.
    if settings.use_http or not settings.loopback_http:
        return settings.use_http
    address = _loopback(registry)
    return address is not None and _answers_http(registry, *address)


def _loopback(registry: str) -> tuple[str, int] | None:
    """Return address and port of a registry on this machine, None for any other."""
    try:
        parts = urlsplit(f"//{registry}")
        host, port = parts.hostname or "", parts.port or 80
        # The name is never looked up: whoever answers for it may answer with any address.
        is_here = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        # Another name than localhost, or a port that is none.
        return None
    return ("127.0.0.1" if host == "localhost" else host, port) if is_here else None


def _answers_http(registry: str, host: str, port: int) -> bool:
    """Return True if what listens answers a plain request as a registry does.

    A server that expects TLS closes the connection, or says 400 (Go, nginx: "HTTP request was sent to HTTPS port"); a registry's
    ``/v2/`` has no such answer (OCI distribution specification 1.1, "Determining Support").
    """
    request = f"GET /v2/ HTTP/1.1\r\nHost: {registry}\r\nConnection: close\r\n\r\n".encode()
    try:
        with socket.create_connection((host, port), SECONDS) as connection:
            # One request, and a closed connection: a server that expects TLS sees a record of a wrong type, and nothing else.
            connection.sendall(request)
            head = connection.recv(_MAX_HEAD)
    except OSError:
        # Nobody there, or no answer: TLS is tried, and its failure is the one that is told.
        return False
    return head.startswith(b"HTTP/1.") and head[9:12] != b"400"
