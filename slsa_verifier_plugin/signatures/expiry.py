"""When certificates in a PEM file count, so that a server can warn before its own ends."""

from __future__ import annotations

from datetime import datetime

from cryptography import x509


def lifetimes(content: bytes) -> list[tuple[datetime, datetime]]:
    """Return when each of the certificates in ``content`` (PEM) begins and ends, in their order.

    Raises:
        ValueError: there is none, or one is broken.
    """
    found = x509.load_pem_x509_certificates(content)
    return [(item.not_valid_before_utc, item.not_valid_after_utc) for item in found]
