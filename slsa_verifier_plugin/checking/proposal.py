"""Writes a Verifier resource from what an image's attestations show, as strict as they allow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from slsa_verifier_plugin.checking.inspecting import ImageView, Line
from slsa_verifier_plugin.model.digest import Digest
from slsa_verifier_plugin.model.levels import Levels
from slsa_verifier_plugin.model.signer import Signer
from slsa_verifier_plugin.model.source_uri import same_repository
from slsa_verifier_plugin.model.vsa import VerificationSummary
from slsa_verifier_plugin.policy.binding import REVISION, Demand, ImageLabels, SignedProvenance, shortfall
from slsa_verifier_plugin.policy.checks import Examination
from slsa_verifier_plugin.policy.matching import escaped
from slsa_verifier_plugin.policy.parameters import ParameterError, Policy, parse_policy
from slsa_verifier_plugin.policy.releases import known_releases
from slsa_verifier_plugin.policy.tag_runs import tag_run
from slsa_verifier_plugin.policy.trusted import BUILT_IN_VERIFIERS, TrustedSigner
from slsa_verifier_plugin.resources.ratify_resources import GROUP, VERSIONS
from slsa_verifier_plugin.sinks import Yaml, yaml_lines, yaml_scalar
from slsa_verifier_plugin.text import plain

SCHEMA_FILE = "verifier.schema.json"


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a policy can demand of an image: the summary it is taken from, who signed that, and what binds the image to it."""

    image: str
    artifact_type: str
    summary: VerificationSummary
    signer: Signer
    binding: str
    builder: tuple[str, Signer] | None = None
    """The builder whose provenance binds the image; None where no builder must be named."""
    root: Any = None
    """``trustedRoot``, where it is not the default."""
    remarks: tuple[str, ...] = ()
    """What whoever takes the policy over must know; a comment each."""

    @property
    def levels(self) -> tuple[str, ...]:
        """The levels and properties to demand: all that the summary states."""
        return tuple(Levels.of(self.summary.levels).shown())

    def parameters(self) -> dict[str, Any]:
        """Return the parameters of the Verifier. What an attestation says is no pattern, whatever wildcards it has."""
        found: dict[str, Any] = {
            "expectedVerifiedLevels": list(self.levels),
            "expectedResourceUri": escaped(self.summary.resource_uri),
            "expectedVerifierId": self.summary.verifier_id,
        }
        # One parameter instead of a signer's entry: the built-in table keeps serving later releases.
        if self.unlisted_commit:
            found["allowedWorkflowDigests"] = [self.unlisted_commit]
        elif not self.is_known:
            found["trustedVerifiers"] = [{"verifierId": self.summary.verifier_id, **_identity(self.signer)}]
        if self.root is not None:
            found["trustedRoot"] = self.root
        # For a tag's run the certified tag counts: the branch in the summary is not what was built.
        run = tag_run(self.signer, self.summary.sources)
        refs = sorted({ref for source in ([run] if run else self.summary.sources) for ref in source.refs})
        if refs:
            found["expectedSourceRefs"] = [escaped(ref) for ref in refs]
        if self.binding != "none":
            found["sourceBinding"] = self.binding
        if self.builder is not None:
            found["trustedBuilders"] = [{"builderId": self.builder[0], **_identity(self.builder[1])}]
        return found

    @property
    def unlisted_commit(self) -> str:
        """The commit of the known workflow that is no known release's, and alone keeps the signer from being known."""
        entries = (
            known
            for known in BUILT_IN_VERIFIERS
            if known.is_current_workflow and known.id == self.summary.verifier_id
        )
        return next((commit for known in entries if (commit := known.unlisted_commit(self.signer))), "")

    def problem(self) -> str:
        """Return why the attestation's values are no valid parameters; empty where they are."""
        # Parsed as a call of Ratify would be.
        try:
            parse_policy({"name": "proposal", **self.parameters()})
        except ParameterError as error:
            return str(error)
        return ""

    @property
    def is_known(self) -> bool:
        """True where the signer is trusted for this verifier id without configuration."""
        return any(
            # No keys are configured here, so only signers with a certificate count.
            known.id == self.summary.verifier_id and known.is_signer(self.signer, {})
            for known in BUILT_IN_VERIFIERS
        )


def proposals(view: ImageView, labels: Iterable[ImageLabels], root: Any = None) -> list[Proposal]:
    """Return the policies that the image's verified attestations suggest, the one to prefer first.

    Whoever may push can attach a summary with any signer and any claim: what a known signer says goes before what an unknown
    one does, then what the image is bound to, and only then what claims most.

    Args:
        view: the image, its signatures checked.
        labels: what the image says of its own source.
        root: ``trustedRoot`` that the signatures were checked against, where it is not the default.
    """
    # Kept as a list: each proposal looks through the labels anew.
    said = list(labels)
    every = [line for artifact in view.artifacts for blob in artifact.blobs for line in blob.lines]
    found: list[Proposal] = []
    for artifact in view.artifacts:
        for line in (line for blob in artifact.blobs for line in blob.lines if line.checked == ""):
            summary = line.summary
            # A policy made from a summary that fails would admit nothing.
            if summary is None or line.signer is None or summary.result != "PASSED":
                continue
            # A summary without a level demands nothing; a policy of nothing is no protection.
            if Levels.of(summary.levels).shown():
                is_built, builder = _builder(every, summary, view.descriptor.digest)
                binding = (
                    "provenance" if is_built else "annotation" if _is_labelled(said, summary) else "none"
                )
                kind = artifact.artifact_type
                found.append(Proposal(view.name, kind, summary, line.signer, binding, builder, root))
    return sorted(found, key=_preference, reverse=True)


def remarks_on(chosen: Proposal, others: Iterable[Proposal], every: bool) -> Iterator[str]:
    """Yield what must be known of the policy that was chosen.

    Args:
        chosen: it admits the image.
        others: the other proposals.
        every: whether it admits the image where every attestation must pass, too.
    """
    if chosen.unlisted_commit:
        yield (
            f"the source workflow ran at the commit {chosen.unlisted_commit}, which is no release known to this version and may "
            f"be one of a fork: make sure that 'git ls-remote --tags {known_releases().repository}' lists it"
        )
    elif not chosen.is_known:
        yield (
            f"the signer {plain(chosen.signer.identity, 200)} is not among those known without configuration, and anybody who "
            "may push can attach what they signed: make sure that it is yours"
        )
    own = chosen.summary.resource_uri
    named = {item.summary.resource_uri for item in others}
    # Two spellings of one repository are no two repositories.
    repositories = {uri for uri in named if uri != own and not same_repository(uri, own)}
    if repositories:
        yield (
            f"attestations of other repositories are attached, too ({plain(sorted(repositories)[0], 200)}): make sure that "
            f"{plain(own, 200)} is the one that is meant"
        )
    # The person may not run Ratify's Policy with "any", and would wonder about the denial.
    if not every:
        yield (
            f"it admits the image only where Ratify's Policy says '{plain(chosen.artifact_type, 80)}: any'; under Ratify's "
            "default, all, the other attestations on the image deny it"
        )


def resource_of(proposal: Proposal, name: str) -> Yaml:
    """Return the Verifier resource as YAML with a comment on each choice."""
    lines = [
        f"# yaml-language-server: $schema={SCHEMA_FILE}",
        f"# Written by 'slsa-verifier-plugin policy init' from the attestations of {plain(proposal.image, 512)}:",
        "# as strict as they allow. Loosen on purpose; 'policy check' and 'audit' say what a change means.",
        *(f"# Note: {remark}." for remark in proposal.remarks),
        f"apiVersion: {GROUP}/{VERSIONS[0]}",
        "kind: Verifier",
        "metadata:",
        f"  name: {yaml_scalar(name)}",
        "spec:",
        "  name: slsla",
        f"  artifactTypes: {yaml_scalar(proposal.artifact_type)}",
        "  parameters:",
        *(f"    {line}" for line in _parameters(proposal)),
    ]
    return yaml_lines(lines)


def _parameters(proposal: Proposal) -> Iterator[str]:
    comments = {
        "expectedVerifiedLevels": "All that it states. A higher level of a track suffices, other names match exactly.",
        "expectedResourceUri": "The source repository. * matches within a path segment, ** across.",
        "expectedVerifierId": "Who judged the source.",
        "trustedVerifiers": "This signer is not among those known without configuration: make sure that it is yours.",
        "allowedWorkflowDigests": "A commit of the source workflow that is no known release: make sure that it is no fork's.",
        "trustedRoot": "The Sigstore that signatures are verified against; in the cluster, a path that is mounted there.",
        "expectedSourceRefs": "Branches and tags that may be released from.",
        "sourceBinding": _BINDINGS[proposal.binding],
        "trustedBuilders": "Who may sign the build provenance that binds the image to the commit.",
    }
    for key, value in proposal.parameters().items():
        yield f"# {comments[key]}"
        yield from _entry(key, value)
    # As a comment: demanded, a binding that nothing fulfils would deny this very image.
    if proposal.binding == "none":
        yield f"# {_BINDINGS['none']}"
        yield "# sourceBinding: provenance"
    # As a comment too: no attestation says how old it may get.
    yield "# Oldest attestation accepted; after that, rebuild from a newer commit."
    yield "# maxAge: 4320h"


_BINDINGS = {
    "provenance": "A build provenance by a builder that is trusted says that the image was built from that commit.",
    "annotation": f"The image's own {REVISION} is the attested commit. Whoever may push can write that label: "
    "attach the build provenance, and write provenance here.",
    "none": "Nothing binds the image to the commit yet: attach its build provenance. GitHub's attest-build-provenance in the "
    "repository's own workflow needs nothing else here.",
}


def _entry(key: str, value: Any) -> Iterator[str]:
    # Parameters have three shapes: a mapping, a list and a scalar.
    if isinstance(value, Mapping):
        yield f"{key}:"
        yield from (f"  {name}: {yaml_scalar(text)}" for name, text in value.items())
        return
    if not isinstance(value, list):
        yield f"{key}: {yaml_scalar(value)}"
        return
    yield f"{key}:"
    for item in value:
        if isinstance(item, Mapping):
            for number, (name, text) in enumerate(item.items()):
                yield f"{'  ' if number else '- '}{name}: {yaml_scalar(text)}"
        else:
            yield f"- {yaml_scalar(item)}"


def _identity(signer: Signer) -> dict[str, str]:
    return {"issuer": signer.issuer, "identity": signer.identity}


def _preference(proposal: Proposal) -> tuple[bool, bool, int, int]:
    levels = Levels.of(proposal.summary.levels)
    # The signer first: whoever may push can claim any level, but cannot sign as a known signer.
    return proposal.is_known, proposal.binding != "none", sum(levels.tracks.values()), len(levels.names)


def _builder(
    lines: Iterable[Line], summary: VerificationSummary, image: Digest
) -> tuple[bool, tuple[str, Signer] | None]:
    """Return whether a verified provenance binds ``image``, and which builder must be named for that, if any."""
    demanding = Policy("", "", (), (), (), source_binding="provenance")
    named: tuple[str, Signer] | None = None
    for line in lines:
        provenance, signer = line.provenance, line.signer
        # Only verified provenance binds; a claim would let whoever pushes choose the builder.
        if line.checked != "" or provenance is None or signer is None:
            continue
        examination = Examination((), signer, summary=summary, sources=summary.sources)
        signed = SignedProvenance(provenance, signer)
        # The repository's own GitHub-hosted workflow needs no entry: the narrowest policy.
        if shortfall(signed, Demand(examination, image, demanding, {})) is None:
            return True, None
        builder = TrustedSigner(provenance.builder_id, signer.issuer, identity=signer.identity)
        trusting = replace(demanding, builders=(builder,))
        # The first builder that binds is enough; each further one would widen the policy.
        if named is None and shortfall(signed, Demand(examination, image, trusting, {})) is None:
            named = provenance.builder_id, signer
    return named is not None, named


def _is_labelled(labels: Sequence[ImageLabels], summary: VerificationSummary) -> bool:
    commits = {source.commit for source in summary.sources}
    # On every platform: one without the label may be of another commit.
    return bool(labels) and all(item.revision in commits for item in labels)
