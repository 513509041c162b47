"""What became of one image, what was seen on the way, and what an audit was asked. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Self

from slsa_verifier_plugin.audit.image_sources import Use
from slsa_verifier_plugin.checking.status import Decision
from slsa_verifier_plugin.policy.steps import Step, StepOutcome
from slsa_verifier_plugin.policy.verdict import RootInfo


@dataclass(frozen=True, slots=True)
class Seen:
    """What the deciding attestation showed: its digest, the steps that ended one way or the other, the trusted roots asked.

    All of it is empty where no attestation was found.
    """

    artifact: str = ""
    steps: tuple[Step, ...] = ()
    roots: tuple[RootInfo, ...] = ()

    def to_json(self) -> list[Any]:
        """Return what ``from_json`` reads; a list, for an audit keeps thousands of these."""
        # Positions instead of names: the names would be most of what a state of many images holds.
        steps = [(step.number, str(step.outcome), step.detail, step.remedy) for step in self.steps]
        roots = [(root.source, root.digest, root.date.isoformat()) for root in self.roots]
        return [self.artifact, steps, roots]

    @classmethod
    def from_json(cls, value: list[Any]) -> Self:
        """Return what ``to_json`` wrote."""
        artifact, steps, roots = value
        return cls(
            artifact,
            # What follows number and outcome is detail and remedy, in the order of to_json.
            tuple(Step(number, StepOutcome(outcome), *said) for number, outcome, *said in steps),
            tuple(RootInfo(source, digest, datetime.fromisoformat(date)) for source, digest, date in roots),
        )


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one image: the decision of the policy as it stands, and of each level.

    ``levels`` maps names to decisions; ``found`` are the levels that the deciding attestation states; ``uses`` is filled in
    where rows are read for a report.
    """

    image: str
    resolved: str
    decision: Decision
    reason: str
    message: str
    levels: Mapping[str, Decision] = field(default_factory=dict)
    found: tuple[str, ...] = ()
    repository: str = ""
    revision: str = ""
    signer: str = ""
    seen: Seen = Seen()
    uses: tuple[Use, ...] = ()

    @property
    def highest(self) -> str:
        """The highest level at which it would be admitted, empty where at none."""
        # Levels stand lowest first, and none above a denied one is admitted: the last is the highest.
        admitted = [name for name, decision in self.levels.items() if decision is Decision.ADMITTED]
        # Admitted at no level: an empty text, which highest_of shows as "no level".
        return admitted[-1] if admitted else ""


@dataclass(frozen=True, slots=True)
class AuditRun:
    """What one run was asked, so that its report is evidence.

    ``command`` is what was typed, ``sources`` where the images came from, ``parameters`` those of each verifier by its name,
    ``gaps`` says for people what was not looked at, and ``mentioned`` are images that variables and arguments name, and no
    container.
    """

    command: str
    sources: tuple[str, ...]
    parameters: Mapping[str, Mapping[str, Any]]
    gaps: tuple[str, ...] = ()
    mentioned: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return what ``from_json`` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Return what ``to_json`` wrote."""
        # A state of an earlier version has no word on the last two.
        gaps, mentioned = tuple(value.get("gaps", ())), tuple(value.get("mentioned", ()))
        return cls(value["command"], tuple(value["sources"]), value["parameters"], gaps, mentioned)
