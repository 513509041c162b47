"""A conformance case on disk, and what a registry must hold for it.

A case is a folder: ``README.md`` says why it is there, ``stdin.json`` is what the plugin reads (or ``stdin.raw``, byte for
byte), ``environment.json`` what differs in its environment, ``artifact.json`` which image and artifact the registry holds
and how it misbehaves, beside the blobs it names, and ``expected.json`` the answer. In ``stdin.json`` and
``environment.json`` stand placeholders: ``@REGISTRY@`` (host and port), ``@CASES@`` (the folder above the cases),
``@IMAGE@``, ``@ARTIFACT@`` (digests), ``@MEDIA_TYPE@`` and ``"@SIZE@"`` (type and bytes of the artifact's manifest) and
``@CACHE@`` (an empty folder).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPOSITORY = "conformance/app"
IMAGE_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
ARTIFACT_TYPE = "application/vnd.oci.artifact.manifest.v1+json"
SLSA = "slsla/attestation"
EMPTY = b"{}"

Json = dict[str, Any]


def digest_of(content: bytes) -> str:
    """Return the sha256 digest of ``content`` in its usual form."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def compact(value: Any) -> bytes:
    """Return ``value`` as JSON in the fewest bytes, in a stable order."""
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def descriptor(content: bytes, media_type: str, **more: Any) -> Json:
    """Return the descriptor of ``content``."""
    return {"mediaType": media_type, "digest": digest_of(content), "size": len(content), **more}


@dataclass
class Content:
    """What a registry holds: blobs, and manifests with their media types, by digest; and the listed referrers."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    image: str = ""
    artifact: str = ""
    artifact_descriptor: Json = field(default_factory=dict)

    def add_blob(self, content: bytes) -> None:
        """Hold ``content``."""
        self.blobs[digest_of(content)] = content

    def add_manifest(self, value: Json, media_type: str) -> Json:
        """Hold a manifest and return its descriptor."""
        content = compact(value)
        self.manifests[digest_of(content)] = (media_type, content)
        return descriptor(content, media_type)


def build_image(spec: Json, content: Content) -> Json:
    """Add the image that ``spec`` describes (``annotations``, ``labels``, ``platforms``) and return its descriptor."""
    if "platforms" not in spec:
        return _platform_image(spec, content)
    children = []
    for platform, child in spec["platforms"].items():
        os_name, _, architecture = platform.partition("/")
        children.append(
            {**_platform_image(child, content), "platform": {"os": os_name, "architecture": architecture}}
        )
    index: Json = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": children}
    if "annotations" in spec:
        index["annotations"] = spec["annotations"]
    return content.add_manifest(index, INDEX_TYPE)


def _platform_image(spec: Json, content: Content) -> Json:
    config: Json = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}
    if "labels" in spec:
        config["config"] = {"Labels": spec["labels"]}
    if "note" in spec:
        config["comment"] = spec["note"]
    body, layer = compact(config), b"a layer"
    content.add_blob(body)
    content.add_blob(layer)
    manifest: Json = {
        "schemaVersion": 2,
        "mediaType": IMAGE_TYPE,
        "config": descriptor(body, "application/vnd.oci.image.config.v1+json"),
        "layers": [descriptor(layer, "application/vnd.oci.image.layer.v1.tar")],
    }
    if "annotations" in spec:
        manifest["annotations"] = spec["annotations"]
    return content.add_manifest(manifest, IMAGE_TYPE)


def build_artifact(spec: Json, image: Json, folder: dict[str, bytes], content: Content) -> Json:
    """Add the artifact that ``spec`` describes and return its descriptor as a referrers list would have it.

    Args:
        spec: ``kind`` (image, artifact or index), ``subject`` (image, other or none), ``blobs`` (each with ``file``, and
            what its descriptor lies about), ``artifactType``, ``manifest`` (properties set at last), ``descriptor`` (what
            the caller is told otherwise).
        image: the image's descriptor.
        folder: the case's blob files by name.
        content: what the registry holds.
    """
    kind = spec.get("kind", "image")
    blobs = []
    for blob in spec["blobs"]:
        body = folder[blob["file"]]
        content.add_blob(body)
        lies = {key: value for key, value in blob.items() if key not in ("file", "held")}
        blobs.append({**descriptor(body, blob.get("mediaType", "application/vnd.in-toto+json")), **lies})
        if "digest" in blob and blob.get("held", True):
            content.blobs[blob["digest"]] = body
    artifact_type = spec.get("artifactType", SLSA)
    other = digest_of(b"another image")
    subject = {"image": image, "other": {**image, "digest": other}, "none": None}[
        spec.get("subject", "image")
    ]
    subject = {key: value for key, value in subject.items() if key != "platform"} if subject else None
    manifest: Json
    if kind == "artifact":
        media_type = ARTIFACT_TYPE
        manifest = {"mediaType": media_type, "artifactType": artifact_type, "blobs": blobs}
    elif kind == "index":
        media_type = INDEX_TYPE
        manifest = {
            "schemaVersion": 2,
            "mediaType": media_type,
            "artifactType": artifact_type,
            "manifests": [],
        }
    else:
        media_type = IMAGE_TYPE
        content.add_blob(EMPTY)
        manifest = {
            "schemaVersion": 2,
            "mediaType": media_type,
            "artifactType": artifact_type,
            "config": descriptor(EMPTY, "application/vnd.oci.empty.v1+json"),
            "layers": blobs,
        }
    if subject:
        manifest["subject"] = subject
    manifest.update(spec.get("manifest", {}))
    manifest = {key: value for key, value in manifest.items() if value is not None}
    told = {**content.add_manifest(manifest, media_type), "artifactType": artifact_type}
    return {**told, **spec.get("descriptor", {})}


def build(spec: Json, folder: dict[str, bytes]) -> Content:
    """Return all that a registry must hold for the case that ``artifact.json`` (``spec``) describes."""
    content = Content()
    image = build_image(spec.get("image", {}), content)
    content.image = image["digest"]
    content.artifact_descriptor = build_artifact(spec["artifact"], image, folder, content)
    content.artifact = content.artifact_descriptor["digest"]
    for referrer in spec.get("referrers", []):
        build_artifact(referrer, image, folder, content)
    return content


def image_digest(spec: Json) -> str:
    """Return the digest of the image that ``spec`` describes, for statements that are about it."""
    digest: str = build_image(spec, Content())["digest"]
    return digest


def read_case(folder: Path) -> tuple[Json, dict[str, bytes]]:
    """Return a case's ``artifact.json`` and its blob files by name."""
    spec: Json = json.loads((folder / "artifact.json").read_bytes())
    named = {
        blob["file"] for item in (spec["artifact"], *spec.get("referrers", [])) for blob in item["blobs"]
    }
    return spec, {name: _blob(folder, name) for name in named}


def _blob(folder: Path, name: str) -> bytes:
    """Return a blob; a file ``NAME.repeat`` holds a count, a space and a text to repeat, for blobs too large to keep."""
    recipe = folder / f"{name}.repeat"
    if not recipe.exists():
        return (folder / name).read_bytes()
    count, _, text = recipe.read_bytes().partition(b" ")
    return text * int(count)
