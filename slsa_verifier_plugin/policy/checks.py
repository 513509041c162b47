"""Steps 6 to 13: what one attestation must say.

``examine`` is pure. It is run on what a candidate claims, to look at the promising ones first, and on what was verified. Only the
second counts; ``verify`` sees to that. Where both have the same bytes and the same signer, a second run would say the same. No
time is looked at there: ``aged`` asks for it, of what was verified alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from slsa_verifier_plugin.errors import Reason, StatementError
from slsa_verifier_plugin.model.digest import Digest
from slsa_verifier_plugin.model.levels import Levels, is_failure
from slsa_verifier_plugin.model.signer import COMMIT, REF, REPOSITORY, Claim, Signer
from slsa_verifier_plugin.model.source_uri import same_repository
from slsa_verifier_plugin.model.vsa import Reading, SourceSubject, VerificationSummary, read
from slsa_verifier_plugin.policy import hints
from slsa_verifier_plugin.policy.certified import certified, runner_problem
from slsa_verifier_plugin.policy.parameters import Policy
from slsa_verifier_plugin.policy.steps import CheckError, Step, failed, not_checked, passed
from slsa_verifier_plugin.policy.tag_runs import tag_run
from slsa_verifier_plugin.policy.trusted import TrustedSigner
from slsa_verifier_plugin.text import plain, quoted

CLOCK_SKEW = timedelta(minutes=5)
"""How far a time may lie in the future."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a claim is held against.

    ``image`` is None for a file that is meant for no image.
    """

    policy: Policy
    image: Digest | None
    key_identities: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Examination:
    """How far a claim got. ``reason`` is None if it passed every check made."""

    steps: tuple[Step, ...]
    signer: Signer
    reason: Reason | None = None
    message: str = ""
    summary: VerificationSummary | None = None
    levels: tuple[str, ...] = ()
    sources: tuple[SourceSubject, ...] = ()
    bound_by_digest: bool = False
    """True where the summary is about the admitted image and names no commit. A commit that it named would have to be bound."""

    @property
    def reached(self) -> int:
        """The number of the step that failed; one beyond the last if none did."""
        return self.steps[-1].number if self.reason else self.steps[-1].number + 1

    @property
    def revision(self) -> str:
        """The commit that the summary is about; empty for a summary about an image."""
        return self.sources[0].commit if self.sources else ""

    @property
    def refs(self) -> tuple[str, ...]:
        """The refs that count for the commit: those that the summary names, or the tag that a tag's run was for."""
        return tuple(dict.fromkeys(ref for source in self.sources for ref in source.refs))


def examine(claim: Claim, context: Context, reading: Reading | None = None) -> Examination:
    """Return how far ``claim`` gets through steps 6 to 12.

    Args:
        claim: what is said, and by whom.
        context: what it is held against.
        reading: what ``read`` gave for this very payload, where the caller has it already.
    """
    return _Examiner(claim.signer, reading or read(claim.payload_type, claim.payload), context).run()


def examine_verified(
    claim: Claim, context: Context, reading: Reading | None, earlier: Examination | None
) -> Examination:
    """Return what ``examine`` gives for a verified claim.

    Args:
        claim: what was verified.
        context: what it is held against.
        reading: what its payload says, None where that was not read yet.
        earlier: how far the same payload got before it was verified, in the same context; None for none.
    """
    # The same payload by the same signer: the checks are pure, so they would say the same.
    if earlier is not None and earlier.signer == claim.signer:
        return earlier
    return examine(claim, context, reading)


def aged(
    examination: Examination, max_age: float | None, now: datetime, signed_at: datetime | None
) -> Examination:
    """Return ``examination`` with step 13, where it passed all steps before.

    Args:
        examination: of what was verified.
        max_age: in seconds, None where any age will do.
        now: the current time.
        signed_at: the earliest time that a log or a timestamp authority vouches for, None for none.
    """
    # The first check that fails ends it.
    if examination.reason is not None or examination.summary is None:
        return examination
    try:
        step = _age(max_age, now, signed_at or examination.summary.time_verified)
    except CheckError as error:
        steps = (*examination.steps, failed(13, error.problem))
        return replace(examination, steps=steps, reason=error.reason, message=error.message)
    return replace(examination, steps=(*examination.steps, step))


class _Examiner:
    """Runs the checks in order. A check returns a step that did not fail, or raises ``CheckError``."""

    def __init__(self, signer: Signer, reading: Reading, context: Context) -> None:
        self._reading = reading
        self._context = context
        self._policy = context.policy
        self._signer = signer
        self._trusted: list[TrustedSigner] = []
        self._summary: VerificationSummary | None = None
        self._sources: tuple[SourceSubject, ...] = ()
        self._levels = Levels()

    def run(self) -> Examination:
        steps: list[Step] = []
        reason, message = None, ""
        try:
            steps.append(self._statement_and_signer())
            assert self._summary is not None
            for check in (
                self._subject,
                self._certificate,
                self._result,
                self._resource_uri,
                self._reached_levels,
                self._source_refs,
            ):
                steps.append(check(self._summary))
        except CheckError as error:
            reason, message = error.reason, error.message
            # The first check that fails ends it: what comes after would rest on what did not hold.
            steps.append(failed(6 + len(steps), error.problem))
        summary = self._summary
        return Examination(
            steps=tuple(steps),
            signer=self._signer,
            reason=reason,
            message=message,
            summary=summary,
            levels=tuple(self._levels.shown()),
            sources=self._sources,
            bound_by_digest=summary is not None and not summary.sources and self._is_about_image(summary),
        )

    def _statement_and_signer(self) -> Step:
        """Step 6: a verification summary of an expected verifier, signed by one trusted for it."""
        # SLSA v1.2 "Verifying VSAs": first that the payload is what it is taken for.
        if isinstance(self._reading, StatementError):
            remedy = "attach the source workflow's signed bundle"
            raise CheckError(Reason.NO_VSA, self._reading.message, remedy) from self._reading
        self._summary = self._reading
        self._levels = Levels.of(self._summary.levels)
        verifier_id = self._summary.verifier_id
        # Before the signer: only with a known verifier is it known who may sign for it.
        if verifier_id not in self._policy.verifier_ids:
            raise CheckError(
                Reason.VERIFIER_ID_MISMATCH,
                f"found verifier.id {quoted(verifier_id)}, expected {hints.alternatives(self._policy.verifier_ids)}"
                f"{hints.near_uri(self._policy.verifier_ids, verifier_id)}",
                f"{hints.for_verifier_id(verifier_id, self._policy.verifier_ids, self._policy.verifiers)}",
            )
        known = [signer for signer in self._policy.verifiers if signer.id == verifier_id]
        self._trusted = [
            signer for signer in known if signer.is_signer(self._signer, self._context.key_identities)
        ]
        # The id is text that anybody can write into a summary of theirs; only the signer shows who wrote it.
        if not self._trusted:
            raise CheckError(
                Reason.SIGNER_UNTRUSTED, self._untrusted(known), hints.for_signer(self._signer, known)
            )
        return passed(6, f"{plain(verifier_id)} signed by {plain(self._signer.identity)}")

    def _untrusted(self, known: list[TrustedSigner]) -> str:
        issuer = f" (issuer {plain(self._signer.issuer)})" if self._signer.issuer else ""
        return (
            f"signed by {quoted(self._signer.identity)}{issuer}, expected "
            f"{' or '.join(signer.shown() for signer in known[:4])}"
            f"{hints.near_signer(known, self._signer)}"
        )

    def _subject(self, summary: VerificationSummary) -> Step:
        """Step 7: about a commit, or about the admitted image itself."""
        self._sources = summary.sources
        # A summary of a commit says nothing of an image yet: step 14 binds the image to the commit.
        if summary.sources:
            return passed(7, f"commit {summary.sources[0].commit}")
        # Without a commit only the image's own digest ties the summary to what is admitted.
        if self._is_about_image(summary):
            return passed(7, "the admitted image's own digest")
        image = self._context.image
        digest = (
            f"the image's digest {image}" if image else "the digest of the image that the file is meant for"
        )
        raise CheckError(
            Reason.SUBJECT_MISMATCH,
            f"the summary is about {hints.alternatives(sorted(summary.digests)) or hints.algorithms(summary)}, expected a "
            f"gitCommit or {digest}",
            # Without an image this is a file at the command line: nothing says yet which image it is for.
            "attach the summary of this image or of its commit" if image else hints.NAME_THE_IMAGE,
        )

    def _is_about_image(self, summary: VerificationSummary) -> bool:
        return str(self._context.image) in summary.digests

    def _certificate(self, summary: VerificationSummary) -> Step:
        """Step 8: the summary agrees with what is certified of the CI run. GitHub certifies all of it, other providers a part."""
        # A person's certificate, or a key's signature, names no run that could be compared.
        if not self._signer.is_ci_run:
            return not_checked(8, "the signer is no CI run")
        # First: on a runner that its owner controls, nothing else that the certificate says of the run holds.
        if problem := runner_problem(self._signer, self._policy):
            raise CheckError(Reason.CERTIFICATE_MISMATCH, problem.found, problem.remedy)
        if not summary.sources:
            return passed(8, "the runner; the summary is about an image")
        repository, commit, ref = (certified(self._signer, arcs) for arcs in (REPOSITORY, COMMIT, REF))
        is_github = self._signer.is_github
        # GitHub certifies repository, commit and ref of each run, so what is missing there is wrong. Other providers certify
        # what they do (Fulcio docs/oid-info.md): what is there must agree.
        if (is_github or repository is not None) and not same_repository(repository, summary.resource_uri):
            near = hints.near_repository(repository, summary.resource_uri)
            raise _mismatch("source repository", repository, summary.resource_uri, "resourceUri", near)
        # Without a certified commit each that the summary names may be the one; GitHub's certificate picks one.
        is_any = commit is None and not is_github
        matching = tuple(source for source in summary.sources if is_any or source.commit == commit)
        # The run was for a commit that the summary does not name, so it vouches for none of those that are named.
        if not matching:
            raise _mismatch("source commit", commit, summary.sources[0].commit, "gitCommit")
        # A summary may name several commits. The run was for one, and no image may be bound to another.
        self._sources = matching
        refs = [known for source in matching for known in source.refs]
        # A summary that names no refs is about the commit alone.
        if refs and (is_github or ref is not None) and ref not in refs:
            run = tag_run(self._signer, matching)
            # A tag's run: its summary names the default branch, its certificate the tag. What is certified counts.
            if run is None:
                raise _mismatch("source ref", ref, ", ".join(refs), "refs")
            self._sources = (run,)
            return passed(
                8, f"repository, commit and runner agree; the run was for {plain(ref)}, which counts"
            )
        if not is_github:
            return passed(8, "what is certified of repository, commit, ref and runner agrees")
        return passed(8, "repository, commit, ref and runner agree")

    def _result(self, summary: VerificationSummary) -> Step:
        """Step 9."""
        # SLSA v1.2, "verificationResult": PASSED or FAILED. Anything else is no success either.
        if summary.result != "PASSED":
            raise CheckError(
                Reason.VERIFICATION_RESULT_FAILED,
                f"verificationResult is {quoted(summary.result)}, expected PASSED",
                "look at the source workflow's run for this commit",
            )
        return passed(9, "PASSED")

    def _resource_uri(self, summary: VerificationSummary) -> Step:
        """Step 10."""
        # SLSA v1.2, "Verifying VSAs": the resource must be the one that was asked about; a signed summary of another
        # repository says nothing of this one.
        if not any(pattern.matches(summary.resource_uri) for pattern in self._policy.resource_uris):
            expected = [pattern.pattern for pattern in self._policy.resource_uris]
            raise CheckError(
                Reason.RESOURCE_URI_MISMATCH,
                f"found resourceUri {quoted(summary.resource_uri)}, expected {hints.alternatives(expected)}"
                f"{hints.near_uri(expected, summary.resource_uri)}",
                "attach this repository's own summary, or add the URI to expectedResourceUri",
            )
        return passed(10, plain(summary.resource_uri))

    def _reached_levels(self, summary: VerificationSummary) -> Step:
        """Step 11: nothing failed and, after the signer's cap, every expected level is reached."""
        # Whatever step 9 said: a result and levels that contradict each other count as failed.
        failures = [name for name in summary.levels if is_failure(name)]
        if failures:
            # Whatever stands beside it: SLSA v1.2 "verifiedLevels" writes FAILED where the policy was not met.
            raise CheckError(
                Reason.LEVEL_TOO_LOW,
                f"found {quoted(failures[0])} among verifiedLevels, expected levels alone",
                "look at the source workflow's run for this commit",
            )
        capped = [Levels.of(summary.levels).capped(signer.caps) for signer in self._trusted]
        # Of several entries for one signer the one that trusts it most counts.
        self._levels = min(capped, key=lambda levels: len(levels.missing(self._policy.levels)))
        missing = self._levels.missing(self._policy.levels)
        found = ", ".join(plain(name) for name in self._levels.shown()[:16]) or "no level"
        if missing:
            stated = ", ".join(plain(name) for name in summary.levels[:16])
            # The message says so where the signer's cap, and not the summary, is what is too low.
            is_capped = self._levels != Levels.of(summary.levels)
            cap = f" (the summary states {stated}; maxLevel caps its signer)" if is_capped else ""
            near, remedy = hints.for_levels(missing, summary)
            raise CheckError(
                Reason.LEVEL_TOO_LOW, f"found {found}{cap}, expected {', '.join(missing)}{near}", remedy
            )
        return passed(11, found)

    def _source_refs(self, summary: VerificationSummary) -> Step:
        """Step 12."""
        patterns = self._policy.source_refs
        # Then any branch's commit counts: docs/operations/threat-model.md says what that means.
        if not patterns:
            return not_checked(12, "expectedSourceRefs is not set")
        matched = [
            (source, ref)
            for source in self._sources
            for ref in source.refs
            if any(pattern.matches(ref) for pattern in patterns)
        ]
        if matched:
            # A commit without an expected ref is none that the image may be bound to.
            self._sources = tuple(dict.fromkeys(source for source, _ in matched))
            return passed(12, plain(matched[0][1]))
        refs = [ref for source in self._sources for ref in source.refs]
        expected = [item.pattern for item in patterns]
        raise CheckError(
            Reason.SOURCE_REF_MISMATCH,
            f"found {hints.alternatives(refs) or 'no source ref'}{self._certified_ref(summary)}, expected "
            f"{hints.alternatives(expected)}{hints.near_ref(expected, refs)}",
            "build from an expected branch or tag, or add the ref to expectedSourceRefs",
        )

    def _certified_ref(self, summary: VerificationSummary) -> str:
        """Say that the ref comes from the certificate, where step 8 put it in the place of the summary's."""
        named = [ref for source in summary.sources for ref in source.refs]
        # The refs are the summary's own, as usual: there is nothing to explain.
        if not self._sources or set(self._sources[0].refs) <= set(named):
            return ""
        return f" (the certificate's ref, which counts; the summary names {hints.alternatives(named)})"


def _age(max_age: float | None, now: datetime, moment: datetime | None) -> Step:
    """Step 13. ``moment``: the log's or the timestamp authority's time, else the summary's own.

    The log's is a witness's; the summary's own is the signer's word, which is all that a key's signature has.
    """
    if max_age is None:
        return not_checked(13, "maxAge is not set")
    # What has no date cannot be shown to be young enough.
    if moment is None:
        raise CheckError(
            Reason.TIME_INVALID,
            "the summary has no timeVerified, and no log or timestamp says when it was signed, which maxAge demands",
            "have the commit attested anew",
        )
    age = now - moment
    # From the future: a clock is wrong, and with it every age.
    if age < -CLOCK_SKEW:
        raise CheckError(
            Reason.TIME_INVALID,
            f"signed at {moment:%Y-%m-%dT%H:%M:%SZ}, which is in the future",
            "check this machine's clock",
        )
    # Revocation for source levels is time: a repository's controls may have been taken away since.
    if age.total_seconds() > max_age:
        raise CheckError(
            Reason.TOO_OLD,
            f"signed {hints.days(age.total_seconds())} ago, expected at most {hints.days(max_age)} (maxAge)",
            "rebuild from a commit attested since",
        )
    return passed(13, f"signed {hints.days(max(0.0, age.total_seconds()))} ago")


def _mismatch(what: str, certified: str | None, stated: str, field_name: str, near: str = "") -> CheckError:
    return CheckError(
        Reason.CERTIFICATE_MISMATCH,
        f"the certificate's {what} is {quoted(certified)}, the summary's {field_name} {quoted(stated)}{near}",
        "expected the same; do not trust this attestation, and have the commit attested anew",
    )
