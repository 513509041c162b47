"""The use case: one artifact of one image against one policy.

The store and the signature verifier come in as Protocols, so that the plugin, the resident verifier, the command line
and the tests run the same code.

What must be true before a success is written, in ``_Run._admit`` alone: the artifact hangs on the admitted image (2), its
blobs have their digests (3), a candidate of it (4) has a verified signature (5), and what was *verified* passes every
check of the policy (6 to 13) and is bound to the image as demanded (14).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import (
    ArtifactError,
    DeadlineError,
    InternalError,
    Reason,
    RegistryError,
    SignatureError,
    VerifierError,
)
from slsa_verifier_plugin.model.digest import Descriptor, Digest
from slsa_verifier_plugin.model.envelope import Blob, Candidate
from slsa_verifier_plugin.model.manifest import Manifest
from slsa_verifier_plugin.model.signer import Verified
from slsa_verifier_plugin.model.vsa import PREDICATE_TYPE
from slsa_verifier_plugin.policy.checks import Context, Examination, Reading, examine, examine_verified
from slsa_verifier_plugin.policy.parameters import Policy
from slsa_verifier_plugin.policy.steps import CheckError, Step, StepOutcome, completed, failed, passed
from slsa_verifier_plugin.policy.verdict import Finding, Verdict
from slsa_verifier_plugin.registry.reference import Reference
from slsa_verifier_plugin.text import plain, quoted
from slsa_verifier_plugin.verification.binder import Binder
from slsa_verifier_plugin.verification.entries import Entry
from slsa_verifier_plugin.verification.evidence import ArtifactStore, NoStore, SignatureVerifier, read_blobs
from slsa_verifier_plugin.verification.readings import NOTHING_KEPT, Readings

MAX_REPORTED = 16
"""Hopeless candidates whose signatures verify; of more than these no signature is checked just to be reported."""
MAX_SOUGHT = 128
"""Hopeless candidates whose signatures are checked to find those. Both count and do not time, so that what is reported depends
on what is judged alone, not on how fast the registry or the machine is."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked: the admitted image (with its digest), the artifact that hangs on it, and the policy."""

    image: Reference
    artifact: Descriptor
    policy: Policy


def verify(
    request: Request,
    store: ArtifactStore,
    verifier: SignatureVerifier,
    deadline: Deadline,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    readings: Readings = NOTHING_KEPT,
) -> Verdict:
    """Return the verdict on ``request.artifact``. Whatever fails on the way is a denial that says why.

    Args:
        request: image, artifact and policy.
        store: where manifests and blobs come from.
        verifier: verifies signatures against the policy's trusted roots and keys.
        deadline: the time for all of it.
        now: the current time in UTC.
        readings: what earlier calls have read.
    """
    return _Run(request, store, verifier, deadline, now(), readings).verdict()


def verify_content(
    content: bytes,
    image: Digest | None,
    policy: Policy,
    verifier: SignatureVerifier,
    deadline: Deadline,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Verdict:
    """Return the verdict on an attestation file that hangs on no image (steps 4 to 13).

    Args:
        content: the file's bytes.
        image: digest of the image it is meant for, if any; a summary about an image needs it.
        policy: what is demanded; its ``source_binding`` is not checked, for there is no image to bind, which the verdict says.
        verifier: as in ``verify``.
        deadline: the time for all of it.
        now: the current time in UTC.
    """
    digest = image or Digest("sha256", "0" * 64)
    request = Request(
        Reference("file", "attestation", digest=digest),
        Descriptor("application/octet-stream", Digest.of(content), len(content)),
        replace(policy, source_binding="none"),
    )
    run = _Run(request, NoStore(), verifier, deadline, now(), NOTHING_KEPT, policy.source_binding)
    return run.verdict(content)


class _Run:
    """One verification: collects steps and findings, and ends in one verdict."""

    def __init__(
        self,
        request: Request,
        store: ArtifactStore,
        verifier: SignatureVerifier,
        deadline: Deadline,
        now: datetime,
        readings: Readings,
        unchecked_binding: str = "none",
    ) -> None:
        if request.image.digest is None:
            raise InternalError("a verification needs the image's digest")
        self._request = request
        self._policy = request.policy
        self._image = request.image.digest
        self._store = store
        self._verifier = verifier
        self._deadline = deadline
        self._now = now
        self._readings = readings
        self._unchecked_binding = unchecked_binding
        self._total = 0
        self._steps: list[Step] = [passed(1)]
        self._findings: list[Finding] = []
        self._candidates: list[tuple[int, Candidate]] = []
        self._others = 0
        self._form = self._likeness = ""
        self._subject: Descriptor | None = None
        self._binder = Binder(store, request.image, verifier, request.policy, deadline, unchecked_binding)

    def verdict(self, content: bytes | None = None) -> Verdict:
        """Run the steps; on ``content`` where given, else on the artifact in the registry."""
        try:
            if content is None:
                self._fetch()
            else:
                self._read_file(content)
            return self._judge(self._entries())
        except VerifierError as error:
            return self._deny_early(error)
        finally:
            self._binder.close()

    # Steps 2 to 4

    def _fetch(self) -> None:
        manifest = self._artifact_manifest()
        self._steps.append(passed(2, f"{self._request.artifact.digest} hangs on the admitted image"))
        for number, blob in read_blobs(
            self._store, self._request.image, manifest, self._policy, self._deadline, self._readings.blob
        ):
            self._take(number, blob)
        self._steps.append(passed(3, f"{len(manifest.blobs)} blobs with their digests"))

    def _read_file(self, content: bytes) -> None:
        self._take(1, self._readings.blob(content, self._policy.max_bundles))

    def _take(self, number: int, blob: Blob) -> None:
        self._candidates += [(number, candidate) for candidate in blob.candidates]
        self._others += blob.others
        self._form = self._form or blob.form
        self._likeness = self._likeness or blob.likeness

    def _artifact_manifest(self) -> Manifest:
        """Step 2: the manifest is the descriptor's, an artifact, and hangs on the admitted image."""
        descriptor = self._request.artifact
        content = self._store.manifest(self._request.image, descriptor, self._deadline)
        if len(content) != descriptor.size or not descriptor.digest.matches(content):
            raise ArtifactError(
                f"the manifest is not the {descriptor.size} bytes of {descriptor.digest}", "attach it anew"
            )
        manifest = self._readings.manifest(content, descriptor.media_type)
        if manifest.kind == "index":
            raise ArtifactError(
                "the attestation is an index, expected an image or artifact manifest", "use oras attach"
            )
        if manifest.subject is None or manifest.subject.digest != self._image:
            found = manifest.subject.digest if manifest.subject else "no image"
            raise ArtifactError(
                f"the attestation hangs on {found}, expected the admitted image {self._image}",
                "attach it to that image",
                reason=Reason.SUBJECT_MISMATCH,
            )
        self._subject = manifest.subject
        return manifest

    def _entries(self) -> list[Entry]:
        """Step 4: the candidates that may be summaries, the most promising first."""
        entries = []
        for blob, candidate in self._candidates:
            self._deadline.check(f"reading {len(self._candidates)} attestations")
            _, reading = self._readings.said(candidate)
            if reading is None:
                self._others += 1
                continue
            entries.append(Entry(blob, candidate, reading, self._claimed(candidate, reading)))
        if not entries:
            self._no_candidates()
        self._steps.append(passed(4, f"{len(entries)} candidates, {self._others} other lines"))
        entries.sort(key=lambda entry: -entry.outlook)
        return entries

    def _no_candidates(self) -> None:
        others = f"{self._others} lines of other kinds" if self._others else "nothing"
        if not self._candidates and self._form:
            raise ArtifactError(f"found {self._form}", reason=Reason.NO_ATTESTATION)
        likeness = f" (seen: {self._likeness})" if self._likeness else ""
        if not self._candidates:
            raise ArtifactError(
                f"found {others}, expected Sigstore bundles as JSON lines{likeness}",
                "attach the source workflow's signed_bundle.intoto.jsonl",
                reason=Reason.NO_ATTESTATION,
            )
        kinds = sorted({str(self._readings.said(candidate)[0]) for _, candidate in self._candidates})
        self._steps.append(passed(4, f"{len(self._candidates)} attestations, none a verification summary"))
        raise ArtifactError(
            f"found attestations of {', '.join(quoted(kind) for kind in kinds[:4])}, expected a verification "
            f"summary ({PREDICATE_TYPE})",
            "attach the source workflow's signed bundle with its summary",
            reason=Reason.NO_VSA,
        )

    def _claimed(self, candidate: Candidate, reading: Reading) -> Examination | None:
        """Return how far the candidate's claims get, unverified; None where they cannot even be read."""
        try:
            claims = self._verifier.claims(candidate)
        except SignatureError:
            return None
        context = Context(self._policy, self._image, self._verifier.key_identities)
        examined = (examine(claim, context, reading) for claim in claims)
        return max(examined, key=lambda item: item.reached, default=None)

    # Steps 5 to 14

    def _judge(self, entries: list[Entry]) -> Verdict:
        self._total = len(entries)
        sought = known = 0
        for entry in entries:
            if entry.is_hopeless:
                # The one that gets furthest comes first: once its signature has been verified the reason is known, and the
                # end of the time no longer changes it.
                is_over = known > 0 and self._deadline.expired()
                if is_over or known >= MAX_REPORTED or sought >= MAX_SOUGHT:
                    self._findings.append(entry.unchecked())
                    continue
                sought += 1
            self._deadline.check(f"verifying attestation {len(self._findings) + 1} of {len(entries)}")
            finding = self._find(entry)
            self._findings.append(finding)
            known += entry.is_hopeless and finding.verified is not None
            if finding.reason is None:
                return self._admit(finding)
        for number, finding in enumerate(self._findings):
            # No summary alone has all attached provenance read: another's may lie on top.
            if self._binder.has_more and finding.reached == 14:
                self._findings[number] = self._bound(finding, thorough=True)
                if self._findings[number].reason is None:
                    return self._admit(self._findings[number])
        return self._deny(max(self._findings, key=lambda finding: finding.reached))

    def _find(self, entry: Entry) -> Finding:
        """Return what comes of one candidate once its signature has been checked."""
        try:
            verified = self._verifier.verify(entry.candidate)
        except SignatureError as error:
            step = failed(5, error.problem)
            return Finding(
                entry.blob, entry.candidate.line, (step,), error.reason, error.message, error.transient
            )
        context = Context(
            self._policy, self._image, self._verifier.key_identities, self._now, verified.signed_at
        )
        # What was read of the candidate is what was verified only if it is the same, to the byte.
        said = (entry.candidate.payload_type, entry.candidate.payload)
        is_same = said == (verified.claim.payload_type, verified.claim.payload)
        reading = entry.reading if is_same else None
        earlier = entry.claimed if is_same else None
        # Of several signers, each as good as the other, the one whom the policy trusts most counts.
        examined = [(examine_verified(claim, context, reading, earlier), claim) for claim in verified.claims]
        examination, claim = max(examined, key=lambda pair: pair[0].reached)
        steps = (passed(5, plain(claim.signer.identity)), *examination.steps)
        named = verified if claim is verified.claim else replace(verified, claim=claim)
        said_of_it = (examination.reason, examination.message, False, examination, named)
        return self._bound(Finding(entry.blob, entry.candidate.line, steps, *said_of_it))

    def _bound(self, finding: Finding, thorough: bool = False) -> Finding:
        """Return ``finding`` with step 14 where it passed all steps before."""
        examination = finding.examination
        if examination is None or examination.reason is not None:
            return finding
        steps = tuple(step for step in finding.steps if step.number < 14)
        try:
            own = [candidate for _, candidate in self._candidates]
            bound = self._binder.bind(examination, self._subject, own, thorough=thorough)
        except (CheckError, RegistryError, ArtifactError) as error:
            return replace(
                finding,
                steps=(*steps, failed(14, error.problem)),
                reason=error.reason,
                message=error.message,
                transient=error.transient,
            )
        return replace(
            finding,
            steps=(*steps, bound.step),
            reason=None,
            message="",
            transient=False,
            examination=bound.examination,
        )

    # Verdicts

    def _admit(self, finding: Finding) -> Verdict:
        """Return the one success there is. Everything that must be true is asked for once more."""
        examination, verified = finding.examination, finding.verified
        if (
            finding.reason is not None
            or examination is None
            or examination.reason is not None
            or examination.summary is None
            or not isinstance(verified, Verified)
        ):
            raise InternalError("an attestation that did not pass was about to be admitted")
        levels = ", ".join(plain(name) for name in examination.levels[:16])
        about = f"{plain(examination.summary.resource_uri)} at {examination.revision}"
        if not examination.sources:
            about = f"the image itself ({plain(examination.summary.resource_uri)})"
        binding = finding.steps[-1]
        note = f"; {binding.detail}" if binding.outcome is StepOutcome.NOT_CHECKED else ""
        sentence = f"{levels} for {about}, signed by {plain(verified.claim.signer.identity)}{note}."
        return self._verdict(success=True, reason=Reason.VERIFIED, sentence=sentence, best=finding)

    def _deny(self, best: Finding) -> Verdict:
        assert best.reason is not None
        return self._verdict(
            success=False,
            reason=best.reason,
            sentence=f"{best.message}.",
            best=best,
            transient=best.transient,
        )

    def _deny_early(self, error: VerifierError) -> Verdict:
        """Return the denial for a failure outside any one candidate."""
        if not isinstance(error, DeadlineError):
            # A file has no steps 2 and 3 before the one that finds nothing in it.
            known = {Reason.NO_ATTESTATION: 4, Reason.NO_VSA: 6}
            step = known.get(error.reason) or max(item.number for item in self._steps) + 1
            self._steps.append(failed(min(step, 14), error.problem))
        return self._verdict(
            success=False,
            reason=error.reason,
            sentence=f"{error.message}.",
            best=None,
            transient=error.transient,
        )

    def _verdict(
        self, *, success: bool, reason: Reason, sentence: str, best: Finding | None, transient: bool = False
    ) -> Verdict:
        steps = [*self._steps, *(best.steps if best else ())]
        return Verdict(
            success=success,
            reason=reason,
            sentence=sentence,
            subject=str(self._request.image),
            artifact=str(self._request.artifact.digest),
            steps=completed(steps),
            binding=self._policy.source_binding
            if self._unchecked_binding == "none"
            else f"{self._unchecked_binding} (not checked)",
            transient=transient,
            best=best,
            findings=tuple(self._findings),
            unseen=max(0, self._total - len(self._findings)),
            others=self._others,
            roots=self._verifier.roots,
            warnings=self._verifier.warnings,
        )
