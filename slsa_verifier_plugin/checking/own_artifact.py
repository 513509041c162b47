"""Attestations that a registry keeps as an artifact of their own, such as ``REGISTRY/OWNER/REPO/source-vsa:COMMIT``.

A cluster never finds those: Ratify asks for what is attached to the image, and these are attached to none.
"""

from __future__ import annotations

import re
from pathlib import Path

from slsa_verifier_plugin.checking.attestation_origins import Found
from slsa_verifier_plugin.checking.image_names import parse_image
from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import ArtifactError, Reason
from slsa_verifier_plugin.model.manifest import parse_manifest
from slsa_verifier_plugin.registry.reference import Reference
from slsa_verifier_plugin.text import plain
from slsa_verifier_plugin.verification.evidence import EMPTY
from slsa_verifier_plugin.verification.ports import ArtifactStore

MAX_BYTES = 64 << 20
"""Bytes of all blobs of one artifact that are read."""

# A host with a dot or a port, a path, and a tag or digest: few names of files have all of that.
_REFERENCE = re.compile(
    r"(?:localhost|[A-Za-z0-9.-]*[.:][A-Za-z0-9.:-]*|\[[0-9A-Fa-f:]+\](?::[0-9]+)?)/.+[:@][^/]+"
)


def reference_in(text: str) -> Reference | None:
    """Return the reference in ``text``; None for a file that exists, or a text without a registry and a tag or digest.

    Raises:
        UsageError: it looks like a reference, and is not a valid one.
    """
    # A file goes before a reference of the same spelling: to read it asks nobody.
    if text == "-" or Path(text).exists() or not ("://" in text or _REFERENCE.fullmatch(text)):
        return None
    return parse_image(text)


def remark(reference: Reference) -> str:
    """Return what a cluster needs beside such an artifact, for people."""
    return (
        f"{plain(str(reference))} is an artifact of its own, which no cluster finds: Ratify asks for what is attached to an "
        f"image. 'slsa-verifier-plugin attach IMAGE --from {plain(str(reference))}' makes it a referrer of the image"
    )


def read_artifact(store: ArtifactStore, reference: Reference, deadline: Deadline) -> Found:
    """Return what an artifact holds, its blobs one after another.

    Args:
        store: the registry.
        reference: the artifact, with a tag or digest.
        deadline: the time for all of it.

    Raises:
        ArtifactError: it is an index, or too large.
        VerifierError: it cannot be had.
    """
    descriptor = store.resolve(reference, deadline)
    pinned = reference.with_digest(descriptor.digest)
    manifest = parse_manifest(store.manifest(pinned, descriptor, deadline), descriptor.media_type)
    # An index has no blobs; which of its manifests is meant nobody can say.
    if manifest.kind == "index":
        raise ArtifactError(
            f"{plain(str(reference))} is an index, expected an artifact that holds attestations"
        )
    # The empty blob only fills a place (OCI image specification 1.1).
    blobs = [blob for blob in manifest.blobs if blob.digest != EMPTY]
    # Before any is fetched: each alone could be within the limit.
    if sum(blob.size for blob in blobs) > MAX_BYTES:
        raise ArtifactError(
            f"{plain(str(reference))} has more than {MAX_BYTES >> 20} MiB, expected an artifact that holds attestations",
            reason=Reason.LIMIT_EXCEEDED,
        )
    # With line ends between them, so that the last line of one blob and the first of the next stay two.
    content = b"\n".join(store.blob(pinned, blob, MAX_BYTES, deadline) for blob in blobs)
    return Found(content, str(pinned))
