"""Attaches attestation files to images, and takes attached ones away for use without a registry."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import ArtifactError, Reason, RegistryError, UsageError, VerifierError
from slsa_verifier_plugin.evidence import MAX_CONFIG, MAX_PLATFORMS, ArtifactStore
from slsa_verifier_plugin.model.digest import Descriptor, Digest
from slsa_verifier_plugin.model.documents_in_text import MAX_LINES
from slsa_verifier_plugin.model.envelope import read_blob
from slsa_verifier_plugin.model.manifest import Manifest, parse_manifest
from slsa_verifier_plugin.registry.reference import Reference
from slsa_verifier_plugin.text import plain, quoted

if TYPE_CHECKING:
    from slsa_verifier_plugin.cli.checking import Checker, Store
    from slsa_verifier_plugin.cli.layout import LayoutWriter
    from slsa_verifier_plugin.cli.reports import ImageReport
    from slsa_verifier_plugin.registry.push import Pusher

EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
LINES_TYPE = "application/jsonl"
READ_BACK_SECONDS = 30.0
"""How long a registry may take until it lists what was attached; hosted ones take a second or two at times."""
READ_BACK_PAUSE = 0.5
MAX_ATTESTATION = 256 << 20
"""Bytes of one attestation that ``fetch`` takes along; the most that a policy may allow."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What ``fetch`` took along for one image, and what of other types it had to pass over."""

    image: str
    artifacts: tuple[Descriptor, ...]
    warnings: tuple[str, ...] = ()


def check_bundles(content: bytes, name: str) -> int:
    """Return how many bundles and envelopes are in an attestation file.

    Raises:
        UsageError: none, or more than a verifier reads.
    """
    try:
        blob = read_blob(content, MAX_LINES)
    except ArtifactError as error:
        raise UsageError(f"{quoted(name)}: {error.message}") from error
    if not blob.candidates and blob.form:
        raise UsageError(f"{quoted(name)} is {blob.form}")
    if not blob.candidates:
        raise UsageError(
            f"{quoted(name)} holds no Sigstore bundle and no DSSE envelope ({blob.others} other lines); attach the file that the "
            "source workflow wrote"
        )
    return len(blob.candidates)


def artifact_of(
    image: Descriptor, content: bytes, title: str, artifact_type: str, annotations: Mapping[str, str]
) -> bytes:
    """Return the manifest of the artifact that holds ``content`` and hangs on ``image``, as ``oras attach`` writes it.

    Args:
        image: its descriptor.
        content: the attestation file.
        title: its name.
        artifact_type: as in the Verifier's ``artifactTypes``.
        annotations: beside the time.
    """
    lines = content.strip().count(b"\n") > 0 and content.lstrip()[:2] != b"{\n"
    created = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    manifest: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": artifact_type,
        "config": {"mediaType": EMPTY_TYPE, "digest": str(Digest.of(b"{}")), "size": 2, "data": "e30="},
        "layers": [
            {
                "mediaType": LINES_TYPE if lines else BUNDLE_TYPE,
                "digest": str(Digest.of(content)),
                "size": len(content),
                "annotations": {"org.opencontainers.image.title": title},
            }
        ],
        "subject": {"mediaType": image.media_type, "digest": str(image.digest), "size": image.size},
        "annotations": {"org.opencontainers.image.created": created, **annotations},
    }
    return json.dumps(manifest).encode()


def judge(
    checker: Checker, image: Reference, store: Store, artifact: bytes, content: bytes, name: str
) -> ImageReport:
    """Return what every verifier would say of an artifact if it hung on ``image``: all steps, and of this artifact alone.

    Args:
        checker: the policy.
        image: with its digest.
        store: has the image, and what else is attached to it (step 14 looks there).
        artifact: its manifest.
        content: its one blob.
        name: of the file, for people.
    """
    checks = tuple(
        replace(check, resource=replace(check.resource, artifact_types=check.resource.artifact_types[:1]))
        for check in checker.checks
    )
    report = replace(checker, checks=checks, store=_AsAttached(store, artifact, content)).image(str(image))
    return replace(report, asked=name, resolved="")


class _AsAttached:
    """A registry as it would be with one more artifact, which alone is found where an artifact type is asked for."""

    def __init__(self, store: Store, artifact: bytes, content: bytes) -> None:
        self._store = store
        self._artifact = artifact
        self._content = content
        self._digest = Digest.of(artifact)

    def resolve(self, image: Reference, deadline: Deadline) -> Descriptor:
        return self._store.resolve(image, deadline)

    def manifest(self, image: Reference, descriptor: Descriptor, deadline: Deadline) -> bytes:
        if descriptor.digest == self._digest:
            return self._artifact
        return self._store.manifest(image, descriptor, deadline)

    def blob(self, image: Reference, descriptor: Descriptor, limit: int, deadline: Deadline) -> bytes:
        if descriptor.digest != Digest.of(self._content):
            return self._store.blob(image, descriptor, limit, deadline)
        if len(self._content) > limit:
            raise RegistryError(
                f"the file has {len(self._content)} bytes, at most {limit} are read; raise maxAttestationBytes",
                reason=Reason.LIMIT_EXCEEDED,
            )
        return self._content

    def referrers(self, image: Reference, deadline: Deadline) -> list[Descriptor]:
        return self._store.referrers(image, deadline)

    def matching_referrers(
        self, image: Reference, artifact_type: str, deadline: Deadline
    ) -> list[Descriptor]:
        return [Descriptor(MANIFEST_TYPE, self._digest, len(self._artifact), artifact_type)]


def attach(pusher: Pusher, image: Descriptor, artifact: bytes, content: bytes) -> Descriptor:
    """Push ``content`` and the manifest that ``artifact_of`` made for it; return the artifact's descriptor.

    Args:
        pusher: writes to the image's repository.
        image: its descriptor.
        artifact: the manifest.
        content: the attestation file.

    Raises:
        RegistryError: the registry does not take it.
    """
    manifest = parse_manifest(artifact, MANIFEST_TYPE)
    pusher.blob(b"{}")
    pusher.blob(content)
    return pusher.attach(image, artifact, manifest.artifact_type, manifest.annotations)


def read_back(
    store: ArtifactStore,
    image: Reference,
    attached: Descriptor,
    deadline: Deadline,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Check that a verifier will find what was attached: the registry delivers it, and lists it for the image.

    Args:
        store: the registry, as verifiers read it.
        image: with its digest.
        attached: what was pushed.
        deadline: how long the registry may take until it lists it.
        pause: waits for some seconds.

    Raises:
        RegistryError: it does not, or as another artifact type.
        DeadlineError: out of time before the registry has answered once.
    """
    manifest = parse_manifest(store.manifest(image, attached, deadline), attached.media_type)
    for blob in manifest.blobs:
        store.blob(image, blob, MAX_ATTESTATION, deadline)
    while True:
        listed = {item.digest: item for item in store.referrers(image, deadline)}
        found = listed.get(attached.digest)
        if found is not None and found.artifact_type == attached.artifact_type:
            return
        if deadline.remaining() < READ_BACK_PAUSE:
            break
        pause(READ_BACK_PAUSE)
    said = (
        "does not list it" if found is None else f"lists it as {quoted(found.artifact_type or 'no type', 80)}"
    )
    raise RegistryError(
        f"{image.registry} took {attached.digest}, expected to find it attached to {plain(str(image))} as "
        f"{attached.artifact_type}, but the registry {said}; 'registry check {plain(str(image))}' shows what it answers",
        reason=Reason.REGISTRY_INVALID_RESPONSE,
    )


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
    descriptor = store.resolve(image, deadline)
    pinned = image.with_digest(descriptor.digest)
    name = str(image) if image.digest is None else image.name
    _take_image(pinned, descriptor, store, writer, deadline, name)
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
        if wanted and not wanted & {manifest.artifact_type, item.artifact_type}:
            continue
        try:
            for blob in (*manifest.blobs, *([manifest.config] if manifest.config else [])):
                writer.blob(blob.digest, store.blob(pinned, blob, MAX_ATTESTATION, deadline))
        except VerifierError as error:
            _locate(error, item, pinned)
            raise
        writer.manifest(item, content)
        taken.append(item)
    return Fetched(str(pinned), tuple(taken), tuple(warnings))


def _locate(error: VerifierError, artifact: Descriptor, image: Reference) -> None:
    """Put the artifact that ``error`` is about, and its image, into the message."""
    kind = plain(artifact.artifact_type or "of no type")
    error.message = f"{artifact.digest} ({kind}), attached to {plain(str(image))}: {error.message}"


def _take_image(
    image: Reference,
    descriptor: Descriptor,
    store: ArtifactStore,
    writer: LayoutWriter,
    deadline: Deadline,
    name: str,
) -> None:
    content = store.manifest(image, descriptor, deadline)
    manifest = parse_manifest(content, descriptor.media_type)
    for child in manifest.manifests[:MAX_PLATFORMS]:
        platform = store.manifest(image, child, deadline)
        writer.blob(child.digest, platform)
        _take_config(image, parse_manifest(platform, child.media_type), store, writer, deadline)
    _take_config(image, manifest, store, writer, deadline)
    writer.manifest(descriptor, content, name)


def _take_config(
    image: Reference, manifest: Manifest, store: ArtifactStore, writer: LayoutWriter, deadline: Deadline
) -> None:
    if manifest.config is not None and manifest.config.size <= MAX_CONFIG:
        writer.blob(manifest.config.digest, store.blob(image, manifest.config, MAX_CONFIG, deadline))


def write_new(path: Path, content: bytes, force: bool) -> None:
    """Write a file that must not be there yet, unless ``force``.

    Raises:
        UsageError: it is there.
    """
    try:
        with path.open("wb" if force else "xb") as file:
            file.write(content)
    except FileExistsError as error:
        raise UsageError(f"{quoted(str(path))} exists; --force replaces it") from error
