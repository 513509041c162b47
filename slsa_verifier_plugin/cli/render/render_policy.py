"""How problems of policy files are shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from slsa_verifier_plugin.cli.render.painter import Painter
from slsa_verifier_plugin.resources.problems import ERROR, Problem
from slsa_verifier_plugin.sinks import Json, json_text
from slsa_verifier_plugin.text import plain


def text_of(problems: Sequence[Problem], resources: int, painter: Painter) -> Iterator[str]:
    """Yield a line for each problem, as compilers write them, with the remedy below it."""
    for problem in problems:
        style = "red" if problem.severity == ERROR else "yellow"
        first = f"{painter.paint(plain(str(problem.position), 512), 'bold')}: {painter.paint(problem.severity, style)}: "
        yield first + plain(problem.message, 1024)
        yield from painter.lines(problem.remedy, "    ", 4)
    errors = sum(problem.severity == ERROR for problem in problems)
    if problems:
        yield ""
    counts = f"{errors} errors, {len(problems) - errors} warnings"
    yield painter.paint(f"{resources} resources: {counts if problems else 'nothing is wrong'}", "bold")


def json_of(problems: Sequence[Problem]) -> Json:
    """Return the problems as JSON."""
    return json_text(
        [
            {
                "file": plain(problem.position.source, 1024),
                "line": problem.position.line,
                "column": problem.position.column,
                "severity": problem.severity,
                "message": plain(problem.message, 1024),
                "remedy": plain(problem.remedy, 512),
            }
            for problem in problems
        ],
    )
