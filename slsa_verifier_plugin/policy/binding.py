"""Step 14: is the image bound to the revision that the summary is about?

Attaching a summary to an image proves only that someone could push there. Pure: the evidence comes in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from slsa_verifier_plugin.errors import Reason
from slsa_verifier_plugin.model.digest import Digest
from slsa_verifier_plugin.model.image_label import names_repository
from slsa_verifier_plugin.model.provenance import Provenance
from slsa_verifier_plugin.model.signer import Signer
from slsa_verifier_plugin.model.source_uri import same_repository
from slsa_verifier_plugin.policy.checks import CheckError, Examination, runner_problem
from slsa_verifier_plugin.policy.hints import near_repository
from slsa_verifier_plugin.policy.parameters import Policy
from slsa_verifier_plugin.policy.steps import Step, not_checked, passed
from slsa_verifier_plugin.text import plain, quoted

REVISION = "org.opencontainers.image.revision"
SOURCE = "org.opencontainers.image.source"
NOT_BOUND = "the image is not bound to this commit (sourceBinding: none)"


@dataclass(frozen=True, slots=True)
class ImageLabels:
    """What one image manifest (or index) says of its source; None where it says nothing. ``where`` names it for people."""

    where: str
    revision: str | None
    source: str | None


@dataclass(frozen=True, slots=True)
class SignedProvenance:
    """A provenance whose signature verified, and its signer."""

    provenance: Provenance
    signer: Signer


@dataclass(slots=True)
class PassedOver:
    """What was seen while provenance was looked for, and not counted: how many of each kind, with the first as an example."""

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, kind: str, example: str = "", count: int = 1) -> None:
        """Count ``count`` more of ``kind``."""
        self.counts[kind] = self.counts.get(kind, 0) + count
        self.examples.setdefault(kind, example)

    def __str__(self) -> str:
        parts = []
        for kind, count in self.counts.items():
            example = self.examples[kind]
            parts.append(
                f"{count} {kind}" + (f" ({'such as ' if count > 1 else ''}{example})" if example else "")
            )
        return f", having passed over {', '.join(parts)}" if parts else ""


@dataclass(frozen=True, slots=True)
class Bound:
    """Step 14 as it passed, and the examination of the one commit that the image is bound to."""

    step: Step
    examination: Examination


def check_unbound(examination: Examination, unchecked: str = "none") -> Step:
    """Return step 14 for a policy that asks for no binding: said aloud, so that nobody takes it for one.

    ``unchecked`` is the ``sourceBinding`` that the policy asks for where there is no image to bind.
    """
    if examination.bound_by_digest:
        return passed(14, "the summary names the image's own digest")
    if unchecked != "none":
        return not_checked(14, f"sourceBinding: {unchecked} is not checked, for a file hangs on no image")
    return not_checked(14, NOT_BOUND)


def check_annotation(examination: Examination, images: Sequence[ImageLabels]) -> Bound:
    """Return step 14 as passed if all ``images`` name one commit of the summary's and, if any, its repository.

    Raises:
        CheckError: ``SOURCE_NOT_BOUND`` where one names no commit, ``SOURCE_REVISION_MISMATCH`` where one names another.
    """
    if examination.bound_by_digest:
        return Bound(check_unbound(examination), examination)
    commits = _commits(examination)
    if not images:
        raise CheckError(
            Reason.SOURCE_NOT_BOUND,
            "the image has no manifest that could name its commit; build it with labels",
        )
    for image in images:
        if not image.revision:
            raise CheckError(
                Reason.SOURCE_NOT_BOUND,
                f"{image.where} has no {REVISION}, expected {_shown(commits)}; build the image with that label",
            )
        if image.revision not in commits:
            raise CheckError(
                Reason.SOURCE_REVISION_MISMATCH,
                f"{image.where} was built from {quoted(image.revision)}, the summary is about {_shown(commits)}"
                f"{_ruled_out(examination, image.revision)}; attach the summary of the commit that the image was built from",
            )
        if image.revision != images[0].revision:
            raise CheckError(
                Reason.SOURCE_REVISION_MISMATCH,
                f"{image.where} was built from {quoted(image.revision)}, {images[0].where} from {quoted(images[0].revision)}, "
                "expected one commit for all; build all platforms from one commit",
            )
        resource_uri = examination.summary.resource_uri if examination.summary else ""
        if image.source and not names_repository(image.source, resource_uri):
            raise CheckError(
                Reason.SOURCE_REVISION_MISMATCH,
                f"{image.where} names the repository {quoted(image.source)}, the summary {quoted(resource_uri)}"
                f"{near_repository(image.source, resource_uri)}; attach the summary of the image's own repository",
            )
    commit = images[0].revision or ""
    return Bound(passed(14, f"{REVISION} is {plain(commit)}"), _narrowed(examination, commit))


def check_provenance(
    examination: Examination,
    provenances: Sequence[SignedProvenance],
    image: Digest,
    policy: Policy,
    key_identities: Mapping[str, str],
    passed_over: object = "",
) -> Bound:
    """Return step 14 as passed if a trusted builder says that ``image`` was built from a commit of the summary's.

    ``passed_over`` is what a failure's message says of all that does not count.

    Raises:
        CheckError: ``SOURCE_NOT_BOUND`` where no trusted builder's provenance is about the image,
            ``SOURCE_REVISION_MISMATCH`` where none of those names the commit.
    """
    if examination.bound_by_digest:
        return Bound(check_unbound(examination), examination)
    about_image = [item for item in provenances if str(image) in item.provenance.digests]
    trusted = [item for item in about_image if is_trusted(item, policy, key_identities)]
    if not trusted:
        if about_image:
            other = about_image[0]
            found = f"builder {quoted(other.provenance.builder_id)} signed by {quoted(other.signer.identity)}"
        else:
            found = (
                f"{len(provenances)} signed provenances, none about {image}"
                if provenances
                else "no signed provenance"
            )
        raise CheckError(
            Reason.SOURCE_NOT_BOUND,
            f"found {found}{passed_over}, expected the image's build provenance by "
            f"{' or '.join(builder.id for builder in policy.builders)}; attach it, or add the builder to trustedBuilders",
        )
    accepted = [item for item in trusted if not runner_problem(item.signer, policy)]
    if not accepted:
        problem = runner_problem(trusted[0].signer, policy)
        raise CheckError(Reason.SOURCE_NOT_BOUND, f"the image's build provenance was {problem}")
    resource_uri = examination.summary.resource_uri if examination.summary else ""
    commits = _commits(examination)
    for item in accepted:
        for material in item.provenance.materials:
            if material.commit in commits and same_repository(str(material.repository), resource_uri):
                step = passed(14, f"built by {plain(item.provenance.builder_id)} from {material.commit}")
                return Bound(step, _narrowed(examination, material.commit))
    built_from = [
        f"{item.repository}@{item.commit}" for entry in accepted for item in entry.provenance.materials
    ]
    found = ", ".join(map(plain, list(dict.fromkeys(built_from))[:4])) or "no known commit"
    raise CheckError(
        Reason.SOURCE_REVISION_MISMATCH,
        f"the image was built from {found}{passed_over}, the summary is about "
        f"{quoted(resource_uri)} at {_shown(commits)}; attach the summary of the commit that the image was built from",
    )


def is_passed(check: Callable[[list[SignedProvenance]], Bound], provenances: list[SignedProvenance]) -> bool:
    """Return True if ``check`` passes with ``provenances``, so that no more need be fetched."""
    try:
        check(provenances)
    except CheckError:
        return False
    return True


def _commits(examination: Examination) -> list[str]:
    """Return the summary's commits that passed the steps before, without repetition."""
    return list(dict.fromkeys(source.commit for source in examination.sources))


def _narrowed(examination: Examination, commit: str) -> Examination:
    """Return ``examination`` of the one commit that the image was built from: what is shown is what was checked."""
    return replace(
        examination, sources=tuple(source for source in examination.sources if source.commit == commit)
    )


def _shown(commits: Sequence[str]) -> str:
    more = f" and {len(commits) - 4} more" if len(commits) > 4 else ""
    return " or ".join(map(plain, commits[:4])) + more


def _ruled_out(examination: Examination, commit: str) -> str:
    """Say that the summary names ``commit``, too, but that an earlier step left it out."""
    summary = examination.summary
    if summary is None or all(source.commit != commit for source in summary.sources):
        return ""
    return " (it names that commit, too, but not with an expected ref, or its certificate names another one)"


def is_trusted(item: SignedProvenance, policy: Policy, key_identities: Mapping[str, str]) -> bool:
    """Return True if one entry of ``trustedBuilders`` has both the builder that ``item`` names and its signer."""
    return any(
        builder.id == item.provenance.builder_id and builder.is_signer(item.signer, key_identities)
        for builder in policy.builders
    )
