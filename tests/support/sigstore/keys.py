"""Keys that come out of a seed and sign the same way at every run.

The seed stands in the source, so everybody has these private keys: they prove nothing outside of tests.
ECDSA is deterministic (RFC 6979), Ed25519 and PKCS#1 v1.5 are by nature; only RSA-PSS carries a random salt.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property, lru_cache

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey

RSA_EXPONENT = 65537
RSA_BITS = 2048


class Scheme(StrEnum):
    """Signature schemes. ``ECDSA_P384_SHA256`` is what cosign makes of a P-384 key (deprecated by Sigstore)."""

    ECDSA_P256 = "ecdsa-p256"
    ECDSA_P384 = "ecdsa-p384"
    ECDSA_P384_SHA256 = "ecdsa-p384-sha256"
    ED25519 = "ed25519"
    RSA_PSS = "rsa-pss"
    RSA_PKCS1 = "rsa-pkcs1"


@dataclass(frozen=True)
class Key:
    """A private key together with the scheme it signs with."""

    scheme: Scheme
    private: PrivateKey

    def sign(self, data: bytes) -> bytes:
        """Return the signature over ``data``."""
        if isinstance(self.private, ec.EllipticCurvePrivateKey):
            return self.private.sign(data, ec.ECDSA(self.digest, deterministic_signing=True))
        if isinstance(self.private, ed25519.Ed25519PrivateKey):
            return self.private.sign(data)
        if self.scheme is Scheme.RSA_PSS:
            salted = padding.PSS(padding.MGF1(self.digest), padding.PSS.DIGEST_LENGTH)
            return self.private.sign(data, salted, self.digest)
        return self.private.sign(data, padding.PKCS1v15(), self.digest)

    @property
    def digest(self) -> hashes.SHA256 | hashes.SHA384:
        """The digest that the scheme signs: SHA-384 or SHA-256; without meaning for Ed25519."""
        return hashes.SHA384() if self.scheme is Scheme.ECDSA_P384 else hashes.SHA256()

    @property
    def elliptic(self) -> ec.EllipticCurvePrivateKey:
        """The private key of an ECDSA scheme, as certificates need it."""
        assert isinstance(self.private, ec.EllipticCurvePrivateKey)
        return self.private

    @cached_property
    def spki(self) -> bytes:
        """The public key as a DER SubjectPublicKeyInfo."""
        return self.private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    @cached_property
    def pem(self) -> bytes:
        """The public key as PEM."""
        return self.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    @cached_property
    def key_id(self) -> bytes:
        """SHA-256 of the SubjectPublicKeyInfo (RFC 6962 section 3.2, Rekor v1, key hints)."""
        return hashlib.sha256(self.spki).digest()

    @property
    def details(self) -> str:
        """The ``PublicKeyDetails`` of Sigstore's protobuf specifications."""
        return {
            Scheme.ECDSA_P256: "PKIX_ECDSA_P256_SHA_256",
            Scheme.ECDSA_P384: "PKIX_ECDSA_P384_SHA_384",
            Scheme.ECDSA_P384_SHA256: "PKIX_ECDSA_P384_SHA_256",
            Scheme.ED25519: "PKIX_ED25519",
            Scheme.RSA_PSS: f"PKIX_RSA_PSS_{RSA_BITS}_SHA256",
            Scheme.RSA_PKCS1: f"PKIX_RSA_PKCS1V15_{RSA_BITS}_SHA256",
        }[self.scheme]


def raw_signature(key: Key, signature: bytes) -> bytes:
    """Return an ECDSA signature in DER as r and s one after the other (IEEE P1363), each as long as the curve's order."""
    size = (key.elliptic.curve.key_size + 7) // 8
    return b"".join(number.to_bytes(size, "big") for number in decode_dss_signature(signature))


def derived(seed: str, label: str, size: int) -> bytes:
    """Return ``size`` bytes that depend on ``seed`` and ``label`` alone."""
    return hashlib.shake_256(f"{seed}\0{label}".encode()).digest(size)


@lru_cache(maxsize=4096)
def derive_key(seed: str, label: str, scheme: Scheme = Scheme.ECDSA_P256) -> Key:
    """Return the key that belongs to ``seed`` and ``label``; RSA keys take some tenths of a second."""
    if scheme is Scheme.ED25519:
        return Key(scheme, ed25519.Ed25519PrivateKey.from_private_bytes(derived(seed, label, 32)))
    if scheme in (Scheme.RSA_PSS, Scheme.RSA_PKCS1):
        return Key(scheme, _rsa(seed, label))
    curve = ec.SECP256R1() if scheme is Scheme.ECDSA_P256 else ec.SECP384R1()
    # 16 bytes more than the order has make the remainder's bias irrelevant, even if this were a secret.
    number = int.from_bytes(derived(seed, label, curve.key_size // 8 + 16), "big")
    return Key(scheme, ec.derive_private_key(number % (curve.group_order - 1) + 1, curve))


@lru_cache(maxsize=64)
def _rsa(seed: str, label: str) -> rsa.RSAPrivateKey:
    p, q = _prime(seed, f"{label}/p"), _prime(seed, f"{label}/q")
    p, q = max(p, q), min(p, q)
    d = pow(RSA_EXPONENT, -1, math.lcm(p - 1, q - 1))
    numbers = rsa.RSAPrivateNumbers(
        p,
        q,
        d,
        rsa.rsa_crt_dmp1(d, p),
        rsa.rsa_crt_dmq1(d, q),
        rsa.rsa_crt_iqmp(p, q),
        rsa.RSAPublicNumbers(RSA_EXPONENT, p * q),
    )
    return numbers.private_key()


def _prime(seed: str, label: str) -> int:
    """Return the first prime at or above a derived number whose upper bits make the product full-sized."""
    half = RSA_BITS // 2
    number = int.from_bytes(derived(seed, label, half // 8), "big") | 3 << (half - 2) | 1
    while not _is_prime(number) or math.gcd(number - 1, RSA_EXPONENT) != 1:
        number += 2
    return number


_SMALL_PRIMES = math.prod(n for n in range(3, 2000, 2) if all(n % m for m in range(3, math.isqrt(n) + 1, 2)))


def _is_prime(number: int) -> bool:
    """Fermat's test to four bases: enough for numbers that nobody chose against it."""
    return math.gcd(number, _SMALL_PRIMES) == 1 and all(
        pow(base, number - 1, number) == 1 for base in (2, 3, 5, 7)
    )
