"""Runs the scripts of the composite action and of the workflows as a runner does."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.support.command_line import ROOT, SOURCE, TRUSTED_ROOT, Done, cli
from tests.support.embedded_registry import EmbeddedRegistry

ACTION = ROOT / ".github" / "actions" / "attach-source-attestation" / "action.yml"
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
WORKFLOW = ROOT / ".github" / "workflows" / "build-and-attest.yml"
SHELL = "/usr/bin/bash --noprofile --norc -p -euo pipefail {0}"
REPOSITORY = "team/app"
TOKEN = "a-token-of-a-job"
SECONDS = 120


def document(path: Path) -> dict[Any, Any]:
    loaded: dict[Any, Any] = yaml.safe_load(path.read_text("utf-8"))
    return loaded


STEPS: dict[str, dict[str, Any]] = {step["id"]: step for step in document(ACTION)["runs"]["steps"]}


@dataclass(frozen=True)
class Runner:
    """A runner's machine: a folder for a step's files, and what earlier steps have put into the environment."""

    folder: Path
    environ: Mapping[str, str]
    workspace: Path

    def run(self, step: Mapping[str, Any], **variables: str | Path) -> tuple[Done, dict[str, str]]:
        """Run a step's script as the runner does; returns what it printed, and its outputs.

        The step's own ``env`` goes before what earlier steps wrote to GITHUB_ENV; ``variables`` are its expressions' values.
        """
        files = {"GITHUB_OUTPUT": self.folder / "outputs", "GITHUB_STEP_SUMMARY": self.folder / "summary.md"}
        for file in files.values():
            file.write_text("")
        script = self.folder / "script.sh"
        script.write_text(step["run"])
        own = {key: str(value) for key, value in step.get("env", {}).items() if "${{" not in str(value)}
        assert set(variables) <= set(step.get("env", {})), "a variable that the step does not have"
        given = {key: str(value) for key, value in {**files, **variables}.items()}
        command = shlex.split(step.get("shell", SHELL))
        assert command[0].startswith("/"), "the runner looks for other shells in the PATH"
        done = subprocess.run(
            [*command[:-1], str(script)],
            cwd=self.workspace,
            env={**self.environ, **own, **given},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        lines = files["GITHUB_OUTPUT"].read_text().splitlines()
        return Done(done.returncode, done.stdout, done.stderr), dict(line.split("=", 1) for line in lines)


def revision_of(bundle: Path) -> str:
    """Return the commit that a bundle of the test data is about."""
    options = ("--level", "SLSA_SOURCE_LEVEL_1", "--resource-uri", SOURCE, "--trusted-root", TRUSTED_ROOT)
    said = json.loads(cli("verify", "--bundle", bundle, *options, "--json").out)
    found: str = said["images"][0]["artifacts"][0]["result"]["extensions"]["revision"]
    return found


@dataclass(frozen=True)
class Attached:
    """What the step that attaches did, and how many artifacts the image has then."""

    done: Done
    outputs: dict[str, str]
    count: int


def attach(registry: EmbeddedRegistry, plugin: Path, runner: Runner, **changes: str | Path) -> Attached:
    image = registry.push_image(REPOSITORY, "v1")
    name = f"{registry.host}/{REPOSITORY}"
    usual: dict[str, str | Path] = {
        "WORK": runner.folder,
        "PYTHON": plugin,
        "IMAGE": name,
        "DIGEST": str(image.digest),
        "LEVELS": "SLSA_SOURCE_LEVEL_2\n",
        "RESOURCE_URI": SOURCE,
        "VERIFIER_ID": "",
        "COMMIT": "7" * 40,
        "FROM": "notes",
        "BUNDLE": "",
        "MINUTES": "0",
        "SERVER": "https://git.example",
        "API": "https://api.git.example",
        "WORKSPACE": runner.workspace,
        "TOKEN": TOKEN,
    }
    done, outputs = runner.run(STEPS["attach"], **{**usual, **changes})
    shown = json.loads(cli("inspect", f"{name}@{image.digest}", "--plain-http", "--json").out)
    return Attached(done, outputs, len(shown["artifacts"]))
