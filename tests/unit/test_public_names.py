"""What ``slsa_verifier_plugin`` itself names: there when it is asked for, documented, and not imported before."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import slsa_verifier_plugin

DOCUMENT = (Path(__file__).parents[2] / "docs" / "python.md").read_text("utf-8")


@pytest.mark.parametrize("name", slsa_verifier_plugin.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(slsa_verifier_plugin, name) is not None


def test_every_public_name_is_documented() -> None:
    documented = {name for name in slsa_verifier_plugin.__all__ if f"`{name}`" in DOCUMENT}
    assert documented == set(slsa_verifier_plugin.__all__) - {"__version__"}


def test_a_type_checker_sees_the_same_names() -> None:
    nodes = ast.walk(ast.parse(Path(slsa_verifier_plugin.__file__).read_text("utf-8")))
    seen = [alias.asname for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names]
    # Under its own name again: what has no second name is not public.
    assert sorted(filter(None, seen)) == sorted(set(slsa_verifier_plugin.__all__) - {"__version__"})


def test_other_names_are_not_there() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'verify_content'"):
        _ = slsa_verifier_plugin.verify_content  # type: ignore[attr-defined]


def test_the_package_alone_imports_nothing() -> None:
    program = "import sys; before = set(sys.modules); import slsa_verifier_plugin; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["slsa_verifier_plugin"]
