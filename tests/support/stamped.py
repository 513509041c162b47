"""Bundles that carry signed timestamps and no log entry, and trusted roots that list no log."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

from cryptography import x509
from sigstore_models.bundle import v1 as bundle_v1

from slsa_verifier_plugin.model.envelope import read_blob
from slsa_verifier_plugin.signatures.trust import LoadedRoot, load_root
from slsa_verifier_plugin.signatures.verifier import AttestationVerifier, RootVerifier
from tests.support.sigstore import LOGGED_AFTER, SIGNED_AT, Departures, Lab, vsa
from tests.support.sigstore.encoding import compact
from tests.support.sigstore.envelope import payload_bytes

PAYLOAD = payload_bytes(vsa())
STAMPED = SIGNED_AT + LOGGED_AFTER
NO_LOG = ("ca", "tsa")
WITH_CT = ("ca", "tsa", "ct")


def root(*parts: str, lab: Lab | None = None, **options: Any) -> LoadedRoot:
    """Return the lab's trusted root with these parts, without a log if none are named."""
    return load_root((lab or Lab()).trusted_root(parts=parts or NO_LOG, **options), "no log")


def sign(departures: Departures = Departures(), **how: Any) -> bytes:  # noqa: B008 (frozen)
    """Return a bundle with a timestamp and no log entry."""
    return Lab().sign(PAYLOAD, departures=departures, **{"log": None, "timestamp": True, **how})


def verify(content: bytes, trusted: LoadedRoot | None = None) -> Any:
    """Return what verifying ``content`` gives."""
    (candidate,) = read_blob(content, 1).candidates
    return AttestationVerifier([RootVerifier(trusted or root())], {}).verify(candidate)


def verify_parsed(
    bundle: bundle_v1.Bundle, certificate: x509.Certificate, trusted: LoadedRoot | None = None
) -> datetime:
    """Verify a parsed bundle by its timestamps alone, with any certificate, and return the earliest of their times."""
    return RootVerifier(trusted or root())._verified(bundle, certificate)[1]


def edited(edit: Callable[[Any], None], content: bytes | None = None) -> bytes:
    """Return a bundle after ``edit`` of its decoded JSON."""
    value = json.loads(content or sign())
    edit(value)
    return compact(value)


def stamps(value: Any) -> list[dict[str, str]]:
    """Return the timestamps in a bundle's decoded JSON."""
    found: list[dict[str, str]] = value["verificationMaterial"]["timestampVerificationData"][
        "rfc3161Timestamps"
    ]
    return found
