"""``install``: two names, each a file that runs and appears by a rename."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from slsa_verifier_plugin import __version__
from slsa_verifier_plugin.checking.status import Status
from slsa_verifier_plugin.cli import plugin_file
from slsa_verifier_plugin.errors import UsageError
from tests.support.command_line import cli

QUIET = {"SLSA_VERIFIER_RESIDENT": "off", "PATH": os.environ["PATH"]}


def run_plugin(path: Path, stdin: bytes = b"", **environ: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [path], input=stdin, env={**QUIET, **environ}, capture_output=True, timeout=60, check=False
    )


def test_both_names_answer_as_the_plugin_and_as_the_command_line(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "plugins"
    done = cli("install", "--plugins-dir", folder)
    assert (done.status, done.err) == (Status.ADMITTED, "")
    assert done.out == f"installed {folder}/slsa and {folder}/slsla (version {__version__}, python)\n"
    assert sorted(path.name for path in folder.iterdir()) == ["slsa", "slsla"]
    for name in plugin_file.NAMES:
        answer = run_plugin(folder / name)
        assert answer.returncode == 1
        assert json.loads(answer.stdout)["code"] == 4
        shown = subprocess.run(
            [folder / name, "--version"], capture_output=True, text=True, timeout=60, check=True
        )
        assert shown.stdout == f"slsa-verifier-plugin {__version__}\n"


def test_the_default_is_ratifys_own_directory(tmp_path: Path) -> None:
    done = cli("install", environ={"HOME": str(tmp_path)})
    assert done.status == Status.ADMITTED
    assert (tmp_path / ".ratify" / "plugins" / "slsla").exists()


def test_it_runs_without_the_callers_environment(tmp_path: Path) -> None:
    cli("install", "--plugins-dir", tmp_path)
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil" / "json.py").write_text("raise SystemExit('taken over')")
    answer = run_plugin(tmp_path / "slsla", PYTHONPATH=str(tmp_path / "evil"), HOME="/nonexistent")
    assert json.loads(answer.stdout)["code"] == 4


def test_a_running_file_is_replaced_and_never_written_to(tmp_path: Path) -> None:
    cli("install", "--plugins-dir", tmp_path)
    before = (tmp_path / "slsa").stat().st_ino
    with (tmp_path / "slsa").open("rb") as running:
        content = running.read()
        cli("install", "--plugins-dir", tmp_path)
        running.seek(0)
        assert running.read() == content
        assert (tmp_path / "slsa").stat().st_ino != before
        # A link to the very file that is being put there must not make the rename do nothing.
        assert (tmp_path / "slsla").exists()


def test_a_one_file_plugin_copies_itself(tmp_path: Path) -> None:
    source = tmp_path / "one-file"
    source.write_text(f"#!/bin/sh\necho one-file {__version__}\n")
    source.chmod(0o700)
    environ = {"SLSA_VERIFIER_BUILD": "0" * 64, "SLSA_VERIFIER_EXECUTABLE": str(source)}
    done = cli("install", "--plugins-dir", tmp_path / "p", environ=environ)
    assert (done.status, "one-file)" in done.out) == (Status.ADMITTED, True)
    for name in plugin_file.NAMES:
        copy = tmp_path / "p" / name
        assert copy.read_bytes() == source.read_bytes()
        assert copy.stat().st_mode & 0o777 == 0o755
    # Without the build's mark the variable means nothing.
    done = cli("install", "--plugins-dir", tmp_path / "q", environ={"SLSA_VERIFIER_EXECUTABLE": str(source)})
    assert "python)" in done.out


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("exit 3", "does not run"),
        ("echo 'no such library' >&2; exit 127", "does not run: no such library"),
        ("echo another program 9.9", "does not run"),
    ],
)
def test_what_does_not_run_is_not_installed(tmp_path: Path, body: str, expected: str) -> None:
    source = tmp_path / "broken"
    source.write_text(f"#!/bin/sh\n{body}\n")
    folder = tmp_path / "p"
    folder.mkdir()
    (folder / "slsa").write_text("what was there before")
    environ = {"SLSA_VERIFIER_BUILD": "0" * 64, "SLSA_VERIFIER_EXECUTABLE": str(source)}
    done = cli("install", "--plugins-dir", folder, environ=environ)
    assert (done.status, expected in done.err) == (Status.USAGE, True)
    assert [path.name for path in folder.iterdir()] == ["slsa"]
    assert (folder / "slsa").read_text() == "what was there before"


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = cli("install", "--plugins-dir", tmp_path / "file" / "plugins")
    assert (done.status, "cannot be put into" in done.err) == (Status.USAGE, True)
    assert "Not a directory" in done.err


def test_an_interpreter_whose_path_no_kernel_takes(tmp_path: Path) -> None:
    odd = tmp_path / ("a folder with blanks " + "x" * 100)
    odd.mkdir()
    interpreter = odd / "python"
    interpreter.symlink_to(sys.executable)
    path = tmp_path / "slsla"
    path.write_text(plugin_file.script(str(interpreter)))
    path.chmod(0o755)
    assert json.loads(run_plugin(path).stdout)["code"] == 4
    assert path.read_text().startswith("#!/bin/sh\n")


def test_a_file_system_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    installed = plugin_file.install(tmp_path, {})
    assert [path.stat().st_mode & 0o777 for path in installed.paths] == [0o755, 0o755]


def test_a_program_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "hangs"
    source.write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(plugin_file, "TRIAL_SECONDS", 0.2)
    environ = {"SLSA_VERIFIER_BUILD": "0" * 64, "SLSA_VERIFIER_EXECUTABLE": str(source)}
    with pytest.raises(UsageError, match="does not answer"):
        plugin_file.install(tmp_path / "p", environ)
    assert not list((tmp_path / "p").iterdir())
