"""The workflows: what their jobs may do, and what the job that signs is told."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.command_line import ROOT
from tests.support.workflow_runner import (
    ACTION,
    SHELL,
    STEPS,
    WORKFLOW,
    WORKFLOWS,
    Runner,
    document,
)


def jobs() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in WORKFLOWS:
        for name, job in document(path)["jobs"].items():
            yield f"{path.name}: {name}", job


def checks_out_the_caller(job: dict[str, Any]) -> bool:
    return any("actions/checkout@" in str(step.get("uses", "")) for step in job["steps"])


def test_every_shell_is_named_by_its_path_and_reads_no_startup_file() -> None:
    for path in WORKFLOWS:
        assert document(path)["defaults"]["run"]["shell"] == SHELL, path
    scripts = [step for step in STEPS.values() if "run" in step]
    scripts += [step for _, job in jobs() for step in job["steps"] if "run" in step and "shell" in step]
    for step in scripts:
        assert step["shell"] == SHELL, step["name"]
    for step in STEPS.values():
        for name in ("LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "GCONV_PATH", "GLIBC_TUNABLES"):
            assert step["env"][name] == "", f"{name} reaches {step['name']} before its first line"
        assert step["env"]["LC_ALL"] == "C", "a locale of the caller's is read before the first line"


def test_the_job_that_signs_has_nothing_of_the_callers() -> None:
    job = document(WORKFLOW)["jobs"]
    assert set(job) == {"build", "attest"}
    assert "id-token" not in job["build"]["permissions"]
    assert checks_out_the_caller(job["build"])
    signing = job["attest"]
    assert signing["permissions"]["id-token"] == "write"
    assert not checks_out_the_caller(signing)
    text = json.dumps(signing)
    assert "inputs.context" not in text
    assert "build-push-action" not in text
    # Nothing of the other job's but the digest, and that only where its form is checked.
    assert re.findall(r"needs\.[a-z.]+", text) == ["needs.build.outputs.digest"]
    assert "needs." in json.dumps(signing["steps"][0])


def test_no_job_that_may_sign_builds_what_the_caller_wrote() -> None:
    signing = {name: job for name, job in jobs() if "id-token" in job["permissions"]}
    assert len(signing) > 1
    builders = [name for name, job in signing.items() if checks_out_the_caller(job)]
    assert set(builders) <= {"release.yml: publish"}


def test_passwords_fall_back_to_nothing() -> None:
    for path in WORKFLOWS:
        text = path.read_text("utf-8")
        assert "|| github.token" not in text, path
        assert "|| secrets.GITHUB_TOKEN" not in text, path
    for name in ("build", "attest"):
        steps = document(WORKFLOW)["jobs"][name]["steps"]
        logins = [step for step in steps if "login-action" in str(step.get("uses", ""))]
        assert len(logins) == 2
        own, others = logins
        assert own["with"]["registry"] == "ghcr.io", "the run's token goes nowhere else"
        assert own["if"] == "inputs.ghcr-token && startsWith(inputs.image, 'ghcr.io/')"
        assert others["with"]["password"] == "${{ secrets.registry-password }}"
        assert others["if"] == "env.HAS_PASSWORD == 'true'"
    inputs = document(WORKFLOW)[True]["workflow_call"]["inputs"]  # YAML 1.1 reads "on" as true
    assert inputs["ghcr-token"]["default"] is False


@pytest.mark.parametrize(
    ("image", "digest", "is_good"),
    [
        ("ghcr.io/owner/app", "sha256:" + "a" * 64, True),
        ("registry.example:5000/a/b_c", "sha256:" + "0" * 64, True),
        ("ghcr.io/owner/app", "sha256:" + "A" * 64, False),
        ("ghcr.io/owner/app", "", False),
        ("ghcr.io/owner/app", "sha256:" + "a" * 64 + "\nhost=evil.example", False),
        ("ghcr.io/owner/app:tag", "sha256:" + "a" * 64, False),
        ("ghcr.io/owner/app\nhost=evil.example", "sha256:" + "a" * 64, False),
        ("--help", "sha256:" + "a" * 64, False),
        ("", "sha256:" + "a" * 64, False),
    ],
)
def test_what_the_signing_job_is_told_has_a_form(
    runner: Runner, image: str, digest: str, is_good: bool
) -> None:
    step = document(WORKFLOW)["jobs"]["attest"]["steps"][0]
    done, outputs = runner.run(step, IMAGE=image, DIGEST=digest)
    if not is_good:
        assert (done.status, outputs, "::error::" in done.out) == (1, {}, True)
        return
    assert outputs == {"host": image.partition("/")[0], "image": image, "digest": digest}, done


def test_the_signing_job_begins_in_an_empty_directory(runner: Runner) -> None:
    (runner.workspace / ".hidden").write_text("x")
    step = document(WORKFLOW)["jobs"]["attest"]["steps"][0]
    done, _ = runner.run(step, IMAGE="ghcr.io/owner/app", DIGEST="sha256:" + "a" * 64)
    assert (done.status, "not empty" in done.out) == (1, True)


def test_the_workflow_hands_the_actions_inputs_on() -> None:
    action, workflow = document(ACTION), document(WORKFLOW)
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    (step,) = [step for step in steps if str(step.get("uses", "")).startswith("$/")]
    assert {"image", "digest", "level", "resource-uri", "verifier-id", "bundle"} == set(step["with"])
    assert set(step["with"]) <= set(action["inputs"])
    inputs = set(workflow[True]["workflow_call"]["inputs"])
    named = set(re.findall(r"inputs\.([a-z-]+)", json.dumps(workflow["jobs"])))
    assert named == inputs


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize(
    ("base", "image", "signer", "issuer"),
    [
        (
            "base",
            "RATIFY",
            "{RATIFY_SIGNER}@refs/tags/{RATIFY_VERSION}",
            "https://token.actions.githubusercontent.com",
        ),
        ("empty", "EMPTY", "{EMPTY_SIGNER}", "https://accounts.google.com"),
    ],
)
def test_release_builds_on_an_image_only_if_its_signer_signed_it(
    runner: Runner, tmp_path: Path, base: str, image: str, signer: str, issuer: str, signed: bool
) -> None:
    release = document(ROOT / ".github" / "workflows" / "release.yml")
    (step,) = [step for step in release["jobs"]["publish"]["steps"] if step.get("id") == base]
    programs, digest, asked = tmp_path / "bin", "sha256:" + "a" * 64, tmp_path / "asked"
    programs.mkdir()
    for name, script in (
        ("docker", f"echo {digest}"),
        ("cosign", f'echo "$@" >{asked}; exit {int(not signed)}'),
    ):
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    environ = {**release["env"], "PATH": f"{programs}:{os.environ['PATH']}"}
    done, outputs = Runner(runner.folder, environ, runner.workspace).run(step)
    name = release["env"][image]
    assert (done.status == 0, outputs) == (signed, {"reference": f"{name}@{digest}"} if signed else {})
    assert asked.read_text().split() == [
        *("verify", "--certificate-identity", signer.format(**release["env"])),
        *("--certificate-oidc-issuer", issuer, f"{name}@{digest}"),
    ]


def test_whatever_is_used_is_pinned_by_its_commit() -> None:
    texts = [path.read_text("utf-8") for path in (*WORKFLOWS, ACTION)]
    used = [name for text in texts for name in re.findall(r"uses: (\S+)", text)]
    foreign = [name for name in used if not name.startswith("$/") and "OWNER/" not in name]
    assert len(foreign) > 3
    pinned = re.compile(r"[\w.-]+/[\w.-]+(?:/[\w.-]+)*@[0-9a-f]{40}")
    assert [name for name in foreign if not pinned.fullmatch(name)] == []
