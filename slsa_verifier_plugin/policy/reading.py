"""What a payload says: a verification summary, or why it is none (step 6). This verifies nothing."""

from __future__ import annotations

from typing import Any

from slsa_verifier_plugin.errors import StatementError
from slsa_verifier_plugin.model.statement import decode, statement_in
from slsa_verifier_plugin.model.vsa import VerificationSummary, parse_vsa

Reading = VerificationSummary | StatementError
"""What a payload says: a summary, or why it is none."""


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
