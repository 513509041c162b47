"""Collects from the registry what binds an image to its source (step 14). Decides nothing."""

from __future__ import annotations

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import ArtifactError
from slsa_verifier_plugin.members import object_at
from slsa_verifier_plugin.model.digest import Descriptor, Digest
from slsa_verifier_plugin.model.manifest import Manifest, parse_manifest
from slsa_verifier_plugin.policy.binding import REVISION, SOURCE, ImageLabels
from slsa_verifier_plugin.registry.reference import Reference
from slsa_verifier_plugin.strict_json import object_in
from slsa_verifier_plugin.verification.ports import ArtifactStore

MAX_PLATFORMS = 64
"""Platform manifests of one index that are read."""
MAX_CONFIG = 4 << 20
"""Bytes of an image's config."""
EMPTY = Digest.of(b"{}")
"""The empty JSON object that artifacts carry where they have nothing to say (OCI image specification 1.1)."""

# How BuildKit marks the attestations that it puts into an index.
_NO_PLATFORM = "unknown/unknown"


def image_labels(
    store: ArtifactStore, image: Reference, descriptor: Descriptor, deadline: Deadline
) -> list[ImageLabels]:
    """Return what the image says of its source: of an index itself if it says so, else of every platform.

    Raises:
        RegistryError, ArtifactError, DeadlineError: a manifest or config is not delivered or malformed.
    """
    # The descriptor is the artifact's subject, whose digest is that of the admitted image (step 2).
    manifest = parse_manifest(store.manifest(image, descriptor, deadline), descriptor.media_type)
    # One platform: its own labels, or those of its config.
    if manifest.kind != "index":
        return [_labels("the image", store, image, manifest, deadline)]
    # An index that names a commit speaks for all its platforms: it is what was admitted, and its digest covers it.
    if REVISION in manifest.annotations:
        return [
            ImageLabels("the image index", manifest.annotations[REVISION], manifest.annotations.get(SOURCE))
        ]
    # Attestations that build tools put into an index are for no platform; nothing can be started from them.
    platforms = [child for child in manifest.manifests if child.platform != _NO_PLATFORM]
    if len(platforms) > MAX_PLATFORMS:
        raise ArtifactError(f"the image index has {len(platforms)} platforms, more than {MAX_PLATFORMS}")
    # Otherwise every platform must say the same: which one a node will run is not known at admission.
    labels = []
    for child in platforms:
        # The child's descriptor is covered by the index's digest, so nobody can put another platform in its place.
        content = parse_manifest(store.manifest(image, child, deadline), child.media_type)
        # Named by its platform where the index gives one: a digest tells people nothing.
        where = f"the image for {child.platform or child.digest}"
        labels.append(_labels(where, store, image, content, deadline))
    return labels


def _labels(
    where: str, store: ArtifactStore, image: Reference, manifest: Manifest, deadline: Deadline
) -> ImageLabels:
    revision, source = manifest.annotations.get(REVISION), manifest.annotations.get(SOURCE)
    # A manifest's annotation outweighs the config's label: it is set later, when the image is pushed. The config, of up to
    # 4 MiB, is fetched only where something is missing.
    if manifest.config is not None and (revision is None or source is None):
        config = object_in(store.blob(image, manifest.config, MAX_CONFIG, deadline))
        # A config that cannot be read has no labels. Step 14 then denies for the missing label, which says what to do.
        # OCI image specification 1.1, "config.md": labels are below "config", not at the top.
        found = object_at(config, "config", "Labels")
        labels = {key: text for key, text in found.items() if isinstance(text, str)}
        revision = labels.get(REVISION) if revision is None else revision
        source = labels.get(SOURCE) if source is None else source
    return ImageLabels(where, revision, source)
