"""A whole Sigstore in memory: it signs what it is given as whom it is told, and says who it is."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, Protocol, Unpack

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.support.sigstore import entries
from tests.support.sigstore.certificates import (
    FULCIO_PROFILE,
    CertificateAuthority,
    CtLog,
    LeafProfile,
    SctSource,
)
from tests.support.sigstore.encoding import b64, compact
from tests.support.sigstore.envelope import (
    IN_TOTO,
    Envelope,
    Payload,
    payload_bytes,
    pre_authentication_encoding,
    sign_envelope,
)
from tests.support.sigstore.identity import Identity, github_source_actions
from tests.support.sigstore.keys import Key, Scheme, derive_key
from tests.support.sigstore.logs import RekorV1, RekorV2
from tests.support.sigstore.timestamps import TimestampAuthority
from tests.support.sigstore.trusted_root import TrustedRootOptions, trusted_root

SEED = "slsa-verifier-plugin tests"
SIGNED_AT = datetime(2025, 11, 3, 10, 0, tzinfo=UTC)
"""When the lab signs, unless told otherwise."""
LOGGED_AFTER = timedelta(seconds=1)

MEDIA_TYPES = {
    "0.1": "application/vnd.dev.sigstore.bundle+json;version=0.1",
    "0.2": "application/vnd.dev.sigstore.bundle+json;version=0.2",
    "0.3": "application/vnd.dev.sigstore.bundle.v0.3+json",
    "0.3-old": "application/vnd.dev.sigstore.bundle+json;version=0.3",
}
BundleVersion = Literal["0.1", "0.2", "0.3", "0.3-old"]
Log = Literal["v1", "v2"]
EntryKind = Literal["dsse", "intoto"]


class TransparencyLog(Protocol):
    """What both generations of Rekor have in common."""

    def add(self, kind: str, version: str, body: bytes, at: datetime) -> dict[str, Any]:
        """Log ``body`` and return the entry in the form that bundles hold."""


@dataclass(frozen=True)
class Departures:
    """Where a signature departs from how the lab would make it; the defaults depart from nothing.

    Tampered bundles need a part made by somebody else or at another time, and otherwise made properly.
    ``certificate_at``, ``logged_at`` and ``timestamped_at`` replace the moments that follow from ``at``.
    """

    authority: CertificateAuthority | None = None
    ct_log: SctSource | None = None
    log: TransparencyLog | None = None
    timestamp_authority: TimestampAuthority | None = None
    profile: LeafProfile = FULCIO_PROFILE
    certificate_at: datetime | None = None
    logged_at: datetime | None = None
    timestamped_at: datetime | None = None
    signing_keys: tuple[Key, ...] = field(default=())
    """Keys that sign the envelope in place of the certificate's."""
    whole_chain: bool = False
    """Intermediate and root stand behind the leaf, as in old bundles (0.1 and 0.2 only)."""
    empty_log_list: bool = False
    """Without a log, ``tlogEntries`` is there and empty, as some clients write it."""


AS_USUAL = Departures()


class Lab:
    """One Sigstore: certificate authority, CT log, two transparency logs and a timestamp authority.

    Labs of one seed have the same keys and hence the same trusted root; the logs start anew in each.
    """

    def __init__(self, seed: str = SEED) -> None:
        self.seed = seed
        self.authority = CertificateAuthority(seed)
        self.ct_log = CtLog(derive_key(seed, "ctfe"))
        self.rekor_v1 = RekorV1(derive_key(seed, "rekor/v1"))
        self.rekor_v2 = RekorV2(derive_key(seed, "rekor/v2", Scheme.ED25519))
        self.timestamp_authority = TimestampAuthority(seed)
        self._signatures = 0

    def sign(
        self,
        payload: Payload,
        identity: Identity | None = None,
        *,
        bundle_version: BundleVersion = "0.3",
        log: Log | None = "v1",
        timestamp: bool = False,
        sct: bool = True,
        at: datetime = SIGNED_AT,
        payload_type: str = IN_TOTO,
        entry: EntryKind = "dsse",
        departures: Departures = AS_USUAL,
    ) -> bytes:
        """Return a bundle of ``payload``, signed as ``identity``, as one line of JSON.

        Args:
            payload: a statement, or bytes that are signed as they are.
            identity: the signer; ``github_source_actions()`` if None.
            bundle_version: ``0.3-old`` is 0.3 under the media type that it had first.
            log: the transparency log; None for none, which only a timestamp makes verifiable.
            timestamp: add a signed timestamp. Rekor v2 gives no time, so its entries need one.
            sct: have the certificate logged.
            at: start of the certificate's validity; log and timestamp follow after ``LOGGED_AFTER``.
            payload_type: the envelope's payload type.
            entry: the type of the entry in Rekor v1; Rekor v2 has but one.
            departures: parts to be made otherwise.
        """
        key = self._take_key()
        certificate = self._certificate(key, identity, sct, at, departures)
        content = payload_bytes(payload)
        keys = departures.signing_keys or (key,)
        envelope = sign_envelope(content, keys[0], payload_type=payload_type, others=keys[1:])
        signer = certificate_signer(certificate, key)
        material: dict[str, Any] = self._holder(certificate, bundle_version, departures)
        later = departures.logged_at or at + LOGGED_AFTER
        if log is not None:
            logged = self._entry_of(envelope, signer, log, entry)
            material["tlogEntries"] = [self._log(log, departures).add(*logged, later)]
        elif departures.empty_log_list:
            material["tlogEntries"] = []
        if timestamp:
            authority = departures.timestamp_authority or self.timestamp_authority
            token = authority.stamp(envelope.signatures[0], departures.timestamped_at or later)
            material["timestampVerificationData"] = {"rfc3161Timestamps": [{"signedTimestamp": b64(token)}]}
        return compact(
            {
                "mediaType": MEDIA_TYPES[bundle_version],
                "verificationMaterial": material,
                "dsseEnvelope": envelope.as_json(),
            }
        )

    def sign_blob(
        self, content: bytes, identity: Identity | None = None, *, at: datetime = SIGNED_AT
    ) -> bytes:
        """Return a bundle of a signature over ``content`` itself: valid, but no attestation."""
        key = self._take_key()
        certificate = self._certificate(key, identity, True, at, AS_USUAL)
        signature = key.sign(content)
        logged = entries.hashedrekord_v1(content, signature, certificate_signer(certificate, key))
        material = self._holder(certificate, "0.3", AS_USUAL)
        material["tlogEntries"] = [self.rekor_v1.add(*logged, at + LOGGED_AFTER)]
        return compact(
            {
                "mediaType": MEDIA_TYPES["0.3"],
                "verificationMaterial": material,
                "messageSignature": {
                    "messageDigest": {
                        "algorithm": "SHA2_256",
                        "digest": b64(hashlib.sha256(content).digest()),
                    },
                    "signature": b64(signature),
                },
            }
        )

    def sign_with_key(
        self,
        payload: Payload,
        key: Key,
        *,
        hint: str | None = None,
        log: Log | None = None,
        timestamp: bool = False,
        at: datetime = SIGNED_AT,
        payload_type: str = IN_TOTO,
    ) -> bytes:
        """Return a bundle signed with a plain key, of which it holds no more than a hint.

        Args:
            payload: a statement, or bytes.
            key: the key.
            hint: what stands in ``publicKey.hint``; None for base64 of the key's SHA-256, as in cosign.
            log: a transparency log that records the signature as well.
            timestamp: add a signed timestamp.
            at: when log and timestamp authority saw it.
            payload_type: the envelope's payload type.

        Raises:
            ValueError: Rekor v2 is to log an Ed25519 signature; it takes prehashed ones alone.
        """
        if log == "v2" and key.scheme is Scheme.ED25519:
            raise ValueError("Rekor v2 logs no signature that is not over a digest")
        envelope = sign_envelope(payload, key, payload_type=payload_type)
        material: dict[str, Any] = {"publicKey": {"hint": b64(key.key_id) if hint is None else hint}}
        if log is not None:
            logged = self._entry_of(
                envelope, entries.Signer(key.pem, key.spki, key.details, False), log, "dsse"
            )
            material["tlogEntries"] = [self._log(log, AS_USUAL).add(*logged, at)]
        if timestamp:
            token = self.timestamp_authority.stamp(envelope.signatures[0], at)
            material["timestampVerificationData"] = {"rfc3161Timestamps": [{"signedTimestamp": b64(token)}]}
        return compact(
            {
                "mediaType": MEDIA_TYPES["0.3"],
                "verificationMaterial": material,
                "dsseEnvelope": envelope.as_json(),
            }
        )

    def trusted_root(self, **options: Unpack[TrustedRootOptions]) -> bytes:
        """Return the lab's ``trusted_root.json``; the options are those of ``trusted_root.trusted_root``."""
        return trusted_root(self, **options)

    @property
    def next_key(self) -> Key:
        """The key that the next signature's certificate will be for."""
        return derive_key(self.seed, f"signer/{self._signatures + 1}")

    def _take_key(self) -> Key:
        key = self.next_key
        self._signatures += 1
        return key

    def _certificate(
        self, key: Key, identity: Identity | None, sct: bool, at: datetime, departures: Departures
    ) -> x509.Certificate:
        return (departures.authority or self.authority).issue(
            key.elliptic.public_key(),
            github_source_actions() if identity is None else identity,
            departures.certificate_at or at,
            (departures.ct_log or self.ct_log) if sct else None,
            departures.profile,
        )

    def _holder(
        self, certificate: x509.Certificate, version: BundleVersion, departures: Departures
    ) -> dict[str, Any]:
        raw = {"rawBytes": b64(certificate.public_bytes(Encoding.DER))}
        if version.startswith("0.3"):
            return {"certificate": raw}
        authority = departures.authority or self.authority
        rest = [authority.intermediate, authority.root] if departures.whole_chain else []
        chain = [raw, *({"rawBytes": b64(one.public_bytes(Encoding.DER))} for one in rest)]
        return {"x509CertificateChain": {"certificates": chain}}

    def _log(self, log: Log, departures: Departures) -> TransparencyLog:
        return departures.log or (self.rekor_v1 if log == "v1" else self.rekor_v2)

    @staticmethod
    def _entry_of(
        envelope: Envelope, signer: entries.Signer, log: Log, entry: EntryKind
    ) -> tuple[str, str, bytes]:
        if log == "v2":
            message = pre_authentication_encoding(envelope.payload_type, envelope.payload)
            return entries.hashedrekord_v2(message, envelope.signatures, signer)
        return (entries.dsse_v1 if entry == "dsse" else entries.intoto_v1)(envelope, signer)


def certificate_signer(certificate: x509.Certificate, key: Key) -> entries.Signer:
    """Return how log entries name the signer with ``certificate``, whose key is ``key``."""
    return entries.Signer(
        certificate.public_bytes(Encoding.PEM), certificate.public_bytes(Encoding.DER), key.details, True
    )
