"""No lock is held across the network: what is done while one is held, in every module."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "slsa_verifier_plugin"
WAITING = {
    # what goes to the network, to a child process, or to somebody who does
    *(
        "send",
        "issue",
        "resolve",
        "dial",
        "connect",
        "getaddrinfo",
        "urlopen",
        "request",
        "recv",
    ),
    *(
        "credentials",
        "provider_for",
        "run_helper",
        "refresh",
        "manifest",
        "blob",
        "referrers",
        "fetch_content",
        "read",
    ),
    *("sleep", "load", "lookup", "_lookup", "_fetch", "fetch", "urlretrieve", "Popen", "run", "join"),
}
"""Names of calls that may take as long as somebody else likes."""


def held(tree: ast.AST) -> Iterator[ast.With]:
    """Yield the blocks that hold a lock or condition, by the names that this package gives them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.With):
            for item in node.items:
                text = ast.unparse(item.context_expr)
                if "lock" in text.lower() or text.endswith(
                    ("lock", "changed", "_free", "parsing", "condition")
                ):
                    yield node


def called(block: ast.With) -> Iterator[str]:
    """Yield the names that a block calls; what it only defines is called elsewhere."""
    pending: list[ast.AST] = list(block.body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.FunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.Call):
            yield node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
        pending.extend(ast.iter_child_nodes(node))


def test_nothing_is_waited_for_while_a_lock_is_held() -> None:
    blocks = [
        (str(path), block)
        for path in sorted(PACKAGE.rglob("*.py"))
        for block in held(ast.parse(path.read_text("utf-8")))
    ]
    assert len(blocks) > 20
    assert [(where, call) for where, block in blocks for call in called(block) if call in WAITING] == []


def test_the_look_can_find_something() -> None:
    source = "with self._lock:\n    store = provider_for(x)\n    def later():\n        self.send()\n"
    [block] = held(ast.parse(source))
    assert list(called(block)) == ["provider_for"]
