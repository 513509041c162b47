"""Markdown, for pull requests and job summaries (GitHub's dialect). Foreign text can neither link, nor mark up, nor mention."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Sequence

from slsa_verifier_plugin.cli.reports import ArtifactReport, ImageReport
from slsa_verifier_plugin.cli.status import Decision
from slsa_verifier_plugin.policy.steps import StepOutcome
from slsa_verifier_plugin.text import plain

_SPECIAL = re.compile(r"([\\`*_\[\]()+!|~:.-])")
_CALLING = re.compile(r"([@#])")
"""People and issues are called in finished text, where escapes are gone: a comment comes between."""
_WORDS = {Decision.ADMITTED: "admitted", Decision.DENIED: "**denied**", Decision.UNDECIDED: "*undecided*"}
_MARKS = {StepOutcome.PASSED: "✓", StepOutcome.FAILED: "✗", StepOutcome.NOT_CHECKED: "·"}


def escape(text: object, limit: int = 1024) -> str:
    """Return foreign text as Markdown that shows it literally, on one line."""
    literal = _SPECIAL.sub(r"\\\1", html.escape(plain(text, limit), quote=False))
    return _CALLING.sub(r"\1<!-- -->", literal)


def code(text: object, limit: int = 1024) -> str:
    """Return foreign text as inline code, which nothing in it can end."""
    return f"<code>{escape(text, limit)}</code>"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table; its cells are Markdown already."""
    yield f"| {' | '.join(heads)} |"
    yield f"|{'|'.join(' --- ' for _ in heads)}|"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def markdown_of(reports: Sequence[ImageReport]) -> str:
    """Return the outcome of ``verify``: a table of images, then the steps of each that was not admitted."""
    lines = ["## SLSA verification", ""]
    lines += table(
        ["image", "decision", "reason", "message"],
        (
            [
                code(report.resolved or report.asked),
                _WORDS[report.decision],
                code(report.reason),
                escape(report.message, 4096),
            ]
            for report in reports
        ),
    )
    for report in reports:
        deciding = report.deciding
        if report.decision is not Decision.ADMITTED and deciding is not None:
            lines += ["", *_details(report, deciding)]
    return "\n".join(lines)


def _details(report: ImageReport, artifact: ArtifactReport) -> Iterator[str]:
    yield f"<details><summary>Steps for {code(report.resolved or report.asked)}</summary>"
    yield ""
    yield from table(
        ["", "step", "seen"],
        (
            [_MARKS[step.outcome], f"{step.number} {step.name}", escape(step.detail or step.outcome)]
            for step in artifact.verdict.steps
        ),
    )
    yield ""
    yield "</details>"
