"""Takes images' attestations along for use without a registry."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from slsa_verifier_plugin.checking.image_layout import LayoutWriter
from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import VerifierError
from slsa_verifier_plugin.model.digest import Descriptor
from slsa_verifier_plugin.model.manifest import parse_manifest
from slsa_verifier_plugin.registry.reference import Reference
from slsa_verifier_plugin.text import plain
from slsa_verifier_plugin.verification.evidence import MAX_CONFIG, MAX_PLATFORMS
from slsa_verifier_plugin.verification.ports import ArtifactStore

MAX_ATTESTATION = 256 << 20
"""Bytes of one attestation that is taken along or read back; the most that a policy may allow."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What ``fetch`` took along for one image, and what of other types it had to pass over."""

    image: str
    artifacts: tuple[Descriptor, ...]
    warnings: tuple[str, ...] = ()


def fetch(
    image: Reference,
    store: ArtifactStore,
    writer: LayoutWriter,
    artifact_types: Iterable[str],
    deadline: Deadline,
) -> Fetched:
    """Take along an image's manifests and configs, and what is attached to it: all that a verification looks at.

    Args:
        image: with a tag or digest.
        store: the registry.
        writer: the layout.
        artifact_types: only these; all where there are none.
        deadline: the time for all of it.

    Raises:
        VerifierError: a part of it cannot be had.
    """
    # Pinned here: all that follows is of one digest, though the tag moves.
    descriptor = store.resolve(image, deadline)
    pinned = image.with_digest(descriptor.digest)
    content = store.manifest(pinned, descriptor, deadline)
    manifest = parse_manifest(content, descriptor.media_type)
    images = [manifest]
    # As many as a verification looks at; the limit is the same constant.
    for child in manifest.manifests[:MAX_PLATFORMS]:
        platform = store.manifest(pinned, child, deadline)
        # As a blob: an entry of its own in the index would show each platform as an image.
        writer.blob(child.digest, platform)
        images.append(parse_manifest(platform, child.media_type))
    # Configs have the labels that sourceBinding: annotation reads. Layers are left out: no step of a verification reads them.
    for config in (item.config for item in images):
        # A verification reads no larger config either.
        if config is not None and config.size <= MAX_CONFIG:
            writer.blob(config.digest, store.blob(pinned, config, MAX_CONFIG, deadline))
    # By tag, so that verify --layout finds it under the name that was typed.
    writer.manifest(descriptor, content, str(image) if image.digest is None else image.name)
    wanted = set(artifact_types)
    taken, warnings = [], []
    for item in store.referrers(pinned, deadline):
        try:
            content = store.manifest(pinned, item, deadline)
            manifest = parse_manifest(content, item.media_type)
        except VerifierError as error:
            _locate(error, item, pinned)
            # What its own manifest would say of its type cannot be known; the registry says it is another.
            if not wanted or not item.artifact_type or item.artifact_type in wanted:
                raise
            warnings.append(f"passed over {error.message}")
            continue
        # Either counts: Ratify goes by the registry's word, other tools by the manifest's.
        if wanted and not wanted & {manifest.artifact_type, item.artifact_type}:
            continue
        try:
            # The config as well: a layout without it is refused by other tools.
            for blob in (*manifest.blobs, *([manifest.config] if manifest.config else [])):
                writer.blob(blob.digest, store.blob(pinned, blob, MAX_ATTESTATION, deadline))
        except VerifierError as error:
            _locate(error, item, pinned)
            raise
        # After its blobs: an entry of the index never leads to what is not there.
        writer.manifest(item, content)
        taken.append(item)
    return Fetched(str(pinned), tuple(taken), tuple(warnings))


def _locate(error: VerifierError, artifact: Descriptor, image: Reference) -> None:
    """Put the artifact that ``error`` is about, and its image, into the message."""
    kind = plain(artifact.artifact_type or "of no type")
    error.message = f"{artifact.digest} ({kind}), attached to {plain(str(image))}: {error.message}"
