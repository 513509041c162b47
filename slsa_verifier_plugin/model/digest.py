"""Content digests and descriptors (OCI image specification 1.1, "Content Descriptors")."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from slsa_verifier_plugin.errors import ArtifactError
from slsa_verifier_plugin.text import quoted

_HEX_LENGTH = {"sha256": 64, "sha512": 128}
_DIGEST = re.compile(r"(sha256|sha512):([0-9a-f]+)")


@dataclass(frozen=True, slots=True)
class Digest:
    """A content digest, ``sha256`` or ``sha512``, as lower-case hexadecimal."""

    algorithm: str
    hex: str

    @classmethod
    def parse(cls, text: object) -> Digest:
        """Return the digest written as ``algorithm:hex``.

        Raises:
            ArtifactError: it is not a well-formed sha256 or sha512 digest.
        """
        # In full, and lower case alone: registries refuse other letters, and one digest must have one form here to be
        # compared.
        match = _DIGEST.fullmatch(text) if isinstance(text, str) else None
        if match is None or len(match[2]) != _HEX_LENGTH[match[1]]:
            raise ArtifactError(f"{quoted(text)} is not a sha256 or sha512 digest")
        return cls(match[1], match[2])

    @classmethod
    def of(cls, content: bytes, algorithm: str = "sha256") -> Digest:
        """Return the digest of ``content``."""
        return cls(algorithm, hashlib.new(algorithm, content).hexdigest())

    def matches(self, content: bytes) -> bool:
        """Return True if ``content`` has this digest."""
        # In constant time. That costs nothing, so nobody has to think about whether it matters here.
        return hmac.compare_digest(Digest.of(content, self.algorithm).hex, self.hex)

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What a manifest or a referrers list says of a piece of content: media type, digest, size in bytes.

    ``platform`` is ``os/architecture`` where an index gives one. ``listed_by_tag`` is true of a referrer that the index under the
    fallback tag lists: a client wrote what it says, not the registry.
    """

    media_type: str
    digest: Digest
    size: int
    artifact_type: str | None = None
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)
    platform: str = ""
    listed_by_tag: bool = field(default=False, compare=False)

    @classmethod
    def parse(cls, value: object) -> Descriptor:
        """Return the descriptor in ``value``, a decoded JSON object.

        Raises:
            ArtifactError: a property is missing or of a wrong type.
        """
        # A referrers list comes from a registry or, under the fallback tag, from any client: each field is looked at.
        if not isinstance(value, Mapping):
            raise ArtifactError("a descriptor is not a JSON object")
        media_type, size = value.get("mediaType"), value.get("size")
        # Required (OCI image specification 1.1, "Content Descriptors"); it says how the content is to be read.
        if not isinstance(media_type, str):
            raise ArtifactError("a descriptor has no mediaType")
        # Python's True is an int. A negative size would count as "small enough".
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise ArtifactError(f"a descriptor has the size {quoted(size)}, not a count of bytes")
        # Optional (OCI image specification 1.1); an empty one says as much as none.
        artifact_type = value.get("artifactType")
        if artifact_type is not None and not isinstance(artifact_type, str):
            raise ArtifactError("a descriptor's artifactType is not a string")
        # For people alone, and to leave out what is for no platform; it decides nothing.
        platform = value.get("platform")
        return cls(
            media_type=media_type,
            digest=Digest.parse(value.get("digest")),
            size=size,
            artifact_type=artifact_type or None,
            annotations=annotations_of(value, "a descriptor"),
            platform=f"{platform.get('os')}/{platform.get('architecture')}"
            if isinstance(platform, Mapping)
            else "",
        )

    def to_json(self) -> dict[str, Any]:
        """Return the descriptor as a manifest has it (OCI image specification 1.1, "Content Descriptors")."""
        fields: dict[str, Any] = {"mediaType": self.media_type, "digest": str(self.digest), "size": self.size}
        # Left out where there is nothing: some registries refuse an empty type.
        if self.artifact_type:
            fields["artifactType"] = self.artifact_type
        if self.annotations:
            fields["annotations"] = dict(self.annotations)
        return fields


def annotations_of(value: Mapping[str, Any], what: str) -> dict[str, str]:
    """Return the annotations of a descriptor or manifest.

    Args:
        value: a decoded JSON object.
        what: it is, for the message.

    Raises:
        ArtifactError: they are no object of strings.
    """
    # null and {} say the same: Go writes null for an empty map.
    annotations = value.get("annotations") or {}
    if not isinstance(annotations, dict) or not all(isinstance(text, str) for text in annotations.values()):
        raise ArtifactError(f"{what}'s annotations are not an object of strings")
    return annotations
