"""The JSON of trusted roots, as tools write it: several in one file, and what is empty left out (protobuf's JSON mapping)."""

from __future__ import annotations

import json
from typing import Any

from slsa_verifier_plugin.model.forms import ROOT, name_of
from slsa_verifier_plugin.signatures.libraries import trustroot
from slsa_verifier_plugin.signatures.wording import MalformedError
from slsa_verifier_plugin.strict_json import JsonError, loads

_LISTS = (
    ("tlogs", "tlogs"),
    ("certificateAuthorities", "certificate_authorities"),
    ("ctlogs", "ctlogs"),
    ("timestampAuthorities", "timestamp_authorities"),
)
"""The lists of a root, each under its JSON name and its protobuf name, both of which readers must accept."""
_BOUNDARIES = json.JSONDecoder()


def documents(content: bytes, most: int) -> list[tuple[int, bytes]]:
    """Return the JSON documents in ``content``, a line each or one after another, with the numbers of their first lines.

    Raises:
        JsonError: ``content`` is not JSON, is empty, or holds more than ``most`` documents.
    """
    try:
        # Editors on Windows put a byte order mark first, which JSON does not allow (RFC 8259, 8.1) and nobody sees.
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise JsonError(_packed(content) or f"not UTF-8 at byte {error.start}") from None
    found: list[tuple[int, bytes]] = []
    start = _skipped(text, 0)
    while start < len(text):
        try:
            # Only where it ends: whether it has one meaning is asked of each document when it is read (``loads``).
            _, end = _BOUNDARIES.raw_decode(text, start)
        # Nested too deep is no trusted root, which has a few levels.
        except (json.JSONDecodeError, RecursionError):
            line = text.count("\n", 0, start) + 1
            raise JsonError(_packed(content) or f"no JSON in line {line}") from None
        found.append((text.count("\n", 0, start) + 1, text[start:end].encode()))
        # Each is a root that is kept, with its certificates parsed.
        if len(found) > most:
            raise JsonError(f"it holds more than {most} documents")
        start = _skipped(text, end)
    if not found:
        raise JsonError("it is empty")
    return found


def model_of(content: bytes) -> trustroot.TrustedRoot:
    """Return the one root in ``content``; lists that are left out, or null, are empty.

    Raises:
        ValueError: it is no JSON, or not a trusted root.
    """
    # Without the byte order mark of editors on Windows, as in ``documents``.
    value: Any = _without_nulls(loads(content.removeprefix(b"\xef\xbb\xbf")))
    # Said here: pydantic would name a type of Python's.
    if not isinstance(value, dict):
        raise MalformedError(f"it is a JSON {'array' if isinstance(value, list) else 'value'} and no object")
    for names in _LISTS:
        # protobuf leaves empty lists out, which sigstore-python calls missing: GitHub's own root has no ``tlogs``.
        if not any(name in value for name in names):
            # Only where neither name is there: two names for one list would be one list too many.
            value[names[0]] = []
    for name in ("tlogs", "ctlogs"):
        # ``baseUrl`` is for people and optional in protobuf; pydantic's model demands it.
        for log in _objects(value[name]):
            log.setdefault("baseUrl", log.pop("base_url", ""))
    # The two lists of authorities.
    for names in _LISTS[1::2]:
        for authority in _objects(next(value[name] for name in names if name in value)):
            # The same for the names of an authority, which its certificates have anyway.
            subject = authority.setdefault("subject", {})
            if isinstance(subject, dict):
                subject.setdefault("organization", "")
                subject.setdefault("commonName", subject.pop("common_name", ""))
    return trustroot.TrustedRoot.from_json(json.dumps(value))


def _without_nulls(value: Any) -> Any:
    """Return ``value`` without members that are null, which says as much as leaving them out (protobuf's JSON mapping)."""
    if isinstance(value, dict):
        return {name: _without_nulls(item) for name, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _packed(content: bytes) -> str:
    """Name the form of a file that is not JSON, such as a packed one or the UTF-16 of PowerShell's ``>``; "" if unknown."""
    form = name_of(content, ROOT)
    return f"it is {form}" if form else ""


def _objects(items: Any) -> list[dict[str, Any]]:
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _skipped(text: str, start: int) -> int:
    """Return where the next character is that is no white space (RFC 8259, section 2)."""
    while start < len(text) and text[start] in " \t\r\n":
        start += 1
    return start
