"""Verification summary attestations (SLSA v1.2 ``verification_summary``, ``verifying-source``)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from slsa_verifier_plugin.errors import StatementError
from slsa_verifier_plugin.model.statement import Statement, Subject, decode, statement_in
from slsa_verifier_plugin.text import quoted

PREDICATE_TYPE = "https://slsa.dev/verification_summary/v1"
# Bounds of what is compared: each ref is held against every pattern in expectedSourceRefs.
MAX_LEVELS = 256
MAX_REFS = 1024
MAX_TEXT = 2048
"""Characters of one identifier, level or ref."""

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(\.\d{1,12})?([Zz]|[+-]\d\d:\d\d)",
    re.ASCII,
)
_REF_KEYS = ("sourceRefs", "source_refs", "source_branches")


@dataclass(frozen=True, slots=True)
class SourceSubject:
    """A commit that a summary is about, and the refs it was seen on."""

    commit: str
    refs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class VerificationSummary:
    """A summary's predicate, and its subjects as far as they can matter here.

    ``sources`` are the subjects with a ``gitCommit``; ``digests`` all ``sha256`` and ``sha512`` digests, written
    ``algorithm:hex``; ``algorithms`` the names of all digests. ``time_verified`` is in UTC, None where absent.
    """

    verifier_id: str
    resource_uri: str
    result: str
    levels: tuple[str, ...]
    time_verified: datetime | None
    sources: tuple[SourceSubject, ...]
    digests: frozenset[str]
    algorithms: tuple[str, ...] = ()


Reading = VerificationSummary | StatementError
"""What a payload says: a summary, or why it is none (step 6). This verifies nothing."""


def read(payload_type: str, payload: bytes) -> Reading:
    """Return what a payload says."""
    try:
        return read_decoded(decode(payload_type, payload))
    except StatementError as error:
        # Kept and not raised: whether it matters depends on the step that asks.
        return error


def read_decoded(value: Any) -> Reading:
    """Return what a decoded payload says."""
    try:
        return parse_vsa(statement_in(value))
    except StatementError as error:
        return error


def parse_vsa(statement: Statement) -> VerificationSummary:
    """Return the verification summary in ``statement``.

    Raises:
        StatementError: another predicate type, or a field missing, malformed or over its limit.
    """
    # Not "starts with": a v2 may mean something else by the same fields (in-toto, "predicateType").
    if statement.predicate_type != PREDICATE_TYPE:
        raise StatementError(
            f"the predicate type is {quoted(statement.predicate_type)}, expected {PREDICATE_TYPE}"
        )
    predicate = statement.predicate
    verifier = predicate.get("verifier")
    result = _text(predicate.get("verificationResult"), "verificationResult")
    levels = predicate.get("verifiedLevels")
    if levels is None and result == "FAILED":
        # What failed has reached no level, and producers then leave the field out: the result is what to say (step 9).
        levels = []
    # SLSA v1.2, "verifier": required. Who verified decides who may sign (step 6).
    if not isinstance(verifier, Mapping):
        raise StatementError("the verification summary has no verifier")
    return VerificationSummary(
        verifier_id=_text(verifier.get("id"), "verifier.id"),
        resource_uri=_text(predicate.get("resourceUri"), "resourceUri"),
        result=result,
        levels=_texts(levels, "verifiedLevels", MAX_LEVELS),
        time_verified=parse_time(predicate["timeVerified"]) if "timeVerified" in predicate else None,
        sources=tuple(_source(subject) for subject in statement.subjects if "gitCommit" in subject.digests),
        digests=statement.digests,
        # For the message of step 7 alone: what the summary is about where no digest of it counts.
        algorithms=tuple(dict.fromkeys(name for subject in statement.subjects for name in subject.digests)),
    )


def parse_time(value: object) -> datetime:
    """Return an RFC 3339 time in UTC; digits beyond microseconds are cut off.

    Raises:
        StatementError: it is not such a time.
    """
    # Optional in SLSA v1.2; where the member is there it must be a time.
    if value is None or value == "":
        raise StatementError("timeVerified is missing, expected an RFC 3339 time")
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    # In full: a leap second, a blank for the T, or a week date is what one reader takes and another does not.
    if match is None:
        raise StatementError(f"{quoted(value)} is not an RFC 3339 time")
    # Python reads six digits; Go writes nine.
    fraction = (match[3] or ".0")[:7]
    # RFC 3339, 5.6: "Z" and "z" are UTC.
    zone = "+00:00" if match[4] in "Zz" else match[4]
    try:
        return datetime.fromisoformat(f"{match[1]}T{match[2]}{fraction:0<7}{zone}").astimezone(UTC)
    # The form is right and there is no such time: a 13th month, or one before the year 1 in UTC.
    except (ValueError, OverflowError) as error:
        raise StatementError(f"{quoted(value)} is not a time") from error


def is_commit(text: object) -> bool:
    """Return True for a full commit id: 40 (SHA-1) or 64 (SHA-256) lower-case hexadecimal digits."""
    return isinstance(text, str) and _COMMIT.fullmatch(text) is not None


def _source(subject: Subject) -> SourceSubject:
    commit = subject.digests["gitCommit"]
    # A short id could be several commits', and a branch's name any.
    if not is_commit(commit):
        raise StatementError(f"the subject's gitCommit is {quoted(commit)}, expected a full commit id")
    refs: list[str] = []
    # source-tool wrote ``source_branches``, then ``source_refs``; SLSA v1.2 has ``sourceRefs``.
    for key in _REF_KEYS:
        # Go writes null for an empty list, which says as much as none.
        if subject.annotations.get(key) is not None:
            refs.extend(_texts(subject.annotations[key], f"annotation {key}", MAX_REFS))
    # A producer may write one ref under two of these names.
    return SourceSubject(commit, tuple(dict.fromkeys(refs)))


def _text(value: Any, name: str) -> str:
    if value is None:
        raise StatementError(f"the verification summary has no {name}")
    # An empty id or URI would be equal to another empty one.
    if not isinstance(value, str) or not value or len(value) > MAX_TEXT:
        raise StatementError(f"the verification summary's {name} is {quoted(value)}, expected a string")
    return value


def _texts(value: Any, name: str, most: int) -> tuple[str, ...]:
    if value is None:
        raise StatementError(f"the verification summary has no {name}")
    # A signed summary may still hold a million levels, each of which is compared.
    if not isinstance(value, list) or len(value) > most:
        raise StatementError(f"the verification summary's {name} is no list of at most {most} strings")
    return tuple(_text(item, name) for item in value)
