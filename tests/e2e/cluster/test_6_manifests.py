"""deploy/ as it is: every kustomization against the API server, and the template's own tests."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from tests.e2e.cluster import builds
from tests.e2e.cluster.builds import program
from tests.e2e.cluster.conftest import Say
from tests.e2e.cluster.lab import Lab
from tests.e2e.shared import REPOSITORY, shared

DEPLOY = REPOSITORY / "deploy"


def _kustomizations() -> list[Path]:
    folders = sorted(file.parent for file in DEPLOY.rglob("kustomization.yaml"))
    assert folders
    return folders


@pytest.mark.through("ratify")
def test_every_kustomization_applies(lab: Lab, tmp_path: Path, say: Say) -> None:
    """kubectl kustomize of every folder of deploy/ applies with --dry-run=server"""
    kagent = shared("data", "kagent", "kagent.dev_agents.crd.yaml")
    definitions = [f"--filename={file}" for file in (kagent, *builds.definitions())]
    lab.kubectl.run("apply", "--server-side", "--force-conflicts", *definitions)
    lab.kubectl.wait_for_definitions("agents.kagent.dev", "validatingpolicies.policies.kyverno.io")
    lab.kubectl.wait_for_definitions("certificates.cert-manager.io", "issuers.cert-manager.io")
    for namespace in ("kyverno", "ratify-system", "slsa-audit", "slsa-verifier"):
        lab.kubectl.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}])

    def kustomized(folder: Path) -> Path:
        file = tmp_path / f"{'-'.join(folder.relative_to(DEPLOY).parts)}.yaml"
        file.write_text(lab.kubectl.run("kustomize", str(folder)))
        return file

    folders = _kustomizations()
    with ThreadPoolExecutor(2) as pool:
        files = list(pool.map(kustomized, folders))
    # Nothing of a dry run is there for what comes after it: each folder stands on its own in one call for all.
    named = [f"--filename={file}" for file in files]
    outcome = lab.kubectl.attempt("apply", "--dry-run=server", "--validate=strict", *named)
    assert outcome.admitted, outcome.text
    counted = sum(file.read_text().count("\nkind: ") for file in files)
    assert outcome.text.count("(server dry run)") == counted, outcome.text
    say(f"{len(folders)} folders, {counted} objects")


@pytest.mark.through("ratify")
def test_manifests_outside_kustomizations_apply(lab: Lab, say: Say) -> None:
    """manifests that no kustomization names are none"""
    named = set()
    for folder in _kustomizations():
        kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
        named |= {(folder / name).resolve() for name in kustomization.get("resources", [])}
        generators = kustomization.get("configMapGenerator", []) + kustomization.get("secretGenerator", [])
        named |= {(folder / file).resolve() for one in generators for file in one.get("files", ())}
        named |= {
            (folder / patch["path"]).resolve()
            for patch in kustomization.get("patches", [])
            if "path" in patch
        }
    others = {"values.yaml", "values-image.yaml", "values-dynamic.yaml", "kustomization.yaml"}
    loose = {
        file.relative_to(DEPLOY)
        for file in DEPLOY.rglob("*.yaml")
        if file.resolve() not in named and file.name not in others and "test" not in file.parts
    }
    assert not loose
    assert lab.kubectl.exists("crd", "verifiers.config.ratify.deislabs.io")
    say(f"{len(named)} files")


@pytest.mark.through("ratify")
def test_kyverno_asks_either_in_the_same_words(lab: Lab, say: Say) -> None:
    """Kyverno's policy is the same with the provider as with Ratify, but for the address and its own namespace"""
    through, direct = (
        next(one for one in lab.kustomize(folder) if one["kind"] == "ValidatingPolicy")
        for folder in ("kyverno", "kyverno/provider")
    )
    text = yaml.safe_dump(direct, width=10000)
    address = "https://slsa-verifier.slsa-verifier/"
    assert address in text
    text = text.replace(address, "https://ratify.ratify-system:6001/").replace(
        "- slsa-verifier\n", "- ratify-system\n"
    )
    assert yaml.safe_load(text) == through
    (deployment,) = [one for one in lab.kustomize("kyverno/provider") if one["kind"] == "Deployment"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert "--any-client" in container["args"]
    assert not [one for one in container["args"] if one.startswith("--client-ca")]
    mounted = {one["name"] for one in container["volumeMounts"]}
    assert mounted == {one["name"] for one in deployment["spec"]["template"]["spec"]["volumes"]}
    say(address)


def test_gator_verifies_the_template(say: Say) -> None:
    """gator verify: the template's answers to good and broken providers"""
    script = DEPLOY / "gatekeeper" / "test" / "run.sh"
    done = subprocess.run(
        [str(script), str(program("gator"))], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    passed = done.stdout.count("--- PASS")
    assert passed > 40
    say(f"{passed} passed")


@pytest.mark.parametrize(
    ("line", "instead", "broken"),
    [
        ("not image in verified", "response_says_no(image)", "a-key-that-is-left-out-denies"),
        ("in {0, 200}", "in {0, 200, 500}", "an-answer-with-status-500-denies"),
        ('"initContainers", ', "", "init-containers-are-checked"),
        ("response[1].isSuccess == true", "response[1].isSuccess", "a-verdict-that-is-text-denies"),
        ("not says_yes(response)", "false", "a-yes-before-a-no-denies"),
        (
            "error[0] == image\n          }\n\n",
            "error[0] != image\n          }\n\n",
            "an-error-beside-a-yes-denies",
        ),
        ('operation == "UPDATE"', 'operation != "DELETE"', "a-creation-that-shows-an-old-object-is-checked"),
        ("count(present) == 0", "count(present) < 0", "a-kind-without-images-denies"),
        ("not about_one(entry)", "false", "odd-error-is-text-denies"),
        ('in ["responses", "errors"]', 'in ["responses"]', "odd-errors-null-denies"),
        ("count(system) == 0\n            some", "some", "odd-status-text-denies"),
        ("count(response) == 2", "count(response) > 1", "odd-response-with-more-denies"),
        ("`^[A-Za-z0-9][A-Za-z0-9._:/@+-]*$`", "`.*`", "a-namespace-before-the-image-denies"),
        ("in images - asked", "in images - images", "a-namespace-before-the-image-denies"),
    ],
)
def test_gator_notices_a_broken_template(
    tmp_path: Path, line: str, instead: str, broken: str, say: Say
) -> None:
    """gator verify fails for a template from which one check was taken"""
    source = DEPLOY / "gatekeeper" / "template" / "ratify-verification.yaml"
    text = source.read_text()
    assert line in text
    changed = text.replace(line, instead)
    if "response_says_no" in instead:
        helper = "response_says_no(image) if {\n some r in answer.responses\n r[0] == image\n"
        helper += " r[1].isSuccess == false\n}\n"
        indent = " " * 10
        changed += "\n" + "".join(f"{indent}{piece}\n" for piece in helper.splitlines())
    for folder in ("template", "test"):
        (tmp_path / folder).mkdir()
        for file in (DEPLOY / "gatekeeper" / folder).glob("*.*"):
            (tmp_path / folder / file.name).write_bytes(file.read_bytes())
    (tmp_path / "template" / source.name).write_text(changed)
    (tmp_path / "test" / "run.sh").chmod(0o755)
    objects = tmp_path / "test" / "objects"
    objects.symlink_to(DEPLOY / "gatekeeper" / "test" / "objects")
    done = subprocess.run(
        [str(tmp_path / "test" / "run.sh"), str(program("gator"))],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode != 0
    assert f"--- FAIL: {broken}" in done.stdout, done.stdout + done.stderr
    say(broken)
