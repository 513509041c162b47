"""Small encodings that every part of the lab shares."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any


def b64(content: bytes) -> str:
    """Return standard base64 with padding, as protobuf's JSON mapping writes bytes."""
    return base64.b64encode(content).decode()


def unb64(text: str) -> bytes:
    """Return what ``b64`` wrote."""
    return base64.b64decode(text, validate=True)


def compact(value: Any) -> bytes:
    """Return ``value`` as one line of JSON, keys in the order they have."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def canonical(value: Any) -> bytes:
    """Return ``value`` as canonical JSON (RFC 8785); the lab's keys are ASCII and its numbers integers."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, sort_keys=True).encode()


def rfc3339(moment: datetime) -> str:
    """Return ``moment`` in UTC, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
