"""Adds up what the parts of ``.ci/run`` did: prints what was skipped and why, and the counts on the last line."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

COUNTS = re.compile(r"^(?:\w+: )?(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$", re.MULTILINE)
"""The closing line of a part that is not pytest."""


@dataclass
class Counts:
    """Tests of one part, or of all; ``reasons`` says what was skipped and why."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    reasons: list[str] = field(default_factory=list)

    def add(self, other: Counts) -> None:
        """Add what another part counted."""
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        self.reasons += other.reasons


def from_junit(file: Path) -> Counts:
    """Return the counts in a file that pytest's ``--junitxml`` wrote."""
    counts = Counts()
    for case in ElementTree.parse(file).iter("testcase"):  # noqa: S314 - our own pytest wrote it
        skipped = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            counts.failed += 1
        elif skipped is not None:
            counts.skipped += 1
            name = f"{case.get('classname')}.{case.get('name')}"
            counts.reasons.append(f"{name}: {skipped.get('message')}")
        else:
            counts.passed += 1
    return counts


def of_part(folder: Path, name: str) -> Counts:
    """Return the counts of one part; one that counts nothing itself, such as a linter, counts as one check."""
    succeeded = (folder / f"{name}.status").read_text().strip() == "0"
    junit = folder / f"{name}.xml"
    closing = COUNTS.findall((folder / f"{name}.log").read_text(errors="replace"))
    if junit.exists():
        counts = from_junit(junit)
    elif closing:
        passed, failed, skipped = (int(number or 0) for number in closing[-1])
        counts = Counts(passed, failed, skipped)
    else:
        return Counts(passed=int(succeeded), failed=int(not succeeded))
    if not succeeded and not counts.failed:
        counts.failed = 1  # it broke outside of any test
    if succeeded and not counts.passed:
        counts.failed += 1  # it ran nothing
    return counts


def main(folder: Path) -> int:
    """Print the summary of the parts in ``folder``; returns the exit status, 0 only where nothing failed."""
    total = Counts()
    sys.stdout.write("\n")
    for status in sorted(folder.glob("*.status"), key=lambda file: file.stat().st_mtime_ns):
        counts = of_part(folder, status.stem)
        sys.stdout.write(
            f"{status.stem:12} passed {counts.passed:5}  failed {counts.failed:3}  skipped {counts.skipped:3}\n"
        )
        total.add(counts)
    for reason in total.reasons:
        sys.stdout.write(f"skipped {reason}\n")
    sys.stdout.write(f"{total.passed} passed, {total.failed} failed\n")
    return 0 if total.passed and not total.failed else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
