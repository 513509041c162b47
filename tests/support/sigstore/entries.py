"""What is logged: the canonical bodies of Rekor's entry types for a signed DSSE envelope or a signed blob."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.support.sigstore.encoding import b64, canonical, compact
from tests.support.sigstore.envelope import Envelope


@dataclass(frozen=True)
class Signer:
    """What verifies a signature: a certificate or a public key, as PEM and DER; and its key details."""

    pem: bytes
    der: bytes
    details: str
    is_certificate: bool


def dsse_v1(envelope: Envelope, signer: Signer) -> tuple[str, str, bytes]:
    """Return kind, version and body of Rekor v1's ``dsse`` entry, what today's clients log."""
    return _entry(
        "dsse",
        "0.0.1",
        {
            "envelopeHash": _sha256(compact(envelope.as_json())),
            "payloadHash": _sha256(envelope.payload),
            "signatures": [
                {"signature": b64(one), "verifier": b64(signer.pem)} for one in envelope.signatures
            ],
        },
    )


def intoto_v1(envelope: Envelope, signer: Signer) -> tuple[str, str, bytes]:
    """Return Rekor v1's older ``intoto`` entry, as npm's and early GitHub attestations have it.

    The signature stands in it base64 encoded twice, and the payload not at all.
    """
    signatures = [
        {"publicKey": b64(signer.pem), "sig": b64(b64(one).encode())} for one in envelope.signatures
    ]
    return _entry(
        "intoto",
        "0.0.2",
        {
            "content": {
                "envelope": {"payloadType": envelope.payload_type, "signatures": signatures},
                "hash": _sha256(compact(envelope.as_json())),
                "payloadHash": _sha256(envelope.payload),
            }
        },
    )


def hashedrekord_v1(message: bytes, signature: bytes, signer: Signer) -> tuple[str, str, bytes]:
    """Return Rekor v1's ``hashedrekord`` entry of a signature over ``message``."""
    return _entry(
        "hashedrekord",
        "0.0.1",
        {
            "data": {"hash": _sha256(message)},
            "signature": {"content": b64(signature), "publicKey": {"content": b64(signer.pem)}},
        },
    )


def hashedrekord_v2(message: bytes, signatures: Sequence[bytes], signer: Signer) -> tuple[str, str, bytes]:
    """Return Rekor v2's ``hashedrekord`` entry; an envelope's message is its pre-authentication encoding."""
    wide = signer.details.endswith("SHA_384")
    algorithm, digest = ("SHA2_384", hashlib.sha384) if wide else ("SHA2_256", hashlib.sha256)
    holder = "x509Certificate" if signer.is_certificate else "publicKey"
    return _entry(
        "hashedrekord",
        "0.0.2",
        {
            "hashedRekordV002": {
                "data": {"algorithm": algorithm, "digest": b64(digest(message).digest())},
                "signature": {
                    "content": b64(signatures[0]),
                    "verifier": {holder: {"rawBytes": b64(signer.der)}, "keyDetails": signer.details},
                },
            }
        },
    )


def _entry(kind: str, version: str, spec: dict[str, Any]) -> tuple[str, str, bytes]:
    return kind, version, canonical({"apiVersion": version, "kind": kind, "spec": spec})


def _sha256(content: bytes) -> dict[str, str]:
    return {"algorithm": "sha256", "value": hashlib.sha256(content).hexdigest()}
