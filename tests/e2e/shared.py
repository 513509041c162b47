"""Where ``../shared`` is, and what to do where it is not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


def shared(*parts: str) -> Path:
    """Return a path below ``shared``, beside the repository or where SLSA_VERIFIER_SHARED says.

    Where it is absent the running test is skipped, with the reason; with CI=true it fails instead, so that
    a green CI has run everything.
    """
    root = os.environ.get("SLSA_VERIFIER_SHARED") or REPOSITORY.parent / "shared"
    path = Path(root, *parts)
    if not path.exists():
        reason = f"{path.name} is not in ../shared (set SLSA_VERIFIER_SHARED to where it is)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason + "; CI=true, so nothing may be skipped")
        pytest.skip(reason)
    return path


def demo_note(commit: str) -> Path:
    """Return the attestations that the demo repository published for the commit that begins so."""
    (note,) = shared("data", "demo-notes").glob(f"{commit}-*.intoto.jsonl")
    return note
