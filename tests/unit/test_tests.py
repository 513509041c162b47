"""Tests that could not fail: each must reach an assertion, whatever it meets on its way."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "tests").rglob("test_*.py"))
RAISING = ("raises", "fail", "warns", "exit")
"""Functions of pytest's that fail a test by themselves."""


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


@cache
def helpers() -> dict[str, list[ast.AST]]:
    """Return all functions, methods and classes of the tests and the tools by name; one of a name is as good as another."""
    found: dict[str, list[ast.AST]] = {}
    for path in [
        *(ROOT / "tests").rglob("*.py"),
        *(ROOT / "launcher").rglob("*.py"),
        *(ROOT / "tools").rglob("*.py"),
    ]:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found.setdefault(node.name, []).append(node)
    return found


def name_of(call: ast.Call) -> str:
    return (
        call.func.attr
        if isinstance(call.func, ast.Attribute)
        else call.func.id
        if isinstance(call.func, ast.Name)
        else ""
    )


def is_asserting(call: ast.Call, seen: frozenset[str]) -> bool:
    """Return True for a call that asserts, by itself or by what it calls."""
    name = name_of(call)
    if name in RAISING or (name == "run" and any(key.arg == "check" for key in call.keywords)):
        return True
    if name in seen:
        return False
    return any(
        asserts(node.body, seen | {name})
        for node in helpers().get(name, [])
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def is_filled(node: ast.expr) -> bool:
    """Return True for what a loop runs through at least once, as far as it is written down."""
    if isinstance(node, ast.Tuple | ast.List | ast.Set | ast.Dict):
        return True
    if isinstance(node, ast.Call) and name_of(node) in (
        "range",
        "enumerate",
        "zip",
        "sorted",
        "reversed",
        "product",
        "items",
    ):
        return True
    return isinstance(node, ast.Name | ast.Attribute)


def asserts(body: list[ast.stmt], seen: frozenset[str] = frozenset()) -> bool:
    """Return True if an assertion is made whichever way ``body`` is gone through."""
    return any(asserts_in(statement, seen) for statement in body)


def asserts_in(statement: ast.stmt, seen: frozenset[str]) -> bool:
    if isinstance(statement, ast.Assert | ast.Raise):
        return True
    if isinstance(statement, ast.If):
        return asserts(statement.body, seen) and bool(statement.orelse) and asserts(statement.orelse, seen)
    if isinstance(statement, ast.For | ast.AsyncFor):
        return (is_filled(statement.iter) and asserts(statement.body, seen)) or asserts(
            statement.orelse, seen
        )
    if isinstance(statement, ast.While):
        return asserts(statement.orelse, seen) or asserts(statement.body, seen)
    if isinstance(statement, ast.Try):
        return asserts([*statement.body, *statement.orelse, *statement.finalbody], seen)
    if isinstance(statement, ast.With | ast.AsyncWith):
        calls = [item.context_expr for item in statement.items if isinstance(item.context_expr, ast.Call)]
        return any(is_asserting(call, seen) for call in calls) or asserts(statement.body, seen)
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return False
    return any(isinstance(node, ast.Call) and is_asserting(node, seen) for node in ast.walk(statement))


def is_searched(node: ast.FunctionDef) -> bool:
    """Return True where hypothesis looks for a counterexample: of hundreds of inputs some reach what is asserted."""
    return any(ast.unparse(item).startswith("given(") for item in node.decorator_list)


def written_tests(path: Path) -> list[ast.FunctionDef]:
    nodes = ast.walk(tree(path))
    tests = [node for node in nodes if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
    return [node for node in tests if not is_searched(node)]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_test_asserts_something_on_its_way(path: Path) -> None:
    silent = [
        f"{path.name}:{node.lineno} {node.name}" for node in written_tests(path) if not asserts(node.body)
    ]
    assert silent == []


@pytest.mark.parametrize(
    ("body", "is_asserting"),
    [
        ("assert x", True),
        ("if x:\n    assert y", False),
        ("if x:\n    assert y\nelse:\n    assert z", True),
        ("for x in found():\n    assert x", False),
        ("for x in (1, 2):\n    assert x", True),
        ("with pytest.raises(ValueError):\n    f()", True),
        ("def inner():\n    assert x\nf(inner)", False),
        ("x = 1", False),
    ],
)
def test_an_assertion_counts_only_where_it_is_reached(body: str, is_asserting: bool) -> None:
    assert asserts(ast.parse(body).body) is is_asserting
