"""Makes a resident verifier's report on itself: the body of STATUS_REPLY."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

from slsa_verifier_plugin import __version__
from slsa_verifier_plugin.resident.protocol import MAX_REPLY
from slsa_verifier_plugin.resident.server.errorlog import ErrorLog, describe
from slsa_verifier_plugin.resident.server.handler import CallHandler
from slsa_verifier_plugin.resident.server.housekeeping import resident_bytes

COUNTED = {
    "accepted": "calls taken on",
    "failed": "of them, ended by an error of the verifier",
    "late": "answered when their callers had given up",
    "abandoned": "given up by their callers before they were answered",
    "busy": "refused because too many waited",
    "refused": "connections that did not speak the protocol",
    "foreign": "connections of other users",
}
"""What is counted, by name in the report."""


def report(service: CallHandler, log: ErrorLog, facts: Mapping[str, object]) -> bytes:
    """Return the report as JSON of at most ``MAX_REPLY`` bytes.

    Args:
        service: says what only it knows, under ``service``.
        log: the latest errors.
        facts: what the loop knows.
    """
    result: dict[str, object] = {
        "version": __version__,
        "pid": os.getpid(),
        **facts,
        "memoryBytes": resident_bytes(),
        "latestErrors": log.latest(),
        "unwrittenErrors": log.unwritten,
    }
    try:
        complete = _encode({**result, "service": dict(service.status())})
    except Exception as error:  # noqa: BLE001 (what the verifier itself knows is worth telling without)
        log.add(f"the service cannot tell its status: {describe(error)}")
        complete = b""
    # Without the service's part it always fits: twenty lines of at most 512 characters, and numbers.
    return complete if 0 < len(complete) <= MAX_REPLY else _encode({**result, "service": None})


def _encode(value: object) -> bytes:
    # NaN and Infinity are no JSON (RFC 8259, section 6), and the status is read strictly.
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()
