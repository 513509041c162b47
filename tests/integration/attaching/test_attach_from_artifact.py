"""``attach --from REFERENCE``: attestations that are artifacts of their own; misuse of ``--from``; and waiting."""

from __future__ import annotations

import time

import pytest

from slsa_verifier_plugin.checking import attestation_origins as origins
from slsa_verifier_plugin.checking.status import Status
from slsa_verifier_plugin.errors import UsageError
from slsa_verifier_plugin.model.digest import Descriptor
from tests.support.attach_scene import Scene
from tests.support.command_line import cli
from tests.support.embedded_registry import EmbeddedRegistry
from tests.support.registry_storage import EMPTY_TYPE, image_manifest


def own_artifact(registry: EmbeddedRegistry, content: bytes, commit: str) -> str:
    """Push a summary as an artifact of its own, as some verifiers store them; return its reference."""
    name = "owner/source/source-vsa"
    config = registry.storage.put_blob(name, b"{}", EMPTY_TYPE)
    layer: Descriptor = registry.storage.put_blob(name, content, "application/vnd.in-toto+json")
    manifest = image_manifest(config, [layer], artifact_type="application/vnd.in-toto+json")
    registry.storage.put_manifest(name, manifest, tag=commit)
    return f"{registry.host}/{name}:{commit}"


def test_an_artifact_of_its_own_is_attached_verified_and_shown(scene: Scene) -> None:
    commit = "7" * 40
    reference = own_artifact(scene.registry, scene.bundle(commit), commit)
    done = cli("verify", "--bundle", reference, "--policy", scene.policy, "--plain-http")
    assert done.status == Status.ADMITTED, done
    assert f"attach IMAGE --from {reference}" in " ".join(done.out.split())
    shown = cli("inspect", reference, "--plain-http")
    assert (shown.status, "SLSA_SOURCE_LEVEL_3" in shown.out) == (Status.ADMITTED, True), shown
    assert "which no cluster finds" in " ".join(shown.out.split())
    image = scene.image("v1", revision=commit)
    done = scene.attach(image, "--from", reference)
    assert done.status == Status.ADMITTED, done
    assert cli("verify", image, "--policy", scene.policy, "--plain-http").status == Status.ADMITTED
    done = scene.attach(image, "--from", reference, "--commit", "8" * 40)
    assert (done.status, commit in done.err) == (Status.USAGE, True)


def test_what_is_no_artifact_with_attestations_is_refused(scene: Scene) -> None:
    image = scene.image("v1", revision="7" * 40)
    done = scene.attach(image, "--from", image)
    assert (done.status, "holds no Sigstore bundle" in done.err) == (Status.USAGE, True), done
    done = scene.attach(image, "--from", f"{scene.registry.host}/nothing/here:v1")
    assert (done.status, done.err.count("\n")) == (Status.UNDECIDED, 1)
    done = cli("verify", "--offline", "--bundle", image, "--policy", scene.policy)
    assert (done.status, "is in a registry" in done.err) == (Status.USAGE, True)
    done = cli("verify", "--bundle", "no-such-file.jsonl", "--policy", scene.policy)
    assert (done.status, "cannot be read" in done.err) == (Status.USAGE, True)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("file.jsonl", "--from", "notes"),
        ("file.jsonl", "--wait", "1m"),
        ("--from", "notes:"),
        ("--from", "notes", "--wait", "soon"),
        ("--from", "notes", "--wait", "7h"),
        ("--from", "notes", "--wait", "-1s"),
        ("--from", ""),
    ],
)
def test_misuse(scene: Scene, arguments: tuple[str, ...]) -> None:
    image = scene.image("v1", revision="7" * 40)
    done = scene.attach(image, *arguments)
    assert (done.status, done.err.count("\n")) == (Status.USAGE, 1), done


def test_waiting_looks_again_only_for_what_may_come() -> None:
    looks: list[float] = []

    def look(deadline: object) -> origins.Found:
        looks.append(time.monotonic())
        raise UsageError("wrong")

    with pytest.raises(UsageError):
        origins.patiently(look, 60.0, pause=lambda seconds: None)
    assert len(looks) == 1
