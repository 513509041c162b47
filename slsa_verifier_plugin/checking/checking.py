"""Checks images and attestation files against verifiers, as Ratify would: resolve, list, hand each artifact to its verifier.

Everything is decided by ``slsa_verifier_plugin.verification.verify``; this only asks, for many images at once if need be.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from slsa_verifier_plugin.checking.elsewhere import notes_on
from slsa_verifier_plugin.checking.reports import (
    ArtifactReport,
    ImageReport,
    combined,
    failure,
    rule_of,
    with_required,
)
from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import ArtifactError, Reason, RegistryError, UsageError, VerifierError
from slsa_verifier_plugin.model.digest import Descriptor, Digest
from slsa_verifier_plugin.policy.parameters import ParameterError, Policy
from slsa_verifier_plugin.policy.verdict import Verdict, denial
from slsa_verifier_plugin.registry.reference import Reference
from slsa_verifier_plugin.resources.ratify_resources import VerifierResource
from slsa_verifier_plugin.text import plain, quoted
from slsa_verifier_plugin.verification.ports import ArtifactStore, SignatureVerifier

if TYPE_CHECKING:
    from slsa_verifier_plugin.verification.judged import ArtifactRequest

_FILE_ENDINGS = (".json", ".jsonl", ".yaml", ".yml", ".pem", ".gz", ".zip", ".tar", ".bundle")
LISTING_SECONDS = 20.0
"""Time to resolve an image and list what is attached to it; Ratify does this before it calls the plugin."""


class Store(ArtifactStore, Protocol):
    """A store that can be asked for the artifacts of one type."""

    def matching_referrers(
        self, image: Reference, artifact_type: str, deadline: Deadline
    ) -> list[Descriptor]:
        """Return the referrers of ``image`` whose manifests are of ``artifact_type``.

        Raises:
            RegistryError, DeadlineError: as ``referrers``.
        """


class PolicySource(Protocol):
    """Makes policies and signature verifiers; implemented by ``service.Service``."""

    def policy(self, config: Mapping[str, object]) -> Policy:
        """Return the policy in a configuration; raises ``ParameterError``."""

    def verifier(self, policy: Policy) -> SignatureVerifier:
        """Return the verifier for a policy's roots and keys; raises ``TrustRootError``."""

    def verdict(
        self, request: ArtifactRequest, store: ArtifactStore, deadline: Deadline, now: Callable[[], datetime]
    ) -> Verdict:
        """Return the verdict on one artifact; raises ``TrustRootError`` as ``verifier`` does."""


@dataclass(frozen=True, slots=True)
class Check:
    """One verifier, ready: the resource it came from, and its policy."""

    resource: VerifierResource
    policy: Policy

    def is_for(self, artifact_type: str) -> bool:
        """Return True if Ratify would hand an artifact of this type to it."""
        return artifact_type in self.resource.artifact_types or "*" in self.resource.artifact_types


@dataclass(frozen=True, slots=True)
class Checker:
    """Checks images and files.

    ``rules`` are any or all by artifact type; ``seconds`` replaces the policies' time limits; ``now`` tells the time (UTC);
    ``hints``: look where else a missing attestation may hang. ``within`` ends all of one image, whatever the policies allow;
    ``brief``: where any artifact of a type is enough, look at no other once one has passed.
    """

    checks: tuple[Check, ...]
    source: PolicySource
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
        deadline = self.within or Deadline(max(LISTING_SECONDS, self.seconds or 0.0))
        notes: list[str] = []
        resolved = ""
        try:
            image = asked
            if image.digest is None:
                image = asked.with_digest(self.store.resolve(asked, deadline).digest)
                notes.append(f"{asked} is {image.digest} now; a tag may point elsewhere tomorrow")
            resolved = str(image)
            reports, misreported = self._artifacts(image, deadline)
        except VerifierError as error:
            return failure(text, resolved, error, notes)
        if not reports:
            missing = self._nothing_attached(image, deadline, misreported)
            if self.hints and missing.reason is Reason.NO_ATTESTATION:
                types = [artifact_type for artifact_type, _ in self._types()]
                notes += misreported[1:] or notes_on(self.store, image, types, deadline)
            return failure(text, resolved, missing, notes)
        report = combined(text, resolved, reports, self.rules, [*notes, *misreported, *self._absent_roots()])
        return with_required(
            report, self.rules, lambda kind: any(check.is_for(kind) for check in self.checks)
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
        for check in self.checks:
            started = time.monotonic()
            try:
                verifier = self.source.verifier(check.policy)
                request = FileRequest(content, image, check.policy)
                verdict = verify_file(request, verifier, self._deadline(check), self.now)
            except VerifierError as error:
                return failure(name, "", error, [*self._absent_roots()])
            reports.append(_report(check, check.resource.artifact_types[0], verdict, started))
        return combined(name, "", reports, self.rules, [*self._absent_roots()])

    def _absent_roots(self) -> Iterator[str]:
        """Yield a remark on each trusted root whose path is the cluster's: a Verifier is often tried out on another machine."""
        paths = [
            source.location for check in self.checks for source in check.policy.roots if source.kind == "path"
        ]
        for path in dict.fromkeys(paths):
            if not Path(path).exists():
                yield (
                    f"the trusted root {quoted(path)} is not on this machine; if it is where Ratify runs, give a copy of it here "
                    "with --trusted-root FILE"
                )

    def _artifacts(self, image: Reference, deadline: Deadline) -> tuple[list[ArtifactReport], list[str]]:
        """Return a report for each artifact that Ratify would find, and a remark for each that it would not."""
        reports, misreported = [], []
        satisfied: set[str] = set()
        for artifact_type, check in self._types():
            if artifact_type == "*":
                found = self.store.referrers(image, deadline)
            else:
                found = self.store.matching_referrers(image, artifact_type, deadline)
            for descriptor in found:
                if descriptor.artifact_type != artifact_type != "*":
                    misreported.append(_misreported(image, descriptor, artifact_type))
                    continue
                kind = artifact_type if artifact_type != "*" else descriptor.artifact_type or "*"
                if kind in satisfied:
                    continue
                report = self._artifact(image, descriptor, kind, check)
                reports.append(report)
                # Whoever may push attaches as many as he likes: beside one that passes they cost an admission nothing.
                if self.brief and report.verdict.success and rule_of(self.rules, kind) == "any":
                    satisfied.add(kind)
        return reports, misreported

    def _types(self) -> Iterable[tuple[str, Check]]:
        """Yield each artifact type with the verifier that Ratify would choose for it: the first that matches."""
        seen: set[str] = set()
        for check in self.checks:
            for artifact_type in check.resource.artifact_types:
                if artifact_type not in seen and "*" not in seen:
                    seen.add(artifact_type)
                    yield artifact_type, check

    def _artifact(
        self, image: Reference, descriptor: Descriptor, artifact_type: str, check: Check
    ) -> ArtifactReport:
        from slsa_verifier_plugin.verification.judged import ArtifactRequest

        started = time.monotonic()
        try:
            request = ArtifactRequest(image, descriptor, check.policy)
            verdict = self.source.verdict(request, self.store, self._deadline(check), self.now)
        except VerifierError as error:
            verdict = denial(str(image), str(descriptor.digest), error, check.policy.source_binding)
        return _report(check, artifact_type, verdict, started)

    def _deadline(self, check: Check) -> Deadline:
        seconds = self.seconds or check.policy.timeout
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
        except VerifierError as error:
            return error
        found = (
            f"found {', '.join(sorted(quoted(item, 80) for item in present)[:6])}"
            if present
            else "found nothing"
        )
        return ArtifactError(
            f"{found} attached to {plain(image.name)}@{image.digest}, expected {wanted}",
            "the source workflow leaves its bundle in the commit's git note: 'slsa-verifier-plugin attach IMAGE --from notes' "
            "attaches it, and in CI the action attach-source-attestation does; 'slsa-verifier-plugin explain NO_ATTESTATION' "
            "says more",
            reason=Reason.NO_ATTESTATION,
        )


def _misreported(image: Reference, descriptor: Descriptor, artifact_type: str) -> str:
    """Return the sentence on an artifact that is of ``artifact_type`` and listed as another: whose word it is, what helps."""
    from slsa_verifier_plugin.registry.referrers import fallback_tag

    listed = f"as {quoted(descriptor.artifact_type)}" if descriptor.artifact_type else "without a type"
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


def parse_image(text: str) -> Reference:
    """Return the reference that a person wrote.

    Raises:
        UsageError: it is none.
    """
    if _is_file_name(text):
        # Docker Hub would be asked for an image of that name.
        is_here = Path(text).is_file()
        remedy = f"give it as --bundle {plain(text)}" if is_here else "check its name and folder"
        raise UsageError(
            f"{quoted(text)} is {'a file, no image' if is_here else 'no image, and no file here'}; {remedy}"
        )
    try:
        return Reference.parse(text)
    except ArtifactError as error:
        raise UsageError(error.message) from error


def _is_file_name(text: str) -> bool:
    """Return True for what a person calls a file, and nobody an image."""
    return text.startswith(("./", "../", "/", "~")) or (
        text.endswith(_FILE_ENDINGS) and "@" not in text and ":" not in text
    )


def checks_of(verifiers: Sequence[VerifierResource], source: PolicySource) -> tuple[Check, ...]:
    """Return the verifiers with their policies.

    Raises:
        UsageError: a policy is not valid, or two verifiers are for one artifact type, so that Ratify may take either.
    """
    checks: list[Check] = []
    for verifier in verifiers:
        try:
            checks.append(Check(verifier, source.policy(verifier.config)))
        except ParameterError as error:
            where = f"{verifier.resource.position('spec', 'parameters')}: " if verifier.resource else ""
            raise UsageError(f"{where}the parameters are not valid: {error}") from error
    for index, check in enumerate(checks):
        for other in checks[:index]:
            if any(other.is_for(kind) or kind == "*" for kind in check.resource.artifact_types):
                raise UsageError(
                    f"the verifiers {other.resource.shown()} and {check.resource.shown()} are for the same artifacts; choose one "
                    "with --verifier"
                )
    return tuple(checks)


def _report(check: Check, artifact_type: str, verdict: Verdict, started: float) -> ArtifactReport:
    milliseconds = round((time.monotonic() - started) * 1000)
    return ArtifactReport(check.resource.name, check.resource.type, artifact_type, verdict, milliseconds)


def unreachable_store(reason: str) -> Store:
    """Return a store that refuses every request, for checks that must not touch a registry."""
    return _Unreachable(reason)


class _Unreachable:
    def __init__(self, reason: str) -> None:
        self._reason = reason

    def _refuse(self) -> RegistryError:
        return RegistryError(self._reason, reason=Reason.REGISTRY_UNREACHABLE)

    def manifest(self, image: Reference, descriptor: Descriptor, deadline: Deadline) -> bytes:
        raise self._refuse()

    def blob(self, image: Reference, descriptor: Descriptor, limit: int, deadline: Deadline) -> bytes:
        raise self._refuse()

    def referrers(self, image: Reference, deadline: Deadline) -> list[Descriptor]:
        raise self._refuse()

    def matching_referrers(
        self, image: Reference, artifact_type: str, deadline: Deadline
    ) -> list[Descriptor]:
        raise self._refuse()

    def resolve(self, image: Reference, deadline: Deadline) -> Descriptor:
        raise self._refuse()
