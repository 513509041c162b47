"""Decides about images and attestation files as Ratify would: resolve, list, hand each artifact to its verifier.

Everything is decided by ``slsa_verifier_plugin.verification.verify``; this only asks, for many images at once if need be.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from slsa_verifier_plugin.checking.elsewhere import notes_on
from slsa_verifier_plugin.checking.image_names import parse_image
from slsa_verifier_plugin.checking.reports import (
    ArtifactReport,
    ImageReport,
    combined,
    failure,
    rule_of,
    with_required,
)
from slsa_verifier_plugin.checking.status import LISTING_SECONDS
from slsa_verifier_plugin.checking.stores import Store
from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import ArtifactError, Reason, UsageError, VerifierError
from slsa_verifier_plugin.model.digest import Descriptor, Digest
from slsa_verifier_plugin.policy.hints import near_type
from slsa_verifier_plugin.policy.parameters import ParameterError, Policy
from slsa_verifier_plugin.policy.verdict import Verdict, denial
from slsa_verifier_plugin.registry.reference import Reference
from slsa_verifier_plugin.resources.ratify_resources import VerifierResource
from slsa_verifier_plugin.service.service import Service
from slsa_verifier_plugin.text import plain, quoted
from slsa_verifier_plugin.verification.prefetch import prefetched

ARTIFACTS_AT_ONCE = 8
"""Artifacts of one image that are verified at once where time is short; each waits for its registry most of the time."""


@dataclass(frozen=True, slots=True)
class ReadyVerifier:
    """One verifier, ready: the resource it came from, and its policy."""

    resource: VerifierResource
    policy: Policy

    def is_for(self, artifact_type: str) -> bool:
        """Return True if Ratify would hand an artifact of this type to it."""
        return artifact_type in self.resource.artifact_types or "*" in self.resource.artifact_types


@dataclass(frozen=True, slots=True)
class Decider:
    """Decides about images and files.

    ``rules`` are any or all by artifact type; ``seconds`` replaces the policies' time limits; ``now`` tells the time (UTC);
    ``hints``: look where else a missing attestation may hang. ``within`` ends all of one image, whatever the policies allow;
    ``brief``: several artifacts at once, and where any of a type is enough, no other once one has passed.
    """

    verifiers: tuple[ReadyVerifier, ...]
    source: Service
    store: Store
    rules: Mapping[str, str] = field(default_factory=dict)
    seconds: float | None = None
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    hints: bool = False
    within: Deadline | None = None
    brief: bool = False

    def image(self, text: str) -> ImageReport:
        """Return the report on the image that ``text`` names. Whatever fails on the way is in the report.

        Raises:
            UsageError: it is no image reference.
        """
        asked = parse_image(text)
        # Ratify resolves and lists before it calls the plugin, with time of its own.
        deadline = self.within or Deadline(max(LISTING_SECONDS, self.seconds or 0.0))
        notes: list[str] = []
        resolved = ""
        try:
            image = asked
            # Ratify is handed a digest; a tag is what it happens to be now, and that is said.
            if image.digest is None:
                image = asked.with_digest(self.store.resolve(asked, deadline).digest)
                notes.append(f"{asked} is {image.digest} now; a tag may point elsewhere tomorrow")
            # Known from here on, so that a failure below still names the digest.
            resolved = str(image)
            reports, misreported = self._artifacts(image, deadline)
        except VerifierError as error:
            return failure(text, resolved, error, notes)
        # Ratify denies an image on which none of its verifiers looked at anything.
        if not reports:
            # A denial with its own words: which types are there instead is the usual cause.
            missing = self._nothing_attached(image, deadline, misreported)
            # Asks the registry up to a few dozen times more, which only a person at a terminal waits for.
            if self.hints and missing.reason is Reason.NO_ATTESTATION:
                types = [artifact_type for artifact_type, _ in self._types()]
                # The first misreported artifact is the denial's own sentence; the others become notes.
                notes += misreported[1:] or notes_on(self.store, image, types, deadline)
            return failure(text, resolved, missing, notes)
        report = combined(text, resolved, reports, self.rules, [*notes, *misreported, *self._absent_roots()])
        return with_required(
            report, self.rules, lambda kind: any(ready.is_for(kind) for ready in self.verifiers)
        )

    def content(self, content: bytes, name: str, image: Digest | None = None) -> ImageReport:
        """Return the report on an attestation file, against every verifier; steps 2, 3 and 14 are not checked.

        Args:
            content: the file's bytes.
            name: its name, for people.
            image: digest of the image that it is meant for, if any.
        """
        from slsa_verifier_plugin.verification.judged import FileRequest
        from slsa_verifier_plugin.verification.verify import verify_file

        reports = []
        for ready in self.verifiers:
            started = time.monotonic()
            try:
                # Each policy has trusted roots of its own.
                verifier = self.source.verifier(ready.policy)
                request = FileRequest(content, image, ready.policy)
                verdict = verify_file(request, verifier, self._deadline(ready), self.now)
            except VerifierError as error:
                return failure(name, "", error, [*self._absent_roots()])
            # A file has no artifact type: the first is what rules are looked up by.
            reports.append(_report(ready, ready.resource.artifact_types[0], verdict, started))
        return combined(name, "", reports, self.rules, [*self._absent_roots()])

    def _absent_roots(self) -> Iterator[str]:
        """Yield a remark on each trusted root whose file is not here: a cluster's Verifier is often tried on another machine."""
        paths = [
            source.location
            for ready in self.verifiers
            for source in ready.policy.roots
            if source.kind == "path"
        ]
        # Once each, though several verifiers name it.
        for path in dict.fromkeys(paths):
            if not Path(path).exists():
                yield (
                    f"the trusted root {quoted(path)} is not on this machine; if it is where Ratify runs, give a copy of it here "
                    "with --trusted-root FILE"
                )

    def _artifacts(self, image: Reference, deadline: Deadline) -> tuple[list[ArtifactReport], list[str]]:
        """Return a report for each artifact that Ratify would find, and a remark for each that it would not."""
        reports, misreported = [], []
        for artifact_type, ready in self._types():
            # Ratify hands every artifact to such a verifier, whatever its type.
            if artifact_type == "*":
                found = self.store.referrers(image, deadline)
            else:
                found = self.store.matching_referrers(image, artifact_type, deadline)
            by_kind: dict[str, list[Descriptor]] = {}
            for descriptor in found:
                # The store matched it by its own manifest; Ratify filters by what the registry lists.
                if descriptor.artifact_type != artifact_type != "*":
                    misreported.append(_misreported(image, descriptor, artifact_type))
                    continue
                # Under "*" each type is judged by the rule for its own name.
                kind = artifact_type if artifact_type != "*" else descriptor.artifact_type or "*"
                by_kind.setdefault(kind, []).append(descriptor)
            for kind, descriptors in by_kind.items():
                reports += self._of_kind(image, descriptors, kind, ready, deadline)
        return reports, misreported

    def _of_kind(
        self,
        image: Reference,
        descriptors: list[Descriptor],
        kind: str,
        ready: ReadyVerifier,
        deadline: Deadline,
    ) -> list[ArtifactReport]:
        """Return the reports on an image's artifacts of one type; where one is enough and has passed, on no further ones."""
        if not self.brief:
            # One after the other, all of them: a person wants to see each verdict.
            return [self._artifact(image, descriptor, kind, ready) for descriptor in descriptors]
        # Whoever may push attaches as many as he likes, but does not choose which of them are looked at first.
        random.SystemRandom().shuffle(descriptors)
        is_enough = rule_of(self.rules, kind) == "any"
        reports: list[ArtifactReport] = []
        outcomes = prefetched(
            descriptors,
            lambda descriptor: self._artifact(image, descriptor, kind, ready),
            ARTIFACTS_AT_ONCE,
            deadline,
            f"verifying {len(descriptors)} artifacts of {plain(kind, 80)}",
        )
        # Closed at the break: then nothing more is begun.
        with closing(outcomes):
            for _, outcome in outcomes:
                # A denial is a verdict and no exception: this is a fault, which must not pass for "none attached".
                if isinstance(outcome, Exception):
                    raise outcome
                reports.append(outcome)
                # The rest would cost the registry and change nothing: any is met.
                if is_enough and outcome.verdict.success:
                    break
        return reports

    def _types(self) -> Iterable[tuple[str, ReadyVerifier]]:
        """Yield each artifact type with the verifier that Ratify would choose for it: the first that matches."""
        seen: set[str] = set()
        for ready in self.verifiers:
            for artifact_type in ready.resource.artifact_types:
                # Of two verifiers for one type Ratify runs the first.
                # Behind a verifier for "*" Ratify asks no other.
                if artifact_type not in seen and "*" not in seen:
                    seen.add(artifact_type)
                    yield artifact_type, ready

    def _artifact(
        self, image: Reference, descriptor: Descriptor, artifact_type: str, ready: ReadyVerifier
    ) -> ArtifactReport:
        from slsa_verifier_plugin.verification.judged import ArtifactRequest

        started = time.monotonic()
        try:
            request = ArtifactRequest(image, descriptor, ready.policy)
            # Steps 2 to 14, as in a call of Ratify.
            verdict = self.source.verdict(request, self.store, self._deadline(ready), self.now)
        except VerifierError as error:
            # A policy whose roots or keys cannot be used denies this artifact, and says so as its verdict.
            verdict = denial(str(image), str(descriptor.digest), error, ready.policy.source_binding)
        return _report(ready, artifact_type, verdict, started)

    def _deadline(self, ready: ReadyVerifier) -> Deadline:
        # Each artifact has the time of a call of its own, as in Ratify.
        seconds = self.seconds or ready.policy.timeout
        return Deadline(seconds) if self.within is None else self.within.within(seconds)

    def _nothing_attached(
        self, image: Reference, deadline: Deadline, misreported: Sequence[str]
    ) -> VerifierError:
        """Return the denial for an image that has none of the artifacts that are asked for, or none that Ratify finds."""
        if misreported:
            return ArtifactError(misreported[0], reason=Reason.NO_ATTESTATION)
        wanted = ", ".join(artifact_type for artifact_type, _ in self._types())
        try:
            present = {item.artifact_type or "no type" for item in self.store.referrers(image, deadline)}
        # Not "nothing": a registry that does not answer is no image without attestations.
        except VerifierError as error:
            return error
        near = near_type([kind for kind, _ in self._types()], present)
        found = ", ".join(sorted(quoted(item, 80) for item in present)[:6]) or "nothing"
        return ArtifactError(
            f"found {found} attached to {plain(image.name)}@{image.digest}, expected {wanted}",
            f"is {plain(near)} meant? Then correct artifactTypes, or attach it as {wanted}"
            if near
            else _FROM_NOTES,
            reason=Reason.NO_ATTESTATION,
        )


_FROM_NOTES = (
    "the source workflow leaves its bundle in the commit's git note: 'slsa-verifier-plugin attach IMAGE --from notes' attaches "
    "it, and in CI the action attach-source-attestation does; 'slsa-verifier-plugin explain NO_ATTESTATION' says more"
)


def _misreported(image: Reference, descriptor: Descriptor, artifact_type: str) -> str:
    """Return the sentence on an artifact that is listed under a wrong type: who wrote that type, and the remedy."""
    from slsa_verifier_plugin.registry.referrers import fallback_tag

    listed = f"as {quoted(descriptor.artifact_type)}" if descriptor.artifact_type else "without a type"
    # Two faults with two remedies: a client's index under the fallback tag, or the registry's own API.
    if descriptor.listed_by_tag and image.digest is not None:
        return (
            f"the index under the tag {fallback_tag(image.digest)} lists {descriptor.digest} {listed}, though its own manifest "
            f"says {artifact_type}; the client that attached it wrote that index, and Ratify goes by it and will not find it; "
            "attach it again with 'slsa-verifier-plugin attach' or a current oras"
        )
    return (
        f"the registry reports {descriptor.digest} {listed}, though its own manifest says {artifact_type}; Ratify goes by the "
        "registry and will not find it; use a registry that reports artifact types as OCI 1.1 says"
    )


def ready_verifiers(
    verifiers: Sequence[VerifierResource], source: Service, typed: Mapping[str, str] | None = None
) -> tuple[ReadyVerifier, ...]:
    """Return the verifiers with their policies.

    Args:
        verifiers: of the policy files.
        source: makes the policies.
        typed: the parameters that options replaced, each with its option.

    Raises:
        UsageError: a policy is not valid, or two verifiers are for one artifact type, so that Ratify may take either.
    """
    found: list[ReadyVerifier] = []
    for verifier in verifiers:
        try:
            found.append(ReadyVerifier(verifier, source.policy(verifier.config)))
        except ParameterError as error:
            # What was typed stands in no file.
            own = [item for item in error.violations if item.where and item.where[0] in (typed or {})]
            if own:
                named = [f"{(typed or {})[str(item.where[0])]}: {replace(item, where=())}" for item in own]
                raise UsageError("; ".join(named)) from error
            where = f"{verifier.resource.position('spec', 'parameters')}: " if verifier.resource else ""
            raise UsageError(f"{where}the parameters are not valid: {error}") from error
    # Refused and not settled by order: in the cluster either of the two may be asked.
    for index, ready in enumerate(found):
        for other in found[:index]:
            if any(other.is_for(kind) or kind == "*" for kind in ready.resource.artifact_types):
                raise UsageError(
                    f"the verifiers {other.resource.shown()} and {ready.resource.shown()} are for the same artifacts; give each "
                    "artifactTypes of its own, or leave one out (verify and audit: --verifier)"
                )
    return tuple(found)


def _report(ready: ReadyVerifier, artifact_type: str, verdict: Verdict, started: float) -> ArtifactReport:
    milliseconds = round((time.monotonic() - started) * 1000)
    return ArtifactReport(ready.resource.name, ready.resource.type, artifact_type, verdict, milliseconds)
