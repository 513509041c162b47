"""The command line on real registries: it says what Ratify would say, and ends with the matching status."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from tests.e2e import plugin
from tests.e2e.conftest import DEMO, NOTES, clean_environment
from tests.e2e.peers import peer
from tests.e2e.servers import Registry, free_address
from tests.e2e.shared import REPOSITORY, demo_note

ADMITTED, DENIED, USAGE, UNDECIDED = 0, 1, 2, 3
POLICY = REPOSITORY / "deploy" / "ratify" / "demo" / "verifier-slsa.yaml"
LEVEL_3 = ("fcf594d",)


def verify(
    folder: Path, *arguments: str | Path, policy: Path = POLICY, wrapper: Sequence[str] = ()
) -> tuple[int, str]:
    done = plugin.run(
        "verify",
        "--policy",
        policy,
        *arguments,
        environment=clean_environment(folder),
        wrapper=wrapper,
    )
    assert b"Traceback" not in done.stderr
    return done.returncode, done.stdout.decode() + done.stderr.decode()


def test_policy_file_is_that_of_the_demo() -> None:
    """The file expects the workflow's current id as well; ``DEMO`` is as it was before the workflow moved, and must hold, too."""
    verifiers = ["https://github.com/slsa-framework/actions", DEMO["expectedVerifierId"]]
    parameters = yaml.safe_load(POLICY.read_text())["spec"]["parameters"]
    assert parameters == {**DEMO, "expectedVerifierId": verifiers}


@pytest.mark.parametrize("commit", NOTES)
def test_verify(tmp_path: Path, registry: Registry, demo_images: dict[str, str], commit: str) -> None:
    status, told = verify(tmp_path, "--plain-http", demo_images[commit])
    if registry.artifact_type != "slsla/attestation":
        # Ratify finds no attestation there and denies (test_ratify.py).
        assert (status, "NO_ATTESTATION" in told) == (DENIED, True), told
        return
    assert status == (ADMITTED if commit in LEVEL_3 else DENIED), told
    assert ("LEVEL_TOO_LOW" in told) == (status == DENIED)


def test_worst_of_several_images(tmp_path: Path, demo_images: dict[str, str]) -> None:
    assert verify(tmp_path, "--plain-http", *demo_images.values())[0] == DENIED


def test_registry_that_is_down(tmp_path: Path) -> None:
    status, told = verify(tmp_path, "--plain-http", f"{free_address()}/app:v1")
    assert status == UNDECIDED, told


def test_loopback_needs_no_option(tmp_path: Path, registry: Registry, demo_images: dict[str, str]) -> None:
    """These registries speak plain HTTP on loopback, where crane and cosign speak it by themselves, too."""
    status, told = verify(tmp_path, demo_images["fcf594d"])
    found = registry.artifact_type == "slsla/attestation"
    assert status == (ADMITTED if found else DENIED), (registry.kind, told)


def test_misspelt_parameter(tmp_path: Path, demo_images: dict[str, str]) -> None:
    policy = tmp_path / "verifier.yaml"
    policy.write_text(POLICY.read_text().replace("expectedVerifiedLevels", "expectedVerifiedLevel"))
    status, told = verify(tmp_path, "--plain-http", demo_images["fcf594d"], policy=policy)
    assert status == USAGE
    assert "expectedVerifiedLevels" in told


@pytest.mark.parametrize("commit", NOTES)
def test_without_any_network(tmp_path: Path, commit: str) -> None:
    """In an empty network namespace, where not even loopback is up, nothing is missed."""
    namespace = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--net", "--map-root-user"]
    status, told = verify(tmp_path, "--bundle", demo_note(commit), wrapper=namespace)
    assert status == (ADMITTED if commit in LEVEL_3 else DENIED), told


def test_demo_through_real_ratify(tmp_path: Path) -> None:
    done = plugin.run("demo", "--ratify", peer("ratify"), "--json", environment=clean_environment(tmp_path))
    assert done.returncode == 0, done
    shown = json.loads(done.stdout)
    assert shown["ratify"] == str(peer("ratify"))
    assert sorted(image["decision"] for image in shown["images"]) == ["admitted", "denied"]
    assert all(image["result"]["verifierName"] == "slsla" for image in shown["images"])
