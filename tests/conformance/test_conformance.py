"""Every conformance case, through the plugin as it is installed, and the catalog against the folders."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.conformance.generate import write
from tests.conformance.run import CASES, case_names, run_case

PLUGIN = [str(Path(sys.executable).with_name("slsla"))]


@pytest.fixture(scope="session")
def environ(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment of the plugin's own: a resident verifier that ends by itself, and no home to lean on."""
    folder = tmp_path_factory.mktemp("conformance")
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "SLSA_VERIFIER_DIR": str(folder / "resident"),
        "SLSA_VERIFIER_IDLE_SECONDS": "30",
    }


@pytest.mark.parametrize("name", case_names())
def test_case(name: str, environ: dict[str, str]) -> None:
    outcome = run_case(name, PLUGIN, environ)
    assert not outcome.problems, f"{outcome.problems}\n{outcome.answer.stdout.decode()}"


def test_the_folders_are_what_the_catalog_writes(tmp_path: Path) -> None:
    write(tmp_path)
    generated = {path.relative_to(tmp_path): path for path in tmp_path.rglob("*") if path.is_file()}
    kept = {path.relative_to(CASES): path for path in CASES.rglob("*") if path.is_file()}
    assert generated.keys() == kept.keys()
    different = [
        str(name) for name, path in generated.items() if path.read_bytes() != kept[name].read_bytes()
    ]
    # RSA-PSS signatures carry a random salt.
    assert [
        name for name in different if "rsa-pss" not in name.lower() and "rsa_pss" not in name.lower()
    ] == []


def test_there_are_as_many_cases_as_promised() -> None:
    assert len(case_names()) >= 150
