"""The scripts of the composite action, as a runner runs them."""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from slsa_verifier_plugin.demo.registry import EmbeddedRegistry
from tests.support.command_line import LEVEL_1, LEVEL_3, ROOT, SOURCE, TRUSTED_ROOT, Done, cli

ACTION = ROOT / ".github" / "actions" / "attach-source-attestation" / "action.yml"
WORKFLOW = ROOT / ".github" / "workflows" / "build-and-attest.yml"
STEPS = {step["id"]: step for step in yaml.safe_load(ACTION.read_text("utf-8"))["runs"]["steps"]}
REPOSITORY = "team/app"
TOKEN = "a-token-of-a-job"
SECONDS = 60


def run_step(name: str, folder: Path, **variables: str | Path) -> tuple[Done, dict[str, str]]:
    """Run a step's script in ``folder``; returns what it printed, and its outputs."""
    files = {"GITHUB_OUTPUT": folder / "outputs", "GITHUB_STEP_SUMMARY": folder / "summary.md"}
    for file in files.values():
        file.write_text("")
    usual = {"PATH": os.environ["PATH"], "HOME": str(folder), "RUNNER_TEMP": str(folder)}
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", STEPS[name]["run"]],
        cwd=folder,
        env={**usual, **{key: str(value) for key, value in {**files, **variables}.items()}},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    outputs = dict(line.split("=", 1) for line in files["GITHUB_OUTPUT"].read_text().splitlines())
    return Done(done.returncode, done.stdout, done.stderr), outputs


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    """The program, which trusts the tests' Sigstore and talks to registries without TLS."""
    command = shlex.join([sys.executable, "-m", "slsa_verifier_plugin"])
    options = shlex.join(["--plain-http", "--trusted-root", str(TRUSTED_ROOT)])
    file = tmp_path / "plugin"
    file.write_text(
        f'#!/bin/sh\nword=$1; shift\nPYTHONPATH={shlex.quote(str(ROOT))} exec {command} "$word" {options} "$@"\n'
    )
    file.chmod(0o755)
    return file


@pytest.fixture
def registry() -> Iterator[EmbeddedRegistry]:
    with EmbeddedRegistry() as running:
        yield running


def revision_of(bundle: Path) -> str:
    """Return the commit that a bundle of the test data is about."""
    options = ("--level", "SLSA_SOURCE_LEVEL_1", "--resource-uri", SOURCE, "--trusted-root", TRUSTED_ROOT)
    said = json.loads(cli("verify", "--bundle", bundle, *options, "--json").out)
    found: str = said["images"][0]["artifacts"][0]["result"]["extensions"]["revision"]
    return found


def attach(
    registry: EmbeddedRegistry, plugin: Path, folder: Path, bundle: Path, commit: str
) -> tuple[Done, dict[str, str], int]:
    """Run the step that attaches; returns also how many artifacts the image has then."""
    image = registry.push_image(REPOSITORY, "v1")
    name = f"{registry.host}/{REPOSITORY}"
    done, outputs = run_step(
        "attach",
        folder,
        IMAGE=name,
        DIGEST=str(image.digest),
        LEVELS="SLSA_SOURCE_LEVEL_2\n",
        RESOURCE_URI=SOURCE,
        VERIFIER_ID="",
        BUNDLE=bundle,
        COMMIT=commit,
        PLUGIN=plugin,
    )
    shown = json.loads(cli("inspect", f"{name}@{image.digest}", "--plain-http", "--json").out)
    return done, outputs, len(shown["artifacts"])


def test_the_commits_own_attestation_is_attached(
    registry: EmbeddedRegistry, plugin: Path, tmp_path: Path
) -> None:
    done, outputs, attached = attach(registry, plugin, tmp_path, LEVEL_3, revision_of(LEVEL_3))
    assert (done.status, attached) == (0, 1), done
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", outputs["attestation"])
    assert (tmp_path / "summary.md").read_text()


def test_a_good_attestation_of_another_commit_is_not_attached(
    registry: EmbeddedRegistry, plugin: Path, tmp_path: Path
) -> None:
    commit = "9" * 40
    done, outputs, attached = attach(registry, plugin, tmp_path, LEVEL_3, commit)
    assert (done.status, outputs, attached) == (1, {}, 0), done
    (error,) = [line for line in done.out.splitlines() if line.startswith("::error::")]
    assert revision_of(LEVEL_3) in error
    assert commit in error


def test_an_attestation_below_the_level_is_not_attached(
    registry: EmbeddedRegistry, plugin: Path, tmp_path: Path
) -> None:
    done, outputs, attached = attach(registry, plugin, tmp_path, LEVEL_1, revision_of(LEVEL_1))
    assert (done.status, outputs, attached) == (1, {}, 0), done
    assert "denied" in (tmp_path / "summary.md").read_text()


def git(folder: Path, *arguments: str) -> str:
    names = {
        f"GIT_{who}_{what}": "t@t.example" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    done = subprocess.run(
        ["git", *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), **names},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> tuple[Path, str]:
    """A checkout, the repository beside it as its origin, and the one commit in both."""
    origin, folder = tmp_path / "origin", tmp_path / "checkout"
    origin.mkdir()
    git(origin, "init", "--quiet")
    git(origin, "commit", "--quiet", "--allow-empty", "--message", "One")
    git(tmp_path, "clone", "--quiet", str(origin), str(folder))
    return folder, git(origin, "rev-parse", "HEAD")


def find(folder: Path, commit: str, server: str = "https://git.example") -> tuple[Done, dict[str, str]]:
    return run_step("find", folder, BUNDLE="", COMMIT=commit, MINUTES="0", SERVER=server, TOKEN=TOKEN)


def test_the_commits_note_is_found(checkout: tuple[Path, str]) -> None:
    folder, commit = checkout
    git(folder.with_name("origin"), "notes", "add", "--message", "the bundle", commit)
    done, outputs = find(folder, commit)
    assert done.status == 0, done
    assert Path(outputs["bundle"]).read_text() == "the bundle\n"


@pytest.mark.parametrize("others", [False, True])
def test_a_commit_without_a_note_is_told(checkout: tuple[Path, str], others: bool) -> None:
    folder, commit = checkout
    if others:
        origin = folder.with_name("origin")
        git(origin, "commit", "--quiet", "--allow-empty", "--message", "Two")
        git(origin, "notes", "add", "--message", "of another", "HEAD")
    done, outputs = find(folder, commit)
    assert (done.status, outputs) == (1, {})
    assert f"::error::commit {commit} has no git note" in done.out


def test_a_private_repository_is_asked_with_the_token_and_no_answer_is_no_missing_note(
    checkout: tuple[Path, str],
) -> None:
    folder, commit = checkout
    shown: list[list[str]] = []

    class Refusing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            shown.append(self.headers.get_all("Authorization", []))
            self.send_error(403)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name it has there
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        git(folder, "remote", "set-url", "origin", f"{address}/owner/app")
        git(folder, "config", f"http.{address}/.extraheader", "Authorization: basic bGVmdA==")
        done, outputs = find(folder, commit, address)
        server.shutdown()
    assert (done.status, outputs) == (1, {})
    assert "::error::the git notes cannot be fetched from origin" in done.out
    assert "no git note" not in done.out
    said = base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode()
    assert shown == [[f"basic {said}"]], "once, and not beside what the checkout left"
    assert TOKEN not in done.out + done.err
    assert said not in done.out + done.err


def test_what_builds_the_plugin_is_pinned() -> None:
    install = STEPS["install"]["run"]
    for line in install.splitlines():
        if "/pip" in line:
            assert "--no-deps" in line
            assert "--require-hashes" in line or "--no-build-isolation" in line
    lock, development = ((ROOT / "requirements" / f"{name}.txt").read_text() for name in ("build", "dev"))
    pins = re.findall(r"^\S+==\S+", lock, re.MULTILINE)
    assert "hatchling" in {pin.partition("==")[0] for pin in pins}
    assert [pin for pin in pins if f"\n{pin} " not in development] == []


def test_the_workflow_hands_the_actions_inputs_on() -> None:
    action, workflow = (yaml.safe_load(file.read_text("utf-8")) for file in (ACTION, WORKFLOW))
    (step,) = [
        step for step in workflow["jobs"]["image"]["steps"] if str(step.get("uses", "")).startswith("$/")
    ]
    assert {"image", "digest", "level", "resource-uri", "verifier-id", "bundle"} == set(step["with"])
    assert set(step["with"]) <= set(action["inputs"])
    inputs = set(workflow[True]["workflow_call"]["inputs"])  # YAML 1.1 reads "on" as true
    named = set(re.findall(r"inputs\.([a-z-]+)", json.dumps(workflow["jobs"])))
    assert named == inputs
