"""In-toto statements (in-toto attestation framework, Statement v1 and v0.1).

The shape is checked by the framework's own library; which subject counts is decided by the policy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from slsa_verifier_plugin.errors import StatementError
from slsa_verifier_plugin.strict_json import JsonError, loads
from slsa_verifier_plugin.text import quoted

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPES = ("https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1")
MAX_SUBJECTS = 4096
SUBJECTS_BY_LIBRARY = 16
"""Subjects of a statement that the in-toto library reads as well."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What a statement is about: digests by algorithm, and annotations."""

    digests: Mapping[str, str]
    annotations: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement with its subjects; the predicate is a decoded JSON object."""

    type: str
    subjects: tuple[Subject, ...]
    predicate_type: str
    predicate: Mapping[str, Any]

    @property
    def digests(self) -> frozenset[str]:
        """All ``sha256`` and ``sha512`` digests of the subjects, written ``algorithm:hex``, as images have them."""
        return frozenset(
            f"{name}:{text}"
            for subject in self.subjects
            for name, text in subject.digests.items()
            if name in ("sha256", "sha512")
        )


def decode(payload_type: str, payload: bytes) -> Any:
    """Return the JSON value in a DSSE payload.

    Raises:
        StatementError: another payload type, or not strict JSON.
    """
    # DSSE: the payload type is signed, so that no content of one kind is taken for another.
    if payload_type != PAYLOAD_TYPE:
        raise StatementError(f"the payload type is {quoted(payload_type)}, expected {PAYLOAD_TYPE}")
    try:
        return loads(payload)
    except JsonError as error:
        raise StatementError(f"the signed payload is not JSON with one meaning: {error}") from error


def predicate_type_in(value: Any) -> str | None:
    """Return the predicate type that a decoded payload claims, None where it is no statement. Nothing else is looked at."""
    predicate_type = value.get("predicateType") if isinstance(value, dict) else None
    return predicate_type if isinstance(predicate_type, str) else None


def parse_statement(payload_type: str, payload: bytes, *, is_claim: bool = False) -> Statement:
    """Return the statement in a DSSE payload.

    Args:
        payload_type: the envelope's.
        payload: its content.
        is_claim: True for one that nobody vouches for yet, and that is read again once it is verified: the framework's library
            takes twenty times as long as all the rest, and is not asked.

    Raises:
        StatementError: as ``decode``, or not a statement of a known version.
    """
    return statement_in(decode(payload_type, payload), is_claim=is_claim)


def statement_in(value: Any, *, is_claim: bool = False) -> Statement:
    """Return the statement that a decoded payload is.

    Args:
        value: what ``decode`` returned.
        is_claim: as for ``parse_statement``.

    Raises:
        StatementError: it is not a statement of a known version.
    """
    # Said apart: protobuf leaves an empty text out, so this is what a broken producer writes.
    if isinstance(value, dict) and value.get("_type") in (None, ""):
        raise StatementError("the signed payload has no _type, expected an in-toto statement v1 or v0.1")
    if not isinstance(value, dict) or value.get("_type") not in STATEMENT_TYPES:
        found = value.get("_type") if isinstance(value, dict) else type(value).__name__
        raise StatementError(
            f"the signed payload is {quoted(found)}, expected an in-toto statement v1 or v0.1"
        )
    predicate, subjects = value.get("predicate"), value.get("subject")
    if not isinstance(predicate, dict):
        raise StatementError("the statement has no predicate object")
    # The library would take an empty one for a missing one as well, and say so in its own words.
    for name in ("predicateType", "subject"):
        if value.get(name) in (None, "", []):
            raise StatementError(f"the statement has no {name}")
    # Before the library reads them: reading one takes ten times as long as its JSON.
    if isinstance(subjects, list) and len(subjects) > MAX_SUBJECTS:
        raise StatementError(f"the statement has {len(subjects)} subjects, more than {MAX_SUBJECTS}")
    if what := _malformation(value):
        raise StatementError(f"the statement is malformed: {what}")
    # What is verified is read again without the flag, so a claim that was read more loosely never counts.
    if not is_claim:
        _require_shape(value)
    return Statement(
        value["_type"],
        tuple(Subject(item["digest"], item.get("annotations") or {}) for item in value["subject"]),
        value["predicateType"],
        predicate,
    )


def _require_shape(value: dict[str, Any]) -> None:
    """Raise StatementError unless the framework's library accepts the statement; predicates stay opaque.

    What is read on has been looked at by now, for protobuf's JSON mapping takes numbers and null for texts.
    """
    # Imported here: a mere claim is read without these libraries.
    from google.protobuf import json_format
    from in_toto_attestation.v1 import statement_pb2
    from in_toto_attestation.v1.statement import STATEMENT_TYPE_URI
    from in_toto_attestation.v1.statement import Statement as Checked

    # The library knows v1 only, whose other fields have the shape of v0.1.
    shape = {**value, "_type": STATEMENT_TYPE_URI, "predicate": {"opaque": True}}
    # Reading a subject by protobuf's mapping takes ten times as long as its JSON. What is read on of all has been checked.
    shape["subject"] = value["subject"][:SUBJECTS_BY_LIBRARY]
    try:
        message = json_format.ParseDict(shape, statement_pb2.Statement(), ignore_unknown_fields=True)
        Checked.copy_from_pb(message).validate()
    except (json_format.ParseError, ValueError, TypeError, RecursionError) as error:
        # The library's own sentence names its types and repeats the input.
        raise StatementError(
            "the statement is malformed: a part of a subject is not of the type that in-toto gives it"
        ) from error


def _malformation(value: dict[str, Any]) -> str:
    """Return what is wrong with what is read of a statement (in-toto Statement v1); empty for nothing."""
    if not isinstance(value["predicateType"], str):
        return "its predicateType is not a string"
    subjects = value["subject"]
    if not isinstance(subjects, list):
        return "its subject is not a list"
    # Every one, for the admitted image may be the last of a thousand.
    for number, subject in enumerate(subjects, 1):
        if not isinstance(subject, dict):
            return f"its subject {number} is not an object"
        digests, annotations = subject.get("digest"), subject.get("annotations")
        # Required: without a digest a subject is about nothing.
        if not isinstance(digests, dict) or not digests:
            return f"its subject {number} has no digest"
        if not all(isinstance(text, str) for text in digests.values()):
            return f"a digest of its subject {number} is not a string"
        # Optional; null says as much as none.
        if annotations is not None and not isinstance(annotations, dict):
            return f"the annotations of its subject {number} are not an object"
    return ""
