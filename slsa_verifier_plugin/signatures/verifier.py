"""Step 5: a candidate to a verified payload and its signer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from cryptography import x509

from slsa_verifier_plugin.errors import Reason, SignatureError, TrustRootError, VerifierError
from slsa_verifier_plugin.lru import LruCache
from slsa_verifier_plugin.model.envelope import Candidate
from slsa_verifier_plugin.model.signer import Claim, Signer, Verified
from slsa_verifier_plugin.policy.verdict import RootInfo
from slsa_verifier_plugin.signatures import certificate as certificates
from slsa_verifier_plugin.signatures.keys import TrustedKey, verify_with_keys
from slsa_verifier_plugin.signatures.libraries import Bundle, SigstoreError, Verifier, bundle_v1
from slsa_verifier_plugin.signatures.timestamps import is_known, verified_times, verify_stamped_bundle
from slsa_verifier_plugin.signatures.trust import LoadedRoot
from slsa_verifier_plugin.strict_json import loads
from slsa_verifier_plugin.text import plain, quoted

CacheKey = tuple[bytes, str]
SignatureCache = LruCache[CacheKey, Verified]
"""Verified candidates by (digest of their bytes, digest of the trusted root or identity of the keys)."""


class _AnySigner:
    """Sigstore's verifier wants a policy for the signer; ours is applied to the verified result (step 6)."""

    def verify(self, cert: x509.Certificate) -> None:
        """Accept: whose certificate it is gets decided afterwards, with the statement at hand."""


class RootVerifier:
    """Verifies bundles against one trusted root; made once a root, for its set-up takes longer than a verification.

    Raises:
        TrustRootError: no part of the root is in service yet.
    """

    def __init__(self, root: LoadedRoot) -> None:
        self.root = root
        try:
            self._verifier = Verifier(trusted_root=root.root) if root.logs else None
        except SigstoreError as error:
            raise TrustRootError(
                f"the trusted root {quoted(root.info.source)} cannot be used yet: {plain(str(error))}"
            ) from error

    def verify(self, candidate: Candidate, certificate: x509.Certificate) -> Verified:
        """Return the verified payload of ``candidate``.

        Raises:
            SignatureError: it does not verify; ``UNKNOWN_LOG`` where this root knows its CA or log not at all.
        """
        try:
            inner = _parsed(candidate)
            self._check_known(inner, certificate)
            if self._verifier is None:
                moment = verify_stamped_bundle(inner, certificate, self.root)
                envelope = inner.dsse_envelope
                assert envelope is not None
                content, index = (envelope.payload_type, envelope.payload), None
            else:
                bundle = Bundle(inner if self.root.timestamp_authorities else _unstamped(inner))
                content = self._verifier.verify_dsse(bundle, _AnySigner())
                if bundle.signing_certificate != certificate:
                    raise SignatureError("the bundle can be read as carrying two certificates")
                moment, index = self._time(bundle), inner.verification_material.tlog_entries[0].log_index
        except VerifierError:
            raise
        except Exception as error:
            # The one boundary for what sigstore, pydantic, cryptography and rfc3161-client raise on bad input.
            raise SignatureError(
                f"the signature does not verify: {plain(_in_short(error))}; attach the original bundle, unchanged"
            ) from error
        if content != (candidate.payload_type, candidate.payload):
            raise SignatureError("the bundle can be read as carrying two payloads")
        self._check_windows(inner, certificate, moment)
        claim = Claim(*content, certificates.signer_of(certificate))
        return Verified(claim, moment, index, self.root.info.digest)

    def _check_known(self, bundle: bundle_v1.Bundle, certificate: x509.Certificate) -> None:
        """Raise ``UNKNOWN_LOG`` unless this root has the CA and the logs that the bundle names."""
        if not self.root.authority_of(certificate):
            raise _unknown(f"the certificate authority {plain(certificate.issuer.rfc4514_string())}")
        # Only where there are logs of neither kind (GitHub's own Sigstore) does nobody look at an SCT.
        needs_sct = self.root.ct_logs or self.root.logs
        for log_id in certificates.ct_log_ids(certificate) if needs_sct else ():
            if log_id not in self.root.ct_logs:
                raise _unknown(f"the certificate transparency log {log_id.hex()[:16]}")
        if not self.root.logs:
            return
        material = bundle.verification_material
        entries = material.tlog_entries
        tokens = _tokens(bundle)
        has_time = any(entry.inclusion_promise and entry.integrated_time for entry in entries)
        if tokens and not has_time and not is_known(tokens, self.root.timestamp_authorities):
            raise _unknown("the timestamp authority")
        if not entries:
            raise SignatureError(
                f"the bundle has no transparency log entry, which {plain(self.root.info.source)} demands; attach the "
                "original bundle"
            )
        for entry in entries:
            if entry.log_id.key_id not in self.root.logs:
                raise _unknown(f"the transparency log {entry.log_id.key_id.hex()[:16]}")
            if entry.inclusion_proof.checkpoint is None:
                raise _unproved()

    def _time(self, bundle: Bundle) -> datetime:
        """Return the log's time where its promise covers it, else the earliest verified timestamp."""
        entry = bundle.log_entry._inner
        if entry.integrated_time and entry.inclusion_promise:
            return datetime.fromtimestamp(entry.integrated_time, tz=UTC)
        # There is one: sigstore-python has verified it by now.
        return min(verified_times(_tokens(bundle._inner), bundle.signature, self.root.timestamp_authorities))

    def _check_windows(
        self, bundle: bundle_v1.Bundle, certificate: x509.Certificate, moment: datetime
    ) -> None:
        """Check that CA and log were in service at ``moment``: sigstore-python 4.5 looks at no validity windows."""
        if not any(authority.window.holds(moment) for authority in self.root.authority_of(certificate)):
            raise SignatureError(
                "the trusted root says that the certificate authority was not in service when this was signed"
            )
        used = [
            self.root.logs[entry.log_id.key_id]
            for entry in bundle.verification_material.tlog_entries
            if self.root.logs
        ]
        used += [
            self.root.ct_logs[log_id] for log_id in certificates.ct_log_ids(certificate) if self.root.ct_logs
        ]
        if not all(window.holds(moment) for window in used):
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
                return self._kept(
                    candidate, verifier.root.info.digest, verifier.verify(candidate, certificate)
                )
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
        vouchers = [self._key_ring] if by_key else [root.digest for root in self.roots]
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
            f"{what} is in no trusted root ({ages}); refresh the trusted root, or add this Sigstore's to trustedRoot",
            reason=Reason.UNKNOWN_LOG,
        )


def _cache_key(candidate: Candidate, voucher: str) -> CacheKey:
    return hashlib.sha256(candidate.content).digest(), voucher


def _unknown(what: str) -> SignatureError:
    return SignatureError(what, reason=Reason.UNKNOWN_LOG)


def _unproved() -> SignatureError:
    return SignatureError(
        "the bundle's log entry has no inclusion proof with a checkpoint, which a promise does not replace here; attach the "
        "original bundle, and where that is such a bundle of v0.1 have the commit attested anew"
    )


def _tokens(bundle: bundle_v1.Bundle) -> list[bytes]:
    """Return the bundle's signed timestamps in DER."""
    data = bundle.verification_material.timestamp_verification_data
    return [stamp.signed_timestamp for stamp in (data.rfc3161_timestamps if data else [])]


def _unstamped(bundle: bundle_v1.Bundle) -> bundle_v1.Bundle:
    """Return ``bundle`` without its signed timestamps, for a root that has no authority to check them with.

    sigstore-python refuses them there. They are no part of what is signed or logged: anybody could take them out, and what is
    left must vouch for its time by the log's promise as ever.

    Raises:
        SignatureError: too many, a repeated one, or one that cannot be read.
    """
    verified_times(_tokens(bundle), b"", ())
    material = bundle.verification_material.model_copy(update={"timestamp_verification_data": None})
    return bundle.model_copy(update={"verification_material": material})


def _parsed(candidate: Candidate) -> bundle_v1.Bundle:
    """Return the bundle; log entries may be missing altogether, as where there is only a timestamp authority."""
    try:
        return bundle_v1.Bundle.from_json(candidate.content)
    except ValueError:
        value = loads(candidate.content)
        entries = value["verificationMaterial"].setdefault("tlogEntries", [])
        if not all(entry.get("inclusionProof") for entry in entries):
            raise _unproved() from None
        return bundle_v1.Bundle.from_json(json.dumps(value))


def _in_short(error: Exception) -> str:
    """Return an error's text in one line, or its kind where it has none."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text.partition(" For further information")[0]
