"""The demonstration's images, attestations and Verifier resource, in a registry of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from slsa_verifier_plugin.demo.demo_registry import DemoRegistry, fields_of
from slsa_verifier_plugin.model.digest import Descriptor

ARTIFACT_TYPE = "slsla/attestation"
VERIFIER = "slsla"
EXPECTED_LEVEL = "SLSA_SOURCE_LEVEL_2"
SOURCE = "git+https://github.com/example/source-demo"
ROOT_FILE = "trusted_root.json"
REPOSITORY = "demo/app"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_EMPTY = "application/vnd.oci.empty.v1+json"
_BUNDLE = "application/vnd.dev.sigstore.bundle+json"
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


def prepare(registry: DemoRegistry, folder: Path) -> Scene:
    """Give the registry the images with their attestations, and return what is to be shown.

    Args:
        registry: where they are to be had.
        folder: gets a copy of the trusted root, so that it has a path whatever this package is installed as.
    """
    data = resources.files("slsa_verifier_plugin.demo.data")
    root = folder / ROOT_FILE
    # The package may be inside a zip file: a trusted root in a policy needs a path.
    root.write_bytes(data.joinpath(ROOT_FILE).read_bytes())
    exhibits = []
    for tag, admit in _IMAGES.items():
        image = _add_image(registry, tag)
        artifact = _attach(registry, image, data.joinpath(f"{tag}.intoto.jsonl").read_bytes())
        exhibits.append(Exhibit(tag, f"{registry.host}/{REPOSITORY}@{image.digest}", artifact, admit))
    parameters = {
        "expectedVerifiedLevels": [EXPECTED_LEVEL],
        "expectedResourceUri": SOURCE,
        "trustedRoot": {"path": str(root)},
        # A busy machine may take longer than an admission may.
        "timeout": "30s",
    }
    return Scene(tuple(exhibits), parameters)


def _add_image(registry: DemoRegistry, tag: str) -> Descriptor:
    """Add a small image whose content is its own name: its digest is what the attestation is about."""
    # As small as clients accept: a configuration and one layer, of the image specification's types.
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}
    described = registry.add_blob(json.dumps(config).encode(), _CONFIG)
    # A layer that says what it is of; nothing unpacks it.
    layer = registry.add_blob(f"{REPOSITORY}:{tag}\n".encode(), _LAYER)
    return registry.add_manifest(_manifest(described, layer), tag)


def _attach(registry: DemoRegistry, image: Descriptor, bundles: bytes) -> Descriptor:
    """Add an artifact that refers to ``image``, as ``oras attach`` makes it."""
    config, layer = registry.add_blob(b"{}", _EMPTY), registry.add_blob(bundles, _BUNDLE)
    return registry.add_manifest(_manifest(config, layer, ARTIFACT_TYPE) | {"subject": fields_of(image)})


def _manifest(config: Descriptor, layer: Descriptor, artifact_type: str = "") -> dict[str, Any]:
    """Return an image manifest (OCI image specification 1.1)."""
    kind = {"artifactType": artifact_type} if artifact_type else {}
    parts = {"config": fields_of(config), "layers": [fields_of(layer)]}
    return {"schemaVersion": 2, "mediaType": _MANIFEST, **kind, **parts}


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


def provider_resources() -> str:
    """Return all that a provider needs to judge the images: the Verifier, and a Policy and a Store for this registry."""
    return (
        f"{verifier_resource()}"
        "---\n"
        "apiVersion: config.ratify.deislabs.io/v1beta1\n"
        "kind: Policy\n"
        "metadata:\n"
        "  name: ratify-policy\n"
        "spec:\n"
        "  type: config-policy\n"
        "  parameters:\n"
        "    artifactVerificationPolicies:\n"
        f"      {ARTIFACT_TYPE}: any\n"
        "---\n"
        "apiVersion: config.ratify.deislabs.io/v1beta1\n"
        "kind: Store\n"
        "metadata:\n"
        "  name: store-oras\n"
        "spec:\n"
        "  name: oras\n"
        "  parameters:\n"
        "    useHttp: true\n"
        "    cacheEnabled: true\n"
    )
