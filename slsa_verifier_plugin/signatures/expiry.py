"""When certificates in a PEM file expire, so that a server can warn before its own does."""

from __future__ import annotations

from datetime import datetime

from cryptography import x509


def expiries(content: bytes) -> list[datetime]:
    """Return when each of the certificates in ``content`` (PEM) ends, in their order.

    Raises:
        ValueError: there is none, or one is broken.
    """
    return [item.not_valid_after_utc for item in x509.load_pem_x509_certificates(content)]
