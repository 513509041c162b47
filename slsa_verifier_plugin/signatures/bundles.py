"""A bundle's parts, bounded before anything is made of them, and parsed.

Nothing of a bundle is known to be genuine before its signature has verified, so each part has a limit in number and size that
no real bundle comes near. They are held against the parsed JSON, before certificates, timestamps, proofs or checkpoints are
looked into: a checkpoint of 600,000 lines once cost 7.4 s before its signature was looked at.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from slsa_verifier_plugin.errors import SignatureError
from slsa_verifier_plugin.model.envelope import Candidate
from slsa_verifier_plugin.signatures.certificate import MAX_CERTIFICATE
from slsa_verifier_plugin.signatures.libraries import bundle_v1
from slsa_verifier_plugin.strict_json import loads

MAX_CERTIFICATES = 16
"""Certificates of a chain; old bundles have three."""

MAX_HASHES = 64
"""Hashes of an inclusion proof: a tree of 2^64 entries needs no more (RFC 9162, section 2.1.3)."""

MAX_CHECKPOINT = 16 << 10
"""Characters of a checkpoint: its head has 200, each signature line some 120, and a log may have dozens of witnesses."""

MAX_CHECKPOINT_LINES = 128
"""Lines of a checkpoint, each of which is looked at."""

MAX_BODY = 128 << 10
"""Characters of a log entry's body, in base64; it holds digests, a signature and a certificate, not the payload."""

MAX_TOKEN = 32 << 10
"""Characters of a signed timestamp, in base64; with its certificates one has some 8,000."""

MAX_BESIDES = 1 << 20
"""Bytes of a bundle beside its payload; a bundle with more is refused before it is parsed here."""

MAX_OTHER = 64 << 10
"""Characters of all other text of a bundle together: ids, times, signatures; not the payload, whose limit is the blob's."""

MAX_MEMBERS = 512
"""Values in a bundle's JSON, of whatever kind; with all lists at their limits there are fewer."""

MAX_SIGNATURES = 16
"""Signatures of one envelope."""

INTOTO = ("intoto", "0.0.2")
"""The log entry of old cosign versions and of npm."""


def parse(candidate: Candidate) -> bundle_v1.Bundle:
    """Return the bundle; log entries may be missing altogether, as where there is only a timestamp authority.

    Raises:
        SignatureError: a part is over its limit, or an entry is of a kind that is not verified, or has no proof.
        ValueError: it cannot be read.
    """
    # The payload is base64 (four characters for three bytes) and has a limit of its own, ``maxAttestationBytes``.
    besides = len(candidate.content) - (len(candidate.payload) + 2) // 3 * 4
    if besides > MAX_BESIDES:
        raise _too_much("JSON", besides, MAX_BESIDES, "bytes beside its payload")
    # Strict once more, though the candidate was read from the same bytes: what follows looks members up by name.
    value = loads(candidate.content)
    _require_sizes(value)
    material = value["verificationMaterial"]
    entries = _either(material, "tlogEntries", "tlog_entries")
    is_whole = True
    # More than one entry is refused by sigstore-python later; each is looked at here, for its own fault says more.
    for entry in entries or ():
        # What is no object is refused by the model that reads it.
        if isinstance(entry, dict):
            _require_entry(entry)
            is_whole &= not _fill(entry)
    # sigstore-python cannot read a bundle without the member; protobuf leaves an empty list out (JSON mapping, "default
    # values").
    if entries is None:
        # An absent list and an empty one say the same (protobuf's JSON mapping), so nothing is added that was not there.
        material["tlogEntries"] = []
    # Unchanged: the bytes are handed on as they came, and not written once more, which would take as long as reading.
    elif is_whole:
        return bundle_v1.Bundle.from_json(candidate.content)
    # Written anew, with the zeros and lists that protobuf's JSON mapping left out.
    return bundle_v1.Bundle.from_json(json.dumps(value))


def tokens_of(bundle: bundle_v1.Bundle) -> list[bytes]:
    """Return the bundle's signed timestamps in DER."""
    data = bundle.verification_material.timestamp_verification_data
    return [stamp.signed_timestamp for stamp in (data.rfc3161_timestamps if data else [])]


def with_tokens(bundle: bundle_v1.Bundle, kept: Collection[bytes]) -> bundle_v1.Bundle:
    """Return ``bundle`` with those of its signed timestamps that are in ``kept``.

    They are no part of what is signed or logged: anybody could take them out, and what is left must vouch for its time as ever.
    """
    data = bundle.verification_material.timestamp_verification_data
    # No timestamps at all: nothing to leave out.
    if data is None:
        return bundle
    stamps = [stamp for stamp in data.rfc3161_timestamps if stamp.signed_timestamp in kept]
    # Copied, for the parsed bundle is shared with whoever looks at all of its timestamps.
    update = {"timestamp_verification_data": data.model_copy(update={"rfc3161_timestamps": stamps})}
    # With none left the member is None, as in a bundle that never had a timestamp.
    material = bundle.verification_material.model_copy(update=update if stamps else dict.fromkeys(update))
    return bundle.model_copy(update={"verification_material": material})


def logged_at(bundle: bundle_v1.Bundle) -> datetime | None:
    """Return the log's time where its promise covers it, which is still to be verified; None where there is none."""
    # Only a promise (signed entry timestamp) covers ``integratedTime``; without one anybody could have written it (Rekor v1
    # API).
    for entry in bundle.verification_material.tlog_entries:
        # Rekor v2 has no time of its own, and writes 0.
        if entry.integrated_time and entry.inclusion_promise:
            try:
                return datetime.fromtimestamp(entry.integrated_time, tz=UTC)
            # Seconds of any size fit into the JSON; what ``datetime`` raises for them differs by platform.
            except (ValueError, OverflowError, OSError):
                raise SignatureError("the log entry's time is none that there can be") from None
    return None


def verified_index(bundle: bundle_v1.Bundle) -> int:
    """Return the entry's index as something verified vouches for it.

    A promise (Rekor v1) is over the entry's index in the whole log. Without one (Rekor v2) nothing is over ``logIndex``; the
    index in the proof is part of the path that led to the checkpoint's root, in a tree of the size that the checkpoint says.

    Raises:
        SignatureError: the proof is of a tree of another size than the checkpoint's, so that its index may be a lie.
    """
    # Exactly one: sigstore-python has refused any other number by now.
    (entry,) = bundle.verification_material.tlog_entries
    if logged_at(bundle) is not None:
        # The promise's signature covers this index, so nobody else could have written it.
        return entry.log_index
    proof = entry.inclusion_proof
    # The second line of a checkpoint is the tree's size (C2SP tlog-checkpoint).
    lines = proof.checkpoint.envelope.split("\n", 2) if proof.checkpoint else []
    if len(lines) < 3 or lines[1] != str(proof.tree_size):
        raise SignatureError(
            "the inclusion proof is for a tree of another size than the one whose checkpoint the log signed",
            "attach the original bundle, unchanged",
        )
    return proof.log_index


def _require_entry(entry: Mapping[str, Any]) -> None:
    kind = _either(entry, "kindVersion", "kind_version")
    # sigstore-python verifies dsse and hashedrekord; this one hashes another form of the envelope.
    if isinstance(kind, dict) and (kind.get("kind"), kind.get("version")) == INTOTO:
        raise SignatureError(
            "the bundle's log entry is of type intoto 0.0.2, of an old cosign or npm, which is not verified here",
            "have the commit attested anew by a signer that logs dsse entries, as GitHub's workflows and today's "
            "cosign do",
        )
    proof = _either(entry, "inclusionProof", "inclusion_proof")
    # An inclusion promise is the log's word alone; the proof shows that the entry is in the tree that others see, too.
    if not proof or (isinstance(proof, dict) and not proof.get("checkpoint")):
        raise SignatureError(
            "the bundle's log entry has no inclusion proof with a checkpoint, which a promise does not replace here",
            "attach the original bundle, and where that is such a bundle of v0.1 have the commit attested anew",
        )


def _fill(entry: dict[str, Any]) -> bool:
    """Put into a log entry the zeros and the empty list that protobuf's JSON mapping leaves out; return True where some were.

    The first entry of a log has the index 0, and its proof, in a tree of one, no hashes.
    """
    proof = _either(entry, "inclusionProof", "inclusion_proof")
    parts: list[tuple[dict[str, Any], str, str, Any]] = [(entry, "logIndex", "log_index", "0")]
    if isinstance(proof, dict):
        parts += [(proof, "logIndex", "log_index", "0"), (proof, "hashes", "hashes", [])]
    absent = [part for part in parts if _either(*part[:3]) is None]
    for part, name, other, value in absent:
        # Not both names: pydantic would take one of them, and another reader the other.
        part.pop(other, None)
        part[name] = value
    return bool(absent)


def _require_sizes(bundle: Mapping[str, Any]) -> None:
    """Raise ``SignatureError`` where a part has more members, or more characters, than any real one."""
    other = 0
    # Names alone tell what a value is, wherever it stands: whoever hides a long text elsewhere meets the limit for all
    # other text.
    for count, (name, value) in enumerate(_members(bundle), 1):
        # Counted while walking: the walk itself ends at the limit.
        if count > MAX_MEMBERS:
            raise _too_much("JSON", count, MAX_MEMBERS, "values")
        if isinstance(value, list) and len(value) > _LISTS.get(name, MAX_MEMBERS):
            raise _too_much(name, len(value), _LISTS.get(name, MAX_MEMBERS), "entries")
        # The payload's limit is ``maxAttestationBytes``, which the operator sets.
        if isinstance(value, str) and name != _PAYLOAD:
            most = _TEXTS.get(name, MAX_OTHER)
            if len(value) > most:
                raise _too_much(name, len(value), most, "characters")
            if name == _CHECKPOINT and value.count("\n") > MAX_CHECKPOINT_LINES:
                raise _too_much("checkpoint", value.count("\n"), MAX_CHECKPOINT_LINES, "lines")
            # Parts with a limit of their own do not count once more.
            other += 0 if name in _TEXTS else len(value)
            if other > MAX_OTHER:
                raise _too_much("JSON", other, MAX_OTHER, "characters beside its parts")


_PAYLOAD, _CHECKPOINT = "payload", "envelope"
_LISTS = {
    "certificates": MAX_CERTIFICATES,
    "hashes": MAX_HASHES,
    "signatures": MAX_SIGNATURES,
}
"""Members of the lists of the verification material; ``timestamps`` and sigstore-python bound the others."""

_TEXTS = {
    _CHECKPOINT: MAX_CHECKPOINT,
    "canonicalizedBody": MAX_BODY,
    "canonicalized_body": MAX_BODY,
    "signedTimestamp": MAX_TOKEN,
    "signed_timestamp": MAX_TOKEN,
    "rawBytes": MAX_CERTIFICATE * 2,
    "raw_bytes": MAX_CERTIFICATE * 2,
}
"""Characters of the texts of the verification material, by their names in JSON and in protobuf, which pydantic reads as well."""


def _members(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield all values below ``value`` with the names that they, or the lists that they are in, go by."""
    pending = [("", value)]
    while pending:
        name, item = pending.pop()
        yield name, item
        if isinstance(item, dict):
            pending.extend(item.items())
        elif isinstance(item, list):
            # A list's items go by the list's name: "hashes" of texts are each a hash.
            pending.extend((name, child) for child in item)


def _either(value: Mapping[str, Any], name: str, other: str) -> Any:
    """Return a member by its name in JSON or in protobuf: readers accept both (protobuf's JSON mapping)."""
    return value.get(name, value.get(other))


def _too_much(name: str, found: int, most: int, unit: str) -> SignatureError:
    return SignatureError(
        f"the bundle's {name} has {found} {unit}, expected at most {most}",
        "attach the original bundle, unchanged",
    )
