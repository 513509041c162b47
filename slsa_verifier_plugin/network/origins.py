"""Origins of URLs, and where a redirect leads."""

from __future__ import annotations

import re
from urllib.parse import urljoin, urlsplit

REDIRECTS = frozenset({301, 302, 303, 307, 308})
"""HTTP statuses whose ``Location`` is followed."""

_URL = re.compile(r"[\x21-\x7e]+")


def origin_of(url: str) -> str:
    """Return scheme, host and port of ``url``, the port also where it is the scheme's own."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return f"{parts.scheme}://{(parts.hostname or '').lower()}:{port}"


def target_of(url: str, location: str) -> str | None:
    """Return where a redirect leads, None where that is no URL to be asked."""
    try:
        target = urljoin(url, location)
        parts = urlsplit(target)
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        return None
    return target if valid and "@" not in parts.netloc and _URL.fullmatch(target) else None
