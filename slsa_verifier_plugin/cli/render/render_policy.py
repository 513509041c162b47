"""How the findings on policy files are shown: problems as compilers write them, then what was checked and what was not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from slsa_verifier_plugin.cli.render.painter import Painter
from slsa_verifier_plugin.resources.kinds import shape_of
from slsa_verifier_plugin.resources.policy_files import INSTEAD
from slsa_verifier_plugin.resources.policy_lint import PolicyFindings
from slsa_verifier_plugin.resources.problems import ERROR, ResourceProblem
from slsa_verifier_plugin.sinks import Json, json_text
from slsa_verifier_plugin.text import counted, plain, some_of

MAX_NAMED = 3
"""Files of one sort that are named; of more the number is said."""


def text_of(
    findings: PolicyFindings, passed_over: Mapping[str, Sequence[str]], painter: Painter
) -> Iterator[str]:
    """Yield a line for each problem with the remedy below it, and what was checked and what was not.

    Args:
        findings: of the check.
        passed_over: files that were not looked at, by why.
        painter: of the terminal.
    """
    for problem in findings.problems:
        # As compilers print it: editors make file:line:column a link.
        style = "red" if problem.severity == ERROR else "yellow"
        first = f"{painter.paint(plain(str(problem.position), 512), 'bold')}: {painter.paint(problem.severity, style)}: "
        yield first + plain(problem.message, 1024)
        yield from painter.lines(problem.remedy, "    ", 4)
    # Counted apart: warnings alone leave the status 0.
    errors = sum(problem.severity == ERROR for problem in findings.problems)
    warnings = len(findings.problems) - errors
    if findings.problems:
        yield ""
    # Said after every check, also a clean one: "nothing is wrong" says nothing of what was not looked at.
    yield from painter.lines(_coverage(findings), "", 2)
    for why, files in passed_over.items():
        named = some_of([plain(file, 256) for file in files], MAX_NAMED)
        instead = f"; {INSTEAD[why]}" if why in INSTEAD else ""
        yield from painter.lines(f"passed over: {counted(len(files), why)}: {named}{instead}", "", 2)
    for what in findings.not_checked:
        yield from painter.lines(f"not checked: {what}", "", 2)
    total = sum(findings.checked.values()) + sum(findings.not_looked_at.values())
    # "nothing is wrong" would mislead where nothing was checked.
    outcome = (
        f"{counted(errors, 'error')}, {counted(warnings, 'warning')}"
        if findings.problems
        else "nothing is wrong"
        if findings.checked
        else "nothing was checked"
    )
    yield painter.paint(f"{counted(total, 'resource')}: {outcome}", "bold")


def _coverage(findings: PolicyFindings) -> str:
    """Return the sentence on what was checked for what, and what was not looked at."""
    parts = [f"{counted(sum(findings.checked.values()), 'resource')} checked"]
    parts += [
        f"{count} of kind {plain(kind, 80)} checked for {shape_of(kind).checked_for}"
        for kind, count in sorted(findings.checked.items())
    ]
    # A Deployment among the files is no fault, and was not checked either.
    if rest := sum(findings.not_looked_at.values()):
        # A kind is a name and has no plural; "Verifier of another plugin" has one.
        kinds = ", ".join(
            counted(count, plain(kind, 80)) if " " in kind else f"{count} {plain(kind, 80)}"
            for kind, count in sorted(findings.not_looked_at.items())
        )
        parts.append(f"{rest} not looked at ({kinds})")
    return ", ".join(parts)


def json_of(findings: PolicyFindings, passed_over: Mapping[str, Sequence[str]]) -> Json:
    """Return the problems, and what was checked and what was not, as JSON.

    Args:
        findings: of the check.
        passed_over: files that were not looked at, by why.
    """
    return json_text(
        {
            "version": 1,
            "problems": [_problem(problem) for problem in findings.problems],
            "checked": {plain(kind): count for kind, count in sorted(findings.checked.items())},
            "notLookedAt": {plain(kind): count for kind, count in sorted(findings.not_looked_at.items())},
            "passedOver": [
                {"file": plain(file, 1024), "why": why}
                for why, files in passed_over.items()
                for file in files
            ],
            "notChecked": [plain(what, 512) for what in findings.not_checked],
        }
    )


def _problem(problem: ResourceProblem) -> dict[str, str | int]:
    return {
        "file": plain(problem.position.source, 1024),
        "line": problem.position.line,
        "column": problem.position.column,
        "severity": problem.severity,
        "message": plain(problem.message, 1024),
        "remedy": plain(problem.remedy, 512),
    }
