"""OCI image layouts (image specification 1.1, "OCI Image Layout"): attestations taken to where there is no registry.

``fetch`` writes one; ``verify --layout`` and ``inspect --layout`` read it, and so do ``oras`` and others. It holds manifests,
configs and attestations, but no layers of images.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import ArtifactError, Reason, RegistryError, UsageError
from slsa_verifier_plugin.model.digest import Descriptor, Digest
from slsa_verifier_plugin.model.manifest import INDEX_TYPES, parse_manifest
from slsa_verifier_plugin.registry.reference import Reference
from slsa_verifier_plugin.regular_files import read_regular
from slsa_verifier_plugin.strict_json import JsonError, loads
from slsa_verifier_plugin.text import plain, quoted, some_of

# Bytes, as for registries.
MAX_INDEX = 16 << 20
MAX_MANIFEST = 4 << 20
MAX_NAMED = 12
"""Names that an error lists; of more it says how many."""
REF_NAME = "org.opencontainers.image.ref.name"
"""Annotation with a tag (image specification 1.1, "Pre-Defined Annotation Keys")."""
IMAGE_NAME = "io.containerd.image.name"
"""Annotation with the full name of an image, as containerd exports it."""


class LayoutStore:
    """Implements ``stores.Store`` on a folder; whatever it returns has the digest that was asked for.

    Args:
        folder: the layout.

    Raises:
        UsageError: it is no image layout.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.entries = tuple(_entries(folder))

    def resolve(self, image: Reference, deadline: Deadline) -> Descriptor:
        """Return the descriptor of the manifest that ``image`` names: by digest, else by full name, else by tag alone."""
        # A digest names the same content wherever it lies, so the name does not matter.
        if image.digest is not None:
            for entry in self.entries:
                if entry.digest == image.digest:
                    return entry
            raise _missing(f"{image.digest}", self.names())
        # As fetched: the full name. Other tools write only the tag (OCI image layout, "ref.name").
        named = [entry for entry in self.entries if name_of(entry) == str(image)]
        tag = image.tag or "latest"
        tagged = [
            entry for entry in self.entries if not name_of(entry) and entry.annotations.get(REF_NAME) == tag
        ]
        found = {entry.digest: entry for entry in named or tagged}
        # Two images under one tag of different repositories: to guess would verify the wrong one.
        if len(found) != 1:
            raise _missing(f"one image {plain(str(image))}", self.names())
        return next(iter(found.values()))

    def names(self) -> list[str]:
        """Return how the images in the layout can be named: by what they were fetched as, else by tag or digest."""
        named = [name_of(entry) for entry in self.entries]
        tags = [entry.annotations.get(REF_NAME, "") for entry in self.entries if not name_of(entry)]
        names = list(dict.fromkeys(filter(None, (*named, *tags))))
        return names or [str(entry.digest) for entry in self.entries]

    def manifest(self, image: Reference, descriptor: Descriptor, deadline: Deadline) -> bytes:
        """Return a manifest's bytes."""
        deadline.check("reading a manifest")
        return self._read(descriptor, MAX_MANIFEST)

    def blob(self, image: Reference, descriptor: Descriptor, limit: int, deadline: Deadline) -> bytes:
        """Return a blob of at most ``limit`` bytes."""
        deadline.check("reading a blob")
        return self._read(descriptor, limit)

    def referrers(self, image: Reference, deadline: Deadline) -> list[Descriptor]:
        """Return the descriptors of the manifests whose subject is ``image``'s digest, with their own types."""
        found = []
        for entry in self.entries:
            deadline.check("looking for what is attached")
            try:
                manifest = parse_manifest(self._read(entry, MAX_MANIFEST), entry.media_type)
            # Another kind of manifest, which cannot be an attestation.
            except ArtifactError:
                continue
            if manifest.subject is not None and manifest.subject.digest == image.digest:
                # By the manifest's own word: the index may have been written by another tool, without types.
                kind = manifest.artifact_type or None
                found.append(replace(entry, artifact_type=kind, annotations=dict(manifest.annotations)))
        return found

    def matching_referrers(
        self, image: Reference, artifact_type: str, deadline: Deadline
    ) -> list[Descriptor]:
        """Return the referrers of one type."""
        return [item for item in self.referrers(image, deadline) if item.artifact_type == artifact_type]

    def _read(self, descriptor: Descriptor, limit: int) -> bytes:
        # Before it is opened: the size is the descriptor's, which is bounded and checked below.
        if descriptor.size > limit:
            raise RegistryError(
                f"{descriptor.digest} has {descriptor.size} bytes, more than {limit}",
                reason=Reason.LIMIT_EXCEEDED,
            )
        path = blob_path(self._folder, descriptor.digest)
        try:
            # One byte more than the descriptor says, so that a longer file is noticed.
            content = read_regular(str(path), descriptor.size + 1)
        except OSError as error:
            raise _missing(f"{descriptor.digest}") from error
        # A layout travels on media that anybody may have had in hands.
        if len(content) != descriptor.size or not descriptor.digest.matches(content):
            raise RegistryError(
                f"what the layout holds as {descriptor.digest} is something else; fetch it again",
                reason=Reason.REGISTRY_INVALID_RESPONSE,
            )
        return content


class LayoutWriter:
    """Writes a layout, or adds to one. Nothing is in it before ``close``: a broken-off copy is never taken for a whole one.

    Args:
        folder: made where it is missing.

    Raises:
        UsageError: there is something else than a layout.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            raise UsageError(f"{quoted(str(folder))} is a file; a layout is a folder, so name one") from error
        # Blobs alone are what a copy that was broken off has left.
        # The root of a mounted volume has lost+found.
        existing = [item for item in folder.iterdir() if item.name not in ("blobs", "lost+found")]
        self._entries: dict[tuple[str, str], Mapping[str, Any]] = {}
        # Anything else in the folder than a layout is somebody's, and refused by _entries.
        if existing:
            for entry in _entries(folder):
                self._add(entry, name_of(entry))

    def blob(self, digest: Digest, content: bytes) -> None:
        """Write a blob or manifest, whose digest has been checked."""
        path = blob_path(self._folder, digest)
        # The name is the digest of the content: what is there is the same.
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(path, content)

    def manifest(self, descriptor: Descriptor, content: bytes, name: str = "") -> None:
        """Write a manifest and enter it into the index.

        Args:
            descriptor: of the manifest.
            content: its bytes.
            name: of the image, where it is one.
        """
        self.blob(descriptor.digest, content)
        self._add(descriptor, name)

    def close(self) -> None:
        """Write the index."""
        index = {"schemaVersion": 2, "mediaType": INDEX_TYPES[0], "manifests": list(self._entries.values())}
        # The mark first and the index last: until both are there, readers refuse the folder.
        _write(self._folder / "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        _write(self._folder / "index.json", json.dumps(index, indent=2).encode())

    def _add(self, descriptor: Descriptor, name: str) -> None:
        entry = descriptor.to_json()
        if name:
            entry["annotations"] = {**descriptor.annotations, IMAGE_NAME: name}
        # One image may be fetched under several names; each name is an entry.
        self._entries[str(descriptor.digest), name] = entry


def blob_path(folder: Path, digest: Digest) -> Path:
    """Return where a layout keeps the content with this digest."""
    return folder / "blobs" / digest.algorithm / digest.hex


def name_of(entry: Descriptor) -> str:
    """Return the name by which an entry of the index was fetched, empty where there is none."""
    return entry.annotations.get(IMAGE_NAME, "")


def _entries(folder: Path) -> Iterator[Descriptor]:
    try:
        mark = loads(read_regular(str(folder / "oci-layout"), 4096))
        index = loads(read_regular(str(folder / "index.json"), MAX_INDEX))
        # A later version may keep things elsewhere (OCI image layout, "oci-layout file").
        if not isinstance(mark, dict) or mark.get("imageLayoutVersion") != "1.0.0":
            raise JsonError("it is not of version 1.0.0")
        manifests = index.get("manifests") if isinstance(index, dict) else None
        if not isinstance(manifests, list):
            raise JsonError("its index has no manifests")
        for item in manifests:
            yield Descriptor.parse(item)
    except OSError as error:
        raise UsageError(
            f"{quoted(str(folder))} is no OCI image layout: {error.strerror}: {plain(error.filename)}; name one that "
            "'slsa-verifier-plugin fetch' wrote, or a folder that is empty or new to write one"
        ) from error
    except (JsonError, ArtifactError) as error:
        raise UsageError(f"{quoted(str(folder))} is no OCI image layout: {plain(str(error))}") from error


def _write(path: Path, content: bytes) -> None:
    # A rename within a folder is atomic: a reader sees the old file or the new one.
    # With the process's number: two programs that write one layout must not write one file.
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with fresh.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def _missing(what: str, names: Sequence[str] = ()) -> RegistryError:
    return RegistryError(
        f"the layout does not hold {what}", listing(names) if names else "", reason=Reason.REGISTRY_NOT_FOUND
    )


def listing(names: Sequence[str]) -> str:
    """Return the sentence on what a layout holds."""
    if not names:
        return "it holds no image"
    return f"it holds {some_of([plain(name, 200) for name in names], MAX_NAMED)}"
