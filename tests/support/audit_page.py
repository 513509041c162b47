"""A made-up cluster's audit, as rows, and the page of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from slsa_verifier_plugin.audit.audit_row import AuditRun, Row, Seen
from slsa_verifier_plugin.audit.audit_summary import Summary, summary_of
from slsa_verifier_plugin.audit.image_sources import Use
from slsa_verifier_plugin.checking.status import Decision
from slsa_verifier_plugin.cli.render.render_html import page_of
from slsa_verifier_plugin.policy.steps import failed, passed
from slsa_verifier_plugin.policy.verdict import RootInfo
from slsa_verifier_plugin.problem import Problem

LEVELS = tuple(f"SLSA_SOURCE_LEVEL_{number}" for number in range(1, 5))
NAMESPACES = ("payments", "search", "checkout", "agents", "internal-tools")
CREATED = datetime(2026, 1, 15, 9, 30, tzinfo=UTC)
FINGERPRINT = "5f2c8d1e" * 8
ROOT_INFO = RootInfo("public-good", "ab" * 32, datetime(2025, 9, 23, tzinfo=UTC))
STEPS = (
    passed(2, "slsla/attestation"),
    passed(5, "a certificate of sigstore.dev, in the log since 2026-01-14T22:10:03Z"),
    passed(10, "git+https://github.com/example/app"),
    failed(11, Problem((), "found SLSA_SOURCE_LEVEL_1", "SLSA_SOURCE_LEVEL_2", "protect main")),
)
RUN = AuditRun(
    "slsa-verifier-plugin audit --policy verifier.yaml --pods - --format html -o report.html",
    ("Pods on standard input",),
    {
        "slsa": {
            "expectedVerifiedLevels": ["SLSA_SOURCE_LEVEL_2"],
            "trustedVerifiers": [{"identity": "^https://github.com/[a-z]{3,9}/x$"}],
        }
    },
)


def row(number: int) -> Row:
    """Return one of a made-up cluster's images; level 0 for none, -1 for undecided."""
    level = (3, 1, 3, 2, 0, 3, 4, 1, 3, -1)[number % 10]
    decisions = [Decision.ADMITTED if n <= level else Decision.DENIED for n in range(1, 5)]
    decision, reason, message = (
        Decision.ADMITTED,
        "VERIFIED",
        "SLSA_SOURCE_LEVEL_3 for git+https://github.com/example/app",
    )
    if level < 0:
        decisions = [Decision.UNDECIDED] * 4
        decision, reason = Decision.UNDECIDED, "REGISTRY_UNAUTHORIZED"
        message = "fetching the manifest failed: 401, the registry wants credentials."
    elif level == 0:
        decision, reason, message = (
            Decision.DENIED,
            "NO_ATTESTATION",
            "found nothing attached, expected slsla/attestation.",
        )
    elif level < 2:
        decision, reason = Decision.DENIED, "LEVEL_TOO_LOW"
        message = (
            "found SLSA_SOURCE_LEVEL_1, expected SLSA_SOURCE_LEVEL_2; raise the protection of the repository."
        )
    image = f"registry.example/{NAMESPACES[number % 5]}/app{number}:v{number}"
    if number % 7 == 0:
        # As a Pod's status names it: a word of 71 characters without a place to break.
        image += f"@sha256:{number:064x}"
    uses = tuple(
        Use(image, NAMESPACES[(number + extra) % 5], f"Deployment/app{number}")
        for extra in range(1 + number % 2)
    )
    return Row(
        image=image,
        resolved=image if "@" in image else f"{image}@sha256:{number:064x}",
        decision=decision,
        reason=reason,
        message=message,
        levels=dict(zip(LEVELS, decisions, strict=True)),
        repository=f"git+https://github.com/example/app{number}" if level > 0 else "",
        revision=f"{number:040x}" if level > 0 else "",
        uses=uses,
        signer="https://github.com/example/app/.github/workflows/release.yml@refs/heads/main"
        if level > 0
        else "",
        seen=Seen(f"sha256:{number:064x}", STEPS[: 4 if level == 1 else 3], (ROOT_INFO,))
        if level > 0
        else Seen(),
    )


def summary(rows: Sequence[Row]) -> Summary:
    """Return the summary of rows, with what was asked."""
    return replace(summary_of(rows, "slsa", LEVELS, CREATED), fingerprint=FINGERPRINT, runs=(RUN,))


def page(rows: Sequence[Row], path: Path) -> Path:
    """Write the page of ``rows`` and return its path."""
    path.write_text("".join(page_of(summary(rows), rows)), "utf-8")
    return path
