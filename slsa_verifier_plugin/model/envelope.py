"""What an attestation blob holds: Sigstore bundles and DSSE envelopes, a line each or one document (step 4).

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
from slsa_verifier_plugin.strict_json import JsonError, loads

BUNDLE_MEDIA_TYPES = (
    "application/vnd.dev.sigstore.bundle+json;version=0.1",
    "application/vnd.dev.sigstore.bundle+json;version=0.2",
    "application/vnd.dev.sigstore.bundle+json;version=0.3",
    "application/vnd.dev.sigstore.bundle.v0.3+json",
)
PREDICATE_TYPE_ANNOTATION = "dev.sigstore.bundle.predicateType"
"""By which tools of Sigstore's say, beside a bundle, what kind of statement it holds."""

MAX_LINES = 65536
"""Lines of one blob, of whatever kind: 200,000 short junk lines kept another plugin busy for 20 s."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""What editors and shells may put before the first line of a file."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One bundle or envelope: its bytes, and what it claims.

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
    """The candidates of one blob, and how many lines were of other kinds."""

    candidates: tuple[Candidate, ...]
    others: int


def read_blob(content: bytes, most: int) -> Blob:
    """Return the candidates in ``content``: one JSON document, or JSON lines.

    Args:
        content: the blob.
        most: bundles and envelopes at the most (``maxBundles``).

    Raises:
        ArtifactError: reason ``LIMIT_EXCEEDED`` for more lines or candidates than allowed.
    """
    content = content.removeprefix(_BYTE_ORDER_MARK)
    document = _document(content)
    candidates: list[Candidate] = []
    others = 0
    for candidate in (
        [document] if document else (_candidate(line, number) for number, line in _lines(content))
    ):
        if candidate is None:
            others += 1
        elif len(candidates) >= most:
            raise ArtifactError(
                f"found more than {most} attestations in one blob, which is all that maxBundles leaves for it; raise it, or "
                "attach fewer",
                reason=Reason.LIMIT_EXCEEDED,
            )
        else:
            candidates.append(candidate)
    return Blob(tuple(candidates), others)


def _document(content: bytes) -> Candidate | None:
    """Return the only candidate of a blob that is one JSON document over several lines, else None."""
    first, newline, _ = content.lstrip().partition(b"\n")
    if not newline:
        return None
    try:
        loads(first)
    except JsonError:
        return _candidate(content.strip(), 1)
    return None


def _lines(content: bytes) -> Iterator[tuple[int, bytes]]:
    start, number = 0, 0
    while start < len(content):
        end = content.find(b"\n", start)
        end = len(content) if end < 0 else end
        number += 1
        if number > MAX_LINES:
            raise ArtifactError(
                f"the artifact has more than {MAX_LINES} lines; attach only attestations, one a line",
                reason=Reason.LIMIT_EXCEEDED,
            )
        line = content[start:end].strip()
        start = end + 1
        if line:
            yield number, line


def _candidate(line: bytes, number: int) -> Candidate | None:
    # Almost any other line is passed over without being parsed. A bundle that escapes this name is passed over too.
    if b'"payload"' not in line:
        return None
    try:
        value = loads(line)
    except JsonError:
        return None
    if not isinstance(value, dict):
        return None
    if isinstance(value.get("dsseEnvelope"), dict):
        return _bundle(value, line, number)
    return _envelope(value, line, number)


def _bundle(value: Mapping[str, Any], line: bytes, number: int) -> Candidate | None:
    material = value.get("verificationMaterial")
    if value.get("mediaType") not in BUNDLE_MEDIA_TYPES or not isinstance(material, dict):
        return None
    envelope = value["dsseEnvelope"]
    payload = _base64(envelope.get("payload"))
    payload_type = envelope.get("payloadType")
    if payload is None or not isinstance(payload_type, str):
        return None
    key = material.get("publicKey")
    hint = key.get("hint", "") if isinstance(key, dict) else ""
    return Candidate(
        line,
        number,
        True,
        payload_type,
        payload,
        _certificate(material),
        hint if isinstance(hint, str) else "",
    )


def _envelope(value: Mapping[str, Any], line: bytes, number: int) -> Candidate | None:
    payload, payload_type, signatures = (
        _base64(value.get("payload")),
        value.get("payloadType"),
        value.get("signatures"),
    )
    if payload is None or not isinstance(payload_type, str) or not isinstance(signatures, list):
        return None
    hints = [item.get("keyid") for item in signatures if isinstance(item, dict)]
    return Candidate(
        line, number, False, payload_type, payload, None, next((h for h in hints if isinstance(h, str)), "")
    )


def _certificate(material: Mapping[str, Any]) -> bytes | None:
    single, chain = material.get("certificate"), material.get("x509CertificateChain")
    if isinstance(chain, dict) and isinstance(chain.get("certificates"), list) and chain["certificates"]:
        single = single or chain["certificates"][0]
    if not isinstance(single, dict):
        return None
    return _base64(single.get("rawBytes")) or b""


def _base64(value: object) -> bytes | None:
    """Decode standard or URL-safe base64, as protobuf's JSON mapping allows; None where it is neither."""
    if not isinstance(value, str):
        return None
    try:
        return base64.b64decode(value.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        return None
