"""How the built-in table of signers, and the releases that it knows, are shown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from slsa_verifier_plugin.cli.render.painter import Painter
from slsa_verifier_plugin.policy.releases import known_releases
from slsa_verifier_plugin.policy.trusted import BUILT_IN_VERIFIERS, DEFAULT_VERIFIER_IDS
from slsa_verifier_plugin.sinks import Json, json_text


def lines_of(painter: Painter) -> Iterator[str]:
    """Yield the lines: each verifier.id with its signers, then the known releases."""
    # One identity may have several signers, of different times: they stand together.
    for verifier_id in dict.fromkeys(signer.id for signer in BUILT_IN_VERIFIERS):
        when = (
            "expected by default"
            if verifier_id in DEFAULT_VERIFIER_IDS
            else "only if expectedVerifierId has it"
        )
        yield f"{painter.paint(verifier_id, 'bold')} ({when})"
        for signer in BUILT_IN_VERIFIERS:
            # The table has some ten rows: looking through all of them for each id costs nothing.
            if signer.id == verifier_id:
                yield from painter.lines(signer.note, "  - ", 4)
                yield from painter.lines(f"signed by {signer.shown()}", "    ", 4)
    known = known_releases()
    yield ""
    yield painter.paint(f"releases of {known.repository} known on {known.as_of}", "bold")
    for item in known.releases:
        yield f"  {item.version} {item.commit}"
        yield from painter.lines(f"learnt from {item.learnt}", "    ", 4)
    # The next question of whoever finds a release missing.
    yield from painter.lines("Others are added with the parameter allowedWorkflowDigests.", "", 0)


def json_of() -> Json:
    """Return the table and the releases as JSON."""
    known = known_releases()
    value: dict[str, Any] = {
        "asOf": str(known.as_of),
        "repository": known.repository,
        "producers": [
            {
                "verifierId": signer.id,
                "default": signer.id in DEFAULT_VERIFIER_IDS,
                "issuer": signer.issuer,
                "identity": signer.identity or None,
                "identityPattern": signer.pattern.pattern if signer.pattern else None,
                "allowedWorkflowDigests": sorted(signer.workflow_digests),
                "since": signer.note,
            }
            for signer in BUILT_IN_VERIFIERS
        ],
        "releases": [
            {"version": item.version, "commit": item.commit, "learnt": item.learnt} for item in known.releases
        ],
    }
    return json_text(value)
