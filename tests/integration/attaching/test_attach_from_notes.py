"""``attach --from notes``: a commit's git note, fetched with the user's own git."""

from __future__ import annotations

import os
import re
import threading

import pytest

from slsa_verifier_plugin.checking import attestation_origins as origins
from slsa_verifier_plugin.checking import git_notes
from slsa_verifier_plugin.checking.status import Status
from slsa_verifier_plugin.deadline import Deadline
from tests.support.attach_scene import Scene
from tests.support.command_line import cli

TOKEN = "a-token-that-is-secret"


def test_the_note_of_the_images_commit_is_attached(scene: Scene) -> None:
    commit = scene.repository.commit()
    scene.repository.note(commit, scene.bundle(commit) + b"\n")
    image = scene.image("v1", revision=commit)
    done = scene.attach(image, "--from", f"notes:{scene.server.url}")
    assert (done.status, done.err) == (Status.ADMITTED, ""), done
    assert re.fullmatch(
        r"attached sha256:[0-9a-f]{64} \(slsla/attestation, 1 attestation\) to \S+@sha256:[0-9a-f]{64}\n",
        done.out,
    )
    assert cli("verify", image, "--policy", scene.policy, "--plain-http").status == Status.ADMITTED


def test_a_commit_can_be_named(scene: Scene) -> None:
    commit = scene.repository.commit()
    scene.repository.note(commit, scene.bundle(commit))
    image = scene.image("v1")
    done = scene.attach(image, "--from", f"notes:{scene.server.url}")
    assert (done.status, "--commit COMMIT" in done.err) == (Status.USAGE, True)
    done = scene.attach(image, "--from", f"notes:{scene.server.url}", "--commit", commit)
    assert done.status == Status.ADMITTED, done
    assert scene.attached(image) == 1


def test_a_folder_is_read_where_it_is_asked_for(scene: Scene) -> None:
    commit = scene.repository.commit()
    scene.repository.note(commit, scene.bundle(commit))
    image = scene.image("v1", revision=commit)
    for named in (str(scene.repository.folder), scene.repository.folder.as_uri()):
        assert scene.attach(image, "--from", f"notes:{named}").status == Status.ADMITTED


def test_a_note_below_the_level_is_not_attached(scene: Scene) -> None:
    commit = scene.repository.commit()
    scene.repository.note(commit, scene.bundle(commit, level=1))
    image, report = scene.image("v1", revision=commit), scene.folder / "summary.md"
    done = scene.attach(image, "--from", f"notes:{scene.server.url}", "--report", str(report))
    assert (done.status, "nothing was attached" in done.out) == (Status.DENIED, True)
    assert scene.attached(image) == 0
    assert "denied" in report.read_text()


def test_a_note_about_another_commit_is_not_attached(scene: Scene) -> None:
    """A note is whatever somebody who may push notes wrote there: a good summary, but of another commit."""
    other = "7" * 40
    commit = scene.repository.commit()
    scene.repository.note(commit, scene.bundle(other))
    image = scene.image("v1", revision=commit)
    for policy in (True, False):
        done = scene.attach(image, "--from", f"notes:{scene.server.url}", policy=policy)
        assert (done.status, other in done.err, commit in done.err) == (Status.USAGE, True, True), done
    assert scene.attached(image) == 0


@pytest.mark.parametrize("policy", [True, False])
@pytest.mark.parametrize("is_first", [True, False])
def test_of_a_note_of_several_commits_the_images_own_is_attached(
    scene: Scene, policy: bool, is_first: bool
) -> None:
    """Another commit's summary is good as well; beside the image's own it would let the image pass as that commit."""
    other, commit = "7" * 40, scene.repository.commit()
    bundles = [scene.bundle(commit), scene.bundle(other)]
    scene.repository.note(commit, b"\n".join(bundles if is_first else bundles[::-1]))
    image = scene.image("v1", revision=commit)
    done = scene.attach(image, "--from", f"notes:{scene.server.url}", policy=policy)
    assert (done.status, "1 attestation)" in done.out) == (Status.ADMITTED, True), done
    shown = cli("inspect", image, "--plain-http", "--json").out
    assert (commit in shown, other in shown) == (True, False)


def test_a_files_commit_is_checked_too(scene: Scene) -> None:
    commit = "7" * 40
    (scene.folder / "note.jsonl").write_bytes(scene.bundle(commit))
    image = scene.image("v1")
    for wrong in (True, False):
        done = scene.attach(image, "note.jsonl", "--commit", "8" * 40 if wrong else commit)
        assert (done.status, scene.attached(image)) == (
            (Status.USAGE, 0) if wrong else (Status.ADMITTED, 1)
        ), done


def test_without_a_policy_it_is_said_that_nothing_was_verified(scene: Scene) -> None:
    commit = scene.repository.commit()
    scene.repository.note(commit, scene.bundle(commit))
    image = scene.image("v1", revision=commit)
    done = scene.attach(image, "--from", f"notes:{scene.server.url}", policy=False)
    assert (done.status, "nothing was verified" in done.err) == (Status.ADMITTED, True)


@pytest.mark.parametrize("others", [False, True])
def test_a_missing_note_is_told(scene: Scene, others: bool) -> None:
    commit = scene.repository.commit()
    if others:
        second = scene.repository.commit("Two")
        scene.repository.note(second, scene.bundle(second))
    done = scene.attach(scene.image("v1", revision=commit), "--from", f"notes:{scene.server.url}")
    said = f"commit {commit} has no git note" if others else "has no git notes (refs/notes/commits)"
    assert (done.status, said in done.err, done.err.count("\n")) == (Status.UNDECIDED, True, 1), done


def test_a_note_is_waited_for(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(origins, "WAIT_PAUSE", 0.1)
    commit = scene.repository.commit()
    image = scene.image("v1", revision=commit)
    late = threading.Timer(1.0, scene.repository.note, (commit, scene.bundle(commit)))
    late.start()
    done = scene.attach(image, "--from", f"notes:{scene.server.url}", "--wait", "60s")
    late.join()
    assert done.status == Status.ADMITTED, done


def test_a_repository_that_cannot_be_read_is_no_missing_note(scene: Scene) -> None:
    commit = scene.repository.commit()
    scene.server.refuse = 403
    done = scene.attach(scene.image("v1", revision=commit), "--from", f"notes:{scene.server.url}")
    assert (done.status, "cannot be fetched" in done.err, "no git note" in done.err) == (3, True, False), done


def test_gits_own_credentials_are_used_and_not_shown(scene: Scene) -> None:
    commit = scene.repository.commit()
    scene.repository.note(commit, scene.bundle(commit))
    image = scene.image("v1", revision=commit)
    header = f"Authorization: basic {TOKEN}"
    environ = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "http.extraheader", "GIT_CONFIG_VALUE_0": header}
    done = scene.attach(image, "--from", f"notes:{scene.server.url}", environ=environ)
    assert done.status == Status.ADMITTED, done
    assert scene.server.authorizations
    assert all(sent == [f"basic {TOKEN}"] for sent in scene.server.authorizations)
    scene.server.refuse = 403
    done = scene.attach(image, "--from", f"notes:{scene.server.url}", environ=environ)
    assert TOKEN not in done.out + done.err


def test_a_password_in_an_address_is_refused_and_not_shown(scene: Scene) -> None:
    image = scene.image("v1", revision="7" * 40)
    done = scene.attach(image, "--from", f"notes:https://user:{TOKEN}@git.example/a/b")
    assert (done.status, TOKEN in done.err) == (Status.USAGE, False), done


HOSTILE = [
    "--upload-pack=touch planted",
    "-u",
    "ext::sh -c touch% planted",
    "fd::3",
    "ssh://-oProxyCommand=touch planted/x",
    "-oProxyCommand=x@host:path",
    "user@-oProxyCommand=touch:planted",
    "https://git.example/a b",
    "https://git.example/a\nb",
    "ftp://git.example/a",
    "http::ext::sh -c touch planted",
    "",
    "a" * 9000,
]


@pytest.mark.parametrize("named", HOSTILE)
def test_no_repositorys_name_is_an_option_or_a_program(scene: Scene, named: str) -> None:
    image = scene.image("v1", revision="7" * 40)
    done = scene.attach(image, "--from", f"notes:{named}")
    assert done.status in (Status.USAGE, Status.UNDECIDED), done
    assert not list(scene.folder.rglob("planted"))
    if named:
        with pytest.raises(Exception, match=r"no repository|cannot be fetched|too long") as raised:
            git_notes.fetch_note(git_notes.asked_repository(named), "7" * 40, dict(os.environ), Deadline(20))
        assert not isinstance(raised.value, AssertionError)
    assert not list(scene.folder.rglob("planted"))


@pytest.mark.parametrize("commit", ["HEAD", "--all", "7" * 39, "7" * 41, "A" * 40, "", "7" * 40 + "\n"])
def test_no_commits_name_is_an_option(scene: Scene, commit: str) -> None:
    scene.repository.note(scene.repository.commit(), b"x")
    for image, named in ((scene.image("v1", revision=commit), ()), (scene.image("v2"), ("--commit", commit))):
        done = scene.attach(image, "--from", f"notes:{scene.server.url}", *named)
        assert (done.status, done.err.count("\n")) == (Status.USAGE, 1), done


def test_the_users_settings_start_nothing(scene: Scene) -> None:
    """A transport that is not asked for, hooks, and variables that name another repository or program."""
    commit = scene.repository.commit()
    scene.repository.note(commit, scene.bundle(commit))
    image = scene.image("v1", revision=commit)
    hooks = scene.folder / "hooks"
    hooks.mkdir()
    for name in ("post-checkout", "reference-transaction", "post-index-change", "fsmonitor-watchman"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {scene.folder}/planted\n")
        (hooks / name).chmod(0o755)
    (scene.folder / "home" / ".gitconfig").write_text(
        f"[core]\n\thooksPath = {hooks}\n\tfsmonitor = {hooks}/fsmonitor-watchman\n[init]\n\ttemplateDir = {hooks}\n"
        f'[url "ext::sh -c touch% {scene.folder}/planted% %S"]\n\tinsteadOf = https://evil.example/\n'
        "[protocol]\n\tallow = always\n"
    )
    elsewhere = {"GIT_DIR": "/nowhere", "GIT_EXEC_PATH": "/nowhere", "GIT_OBJECT_DIRECTORY": "/nowhere"}
    done = scene.attach(
        image,
        "--from",
        f"notes:{scene.server.url}",
        environ={**elsewhere, "GIT_TRACE": f"{scene.folder}/planted"},
    )
    assert done.status == Status.ADMITTED, done
    done = scene.attach(image, "--from", "notes:https://evil.example/a/b")
    assert (done.status, "not allowed" in done.err) == (Status.UNDECIDED, True), done
    assert not list(scene.folder.rglob("planted"))


@pytest.mark.parametrize(
    ("told", "address"),
    [
        ("https://git.example/owner/app", "https://git.example/owner/app"),
        ("git+https://git.example/owner/app@refs/heads/main", "https://git.example/owner/app"),
        ("https://github.com/owner/app.git", "https://github.com/owner/app"),
        ("git@github.com:owner/app.git", "https://github.com/owner/app"),
        ("ssh://git.example/owner/app", "https://git.example/owner/app"),
        ("https://github.com/owner/app/tree/main/src", "https://github.com/owner/app"),
        ("http://git.example/owner/app", None),
        ("file:///etc", None),
        ("/etc", None),
        ("https://127.0.0.1/owner/app", None),
        ("https://2130706433/owner/app", None),
        ("https://localhost/owner/app", None),
        ("https://metadata.google.internal/owner/app", None),
        ("https://user@git.example/owner/app", None),
        ("ext::sh -c touch% x", None),
        ("--upload-pack=x", None),
        ("git@-oProxyCommand=x:y", None),
    ],
)
def test_what_an_image_says_of_its_source_is_asked_by_https_at_a_name(told: str, address: str | None) -> None:
    found = git_notes.told_repository(told, by_image=True)
    assert found == address
    assert found is None or found.startswith("https://")


@pytest.mark.parametrize(
    ("told", "address"),
    [
        ("git+https://gitlab/owner/app", "https://gitlab/owner/app"),
        ("https://10.0.0.1/owner/app", "https://10.0.0.1/owner/app"),
        ("http://gitlab/owner/app", None),
        ("file:///etc", None),
    ],
)
def test_a_policy_may_name_a_machine_of_ones_own(told: str, address: str | None) -> None:
    found = git_notes.told_repository(told, by_image=False)
    assert found == address


def test_the_policys_repository_goes_before_the_label(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def noted(repository: str, *_: object) -> bytes:
        asked.append(repository)
        return scene.bundle("7" * 40)

    monkeypatch.setattr(git_notes, "fetch_note", noted)
    image = scene.image("v1", revision="7" * 40, source="https://elsewhere.example/a/b")
    assert scene.attach(image, "--from", "notes").status == Status.ADMITTED
    assert scene.attach(image, "--from", "notes", policy=False).status == Status.ADMITTED
    assert asked == ["https://github.com/example/source-demo", "https://elsewhere.example/a/b"]
    bad = scene.image("v2", revision="7" * 40, source="file:///etc")
    done = scene.attach(bad, "--from", "notes", policy=False)
    assert (done.status, "give --from notes:REPOSITORY" in done.err) == (Status.USAGE, True)


def test_too_much_and_too_slow_end(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = scene.repository.commit()
    scene.repository.note(commit, os.urandom(1 << 20))
    image = scene.image("v1", revision=commit)
    monkeypatch.setattr(git_notes, "MAX_NOTE", 1 << 19)
    done = scene.attach(image, "--from", f"notes:{scene.server.url}")
    assert (done.status, "has 1048576 bytes, at most 524288" in done.err) == (Status.UNDECIDED, True), done
    monkeypatch.setattr(git_notes, "MAX_FETCHED", 1 << 18)
    done = scene.attach(image, "--from", f"notes:{scene.server.url}")
    assert (done.status, "have more than 0 MiB" in done.err) == (Status.UNDECIDED, True), done
    monkeypatch.setattr(origins, "WAIT_STEP", 0.001)
    done = scene.attach(image, "--from", f"notes:{scene.server.url}")
    assert (done.status, "took too long" in done.err) == (Status.UNDECIDED, True), done
