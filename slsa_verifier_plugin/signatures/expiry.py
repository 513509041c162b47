"""When certificates in a PEM file end: for a server that tells before its own does."""

from __future__ import annotations

from datetime import datetime

from cryptography import x509


def first_expiry(content: bytes) -> datetime:
    """Return when the first of the certificates in ``content`` (PEM) ends.

    Raises:
        ValueError: there is none.
    """
    return min(item.not_valid_after_utc for item in x509.load_pem_x509_certificates(content))
