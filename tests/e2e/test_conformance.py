"""Every conformance case, through the plugin as it is installed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.conformance.run import Ask, called, case_names, run_case


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Ask:
    """Asks the plugin, in an environment of its own: a resident verifier that ends by itself, and no home to lean on."""
    folder = tmp_path_factory.mktemp("conformance")
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "SLSA_VERIFIER_DIR": str(folder / "resident"),
        "SLSA_VERIFIER_IDLE_SECONDS": "30",
    }
    return called([str(Path(sys.executable).with_name("slsla"))], environ)


@pytest.mark.parametrize("name", case_names())
def test_case(name: str, plugin: Ask) -> None:
    outcome = run_case(name, plugin)
    assert not outcome.problems, f"{outcome.problems}\n{outcome.answer.stdout.decode()}"
