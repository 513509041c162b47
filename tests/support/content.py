"""Content for registry tests: an image with one attestation, and what the tests need of it."""

from __future__ import annotations

import json
from dataclasses import dataclass

from slsa_verifier_plugin.model.digest import Descriptor
from slsa_verifier_plugin.registry.reference import Reference
from tests.support.embedded_registry import EmbeddedRegistry

ARTIFACT_TYPE = "slsla/attestation"
NOTE = b'{"line": 1}\n' * 2000
"""A blob of 24 kB."""


@dataclass(frozen=True)
class Pushed:
    """An image, the artifact that refers to it, and the artifact's blob."""

    image: Reference
    artifact: Descriptor
    blob: Descriptor
    content: bytes


def push(registry: EmbeddedRegistry, repository: str = "team/app", content: bytes = NOTE) -> Pushed:
    """Push an image with one attached artifact of one blob."""
    image = registry.push_image(repository, "1")
    artifact = registry.attach(repository, image, ARTIFACT_TYPE, [content])
    found = registry.storage.manifest(repository, str(artifact.digest))
    assert found is not None
    blob = Descriptor.parse(json.loads(found[1].content)["layers"][0])
    reference = Reference.parse(f"{registry.host}/{repository}:1").with_digest(image.digest)
    return Pushed(reference, artifact, blob, content)
