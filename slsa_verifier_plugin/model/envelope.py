"""What an attestation blob holds: Sigstore bundles and DSSE envelopes, bare or in the wrappers of people's tools (step 4).

Nothing here is verified. ``Candidate`` carries what a line claims, so that the policy can look at the most promising ones first;
only ``signatures`` turns a candidate into something that counts.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from slsa_verifier_plugin.errors import ArtifactError, Reason
from slsa_verifier_plugin.members import text_at
from slsa_verifier_plugin.model.documents_in_text import Part, parts_of
from slsa_verifier_plugin.model.forms import form_of, likeness_of

# Versions 0.1 to 0.3 of Sigstore's protobuf-specs; 0.3 is written in two ways.
BUNDLE_MEDIA_TYPES = (
    "application/vnd.dev.sigstore.bundle+json;version=0.1",
    "application/vnd.dev.sigstore.bundle+json;version=0.2",
    "application/vnd.dev.sigstore.bundle+json;version=0.3",
    "application/vnd.dev.sigstore.bundle.v0.3+json",
)
PREDICATE_TYPE_ANNOTATION = "dev.sigstore.bundle.predicateType"
"""The annotation in which Sigstore's tools say what kind of statement a bundle holds."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One bundle or envelope: its bytes, and what it claims.

    ``content`` are bytes of the blob itself, of a wrapped bundle its own without the wrapper; ``line`` is where they begin.
    ``certificate`` is the signing certificate in DER; None where the bundle or envelope is signed with a key, which then is
    named by ``key_hint`` at most. ``is_bundle`` tells a Sigstore bundle from a bare envelope.
    """

    content: bytes
    line: int
    is_bundle: bool
    payload_type: str
    payload: bytes
    certificate: bytes | None
    key_hint: str = ""


@dataclass(frozen=True, slots=True)
class Blob:
    """The candidates of one blob, and how many lines or wrapped values were of other kinds.

    ``form`` says what a blob without candidates is and how to unpack it (``form_of``), ``likeness`` what it seems to be where
    nothing unpacks it (``likeness_of``), each as far as that is known.
    """

    candidates: tuple[Candidate, ...]
    others: int
    form: str = ""
    likeness: str = ""


def read_blob(content: bytes, most: int) -> Blob:
    """Return the candidates in ``content``: JSON documents, a line each or one after another, bare or in wrappers.

    Args:
        content: the blob.
        most: bundles and envelopes at the most (``maxBundles``).

    Raises:
        ArtifactError: reason ``LIMIT_EXCEEDED`` for more lines or candidates than allowed.
    """
    candidates: list[Candidate] = []
    others = 0
    for part in parts_of(content):
        candidate = candidate_in(part)
        if candidate is None:
            others += part.count
        # An error and not a cut: whoever attaches junk before the good one would otherwise have it left out.
        elif len(candidates) >= most:
            raise ArtifactError(
                f"found more than {most} attestations in one blob, which is all that maxBundles leaves for it",
                "raise it, or attach fewer",
                reason=Reason.LIMIT_EXCEEDED,
            )
        else:
            candidates.append(candidate)
    # With an attestation in it nobody asks what the rest of the file is.
    if candidates:
        return Blob(tuple(candidates), others)
    return Blob((), others, form_of(content), likeness_of(content))


def candidates_about(content: bytes, text: str, start: int = 0) -> Iterator[tuple[int, Candidate | None]]:
    """Yield the candidates in ``content`` whose payloads hold ``text``, each with where to go on behind it.

    Lines are looked for by what their payload's base64 must hold, so that one among tens of thousands costs no more than the
    reading of the bytes. Where such a line is no document of its own, the blob is read as ``read_blob`` does, but for what was
    yielded by then. None stands for what is no such candidate and yet cost a look.

    Args:
        content: the blob.
        text: ASCII letters and digits, such as a digest; at least 16.
        start: where to begin: 0, or what was yielded before.

    Raises:
        ArtifactError: reason ``LIMIT_EXCEEDED`` for more lines than may be looked at one by one.
    """
    wanted = text.encode("ascii")
    known: set[bytes] = set()
    # A negative place says that earlier turns read the whole blob; lines are not searched for any more.
    for end, line in _lines_about(content, _needles(wanted), start) if start >= 0 else ():
        # Only lines with the digest in them are parsed, of tens of thousands mostly one.
        found = list(parts_of(line))
        # The line is a part of a document over several lines: the blob must be read from its beginning.
        if len(found) != 1 or found[0].value is None:
            # Told by a negative place, so that the next turn knows which of the two ways it was on.
            start = -1
            break
        # What was yielded line by line is not yielded once more when the whole blob is read.
        known.add(found[0].content)
        yield end, _holding(found[0], wanted)
    if start >= 0:
        return
    # Behind part N is written as -(N + 2).
    for number, part in enumerate(parts_of(content)):
        # Parts before the place were yielded in earlier turns.
        if number >= -start - 1 and part.content not in known:
            yield -(number + 2), _holding(part, wanted)


def _holding(part: Part, wanted: bytes) -> Candidate | None:
    candidate = candidate_in(part)
    return candidate if candidate and wanted in candidate.payload else None


def _lines_about(content: bytes, needles: tuple[bytes, ...], start: int) -> Iterator[tuple[int, bytes]]:
    """Yield the lines from ``start`` on that hold one of ``needles``, each with the offset behind it."""
    # One search for each needle; each is taken up again only behind its last find, so the bytes are passed over once a
    # needle.
    positions = [content.find(needle, start) for needle in needles]
    while any(position >= 0 for position in positions):
        position = min(found for found in positions if found >= 0)
        begin = max(content.rfind(b"\n", 0, position) + 1, start)
        start = content.find(b"\n", position) + 1 or len(content)
        yield start, content[begin:start]
        positions = [
            content.find(needle, start) if 0 <= found < start else found
            for needle, found in zip(needles, positions, strict=True)
        ]


def _needles(text: bytes) -> tuple[bytes, ...]:
    """Return what the base64 of any bytes with ``text`` in them holds: one for each place of it among three bytes."""
    found = []
    for before, cut in ((0, 0), (1, 2), (2, 3)):
        # Three bytes are four characters, so a text begins at one of three places in them; what it shares with its
        # neighbours is cut off.
        encoded = base64.b64encode(b"\0" * before + text)
        found.append(encoded[cut : (before + len(text)) * 8 // 6])
    return tuple(found)


def candidate_in(part: Part) -> Candidate | None:
    """Return the bundle or envelope that ``part`` is, None where it is none."""
    value = part.value
    if not isinstance(value, dict):
        return None
    # Sigstore's own member; a bare envelope has its payload at the top.
    is_bundle = isinstance(value.get("dsseEnvelope"), dict)
    if is_bundle:
        envelope, material = value["dsseEnvelope"], value.get("verificationMaterial")
        # Sigstore's protobuf-specs: later versions may mean other things by the same members, so an unknown one is not read.
        if value.get("mediaType") not in BUNDLE_MEDIA_TYPES or not isinstance(material, dict):
            return None
        # For people: which key of theirs it may have been.
        certificate, hint = _certificate(material), text_at(material, "publicKey", "hint")
    else:
        envelope, signatures = value, value.get("signatures")
        # DSSE's three members are all required; JSON without them is something else, and counted as such.
        if not isinstance(signatures, list):
            return None
        # For people alone: key ids are not signed (DSSE, "keyid"), so no key is chosen by them.
        hints = (text_at(item, "keyid") for item in signatures)
        certificate, hint = None, next(filter(None, hints), "")
    payload, payload_type = from_base64(envelope.get("payload")), envelope.get("payloadType")
    # No envelope that could be signed (DSSE: payload and payloadType are required).
    if payload is None or not isinstance(payload_type, str):
        return None
    return Candidate(part.content, part.line, is_bundle, payload_type, payload, certificate, hint)


def _certificate(material: Mapping[str, Any]) -> bytes | None:
    single, chain = material.get("certificate"), material.get("x509CertificateChain")
    if isinstance(chain, dict) and isinstance(chain.get("certificates"), list) and chain["certificates"]:
        # Bundles until 0.2 have a chain, whose first is the signer's (protobuf-specs, "x509_certificate_chain").
        single = single or chain["certificates"][0]
    # Signed with a key, which has no certificate.
    if not isinstance(single, dict):
        return None
    # Empty and not None: a certificate that cannot be read must not make it a key's signature.
    return from_base64(single.get("rawBytes")) or b""


def from_base64(value: object) -> bytes | None:
    """Decode standard or URL-safe base64, as protobuf's JSON mapping allows; None where it is neither."""
    if not isinstance(value, str):
        return None
    try:
        # Strict: characters that a lenient reader skips would let two texts be one payload.
        return base64.b64decode(value.replace("-", "+").replace("_", "/"), validate=True)
    # ValueError: a character that is not ASCII.
    except (binascii.Error, ValueError):
        return None
