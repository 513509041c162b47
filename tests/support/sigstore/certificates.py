"""A certificate authority as Fulcio is one, and a CT log that Fulcio asks for a timestamp (RFC 6962)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Protocol

from asn1crypto import core
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from tests.support.sigstore.identity import Identity
from tests.support.sigstore.keys import Key, Scheme, derive_key, derived

CREATED = datetime(2024, 1, 1, tzinfo=UTC)
"""From when on the lab's authorities and logs are valid."""
EXPIRES = datetime(2054, 1, 1, tzinfo=UTC)
LEAF_LIFETIME = timedelta(minutes=10)
ORGANIZATION = "slsa-verifier-plugin tests (keys are public)"

FULCIO_ARC = "1.3.6.1.4.1.57264.1"
_SCT_LIST = ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")


class SctSource(Protocol):
    """What answers a precertificate with a signed certificate timestamp."""

    def timestamp(self, content: bytes, issuer_key_id: bytes, at: datetime) -> bytes:
        """Return a TLS encoded SCT for the TBSCertificate of a precertificate, without its poison, of the issuer with a key."""


@dataclass(frozen=True)
class CtLog:
    """A certificate transparency log, as far as it signs SCTs."""

    key: Key

    def timestamp(self, content: bytes, issuer_key_id: bytes, at: datetime) -> bytes:
        """Return the SCT (RFC 6962 section 3.2)."""
        head = struct.pack("!BBQH", 0, 0, _milliseconds(at), 1)
        signed = head + issuer_key_id + len(content).to_bytes(3, "big") + content + struct.pack("!H", 0)
        signature = self.key.sign(signed)
        return (
            struct.pack("!B32sQHBBH", 0, self.key.key_id, _milliseconds(at), 0, 4, 3, len(signature))
            + signature
        )


@dataclass(frozen=True)
class LeafProfile:
    """How a leaf certificate differs from Fulcio's; the defaults are Fulcio's."""

    code_signing: bool = True
    digital_signature: bool = True
    is_ca: bool = False
    lifetime: timedelta = LEAF_LIFETIME


FULCIO_PROFILE = LeafProfile()


class CertificateAuthority:
    """A root and an intermediate (P-384, as the public-good instance has them) that issues leaves.

    Args:
        seed: what all keys and serial numbers come from.
        label: tells this authority from others of the same seed.
        name: the intermediate's common name.
        created: start of both certificates' validity.
        expires: its end.
    """

    def __init__(
        self,
        seed: str,
        label: str = "fulcio",
        name: str = "sigstore-intermediate",
        created: datetime = CREATED,
        expires: datetime = EXPIRES,
    ) -> None:
        self._seed, self._label, self._issued = seed, label, 0
        root_key = derive_key(seed, f"{label}/root", Scheme.ECDSA_P384)
        self.key = derive_key(seed, f"{label}/intermediate", Scheme.ECDSA_P384)
        self.root = authority_certificate(
            root_key,
            root_key,
            name="sigstore",
            issuer="sigstore",
            validity=(created, expires),
            path_length=None,
        )
        self.intermediate = authority_certificate(
            self.key,
            root_key,
            name=name,
            issuer="sigstore",
            validity=(created, expires),
            path_length=0,
            usage=ExtendedKeyUsageOID.CODE_SIGNING,
        )

    def issue(
        self,
        public_key: ec.EllipticCurvePublicKey,
        identity: Identity,
        at: datetime,
        ct_log: SctSource | None,
        profile: LeafProfile = FULCIO_PROFILE,
    ) -> x509.Certificate:
        """Return a leaf certificate that is valid from ``at``; without ``ct_log`` it carries no SCT."""
        builder = self._leaf(public_key, identity, at, profile)
        if ct_log is not None:
            # A precertificate without its poison is the certificate as it would be without SCTs.
            content = self._signed(builder).tbs_certificate_bytes
            sct = ct_log.timestamp(content, self.key.key_id, at)
            entry = struct.pack("!H", len(sct)) + sct
            scts = core.OctetString(struct.pack("!H", len(entry)) + entry).dump()
            builder = builder.add_extension(x509.UnrecognizedExtension(_SCT_LIST, scts), critical=False)
        return self._signed(builder)

    def issuer_key(self) -> x509.AuthorityKeyIdentifier | None:
        """Return how leaves name their issuer's key; None for not at all."""
        return _authority_key(self.key)

    def _leaf(
        self, public_key: ec.EllipticCurvePublicKey, identity: Identity, at: datetime, profile: LeafProfile
    ) -> x509.CertificateBuilder:
        self._issued += 1
        builder = (
            x509.CertificateBuilder(subject_name=x509.Name([]), issuer_name=self.intermediate.subject)
            .public_key(public_key)
            .serial_number(_serial(self._seed, f"{self._label}/leaf/{self._issued}"))
            .not_valid_before(at)
            .not_valid_after(at + profile.lifetime)
            .add_extension(_key_usage(profile.digital_signature, signs=profile.is_ca), critical=True)
        )
        purpose = (
            ExtendedKeyUsageOID.CODE_SIGNING if profile.code_signing else ExtendedKeyUsageOID.CLIENT_AUTH
        )
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        if profile.is_ca:
            builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        if (issuer := self.issuer_key()) is not None:
            builder = builder.add_extension(issuer, critical=False)
        builder = builder.add_extension(
            x509.SubjectAlternativeName([_general_name(name) for name in identity.names]), critical=True
        )
        for number, value in identity.encoded().items():
            oid = ObjectIdentifier(f"{FULCIO_ARC}.{number}")
            builder = builder.add_extension(x509.UnrecognizedExtension(oid, value), critical=False)
        return builder

    def _signed(self, builder: x509.CertificateBuilder) -> x509.Certificate:
        return builder.sign(self.key.elliptic, self.key.digest, ecdsa_deterministic=True)


@lru_cache
def authority_certificate(
    key: Key,
    issuer_key: Key,
    *,
    name: str,
    issuer: str,
    validity: tuple[datetime, datetime],
    path_length: int | None,
    usage: ObjectIdentifier | None = None,
) -> x509.Certificate:
    """Return a CA certificate for ``key``, limited to the extended key ``usage`` if one is given."""
    builder = (
        x509.CertificateBuilder(subject_name=distinguished(name), issuer_name=distinguished(issuer))
        .public_key(key.elliptic.public_key())
        .serial_number(_serial(key.key_id.hex(), name))
        .not_valid_before(validity[0])
        .not_valid_after(validity[1])
        .add_extension(_key_usage(digital_signature=False, signs=True), critical=True)
    )
    if usage is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    return (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.elliptic.public_key()), critical=False)
        .add_extension(_authority_key(issuer_key), critical=False)
        .sign(issuer_key.elliptic, issuer_key.digest, ecdsa_deterministic=True)
    )


def distinguished(name: str) -> x509.Name:
    """Return the distinguished name of one of the lab's authorities."""
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANIZATION),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )


def _general_name(name: str) -> x509.GeneralName:
    return x509.UniformResourceIdentifier(name) if "://" in name else x509.RFC822Name(name)


def _authority_key(key: Key) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.elliptic.public_key())


def _key_usage(digital_signature: bool, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        # A key usage must name something: what lacks the one that matters has another.
        content_commitment=not digital_signature and not signs,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _serial(seed: str, label: str) -> int:
    return int.from_bytes(derived(seed, f"serial/{label}", 19), "big") | 1


def _milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)
