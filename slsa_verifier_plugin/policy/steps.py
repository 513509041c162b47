"""The numbered steps of a verification, and how each ended."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from slsa_verifier_plugin.errors import Reason, VerifierError
from slsa_verifier_plugin.problem import Problem

STEP_NAMES = {
    1: "parameters",
    2: "artifact manifest",
    3: "blobs",
    4: "attestations",
    5: "signature",
    6: "statement and signer",
    7: "subject",
    8: "certificate",
    9: "verification result",
    10: "resource URI",
    11: "levels",
    12: "source refs",
    13: "age",
    14: "source binding",
}
"""The steps of ``docs/verification.md`` by number."""


class CheckError(VerifierError):
    """A check of the policy that did not pass (steps 6 to 14).

    Args:
        reason: the reason code.
        found: what was found and what was expected.
        remedy: what to do next.
    """

    def __init__(self, reason: Reason, found: str, remedy: str = "") -> None:
        super().__init__(found, remedy, reason=reason)


class StepOutcome(StrEnum):
    """How a step ended; ``NOT_CHECKED`` also where the policy does not ask for it."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_CHECKED = "not checked"


@dataclass(frozen=True, slots=True)
class Step:
    """One step's outcome, with a few words on what was seen; of a step that failed also what to do."""

    number: int
    outcome: StepOutcome
    detail: str = ""
    remedy: str = ""

    @property
    def name(self) -> str:
        """The step's name."""
        return STEP_NAMES[self.number]

    @property
    def sentence(self) -> str:
        """What was seen and what to do, in one sentence."""
        return f"{self.detail}; {self.remedy}" if self.remedy else self.detail


def passed(number: int, detail: str = "") -> Step:
    """Return step ``number`` as passed."""
    return Step(number, StepOutcome.PASSED, detail)


def failed(number: int, problem: Problem) -> Step:
    """Return step ``number`` as failed."""
    return Step(number, StepOutcome.FAILED, problem.what, problem.remedy)


def not_checked(number: int, detail: str = "") -> Step:
    """Return step ``number`` as not checked."""
    return Step(number, StepOutcome.NOT_CHECKED, detail)


def completed(steps: list[Step]) -> tuple[Step, ...]:
    """Return all steps in order, those that ``steps`` lacks as not checked."""
    # The later word counts: step 14 may be looked at a second time, more thoroughly.
    known = {step.number: step for step in steps}
    return tuple(known.get(number, step) for number, step in _UNCHECKED.items())


_UNCHECKED = {number: not_checked(number) for number in STEP_NAMES}
