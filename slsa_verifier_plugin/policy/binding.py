"""Step 14: is the image bound to the revision that the summary is about?

Attaching a summary to an image proves only that someone could push there. Pure: the evidence comes in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from slsa_verifier_plugin.errors import Reason
from slsa_verifier_plugin.model.digest import Digest
from slsa_verifier_plugin.model.provenance import Provenance
from slsa_verifier_plugin.model.signer import Signer
from slsa_verifier_plugin.model.source_uri import same_repository
from slsa_verifier_plugin.policy.checks import CheckError, Examination
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


def check_unbound(examination: Examination) -> Step:
    """Return step 14 for a policy that asks for no binding: said aloud, so that nobody takes it for one."""
    if examination.bound_by_digest:
        return passed(14, "the summary names the image's own digest")
    return not_checked(14, NOT_BOUND)


def check_annotation(examination: Examination, images: Sequence[ImageLabels]) -> Step:
    """Return step 14 as passed if every one of ``images`` names the summary's commit and, if any, its repository.

    Raises:
        CheckError: ``SOURCE_NOT_BOUND`` where one names no commit, ``SOURCE_REVISION_MISMATCH`` where one names another.
    """
    if examination.bound_by_digest:
        return passed(14, "the summary names the image's own digest")
    commits = [source.commit for source in examination.sources]
    if not images:
        raise CheckError(
            Reason.SOURCE_NOT_BOUND,
            "the image has no manifest that could name its commit; build it with labels",
        )
    for image in images:
        if not image.revision:
            raise CheckError(
                Reason.SOURCE_NOT_BOUND,
                f"{image.where} has no {REVISION}, expected {plain(commits[0])}; build the image with that label",
            )
        if image.revision not in commits:
            raise CheckError(
                Reason.SOURCE_REVISION_MISMATCH,
                f"{image.where} was built from {quoted(image.revision)}, the summary is about {plain(commits[0])}; attach the "
                "summary of the commit that the image was built from",
            )
        resource_uri = examination.summary.resource_uri if examination.summary else ""
        if image.source and not same_repository(image.source, resource_uri):
            raise CheckError(
                Reason.SOURCE_REVISION_MISMATCH,
                f"{image.where} names the repository {quoted(image.source)}, the summary {quoted(resource_uri)}; attach the "
                "summary of the image's own repository",
            )
    return passed(14, f"{REVISION} is {plain(commits[0])}")


def check_provenance(
    examination: Examination,
    provenances: Sequence[SignedProvenance],
    image: Digest,
    policy: Policy,
    key_identities: Mapping[str, str],
) -> Step:
    """Return step 14 as passed if a trusted builder says that ``image`` was built from the summary's commit.

    Raises:
        CheckError: ``SOURCE_NOT_BOUND`` where no trusted builder's provenance is about the image,
            ``SOURCE_REVISION_MISMATCH`` where none of those names the commit.
    """
    if examination.bound_by_digest:
        return passed(14, "the summary names the image's own digest")
    about_image = [item for item in provenances if str(image) in item.provenance.digests]
    trusted = [item for item in about_image if _is_trusted(item, policy, key_identities)]
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
            f"found {found}, expected the image's build provenance by "
            f"{' or '.join(builder.id for builder in policy.builders)}; attach it, or add the builder to trustedBuilders",
        )
    resource_uri = examination.summary.resource_uri if examination.summary else ""
    commits = {source.commit for source in examination.sources}
    for item in trusted:
        for material in item.provenance.materials:
            if material.commit in commits and same_repository(str(material.repository), resource_uri):
                return passed(14, f"built by {plain(item.provenance.builder_id)} from {material.commit}")
    built_from = [
        f"{item.repository}@{item.commit}" for entry in trusted for item in entry.provenance.materials
    ]
    raise CheckError(
        Reason.SOURCE_REVISION_MISMATCH,
        f"the image was built from {', '.join(map(plain, built_from[:4])) or 'no known commit'}, the summary is about "
        f"{quoted(resource_uri)} at {examination.revision}; attach the summary of the commit that the image was built from",
    )


def is_passed(check: Callable[[list[SignedProvenance]], Step], provenances: list[SignedProvenance]) -> bool:
    """Return True if ``check`` passes with ``provenances``, so that no more need be fetched."""
    try:
        check(provenances)
    except CheckError:
        return False
    return True


def _is_trusted(item: SignedProvenance, policy: Policy, key_identities: Mapping[str, str]) -> bool:
    return any(
        builder.id == item.provenance.builder_id and builder.is_signer(item.signer, key_identities)
        for builder in policy.builders
    )
