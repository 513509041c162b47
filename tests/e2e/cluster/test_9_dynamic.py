"""The plugin as the artifact that Ratify's own image downloads."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.e2e.cluster.conftest import Say
from tests.e2e.cluster.kube import Object
from tests.e2e.cluster.lab import Lab
from tests.e2e.cluster.pki import Authority
from tests.e2e.cluster.ratify import Setting


@pytest.fixture
def artifact(lab: Lab, plugin: Path, registry_authority: Authority) -> str:
    """The plugin, pushed by the project's own script to Debian's docker-registry over TLS, as dynamic plugins need it."""
    registry = lab.start_tls_registry(registry_authority)
    script = lab.manifests / "image" / "push-artifact.sh"
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(lab.oras.folder),
        "PLUGIN": str(plugin),
        "ORAS": str(lab.programs["oras"]),
        "SSL_CERT_FILE": str(lab.work / "plugin-registry" / "ca.crt"),
    }
    pushed = subprocess.run(
        [str(script), f"{registry}/slsa-verifier-plugin:1"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert pushed.returncode == 0, pushed.stderr
    return pushed.stdout.strip()


@pytest.mark.through("ratify")
def test_ratify_downloads_the_plugin(
    lab: Lab, plugin: Path, artifact: str, level_1: bytes, level_3: bytes, say: Say
) -> None:
    """Ratify's own image downloads the plugin from a registry and verifies with it"""
    before = lab.processes.log("ratify").read_text().count("downloaded verifier plugin")
    lab.ratify.start(Setting(lab.base_image, {"RATIFY_EXPERIMENTAL_DYNAMIC_PLUGINS": "1"}))
    assert not list(lab.ratify.plugins.iterdir())

    def from_registry(thing: Object) -> None:
        if thing["kind"] == "Verifier":
            thing["spec"]["source"]["artifact"] = artifact

    lab.apply("ratify/dynamic", change=from_registry)
    # Its own report on the first download makes it look at the Verifier, and so download, once more; in place.
    log = lab.processes.log("ratify")
    lab.processes.wait_until(
        lambda: log.read_text().count("downloaded verifier plugin") >= before + 2,
        "ratify",
        "it has downloaded twice",
    )
    (downloaded,) = lab.ratify.plugins.iterdir()
    assert downloaded.read_bytes() == plugin.read_bytes()
    lab.wait_for_a_yes(level_3)
    denied = lab.run(lab.image("level-1", level_1))
    assert not denied.admitted
    assert "SLSA_SOURCE_LEVEL_1" in denied.text
    admitted = lab.run(lab.image("level-3", level_3))
    assert admitted.admitted, admitted.text
    say(f"{artifact} became {downloaded.name}; level 1 denied, level 3 admitted")
