"""Step 14: is the image bound to the revision that the summary is about?

Attaching a summary to an image proves only that someone could push there. Pure: the evidence comes in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from slsa_verifier_plugin.errors import Reason
from slsa_verifier_plugin.model.built import Material
from slsa_verifier_plugin.model.digest import Digest
from slsa_verifier_plugin.model.image_label import names_repository
from slsa_verifier_plugin.model.provenance import Provenance
from slsa_verifier_plugin.model.signer import COMMIT, REPOSITORY, Signer
from slsa_verifier_plugin.model.source_uri import same_repository
from slsa_verifier_plugin.policy.certified import WORKFLOW, WORKFLOW_COMMIT, certified, runner_problem
from slsa_verifier_plugin.policy.checks import Examination
from slsa_verifier_plugin.policy.hints import near_repository
from slsa_verifier_plugin.policy.hosted import is_hosted_workflow, is_started_at
from slsa_verifier_plugin.policy.parameters import Policy
from slsa_verifier_plugin.policy.steps import CheckError, Step, not_checked, passed
from slsa_verifier_plugin.policy.trusted import TrustedSigner
from slsa_verifier_plugin.text import plain, quoted

# OCI image specification, "Pre-Defined Annotation Keys".
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
    """Provenance that was found and does not count: how many of each kind, and the first of each kind as an example."""

    kinds: dict[str, tuple[int, str]] = field(default_factory=dict)

    def add(self, kind: str, example: str = "", count: int = 1) -> None:
        """Count ``count`` more of ``kind``."""
        before, first = self.kinds.get(kind, (0, example))
        self.kinds[kind] = (before + count, first)

    def __str__(self) -> str:
        parts = []
        for kind, (count, example) in self.kinds.items():
            shown = f" ({'such as ' if count > 1 else ''}{example})" if example else ""
            parts.append(f"{count} {kind}{shown}")
        return f", having passed over {', '.join(parts)}" if parts else ""


@dataclass(frozen=True, slots=True)
class Bound:
    """Step 14 as it passed, and the examination of the one commit that the image is bound to."""

    step: Step
    examination: Examination


_Found = tuple[Reason, str, str, str]
"""Why a provenance does not bind: the reason code, what was found, what was expected, and what to do."""


@dataclass(frozen=True, slots=True)
class Shortfall:
    """What keeps a provenance from binding an image; a higher ``rank`` came closer."""

    rank: int
    reason: Reason
    found: str
    expected: str
    remedy: str

    @property
    def is_of_trusted(self) -> bool:
        """True where a trusted builder claims to have made the provenance: of others the signature is not even checked."""
        # The checks run in order: whatever failed behind ``_builder`` has passed it.
        return self.rank > _CHECKS.index(_builder)


@dataclass(frozen=True)
class Demand:
    """What a provenance is held against: the summary that passed all steps before, the image, and the policy.

    ``key_identities`` are the identities of the configured keys' signatures, by how the policy writes the key.
    """

    examination: Examination
    image: Digest
    policy: Policy
    key_identities: Mapping[str, str]

    @property
    def resource_uri(self) -> str:
        """The summary's repository."""
        return self.examination.summary.resource_uri if self.examination.summary else ""

    @cached_property
    def commits(self) -> list[str]:
        """The summary's commits that passed the steps before, without repetition."""
        return _commits(self.examination)

    def builders_of(self, item: SignedProvenance) -> list[TrustedSigner]:
        """Return the entries of ``trustedBuilders`` that have both the builder that ``item`` names and its signer."""
        return [
            builder
            for builder in self.policy.builders
            # Both of one entry: who may sign for one builder must not speak for another.
            if builder.id == item.provenance.builder_id
            and builder.is_signer(item.signer, self.key_identities)
        ]

    def is_foreign(self, item: SignedProvenance) -> bool:
        """Return True if the builder is trusted to build other repositories' sources than those that its runs are for."""
        return any(builder.builds_foreign_source for builder in self.builders_of(item))

    def expected(self) -> tuple[str, str]:
        """Return what a message says was expected, and what to do."""
        builders = " or ".join(dict.fromkeys(plain(builder.id) for builder in self.policy.builders))
        # Name the builders that are asked for; without any, say what the default rule asks for.
        if builders:
            expected = f", expected the image's build provenance by {builders}"
            return expected, "attach it, or add the builder to trustedBuilders"
        workflow = f"a GitHub-hosted workflow of {quoted(self.resource_uri)} at {_shown(self.commits)}"
        expected = f", expected the image's build provenance by {workflow}"
        return expected, "attach it, or name the builder in trustedBuilders"


def check_unbound(examination: Examination, unchecked: str = "none") -> Step:
    """Return step 14 for a policy that asks for no binding: said aloud, so that nobody takes it for one.

    ``unchecked`` is the ``sourceBinding`` that the policy asks for where there is no image to bind.
    """
    # SLSA v1.2, "subject": the summary is about this very image, so there is no commit to bind it to.
    if examination.bound_by_digest:
        return passed(14, "the summary names the image's own digest")
    # The policy asks for a binding that nothing can give: said aloud, so that nobody takes the file's verdict for the
    # image's.
    if unchecked != "none":
        return not_checked(14, f"sourceBinding: {unchecked} is not checked, for a file hangs on no image")
    return not_checked(14, NOT_BOUND)


def check_annotation(examination: Examination, images: Sequence[ImageLabels]) -> Bound:
    """Return step 14 as passed if all ``images`` name one commit of the summary's and, if any, its repository.

    Raises:
        CheckError: ``SOURCE_NOT_BOUND`` where one names no commit, ``SOURCE_REVISION_MISMATCH`` where one names another.
    """
    commits = _commits(examination)
    # An index without a platform that could run; "all of none" must not pass for "all".
    if not images:
        raise CheckError(
            Reason.SOURCE_NOT_BOUND,
            "the image has no manifest that could name its commit",
            "build it with labels",
        )
    for image in images:
        # An empty label is one that a build forgot to fill in.
        if not image.revision:
            raise CheckError(
                Reason.SOURCE_NOT_BOUND,
                f"{image.where} has no {REVISION}, expected {_shown(commits)}",
                "build the image with that label",
            )
        # Compared in full: a short commit id in the label could be that of several commits.
        if image.revision not in commits:
            raise CheckError(
                Reason.SOURCE_REVISION_MISMATCH,
                f"{image.where} was built from {quoted(image.revision)}, the summary is about {_shown(commits)}"
                f"{_ruled_out(examination, image.revision)}",
                "attach the summary of the commit that the image was built from",
            )
        # The summary may be about several commits, each of which passed; the platforms must agree on one of them.
        if image.revision != images[0].revision:
            raise CheckError(
                Reason.SOURCE_REVISION_MISMATCH,
                f"{image.where} was built from {quoted(image.revision)}, {images[0].where} from "
                f"{quoted(images[0].revision)}, expected one commit for all",
                "build all platforms from one commit",
            )
        resource_uri = examination.summary.resource_uri if examination.summary else ""
        # The repository is optional in labels and a commit id is nearly unique; where it is named it must not contradict.
        if image.source and not names_repository(image.source, resource_uri):
            raise CheckError(
                Reason.SOURCE_REVISION_MISMATCH,
                f"{image.where} names the repository {quoted(image.source)}, the summary {quoted(resource_uri)}"
                f"{near_repository(image.source, resource_uri)}",
                "attach the summary of the image's own repository",
            )
    # All platforms agree by now, and none is without a commit.
    commit = images[0].revision or ""
    return Bound(passed(14, f"{REVISION} is {plain(commit)}"), _narrowed(examination, commit))


def check_provenance(
    demand: Demand, provenances: Iterable[SignedProvenance], passed_over: object = ""
) -> Bound:
    """Return step 14 as passed if one of ``provenances`` binds the image to a commit of the summary's.

    Args:
        demand: what it must say.
        provenances: those whose signatures verified.
        passed_over: what a failure's message says of all that does not count.

    Raises:
        CheckError: what keeps the one from binding that comes closest: ``SOURCE_NOT_BOUND`` where no trusted builder says what
            the image was built from, ``SOURCE_REVISION_MISMATCH`` where it was built from, or for, something else.
    """
    closest: Shortfall | None = None
    for item in provenances:
        found = shortfall(item, demand)
        if found is None:
            # ``_source`` refuses a provenance with no source and one with several.
            (source,) = item.provenance.built
            step = passed(14, f"built by {plain(item.provenance.builder_id)} from {source.commit}")
            return Bound(step, _narrowed(demand.examination, source.commit))
        # Where none binds, the message is about the one that passed the most checks: most likely it was meant to count.
        if closest is None or found.rank > closest.rank:
            closest = found
    # Not one was there to be judged: the message names what is expected and what was passed over.
    if closest is None:
        expected, remedy = demand.expected()
        nothing = f"found no signed provenance{passed_over}{expected}"
        raise CheckError(Reason.SOURCE_NOT_BOUND, nothing, remedy)
    raise CheckError(closest.reason, f"{closest.found}{passed_over}{closest.expected}", closest.remedy)


def shortfall(item: SignedProvenance, demand: Demand) -> Shortfall | None:
    """Return what keeps a provenance from binding the image, None for nothing."""
    for rank, check in enumerate(_CHECKS):
        found = check(item, demand)
        if found is not None:
            return Shortfall(rank, *found)
    return None


def _image(item: SignedProvenance, demand: Demand) -> _Found | None:
    # The digest as admitted: of an index the index, for its platforms may have been pushed by somebody else.
    if str(demand.image) in item.provenance.digests:
        return None
    return Reason.SOURCE_NOT_BOUND, f"found signed provenance, none about {demand.image}", *demand.expected()


def _builder(item: SignedProvenance, demand: Demand) -> _Found | None:
    """Check that one entry of ``trustedBuilders`` has both the builder that is named and its signer, or GitHub's own rule."""
    builder, signer = item.provenance.builder_id, item.signer
    # With trustedBuilders that list alone counts. Without it, GitHub's own runs do, whose certificate names all that is
    # asked.
    trusted = (
        bool(demand.builders_of(item)) if demand.policy.builders else is_hosted_workflow(builder, signer)
    )
    if trusted:
        return None
    found = f"found builder {quoted(builder)} signed by {quoted(signer.identity)}"
    return Reason.SOURCE_NOT_BOUND, found, *demand.expected()


def _runner(item: SignedProvenance, demand: Demand) -> _Found | None:
    # The rule of step 8: on a runner of one's own, its owner decides what is built and what is said of it.
    problem = runner_problem(item.signer, demand.policy)
    if problem is None:
        return None
    return Reason.SOURCE_NOT_BOUND, f"the image's build provenance was {problem.found}", "", problem.remedy


def _certificate(item: SignedProvenance, demand: Demand) -> _Found | None:
    """Check that the run was for the summary's repository and commit, as far as its certificate names them (as step 8)."""
    signer = item.signer
    # A central builder runs in its own repository, so its certificate says nothing of this one. ``_source`` looks at what
    # was built.
    if demand.is_foreign(item):
        return None
    # A certificate that contradicts itself takes away this provenance alone: another one may still bind the image.
    try:
        repository, commit = certified(signer, REPOSITORY), certified(signer, COMMIT)
    except CheckError as error:
        found = f"the image's build provenance does not count: {error.problem.found}"
        return Reason.SOURCE_NOT_BOUND, found, "", error.problem.remedy
    # GitHub certifies both of each run, so what is missing there is wrong. Other providers certify what they do, which must
    # agree.
    must = signer.is_github
    if (must or repository is not None) and not same_repository(repository, demand.resource_uri):
        return _other_run(f"{quoted(repository)} at {quoted(commit)}", demand)
    if (must or commit is not None) and commit not in demand.commits:
        return _other_run(f"{quoted(repository)} at {quoted(commit)}", demand)
    # Only GitHub's default rule needs this: a listed builder is trusted for what its entry says, however it was started.
    if not demand.policy.builders and not is_started_at(signer, demand.resource_uri, commit):
        started = f"{quoted(signer.claims.get(WORKFLOW))} at {quoted(signer.claims.get(WORKFLOW_COMMIT))}"
        return Reason.SOURCE_NOT_BOUND, f"the image's build was started by {started}", *demand.expected()
    return None


def _other_run(found: str, demand: Demand) -> _Found:
    hint = "attach the build provenance of a run for that commit"
    # Without trustedBuilders there is no entry in which it could be set.
    if demand.policy.builders:
        hint += (
            ", or set buildsForeignSource in the builder's trustedBuilders entry if it builds other "
            "repositories' sources on purpose"
        )
    expected = f", the summary is about {quoted(demand.resource_uri)} at {_shown(demand.commits)}"
    return Reason.SOURCE_REVISION_MISMATCH, f"the image was built by a run for {found}", expected, hint


def _source(item: SignedProvenance, demand: Demand) -> _Found | None:
    """Check that what was built is one repository at one commit, and the summary's."""
    built = item.provenance.built
    # Two sources, of which either may be the one: an attacker could have the other one built.
    if len(built) > 1:
        return (
            Reason.SOURCE_NOT_BOUND,
            f"the image's build provenance names {_named(built[0])} and {_named(built[1])}",
            ", expected one source that was built",
            "use a build type that documents its source",
        )
    # Without a source the commit is empty, which no summary is about: such a provenance binds nothing.
    commit = built[0].commit if built else ""
    # What a builder writes and what its certificate says must not differ: the certificate is the issuer's word, not the
    # build's.
    is_certified = demand.is_foreign(item) or certified(item.signer, COMMIT) in (None, commit)
    if (
        commit in demand.commits
        and same_repository(built[0].repository, demand.resource_uri)
        and is_certified
    ):
        return None
    return (
        Reason.SOURCE_REVISION_MISMATCH,
        f"the image was built from {_named(built[0]) if built else 'no known commit'}",
        f", the summary is about {quoted(demand.resource_uri)} at {_shown(demand.commits)}",
        "attach the summary of the commit that the image was built from",
    )


_CHECKS: tuple[Callable[[SignedProvenance, Demand], _Found | None], ...] = (
    _image,
    _builder,
    _runner,
    _certificate,
    _source,
)
"""What must be true of a provenance that binds an image. The message is about the first check that fails."""


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


def _named(material: Material) -> str:
    return f"{plain(material.repository)}@{material.commit or 'no known commit'}"


def _ruled_out(examination: Examination, commit: str) -> str:
    """Say that the summary names ``commit``, too, but that an earlier step left it out."""
    summary = examination.summary
    # The summary does not name it at all, which the message has said.
    if summary is None or all(source.commit != commit for source in summary.sources):
        return ""
    return " (it names that commit, too, but not with an expected ref, or its certificate names another one)"
