"""``doctor``: each thing it looks at, well and ill, with a kubectl that says what the test tells it."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from slsa_verifier_plugin import __version__
from slsa_verifier_plugin.checking.status import Status
from slsa_verifier_plugin.cli import diagnosis
from slsa_verifier_plugin.cli.plugin_file import install
from slsa_verifier_plugin.resident.client import manage
from tests.support.command_line import ARTIFACT_TYPE, LEVEL_3, cli, parameters, verifier
from tests.support.embedded_registry import EmbeddedRegistry


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("SLSA_VERIFIER_DIR", str(tmp_path / "r"))
    monkeypatch.setenv("SLSA_VERIFIER_TUF_DIR", str(tmp_path / "tuf"))
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    return folder


def doctor(*arguments: str | Path) -> tuple[int, dict[str, list[dict[str, str]]]]:
    done = cli("doctor", *arguments, "--json")
    assert done.err == ""
    found: dict[str, list[dict[str, str]]] = {}
    for item in json.loads(done.out):
        found.setdefault(item["name"], []).append(item)
    return done.status, found


def test_a_bare_machine_is_not_ill(home: Path) -> None:
    status, found = doctor()
    assert status == Status.ADMITTED
    assert {name: item[0]["outcome"] for name, item in found.items()} == {
        "version": "passed",
        "plugin directory": "not checked",
        "resident verifier": "not checked",
        "trusted root": "warning",
        "producers": found["producers"][0]["outcome"],
        "registry": "not checked",
        "cluster": "not checked",
    }
    assert __version__ in found["version"][0]["message"]
    assert all(item[0]["remedy"] for name, item in found.items() if name not in ("version", "producers"))


def test_one_screen(home: Path) -> None:
    done = cli("doctor")
    assert done.out.startswith(f"✓ version            {__version__} (Python ")
    assert "! trusted root       public-good" in done.out
    assert "\n                     run 'slsa-verifier-plugin trust refresh'" in done.out
    assert len(done.out.splitlines()) <= 24


def test_the_plugin_directory(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "plugins"
    install(folder, {})
    assert doctor("--plugins-dir", folder)[1]["plugin directory"][0]["outcome"] == "passed"
    (folder / "slsa").write_text("#!/bin/sh\necho slsa-verifier-plugin 0.0.9\n")
    (folder / "slsla").unlink()
    status, found = doctor("--plugins-dir", folder)
    (item,) = found["plugin directory"]
    assert (status, item["outcome"]) == (Status.DENIED, "failed")
    assert item["message"] == f"{folder}: slsa is of version 0.0.9; slsla is missing or not executable"
    assert item["remedy"] == f"run 'slsa-verifier-plugin install --plugins-dir {folder}'"
    (folder / "slsa").write_text("#!/nonexistent\n")
    assert (
        "slsa is of version unknown" in doctor("--plugins-dir", folder)[1]["plugin directory"][0]["message"]
    )


@pytest.mark.parametrize(
    ("status", "outcome", "expected"),
    [
        (
            manage.ResidentStatus("/d", True, 7, {"version": "1", "latestErrors": []}),
            "passed",
            "process 7, version 1",
        ),
        (manage.ResidentStatus("/d", True, 7, {"latestErrors": ["old", "bad {}"]}), "warning", "bad ()"),
        (manage.ResidentStatus("/d", True, 7, None, "it does not answer"), "failed", "it does not answer"),
        (
            manage.ResidentStatus("/d", problem="a directory is not private"),
            "not checked",
            "a directory is not private",
        ),
    ],
)
def test_the_resident_verifier(
    home: Path, monkeypatch: pytest.MonkeyPatch, status: manage.ResidentStatus, outcome: str, expected: str
) -> None:
    monkeypatch.setattr(manage, "status", lambda environ: status)
    (item,) = doctor()[1]["resident verifier"]
    assert (item["outcome"], expected in item["message"]) == (outcome, True)


@pytest.mark.parametrize(("days", "outcome"), [(1, "passed"), (89, "passed"), (120, "warning")])
def test_the_age_of_the_trusted_root(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int, outcome: str
) -> None:
    from slsa_verifier_plugin.signatures import sources

    current = tmp_path / "copy" / "current"
    current.mkdir(parents=True)
    stamp = current / "timestamp.json"
    stamp.write_text("{}")
    os.utime(stamp, (time.time() - days * 86400,) * 2)
    repository = sources.RootRepository("https://tuf.example", b"", tmp_path / "copy")
    real = sources.repository_of
    monkeypatch.setattr(
        sources, "repository_of", lambda source, environ: real(source, environ) if _reading() else repository
    )
    (item,) = doctor()[1]["trusted root"]
    assert (item["outcome"], f"refreshed {days} days ago" in item["message"]) == (outcome, True)


def _reading() -> bool:
    """Return True while the trusted root itself is being read, which keeps its real place."""
    import inspect

    return any(frame.function == "read_root" for frame in inspect.stack())


def test_a_registry(home: Path) -> None:
    with EmbeddedRegistry() as registry:
        image = registry.push_image("team/app", "v1")
        registry.attach("team/app", image, ARTIFACT_TYPE, [LEVEL_3.read_bytes()])
        name = f"{registry.host}/team/app:v1"
        status, found = doctor(name, "--plain-http")
        assert (status, found["registry"][0]["outcome"]) == (Status.ADMITTED, "passed")
        assert f"the attestation of {name} was fetched in " in found["registry"][0]["message"]
        status, found = doctor(name.replace(":v1", ":v2"), "--plain-http")
    (item,) = found["registry"]
    assert (status, item["outcome"]) == (Status.DENIED, "failed")
    assert item["message"].startswith("manifest: ")
    assert "REGISTRY_NOT_FOUND" in item["remedy"]
    assert cli("doctor", "NO IMAGE").status == Status.USAGE


class Kubectl:
    """A kubectl that answers from a folder: ``KIND.json``, or what ``fails`` says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        program = folder / "bin" / "kubectl"
        program.parent.mkdir(parents=True)
        program.write_text(
            "#!/bin/sh\n"
            f'test "$1 $3 $4" = "get -o json" || exit 64\n'
            f"test -e {folder}/fails && {{ cat {folder}/fails >&2; exit 1; }}\n"
            f'cat {folder}/"$2".json 2>/dev/null && exit\n'
            'echo "error: the server doesn\'t have a resource type \\"$2\\"" >&2; exit 1\n'
        )
        program.chmod(0o755)

    def has(self, kind: str, *items: object) -> None:
        (found,) = [name for name in diagnosis.KINDS if name.startswith(kind)]
        (self.folder / f"{found}.json").write_text(
            json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
        )


@pytest.fixture
def kubectl(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kubectl:
    fake = Kubectl(tmp_path / "kubectl")
    monkeypatch.setenv("PATH", f"{fake.folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "config").write_text("")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    return fake


def webhook(policy: str) -> dict[str, Any]:
    hooks = [{"name": "validation.gatekeeper.sh", "failurePolicy": policy, "timeoutSeconds": 8}]
    kind = "ValidatingWebhookConfiguration"
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": "w"},
        "webhooks": hooks,
    }


def test_a_cluster_that_is_well(kubectl: Kubectl) -> None:
    for kind in ("stores", "policies", "providers", "constrainttemplates"):
        kubectl.has(kind)
    kubectl.has("verifiers", verifier(spec={"parameters": parameters(sourceBinding="annotation")}))
    kubectl.has("validatingwebhook", webhook("Fail"))
    status, found = doctor()
    assert (status, found["cluster"][0]["outcome"]) == (Status.ADMITTED, "passed")
    assert found["cluster"][0]["message"] == "1 ValidatingWebhookConfiguration, 1 Verifier"


def test_a_cluster_that_admits_too_much(kubectl: Kubectl) -> None:
    kubectl.has("verifiers", verifier())
    kubectl.has("validatingwebhook", webhook("Ignore"))
    status, found = doctor()
    outcomes = [(item["outcome"], item["message"][:40]) for item in found["cluster"]]
    assert status == Status.DENIED
    assert ("failed", '"validation.gatekeeper.sh" has failurePo') in outcomes
    assert ("warning", "sourceBinding is none: whoever may push ") in outcomes
    missing = [item for item in found["cluster"] if item["message"].startswith("the cluster knows no ")]
    assert {item["remedy"] for item in missing} == {"install Ratify there", "install Gatekeeper there"}


def test_a_cluster_without_a_verifier(kubectl: Kubectl) -> None:
    kubectl.has("verifiers")
    kubectl.has("validatingwebhook", webhook("Fail"))
    assert "there is no Verifier" in [item["message"] for item in doctor()[1]["cluster"]]


def test_a_cluster_that_does_not_answer(kubectl: Kubectl) -> None:
    (kubectl.folder / "fails").write_text("Unable to connect to the server: {token}\nmore\n")
    status, found = doctor()
    (item,) = found["cluster"]
    assert (status, item["outcome"]) == (Status.DENIED, "failed")
    assert ": Unable to connect to the server: (token); check the context" in item["message"]


def test_a_kubectl_that_hangs(kubectl: Kubectl, monkeypatch: pytest.MonkeyPatch) -> None:
    (kubectl.folder / "bin" / "kubectl").write_text("#!/bin/sh\nexec sleep 30\n")
    monkeypatch.setattr(diagnosis, "KUBECTL_SECONDS", 0.2)
    (item,) = doctor()[1]["cluster"]
    assert (item["outcome"], "no answer within 0.2 s" in item["message"]) == ("failed", True)


def test_kubectls_output_that_is_none(kubectl: Kubectl) -> None:
    for kind in diagnosis.KINDS:
        (kubectl.folder / f"{kind}.json").write_text("<html>")
    (item,) = doctor()[1]["cluster"]
    assert (item["outcome"], "cannot be read" in item["message"]) == ("failed", True)


def test_a_package_that_is_missing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "DEPENDENCIES", ("click", "no-such-package"))
    (item,) = doctor()[1]["version"]
    assert (item["outcome"], item["message"].endswith("missing: no-such-package")) == ("failed", True)
