"""How ``inspect`` shows what it found: a tree for people, JSON for programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from slsa_verifier_plugin.checking.inspecting import ArtifactView, BlobView, ImageView, Line
from slsa_verifier_plugin.cli.render.painter import Painter, short
from slsa_verifier_plugin.sinks import Json, json_text
from slsa_verifier_plugin.text import plain

NOT_VERIFIED = "Nothing here has been verified: this is what the lines claim. --verify checks the signatures."
NOT_SIGNED = "No signature was checked: nothing was found here that has one."
MAX_LINES = 32
"""Lines of one blob that are shown without ``--verbose``."""
_EXTENSIONS = {
    11: "runner",
    12: "source repository",
    13: "source commit",
    14: "source ref",
    9: "build signer",
    18: "build config",
    20: "build trigger",
    21: "run",
}
"""GitHub's certificate extensions by the last arc of their OID (Fulcio ``docs/oid-info.md``)."""


@dataclass(frozen=True, slots=True)
class _Node:
    """One entry of the tree: its text, and what hangs below it."""

    text: str
    children: tuple[_Node, ...] = ()


def text_of(view: ImageView | BlobView, painter: Painter, *, verified: bool, verbose: bool) -> Iterator[str]:
    """Yield the lines for people."""
    tree = _Tree(painter, verbose)
    root = tree.image(view) if isinstance(view, ImageView) else tree.blob(view)
    yield root.text
    # The root stands without a sign; what hangs below it has one.
    yield from _branches(root.children, "", painter)
    if not verified or is_unsigned(view):
        yield ""
        for line in painter.lines(NOT_SIGNED if verified else NOT_VERIFIED):
            yield painter.paint(line, "yellow")


def has_failed(view: ImageView | BlobView) -> bool:
    """Return True if a signature was checked and does not verify."""
    # None: nobody checked. An empty text: it verifies. Any other text is the failure.
    return any(line.checked for blob in _blobs(view) for line in blob.lines)


def is_unsigned(view: ImageView | BlobView) -> bool:
    """Return True if no signature was checked."""
    return all(line.checked is None for blob in _blobs(view) for line in blob.lines)


def is_incomplete(view: ImageView | BlobView) -> bool:
    """Return True if a part could not be had or looked into, so that its signatures are unknown."""
    artifacts = view.artifacts if isinstance(view, ImageView) else ()
    return any(part.unseen for part in artifacts) or any(blob.unseen for blob in _blobs(view))


def _blobs(view: ImageView | BlobView) -> list[BlobView]:
    if isinstance(view, BlobView):
        return [view]
    return [blob for artifact in view.artifacts for blob in artifact.blobs]


def _branches(nodes: tuple[_Node, ...], indent: str, painter: Painter) -> Iterator[str]:
    signs = ("├─ ", "└─ ", "│  ") if painter.symbols else ("|- ", "`- ", "|  ")
    for number, node in enumerate(nodes, 1):
        # The last branch ends the bar beside those below it.
        last = number == len(nodes)
        below = indent + ("   " if last else signs[2])
        first, *more = painter.broken(node.text, len(below) + 3)
        # A bool is the index: the first sign for a branch in the middle, the second for the last.
        yield f"{indent}{signs[last]}{first}"
        # A wrapped line keeps the bar of the branch beside it where something hangs below.
        hanging = below + (signs[2] if node.children else "   ")
        yield from (f"{hanging}{line}" for line in more)
        yield from _branches(node.children, below, painter)


class _Tree:
    """Builds the tree. Every foreign text in it is made safe here."""

    def __init__(self, painter: Painter, verbose: bool) -> None:
        self._painter = painter
        self._verbose = verbose

    def image(self, view: ImageView) -> _Node:
        children = [_Node(f"platform {plain(name)}") for name in view.platforms]
        # These two say what the image was built from; a base image's dozens of others are for --verbose.
        children += self._annotations(view.annotations, ".image.revision", ".image.source")
        children += [self.artifact(artifact) for artifact in view.artifacts]
        # An image without attachments looks like one whose attachments could not be read; this says which.
        if not view.artifacts:
            children.append(_Node(self._painter.paint("nothing is attached", "yellow")))
        return _Node(
            f"{self._painter.paint(plain(view.name, 512), 'bold')} ({plain(view.kind)})", tuple(children)
        )

    def artifact(self, view: ArtifactView) -> _Node:
        kind = view.artifact_type or "no artifact type"
        text = f"{self._painter.paint(plain(kind), 'cyan')} {plain(str(view.descriptor.digest))}"
        # Of an artifact that could not be read the own type is unknown, so nothing can be compared.
        children = self._problems(view.problem or _misreported(view))
        children += self._annotations(view.annotations)
        children += [self.blob(blob) for blob in view.blobs]
        return _Node(text, tuple(children))

    def blob(self, view: BlobView) -> _Node:
        name = f"{plain(view.name, 512)} " if view.name else ""
        text = f"{self._painter.paint(name, 'bold')}{short(view.digest)}, {view.size} bytes"
        children = self._problems(view.problem or ("" if view.lines else "it is empty"))
        # A blob may have thousands of lines, and a terminal has fifty.
        shown = view.lines if self._verbose else view.lines[:MAX_LINES]
        children += [self.line(line) for line in shown]
        # Said, never silently cut: the line that somebody looks for may be among the others.
        if len(shown) < len(view.lines):
            children.append(_Node(f"{len(view.lines) - len(shown)} more lines; --verbose shows them"))
        return _Node(text, tuple(children))

    def line(self, line: Line) -> _Node:
        what = plain(line.kind)
        # What cannot be parsed still has a kind, such as bundle or envelope.
        if line.statement is not None:
            what += f", {plain(line.statement.predicate_type)}"
        # A line that is neither bundle nor envelope has no facts: its kind says all.
        facts = list(self._facts(line)) if line.candidate is not None else []
        return _Node(
            f"{self._painter.paint(f'line {line.number}', 'bold')}: {what}", tuple(map(_Node, facts))
        )

    def _facts(self, line: Line) -> Iterator[str]:
        if line.checked is not None:
            failed = bool(line.checked)
            mark = self._painter.mark("failed" if failed else "passed").rstrip()
            yield f"{mark} {plain(line.checked, 512) if failed else 'the signature verifies'}"
        if line.problem:
            yield self._problem(line.problem)
        # A summary names its subjects as commits, with their refs, further down.
        if line.statement is not None and line.summary is None:
            # Eight: a provenance of a large build has hundreds.
            for subject in line.statement.subjects[:8]:
                digests = ", ".join(f"{plain(name)} {plain(text)}" for name, text in subject.digests.items())
                yield f"subject {digests}"
        yield from self._summary(line)
        if line.provenance is not None:
            yield f"builder {plain(line.provenance.builder_id, 512)}"
            for material in line.provenance.materials[:8]:
                yield f"built from {plain(material.repository, 512)} at {material.commit}"
        yield from self._signer(line)
        for entry in line.logs:
            moment = f", {entry.time:%Y-%m-%dT%H:%M:%SZ}" if entry.time else ""
            yield f"log index {plain(entry.index)}{moment} ({plain(entry.kind)})"
        if line.stamped:
            yield "signed timestamp"

    def _summary(self, line: Line) -> Iterator[str]:
        summary = line.summary
        if summary is None:
            return
        # A summary may state no level at all; then there is nothing that a policy could ask for.
        levels = ", ".join(plain(name) for name in summary.levels) or "no level"
        yield f"levels {self._painter.paint(levels, 'green')}, result {plain(summary.result)}"
        yield f"resourceUri {plain(summary.resource_uri, 512)}"
        yield f"verifier.id {plain(summary.verifier_id, 512)}"
        for source in summary.sources[:8]:
            refs = f" on {', '.join(plain(ref) for ref in source.refs[:8])}" if source.refs else ""
            yield f"commit {source.commit}{refs}"
        for digest in sorted(summary.digests)[:8]:
            yield f"image {digest}"
        if summary.time_verified is not None:
            yield f"timeVerified {summary.time_verified:%Y-%m-%dT%H:%M:%SZ}"

    def _signer(self, line: Line) -> Iterator[str]:
        # A public key signed: the bundle has a hint at best, and which key it is only verification tells.
        if line.signer is None:
            hint = line.candidate.key_hint if line.candidate else ""
            yield f"signed with a key{f' ({plain(hint)})' if hint else ''}"
            return
        yield f"signer {plain(line.signer.identity, 512)}"
        yield f"issuer {plain(line.signer.issuer, 512)}"
        if self._verbose:
            for arc, value in sorted(line.signer.claims.items()):
                yield f"{_EXTENSIONS.get(arc, f'extension {arc}')} {plain(value, 512)}"

    def _annotations(self, annotations: Mapping[str, str], *always: str) -> list[_Node]:
        """Return those whose names end with one of ``always``, all if verbose."""
        names = [name for name in sorted(annotations) if self._verbose or name.endswith(always)]
        return [_Node(f"{plain(name)}: {plain(annotations[name])}") for name in names]

    def _problems(self, text: str) -> list[_Node]:
        return [_Node(self._problem(text))] if text else []

    def _problem(self, text: str) -> str:
        return f"{self._painter.mark('warning').rstrip()} {plain(text, 512)}"


def json_of(view: ImageView | BlobView, *, verified: bool) -> Json:
    """Return what was found as JSON; ``verified`` tells whether signatures were checked."""
    found = _image_value(view) if isinstance(view, ImageView) else {"file": _blob_value(view)}
    return json_text({"verified": verified, **found})


def _misreported(view: ArtifactView) -> str:
    """Return what is wrong with the type under which an artifact is listed, and whose word that is; empty for nothing."""
    listed = view.descriptor.artifact_type
    if listed == (view.artifact_type or None):
        return ""
    # The index under a tag is written by the client that attached, so the registry is not to blame.
    if view.descriptor.listed_by_tag:
        shown = f"as {listed}" if listed else "without a type"
        return f"the index under the fallback tag lists it {shown}; the client that attached it wrote that: attach it again"
    # Without a type the registry says nothing that could be wrong.
    return f"the registry reports it as {listed}" if listed else ""


def _image_value(view: ImageView) -> dict[str, Any]:
    return {
        "image": plain(view.name, 1024),
        "kind": view.kind,
        "platforms": [plain(name) for name in view.platforms],
        "annotations": _texts(view.annotations),
        "artifacts": [
            {
                "digest": str(item.descriptor.digest),
                "artifactType": plain(item.artifact_type),
                "reportedArtifactType": plain(item.descriptor.artifact_type or ""),
                "annotations": _texts(item.annotations),
                "problem": plain(item.problem, 1024),
                "blobs": [_blob_value(blob) for blob in item.blobs],
            }
            for item in view.artifacts
        ],
    }


def _blob_value(view: BlobView) -> dict[str, Any]:
    return {
        "name": plain(view.name, 1024),
        "digest": view.digest,
        "mediaType": plain(view.media_type),
        "size": view.size,
        "problem": plain(view.problem, 1024),
        "lines": [_line_value(line) for line in view.lines],
    }


def _line_value(line: Line) -> dict[str, Any]:
    value: dict[str, Any] = {"number": line.number, "kind": plain(line.kind), "size": line.size}
    # Neither bundle nor envelope: nothing else is known of it.
    if line.candidate is None:
        return value
    value["problem"] = plain(line.problem, 1024)
    # None: nobody checked. An empty text: checked, and it verifies.
    if line.checked is not None:
        value["signature"] = {"verifies": not line.checked, "problem": plain(line.checked, 1024)}
    if line.statement is not None:
        value["statementType"] = line.statement.type
        value["predicateType"] = plain(line.statement.predicate_type, 1024)
        value["subjects"] = [_texts(subject.digests) for subject in line.statement.subjects]
    if line.summary is not None:
        value["summary"] = {
            "verifierId": plain(line.summary.verifier_id, 2048),
            "resourceUri": plain(line.summary.resource_uri, 2048),
            "result": plain(line.summary.result),
            "levels": [plain(name) for name in line.summary.levels],
            "commits": [
                {"commit": source.commit, "refs": [plain(ref) for ref in source.refs]}
                for source in line.summary.sources
            ],
            "timeVerified": f"{line.summary.time_verified:%Y-%m-%dT%H:%M:%SZ}"
            if line.summary.time_verified
            else "",
        }
    if line.provenance is not None:
        value["provenance"] = {
            "builderId": plain(line.provenance.builder_id, 2048),
            "materials": [f"{item.repository}@{item.commit}" for item in line.provenance.materials],
        }
    if line.signer is not None:
        value["signer"] = {
            "identity": plain(line.signer.identity, 2048),
            "issuer": plain(line.signer.issuer, 2048),
            "extensions": {str(arc): plain(text, 2048) for arc, text in sorted(line.signer.claims.items())},
        }
    else:
        value["keyHint"] = plain(line.candidate.key_hint)
    value["logEntries"] = [
        {
            "index": plain(entry.index),
            "time": f"{entry.time:%Y-%m-%dT%H:%M:%SZ}" if entry.time else "",
            "kind": plain(entry.kind),
        }
        for entry in line.logs
    ]
    value["signedTimestamp"] = line.stamped
    return value


def _texts(values: Mapping[str, str]) -> dict[str, str]:
    return {plain(key): plain(value, 2048) for key, value in values.items()}
