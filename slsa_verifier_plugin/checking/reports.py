"""Reports: one for each verdict on an artifact, and one for the image that combines them. Data only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from slsa_verifier_plugin.checking.status import Decision, decision_of
from slsa_verifier_plugin.errors import Reason, VerifierError
from slsa_verifier_plugin.policy.verdict import Verdict
from slsa_verifier_plugin.text import counted, plain


@dataclass(frozen=True, slots=True)
class ArtifactReport:
    """The verdict of one verifier on one artifact. ``artifact_type`` is the one that the verifier asked for."""

    verifier: str
    type: str
    artifact_type: str
    verdict: Verdict
    milliseconds: int

    @property
    def decision(self) -> Decision:
        """What this verdict alone decides."""
        return decision_of(self.verdict.success, self.verdict.reason)

    @property
    def reached(self) -> int:
        """The number of the step that failed, 15 if none did."""
        # At most one step fails; the steps after it are not reached.
        failed = [step.number for step in self.verdict.steps if step.outcome == "failed"]
        # 15 is beyond the last step. 0 is a denial without a failed step, as for an unusable trusted root.
        return failed[0] if failed else 15 if self.verdict.success else 0


@dataclass(frozen=True, slots=True)
class ImageReport:
    """What is decided about one image (or attestation file), and why.

    ``asked`` is what the caller wrote, ``resolved`` the reference with its digest (empty where it could not be had);
    ``notes`` are remarks that decide nothing.
    """

    asked: str
    resolved: str
    decision: Decision
    reason: Reason
    message: str
    artifacts: tuple[ArtifactReport, ...] = ()
    notes: tuple[str, ...] = ()
    transient: bool = False

    @property
    def digest(self) -> str:
        """The image's digest, empty where it is not known."""
        return self.resolved.partition("@")[2]

    @property
    def deciding(self) -> ArtifactReport | None:
        """The artifact whose verdict is the image's, None where there is no artifact."""
        # Of several with this outcome the one that got furthest says most about what is wrong.
        same = [
            item
            for item in self.artifacts
            if (item.decision, item.verdict.reason) == (self.decision, self.reason)
        ]
        return max(same, key=lambda item: item.reached, default=None)


def failure(asked: str, resolved: str, error: VerifierError, notes: Sequence[str] = ()) -> ImageReport:
    """Return the report for an image that no verifier got to see."""
    decision = decision_of(False, error.reason)
    return ImageReport(
        asked,
        resolved,
        decision,
        error.reason,
        f"{error.message}.",
        notes=tuple(notes),
        transient=error.transient,
    )


def combined(
    asked: str,
    resolved: str,
    artifacts: Sequence[ArtifactReport],
    rules: Mapping[str, str],
    notes: Sequence[str] = (),
) -> ImageReport:
    """Return the report on an image from those on its artifacts, at least one.

    Args:
        asked: as the caller wrote it.
        resolved: with its digest.
        artifacts: the reports.
        rules: ``any`` or ``all`` by artifact type, as in Ratify's config policy; its ``default`` is ``all``
            (Ratify v1.4.4, ``configpolicy.go``).
        notes: remarks.
    """
    # Ratify applies a rule to each type, and all types must be satisfied.
    by_type: dict[str, list[ArtifactReport]] = {}
    for item in artifacts:
        by_type.setdefault(item.artifact_type, []).append(item)
    deciding = [_deciding(items, rule_of(rules, kind)) for kind, items in by_type.items()]
    # Every type must be satisfied, so the worst of them is the image's.
    worst = _deciding(deciding, "all")
    verdict = worst.verdict
    of_its_type = by_type[worst.artifact_type]
    passing = sum(item.decision is Decision.ADMITTED for item in of_its_type)
    if (
        worst.decision is not Decision.ADMITTED
        and passing
        and all(any(item.decision is Decision.ADMITTED for item in items) for items in by_type.values())
    ):
        # Whoever may push can attach one that fails; that is what "any" is for.
        notes = [
            *notes,
            f"{passing} of {counted(len(of_its_type), 'attestation')} {'passes' if passing == 1 else 'pass'}, and the rule is "
            "'all'; --any (in the cluster, Ratify's policy 'any') would admit",
        ]
    return ImageReport(
        asked=asked,
        resolved=resolved,
        decision=worst.decision,
        reason=verdict.reason,
        message=verdict.sentence,
        artifacts=tuple(artifacts),
        notes=tuple(notes),
        transient=verdict.transient,
    )


def with_required(
    report: ImageReport, rules: Mapping[str, str], is_ours: Callable[[str], bool]
) -> ImageReport:
    """Return the report after a look at the types that Ratify's Policy names: each must be there and have passed.

    Every named type but ``default`` begins as failed, and all must become true (Ratify v1.4.4, ``configpolicy.go``,
    ``OverallVerifyResult``).

    Args:
        report: on an image with at least one artifact.
        rules: any or all by artifact type.
        is_ours: says whether one of the verifiers at hand is for an artifact type.
    """
    # "default" is the rule for types without one of their own, and requires nothing.
    seen = {item.artifact_type for item in report.artifacts}
    absent = [kind for kind in rules if kind not in seen and kind != "default"]
    missing = [kind for kind in absent if is_ours(kind)]
    # A denial stands for its own reason, which tells more than an absent type.
    if missing and report.decision is not Decision.DENIED:
        return replace(
            report,
            decision=Decision.DENIED,
            reason=Reason.NO_ATTESTATION,
            message=f"found no attestation of {_listed(missing)}, but Ratify's Policy also requires one that passes; attach it, "
            "or take the type out of the Policy.",
            transient=False,
        )
    # Nobody here can say whether the other verifiers pass; to call that admitted would be a guess.
    if absent and report.decision is Decision.ADMITTED:
        return replace(
            report,
            decision=Decision.UNDECIDED,
            reason=Reason.NO_ATTESTATION,
            message=f"what these Verifiers are for passes, but Ratify's Policy also requires {_listed(absent)}, which none of "
            "them is for; ask Ratify, or judge without the Policy (--any or --all).",
        )
    return report


def _listed(kinds: Sequence[str]) -> str:
    return ", ".join(plain(kind, 80) for kind in kinds[:6])


def rule_of(rules: Mapping[str, str], artifact_type: str) -> str:
    """Return ``any`` or ``all`` for an artifact type."""
    # "all" is Ratify's own default (Ratify v1.4.4, configpolicy.go).
    return rules.get(artifact_type) or rules.get("default") or "all"


def _deciding(items: Sequence[ArtifactReport], rule: str) -> ArtifactReport:
    """Return the report that decides for all of them."""
    # "any" takes the best verdict and "all" the worst; of equals the one that got furthest, which tells most.
    best_first = (Decision.ADMITTED, Decision.UNDECIDED, Decision.DENIED)
    order = best_first if rule == "any" else best_first[::-1]
    return min(items, key=lambda item: (order.index(item.decision), -item.reached))
