"""deploy/configure.sh: what is yours is said in one place, and nothing is left to fill in; images.sh lists all that runs."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from slsa_verifier_plugin.checking.status import Status
from tests.e2e.cluster.page import Reader, Step, steps
from tests.support.command_line import ROOT, cli

DEPLOY = ROOT / "deploy"
GOOD = {
    "REGISTRY": "localhost:5000/first",
    "SOURCE": "git+https://github.com/me/app",
    "NAMESPACES": '"default shop"',
}


def configure(folder: Path, target: str = "mine", **settings: str) -> tuple[int, str]:
    (folder / "my.env").write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
    done = subprocess.run(
        [DEPLOY / "configure.sh", target],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "SETTINGS": "my.env"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout


def text_of(folder: Path) -> str:
    files = sorted(one for one in folder.rglob("*") if one.is_file() and "template" not in one.parts)
    return "\n".join(one.read_text() for one in files)


def test_nothing_is_left_and_the_settings_are_everywhere(tmp_path: Path) -> None:
    status, said = configure(tmp_path, **GOOD)
    assert status == 0, said
    assert "nothing is left to fill in" in said
    text = text_of(tmp_path / "mine")
    for placeholder in ("registry.example/", "OWNER", "DahuK", '"kagent"]'):
        assert placeholder not in text
    deployment = (tmp_path / "mine/provider/server/deployment.yaml").read_text()
    assert "image: localhost:5000/first/slsa-verifier:v0.1.0" in deployment
    constraint = yaml.safe_load((tmp_path / "mine/gatekeeper/demo/constraint.yaml").read_text())
    assert constraint["spec"]["match"]["namespaces"] == ["default", "shop"]
    # The template is the one whose tests were run, to the byte.
    name = "gatekeeper/template/ratify-verification.yaml"
    assert (tmp_path / "mine" / name).read_bytes() == (DEPLOY / name).read_bytes()
    assert os.access(tmp_path / "mine/provider/certificates.sh", os.X_OK)
    assert cli("policy", "check", tmp_path / "mine").status == Status.ADMITTED


def test_the_settings_as_they_come_are_refused(tmp_path: Path) -> None:
    shutil.copy(DEPLOY / "settings.env", tmp_path / "my.env")
    shipped = dict(
        line.split("=", 1)
        for line in (tmp_path / "my.env").read_text().splitlines()
        if not line.startswith("#") and line
    )
    status, said = configure(tmp_path, **shipped)
    assert status == 1
    assert "REGISTRY is still registry.example" in said
    assert "SOURCE is still git+https://github.com/OWNER/REPOSITORY" in said
    assert not (tmp_path / "mine").exists()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("REGISTRY", "https://ghcr.io/team", "without https://"),
        ("REGISTRY", "ghcr.io/team/", "without a slash at the end"),
        ("REGISTRY", "", "expected a host"),
        ("REGISTRY", "'a|b&\\1'", "expected a host"),
        ("REGISTRY", "'ghcr.io\nx'", "expected a host"),
        ("REGISTRY", "registry.example/team", "still registry.example"),
        ("SOURCE", "https://github.com/me/app", "git+https://github.com/owner/name"),
        ("SOURCE", "git+https://github.com/OWNER/app", "SOURCE is still"),
        ("SOURCE", "'git+https://github.com/me/a|b'", "expected a repository"),
        ("NAMESPACES", "''", "expected names of namespaces"),
        ("NAMESPACES", "'Shop'", "expected names of namespaces"),
        ("NAMESPACES", "'a\"],x'", "expected names of namespaces"),
    ],
)
def test_values_that_cannot_be_meant(tmp_path: Path, name: str, value: str, said: str) -> None:
    status, text = configure(tmp_path, **{**GOOD, name: value})
    assert status == 1, text
    assert said in text
    assert not (tmp_path / "mine").exists()


@pytest.mark.parametrize(
    "changed",
    [
        {"REGISTRY": "ghcr.io"},
        {"REGISTRY": "'[::1]:5000/a/b'"},
        {"REGISTRY": "123.dkr.ecr.eu-central-1.amazonaws.com/team_a"},
        {"SOURCE": "git+https://gitlab.example:8443/group/sub/app"},
        # What stands in the manifests by chance is yours as well.
        {"SOURCE": "git+https://github.com/DahuK/slsa-attestation-action-demo"},
        {"NAMESPACES": "'default  kagent'"},
        {"NAMESPACES": "one"},
    ],
)
def test_values_that_are_as_good(tmp_path: Path, changed: dict[str, str]) -> None:
    status, text = configure(tmp_path, **{**GOOD, **changed})
    assert status == 0, text


def test_nothing_is_written_over(tmp_path: Path) -> None:
    assert configure(tmp_path, **GOOD)[0] == 0
    changed = tmp_path / "mine/provider/server/policy.yaml"
    changed.write_text("mine\n")
    status, said = configure(tmp_path, **GOOD)
    assert (status, "is there already" in said) == (2, True)
    assert changed.read_text() == "mine\n"


def test_the_list_of_images_is_no_list_where_kubectl_fails(tmp_path: Path) -> None:
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(
        '#!/bin/sh\ncase "$*" in *crd*) exit 0 ;; *) echo "b:1 a:1 a:1"; exit "${FAILS:-0}" ;; esac\n'
    )
    kubectl.chmod(0o755)
    environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = [DEPLOY / "audit" / "images.sh"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "a:1\nb:1\n")
    done = subprocess.run(
        command, env={**environ, "FAILS": "1"}, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode != 0, done.stdout) == (True, "")


def test_the_reader_of_pages_sees_what_differs(tmp_path: Path) -> None:
    """The replay of docs/operations/install.md: a command, its output, and why one is left out."""
    found = list(
        steps(
            "<!-- lab: left out: no net -->\n```console\n$ a \\\n    b\nx\n```\n\n```console\n$ c\n$ d\ny …\n```\n"
        )
    )
    assert found == [Step("a \\\n    b", "x\n", "no net"), Step("c", ""), Step("d", "y …\n")]
    assert found[2].is_shown("y 1\n2\n")
    assert not found[2].is_shown("z y 1")
    assert not found[1].is_shown("a word")
    reader = Reader(tmp_path, {str(tmp_path): "/here"}, {})
    assert reader.type(Step("pwd", "/here")) == "/here\n"
    for wrong in (
        Step("pwd", "/there"),
        Step("false", ""),
        Step("echo Error from server", "Error from server"),
    ):
        with pytest.raises(AssertionError):
            reader.type(wrong)
    reader.type(Step("set -a; X=1", ""))
    assert reader.type(Step("echo $X", "1")) == "1\n"


def test_each_command_of_the_pages_is_run_or_says_why_not() -> None:
    for name in ("install", "audit"):
        text = (ROOT / "docs" / "operations" / f"{name}.md").read_text("utf-8")
        found = list(steps(text))
        assert len(found) > 10 or name == "audit"
        assert len(found) == text.count("\n$ "), "a command that the reader of pages does not see"
        # Other ways to show a command would be read, and not run.
        assert "```sh" not in text
        assert "\n    kubectl" not in text.replace("\\\n    kubectl", "")
