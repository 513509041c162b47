"""A Verifier and images for ``verify`` through a resident verifier."""

from __future__ import annotations

from typing import Any

from tests.support.command_line import (
    LEVEL_1,
    LEVEL_3,
    TESTDATA,
    verifier,
)

TAMPERED = TESTDATA / "tampered.intoto.jsonl"
REPOSITORY = "team/app"
NOTES = {
    "low": [LEVEL_1],
    "high": [LEVEL_3],
    "tampered": [TAMPERED],
    "both": [LEVEL_1, LEVEL_3],
    "many": [TAMPERED, LEVEL_1, LEVEL_3, LEVEL_1],
    "none": [],
}
OWN = {"SLSA_VERIFIER_RESIDENT": "off"}


def patient(level: int = 2) -> dict[str, Any]:
    """Return a Verifier whose time no busy machine takes up."""
    found = verifier(level=level)
    found["spec"]["parameters"]["timeout"] = "60s"
    return found


def verified_alone(*_: object) -> None:
    """Fail, in the place of ``verify_command.reports_on``: the caller must not verify by itself."""
    raise AssertionError("verified by itself")
