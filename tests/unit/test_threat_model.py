"""``docs/operations/threat-model.md`` against the tests: each attacker has a line, and what a line says is shown by tests."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

from tests.conformance.test_conformance import OTHERS
from tests.unit.test_documents import ROOT, rows

PAGE, HEADING = "operations/threat-model.md", "## Attackers, and what shows that they are stopped"
ATTACKERS = (
    "pushes to the registry",
    "pushes a branch",
    "pushes a tag",
    "pushes a fork",
    "runs a build",
    "owns a builder",
    "holds a retired key",
    "is another user or tenant on the node",
    "owns a registry",
    "owns a token server",
    "owns a proxy",
    "owns a TUF mirror",
    "reaches the provider's port, or creates Pods",
    "reads CI logs, or writes what they show",
)
"""Who is attacked by, in the page's order. Whoever adds one here has to say there what stops him, and show it."""

_TEST = re.compile(r"`(tests/[\w/]+\.py::[\w\[\]./-]+)`")


def cited() -> dict[str, list[str]]:
    """Return the tests that the page names, by attacker."""
    return {row[0]: _TEST.findall(row[3]) for row in rows(PAGE, HEADING)}


def test_every_attacker_has_a_line_that_says_what_he_can_and_what_stops_him() -> None:
    table = rows(PAGE, HEADING)
    assert tuple(row[0] for row in table) == ATTACKERS
    for attacker, can, stopped, tests in table:
        assert min(len(can), len(stopped)) > 40, attacker
        # Nothing but tests stands in the last column, so that none is mistyped unseen.
        assert not re.sub(r"`[^`]*`|<br>|[, ]", "", tests), attacker


def written_in(path: str) -> set[str]:
    """Return the tests of a module, as pytest collects them: its functions, and what it imports of that name."""
    found: set[str] = set()
    for node in ast.parse(Path(ROOT, path).read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ImportFrom):
            found |= {alias.asname or alias.name for alias in node.names}
    return {name for name in found if name.startswith("test_")}


def test_every_line_is_shown_by_tests_that_are_collected() -> None:
    found = cited()
    assert all(found.values()), [attacker for attacker, tests in found.items() if not tests]
    wanted = sorted({name for tests in found.values() for name in tests})
    assert sum(row[3].count("`") for row in rows(PAGE, HEADING)) == 2 * sum(map(len, found.values()))
    settings = tomllib.loads(Path(ROOT, "pyproject.toml").read_text("utf-8"))["tool"]["pytest"]["ini_options"]
    collected = (*settings["testpaths"], "tests/e2e")  # the last by make e2e
    for name in wanted:
        path, _, test = name.partition("::")
        function, _, case = test.partition("[")
        assert path.startswith(tuple(f"{folder}/" for folder in collected)), name
        assert Path(path).name.startswith("test_"), name
        assert function in written_in(path), name
        # Of what runs once a value only the conformance cases are named one by one.
        assert not case or (function == "test_case" and case.removesuffix("]") in OTHERS), name


def test_no_test_is_skipped_unconditionally() -> None:
    names = {name for tests in cited().values() for name in tests}
    assert names
    for name in sorted(names):
        path, _, function = name.partition("::")
        text = Path(ROOT, path).read_text("utf-8")
        decorators = text.partition(f"def {function.partition('[')[0]}(")[0].rpartition("\n\n\n")[2]
        assert "mark.skip" not in decorators, name
        assert "xfail" not in decorators, name
