"""Markdown, for pull requests and job summaries (GitHub's dialect). Foreign text can neither link, nor mark up, nor mention."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from slsa_verifier_plugin.checking.reports import ArtifactReport, ImageReport
from slsa_verifier_plugin.checking.status import Decision
from slsa_verifier_plugin.policy.steps import StepOutcome
from slsa_verifier_plugin.sinks import (
    Markdown,
    joined,
    markdown,
    markdown_code,
    markdown_table,
    markdown_text,
)

_WORDS = {
    Decision.ADMITTED: markdown("admitted"),
    Decision.DENIED: markdown("**denied**"),
    Decision.UNDECIDED: markdown("*undecided*"),
}
_MARKS = {
    StepOutcome.PASSED: markdown("✓"),
    StepOutcome.FAILED: markdown("✗"),
    StepOutcome.NOT_CHECKED: markdown("·"),
}


def markdown_of(reports: Sequence[ImageReport]) -> Markdown:
    """Return the outcome of ``verify``: a table of images, then the steps of each that was not admitted."""
    lines = [markdown("## SLSA verification"), markdown("")]
    lines += markdown_table(
        ["image", "decision", "reason", "message"],
        (
            [
                # A file, or an image that was not resolved, has only the name that was typed.
                markdown_code(report.resolved or report.asked),
                _WORDS[report.decision],
                markdown_code(report.reason),
                markdown_text(report.message, 4096),
            ]
            for report in reports
        ),
    )
    for report in reports:
        deciding = report.deciding
        # An image without an attestation has no steps; its message in the table says all.
        if report.decision is not Decision.ADMITTED and deciding is not None:
            lines += [markdown(""), *_details(report, deciding)]
    return joined(lines, "\n")


def _details(report: ImageReport, artifact: ArtifactReport) -> Iterator[Markdown]:
    image = markdown_code(report.resolved or report.asked)
    yield markdown("<details><summary>Steps for {}</summary>", image)
    yield markdown("")
    # Every step, those not reached too: a reviewer sees how far it came.
    yield from markdown_table(
        ["", "step", "seen"],
        (
            [
                _MARKS[step.outcome],
                markdown("{} {}", step.number, step.name),
                # A step that was not reached has no sentence.
                markdown_text(step.sentence or step.outcome),
            ]
            for step in artifact.verdict.steps
        ),
    )
    yield markdown("")
    yield markdown("</details>")
