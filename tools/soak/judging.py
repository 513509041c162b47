"""What a call must come to, what it came to, and the count of it all."""

from __future__ import annotations

import json
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tools.soak.registries import OTHER, RESOURCE

MOST_SECONDS = 4.5
MOST_MIB = {"C": 300, "Python": 400}
"""Of all processes of one client's installation; the Python client's hold an interpreter for each caller."""
MOST_UNDECIDED = 0.02
"""Share of the calls to a registry that answers which may be denied for now: those whose verifiers were killed under them."""

POLICIES: dict[str, dict[str, Any]] = {
    "level 2": {"expectedVerifiedLevels": ["SLSA_SOURCE_LEVEL_2"], "expectedResourceUri": RESOURCE},
    "level 3": {"expectedVerifiedLevels": ["SLSA_SOURCE_LEVEL_3"], "expectedResourceUri": RESOURCE},
    "other": {"expectedVerifiedLevels": ["SLSA_SOURCE_LEVEL_1"], "expectedResourceUri": OTHER},
}
"""Parameters by the policy's name."""


def expected(kind: str, policy: str) -> str:
    """Return the reason that a kind of attestation (``registries.KINDS``) has under a policy (``POLICIES``)."""
    before = {
        "forged": "SIGNATURE_INVALID",
        "stranger": "SIGNER_UNTRUSTED",
        "failed": "VERIFICATION_RESULT_FAILED",
    }
    if kind in before:
        return before[kind]
    if (kind == "other") != (policy == "other"):
        return "RESOURCE_URI_MISMATCH"
    level = 3 if kind == "other" else int(kind[-1])
    wanted = int(POLICIES[policy]["expectedVerifiedLevels"][0][-1])
    return "VERIFIED" if level >= wanted else "LEVEL_TOO_LOW"


@dataclass(frozen=True)
class Outcome:
    """One call's end: exit status (None where it had to be killed), what it printed, and the seconds it took.

    ``late`` are the seconds by which the machine itself was late meanwhile (``lateness``).
    """

    status: int | None
    stdout: bytes
    stderr: bytes
    seconds: float
    late: float = 0.0


def judge(outcome: Outcome, reason: str, registry: str) -> str:
    """Return "right", "wrong", "for now" (denied, and a retry is said to help) or "none" (no verdict at all).

    Args:
        outcome: the call's.
        reason: what it must come to where the registry answers.
        registry: "quick", "slow" or "dead".
    """
    try:
        verdict = json.loads(outcome.stdout)
        success, extensions = verdict["isSuccess"], verdict["extensions"]
        found, transient = extensions["reason"], extensions["transient"]
    except (ValueError, KeyError, TypeError):
        return "none"
    if outcome.status != 0 or not isinstance(success, bool):
        return "none"
    if success:
        return "right" if reason == "VERIFIED" and found == "VERIFIED" and registry != "dead" else "wrong"
    if registry != "dead" and found == reason:
        return "right"
    if transient is not True:
        return "wrong"
    return "right" if registry == "dead" else "for now"


@dataclass
class Tally:
    """The counts of one client; safe under threads."""

    client: str
    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    slowest: float = 0.0
    slowest_own: float = 0.0
    peak_bytes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, what: str, registry: str, outcome: Outcome) -> None:
        """Count a call that came to ``what`` (``judge``)."""
        with self._lock:
            self.counts["calls"] += 1
            self.counts[what] += 1
            self.counts[f"{what} of {registry}"] += 1
            self.slowest = max(self.slowest, outcome.seconds)
            own = outcome.seconds - outcome.late
            self.slowest_own = max(self.slowest_own, own)
            is_late = own > MOST_SECONDS
            self.counts["late"] += is_late
            if what != "right" or is_late:
                # What was late has examples of its own: those denied for now are many, and would leave no room.
                kept = self.examples.setdefault("late" if is_late else what, [])
                if len(kept) < 8:
                    text = (outcome.stdout or b"nothing")[:300] + b" | " + outcome.stderr[:200]
                    kept.append(f"{outcome.seconds:.2f} s, {registry}: {text.decode(errors='replace')}")

    def problems(self) -> list[str]:
        """Return what is not as it must be."""
        found = []
        if not self.counts["calls"]:
            found.append("no calls were made")
        if self.counts["wrong"]:
            found.append(f"{self.counts['wrong']} wrong decisions")
        if self.counts["none"]:
            found.append(f"{self.counts['none']} calls without a verdict")
        if self.slowest_own > MOST_SECONDS:
            found.append(
                f"{self.counts['late']} calls took more than {MOST_SECONDS} s besides what the machine was late, one "
                f"{self.slowest_own:.2f} s"
            )
        if self.peak_bytes > MOST_MIB[self.client] << 20:
            found.append(f"{self.peak_bytes >> 20} MiB at most, more than {MOST_MIB[self.client]}")
        undecided = self.counts["for now of quick"]
        asked = sum(self.counts[f"{what} of quick"] for what in ("right", "wrong", "for now", "none"))
        if undecided > asked * MOST_UNDECIDED:
            found.append(f"{undecided} of {asked} calls to a registry that answers were denied for now")
        return found

    def line(self) -> str:
        """Return the counts as one line."""
        names = ("right", "wrong", "none", "for now of quick", "for now of slow")
        counts = ", ".join(f"{self.counts[name]} {name}" for name in names)
        return (
            f"{self.client} client: {self.counts['calls']} calls, {counts}; slowest {self.slowest:.2f} s "
            f"({self.slowest_own:.2f} s besides what the machine was late), "
            f"at most {self.peak_bytes >> 20} MiB"
        )
