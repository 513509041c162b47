"""A node decides as ``verify`` does: indexes, rules of any and all, types that a Policy requires, and in the same words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from slsa_verifier_plugin.model.digest import Descriptor
from tests.support.command_line import ARTIFACT_TYPE, LEVEL_1, LEVEL_3, cli, verifier, write_yaml
from tests.support.embedded_registry import EmbeddedRegistry
from tests.support.node import Node, Pulled
from tests.support.registry_storage import INDEX_TYPE, to_json

REPOSITORY = "team/app"
STORE = {
    "apiVersion": "config.ratify.deislabs.io/v1beta1",
    "kind": "Store",
    "metadata": {"name": "store-oras"},
    "spec": {"name": "oras", "parameters": {"useHttp": True}},
}


@pytest.fixture(params=[True, False], ids=["referrers-api", "tag-fallback"])
def registry(request: pytest.FixtureRequest) -> Iterator[EmbeddedRegistry]:
    with EmbeddedRegistry(referrers_api=request.param) as running:
        yield running


def put_rules(node: Node, **rules: str) -> None:
    write_yaml(
        node.policies / "policy.yaml",
        {
            "apiVersion": "config.ratify.deislabs.io/v1beta1",
            "kind": "Policy",
            "metadata": {"name": "ratify-policy"},
            "spec": {"type": "config-policy", "parameters": {"artifactVerificationPolicies": rules}},
        },
    )


def push(registry: EmbeddedRegistry, tag: str, *notes: Path) -> Descriptor:
    image = registry.push_image(REPOSITORY, tag)
    for note in notes:
        registry.attach(REPOSITORY, image, ARTIFACT_TYPE, [note.read_bytes()])
    return image


def pull(node: Node, registry: EmbeddedRegistry, image: Descriptor) -> Pulled:
    return node.pull(f"{registry.host}/{REPOSITORY}:v1", str(image.digest))


def test_the_index_is_asked_about_and_not_its_platforms(node: Node, registry: EmbeddedRegistry) -> None:
    platform = registry.push_image(REPOSITORY, "amd64")
    child = {**to_json(platform), "platform": {"os": "linux", "architecture": "amd64"}}
    content = json.dumps({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [child]}).encode()
    index = registry.storage.put_manifest(REPOSITORY, content, INDEX_TYPE, "multi")
    registry.attach(REPOSITORY, platform, ARTIFACT_TYPE, [LEVEL_3.read_bytes()])
    assert pull(node, registry, platform).is_allowed
    blocked = pull(node, registry, index)
    assert not blocked.is_allowed
    first, note = blocked.stdout.splitlines()
    assert first.endswith("(NO_ATTESTATION)")
    assert "the attestation hangs on the manifest for linux/amd64" in note
    registry.attach(REPOSITORY, index, ARTIFACT_TYPE, [LEVEL_3.read_bytes()])
    assert pull(node, registry, index).is_allowed


def test_any_and_all(node: Node, registry: EmbeddedRegistry) -> None:
    both = push(registry, "both", LEVEL_1, LEVEL_3)
    # Ratify's default is all.
    assert not pull(node, registry, both).is_allowed
    put_rules(node, **{ARTIFACT_TYPE: "any"})
    assert pull(node, registry, both).is_allowed
    assert not pull(node, registry, push(registry, "low", LEVEL_1, LEVEL_1)).is_allowed
    put_rules(node, **{ARTIFACT_TYPE: "all"})
    assert not pull(node, registry, both).is_allowed
    put_rules(node, **{ARTIFACT_TYPE: "most"})
    assert "the policies cannot be used" in pull(node, registry, both).stdout


def test_a_type_that_the_policy_requires_and_nobody_here_verifies(
    node: Node, registry: EmbeddedRegistry
) -> None:
    """``verify`` calls that undecided; a node has nobody else to ask."""
    image = push(registry, "good", LEVEL_3)
    put_rules(node, **{ARTIFACT_TYPE: "any", "application/vnd.cncf.notary.signature": "any"})
    blocked = pull(node, registry, image)
    assert not blocked.is_allowed
    assert "application/vnd.cncf.notary.signature" in blocked.stdout


def test_the_words_are_those_of_verify(node: Node, registry: EmbeddedRegistry, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    write_yaml(policy, verifier())
    images = [push(registry, "one", LEVEL_1), push(registry, "three", LEVEL_3), push(registry, "none")]
    for image in images:
        name = f"{registry.host}/{REPOSITORY}:v1@{image.digest}"
        done = cli("verify", name, "--policy", policy, "--plain-http", "--json")
        (report,) = json.loads(done.out)["images"]
        pulled = pull(node, registry, image)
        assert pulled.is_allowed == (report["decision"] == "admitted")
        assert report["message"].rstrip(".") in pulled.stdout
        if not pulled.is_allowed:
            assert pulled.stdout.splitlines()[0].endswith(f"({report['reason']})")


def test_resources_in_several_files_and_two_of_a_kind(node: Node, registry: EmbeddedRegistry) -> None:
    image = push(registry, "good", LEVEL_3)
    put_rules(node, default="all")
    assert pull(node, registry, image).is_allowed
    # Which of two decides would be chance.
    write_yaml(node.policies / "other.yaml", verifier("other", level=1))
    assert "for the same artifacts" in pull(node, registry, image).stdout
    (node.policies / "other.yaml").unlink()
    write_yaml(node.policies / "store2.yaml", {**STORE, "metadata": {"name": "another"}})
    assert "a second Store" in pull(node, registry, image).stdout
    (node.policies / "store2.yaml").unlink()
    node.put("notes.txt", "{ not read")
    node.put(".hidden.yaml", "{ not read")
    assert pull(node, registry, image).is_allowed
