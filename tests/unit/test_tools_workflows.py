"""``make lint`` over the workflows: nothing is skipped where nothing may be."""

from __future__ import annotations

import shutil
import subprocess
from types import SimpleNamespace

import pytest

from tests.e2e.peers import PeerError
from tools import workflows


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names: list[str] = []

    def run(command: list[str], **_: object) -> SimpleNamespace:
        names.append(command[0].rpartition("/")[2])
        return SimpleNamespace(returncode=int(names[-1] in failing))

    failing: list[str] = []
    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(workflows, "peer", lambda name: f"/somewhere/{name}")
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.delenv("CI", raising=False)
    return failing


@pytest.mark.parametrize(("failing", "status"), [("", 0), ("zizmor", 1), ("actionlint", 1)])
def test_a_finding_of_either_fails(ran: list[str], failing: str, status: int) -> None:
    ran.append(failing)
    assert workflows.main() == status


@pytest.mark.parametrize(("ci", "status"), [("", 0), ("true", 1)])
def test_without_go_actionlint_is_left_out_and_that_is_said(
    ran: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    ci: str,
    status: int,
) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert workflows.main() == status
    assert "actionlint was left out: Go is not installed" in capsys.readouterr().err


@pytest.mark.parametrize(("ci", "status"), [("", 0), ("true", 1)])
def test_what_cannot_be_built_is_left_out_and_that_is_said(
    ran: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    ci: str,
    status: int,
) -> None:
    def unbuilt(name: str) -> str:
        raise PeerError(f"{name} could not be fetched")

    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr(workflows, "peer", unbuilt)
    assert workflows.main() == status
    assert "left out: actionlint could not be fetched" in capsys.readouterr().err
