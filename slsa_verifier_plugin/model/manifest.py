"""Manifests (OCI image specification 1.1 "Image Manifest", "Image Index"; ORAS artifact manifest 1.0-rc2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from slsa_verifier_plugin.errors import ArtifactError, Reason
from slsa_verifier_plugin.members import text_at
from slsa_verifier_plugin.model.digest import Descriptor, annotations_of
from slsa_verifier_plugin.strict_json import JsonError, loads
from slsa_verifier_plugin.text import quoted

# The OCI type, and Docker's from before it (schema 2).
IMAGE_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
INDEX_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
ARTIFACT_TYPES = (
    "application/vnd.oci.artifact.manifest.v1+json",
    "application/vnd.cncf.oras.artifact.manifest.v1+json",
)
# Each blob may be a request, each child of an index a platform to look at.
MAX_BLOBS = 1024
MAX_MANIFESTS = 1024


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest: its kind (``image``, ``index`` or ``artifact``), what it holds and what it hangs on.

    ``blobs`` are an image's layers or an artifact's blobs, ``manifests`` an index's children.
    """

    kind: str
    artifact_type: str
    blobs: tuple[Descriptor, ...]
    manifests: tuple[Descriptor, ...]
    config: Descriptor | None
    subject: Descriptor | None
    annotations: Mapping[str, str]


def parse_manifest(content: bytes, media_type: str) -> Manifest:
    """Return the manifest in ``content``.

    Args:
        content: the manifest's bytes, whose digest has been checked.
        media_type: the media type its descriptor or the registry gives; the manifest's own, if any, must agree.

    Raises:
        ArtifactError: not a manifest, or one whose type and content disagree; ``LIMIT_EXCEEDED`` for too many blobs.
    """
    try:
        value = loads(content)
    except JsonError as error:
        raise ArtifactError(f"the manifest is not JSON with one meaning: {error}") from error
    if not isinstance(value, dict):
        raise ArtifactError("the manifest is not a JSON object")
    # OCI image specification 1.1: mediaType should be there, and must agree. What differs could be read as two kinds.
    own = value.get("mediaType", media_type)
    if own != media_type:
        raise ArtifactError(
            f"the manifest calls itself {quoted(own)}, its descriptor says {quoted(media_type)}"
        )
    # By the type that its descriptor gives, which is covered by a digest or was asked for.
    kind = _kind(media_type, value)
    config = Descriptor.parse(value["config"]) if "config" in value else None
    return Manifest(
        kind=kind,
        # OCI image specification 1.1, "artifactType": where it is missing, the config's media type takes its place.
        artifact_type=text_at(value, "artifactType") or (config.media_type if config else ""),
        blobs=_descriptors(value, {"image": "layers", "artifact": "blobs"}.get(kind), MAX_BLOBS),
        manifests=_descriptors(value, "manifests" if kind == "index" else None, MAX_MANIFESTS),
        config=config,
        subject=Descriptor.parse(value["subject"]) if value.get("subject") is not None else None,
        annotations=annotations_of(value, "the manifest"),
    )


def _kind(media_type: str, value: Mapping[str, Any]) -> str:
    if media_type in ARTIFACT_TYPES:
        kind, foreign = "artifact", {"layers", "manifests", "config"}
    elif media_type in INDEX_TYPES:
        kind, foreign = "index", {"layers", "blobs", "config"}
    elif media_type in IMAGE_TYPES:
        kind, foreign = "image", {"manifests", "blobs"}
    else:
        # Unknown types are not guessed at: what hangs on what is written in other members there.
        raise ArtifactError(f"{quoted(media_type)} is not a manifest type that this verifier knows")
    # ORAS' artifact manifests have no schemaVersion; Docker's schema 1 is signed and built otherwise.
    if kind != "artifact" and value.get("schemaVersion") != 2:
        raise ArtifactError(
            f"the manifest's schemaVersion is {quoted(value.get('schemaVersion'))}, expected 2"
        )
    # One content that is a manifest of two kinds would mean different things to different readers.
    if mixed := foreign & value.keys():
        raise ArtifactError(f"the {kind} manifest also has {', '.join(sorted(mixed))}")
    return kind


def _descriptors(value: Mapping[str, Any], key: str | None, most: int) -> tuple[Descriptor, ...]:
    items = value.get(key, []) if key else []
    # A registry checks little of what is pushed; a manifest is whatever somebody wrote.
    if not isinstance(items, list):
        raise ArtifactError(f"the manifest's {key} is not a list")
    # Each is a request to come, or a platform to look at.
    if len(items) > most:
        raise ArtifactError(
            f"the manifest has {len(items)} {key}, more than {most}", reason=Reason.LIMIT_EXCEEDED
        )
    return tuple(Descriptor.parse(item) for item in items)
