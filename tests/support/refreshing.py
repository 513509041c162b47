"""Trusted roots that tests of refreshing serve, and what they look at in a cache."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tests.support.sigstore import Lab

FIRST = Lab().trusted_root()
SECOND = Lab("the second").trusted_root()
ROOT = Path(__file__).parents[2]


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def current(cache: Path) -> Path:
    """Return the folder of the copy that counts."""
    return (cache / "current").resolve(strict=True)
