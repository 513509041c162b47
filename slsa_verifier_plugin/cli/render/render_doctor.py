"""How ``doctor``'s findings are shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from slsa_verifier_plugin.cli.render.painter import Painter
from slsa_verifier_plugin.problem import PASSED, DoctorFinding
from slsa_verifier_plugin.sinks import Json, json_text
from slsa_verifier_plugin.text import plain

_NAME = 19


def lines_of(finding: DoctorFinding, painter: Painter) -> Iterator[str]:
    """Yield the lines on one finding: how it is, and the remedy unless all is well."""
    # A symbol has one column and a letter two (Painter.mark); a blank follows.
    columns = (2 if painter.symbols else 3) + _NAME
    name = painter.paint(f"{finding.name:<{_NAME}}", "bold")
    yield from painter.lines(finding.message, f"{painter.mark(finding.outcome)} {name}", columns)
    # A remedy for what is well would read as something left to do.
    if finding.remedy and finding.outcome != PASSED:
        yield from painter.lines(finding.remedy, " " * columns, columns)


def json_of(found: Sequence[DoctorFinding]) -> Json:
    """Return the findings as JSON."""
    values: list[dict[str, Any]] = [
        {
            "name": item.name,
            "outcome": item.outcome,
            "message": plain(item.message, 1024),
            "remedy": plain(item.remedy, 512),
        }
        for item in found
    ]
    return json_text(values)
