"""The composite action that attaches a source attestation: its steps' own scripts, as a runner runs them."""

from __future__ import annotations

import base64
import re
import shutil
from pathlib import Path

import pytest

from tests.support.command_line import LEVEL_1, LEVEL_3, ROOT
from tests.support.embedded_registry import EmbeddedRegistry
from tests.support.git_repository import GitRepository, GitServer
from tests.support.workflow_runner import (
    ACTION,
    STEPS,
    TOKEN,
    Runner,
    attach,
    revision_of,
)


def test_the_commits_own_attestation_is_attached(
    registry: EmbeddedRegistry, plugin: Path, runner: Runner
) -> None:
    found = attach(registry, plugin, runner, BUNDLE=LEVEL_3, COMMIT=revision_of(LEVEL_3))
    assert (found.done.status, found.count) == (0, 1), found
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", found.outputs["attestation"])
    assert "admitted" in (runner.folder / "summary.md").read_text()


def test_a_bundle_is_named_from_the_workspace(
    registry: EmbeddedRegistry, plugin: Path, runner: Runner
) -> None:
    shutil.copy(LEVEL_3, runner.workspace / "bundle.jsonl")
    found = attach(registry, plugin, runner, BUNDLE="bundle.jsonl", COMMIT=revision_of(LEVEL_3))
    assert (found.done.status, found.count) == (0, 1), found


def test_a_good_attestation_of_another_commit_is_not_attached(
    registry: EmbeddedRegistry, plugin: Path, runner: Runner
) -> None:
    commit = "9" * 40
    found = attach(registry, plugin, runner, BUNDLE=LEVEL_3, COMMIT=commit)
    assert (found.done.status, found.outputs, found.count) == (1, {}, 0), found
    assert "::error::" in found.done.out
    assert revision_of(LEVEL_3) in found.done.err
    assert commit in found.done.err


def test_an_attestation_below_the_level_is_not_attached(
    registry: EmbeddedRegistry, plugin: Path, runner: Runner
) -> None:
    found = attach(registry, plugin, runner, BUNDLE=LEVEL_1, COMMIT=revision_of(LEVEL_1))
    assert (found.done.status, found.outputs, found.count) == (1, {}, 0), found
    assert "nothing was attached" in found.done.out
    assert "denied" in (runner.folder / "summary.md").read_text()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DIGEST", "sha256:x"),
        ("DIGEST", "sha512:" + "a" * 64),
        ("COMMIT", "HEAD"),
        ("MINUTES", "-1"),
        ("MINUTES", "x"),
    ],
)
def test_inputs_have_a_form(
    registry: EmbeddedRegistry, plugin: Path, runner: Runner, name: str, value: str
) -> None:
    changes: dict[str, str | Path] = {"BUNDLE": LEVEL_3, name: value}
    found = attach(registry, plugin, runner, **changes)
    assert (found.done.status, found.count, found.done.out[:9]) == (1, 0, "::error::"), found


def test_the_commits_note_is_fetched_with_the_token_alone(
    registry: EmbeddedRegistry, plugin: Path, runner: Runner, source: tuple[GitRepository, GitServer]
) -> None:
    repository, server = source
    commit = revision_of(LEVEL_3)
    repository.commit()
    repository.note(repository.commit("Two"), LEVEL_3.read_bytes())
    address = server.url.rpartition("/")[0]
    (Path(runner.environ["HOME"]) / ".gitconfig").write_text(
        f'[http "{address}/"]\n\textraheader = Authorization: basic bGVmdA==\n'
    )
    places: dict[str, str | Path] = {"FROM": f"notes:{server.url}", "SERVER": address, "COMMIT": commit}
    found = attach(registry, plugin, runner, **places)
    assert (found.done.status, found.count) == (1, 0), found
    assert f"commit {commit} has no git note" in found.done.err
    said = base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode()
    assert server.authorizations, "the repository was asked"
    assert all(shown == [f"basic {said}"] for shown in server.authorizations), (
        "not beside what a checkout left"
    )
    assert TOKEN not in found.done.out + found.done.err
    assert said not in found.done.out + found.done.err


def test_an_old_interpreter_is_told(runner: Runner, tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done, _ = runner.run(STEPS["install"], ACTION=ACTION.parent, TEMPORARY=runner.folder, PYTHON=old)
    assert (done.status, "::error::" in done.out, "3.11" in done.out) == (1, True, True), done


def test_what_builds_the_plugin_is_pinned() -> None:
    install = STEPS["install"]["run"]
    installs = [line for line in install.splitlines() if '"${pip[@]}" install' in line]
    assert len(installs) == 3
    for line in installs:
        assert "--no-deps" in line
        assert "--require-hashes" in line or "--no-build-isolation" in line
    lock, development = ((ROOT / "requirements" / f"{name}.txt").read_text() for name in ("build", "dev"))
    pins = re.findall(r"^\S+==\S+", lock, re.MULTILINE)
    assert "hatchling" in {pin.partition("==")[0] for pin in pins}
    assert [pin for pin in pins if f"\n{pin} " not in development] == []
