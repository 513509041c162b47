"""What the embedded registry holds: blobs, manifests and tags by repository, in memory."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from slsa_verifier_plugin.model.digest import Descriptor, Digest

INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"


@dataclass(frozen=True, slots=True)
class StoredManifest:
    """A manifest as it was pushed."""

    media_type: str
    content: bytes

    @property
    def fields(self) -> Mapping[str, Any]:
        """Its decoded JSON object."""
        value = json.loads(self.content)
        return value if isinstance(value, dict) else {}


@dataclass(slots=True)
class Repository:
    """One repository's content, by digest and by tag."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, StoredManifest] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


class Storage:
    """All repositories of a registry; safe for many threads."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._repositories: dict[str, Repository] = {}

    def repositories(self) -> list[str]:
        """Return the names of the repositories, sorted."""
        with self._lock:
            return sorted(self._repositories)

    def exists(self, name: str) -> bool:
        """Return True if something was pushed to the repository."""
        with self._lock:
            return name in self._repositories

    def tags(self, name: str) -> list[str]:
        """Return a repository's tags, sorted."""
        with self._lock:
            return sorted(self._get(name).tags)

    def blob(self, name: str, digest: str) -> bytes | None:
        """Return a blob, None where there is none."""
        with self._lock:
            return self._get(name).blobs.get(digest)

    def manifest(self, name: str, reference: str) -> tuple[str, StoredManifest] | None:
        """Return the digest and manifest that a tag or digest names, None where there is none."""
        with self._lock:
            repository = self._get(name)
            digest = repository.tags.get(reference, reference)
            found = repository.manifests.get(digest)
            return None if found is None else (digest, found)

    def put_blob(self, name: str, content: bytes, media_type: str = "application/octet-stream") -> Descriptor:
        """Keep a blob and return its descriptor."""
        digest = Digest.of(content)
        with self._lock:
            self._own(name).blobs[str(digest)] = content
        return Descriptor(media_type, digest, len(content))

    def put_manifest(
        self, name: str, content: bytes, media_type: str = MANIFEST_TYPE, tag: str | None = None
    ) -> Descriptor:
        """Keep a manifest, under ``tag`` too where it is given, and return its descriptor."""
        digest = Digest.of(content)
        with self._lock:
            repository = self._own(name)
            repository.manifests[str(digest)] = StoredManifest(media_type, content)
            if tag is not None:
                repository.tags[tag] = str(digest)
        return Descriptor(media_type, digest, len(content))

    def referrers(self, name: str, digest: str) -> list[dict[str, Any]]:
        """Return the descriptors of the manifests whose subject is ``digest``, as JSON objects."""
        with self._lock:
            manifests = list(self._get(name).manifests.items())
        found = []
        for own, manifest in manifests:
            fields = manifest.fields
            subject = fields.get("subject")
            if isinstance(subject, dict) and subject.get("digest") == digest:
                found.append(describe(own, manifest, fields))
        return found

    def _get(self, name: str) -> Repository:
        return self._repositories.get(name) or Repository()

    def _own(self, name: str) -> Repository:
        return self._repositories.setdefault(name, Repository())


def describe(digest: str, manifest: StoredManifest, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return a manifest's descriptor in a referrers list (OCI distribution 1.1, "Listing Referrers")."""
    entry: dict[str, Any] = {
        "mediaType": manifest.media_type,
        "digest": digest,
        "size": len(manifest.content),
    }
    config = fields.get("config")
    artifact_type = fields.get("artifactType") or (
        config.get("mediaType") if isinstance(config, dict) else None
    )
    if artifact_type:
        entry["artifactType"] = artifact_type
    if fields.get("annotations"):
        entry["annotations"] = fields["annotations"]
    return entry


def image_manifest(
    config: Descriptor,
    layers: Sequence[Descriptor],
    *,
    subject: Descriptor | None = None,
    artifact_type: str | None = None,
    annotations: Mapping[str, str] | None = None,
) -> bytes:
    """Return an image manifest's bytes (OCI image specification 1.1)."""
    manifest: dict[str, Any] = {"schemaVersion": 2, "mediaType": MANIFEST_TYPE}
    if artifact_type is not None:
        manifest["artifactType"] = artifact_type
    manifest["config"] = to_json(config)
    manifest["layers"] = [to_json(layer) for layer in layers]
    if subject is not None:
        manifest["subject"] = to_json(subject)
    if annotations:
        manifest["annotations"] = dict(annotations)
    return json.dumps(manifest, separators=(",", ":")).encode()


def to_json(descriptor: Descriptor) -> dict[str, Any]:
    """Return a descriptor as a JSON object."""
    entry: dict[str, Any] = {
        "mediaType": descriptor.media_type,
        "digest": str(descriptor.digest),
        "size": descriptor.size,
    }
    if descriptor.artifact_type:
        entry["artifactType"] = descriptor.artifact_type
    if descriptor.annotations:
        entry["annotations"] = dict(descriptor.annotations)
    return entry
