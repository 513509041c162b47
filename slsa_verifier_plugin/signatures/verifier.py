"""Step 5: a candidate to a verified payload and its signer."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from slsa_verifier_plugin.errors import Reason, SignatureError, TrustRootError, VerifierError
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
from slsa_verifier_plugin.signatures.libraries import Bundle, KeyringPurpose, bundle_v1, verify_sct
from slsa_verifier_plugin.signatures.timestamps import (
    chain_at,
    names_authority,
    require_code_signing,
    verified_times,
)
from slsa_verifier_plugin.signatures.trust import LoadedRoot, Log
from slsa_verifier_plugin.signatures.wording import reason_of
from slsa_verifier_plugin.text import plain

AUTHORITY = Reason.UNKNOWN_AUTHORITY
_UNKNOWN = (Reason.UNKNOWN_LOG, AUTHORITY)  # for these another root may do
CacheKey = tuple[bytes, str]
SignatureCache = LruCache[CacheKey, Verified]
"""Verified candidates by (digest of their bytes, voucher of the trusted root or identities of the keys)."""
NOTHING_KEPT: SignatureCache = LruCache(0)

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
        """The part of a cache key that stands for this root as of now."""
        return f"{self.root.info.digest}@{self.root.begun(self._clock())}"

    def not_begun(self) -> TrustRootError | None:
        """Return why the root cannot be used yet, None where it can."""
        return self.root.not_begun(self._clock())

    def verify(self, candidate: Candidate, certificate: x509.Certificate) -> Verified:
        """Return the verified payload of ``candidate``.

        The steps, with the sections of Sigstore's client specification:

        1. The bundle is read, each part within its limit.
        2. This root knows every party that the bundle names. Otherwise another root is the one to ask.
        3. A time is established that a log or a timestamp authority vouches for (4.2).
        4. Every party was in service at that time, and the certificate chains to its authority at each time there is (4.3).
        5. SCT, key usage, log entry and signature verify (4.3 to 4.5). Without logs there is no log entry (4.6).
        6. What was verified is what the candidate was read as.

        Raises:
            SignatureError: it does not verify; its reason is one of ``_UNKNOWN`` where this root does not list its CA or log.
        """
        try:
            return self._verify(candidate, certificate)
        # Said in our own words already.
        except VerifierError:
            raise
        except Exception as error:
            # The one boundary for what sigstore, pydantic, cryptography and rfc3161-client raise on bad input.
            raise _invalid(reason_of(error)) from error

    def _verify(self, candidate: Candidate, certificate: x509.Certificate) -> Verified:
        bundle = bundles.parse(candidate)  # step 1
        self._require_known(bundle, certificate)  # step 2
        content, moment, index = self._verified(bundle, certificate)  # steps 3 to 5
        # Step 6. Two readers of one JSON text may differ, in a repeated member say. The policy has seen the candidate's payload,
        # so that is the only one that may count.
        if content != (candidate.payload_type, candidate.payload):
            raise SignatureError("the bundle can be read as carrying two payloads")
        claim = Claim(*content, certificates.signer_of(certificate))
        return Verified(claim, moment, index, self.root.info.digest)

    # Step 2

    def _require_known(self, bundle: bundle_v1.Bundle, certificate: x509.Certificate) -> None:
        """Raise an error with a reason of ``_UNKNOWN`` unless this root lists all parties that the bundle names.

        Whether they were in service is not asked here.

        Nothing is verified here. It tells "signed in another Sigstore instance" from "signed wrongly", which people mend in
        different ways.
        """
        parts = self.root.parts
        # The certificate authority.
        if not parts.authority_of(certificate):
            issuer = plain(certificate.issuer.rfc4514_string())
            raise SignatureError(f"the certificate authority {issuer}", reason=AUTHORITY)
        # The CT logs. Only where there are logs of neither kind (GitHub's own Sigstore) does nobody look at an SCT.
        if parts.ct_logs or parts.logs:
            _require_listed("certificate transparency", certificates.ct_log_ids(certificate), parts.ct_logs)
        # Without logs the time comes from timestamps alone, which ``_by_timestamps`` verifies.
        if not parts.logs:
            return
        # The timestamp authority, where no log gives the time. Beside a log's time an unknown one is left out like any other
        # that does not verify.
        tokens = bundles.tokens_of(bundle)
        if (
            tokens
            and bundles.logged_at(bundle) is None
            and not names_authority(tokens, parts.timestamp_authorities)
        ):
            raise SignatureError("the timestamp authority", reason=AUTHORITY)
        # The transparency log.
        entries = bundle.verification_material.tlog_entries
        if not entries:
            raise SignatureError(
                f"the bundle has no transparency log entry, which {plain(self.root.info.source)} demands",
                "attach the original bundle",
            )
        _require_listed("transparency", [entry.log_id.key_id for entry in entries], parts.logs)

    # Steps 3 to 5

    def _verified(
        self, bundle: bundle_v1.Bundle, certificate: x509.Certificate
    ) -> tuple[tuple[str, bytes], datetime, int | None]:
        """Return content, time and log index of a bundle, after all of its signatures have verified."""
        # The signature comes first, before those of authorities and logs: it is the cheapest, and the others can be copied from
        # a good bundle by anybody.
        content, signature = _signed(bundle, certificate)
        stamped = self._stamped(bundles.tokens_of(bundle), signature)
        # The trusted root says which way, never the bundle: one that leaves its log entry out must not get the easier way.
        if self.root.parts.logs:
            return self._by_log(bundle, certificate, stamped)
        return content, self._by_timestamps(certificate, stamped.values()), None

    def _by_timestamps(self, certificate: x509.Certificate, times: Collection[datetime]) -> datetime:
        """Return the time of a bundle that no log knows (4.6, "No Transparency Service")."""
        # Without a vouched time a certificate of ten minutes proves nothing: its key may have been stolen since.
        if not times:
            raise SignatureError("no signed timestamp of a trusted authority")
        # At each of them: "if either fails, verification fails" (4.3).
        for moment in times:
            service = self._in_service(moment)
            chain = chain_at(certificate, service.parts.authorities, moment)
            # RFC 6962, 3.2, with the keys that were in service. GitHub's own Sigstore has no CT log, and its certificates no
            # SCT.
            if self.root.parts.ct_logs:
                verify_sct(certificate, chain, service.ct_keyring(KeyringPurpose.VERIFY))
        require_code_signing(certificate)
        # The earliest, as with a log: whoever adds a later timestamp makes nothing younger (maxAge).
        return min(times)

    def _by_log(
        self, bundle: bundle_v1.Bundle, certificate: x509.Certificate, stamped: Mapping[bytes, datetime]
    ) -> tuple[tuple[str, bytes], datetime, int]:
        """Return content, time and log index of a bundle with a log entry."""
        # Step 3: the log's time where its promise covers it (Rekor v1), else the earliest timestamp (Rekor v2 has no time).
        logged = bundles.logged_at(bundle)
        # Without a vouched time a certificate of ten minutes proves nothing: its key may have been stolen since.
        if logged is None and not stamped:
            raise _invalid("no time that a trusted log or timestamp authority vouches for")
        moment = min(stamped.values()) if logged is None else logged
        # Step 4: from here on only what was in service at that time counts, whatever the bundle says of itself.
        service = self._in_service(moment)
        self._require_in_service(bundle, certificate, service)
        for other in {*stamped.values()} - {moment}:
            # "If both are available, the Verifier performs path validation twice" (4.3).
            chain_at(certificate, self._in_service(other).parts.authorities, other)
        # Step 5: sigstore-python. It verifies each timestamp again, so it gets the one that it cannot do without.
        # Where the log gives the time, no timestamp is needed.
        needed = [token for token, time in stamped.items() if logged is None and time == moment][:1]
        verified = Bundle(bundles.with_tokens(bundle, needed))
        content = service.verifier.verify_dsse(verified, _AnySigner())
        if verified.signing_certificate != certificate:
            # The signer comes from ``certificate``, which must be the one that was verified.
            raise SignatureError("the bundle can be read as carrying two certificates")
        # The earliest of all times, which are all verified: whoever adds a later timestamp makes nothing younger (maxAge).
        return content, min([moment, *stamped.values()]), bundles.verified_index(bundle)

    def _stamped(self, tokens: Sequence[bytes], signature: bytes) -> dict[bytes, datetime]:
        """Return the verified timestamps; the others are left out, as anybody could leave them out of the bundle."""
        now = self._clock()
        # A window that has not begun by this machine's clock counts for nobody: a root may announce keys ahead of time.
        authorities = [item for item in self.root.parts.timestamp_authorities if item.window.start <= now]
        return verified_times(tokens, signature, authorities)

    def _in_service(self, moment: datetime) -> InService:
        """Return what of this root was in service at ``moment``; made once for each set of parts, of which there are few."""
        counting = self.root.parts.counting(moment, self._clock())
        return self._services.get_or_make(counting, lambda: InService(self.root.parts.chosen(counting)))

    def _require_in_service(
        self, bundle: bundle_v1.Bundle, certificate: x509.Certificate, service: InService
    ) -> None:
        """Raise ``SignatureError`` where a party that the bundle names, and this root knows, was not in service."""
        if not service.parts.authority_of(certificate):
            raise SignatureError(
                "the trusted root says that the certificate authority was not in service when this was signed"
            )
        logged = [entry.log_id.key_id for entry in bundle.verification_material.tlog_entries]
        missing = _unlisted(logged, service.parts.logs)
        missing += _unlisted(certificates.ct_log_ids(certificate), service.parts.ct_logs)
        if missing:
            raise SignatureError("the trusted root says that a log was not in service when this was signed")


class AttestationVerifier:
    """Verifies candidates against a policy's trusted roots and keys.

    Args:
        roots: one verifier a trusted root; a bundle needs one of them.
        keys: the policy's public keys, by how the policy writes them.
        cache: verified candidates, shared by all verifiers of a process; none are kept without it.
        now: the current time, for messages about a root's age.
        warnings: what could not be set up although the rest could.
    """

    def __init__(
        self,
        roots: Sequence[RootVerifier],
        keys: Mapping[str, TrustedKey],
        cache: SignatureCache = NOTHING_KEPT,
        now: datetime | None = None,
        warnings: Sequence[str] = (),
    ) -> None:
        self.warnings = tuple(warnings)
        self._roots = roots
        self._keys = keys
        self._cache = cache
        self._now = now or datetime.now(UTC)
        # Sorted: policies that name the same keys in another order share what was verified.
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
            # Any of them may have signed; which one did is known only once it has verified.
            signers = [Signer(key.identity, "") for key in self._keys.values()]
        else:
            signers = [certificates.signer_of(certificates.load(candidate.certificate))]
        return [Claim(candidate.payload_type, candidate.payload, signer) for signer in signers]

    def verify(self, candidate: Candidate) -> Verified:
        """Return the verified payload of ``candidate`` and its signer.

        Raises:
            SignatureError: it does not verify; its reason is one of ``_UNKNOWN`` where no trusted root lists its CA or log.
        """
        # Only what verified is kept: a failure may be one of a root that is refreshed in a moment.
        if (known := self._known(candidate)) is not None:
            return known
        if candidate.certificate is None:
            # Without a certificate there is a plain key's signature, or none at all.
            keys = list(self._keys.values())
            return self._kept(candidate, self._key_ring, verify_with_keys(candidate, keys))
        certificate = certificates.load(candidate.certificate)
        invalid: SignatureError | None = None
        unknown: SignatureError | None = None
        # Any root may vouch: they are all configured. The first that does is named in the verdict.
        for verifier in self._roots:
            try:
                return self._kept(candidate, verifier.voucher, verifier.verify(candidate, certificate))
            except SignatureError as error:
                # Signed in an instance that this root does not know; another root may.
                if error.reason in _UNKNOWN:
                    unknown = error
                else:
                    invalid = error
        # A root knew its parties and it did not verify: that says more than another root that does not know them.
        if invalid is not None:
            raise invalid
        raise self._with_ages(unknown)

    def _known(self, candidate: Candidate) -> Verified | None:
        """Return ``candidate`` as it was verified before under one of the roots or keys, None where it was not."""
        by_key = candidate.certificate is None
        vouchers = [self._key_ring] if by_key else [root.voucher for root in self._roots]
        found = (self._cache.get(_cache_key(candidate, voucher)) for voucher in vouchers)
        # By the digest of its bytes, the root's, and how many of its parts have begun: nothing else decides whether it
        # verifies.
        return next(filter(None, found), None)

    def _kept(self, candidate: Candidate, voucher: str, verified: Verified) -> Verified:
        # The payload is what takes room; certificate and claims are the rest.
        self._cache.put(_cache_key(candidate, voucher), verified, len(verified.claim.payload) + 4096)
        return verified

    def _with_ages(self, unknown: SignatureError | None) -> SignatureError:
        # Never negative: a root may announce a key whose time is still to come.
        ages = "; ".join(
            f"{plain(root.source)} of {root.date:%Y-%m-%d} ({max(0, (self._now - root.date).days)} days old)"
            for root in self.roots
        )
        # No root at all took part: keys alone are configured.
        what = unknown.message if unknown else "the signature's Sigstore instance is not known"
        return SignatureError(
            f"{what} is in no trusted root ({ages})",
            "refresh the trusted root, or add this Sigstore's to trustedRoot",
            reason=unknown.reason if unknown else AUTHORITY,
        )


def _cache_key(candidate: Candidate, voucher: str) -> CacheKey:
    return hashlib.sha256(candidate.content).digest(), voucher


def _require_listed(kind: str, ids: Iterable[bytes], logs: Iterable[Log]) -> None:
    """Raise ``UNKNOWN_LOG`` where one of ``ids`` is of none of ``logs``."""
    for log_id in _unlisted(ids, logs):
        raise SignatureError(f"the {kind} log {log_id.hex()[:16]}", reason=Reason.UNKNOWN_LOG)


def _unlisted(ids: Iterable[bytes], logs: Iterable[Log]) -> list[bytes]:
    known = {log.id for log in logs}
    return [log_id for log_id in ids if log_id not in known]


def _invalid(what: str) -> SignatureError:
    return SignatureError(f"the signature does not verify: {what}", "attach the original bundle, unchanged")


def _signed(bundle: bundle_v1.Bundle, certificate: x509.Certificate) -> tuple[tuple[str, bytes], bytes]:
    """Return the content of the bundle's envelope, and its only signature, which was made with the certificate's key.

    sigstore-python looks at this last, after five other signatures.

    Raises:
        SignatureError: it was not, or there are several, of which the stamped or logged one and the verified one could differ.
    """
    envelope = bundle.dsse_envelope
    if envelope is None or len(envelope.signatures) != 1:
        raise _invalid("the envelope does not have exactly one signature")
    try:
        key = certificate.public_key()
    except Exception as error:
        # As the parser of certificates: several types, and panics that are no ValueErrors.
        raise _invalid("the certificate's key is none that there can be") from error
    # As sigstore-python, which verifies with keys of this kind alone: a bundle must not be good in one way and bad in the other.
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise _invalid("the certificate's key is not an elliptic curve key")
    content, signature = (envelope.payload_type, envelope.payload), envelope.signatures[0].sig
    if not is_valid(key, signature, Message(pre_authentication_encoding(*content))):
        raise _invalid("it does not match the certificate's key and the content")
    return content, signature
