"""What producers really signed, and policies as people wrote them: the files of ``../shared/data/field``, where they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from slsa_verifier_plugin.checking.status import Status
from tests.support.command_line import ROOT, cli
from tests.support.sigstore import Lab, github_source_actions, slsa_framework_actions, vsa

FIELD = ROOT.parent / "shared" / "data" / "field"
pytestmark = [
    pytest.mark.shared_data,
    pytest.mark.skipif(not FIELD.is_dir(), reason="../shared/data/field is not on this machine"),
]


@pytest.mark.parametrize("name", ["actions-sha-default", "actions-sha-vid"])
def test_a_summary_signed_at_a_releases_commit_is_admitted(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(FIELD / "actions-pinned-by-digest")
    done = cli("verify", "--bundle", f"{name}.jsonl", "--policy", f"{name}.policy.json")
    assert done.status == Status.ADMITTED, done
    done = cli(
        "verify", "--bundle", f"{name}.jsonl", "--policy", f"{name}.policy.json", "--verifier-id",
        "https://github.com/slsa-framework/source-actions",
    )  # fmt: skip
    assert done.status == Status.DENIED
    assert "moved to slsa-framework/actions" in done.out


def test_the_ref_of_a_tags_run_is_the_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FIELD / "tag-run")
    arguments = ("verify", "--bundle", "tag-v07.jsonl", "--policy", "tag-v07.policy.json")
    assert cli(*arguments).status == Status.ADMITTED
    assert cli(*arguments, "--source-ref", "refs/tags/v*").status == Status.ADMITTED
    done = cli(*arguments, "--source-ref", "refs/heads/main")
    assert done.status == Status.DENIED
    assert (
        "found refs/tags/v1.2.3 (the certificate's ref, which counts; the summary names refs/heads/main)"
        in done.out
    )


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("dotgit-policy", "only in the .git at the end"),
        ("https-policy", "only in the git+ at the start"),
        ("lv", "TAG_HYGEINE is no name that is known here; is TAG_HYGIENE meant?"),
    ],
)
def test_denials_under_values_that_never_match_name_the_near_miss(
    name: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder has policies alone; what they are held against is an honest summary by this test's Sigstore."""
    monkeypatch.chdir(FIELD / "values-that-never-match")
    actions = "https://github.com/slsa-framework/actions"
    summary = vsa(verifier_id=actions, levels=["SLSA_SOURCE_LEVEL_3", "TAG_HYGIENE"])
    by = github_source_actions()
    earlier = vsa(levels=["SLSA_SOURCE_LEVEL_3", "TAG_HYGIENE"])
    lab = Lab()
    file = tmp_path / "honest.jsonl"
    file.write_bytes(
        lab.sign(summary, slsa_framework_actions("v0.1.0")) + b"\n" + lab.sign(earlier, by) + b"\n"
    )
    root = tmp_path / "root.json"
    root.write_bytes(lab.trusted_root())
    done = cli("verify", "--bundle", file, "--policy", f"{name}.policy.json", "--trusted-root", root)
    assert (done.status, says in done.out) == (Status.DENIED, True), done


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("dotgit-policy", "only in the .git at the end"),
        ("https-policy", "only in the git+ at the start"),
        ("lv", "is TAG_HYGIENE meant?"),
    ],
)
def test_policy_check_names_the_near_miss(name: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FIELD / "values-that-never-match")
    shown = cli("policy", "check", f"{name}.policy.json").out
    assert "warning: " in shown
    assert says in shown


def test_the_images_of_a_tekton_task_are_looked_at() -> None:
    policy = FIELD / "values-that-never-match" / "https-policy.policy.json"
    done = cli("audit", "--manifests", FIELD / "unread-kinds", "--policy", policy)
    assert "UNDECIDED REGISTRY_UNREACHABLE registry.example/tekton:1" in done.out
