"""How the outcome of ``verify`` is shown: text for people, JSON for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from slsa_verifier_plugin.checking.reports import ArtifactReport, ImageReport
from slsa_verifier_plugin.checking.status import PROGRAM, Decision, status_of
from slsa_verifier_plugin.cli.render.painter import DECISION_STYLES, Painter, short
from slsa_verifier_plugin.cli.render.report_item import ReportItem
from slsa_verifier_plugin.policy.steps import Step, StepOutcome
from slsa_verifier_plugin.policy.verdict import result
from slsa_verifier_plugin.sinks import Json, json_text
from slsa_verifier_plugin.text import counted, plain

FORMAT_VERSION = 1
"""Raised when a field of the JSON output changes its meaning or goes away."""

_STEP_COLUMNS = 23


def text_of(reports: Sequence[ImageReport], painter: Painter, verbose: bool) -> Iterator[str]:
    """Yield the lines for people: each image's decision, the steps of the artifact that decided (all if ``verbose``)."""
    for number, report in enumerate(reports):
        # A free line between images, none before the first.
        if number:
            yield ""
        yield from _image(report, painter, verbose)
    if len(reports) > 1:
        yield ""
        yield summary_of(reports, painter)


def summary_of(reports: Sequence[ImageReport], painter: Painter) -> str:
    """Return the one line that counts decisions."""
    counts = Counter(report.decision for report in reports)
    # The order is Decision's, whatever image came first.
    seen = [decision for decision in Decision if counts[decision]]
    shown = [painter.paint(f"{counts[item]} {item}", DECISION_STYLES[item], "bold") for item in seen]
    return f"{counted(len(reports), 'image')}: {', '.join(shown)}"


def _image(report: ImageReport, painter: Painter, verbose: bool) -> Iterator[str]:
    decision = painter.paint(report.decision.upper(), DECISION_STYLES[report.decision], "bold")
    # VERIFIED beside ADMITTED would say the same twice.
    reason = "" if report.decision is Decision.ADMITTED else f"  {painter.paint(report.reason, 'bold')}"
    yield f"{decision}{reason}  {plain(report.resolved or report.asked, 512)}"
    yield from painter.lines(report.message, "  ", 2)
    if report.decision is not Decision.ADMITTED:
        # The first line has the code; a terminal too narrow for the command needs no second.
        command = f"  {PROGRAM} explain {report.reason}"
        if painter.width is None or len(command) <= painter.width:
            yield painter.paint(command, "dim")
    for note in report.notes:
        yield from painter.lines(note, f"  {painter.mark('warning')} ", 4)
    for artifact in report.artifacts:
        # Of ten attachments one decides; the others are noise until somebody asks.
        if verbose or artifact is report.deciding:
            yield from _artifact(artifact, painter, verbose)
    # What is not shown is counted: nobody should think that one attestation is all there is.
    hidden = len(report.artifacts) - (len(report.artifacts) if verbose else bool(report.deciding))
    if hidden > 0:
        yield painter.paint(f"  {hidden} more attached; --verbose shows them", "dim")


def _artifact(artifact: ArtifactReport, painter: Painter, verbose: bool) -> Iterator[str]:
    verdict = artifact.verdict
    digest = short(verdict.artifact)
    first = f"  {painter.paint(digest, 'bold')}  "
    yield from painter.lines(f"{artifact.artifact_type}, by {artifact.verifier}", first, len(digest) + 4)
    for step in verdict.steps:
        yield from _step(step, painter, "    ")
    for warning in verdict.warnings:
        yield from painter.lines(warning, f"    {painter.mark('warning')} ", 6)
    if verbose:
        for finding in verdict.findings:
            # A candidate that passed has no reason.
            reason = finding.reason or "VERIFIED"
            yield from painter.lines(
                f"blob {finding.blob}, line {finding.line}: {reason} {finding.message}", "    candidate ", 14
            )
        for root in verdict.roots:
            shown = f"{plain(root.source)} of {root.date:%Y-%m-%d}, sha256:{root.digest[:12]}"
            yield painter.paint(f"    trusted root {shown}", "dim")


def _step(step: Step, painter: Painter, indent: str) -> Iterator[str]:
    label = f"{f'{step.number:>2} {step.name}':<{_STEP_COLUMNS}}"
    detail = step.detail  # the remedy is in the image's message already
    # Said in words: a dim line alone could be taken for one that passed.
    if step.outcome is StepOutcome.NOT_CHECKED:
        detail = f"not checked{': ' if detail else ''}{detail}"
        label = painter.paint(label, "dim")
    mark = painter.mark(step.outcome)
    columns = len(indent) + (1 if painter.symbols else 2) + 1 + _STEP_COLUMNS + 1
    if painter.width is not None and painter.width - columns < 24:
        # Too narrow for two columns: what was seen goes below the step's name.
        yield f"{indent}{mark} {label.rstrip()}"
        if detail:
            yield from painter.lines(detail, indent + "     ", len(indent) + 5)
    else:
        yield from painter.lines(detail, f"{indent}{mark} {label} ", columns)


def json_of(reports: Sequence[ImageReport]) -> Json:
    """Return the reports as one JSON document; each artifact's ``result`` is what Ratify would read."""
    document = {
        "version": FORMAT_VERSION,
        "status": int(status_of(report.decision for report in reports)),
        "images": [image_value(report) for report in reports],
    }
    return json_text(document)


def items_of(reports: Sequence[ImageReport], file: str = "") -> Iterator[ReportItem]:
    """Yield what became of each image, for SARIF and JUnit; ``file`` is what the reports are about where that is no image."""
    for report in reports:
        yield ReportItem(
            report.resolved or report.asked, report.decision, report.reason, report.message, file
        )


def image_value(report: ImageReport) -> dict[str, Any]:
    """Return one image's report as JSON values."""
    return {
        "image": plain(report.asked, 1024),
        "resolved": plain(report.resolved, 1024),
        "decision": str(report.decision),
        "reason": str(report.reason),
        "message": plain(report.message, 4096),
        "transient": report.transient,
        "notes": [plain(note, 1024) for note in report.notes],
        "artifacts": [
            {
                "digest": item.verdict.artifact,
                "artifactType": plain(item.artifact_type),
                "decision": str(item.decision),
                "result": result(item.verdict, item.verifier, item.type, item.milliseconds),
            }
            for item in report.artifacts
        ],
    }
