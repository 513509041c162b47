"""A resident verifier that runs, a place without one, and the images that are asked about."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from slsa_verifier_plugin.checking.status import Status
from slsa_verifier_plugin.cli.commands import verify_command
from tests.support.command_line import (
    ARTIFACT_TYPE,
    cli,
    write_yaml,
)
from tests.support.embedded_registry import EmbeddedRegistry
from tests.support.resident_reports import NOTES, REPOSITORY, patient, verified_alone


@pytest.fixture(scope="module")
def place() -> Iterator[dict[str, str]]:
    """Variables of a resident verifier that runs for these tests."""
    with tempfile.TemporaryDirectory(prefix="v-") as folder:
        environ = {"SLSA_VERIFIER_DIR": f"{folder}/d", "HOME": folder, "SLSA_VERIFIER_REFRESH_HOURS": "0"}
        try:
            assert cli("resident", "start", environ=environ).status == Status.ADMITTED
            yield environ
        finally:
            cli("resident", "stop", environ=environ)


@pytest.fixture
def deserted() -> Iterator[dict[str, str]]:
    """Variables of a place at which no resident verifier runs."""
    with tempfile.TemporaryDirectory(prefix="v-") as folder:
        yield {"SLSA_VERIFIER_DIR": f"{folder}/d", "HOME": folder, "SLSA_VERIFIER_REFRESH_HOURS": "0"}


@pytest.fixture(scope="module")
def registry() -> Iterator[EmbeddedRegistry]:
    with EmbeddedRegistry() as running:
        for tag, notes in NOTES.items():
            image = running.push_image(REPOSITORY, tag)
            for note in notes:
                running.attach(REPOSITORY, image, ARTIFACT_TYPE, [note.read_bytes()])
        yield running


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    return write_yaml(tmp_path / "verifier.yaml", patient())


@pytest.fixture
def never_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where this process verifies by itself."""
    monkeypatch.setattr(verify_command, "reports_on", verified_alone)
