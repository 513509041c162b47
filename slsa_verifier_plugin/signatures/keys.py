"""Signatures made with a plain key (DSSE 1.0.2): only keys from the configuration, never one that an artifact carries."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from slsa_verifier_plugin.errors import SignatureError, TrustRootError
from slsa_verifier_plugin.model.envelope import Candidate, from_base64
from slsa_verifier_plugin.model.signer import KEY_PREFIX, Claim, Signer, Verified
from slsa_verifier_plugin.regular_files import read_configured
from slsa_verifier_plugin.strict_json import loads
from slsa_verifier_plugin.text import quoted

MAX_KEY_FILE = 64 * 1024
"""Bytes of a public key's file."""
MAX_SIGNATURES = 16
"""Signatures of one envelope that are tried."""
LARGE_PAYLOAD = 1 << 20
"""Bytes of a payload from which on fewer signatures are tried."""
MAX_SIGNATURES_OF_LARGE = 4
"""Signatures that are tried over a large payload, each of which costs a pass over it where the key is an Ed25519 one."""
MIN_RSA_BITS = 2048
_ED25519_BYTES = 64
_BARE = (
    ", or attach the whole bundle: an envelope by itself, such as a layer of old 'cosign attest', has neither the certificate "
    "nor the log entry that may have been made with it"
)

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
    # A path: PEM has this line, and no path has.
    if "-----BEGIN" not in configured:
        what = f"the public key {quoted(configured)}"
        pem = read_configured(configured, MAX_KEY_FILE, what, "mount the file or correct publicKey")
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise TrustRootError(f"{what} is no PEM public key", "expected -----BEGIN PUBLIC KEY-----") from error
    # Weak keys are refused when the policy is read, not when a signature comes: a mistake in it should show at once.
    if not _is_accepted(key):
        raise TrustRootError(
            f"{what} is not ECDSA P-256 or P-384, Ed25519, or RSA of at least {MIN_RSA_BITS} bits"
        )
    assert isinstance(key, PublicKey)
    # DER, so that one key has one identity however its PEM is written.
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return TrustedKey(key, f"{KEY_PREFIX}{hashlib.sha256(der).hexdigest()}")


def verify_with_keys(candidate: Candidate, keys: Sequence[TrustedKey]) -> Verified:
    """Return the payload of ``candidate`` if one of its signatures is one of ``keys``', with every key that signed it.

    The key ids in the envelope are hints (DSSE, "keyid"): every key is tried. The keys are named in the order of ``keys``, for
    whoever relays an envelope may put its signatures in another order.

    Raises:
        SignatureError: no signature of a configured key.
    """
    # Not "wrong signature": no key could have verified it, and what to do differs.
    if not keys:
        raise SignatureError(
            "signed with a key, and no key is configured",
            f"add a publicKey to trustedVerifiers if its owner is to be trusted{'' if candidate.is_bundle else _BARE}",
        )
    message = Message(pre_authentication_encoding(candidate.payload_type, candidate.payload))
    # Each once, for all keys: decoding them is cheap, and hashing the payload is done once as well (``Message``).
    signatures = _signatures(candidate)
    identities = [
        trusted.identity
        for trusted in keys
        if any(_is_made_with(trusted.key, signature, message) for signature in signatures)
    ]
    if identities:
        # Each key once: a policy may name one key twice, as PEM and as a path.
        signer, *cosigners = (Signer(identity, "") for identity in dict.fromkeys(identities))
        claim = Claim(candidate.payload_type, candidate.payload, signer)
        return Verified(claim, cosigners=tuple(cosigners))
    raise SignatureError(
        "the signature was made with none of the configured keys, or the content was changed after signing",
        "attach the original, or configure its signer's publicKey",
    )


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """Return what a DSSE signature is over (DSSE 1.0.2 "PAE")."""
    # Lengths are in bytes, not in characters (DSSE 1.0.2, "PAE").
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def _signatures(candidate: Candidate) -> list[bytes]:
    value = loads(candidate.content)
    envelope = value["dsseEnvelope"] if candidate.is_bundle else value
    items = envelope.get("signatures")
    # Ed25519 hashes the payload for each signature, so a large payload with many signatures would cost minutes.
    most = MAX_SIGNATURES if len(candidate.payload) <= LARGE_PAYLOAD else MAX_SIGNATURES_OF_LARGE
    if not isinstance(items, list) or not 1 <= len(items) <= most:
        raise SignatureError(f"the envelope does not have between 1 and {most} signatures")
    signatures = []
    for item in items:
        text = item.get("sig") if isinstance(item, dict) else None
        if isinstance(text, str) and "=" not in text:
            # Libraries of JOSE, which write the raw form, leave the padding out (RFC 7515, section 2).
            text += "=" * (-len(text) % 4)
        signature = from_base64(text)
        if signature is not None:  # one that cannot be read verifies nothing
            signatures.append(signature)
    return signatures


def _is_accepted(key: object) -> bool:
    if isinstance(key, ec.EllipticCurvePublicKey):
        return isinstance(key.curve, (ec.SECP256R1, ec.SECP384R1))
    # NIST SP 800-57, part 1: RSA of 2048 bits is the least that has 112 bits of strength.
    if isinstance(key, rsa.RSAPublicKey):
        return key.key_size >= MIN_RSA_BITS
    return isinstance(key, ed25519.Ed25519PublicKey)


class Message:
    """Bytes that signatures are held against; each digest of them is made once, however many signatures there are."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self._digests: dict[str, bytes] = {}

    def digest(self, algorithm: hashes.HashAlgorithm) -> bytes:
        """Return the digest by ``algorithm``."""
        found = self._digests.get(algorithm.name)
        if found is None:
            found = self._digests[algorithm.name] = hashlib.new(algorithm.name, self.content).digest()
        return found


def is_valid(key: PublicKey, signature: bytes, message: Message) -> bool:
    """Return True if ``signature`` over ``message`` was made with ``key``; an ECDSA signature is in DER (RFC 3279, 2.2.3)."""
    if isinstance(key, ed25519.Ed25519PublicKey):
        # Ed25519 hashes the whole message itself (RFC 8032), so no digest can be made once for all.
        return len(signature) == _ED25519_BYTES and _verifies(partial(key.verify, signature, message.content))
    if isinstance(key, ec.EllipticCurvePublicKey):
        # Signers with a P-384 key use either digest: Sigstore's specification SHA-384, older cosign SHA-256.
        digests: tuple[hashes.HashAlgorithm, ...] = (hashes.SHA256(),)
        if isinstance(key.curve, ec.SECP384R1):
            # Both are at least as strong as this verifier's floor; which one was used is not told by the signature.
            digests = (hashes.SHA384(), hashes.SHA256())
        return any(
            _verifies(partial(key.verify, signature, message.digest(digest), ec.ECDSA(Prehashed(digest))))
            for digest in digests
        )
    # RFC 8017, 8.1.2 and 8.2.2, step 1: a signature is as long as the modulus. Libraries differ in whether they ask.
    if len(signature) != (key.key_size + 7) // 8:
        return False
    digest = message.digest(hashes.SHA256())
    # cosign signs with PKCS #1 v1.5, cloud KMS keys with either; which it is cannot be told from the signature.
    pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=padding.PSS.AUTO)
    return any(
        _verifies(partial(key.verify, signature, digest, scheme, Prehashed(hashes.SHA256())))
        for scheme in (pss, padding.PKCS1v15())
    )


def _is_made_with(key: PublicKey, signature: bytes, message: Message) -> bool:
    """Return True as ``is_valid``, also for an ECDSA signature as r and s one after the other (IEEE P1363).

    Which form a signature has is no part of what it says: either verifies as the same numbers r and s. JOSE, PKCS#11, WebCrypto
    and Java's ``inP1363Format`` write the raw form. Its length is fixed by the curve (RFC 7518, 3.4): 64 bytes for P-256, 96 for
    P-384.
    """
    if is_valid(key, signature, message):
        return True
    # Only ECDSA signatures are written in two forms.
    if not isinstance(key, ec.EllipticCurvePublicKey):
        return False
    # P-521 (66 bytes each) is not accepted, so this is 32 or 48.
    half = (key.key_size + 7) // 8
    if len(signature) != 2 * half:
        return False
    r, s = int.from_bytes(signature[:half]), int.from_bytes(signature[half:])
    return is_valid(key, encode_dss_signature(r, s), message)


def _verifies(attempt: Callable[[], None]) -> bool:
    try:
        attempt()
    except InvalidSignature:
        return False
    return True
