"""A timestamp authority (RFC 3161), with tokens as Sigstore's and GitHub's authorities make them."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from functools import cache, lru_cache

from asn1crypto import core
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.support.sigstore.certificates import CREATED, EXPIRES, authority_certificate, distinguished
from tests.support.sigstore.keys import Key, Scheme, derive_key, derived

POLICY = "1.3.6.1.4.1.57264.2"
"""Sigstore's own timestamp policy."""

SEQUENCE, SET, OCTET_STRING = 0x30, 0x31, 0x04
TAGGED_0, TAGGED_4 = 0xA0, 0xA4
"""DER's tags, and those of a context that hold other elements."""

SHA256, SHA384, ECDSA_SHA384 = "2.16.840.1.101.3.4.2.1", "2.16.840.1.101.3.4.2.2", "1.2.840.10045.4.3.3"
SIGNED_DATA, TST_INFO = "1.2.840.113549.1.7.2", "1.2.840.113549.1.9.16.1.4"
CONTENT_TYPE, MESSAGE_DIGEST, SIGNING_TIME = (f"1.2.840.113549.1.9.{number}" for number in (3, 4, 5))
SIGNING_CERTIFICATE_V2 = "1.2.840.113549.1.9.16.2.47"


class TimestampAuthority:
    """A root and the P-384 certificate that signs tokens.

    Args:
        seed: what both keys come from.
        label: tells this authority from others of the same seed.
        embed: put the signing certificate into each token, as a request with ``certReq`` would have it.
    """

    def __init__(self, seed: str, label: str = "tsa", *, embed: bool = False) -> None:
        self._seed, self._label, self._embed = seed, label, embed
        root_key = derive_key(seed, f"{label}/root", Scheme.ECDSA_P384)
        self.key = derive_key(seed, f"{label}/leaf", Scheme.ECDSA_P384)
        self.root = authority_certificate(
            root_key,
            root_key,
            name="sigstore-tsa-selfsigned",
            issuer="sigstore-tsa-selfsigned",
            validity=(CREATED, EXPIRES),
            path_length=None,
        )
        serial = int.from_bytes(derived(seed, f"{label}/serial", 19), "big") | 1
        self.certificate = _stamping_certificate(self.key, root_key, serial)

    def stamp(self, message: bytes, at: datetime) -> bytes:
        """Return a DER TimeStampResp over ``message``, whole seconds of ``at`` being its time."""
        own, moment = self.certificate, at.replace(microsecond=0)
        issuer, own_serial = own.issuer.public_bytes(), core.Integer(own.serial_number).dump()
        der = own.public_bytes(Encoding.DER)
        serial = int.from_bytes(derived(self._seed, f"{self._label}/{message.hex()}", 19), "big")
        # RFC 3161 section 2.4.2: the name stands as a directoryName under the tag of "tsa".
        info = _element(
            SEQUENCE,
            core.Integer(1).dump(),
            _oid(POLICY),
            _element(SEQUENCE, _digest_algorithm(SHA256), _octets(hashlib.sha256(message).digest())),
            core.Integer(serial).dump(),
            core.GeneralizedTime(moment).dump(),
            _element(SEQUENCE, core.Integer(1).dump()),
            _element(TAGGED_0, _element(TAGGED_4, own.subject.public_bytes())),
        )
        # RFC 5035 section 4: the hash is SHA-256 where none is named.
        own_id = _element(
            SEQUENCE,
            _octets(hashlib.sha256(der).digest()),
            _element(SEQUENCE, _element(SEQUENCE, _element(TAGGED_4, issuer)), own_serial),
        )
        values = {
            CONTENT_TYPE: _oid(TST_INFO),
            SIGNING_TIME: core.UTCTime(moment).dump(),
            MESSAGE_DIGEST: _octets(hashlib.sha384(info).digest()),
            SIGNING_CERTIFICATE_V2: _element(SEQUENCE, _element(SEQUENCE, own_id)),
        }
        # X.690 section 11.6: what stands in a SET OF is sorted.
        attributes = sorted(
            _element(SEQUENCE, _oid(name), _element(SET, value)) for name, value in values.items()
        )
        signer = _element(
            SEQUENCE,
            core.Integer(1).dump(),
            _element(SEQUENCE, issuer, own_serial),
            _digest_algorithm(SHA384),
            _element(TAGGED_0, *attributes),
            _element(SEQUENCE, _oid(ECDSA_SHA384)),
            # Signed is the SET OF attributes, not what stands under the implicit tag (RFC 5652 section 5.4).
            _octets(self.key.sign(_element(SET, *attributes))),
        )
        signed = _element(
            SEQUENCE,
            core.Integer(3).dump(),
            _element(SET, _digest_algorithm(SHA384)),
            _element(SEQUENCE, _oid(TST_INFO), _element(TAGGED_0, _octets(info))),
            _element(TAGGED_0, der) if self._embed else b"",
            _element(SET, signer),
        )
        token = _element(SEQUENCE, _oid(SIGNED_DATA), _element(TAGGED_0, signed))
        return _element(SEQUENCE, _element(SEQUENCE, core.Integer(0).dump()), token)


@lru_cache
def _stamping_certificate(key: Key, issuer_key: Key, serial: int) -> x509.Certificate:
    return (
        x509.CertificateBuilder(
            subject_name=distinguished("sigstore-tsa"), issuer_name=distinguished("sigstore-tsa-selfsigned")
        )
        .public_key(key.elliptic.public_key())
        .serial_number(serial)
        .not_valid_before(CREATED)
        .not_valid_after(EXPIRES - timedelta(days=1))
        .add_extension(_signing_only(), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.elliptic.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.elliptic.public_key()),
            critical=False,
        )
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), critical=True)
        .sign(issuer_key.elliptic, issuer_key.digest, ecdsa_deterministic=True)
    )


def _element(tag: int, *parts: bytes) -> bytes:
    """Return a DER element of a tag and its content (X.690 sections 8.1.2 and 8.1.3)."""
    content = b"".join(parts)
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content


def _octets(content: bytes) -> bytes:
    return _element(OCTET_STRING, content)


@cache
def _oid(dotted: str) -> bytes:
    encoded: bytes = core.ObjectIdentifier(dotted).dump()
    return encoded


def _digest_algorithm(dotted: str) -> bytes:
    return _element(SEQUENCE, _oid(dotted), core.Null().dump())


def _signing_only() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
