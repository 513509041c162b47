"""Steps 2 to 4: the artifact's manifest, its blobs, and what they hold."""

from __future__ import annotations

import json
from collections.abc import Iterator

from tests.conformance.case import Case, attested, honest, lines, signed
from tests.conformance.model import digest_of
from tests.support.sigstore import Lab, source_provenance, vsa


def cases() -> Iterator[Case]:
    """Yield the cases."""
    yield from _manifests()
    yield from _blobs()
    yield from _contents()
    yield from _many()


def _manifests() -> Iterator[Case]:
    note = attested(honest())
    yield Case(
        "artifact-oci-artifact-manifest",
        "An OCI artifact manifest (blobs).",
        "VERIFIED",
        artifact={"kind": "artifact"},
        blobs=note,
    )
    yield Case(
        "artifact-index",
        "An index holds no attestation.",
        "ARTIFACT_INVALID",
        artifact={"kind": "index", "blobs": []},
        step=2,
    )
    yield Case(
        "artifact-subject-other",
        "A valid attestation that hangs on another image: whoever may push could point at it.",
        "SUBJECT_MISMATCH",
        artifact={"subject": "other"},
        blobs=note,
        step=2,
    )
    yield Case(
        "artifact-subject-none",
        "An attestation that hangs on no image.",
        "SUBJECT_MISMATCH",
        artifact={"subject": "none"},
        blobs=note,
        step=2,
    )
    changes: dict[str, tuple[dict[str, object], str]] = {
        "subject-text": ({"subject": "sha256"}, "The subject is no descriptor."),
        "schema-version": ({"schemaVersion": 1}, "Schema version 1."),
        "media-type-other": (
            {"mediaType": "application/vnd.oci.image.index.v1+json"},
            "The manifest calls itself something else than its descriptor does.",
        ),
        "mixed": ({"manifests": []}, "An image manifest that could be read as an index, too."),
        "layers-text": ({"layers": "none"}, "The layers are no list."),
        "layer-no-digest": ({"layers": [{"mediaType": "x", "size": 1}]}, "A layer without a digest."),
        "layer-negative": (
            {"layers": [{"mediaType": "x", "size": -1, "digest": "sha256:" + "0" * 64}]},
            "A layer of less than nothing.",
        ),
        "annotations-number": ({"annotations": {"a": 1}}, "Annotations that are no strings."),
    }
    for name, (manifest, why) in changes.items():
        yield Case(
            f"artifact-{name}", why, "ARTIFACT_INVALID", artifact={"manifest": manifest}, blobs=note, step=2
        )
    yield Case(
        "artifact-too-many-layers",
        "2,000 layers.",
        "LIMIT_EXCEEDED",
        artifact={"manifest": {"layers": [{"mediaType": "x", "size": 0, "digest": digest_of(b"")}] * 2000}},
        blobs=note,
        step=2,
    )
    yield Case(
        "artifact-media-type-unknown",
        "The descriptor gives a media type that is no manifest's.",
        "ARTIFACT_INVALID",
        artifact={"descriptor": {"mediaType": "text/plain"}},
        blobs=note,
        step=2,
    )
    yield Case(
        "artifact-size-lies",
        "The descriptor Ratify hands over has another size than the manifest.",
        "REGISTRY_INVALID_RESPONSE",
        artifact={"descriptor": {"size": 17}},
        blobs=note,
    )
    yield Case(
        "artifact-digest-unknown",
        "The descriptor names a manifest that the registry does not have.",
        "REGISTRY_NOT_FOUND",
        artifact={"descriptor": {"digest": digest_of(b"nowhere")}},
        blobs=note,
    )


def _blobs() -> Iterator[Case]:
    name, content = "attestation.intoto.jsonl", honest()
    files = {name: content}
    wrong = digest_of(b"something else")
    yield Case(
        "blob-digest-lies",
        "The layer's digest is not its content's; the registry serves it all the same.",
        "REGISTRY_INVALID_RESPONSE",
        artifact={"blobs": [{"file": name, "digest": wrong}]},
        blobs=files,
        step=3,
    )
    for how, size in (("smaller", len(content) - 1), ("larger", len(content) + 1), ("zero", 0)):
        yield Case(
            f"blob-size-{how}",
            "The layer's size is not its content's.",
            "REGISTRY_INVALID_RESPONSE",
            artifact={"blobs": [{"file": name, "size": size}]},
            blobs=files,
            step=3,
        )
    yield Case(
        "blob-missing",
        "The layer is not in the registry.",
        "REGISTRY_NOT_FOUND",
        artifact={"blobs": [{"file": name, "digest": wrong, "held": False}]},
        blobs=files,
        step=3,
    )
    yield Case(
        "blob-over-limit",
        "A layer larger than maxAttestationBytes is not read.",
        "LIMIT_EXCEEDED",
        parameters={"maxAttestationBytes": 4096},
        blobs=files,
        says=("maxAttestationBytes",),
        step=3,
    )
    yield Case(
        "blob-at-limit",
        "A layer of exactly maxAttestationBytes.",
        "VERIFIED",
        parameters={"maxAttestationBytes": len(content)},
        blobs=files,
    )
    yield Case(
        "blob-over-limit-together",
        "Two layers, together larger than maxAttestationBytes.",
        "LIMIT_EXCEEDED",
        parameters={"maxAttestationBytes": len(content) + 10},
        blobs={name: content, "more.txt": b"x" * 100},
        step=3,
    )
    yield Case(
        "blob-second",
        "The summary is in the second layer.",
        "VERIFIED",
        blobs={"a.txt": b"nothing here\n", "b.jsonl": content},
    )
    eleven = {f"{number:02}.txt": b"nothing here %d\n" % number for number in range(11)}
    yield Case(
        "blob-twelfth",
        "The summary is in the twelfth layer; Ratify's Go plugin reads ten.",
        "VERIFIED",
        blobs={**eleven, "z.jsonl": content},
    )


def _contents() -> Iterator[Case]:
    bundle = signed()
    pretty = json.dumps(json.loads(bundle), indent=2).encode()
    good = {
        "one-document": (pretty, "One bundle as an indented JSON document."),
        "one-line": (bundle, "One line without a newline at its end."),
        "crlf": (bundle + b"\r\n" + bundle + b"\r\n", "Lines that end as on Windows."),
        "blank-lines": (b"\n\n" + bundle + b"\n\n\n", "Blank lines around the bundle."),
        "other-lines": (
            lines(b"# a comment", b"{}", b'{"payload":1}', b"[1]", bundle, b"end"),
            "Lines of other kinds are passed over.",
        ),
        "reordered": (
            json.dumps(json.loads(bundle), sort_keys=True).encode(),
            "The same bundle with its names in another order.",
        ),
    }
    for name, (content, why) in good.items():
        yield Case(f"content-{name}", why, "VERIFIED", blobs=attested(content))
    value = json.loads(bundle)
    value["mediaType"] = "application/vnd.dev.sigstore.bundle.v0.9+json"
    cut = bundle[: len(bundle) // 2]
    doubled = bundle.replace(b'"dsseEnvelope":', b'"dsseEnvelope":{},"dsseEnvelope":', 1)
    bad = {
        "empty": (b"", "An empty layer."),
        "blank": (b"\n \n", "White space."),
        "truncated": (cut, "Half a bundle."),
        "not-utf8": (b"\xff" + bundle, "Bytes that are no UTF-8."),
        "binary": (bytes(range(256)) * 16, "No text."),
        "duplicate-names": (doubled, "A bundle with one name twice."),
        "deep": (b'{"payload":' + b"[" * 50_000 + b"]" * 50_000 + b"}", "JSON nested 50,000 deep."),
        "unknown-version": (json.dumps(value).encode(), "A bundle of a version that nobody knows yet."),
        "values": (b'{"payload":[' + b"[]," * 500_000 + b"[]]}", "Half a million values in one line."),
        "no-payload": (bundle.replace(b'"payload":', b'"pay_load":', 1), "An envelope without a payload."),
        "payload-not-base64": (
            bundle.replace(b'"payload":"', b'"payload":"*', 1),
            "A payload that is no base64.",
        ),
        "html": (b"<html>sign in</html>\n" * 50, "A sign-in page, saved as an attestation."),
    }
    for name, (content, why) in bad.items():
        yield Case(f"content-{name}", why, "NO_ATTESTATION", blobs=attested(content), step=4)
    yield Case(
        "content-provenance-alone",
        "Source provenance, properly signed, and no summary.",
        "NO_VSA",
        blobs=attested(signed(source_provenance())),
        says=("verification summary",),
        step=6,
    )


def _many() -> Iterator[Case]:
    lab = Lab()
    low = lab.sign(vsa(levels=("SLSA_SOURCE_LEVEL_1",)))
    high = lab.sign(vsa(levels=("SLSA_SOURCE_LEVEL_3",)))
    foreign = lab.sign(vsa(repository="example/other"))
    broken = high.replace(b'"sig":"', b'"sig":"AA', 1)
    provenance = lab.sign(source_provenance())
    yield Case(
        "many-last-matches",
        "Broken, foreign and lower-level bundles first: the last one suffices.",
        "VERIFIED",
        blobs=attested(lines(broken, foreign, low, provenance, high)),
    )
    yield Case(
        "many-furthest-speaks",
        "None passes: the reason is that of the one that got furthest.",
        "LEVEL_TOO_LOW",
        blobs=attested(lines(broken, foreign, low, provenance)),
        says=("SLSA_SOURCE_LEVEL_1", "SLSA_SOURCE_LEVEL_2"),
        step=11,
    )
    yield Case(
        "many-levels-do-not-add-up",
        "Two summaries, each with one of the two expected levels: no single one has both.",
        "LEVEL_TOO_LOW",
        parameters={"expectedVerifiedLevels": ["SLSA_SOURCE_LEVEL_2", "ORG_SOURCE_TESTED"]},
        blobs=attested(lines(high, lab.sign(vsa(levels=("SLSA_SOURCE_LEVEL_1", "ORG_SOURCE_TESTED"))))),
        step=11,
    )
    yield Case(
        "many-over-limit",
        "One bundle more than maxBundles.",
        "LIMIT_EXCEEDED",
        parameters={"maxBundles": 2},
        blobs=attested(lines(high, high, high)),
        says=("maxBundles",),
    )
    yield Case(
        "many-at-limit",
        "Exactly maxBundles.",
        "VERIFIED",
        parameters={"maxBundles": 3},
        blobs=attested(lines(low, low, high)),
    )
    yield Case(
        "many-junk-lines",
        "200,000 short lines of junk, which kept Ratify's Go plugin busy for over 20 s.",
        "LIMIT_EXCEEDED",
        blobs={"junk.txt.repeat": b'200000 {"a":1}\n'},
    )
    yield Case(
        "many-padding-then-summary",
        "60 MiB of padding beside a valid summary: over the limit is a failure, never a reason to skip.",
        "LIMIT_EXCEEDED",
        blobs={"padding.txt.repeat": b"8000000 padding\n", "note.jsonl": lines(high)},
    )
