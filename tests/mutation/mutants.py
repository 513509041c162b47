"""Which mutants there are: every guard of the core taken out in turn, made from its syntax tree, so that none can be forgotten.

Operators, each applied wherever it fits:

- ``no raise``: an error that is not raised;
- ``never`` and ``always``: a guard that passes over or returns early, without its condition;
- ``without``: one operand of a condition left out;
- ``boundary``: a comparison that takes its bound in, or leaves it out;
- ``no filter``: a comprehension that takes everything;
- ``true`` and ``false``: a function that answers always the same.

General tools (mutmut, cosmic-ray) also change every text and number, thousands of mutants of which few could admit an image;
here each mutant is a check that is missing, and all of them run in minutes.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "slsa_verifier_plugin"
SCOPE = (
    "policy/binding.py",
    "policy/certified.py",
    "policy/checks.py",
    "verification/entries.py",
    "policy/hosted.py",
    "policy/matching.py",
    "policy/durations.py",
    "policy/parameters.py",
    "verification/readings.py",
    "policy/releases.py",
    "policy/tag_runs.py",
    "policy/trusted.py",
    "signatures/bundles.py",
    "signatures/certificate.py",
    "regular_files.py",
    "signatures/in_service.py",
    "signatures/keys.py",
    "signatures/refresh.py",
    "signatures/root_json.py",
    "signatures/sharing.py",
    "signatures/sources.py",
    "signatures/timestamps.py",
    "signatures/trust.py",
    "signatures/verifier.py",
    "verification/verify.py",
    "verification/binder.py",
    "verification/evidence.py",
    "verification/judged.py",
    "verification/prefetch.py",
    "verification/provenances.py",
    "verification/referrer_order.py",
    "strict_json.py",
    "model/built.py",
    "model/digest.py",
    "model/documents_in_text.py",
    "model/envelope.py",
    "model/levels.py",
    "model/manifest.py",
    "model/provenance.py",
    "model/snappy.py",
    "model/image_label.py",
    "model/source_uri.py",
    "model/statement.py",
    "model/vsa.py",
)
WORDING = {
    "policy/parameters.py": (
        "_explained",
        "_explain",
        "_found",
        "_unknown",
        "_unknown_names",
        "_of_alternatives",
        "_is_of_other_type",
        "_article",
    ),
    "policy/checks.py": (
        "_untrusted",
        "_mismatch",
        "_certified_ref",
    ),
    "policy/trusted.py": ("shown",),
    "signatures/verifier.py": ("_with_ages",),
}
"""Functions that only word an error."""

_SWAPPED = {ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">"}


@dataclass(frozen=True)
class Mutant:
    """One change of one file: the text at ``start`` to ``end`` (characters) becomes ``new``."""

    path: str
    function: str
    operator: str
    line: int
    start: int
    end: int
    old: str
    new: str

    @property
    def name(self) -> str:
        """What it is called: where, what, and the beginning of what was there."""
        shown = " ".join(self.old.split())
        return f"{self.path}:{self.function}: {self.operator}: {shown[:90]}"

    def applied(self, source: str) -> str:
        """Return the file's text with the change made.

        Raises:
            ValueError: what it changes is no longer there.
        """
        if source[self.start : self.end] != self.old:
            raise ValueError(f"{self.name}: the source has changed")
        return source[: self.start] + self.new + source[self.end :]


class _Finder(ast.NodeVisitor):
    """Collects the mutants of one file."""

    def __init__(self, path: str, source: str) -> None:
        self.found: list[Mutant] = []
        self._path, self._source = path, source
        # Columns of the syntax tree count bytes.
        self._lines = [line.encode() for line in source.splitlines(keepends=True)]
        self._starts = [0]
        for line in self._lines:
            self._starts.append(self._starts[-1] + len(line.decode()))
        self._functions: list[str] = []
        self._returns_bool = False

    def _at(self, line: int, column: int) -> int:
        return self._starts[line - 1] + len(self._lines[line - 1][:column].decode())

    def _add(self, node: ast.expr | ast.stmt, operator: str, new: str) -> None:
        start, end = self._span(node)
        function = ".".join(self._functions) or "module"
        self.found.append(
            Mutant(self._path, function, operator, node.lineno, start, end, self._source[start:end], new)
        )

    def _span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self._at(node.lineno, node.col_offset), self._at(node.end_lineno, node.end_col_offset)

    def _text(self, node: ast.expr) -> str:
        start, end = self._span(node)
        return self._source[start:end]

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._functions.append(node.name)
        self.generic_visit(node)
        self._functions.pop()

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        if node.name in WORDING.get(self._path, ()):
            return
        self._functions.append(node.name)
        before, self._returns_bool = (
            self._returns_bool,
            isinstance(node.returns, ast.Name) and node.returns.id == "bool",
        )
        for child in node.body:
            self.visit(child)
        self._returns_bool = before
        self._functions.pop()

    def visit_Raise(self, node: ast.Raise) -> None:
        # Words of the error are none of the checks.
        self._add(node, "no raise", "pass")

    def visit_If(self, node: ast.If) -> None:
        self._condition(node.test)
        raises = any(isinstance(child, ast.Raise) for child in node.body)
        leaves = any(isinstance(child, ast.Return | ast.Continue | ast.Break) for child in node.body)
        if leaves and not raises:
            self._add(node.test, "never", "False")
            self._add(node.test, "always", "True")
        elif raises and any(isinstance(child, ast.Expr | ast.Assign) for child in node.body):
            self._add(node.test, "never", "False")
        for child in (*node.body, *node.orelse):
            self.visit(child)

    def visit_Return(self, node: ast.Return) -> None:
        if node.value is None:
            return
        if self._returns_bool and not isinstance(node.value, ast.Constant):
            self._add(node.value, "true", "True")
            self._add(node.value, "false", "False")
        self._condition(node.value)
        self.generic_visit(node)

    def visit_While(self, node: ast.While) -> None:
        for child in (*node.body, *node.orelse):
            self.visit(child)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        for test in node.ifs:
            if not _binds(test):
                self._add(test, "no filter", "True")
            self._condition(test)
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        self._condition(node.value)
        self.generic_visit(node)

    def visit_Assert(self, node: ast.Assert) -> None:
        """Nothing depends on an assert."""

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Words."""

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self._condition(node.test)
        for child in (node.body, node.orelse):
            self.visit(child)

    def _condition(self, node: ast.expr) -> None:
        """Add the mutants of a condition, or of a value that is one."""
        for child in ast.walk(node):
            if isinstance(child, ast.BoolOp):
                self._operands(child)
            elif isinstance(child, ast.Compare) and len(child.ops) == 1 and type(child.ops[0]) in _SWAPPED:
                left, right = self._text(child.left), self._text(child.comparators[0])
                self._add(child, "boundary", f"{left} {_SWAPPED[type(child.ops[0])]} {right}")

    def _operands(self, node: ast.BoolOp) -> None:
        word = " and " if isinstance(node.op, ast.And) else " or "
        for index, operand in enumerate(node.values):
            rest = [value for other, value in enumerate(node.values) if other != index]
            if _binds(operand) or _is_default(node):
                continue
            text = word.join(f"({self._text(value)})" for value in rest)
            self._add(node, f"without {' '.join(self._text(operand).split())[:60]}", f"({text})")


def _binds(node: ast.expr) -> bool:
    """Return True if a condition also gives a name to something, which others then use."""
    return any(isinstance(child, ast.NamedExpr) for child in ast.walk(node))


def _is_default(node: ast.BoolOp) -> bool:
    """Return True for ``value or default``, which is no condition."""
    last = node.values[-1]
    return isinstance(node.op, ast.Or) and isinstance(last, ast.Constant | ast.Dict | ast.List | ast.Tuple)


def systematic(root: Path) -> Iterator[Mutant]:
    """Yield the mutants of every file in scope below the checkout ``root``."""
    for path in SCOPE:
        source = (root / PACKAGE / path).read_text("utf-8")
        finder = _Finder(path, source)
        finder.visit(ast.parse(source))
        yield from {(one.start, one.end, one.new): one for one in finder.found}.values()
