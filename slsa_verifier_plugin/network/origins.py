"""Origins of URLs, and where a redirect leads."""

from __future__ import annotations

import re
from contextlib import suppress
from functools import lru_cache
from urllib.parse import urljoin, urlsplit

from slsa_verifier_plugin.network.hosts import canonical_host

REDIRECTS = frozenset({301, 302, 303, 307, 308})
"""HTTP statuses whose ``Location`` is followed."""

_URL = re.compile(r"[\x21-\x7e]+")


def origin_of(url: str) -> str:
    """Return scheme, host in its one form and port of ``url``, the port also where it is the scheme's own.

    Raises:
        ValueError: the port is no number.
    """
    # Long URLs carry signatures, which differ each time and would push out what is asked for again.
    return _known(url) if len(url) <= _MAX_KNOWN else _origin(url)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    # https://a and https://a:443 are one origin (RFC 6454, 4).
    port = parts.port or (443 if parts.scheme == "https" else 80)
    host = (parts.hostname or "").lower()
    with suppress(ValueError):  # what has no such form is equal to nothing but itself
        host = canonical_host(host)
    return f"{parts.scheme}://{host}:{port}"


_MAX_KNOWN = 1024
"""Characters of a URL that is kept with its origin: each request asks for that of two URLs ten times."""
_known = lru_cache(maxsize=256)(_origin)


def target_of(url: str, location: str) -> str | None:
    """Return where a redirect leads, None where that is no URL to be asked."""
    try:
        # A Location may be relative (RFC 9110, 10.2.2).
        target = urljoin(url, location)
        parts = urlsplit(target)
        # User information would be sent as credentials by some clients.
        valid = parts.scheme in ("http", "https") and parts.port != 0 and "@" not in parts.netloc
        canonical_host(parts.hostname or "")
    except ValueError:
        # Whoever asks refuses the redirect, with words of its own.
        return None
    # A space or a line break in it would end the request's first line early.
    return target if valid and _URL.fullmatch(target) else None


def is_url(text: str) -> bool:
    """Return True for an http or https URL that can be asked: with a host that is one, and without user information."""
    # As it is written, for parsers pass over line ends; and by itself, for nothing is relative to a URL that is absolute.
    return _URL.fullmatch(text) is not None and target_of(text, text) is not None
