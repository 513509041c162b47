"""Makes the demonstration's images, attestations and Verifier resource, and puts them into its own registry."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slsa_verifier_plugin.demo.demo_registry import MANIFEST_TYPE, DemoRegistry, Made
from slsa_verifier_plugin.errors import Reason
from slsa_verifier_plugin.model.digest import Descriptor, Digest
from slsa_verifier_plugin.policy.carried import carried

ARTIFACT_TYPE = "slsla/attestation"
VERIFIER = "slsla"
EXPECTED_LEVEL = "SLSA_SOURCE_LEVEL_2"
SOURCE = "git+https://github.com/example/source-demo"
ROOT_FILE = "trusted_root.json"
REPOSITORY = "demo/app"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_EMPTY = "application/vnd.oci.empty.v1+json"
_BUNDLE = "application/vnd.dev.sigstore.bundle+json"
_IMAGES = {"level-1": Reason.LEVEL_TOO_LOW, "level-3": Reason.VERIFIED}
"""Tag, which names the attestation's file too, and what must become of its image."""
UNATTESTED = "unattested"
"""The tag of an image that nothing is attached to."""


@dataclass(frozen=True, slots=True)
class Piece:
    """An image and what is attached to it, if anything; in every registry the same to the byte."""

    tag: str
    expected: Reason
    image: Made
    artifact: Made | None


@dataclass(frozen=True, slots=True)
class Exhibit:
    """One image with what is attached to it. ``expected`` is the reason of the verdict that must become of it."""

    tag: str
    image: str
    artifact: Descriptor
    expected: Reason

    @property
    def admit(self) -> bool:
        """True where the image must be admitted."""
        return self.expected is Reason.VERIFIED

    def meets(self, admitted: bool, reason: object) -> bool:
        """Return True for the right verdict with the right reason: one that is denied for want of a network shows nothing."""
        return admitted is self.admit and reason == self.expected


@dataclass(frozen=True, slots=True)
class Scene:
    """What is shown: the images, and the parameters of the Verifier that judges them."""

    exhibits: tuple[Exhibit, ...]
    parameters: Mapping[str, Any]


def pieces() -> tuple[Piece, ...]:
    """Return the images with their attestations, and last one that has none."""
    made = []
    # The denied one first: it is what the plugin is for.
    for tag, expected in _IMAGES.items():
        image = _image(tag)
        bundles = _data(f"{tag}.intoto.jsonl")
        # As "oras attach" makes it, but for the time: what is pushed twice is the same artifact.
        subject = {"artifactType": ARTIFACT_TYPE, "subject": image.descriptor.to_json()}
        # An empty configuration (OCI image specification 1.1, "Guidance for an Empty Descriptor").
        artifact = _made({_EMPTY: b"{}", _BUNDLE: bundles}, subject)
        made.append(Piece(tag, expected, image, artifact))
    return (*made, Piece(UNATTESTED, Reason.NO_ATTESTATION, _image(UNATTESTED), None))


def trusted_root() -> bytes:
    """Return the trusted root of the Sigstore that signed the attestations; its private keys are public."""
    return _data(ROOT_FILE)


def prepare(registry: DemoRegistry, folder: Path) -> Scene:
    """Give the registry the images that have attestations, with them, and return what is to be shown.

    Args:
        registry: where they are to be had.
        folder: gets a copy of the trusted root, so that it has a path whatever this package is installed as.
    """
    root = folder / ROOT_FILE
    # The package may be inside a zip file: a trusted root in a policy needs a path.
    root.write_bytes(trusted_root())
    exhibits = []
    for piece in pieces():
        if piece.artifact is not None:
            registry.add(piece.image, piece.tag)
            registry.add(piece.artifact)
            image = f"{registry.host}/{REPOSITORY}@{piece.image.descriptor.digest}"
            exhibits.append(Exhibit(piece.tag, image, piece.artifact.descriptor, piece.expected))
    parameters = {
        "expectedVerifiedLevels": [EXPECTED_LEVEL],
        "expectedResourceUri": SOURCE,
        "trustedRoot": {"path": str(root)},
        # A busy machine may take longer than an admission may.
        "timeout": "30s",
    }
    return Scene(tuple(exhibits), parameters)


def _image(tag: str) -> Made:
    """Return a small image whose content is its own name: its digest is what the attestation is about."""
    name, packed = f"{REPOSITORY}:{tag}\n".encode(), io.BytesIO()
    # A layer that a node can unpack, or a Pod that was admitted would end with an error that looks like a denial.
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        # Its time stays 0, so that the layer is the same to the byte wherever it is made.
        entry = tarfile.TarInfo("slsa-demo")
        entry.size = len(name)
        archive.addfile(entry, io.BytesIO(name))
    layer = packed.getvalue()
    rootfs = {"type": "layers", "diff_ids": [str(Digest.of(layer))]}
    config = {"architecture": "amd64", "os": "linux", "rootfs": rootfs}
    return _made({_CONFIG: json.dumps(config).encode(), _LAYER: layer}, {})


def _made(blobs: Mapping[str, bytes], more: Mapping[str, Any]) -> Made:
    """Return an image manifest (OCI image specification 1.1) of a configuration and a layer, by their media types."""
    config, layer = (
        Descriptor(kind, Digest.of(content), len(content)).to_json() for kind, content in blobs.items()
    )
    parts = {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, **more, "config": config, "layers": [layer]}
    # Always written in the same way: the digest is what the attestation is about.
    manifest = json.dumps(parts, separators=(",", ":")).encode()
    return Made(manifest, tuple(blobs.values()), str(more.get("artifactType", "")))


def verifier_resource(name: str = VERIFIER, root: str = ROOT_FILE) -> str:
    """Return the Verifier.

    Args:
        name: its own.
        root: path of the trusted root; as it is by default for a file beside it, for use with the command line.
    """
    facts = {"type": VERIFIER, "artifact_type": ARTIFACT_TYPE, "level": EXPECTED_LEVEL, "source": SOURCE}
    return _data("verifier.yaml").decode().format(name=name, root=root, **facts)


def policy_resource() -> str:
    """Return the Policy: one attestation of the Verifier's type is required, and one that passes suffices."""
    return _data("policy.yaml").decode().format(artifact_type=ARTIFACT_TYPE)


def provider_resources() -> str:
    """Return all that a provider needs to judge the images: the Verifier, and a Policy and a Store for this registry."""
    return "---\n".join((verifier_resource(), policy_resource(), _data("store.yaml").decode()))


def _data(name: str) -> bytes:
    return carried("slsa_verifier_plugin.demo.data", name)
