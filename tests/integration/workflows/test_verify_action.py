"""The script of the composite action that verifies images or checks policies, as a runner runs it."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest
import yaml

from tests.support.command_line import ARTIFACT_TYPE, LEVEL_1, LEVEL_3, ROOT, parameters, verifier, write_yaml
from tests.support.embedded_registry import EmbeddedRegistry
from tests.support.workflow_runner import Runner

ACTIONS = ROOT / ".github" / "actions"
STEPS = {
    step["id"]: step
    for step in yaml.safe_load((ACTIONS / "verify-or-check" / "action.yml").read_text())["runs"]["steps"]
}
USUAL = {"POLICY": "", "IMAGES": "", "CHECK": "", "TRUSTED_ROOT": "", "STRICT": "false"}


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """The interpreter with the program, called as the action calls it."""
    start = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from slsa_verifier_plugin.cli.main import run; "
        "sys.exit(run(sys.argv[1:]))"
    )
    file = tmp_path / "python"
    file.write_text(
        '#!/bin/sh\n[ "$1 $2 $3" = "-I -m slsa_verifier_plugin" ] || exit 99\nshift 3\n'
        f'exec {shlex.quote(sys.executable)} -I -c {shlex.quote(start)} "$@"\n'
    )
    file.chmod(0o755)
    return file


def run(runner: Runner, python: Path, **changes: str) -> tuple[int, str, str]:
    given: dict[str, str | Path] = {
        **USUAL,
        "WORK": runner.folder,
        "PYTHON": python,
        "WORKSPACE": runner.workspace,
        **changes,
    }
    done, outputs = runner.run(STEPS["run"], **given)
    return done.status, outputs.get("status", ""), done.out + (runner.folder / "summary.md").read_text()


def test_both_actions_are_installed_alike() -> None:
    attach = yaml.safe_load((ACTIONS / "attach-source-attestation" / "action.yml").read_text())
    assert STEPS["install"] == next(step for step in attach["runs"]["steps"] if step["id"] == "install")
    # A step's own environment goes before GITHUB_ENV: the loader's variables are empty in each.
    assert all(step["env"]["LD_PRELOAD"] == "" for step in STEPS.values())


def test_policies_are_checked(runner: Runner, python: Path) -> None:
    write_yaml(
        runner.workspace / "v.yaml", verifier(spec={"parameters": parameters(sourceBinding="annotation")})
    )
    assert run(runner, python, CHECK="v.yaml\n")[:2] == (0, "0")
    assert run(runner, python, CHECK="  .  \n\n")[:2] == (0, "0")
    write_yaml(runner.workspace / "v.yaml", verifier())
    assert run(runner, python, CHECK="v.yaml")[:2] == (0, "0")
    status, outcome, said = run(runner, python, CHECK="v.yaml", STRICT="true")
    assert (status, outcome, "sourceBinding is none" in said) == (1, "1", True)
    assert run(runner, python, CHECK="none.yaml")[:2] == (1, "2")


def test_images_are_verified(runner: Runner, python: Path) -> None:
    write_yaml(runner.workspace / "v.yaml", verifier())
    with EmbeddedRegistry() as registry:
        names = []
        for name, content in (("low", LEVEL_1), ("high", LEVEL_3)):
            image = registry.push_image(f"team/{name}", "v1")
            registry.attach(f"team/{name}", image, ARTIFACT_TYPE, [content.read_bytes()])
            names.append(f"{registry.host}/team/{name}:v1")
        low, high = names
        assert run(runner, python, IMAGES=f"{high}\n", POLICY="v.yaml")[:2] == (0, "0")
        status, outcome, said = run(runner, python, IMAGES=f"{high}\n{low}\n", POLICY="v.yaml")
        assert (status, outcome, "LEVEL_TOO_LOW" in said.replace("\\", "")) == (1, "1", True)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, "give images and a policy, or check"),
        ({"IMAGES": "a/b"}, "policy is missing"),
        ({"IMAGES": "a/b", "CHECK": "v.yaml"}, "not both"),
        ({"IMAGES": "--help", "POLICY": "v.yaml"}, ""),
        ({"CHECK": "$(touch /tmp/owned-by-check)"}, ""),
    ],
)
def test_what_is_given_is_never_an_option_or_a_command(
    runner: Runner, python: Path, changes: dict[str, str], says: str
) -> None:
    write_yaml(runner.workspace / "v.yaml", verifier())
    status, _, said = run(runner, python, **changes)
    assert status == 1
    assert says in said
    assert "Usage:" not in said
    assert not Path("/tmp/owned-by-check").exists()
