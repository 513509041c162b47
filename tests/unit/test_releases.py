"""``tools.releases``: the tags of a real repository, and what is no release of it."""

from __future__ import annotations

import json
import os
import subprocess
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from slsa_verifier_plugin.cli.diagnosis import RELEASES_DAYS, producers
from slsa_verifier_plugin.policy.releases import known_releases
from slsa_verifier_plugin.policy.trusted import BUILT_IN_VERIFIERS
from slsa_verifier_plugin.problem import PASSED, WARNING
from tests.support.command_line import cli
from tools.releases import RELEASES, WORKFLOW, main

REPOSITORY = "https://github.com/slsa-framework/actions"
KNOWN: dict[str, Any] = {
    "asOf": "2020-01-01",
    "repository": REPOSITORY,
    "releases": [{"version": "v0.0.9", "commit": "ab" * 20, "learnt": "somewhere"}],
}


def git(folder: Path, *arguments: str) -> str:
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        **{
            f"GIT_{who}_{what}": "x@example.com"
            for who in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")
        },
    }
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], env=environ, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def commit(folder: Path, **files: str) -> str:
    for name, content in files.items():
        path = folder / (WORKFLOW if name == "workflow" else name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "x")
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    folder = tmp_path / "clone"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    git(folder, "remote", "add", "origin", f"{REPOSITORY}.git")
    return folder


@pytest.fixture
def listing(tmp_path: Path) -> Path:
    path = tmp_path / "releases.json"
    path.write_text(json.dumps(KNOWN))
    return path


def releases(path: Path) -> dict[str, str]:
    return {item["version"]: item["commit"] for item in json.loads(path.read_text())["releases"]}


def test_release_tags_of_every_kind_are_added_by_their_commits(
    clone: Path, listing: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = commit(clone, readme="no workflow yet")
    git(clone, "tag", "v0.0.1", empty)
    first = commit(clone, workflow="on: workflow_call")
    git(clone, "tag", "v0.1.0", first)
    second = commit(clone, workflow="on: workflow_call # 2")
    git(clone, "tag", "-a", "-m", "annotated", "v0.10.0", second)
    third = commit(clone, workflow="on: workflow_call # 3")
    git(clone, "tag", "-a", "-m", "annotated", "v0.2.0", third)
    for name in ("v1.0.0-rc1", "v1.0", "1.0.0", "v01.0.0", "latest", "x/v3.0.0"):
        git(clone, "tag", name, third)
    git(clone, "tag", "v3.0.0", f"{third}^{{tree}}")
    git(clone, "tag", "v3.0.1", f"{third}:{WORKFLOW}")
    assert main([str(clone), "--file", str(listing)]) == 0
    assert releases(listing) == {"v0.0.9": "ab" * 20, "v0.1.0": first, "v0.2.0": third, "v0.10.0": second}
    assert list(releases(listing)) == ["v0.0.9", "v0.1.0", "v0.2.0", "v0.10.0"]
    written = json.loads(listing.read_text())
    assert written["asOf"] > KNOWN["asOf"]
    assert all(item["learnt"] for item in written["releases"])
    out = capsys.readouterr().out
    assert f"added v0.10.0 {second}" in out
    assert "v0.0.9" not in out
    before = listing.read_bytes()
    assert main([str(clone), "--file", str(listing)]) == 0
    assert listing.read_bytes() == before


def test_a_tag_that_was_moved_changes_nothing(
    clone: Path, listing: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    git(clone, "tag", "v0.0.9", commit(clone, workflow="x"))
    before = listing.read_bytes()
    assert main([str(clone), "--file", str(listing)]) == 1
    assert "find out who moved the tag" in capsys.readouterr().err
    assert listing.read_bytes() == before


@pytest.mark.parametrize(
    "other", ["https://github.com/someone/actions", "git@github.com:someone/actions.git"]
)
def test_a_clone_with_a_forks_tags_is_refused(
    clone: Path, listing: Path, other: str, capsys: pytest.CaptureFixture[str]
) -> None:
    git(clone, "tag", "v0.1.0", commit(clone, workflow="x"))
    git(clone, "remote", "add", "fork", other)
    assert main([str(clone), "--file", str(listing)]) == 1
    git(clone, "remote", "remove", "origin")
    assert main([str(clone), "--file", str(listing)]) == 1
    git(clone, "remote", "remove", "fork")
    assert main([str(clone), "--file", str(listing)]) == 1
    assert capsys.readouterr().err.count(f"expected {REPOSITORY} alone") == 3
    assert releases(listing) == {"v0.0.9": "ab" * 20}


def test_what_is_no_clone_is_said(tmp_path: Path, listing: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "nothing"), "--file", str(listing)]) == 1
    assert "is no folder" in capsys.readouterr().err
    assert main([str(tmp_path), "--file", str(listing)]) == 1


def test_the_list_is_the_packages_and_is_in_the_order_of_versions() -> None:
    written = json.loads(RELEASES.read_text("utf-8"))
    assert [item["version"] for item in written["releases"]] == [
        item.version for item in known_releases().releases
    ]
    numbers = [tuple(map(int, item.version[1:].split("."))) for item in known_releases().releases]
    assert numbers == sorted(numbers)


def test_doctor_says_how_old_the_knowledge_is() -> None:
    known = known_releases()
    for days, outcome in ((0, PASSED), (RELEASES_DAYS, PASSED), (RELEASES_DAYS + 1, WARNING), (-5, PASSED)):
        finding = producers(date.fromordinal(known.as_of.toordinal() + days))
        assert finding.outcome == outcome
        assert f"({max(0, days)} days ago)" in finding.message
        assert ("allowedWorkflowDigests" in finding.remedy) is (outcome == WARNING)


def test_policy_producers_shows_all_of_it() -> None:
    shown = cli("policy", "producers").out
    value = json.loads(cli("policy", "producers", "--json").out)
    for signer in BUILT_IN_VERIFIERS:
        assert signer.id in shown
        assert signer.note in shown
        assert signer.id in [item["verifierId"] for item in value["producers"]]
    assert value["asOf"] in shown
    for item in value["releases"]:
        assert f"{item['version']} {item['commit']}" in shown
    defaults = {item["verifierId"] for item in value["producers"] if item["default"]}
    assert defaults == {REPOSITORY, "https://github.com/slsa-framework/source-actions"}
