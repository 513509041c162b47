"""Step 5: a candidate to a verified payload and its signer."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from slsa_verifier_plugin.errors import Reason, SignatureError, VerifierError
from slsa_verifier_plugin.lru import LruCache
from slsa_verifier_plugin.model.envelope import Candidate
from slsa_verifier_plugin.model.signer import Claim, Signer, Verified
from slsa_verifier_plugin.policy.verdict import RootInfo
from slsa_verifier_plugin.signatures import bundles
from slsa_verifier_plugin.signatures import certificate as certificates
from slsa_verifier_plugin.signatures.in_service import InService
from slsa_verifier_plugin.signatures.keys import (
    Message,
    TrustedKey,
    is_valid,
    pre_authentication_encoding,
    verify_with_keys,
)
from slsa_verifier_plugin.signatures.libraries import Bundle, bundle_v1
from slsa_verifier_plugin.signatures.timestamps import (
    chain_at,
    is_known,
    verified_times,
    verify_stamped_bundle,
)
from slsa_verifier_plugin.signatures.trust import LoadedRoot
from slsa_verifier_plugin.signatures.wording import reason_of
from slsa_verifier_plugin.text import plain

CacheKey = tuple[bytes, str]
SignatureCache = LruCache[CacheKey, Verified]
"""Verified candidates by (digest of their bytes, voucher of the trusted root or identities of the keys)."""

MAX_SERVICES = 16
"""Sets of parts of one root that are kept ready to verify with: one for each stretch of time in which nothing began or ended."""


class _AnySigner:
    """Sigstore's verifier wants a policy for the signer; ours is applied to the verified result (step 6)."""

    def verify(self, cert: x509.Certificate) -> None:
        """Accept: whose certificate it is gets decided afterwards, with the statement at hand."""


def utc_now() -> datetime:
    """Return the current time."""
    return datetime.now(UTC)


class RootVerifier:
    """Verifies bundles against one trusted root. It keeps nothing that depends on the clock.

    Args:
        root: the trusted root.
        clock: the current time in UTC; tests replace it.
    """

    def __init__(self, root: LoadedRoot, clock: Callable[[], datetime] | None = None) -> None:
        self.root = root
        self._clock = clock or utc_now
        self._services: LruCache[tuple[bool, ...], InService] = LruCache(MAX_SERVICES)

    @property
    def voucher(self) -> str:
        """What stands for this root, as of now, in the cache of what it has verified."""
        return f"{self.root.info.digest}@{self.root.begun(self._clock())}"

    def check_begun(self) -> None:
        """Raise ``TrustRootError`` where no certificate authority of the root is in service yet."""
        self.root.check_begun(self._clock())

    def verify(self, candidate: Candidate, certificate: x509.Certificate) -> Verified:
        """Return the verified payload of ``candidate``.

        Raises:
            SignatureError: it does not verify; ``UNKNOWN_LOG`` where this root knows its CA or log not at all.
        """
        try:
            inner = bundles.parse(candidate)
            self._check_known(inner, certificate)
            if not self.root.parts.logs:
                return self._verify_stamped(inner, certificate, candidate)
            return self._verify_logged(inner, certificate, candidate)
        except VerifierError:
            raise
        except Exception as error:
            # The one boundary for what sigstore, pydantic, cryptography and rfc3161-client raise on bad input.
            raise SignatureError(
                f"the signature does not verify: {reason_of(error)}", "attach the original bundle, unchanged"
            ) from error

    def _verify_stamped(
        self, inner: bundle_v1.Bundle, certificate: x509.Certificate, candidate: Candidate
    ) -> Verified:
        times = self._stamped(inner).values()
        needs_sct = bool(self.root.parts.ct_logs)
        verify_stamped_bundle(inner, certificate, times, self._in_service, needs_sct=needs_sct)
        envelope = inner.dsse_envelope
        assert envelope is not None
        return self._verified(
            (envelope.payload_type, envelope.payload), candidate, certificate, min(times), None
        )

    def _verify_logged(
        self, inner: bundle_v1.Bundle, certificate: x509.Certificate, candidate: Candidate
    ) -> Verified:
        # First what costs least: one signature, before those of authorities and logs, which anybody may copy from another bundle.
        _check_signature(inner, certificate)
        stamped = self._stamped(inner)
        moment = _logged_at(inner)
        if moment is None:
            if not stamped:
                raise SignatureError(
                    "the signature does not verify: no time that a trusted log or timestamp authority vouches for",
                    "attach the original bundle, unchanged",
                )
            moment = min(stamped.values())
        # From here on only what was in service when this was signed counts, whatever the bundle says of itself.
        service = self._in_service(moment)
        self._check_in_service(inner, certificate, service)
        for other in {*stamped.values()} - {moment}:
            chain_at(certificate, self._in_service(other).parts.authorities, other)
        # sigstore-python verifies each timestamp again, so it gets the one that it cannot do without.
        needed = [token for token, time in stamped.items() if time == moment][:1]
        kept = frozenset(needed if _logged_at(inner) is None else ())
        bundle = Bundle(bundles.with_tokens(inner, kept))
        content = service.verifier.verify_dsse(bundle, _AnySigner())
        if bundle.signing_certificate != certificate:
            raise SignatureError("the bundle can be read as carrying two certificates")
        # Whoever adds a later timestamp makes nothing younger (maxAge); all these times are verified.
        signed_at = min([moment, *stamped.values()])
        return self._verified(content, candidate, certificate, signed_at, _verified_index(inner))

    def _verified(
        self,
        content: tuple[str, bytes],
        candidate: Candidate,
        certificate: x509.Certificate,
        moment: datetime,
        index: int | None,
    ) -> Verified:
        if content != (candidate.payload_type, candidate.payload):
            raise SignatureError("the bundle can be read as carrying two payloads")
        claim = Claim(*content, certificates.signer_of(certificate))
        return Verified(claim, moment, index, self.root.info.digest)

    def _in_service(self, moment: datetime) -> InService:
        """Return what of this root was in service at ``moment``; made once for each set of parts, of which there are few."""
        counting = self.root.parts.counting(moment, self._clock())
        service = self._services.get(counting)
        if service is None:
            service = InService(self.root.parts.chosen(counting))
            self._services.put(counting, service)
        return service

    def _check_known(self, bundle: bundle_v1.Bundle, certificate: x509.Certificate) -> None:
        """Raise ``UNKNOWN_LOG`` unless this root has the CA and the logs that the bundle names, whenever they were in service."""
        parts = self.root.parts
        if not parts.authority_of(certificate):
            raise _unknown(f"the certificate authority {plain(certificate.issuer.rfc4514_string())}")
        # Only where there are logs of neither kind (GitHub's own Sigstore) does nobody look at an SCT.
        needs_sct = parts.ct_logs or parts.logs
        ct_ids = {log.id for log in parts.ct_logs}
        for log_id in certificates.ct_log_ids(certificate) if needs_sct else ():
            if log_id not in ct_ids:
                raise _unknown(f"the certificate transparency log {log_id.hex()[:16]}")
        if not parts.logs:
            return
        entries = bundle.verification_material.tlog_entries
        tokens = bundles.tokens_of(bundle)
        if tokens and _logged_at(bundle) is None and not is_known(tokens, parts.timestamp_authorities):
            raise _unknown("the timestamp authority")
        if not entries:
            raise SignatureError(
                f"the bundle has no transparency log entry, which {plain(self.root.info.source)} demands",
                "attach the original bundle",
            )
        log_ids = {log.id for log in parts.logs}
        for entry in entries:
            if entry.log_id.key_id not in log_ids:
                raise _unknown(f"the transparency log {entry.log_id.key_id.hex()[:16]}")

    def _stamped(self, bundle: bundle_v1.Bundle) -> dict[bytes, datetime]:
        """Return the verified timestamps; the others are left out, as anybody could leave them out of the bundle."""
        now = self._clock()
        authorities = [item for item in self.root.parts.timestamp_authorities if item.window.start <= now]
        envelope = bundle.dsse_envelope
        signature = envelope.signatures[0].sig if envelope and envelope.signatures else b""
        return verified_times(bundles.tokens_of(bundle), signature, authorities)

    def _check_in_service(
        self, bundle: bundle_v1.Bundle, certificate: x509.Certificate, service: InService
    ) -> None:
        """Raise ``SignatureError`` where a party that the bundle names, and this root knows, was not in service."""
        if not service.parts.authority_of(certificate):
            raise SignatureError(
                "the trusted root says that the certificate authority was not in service when this was signed"
            )
        ids = {log.id for log in service.parts.logs}
        ct_ids = {log.id for log in service.parts.ct_logs}
        entries = bundle.verification_material.tlog_entries
        if not (
            all(entry.log_id.key_id in ids for entry in entries)
            and all(log_id in ct_ids for log_id in certificates.ct_log_ids(certificate))
        ):
            raise SignatureError("the trusted root says that a log was not in service when this was signed")


class AttestationVerifier:
    """Verifies candidates against a policy's trusted roots and keys.

    Args:
        roots: one verifier a trusted root; a bundle needs one of them.
        keys: the policy's public keys, by how the policy writes them.
        cache: verified candidates, shared by all verifiers of a process; None for no cache.
        now: the current time, for messages about a root's age.
        warnings: what could not be set up although the rest could.
    """

    def __init__(
        self,
        roots: Sequence[RootVerifier],
        keys: Mapping[str, TrustedKey],
        cache: SignatureCache | None = None,
        now: datetime | None = None,
        warnings: Sequence[str] = (),
    ) -> None:
        self.warnings = tuple(warnings)
        self._roots = roots
        self._keys = keys
        self._cache = cache
        self._now = now or datetime.now(UTC)
        self._key_ring = ",".join(sorted(key.identity for key in keys.values()))

    @property
    def roots(self) -> tuple[RootInfo, ...]:
        """The trusted roots that take part."""
        return tuple(verifier.root.info for verifier in self._roots)

    @property
    def key_identities(self) -> dict[str, str]:
        """The identity of each configured key's signatures, by how the policy writes the key."""
        return {configured: key.identity for configured, key in self._keys.items()}

    def claims(self, candidate: Candidate) -> list[Claim]:
        """Return what ``candidate`` claims: one claim, or for a key's signature one for each configured key.

        This verifies nothing.

        Raises:
            SignatureError: its certificate cannot be read.
        """
        if candidate.certificate is None:
            signers = [Signer(key.identity, "") for key in self._keys.values()]
        else:
            signers = [certificates.signer_of(certificates.load(candidate.certificate))]
        return [Claim(candidate.payload_type, candidate.payload, signer) for signer in signers]

    def verify(self, candidate: Candidate) -> Verified:
        """Return the verified payload of ``candidate`` and its signer.

        Raises:
            SignatureError: it does not verify; reason ``UNKNOWN_LOG`` where no trusted root knows its CA or log.
        """
        if (known := self._known(candidate)) is not None:
            return known
        if candidate.certificate is None:
            keys = list(self._keys.values())
            return self._kept(candidate, self._key_ring, verify_with_keys(candidate, keys))
        certificate = certificates.load(candidate.certificate)
        invalid: SignatureError | None = None
        unknown: SignatureError | None = None
        for verifier in self._roots:
            try:
                return self._kept(candidate, verifier.voucher, verifier.verify(candidate, certificate))
            except SignatureError as error:
                if error.reason is Reason.UNKNOWN_LOG:
                    unknown = error
                else:
                    invalid = error
        if invalid is not None:
            raise invalid
        raise self._with_ages(unknown)

    def _known(self, candidate: Candidate) -> Verified | None:
        """Return ``candidate`` as it was verified before under one of the roots or keys, None where it was not."""
        if self._cache is None:
            return None
        by_key = candidate.certificate is None
        vouchers = [self._key_ring] if by_key else [root.voucher for root in self._roots]
        found = (self._cache.get(_cache_key(candidate, voucher)) for voucher in vouchers)
        return next(filter(None, found), None)

    def _kept(self, candidate: Candidate, voucher: str, verified: Verified) -> Verified:
        if self._cache is not None:
            self._cache.put(_cache_key(candidate, voucher), verified, len(verified.claim.payload) + 4096)
        return verified

    def _with_ages(self, unknown: SignatureError | None) -> SignatureError:
        ages = "; ".join(
            f"{plain(root.source)} of {root.date:%Y-%m-%d} ({max(0, (self._now - root.date).days)} days old)"
            for root in self.roots
        )
        what = unknown.message if unknown else "the signature's Sigstore instance is not known"
        return SignatureError(
            f"{what} is in no trusted root ({ages})",
            "refresh the trusted root, or add this Sigstore's to trustedRoot",
            reason=Reason.UNKNOWN_LOG,
        )


def _cache_key(candidate: Candidate, voucher: str) -> CacheKey:
    return hashlib.sha256(candidate.content).digest(), voucher


def _unknown(what: str) -> SignatureError:
    return SignatureError(what, reason=Reason.UNKNOWN_LOG)


def _check_signature(bundle: bundle_v1.Bundle, certificate: x509.Certificate) -> None:
    """Raise ``SignatureError`` unless the envelope's only signature was made with the certificate's key.

    sigstore-python looks at this last, after five other signatures, and at the shape of what is not looked at here.
    """
    envelope = bundle.dsse_envelope
    try:
        key = certificate.public_key()
    except Exception as error:
        # As the parser of certificates: several types, and panics that are no ValueErrors.
        raise SignatureError(
            "the signature does not verify: the certificate's key is none that there can be",
            "attach the original bundle, unchanged",
        ) from error
    if envelope is None or len(envelope.signatures) != 1 or not isinstance(key, ec.EllipticCurvePublicKey):
        return
    message = Message(pre_authentication_encoding(envelope.payload_type, envelope.payload))
    if not is_valid(key, envelope.signatures[0].sig, message):
        raise SignatureError(
            "the signature does not verify: it does not match the certificate's key and the content",
            "attach the original bundle, unchanged",
        )


def _logged_at(bundle: bundle_v1.Bundle) -> datetime | None:
    """Return the log's time where its promise covers it, which is still to be verified; None where there is none."""
    for entry in bundle.verification_material.tlog_entries:
        if entry.integrated_time and entry.inclusion_promise:
            try:
                return datetime.fromtimestamp(entry.integrated_time, tz=UTC)
            except (ValueError, OverflowError, OSError):
                raise SignatureError("the log entry's time is none that there can be") from None
    return None


def _verified_index(bundle: bundle_v1.Bundle) -> int:
    """Return the entry's index as something verified vouches for it.

    A promise (Rekor v1) is over the entry's index in the whole log. Without one (Rekor v2) nothing is over ``logIndex``; the
    index in the proof is part of the path that led to the checkpoint's root, in a tree of the size that the checkpoint says.

    Raises:
        SignatureError: the proof is of a tree of another size than the checkpoint's, so that its index may be a lie.
    """
    (entry,) = bundle.verification_material.tlog_entries
    if _logged_at(bundle) is not None:
        return entry.log_index
    proof = entry.inclusion_proof
    lines = proof.checkpoint.envelope.split("\n", 2) if proof.checkpoint else []
    if len(lines) < 3 or lines[1] != str(proof.tree_size):
        raise SignatureError(
            "the inclusion proof is for a tree of another size than the one whose checkpoint the log signed",
            "attach the original bundle, unchanged",
        )
    return proof.log_index
