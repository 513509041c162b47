"""The demonstration's images, attestations and Verifier resource, in a registry of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from slsa_verifier_plugin.demo.demo_registry import EmbeddedRegistry
from slsa_verifier_plugin.model.digest import Descriptor

ARTIFACT_TYPE = "slsla/attestation"
VERIFIER = "slsla"
EXPECTED_LEVEL = "SLSA_SOURCE_LEVEL_2"
SOURCE = "git+https://github.com/example/source-demo"
ROOT_FILE = "trusted_root.json"
_REPOSITORY = "demo/app"
_IMAGES = {"level-1": False, "level-3": True}
"""Tag, which names the attestation's file too, and whether its image is to be admitted."""


@dataclass(frozen=True, slots=True)
class Exhibit:
    """One image with what is attached to it. ``admit`` is what must become of it."""

    tag: str
    image: str
    artifact: Descriptor
    admit: bool


@dataclass(frozen=True, slots=True)
class Scene:
    """What is shown: the images, and the parameters of the Verifier that judges them."""

    exhibits: tuple[Exhibit, ...]
    parameters: Mapping[str, Any]


def prepare(registry: EmbeddedRegistry, folder: Path) -> Scene:
    """Push the images with their attestations and return what is to be shown.

    Args:
        registry: a running one.
        folder: gets a copy of the trusted root, so that it has a path whatever this package is installed as.
    """
    data = resources.files("slsa_verifier_plugin.demo.data")
    root = folder / ROOT_FILE
    root.write_bytes(data.joinpath(ROOT_FILE).read_bytes())
    exhibits = []
    for tag, admit in _IMAGES.items():
        image = registry.push_image(_REPOSITORY, tag)
        bundles = data.joinpath(f"{tag}.intoto.jsonl").read_bytes()
        artifact = registry.attach(_REPOSITORY, image, ARTIFACT_TYPE, [bundles])
        exhibits.append(Exhibit(tag, f"{registry.host}/{_REPOSITORY}@{image.digest}", artifact, admit))
    parameters = {
        "expectedVerifiedLevels": [EXPECTED_LEVEL],
        "expectedResourceUri": SOURCE,
        "trustedRoot": {"path": str(root)},
        # A busy machine may take longer than an admission may.
        "timeout": "30s",
    }
    return Scene(tuple(exhibits), parameters)


def verifier_resource() -> str:
    """Return the Verifier as a file beside the trusted root; the path in it is relative, for use with the command line."""
    return (
        "apiVersion: config.ratify.deislabs.io/v1beta1\n"
        "kind: Verifier\n"
        "metadata:\n"
        f"  name: {VERIFIER}\n"
        "spec:\n"
        f"  name: {VERIFIER}\n"
        f"  artifactTypes: {ARTIFACT_TYPE}\n"
        "  parameters:\n"
        f"    expectedVerifiedLevels: [{EXPECTED_LEVEL}]\n"
        f"    expectedResourceUri: {SOURCE}\n"
        "    trustedRoot:\n"
        f"      path: {ROOT_FILE}\n"
    )
