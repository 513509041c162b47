"""How an audit is shown: a table for people; JSON, SARIF, JUnit and CSV for programs. The page is ``render_html``'s."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from slsa_verifier_plugin.audit.audit_row import Row
from slsa_verifier_plugin.audit.audit_summary import Summary
from slsa_verifier_plugin.checking.status import Decision
from slsa_verifier_plugin.cli.reason_page import entries
from slsa_verifier_plugin.cli.render.painter import DECISION_STYLES, Painter
from slsa_verifier_plugin.cli.render.render_junit import junit_of
from slsa_verifier_plugin.cli.render.render_sarif import sarif_of
from slsa_verifier_plugin.cli.render.report_item import ReportItem
from slsa_verifier_plugin.policy.verdict import root_info
from slsa_verifier_plugin.sinks import Csv, Json, Xml, csv_line, json_stream
from slsa_verifier_plugin.text import counted, plain, some_of

FORMAT_VERSION = 1
MAX_SHOWN_USES = 3
_MARKS = {Decision.ADMITTED: "passed", Decision.DENIED: "failed", Decision.UNDECIDED: "warning"}


def text_of(summary: Summary, rows: Iterable[Row], painter: Painter) -> Iterator[str]:
    """Yield the lines for people: what was denied or undecided one by one, then the counts."""
    for row in rows:
        # Admitted images are counted below: a list of thousands would hide the ones to act on.
        if row.decision is not Decision.ADMITTED:
            yield from _row(row, painter)
    yield from _counts(summary, painter)


def _row(row: Row, painter: Painter) -> Iterator[str]:
    mark = painter.mark(_MARKS[row.decision])
    word = painter.paint(row.decision.upper(), DECISION_STYLES[row.decision], "bold")
    yield f"{mark} {word} {painter.paint(plain(row.reason), 'bold')} {plain(row.image, 512)}"
    yield from painter.lines(row.message, "    ", 4)
    # An image from a list has no workload: its place is the line, which nobody needs to be told.
    places = [f"{use.namespace}/{use.workload}" if use.namespace else use.workload for use in row.uses]
    # Each once: ten Pods of one Deployment are one place.
    places = sorted({place for place in places if place})
    if places:
        yield from painter.lines(f"used by {some_of(places, MAX_SHOWN_USES)}", "    ", 4)


def _counts(summary: Summary, painter: Painter) -> Iterator[str]:
    # Nothing stands above where all was admitted, so no line is left free.
    if summary.images > summary.decisions[Decision.ADMITTED]:
        yield ""
    yield painter.paint(
        f"{counted(summary.images, 'image')} in {counted(summary.uses, 'place')}, policy {plain(summary.policy)}",
        "bold",
    )
    # Above the counts, which nobody should read without it.
    for remark in remarks(summary):
        yield painter.paint(plain(remark, 4096), "yellow")
    # The column is as wide as the longest level, so that numbers stand below each other.
    width = max(map(len, (*summary.levels, "as it stands")))
    yield f"  {'':<{width}} {'admitted':>9} {'denied':>9} {'undecided':>9}"
    yield f"  {'as it stands':<{width}} {_numbers(summary.decisions, painter)}"
    for name in summary.levels:
        yield f"  {name:<{width}} {_numbers(summary.by_level[name], painter)}"
    # The commonest first: what is to be done about most images.
    for reason, count in summary.by_reason.most_common():
        yield from painter.lines(f"{reason}: {entries()[reason].meaning}", f"  {count:>6} ", 9)


def remarks(summary: Summary) -> tuple[str, ...]:
    """Return what a reader is told before the counts: what is missing, what was not looked at."""
    remark = (summary.remark,) if summary.remark else ()
    return (*(f"incomplete: {gap}" for gap in _gaps(summary)), *remark)


def _gaps(summary: Summary) -> tuple[str, ...]:
    missing = (f"{counted(summary.missing, 'image')} not looked at yet",) if summary.missing else ()
    return (*missing, *summary.gaps)


def _numbers(counts: Any, painter: Painter) -> str:
    return " ".join(
        # A zero is dim, so that the eye finds the others.
        painter.paint(
            f"{counts[decision]:>9}", *([DECISION_STYLES[decision]] if counts[decision] else ["dim"])
        )
        for decision in (Decision.ADMITTED, Decision.DENIED, Decision.UNDECIDED)
    )


def json_of(summary: Summary, rows: Iterable[Row]) -> Iterator[Json]:
    """Yield the parts of one JSON document, an image at a time: an audit may be larger than memory."""
    head = {
        "version": FORMAT_VERSION,
        "created": f"{summary.created:%Y-%m-%dT%H:%M:%SZ}",
        "policy": plain(summary.policy),
        "evidence": {
            "policyDigest": summary.fingerprint,
            "trustedRoots": [root_info(root) for root in summary.roots],
            "runs": [run.to_json() for run in summary.runs],
        },
        "summary": {
            "images": summary.images,
            "places": summary.uses,
            "missing": summary.missing,
            "gaps": [plain(gap, 1024) for gap in summary.gaps],
            "mentioned": [plain(name, 1024) for name in summary.mentioned],
            "asItStands": _plain_counts(summary.decisions),
            "levels": {name: _plain_counts(counts) for name, counts in summary.by_level.items()},
            "reasons": dict(summary.by_reason),
            "namespaces": {plain(name): dict(counts) for name, counts in summary.by_namespace.items()},
        },
    }
    # The head first: a reader has the counts before a million images.
    yield from json_stream(head, "images", map(row_value, rows))


def row_value(row: Row) -> dict[str, Any]:
    """Return one image as JSON values."""
    return {
        "image": plain(row.image, 1024),
        "resolved": plain(row.resolved, 1024),
        "decision": str(row.decision),
        "reason": row.reason,
        "message": plain(row.message, 4096),
        "levels": {name: str(decision) for name, decision in row.levels.items()},
        "verifiedLevels": [plain(name) for name in row.found],
        "resourceUri": plain(row.repository, 2048),
        "revision": plain(row.revision),
        "signer": plain(row.signer, 2048),
        "artifact": row.seen.artifact,
        "steps": [
            {
                "number": step.number,
                "name": step.name,
                "outcome": str(step.outcome),
                "detail": plain(step.sentence, 4096),
            }
            for step in row.seen.steps
        ],
        "uses": [
            {
                "namespace": plain(use.namespace),
                "workload": plain(use.workload),
                "source": plain(use.source, 1024),
                "line": use.line,
            }
            for use in row.uses
        ],
    }


COLUMNS = (
    *("image", "resolved", "decision", "reason", "message", "highestLevel", "verifiedLevels"),
    *("resourceUri", "revision", "signer", "artifact", "namespace", "workload", "source", "line"),
)
"""The CSV's columns; those from ``namespace`` on are of one place that uses the image."""


def csv_of(rows: Iterable[Row]) -> Iterator[Csv]:
    """Yield the lines of a CSV: one for each place where an image is used, so that a spreadsheet can filter by owner."""
    yield csv_line(COLUMNS)
    for row in rows:
        facts = (
            *(row.image, row.resolved, row.decision, row.reason, row.message, row.highest),
            *(" ".join(row.found), row.repository, row.revision, row.signer, row.seen.artifact),
        )
        # An image that nothing uses any more has no line: it is not in this audit's list.
        for use in row.uses:
            # Pods and registries have no line: an empty cell, for 0 would look like one.
            yield csv_line((*facts, use.namespace, use.workload, use.source, use.line or ""))


def audit_junit(summary: Summary, rows: Iterable[Row]) -> Iterator[Xml]:
    """Yield the parts of a JUnit document: an image is a test, listed under the first of its namespaces."""
    # JUnit knows no "incomplete": an error is what no CI system shows in green.
    cases = (ReportItem(row.image, row.decision, row.reason, row.message, group=_group(row)) for row in rows)
    return junit_of(cases, summary.decisions, _gaps(summary), summary.remark)


def _group(row: Row) -> str:
    return next((use.namespace or use.source for use in row.uses if use.namespace or use.source), "")


def audit_sarif(rows: Iterable[Row], remarks: Sequence[str] = ()) -> Json:
    """Return the rows as a SARIF log: a result for each place in a file where an image stands, else one for the image."""
    return sarif_of((item for row in rows for item in _items(row)), remarks)


def _items(row: Row) -> Iterator[ReportItem]:
    levels = {"levels": {name: str(decision) for name, decision in row.levels.items()}}
    placed = [use for use in row.uses if use.source and use.line]
    # A result for each place: code scanning shows a finding at a line of a file.
    for use in placed:
        facts = {**levels, "namespace": plain(use.namespace), "workload": plain(use.workload)}
        yield ReportItem(row.image, row.decision, row.reason, row.message, use.source, use.line, facts)
    # Pods and registries have no file to point to: the image itself is the place.
    if not placed:
        yield ReportItem(row.image, row.decision, row.reason, row.message, properties=levels)


def _plain_counts(counts: Any) -> dict[str, int]:
    # All decisions, also those without an image: readers need not ask whether a member is there.
    return {str(decision): counts[decision] for decision in Decision}
