"""Looks into images and attestation files without judging them: what each line claims to be.

Nothing here verifies; ``Line.checked`` is filled in only where the caller asks for the signatures to be checked.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from slsa_verifier_plugin.checking.own_artifact import remark
from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import ArtifactError, SignatureError, StatementError, VerifierError
from slsa_verifier_plugin.members import at, object_at, objects_at
from slsa_verifier_plugin.model.digest import Descriptor, Digest
from slsa_verifier_plugin.model.documents_in_text import parts_of
from slsa_verifier_plugin.model.envelope import Candidate, candidate_in
from slsa_verifier_plugin.model.forms import form_of, likeness_of
from slsa_verifier_plugin.model.manifest import Manifest, parse_manifest
from slsa_verifier_plugin.model.provenance import PREDICATE_TYPES, Provenance, parse_provenance
from slsa_verifier_plugin.model.signer import Signer
from slsa_verifier_plugin.model.statement import Statement, parse_statement
from slsa_verifier_plugin.model.vsa import PREDICATE_TYPE, VerificationSummary, parse_vsa
from slsa_verifier_plugin.registry.reference import Reference
from slsa_verifier_plugin.strict_json import JsonError, loads
from slsa_verifier_plugin.verification.evidence import EMPTY
from slsa_verifier_plugin.verification.ports import ArtifactStore

MAX_BLOB = 64 << 20
"""Bytes of one blob that are looked into."""

_IMAGE_TYPES = (
    "",
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
)
"""Config types of images. A manifest without an artifact type goes by its config's type; an image holds no attestations."""
NO_JSON = "no JSON"
"""The kind of a line that is no JSON, or JSON that is open to more than one reading."""

Verify = Callable[[Candidate], object]
"""Verifies a candidate; raises ``SignatureError`` with the reason why it does not verify."""


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A transparency log entry that a bundle carries: where, when (UTC), and of which kind."""

    index: str
    time: datetime | None
    kind: str


@dataclass(frozen=True, slots=True)
class Line:
    """One line of an attestation file, and what it claims.

    ``kind`` is ``bundle``, ``envelope`` or what else it is; ``problem`` says what in it cannot be read; ``checked`` is None where
    the signature was not checked, else the reason why it does not verify, empty if it does.
    """

    number: int
    kind: str
    size: int
    candidate: Candidate | None = field(default=None, repr=False)
    statement: Statement | None = None
    summary: VerificationSummary | None = None
    provenance: Provenance | None = None
    signer: Signer | None = None
    logs: tuple[LogEntry, ...] = ()
    stamped: bool = False
    problem: str = ""
    checked: str | None = None


@dataclass(frozen=True, slots=True)
class BlobView:
    """A blob or file: its name for people, digest, media type, size and lines; ``unseen`` where it could not be looked into."""

    name: str
    digest: str
    size: int
    media_type: str = ""
    lines: tuple[Line, ...] = ()
    problem: str = ""
    unseen: bool = False


@dataclass(frozen=True, slots=True)
class ArtifactView:
    """An artifact that is attached to an image: what the registry says of it, and what is in it; ``unseen`` as of a blob."""

    descriptor: Descriptor
    artifact_type: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)
    blobs: tuple[BlobView, ...] = ()
    problem: str = ""
    unseen: bool = False


@dataclass(frozen=True, slots=True)
class ImageView:
    """An image with everything that is attached to it."""

    name: str
    descriptor: Descriptor
    kind: str
    platforms: tuple[str, ...]
    annotations: Mapping[str, str]
    artifacts: tuple[ArtifactView, ...]


def look_at_image(
    image: Reference, store: ArtifactStore, deadline: Deadline, verify: Verify | None = None
) -> ImageView:
    """Return what ``image`` is and what is attached to it. A part that cannot be had or read is a ``problem`` of its own.

    Args:
        image: with a tag or digest.
        store: the registry or a layout.
        deadline: the time for all of it.
        verify: checks signatures; None to check none.

    Raises:
        VerifierError: the image itself or the list of what is attached cannot be had.
    """
    descriptor = store.resolve(image, deadline)
    pinned = image.with_digest(descriptor.digest)
    manifest = parse_manifest(store.manifest(pinned, descriptor, deadline), descriptor.media_type)
    look = _Look(pinned, store, deadline, verify)
    artifacts = tuple(map(look.artifact, store.referrers(pinned, deadline)))
    # An artifact that was named itself: what it holds is what the person wants to see.
    if manifest.kind != "index" and manifest.artifact_type not in _IMAGE_TYPES:
        # Without a subject it hangs on no image, and no cluster ever finds it.
        problem = remark(pinned) if manifest.subject is None else ""
        own = replace(descriptor, artifact_type=manifest.artifact_type)
        artifacts = (look.view(own, manifest, problem), *artifacts)
    # An index need not name platforms (OCI image index, "platform" is optional).
    platforms = tuple(item.platform or str(item.digest) for item in manifest.manifests)
    return ImageView(str(pinned), descriptor, manifest.kind, platforms, manifest.annotations, artifacts)


def look_at_file(content: bytes, name: str, verify: Verify | None = None) -> BlobView:
    """Return what is in an attestation file.

    Args:
        content: its bytes.
        name: its name, for people.
        verify: checks signatures; None to check none.
    """
    return _blob(BlobView(name, str(Digest.of(content)), len(content)), content, verify)


@dataclass(frozen=True, slots=True)
class _Look:
    """One look at an image: where it is asked for, the time for all of it, and what verifies signatures (None for nothing)."""

    image: Reference
    store: ArtifactStore
    deadline: Deadline
    verify: Verify | None

    def artifact(self, descriptor: Descriptor) -> ArtifactView:
        """Return what is in an artifact that is listed for the image."""
        try:
            content = self.store.manifest(self.image, descriptor, self.deadline)
            manifest = parse_manifest(content, descriptor.media_type)
        except VerifierError as error:
            # One of many: the others are shown all the same.
            kind = descriptor.artifact_type or ""
            return ArtifactView(descriptor, kind, problem=error.message, unseen=True)
        return self.view(descriptor, manifest, _misplaced(manifest, self.image))

    def view(self, descriptor: Descriptor, manifest: Manifest, problem: str) -> ArtifactView:
        """Return an artifact with what is in its blobs; ``problem`` is what is wrong with its place."""
        # The empty blob stands where a manifest must have one (OCI image specification 1.1).
        blobs = tuple(self._blob(item) for item in manifest.blobs if item.digest != EMPTY)
        return ArtifactView(descriptor, manifest.artifact_type, manifest.annotations, blobs, problem)

    def _blob(self, descriptor: Descriptor) -> BlobView:
        name = descriptor.annotations.get("org.opencontainers.image.title", "")
        view = BlobView(name, str(descriptor.digest), descriptor.size, descriptor.media_type)
        try:
            return _blob(view, self.store.blob(self.image, descriptor, MAX_BLOB, self.deadline), self.verify)
        except VerifierError as error:
            return replace(view, problem=error.message, unseen=True)


def _misplaced(manifest: Manifest, image: Reference) -> str:
    if manifest.subject is None:
        return "its manifest names no subject: it hangs on no image"
    if manifest.subject.digest != image.digest:
        return f"its manifest hangs on {manifest.subject.digest}, not on this image"
    return ""


def _blob(view: BlobView, content: bytes, verify: Verify | None) -> BlobView:
    lines: list[Line] = []
    found = False
    try:
        for part in parts_of(content):
            # Lines that are neither bundle nor envelope are shown as well: often they are why nothing verifies.
            candidate = candidate_in(part)
            if candidate is None:
                # One document over several lines has one candidate; other lines are shown one by one.
                lines += [Line(one.line, _other(one.content), len(one.content)) for one in part.lines()]
            else:
                found = True
                lines.append(_line(candidate, verify))
    # More lines than are read, or a line too long: what was read so far is not shown, for it would look like all.
    except ArtifactError as error:
        return replace(view, problem=error.message, unseen=True)
    # Beside an attestation nobody needs to be told what the file looks like.
    if found:
        return replace(view, lines=tuple(lines))
    form = form_of(content)
    # Text that holds no attestation: the likeness says what it looks like instead.
    if not form:
        return replace(view, lines=tuple(lines), problem=likeness_of(content))
    # Packed data has no lines that anybody could read.
    return replace(
        view, lines=tuple(line for line in lines if line.kind != NO_JSON), problem=form, unseen=True
    )


def _line(candidate: Candidate, verify: Verify | None) -> Line:
    """Return what a candidate claims, as far as it can be read."""
    line = Line(candidate.line, _kind(candidate), len(candidate.content), candidate, **_material(candidate))
    try:
        # Each step keeps what the steps before it read: a line is shown as far as it can be.
        line = replace(line, signer=_signer(candidate))
        statement = parse_statement(candidate.payload_type, candidate.payload)
        line = replace(line, statement=statement)
        if statement.predicate_type == PREDICATE_TYPE:
            line = replace(line, summary=parse_vsa(statement))
        elif statement.predicate_type in PREDICATE_TYPES:
            line = replace(line, provenance=parse_provenance(statement))
    except (StatementError, SignatureError) as error:
        line = replace(line, problem=error.message)
    # Signature and content are told apart: a wrong signature on a readable line is worth knowing.
    if verify is not None:
        try:
            verify(candidate)
            line = replace(line, checked="")
        except VerifierError as error:
            line = replace(line, checked=error.message)
    return line


def _kind(candidate: Candidate) -> str:
    if not candidate.is_bundle:
        return "envelope"
    # Each bundle has it: without a known media type the candidate would be none.
    media_type = loads(candidate.content)["mediaType"]
    # Two forms of one media type: "...;version=0.1" and "...bundle.v0.3+json" (Sigstore bundle specification).
    version = media_type.removesuffix("+json").partition("version=")[2] or media_type.rpartition(".v")[2]
    return f"bundle {version.removesuffix('+json')}"


def _signer(candidate: Candidate) -> Signer | None:
    # A key signed it; which one only verification tells.
    if candidate.certificate is None:
        return None
    from slsa_verifier_plugin.signatures.certificate import load, signer_of

    return signer_of(load(candidate.certificate))


def _material(candidate: Candidate) -> dict[str, Any]:
    """Return log entries, and whether there are signed timestamps, of a bundle."""
    if not candidate.is_bundle:
        return {}
    # Read again: a candidate keeps only what verification needs.
    material = object_at(loads(candidate.content), "verificationMaterial")
    # Nothing here is verified: any member may hold a value of any kind.
    return {
        "logs": tuple(map(_entry, objects_at(material, "tlogEntries"))),
        "stamped": bool(at(material, "timestampVerificationData", "rfc3161Timestamps")),
    }


def _entry(value: Mapping[str, Any]) -> LogEntry:
    kind = value.get("kindVersion")
    name = f"{kind.get('kind')} {kind.get('version')}" if isinstance(kind, dict) else ""
    moment = None
    try:
        # Text in protobuf's JSON mapping (int64), and whatever an attacker wrote.
        seconds = int(value.get("integratedTime", 0))
        # 0 is protobuf's default, so the entry names no time.
        moment = datetime.fromtimestamp(seconds, tz=UTC) if seconds > 0 else None
    except (TypeError, ValueError, OverflowError, OSError):
        moment = None
    # Zero is left out (protobuf's JSON mapping).
    return LogEntry(str(value.get("logIndex") or 0), moment, name)


def _other(raw: bytes) -> str:
    """Return what a line is that is neither bundle nor envelope."""
    try:
        value = loads(raw.strip())
    except JsonError:
        return NO_JSON
    # A list or a text is JSON, too; its type says more than its content.
    if not isinstance(value, dict):
        return f"a JSON {type(value).__name__}"
    # The keys by which people recognize a document: a statement, an envelope, a Kubernetes object.
    known = [name for name in ("mediaType", "_type", "predicateType", "payloadType", "kind") if name in value]
    if known:
        return f"JSON with {known[0]} {json.dumps(value[known[0]])[:80]}"
    return f"JSON with {', '.join(list(value)[:4]) or 'nothing in it'}"
