"""Trusted roots as a person asks for them: what is in use now, and what is in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from slsa_verifier_plugin.errors import TrustRootError
from slsa_verifier_plugin.policy.parameters import RootSource
from slsa_verifier_plugin.signatures.sources import read_root
from slsa_verifier_plugin.signatures.trust import load_root


@dataclass(frozen=True, slots=True)
class RootState:
    """One trusted root in use: what a policy names, where its bytes come from, and what they hold; or the problem with it."""

    asked: str
    source: str = ""
    digest: str = ""
    date: datetime | None = None
    authorities: int = 0
    logs: int = 0
    timestamp_authorities: int = 0
    problem: str = ""


def look_at(source: RootSource, environ: Mapping[str, str]) -> RootState:
    """Return the state of the trusted root that ``source`` names. Nothing is fetched."""
    asked = source.location or source.kind
    try:
        content, shown = read_root(source, environ)
        root = load_root(content, shown)
    except TrustRootError as error:
        return RootState(asked, problem=error.message)
    return RootState(
        asked,
        shown,
        root.info.digest,
        root.info.date,
        len(root.authorities),
        len(root.logs),
        len(root.timestamp_authorities),
    )
