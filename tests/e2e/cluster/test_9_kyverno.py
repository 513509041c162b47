"""Kyverno's own code asks the same Ratify. Its command line takes 10 minutes to build: SLSA_E2E_KYVERNO=1 asks for it."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tests.e2e.cluster.builds import program
from tests.e2e.cluster.conftest import Say
from tests.e2e.cluster.lab import Lab
from tests.e2e.cluster.ratify import Setting

_SERVICE = "ratify.ratify-system"
_LOOPBACK_ALLOWED = "169.254.169.254/32"
"""In place of Kyverno's list of addresses it does not call, which has loopback: where Ratify is in this test."""


@pytest.fixture
def ratify_without_client_certificates(running_lab: Lab, setting: Setting, level_3: bytes) -> Lab:
    running_lab.prepare(replace(setting, arguments=("--ca-cert-file=",)), level_3)
    return running_lab


def _apply(lab: Lab, folder: Path, image: str) -> subprocess.CompletedProcess[str]:
    policy = folder / "policy.yaml"
    (thing,) = [one for one in lab.kustomize("kyverno") if one["kind"] == "ValidatingPolicy"]
    # the certificate of this run is for the name of the chart's Service
    policy.write_text(yaml.safe_dump(thing).replace(_SERVICE, "ratify.gatekeeper-system"))
    pod = folder / "pod.yaml"
    body = lab.pod(image)
    body["metadata"]["namespace"] = "default"
    pod.write_text(yaml.safe_dump(body))
    return subprocess.run(
        [
            str(program("kyverno")),
            *("apply", str(policy), "--resource", str(pod)),
            "--policy-report",
        ],
        env={
            "HOME": str(folder),
            "PATH": os.environ["PATH"],
            "FLAG_HTTP_BLOCKLIST": _LOOPBACK_ALLOWED,
            "SSL_CERT_FILE": str(lab.manifests / "gatekeeper" / "provider" / "ca.crt"),
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_kyverno_asks_ratify(
    ratify_without_client_certificates: Lab, tmp_path: Path, level_1: bytes, level_3: bytes, say: Say
) -> None:
    """Kyverno's ValidatingPolicy admits level 3, denies level 1 with the plugin's reason, and what Ratify does not know"""
    lab = ratify_without_client_certificates
    good = _apply(lab, tmp_path, lab.image("level-3", level_3))
    assert good.returncode == 0, good.stdout + good.stderr
    assert "pass: 1" in good.stdout
    bad = _apply(lab, tmp_path, lab.image("level-1", level_1))
    assert bad.returncode != 0
    assert "SLSA_SOURCE_LEVEL_1" in bad.stdout + bad.stderr
    bare = _apply(lab, tmp_path, lab.image("bare"))
    assert bare.returncode != 0
    lab.ratify.pause()
    try:
        away = _apply(lab, tmp_path, lab.image("level-3", level_3))
    finally:
        lab.ratify.resume()
        lab.wait_for_a_yes(level_3)
    assert away.returncode != 0
    say(next(line.strip() for line in bad.stdout.splitlines() if "SLSA_SOURCE_LEVEL_1" in line))
