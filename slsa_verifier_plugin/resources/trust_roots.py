"""Trusted roots as a person asks for them: what is in use now, and what is in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from slsa_verifier_plugin.errors import TrustRootError
from slsa_verifier_plugin.policy.parameters import RootSource
from slsa_verifier_plugin.signatures.sources import read_root
from slsa_verifier_plugin.signatures.trust import load_roots


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


def look_at(source: RootSource, environ: Mapping[str, str]) -> list[RootState]:
    """Return the state of the trusted roots that ``source`` names: one, or those of a file with several. Nothing is fetched."""
    asked = source.location or source.kind
    try:
        # The refreshed copy where there is one, else what ships with sigstore.
        content, shown = read_root(source, environ)
        found = load_roots(content, shown)
    except TrustRootError as error:
        return [RootState(asked, problem=error.message)]
    # A file may hold several roots, a line each; each has its own state.
    states = [
        RootState(
            asked,
            root.info.source,
            root.info.digest,
            root.info.date,
            len(root.parts.authorities),
            len(root.parts.logs),
            len(root.parts.timestamp_authorities),
            str(root.not_begun(datetime.now(UTC)) or ""),
        )
        for root in found.roots
    ]
    return [*states, *(RootState(asked, problem=error.message) for error in found.problems)]
