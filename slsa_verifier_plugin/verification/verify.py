"""The use case: one artifact of one image against one policy.

The store and the signature verifier come in as Protocols (``ports``), so that the plugin, the resident verifier, the command
line and the tests run the same code. ``judged`` reads what is judged, and knows how its image is bound.

What must be true before a success is written, in ``_Verification._admit`` alone: the artifact hangs on the admitted image (2),
its blobs have their digests (3), a candidate of it (4) has a verified signature (5), and what was *verified* passes every check
of the policy (6 to 13) and is bound to the image as demanded (14).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
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
from slsa_verifier_plugin.model.envelope import Blob, Candidate
from slsa_verifier_plugin.model.signer import Verified
from slsa_verifier_plugin.model.vsa import PREDICATE_TYPE, Reading
from slsa_verifier_plugin.policy.checks import Context, Examination, aged, examine, examine_verified
from slsa_verifier_plugin.policy.steps import CheckError, StepOutcome, completed, failed, passed
from slsa_verifier_plugin.policy.verdict import Finding, Verdict
from slsa_verifier_plugin.text import counted, plain, quoted
from slsa_verifier_plugin.verification.binder import NoBinder
from slsa_verifier_plugin.verification.entries import RankedCandidate
from slsa_verifier_plugin.verification.judged import (
    ArtifactRequest,
    AttachedArtifact,
    FileRequest,
    LooseFile,
)
from slsa_verifier_plugin.verification.ports import ArtifactStore, Binder, SignatureVerifier
from slsa_verifier_plugin.verification.readings import NOTHING_KEPT, Readings

MAX_REPORTED = 16
"""Hopeless candidates with good signatures that a report needs; once there are so many, no more signatures are checked for it."""
MAX_SOUGHT = 128
"""Hopeless candidates whose signatures are checked to find those. Both limits are counts and no times, so
that what is reported depends on what is judged alone, not on how fast the registry or the machine is."""


def verify(
    request: ArtifactRequest,
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
    artifact = AttachedArtifact(request, store, readings, deadline)
    return _Verification(artifact, verifier, deadline, now()).verdict()


def verify_file(
    request: FileRequest,
    verifier: SignatureVerifier,
    deadline: Deadline,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Verdict:
    """Return the verdict on an attestation file that hangs on no image (steps 4 to 13).

    Args:
        request: the file's bytes, the digest of the image that it is meant for, and the policy.
        verifier: as in ``verify``.
        deadline: the time for all of it.
        now: the current time in UTC.
    """
    file = LooseFile(request, NOTHING_KEPT)
    return _Verification(file, verifier, deadline, now()).verdict()


class _Verification:
    """One verification: collects steps and findings, and ends in one verdict."""

    def __init__(
        self,
        judged: AttachedArtifact | LooseFile,
        verifier: SignatureVerifier,
        deadline: Deadline,
        now: datetime,
    ) -> None:
        self._judged = judged
        self._verifier = verifier
        self._context = Context(judged.policy, judged.image, verifier.key_identities)
        self._deadline = deadline
        self._now = now
        self._blobs: list[tuple[int, Blob]] = []
        self._others = 0
        self._steps = judged.steps
        self._findings: list[Finding] = []
        self._total = 0

    def verdict(self) -> Verdict:
        """Run the steps."""
        try:
            # Steps 2 and 3, in the order of docs/verification.md: nothing is parsed before its digest is known to be right.
            self._blobs = list(self._judged.read())
            # Each blob may hold a whole file of attestations, so candidates are named by blob and line.
            candidates = [(number, item) for number, blob in self._blobs for item in blob.candidates]
            self._others = sum(blob.others for _, blob in self._blobs)
            entries = self._entries(candidates)
            # All candidates, those of other kinds as well: build provenance in the same file may bind the image.
            own = [candidate for _, candidate in candidates]
            # Closed in every case: threads that still fetch referrers must not outlive the call.
            with closing(self._judged.binder(own, self._verifier)) as binder:
                return self._judge(entries, binder)
        except VerifierError as error:
            # Every typed error ends here as a denial with its step; anything else is a defect, and the caller's to report as
            # one.
            return self._deny_early(error)

    # Step 4

    def _entries(self, candidates: Sequence[tuple[int, Candidate]]) -> list[RankedCandidate]:
        """Step 4: the candidates that may be summaries, the most promising first."""
        entries = []
        for blob, candidate in candidates:
            self._deadline.check(f"reading {len(candidates)} attestations")
            _, reading = self._judged.readings.said(candidate)
            if reading is None:
                # An attestation of another kind, say build provenance: it belongs there, and says nothing here.
                self._others += 1
                continue
            entries.append(RankedCandidate(blob, candidate, reading, self._claimed(candidate, reading)))
        # A denial here says what was attached instead: a wrong file is the most common mistake of all.
        if not entries:
            self._no_candidates([candidate for _, candidate in candidates])
        self._steps.append(
            passed(4, f"{counted(len(entries), 'candidate')}, {counted(self._others, 'other line')}")
        )
        # Anybody who may push can attach a thousand bundles. What a candidate claims costs microseconds to look at and a
        # signature a millisecond, so one good summary is found at once among any number of others.
        entries.sort(key=lambda entry: -entry.outlook)
        return entries

    def _no_candidates(self, others: Sequence[Candidate]) -> None:
        # The first blob that is something else, or nearly something, is the one to tell people of.
        form = next((blob.form for _, blob in self._blobs if blob.form), "")
        if not others and form:
            # A known other form (a packed file, an unsigned statement, ...) has its own advice.
            raise ArtifactError(f"found {form}", reason=Reason.NO_ATTESTATION)
        if not others:
            found = counted(self._others, "line of other kinds") if self._others else "nothing"
            # A guess, which decides nothing: most wrong files are one of a few well-known ones.
            alike = next((f" (seen: {blob.likeness})" for _, blob in self._blobs if blob.likeness), "")
            raise ArtifactError(
                f"found {found}, expected Sigstore bundles as JSON lines{alike}",
                "attach the source workflow's signed_bundle.intoto.jsonl",
                reason=Reason.NO_ATTESTATION,
            )
        # Statements of another kind were read, so the step itself passed; what is missing is a summary (reason NO_VSA).
        kinds = sorted({str(self._judged.readings.said(candidate)[0]) for candidate in others})
        self._steps.append(passed(4, f"{counted(len(others), 'attestation')}, none a verification summary"))
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
        # No certificate, no signer: nothing can be claimed, and it is looked at last.
        except SignatureError:
            return None
        # Without step 13, which asks for a time that is vouched for: a mere claim has none.
        examined = (examine(claim, self._context, reading) for claim in claims)
        # A key's signature names no key that counts (DSSE: "keyid" is a hint), so there is a claim for each configured key.
        # The one that would get furthest decides when the candidate has its turn.
        return max(examined, key=lambda item: item.reached, default=None)

    # Steps 5 to 14

    def _judge(self, entries: list[RankedCandidate], binder: Binder) -> Verdict:
        # Told in the report, so that candidates behind an early success or the end of the time are counted as unseen.
        self._total = len(entries)
        sought = known = 0
        # As they are before step 14, which is looked at twice.
        unbound: list[Finding] = []
        for entry in entries:
            # What was signed cannot say more than what is claimed: such a candidate never becomes a success. Its signature
            # is looked at to report a true reason, and only so often, for anybody can attach thousands.
            if entry.is_hopeless:
                # The one that gets furthest comes first: once its signature has been verified the reason is known, and the
                # end of the time no longer changes it.
                is_over = known > 0 and self._deadline.expired()
                # Left unchecked and said so in the report; the verdict is the same denial either way.
                if is_over or known >= MAX_REPORTED or sought >= MAX_SOUGHT:
                    unbound.append(entry.unchecked())
                    self._findings.append(unbound[-1])
                    continue
                sought += 1
            self._deadline.check(f"verifying attestation {len(self._findings) + 1} of {len(entries)}")
            # The first look of step 14, which reads little; the thorough one comes only where no candidate passes.
            unbound.append(self._find(entry))
            finding = self._bound(unbound[-1], binder)
            self._findings.append(finding)
            known += entry.is_hopeless and finding.verified is not None
            # One good attestation is enough: what else hangs on the image, which anybody may have attached, takes it down
            # no more.
            if finding.reason is None:
                return self._admit(finding)
        # The thorough look: up to here only a little of each referrer was read for step 14. Every summary is asked again, also
        # where nothing is left to read, for what was read for one summary may bind the next.
        for number, finding in enumerate(unbound):
            self._findings[number] = self._bound(finding, binder, thorough=True)
            if self._findings[number].reason is None:
                return self._admit(self._findings[number])
        # The one that got furthest is the one that people meant to count: its reason is the verdict's.
        best = max(self._findings, key=lambda finding: finding.reached)
        assert best.reason is not None
        return self._verdict(best.reason, f"{best.message}.", best, transient=best.transient)

    def _find(self, entry: RankedCandidate) -> Finding:
        """Steps 5 to 13: return what comes of one candidate once its signature has been checked."""
        try:
            # Step 5. Nothing above this line counts for a success.
            verified = self._verifier.verify(entry.candidate)
        except SignatureError as error:
            step = failed(5, error.problem)
            # No examination: what was not verified says nothing, not even in a report.
            return Finding(
                entry.blob, entry.candidate.line, (step,), error.reason, error.message, error.transient
            )
        # What was read of the candidate is what was verified only if it is the same, to the byte.
        said = (entry.candidate.payload_type, entry.candidate.payload)
        # Two parsers could read one bundle in two ways (a member twice, say). What the policy looked at before counts only
        # for the very bytes that the signature is over.
        is_same = said == (verified.claim.payload_type, verified.claim.payload)
        reading = entry.reading if is_same else None
        earlier = entry.claimed if is_same else None
        # Of several signers, each as good as the other, the one whom the policy trusts most counts.
        context = self._context
        examined = [(examine_verified(claim, context, reading, earlier), claim) for claim in verified.claims]
        furthest, claim = max(examined, key=lambda pair: pair[0].reached)
        examination = aged(furthest, self._context.policy.max_age, self._now, verified.signed_at)
        # The report names the signer that decided, not the first one in the envelope, whose order a relay may change.
        steps = (passed(5, plain(claim.signer.identity)), *examination.steps)
        named = verified if claim is verified.claim else replace(verified, claim=claim)
        said_of_it = (examination.reason, examination.message, False, examination, named)
        return Finding(entry.blob, entry.candidate.line, steps, *said_of_it)

    def _bound(self, finding: Finding, binder: Binder, *, thorough: bool = False) -> Finding:
        """Return ``finding`` with step 14 where it passed all steps before."""
        examination = finding.examination
        # A candidate that failed earlier is not bound: step 14 costs requests, and would change nothing.
        if examination is None or examination.reason is not None:
            return finding
        # A summary about the image's own digest names no commit that the image could be bound to (SLSA v1.2, "subject").
        chosen = NoBinder() if examination.bound_by_digest else binder
        try:
            bound = chosen.bind(examination, thorough=thorough)
        # A registry that fails here fails for this candidate: another summary may be about the image itself, and needs
        # none.
        except (CheckError, RegistryError, ArtifactError) as error:
            return replace(
                finding,
                steps=(*finding.steps, failed(14, error.problem)),
                reason=error.reason,
                message=error.message,
                transient=error.transient,
            )
        return replace(finding, steps=(*finding.steps, bound.step), examination=bound.examination)

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
            # A defect, and still a denial. This is the last line before a success, so it trusts none of those above.
            raise InternalError("an attestation that did not pass was about to be admitted")
        # What a success says ends in Gatekeeper's status and in logs: a few levels are enough there.
        levels = ", ".join(plain(name) for name in examination.levels[:16])
        about = f"{plain(examination.summary.resource_uri)} at {examination.revision}"
        if not examination.sources:
            # A summary about the image's digest names no commit (step 7).
            about = f"the image itself ({plain(examination.summary.resource_uri)})"
        # A success that binds nothing says so in its own sentence, so that nobody takes it for a binding.
        binding = finding.steps[-1]
        note = f"; {binding.detail}" if binding.outcome is StepOutcome.NOT_CHECKED else ""
        sentence = f"{levels} for {about}, signed by {plain(verified.claim.signer.identity)}{note}."
        return self._verdict(Reason.VERIFIED, sentence, finding, success=True)

    def _deny_early(self, error: VerifierError) -> Verdict:
        """Return the denial for a failure outside any one candidate."""
        # The end of the time is no failure of a step: what was not reached stays "not checked".
        if not isinstance(error, DeadlineError):
            # A file has no steps 2 and 3 before the one that finds nothing in it.
            # Reasons that belong to a step by what they say; any other failure is of the step after the last that passed.
            known = {Reason.NO_ATTESTATION: 4, Reason.NO_VSA: 6}
            step = known.get(error.reason) or max(item.number for item in self._steps) + 1
            self._steps.append(failed(min(step, 14), error.problem))
        return self._verdict(error.reason, f"{error.message}.", None, transient=error.transient)

    def _verdict(
        self,
        reason: Reason,
        sentence: str,
        best: Finding | None,
        *,
        success: bool = False,
        transient: bool = False,
    ) -> Verdict:
        # A denial unless ``_admit`` says otherwise, whatever the reason: an error's reason may come from another process.
        # Steps of the artifact, then those of the candidate that decides; what neither has is shown as not checked.
        steps = [*self._steps, *(best.steps if best else ())]
        return Verdict(
            success=success,
            reason=reason,
            sentence=sentence,
            subject=self._judged.name,
            artifact=str(self._judged.digest),
            steps=completed(steps),
            binding=self._judged.binding,
            transient=transient,
            best=best,
            findings=tuple(self._findings),
            # Candidates behind the one that was admitted, or behind the end of the time.
            unseen=max(0, self._total - len(self._findings)),
            others=self._others,
            roots=self._verifier.roots,
            warnings=self._verifier.warnings,
        )
