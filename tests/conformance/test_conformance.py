"""Every conformance case, and the catalog against the folders.

Each case is asked of the resident verifier's service in this process; what is about the call itself, and a part of the others,
of the plugin as it is installed. That is asked about all of them by ``make conformance`` and ``make e2e``.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from slsa_verifier_plugin import ratify
from slsa_verifier_plugin.resident.protocol import VERIFY
from slsa_verifier_plugin.service.resident_service import ResidentService
from tests.conformance.generate import write
from tests.conformance.run import CASES, Answer, Ask, called, case_names, main, run_case

PLUGIN = [str(Path(sys.executable).with_name("slsla"))]


@pytest.fixture(scope="session")
def environ(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment of the plugin's own: a resident verifier that ends by itself, and no home to lean on."""
    folder = tmp_path_factory.mktemp("conformance")
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "SLSA_VERIFIER_DIR": str(folder / "resident"),
        "SLSA_VERIFIER_IDLE_SECONDS": "30",
    }
    # The verifier is started by a call that has time: it would take a second from a case with a limit of its own.
    run_case(OTHERS[0], patient(OTHERS[0], called(PLUGIN, environ)))
    return environ


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Ask:
    """Asks the service that answers in a resident verifier, without the socket before it."""
    home = str(tmp_path_factory.mktemp("home"))
    # No process for signatures: it would be forked beside the tests' threads.
    environ = {"HOME": home, "SLSA_VERIFIER_WORKERS": "1", "SLSA_VERIFIER_REFRESH_HOURS": "0"}
    answering = ResidentService(environ)

    def ask(stdin: bytes, variables: Mapping[str, str]) -> Answer:
        started = time.monotonic()
        given = (variables.get(name) for name in (ratify.COMMAND, ratify.SUBJECT, ratify.VERSION))
        command, subject, version = (None if value is None else os.fsencode(value) for value in given)
        answer = answering.handle(VERIFY, (0.0, command, subject, version, stdin), 0.0)
        return Answer(*answer, time.monotonic() - started)

    return ask


def patient(name: str, ask: Ask) -> Ask:
    """Return what asks with more time where a case is about no fault of the registry's: a busy machine denies nothing."""
    if json.loads((CASES / name / "artifact.json").read_bytes()).get("faults"):
        return ask

    def asked(stdin: bytes, variables: Mapping[str, str]) -> Answer:
        value = json.loads(stdin)
        if isinstance(value, dict) and isinstance(value.get("config"), dict):
            value["config"].setdefault("timeout", "30s")
        return replace(ask(json.dumps(value).encode(), variables), seconds=0.0)

    return asked


def is_about_the_call(name: str) -> bool:
    """Return True for a case that differs in what comes to the plugin's process."""
    return any((CASES / name / file).exists() for file in ("environment.json", "stdin.raw"))


CALLS = [name for name in case_names() if is_about_the_call(name)]
OTHERS = [name for name in case_names() if not is_about_the_call(name)]


@pytest.mark.parametrize("name", OTHERS)
def test_case(name: str, service: Ask) -> None:
    outcome = run_case(name, patient(name, service))
    assert not outcome.problems, f"{outcome.problems}\n{outcome.answer.stdout.decode()}"


@pytest.mark.parametrize("name", [*CALLS, *OTHERS[::10]])
def test_the_installed_plugin_says_the_same(name: str, environ: dict[str, str]) -> None:
    ask = called(PLUGIN, environ)
    outcome = run_case(name, ask if is_about_the_call(name) else patient(name, ask))
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


SOME = ("actions-v1.0.0", "actions-other-digest-listed", "age-future")
"""An admission, and two denials."""


def copied(folder: Path, *names: str) -> Path:
    """Return a folder of cases elsewhere: these, and the trusted roots that they name."""
    cases = folder / "cases elsewhere"
    for name in names:
        shutil.copytree(CASES / name, cases / name)
    shutil.copy(CASES / "trusted_root.json", cases)
    return cases


def test_cases_of_another_folder_run_from_any_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = copied(tmp_path, *SOME)
    (cases / "more").mkdir()
    (cases / SOME[0]).rename(cases / "more" / "renamed")
    monkeypatch.chdir(tmp_path)
    for variable, name in (("HOME", "home"), ("SLSA_VERIFIER_DIR", "resident")):
        monkeypatch.setenv(variable, str(tmp_path / name))
    monkeypatch.setenv("SLSA_VERIFIER_IDLE_SECONDS", "5")
    arguments = ["--plugin", PLUGIN[0], "--cases", cases.name]
    assert main(arguments) == 0
    assert capsys.readouterr().out == "3 cases, 3 passed, 0 failed\n"
    assert main([*arguments, "--case", "more/renamed", "--verbose"]) == 0
    assert '"isSuccess":true' in capsys.readouterr().out

    # The trusted root is the one of that folder: without it nothing verifies, and with it what is expected counts.
    (cases / "trusted_root.json").write_bytes((CASES / "roots" / "other-instance.json").read_bytes())
    assert main([*arguments, "--case", "more/renamed"]) == 1
    assert "FAILED more/renamed: isSuccess is False" in capsys.readouterr().out


def test_a_folder_without_the_case_is_no_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--plugin", PLUGIN[0], "--cases", str(tmp_path)]) == 2
    cases = copied(tmp_path, SOME[0])
    assert main(["--plugin", PLUGIN[0], "--cases", str(cases), "--case", "another"]) == 2
    (cases / SOME[0] / "artifact.json").write_text("{")
    assert main(["--plugin", PLUGIN[0], "--cases", str(cases)]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "1 cases, 0 passed, 1 failed"
