"""What an audit's rows amount to: counts by decision, level, reason and namespace. Data only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from slsa_verifier_plugin.audit.audit_row import AuditRun, Row
from slsa_verifier_plugin.checking.status import Decision
from slsa_verifier_plugin.policy.verdict import RootInfo
from slsa_verifier_plugin.text import counted, plain, some_of

# No namespace can have brackets in its name, so none is taken for this one.
NO_NAMESPACE = "(no namespace)"
NO_LEVEL = "no level"
UNDECIDED = "undecided"
MAX_MENTIONED = 8
"""Images that are only mentioned, by name; of more the number is said, and the JSON has all."""


@dataclass(slots=True)
class Summary:
    """The counts, each of distinct images.

    ``by_level`` has a counter of decisions for each level's name; ``by_namespace`` one of the highest levels at which an image
    would be admitted (a level's name, ``no level`` or ``undecided``). ``roots`` are the trusted roots that took part; of what
    was asked there are the policy's digest (``fingerprint``) and the ``runs``. ``mentioned`` are images that variables and
    arguments name, and that nothing here runs.
    """

    policy: str
    levels: tuple[str, ...]
    created: datetime
    images: int = 0
    uses: int = 0
    decisions: Counter[Decision] = field(default_factory=Counter)
    by_level: dict[str, Counter[Decision]] = field(default_factory=dict)
    by_reason: Counter[str] = field(default_factory=Counter)
    by_namespace: dict[str, Counter[str]] = field(default_factory=dict)
    missing: int = 0
    gaps: tuple[str, ...] = ()
    roots: tuple[RootInfo, ...] = ()
    fingerprint: str = ""
    runs: tuple[AuditRun, ...] = ()
    mentioned: tuple[str, ...] = ()

    @property
    def is_incomplete(self) -> bool:
        """True where something that should have been looked at was not."""
        return bool(self.missing or self.gaps)

    @property
    def remark(self) -> str:
        """What is said of ``mentioned``, empty where there is none: no gap, for where such an image runs it is looked at."""
        if not self.mentioned:
            return ""
        shown = some_of([plain(name, 512) for name in self.mentioned], MAX_MENTIONED)
        why = "was not looked at: no container here runs it"
        if len(self.mentioned) > 1:
            why = "were not looked at: no container here runs them"
        return f"{counted(len(self.mentioned), 'image')} that environment variables or arguments name {why} ({shown})"


def summary_of(rows: Iterable[Row], policy: str, levels: Sequence[str], created: datetime) -> Summary:
    """Return the counts of ``rows``; what no row says is for whoever asked for the audit to fill in.

    Args:
        rows: what became of each image.
        policy: the verifiers' names, for people.
        levels: names of the levels that were asked for, lowest first.
        created: when the report is made (UTC).
    """
    summary = Summary(policy, tuple(levels), created, by_level={name: Counter() for name in levels})
    roots: set[RootInfo] = set()
    for row in rows:
        summary.images += 1
        summary.uses += len(row.uses)
        # By image and not by place: one image in a hundred Pods is one thing to put right.
        summary.decisions[row.decision] += 1
        # Of admitted images too: the page names every root that had a say.
        roots.update(row.seen.roots)
        # The reason of an admitted image is VERIFIED, which is no news.
        if row.decision is not Decision.ADMITTED:
            summary.by_reason[row.reason] += 1
        for name in levels:
            # Where no level was tried, each has the decision of the image as a whole.
            summary.by_level[name][row.levels.get(name, row.decision)] += 1
        # A set: an image in ten places of one namespace is one image there.
        for namespace in {use.namespace or NO_NAMESPACE for use in row.uses}:
            summary.by_namespace.setdefault(namespace, Counter())[highest_of(row)] += 1
    # By name, so that the same audit gives the same report, to the byte.
    summary.by_namespace = dict(sorted(summary.by_namespace.items()))
    # Sorted: a set of values has another order in each process.
    summary.roots = tuple(sorted(roots, key=lambda root: (root.source, root.date, root.digest)))
    return summary


def steps_of(levels: Sequence[str]) -> tuple[str, ...]:
    """Return what an image's highest level may be, worst first."""
    return (UNDECIDED, NO_LEVEL, *levels)


def highest_of(row: Row) -> str:
    """Return the highest level at which an image would be admitted, or what there is instead of one."""
    # Without a decision no level is known: to call that "no level" would be a denial.
    if row.decision is Decision.UNDECIDED:
        return UNDECIDED
    return row.highest or NO_LEVEL
