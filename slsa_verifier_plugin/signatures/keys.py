"""Signatures made with a plain key (DSSE 1.0.2): only keys from the configuration, never one that an artifact carries."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from slsa_verifier_plugin.errors import SignatureError, TrustRootError
from slsa_verifier_plugin.model.envelope import Candidate
from slsa_verifier_plugin.model.signer import KEY_PREFIX, Claim, Signer, Verified
from slsa_verifier_plugin.signatures.files import read_regular
from slsa_verifier_plugin.strict_json import loads
from slsa_verifier_plugin.text import quoted

MAX_KEY_FILE = 64 * 1024
"""Bytes of a public key's file."""
MAX_SIGNATURES = 16
"""Signatures of one envelope that are tried."""
MIN_RSA_BITS = 2048

PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """A configured public key; ``identity`` is ``key:`` and the SHA-256 of its DER form."""

    key: PublicKey
    identity: str


def load_key(configured: str) -> TrustedKey:
    """Return the key that a policy names, in PEM or as a path.

    Raises:
        TrustRootError: it cannot be read, or is of a kind or size that is not accepted.
    """
    what = "the configured public key"
    pem = configured.encode("utf-8")
    if "-----BEGIN" not in configured:
        what = f"the public key {quoted(configured)}"
        try:
            pem = read_regular(configured, MAX_KEY_FILE)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not a path"
            raise TrustRootError(
                f"{what} cannot be read: {reason}; mount the file or correct publicKey"
            ) from error
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise TrustRootError(f"{what} is no PEM public key; expected -----BEGIN PUBLIC KEY-----") from error
    if not _is_accepted(key):
        raise TrustRootError(
            f"{what} is not ECDSA P-256 or P-384, Ed25519, or RSA of at least {MIN_RSA_BITS} bits"
        )
    assert isinstance(key, PublicKey)
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return TrustedKey(key, f"{KEY_PREFIX}{hashlib.sha256(der).hexdigest()}")


def verify_with_keys(candidate: Candidate, keys: Sequence[TrustedKey]) -> Verified:
    """Return the payload of ``candidate`` if one of its signatures is one of ``keys``'.

    The key ids in the envelope are hints (DSSE, "keyid"): every key is tried.

    Raises:
        SignatureError: no signature of a configured key.
    """
    if not keys:
        raise SignatureError(
            "signed with a key, and no key is configured; add a publicKey to trustedVerifiers if its owner is to be trusted"
        )
    message = pre_authentication_encoding(candidate.payload_type, candidate.payload)
    for signature in _signatures(candidate):
        for trusted in keys:
            if is_valid(trusted.key, signature, message):
                claim = Claim(candidate.payload_type, candidate.payload, Signer(trusted.identity, ""))
                return Verified(claim)
    raise SignatureError(
        "the signature was made with none of the configured keys, or the content was changed after signing; "
        "attach the original, or configure its signer's publicKey"
    )


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """Return what a DSSE signature is over (DSSE 1.0.2 "PAE")."""
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def _signatures(candidate: Candidate) -> list[bytes]:
    value = loads(candidate.content)
    envelope = value["dsseEnvelope"] if candidate.is_bundle else value
    items = envelope.get("signatures")
    if not isinstance(items, list) or not 1 <= len(items) <= MAX_SIGNATURES:
        raise SignatureError(f"the envelope does not have between 1 and {MAX_SIGNATURES} signatures")
    signatures = []
    for item in items:
        try:
            text = item["sig"].replace("-", "+").replace("_", "/")
            signatures.append(base64.b64decode(text, validate=True))
        except (ValueError, TypeError, KeyError, AttributeError):
            continue  # one that cannot be read verifies nothing
    return signatures


def _is_accepted(key: object) -> bool:
    if isinstance(key, ec.EllipticCurvePublicKey):
        return isinstance(key.curve, (ec.SECP256R1, ec.SECP384R1))
    if isinstance(key, rsa.RSAPublicKey):
        return key.key_size >= MIN_RSA_BITS
    return isinstance(key, ed25519.Ed25519PublicKey)


def is_valid(key: PublicKey, signature: bytes, message: bytes) -> bool:
    """Return True if ``signature`` over ``message`` was made with ``key``."""
    if isinstance(key, ed25519.Ed25519PublicKey):
        return _verifies(partial(key.verify, signature, message))
    if isinstance(key, ec.EllipticCurvePublicKey):
        # Signers with a P-384 key use either digest: Sigstore's specification SHA-384, older cosign SHA-256.
        digests: tuple[hashes.HashAlgorithm, ...] = (hashes.SHA256(),)
        if isinstance(key.curve, ec.SECP384R1):
            digests = (hashes.SHA384(), hashes.SHA256())
        return any(_verifies(partial(key.verify, signature, message, ec.ECDSA(digest))) for digest in digests)
    pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=padding.PSS.AUTO)
    schemes = (pss, padding.PKCS1v15())
    return any(
        _verifies(partial(key.verify, signature, message, scheme, hashes.SHA256())) for scheme in schemes
    )


def _verifies(attempt: Callable[[], None]) -> bool:
    try:
        attempt()
    except InvalidSignature:
        return False
    return True
