"""Renders a report on an image in the forms of Ratify v1 and v2.

A report on an image is rendered once and kept (``decisions``); only the time and the trace of an answer are new each time.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from slsa_verifier_plugin.checking.reports import ArtifactReport, ImageReport
from slsa_verifier_plugin.checking.status import Decision
from slsa_verifier_plugin.policy.verdict import FAILURE_PREFIX, encode, result
from slsa_verifier_plugin.registry.reference import Reference
from slsa_verifier_plugin.text import plain

VERSION = "0.2.0"
"""Of Ratify v1.4.4's answers with a config policy (``httpserver/types.go``)."""
MAX_REPORTS = 64
"""Reports of one image that are shown, of up to 60 KiB each: whoever may push can attach thousands."""
MAX_REPORTED = 512 << 10
"""Bytes of one image's reports that are kept: the decision does not depend on those that are left out."""
MAX_SHORT = 400
"""Characters of what is said of an image where an answer has no room for its reports."""

Render = Callable[[ImageReport, ArtifactReport | None, str, bool], dict[str, Any]]
"""Makes one report of an image: on an artifact, or None where there is none; in short or not."""


@dataclass(frozen=True, slots=True)
class Reports:
    """Reports on an image as JSON, those that decide first; ``short`` is the first of them without its details."""

    full: tuple[bytes, ...] = ()
    short: bytes = b""

    @property
    def size(self) -> int:
        """Bytes of all."""
        return sum(map(len, self.full)) + len(self.short)

    def listed(self, room: int) -> bytes:
        """Return as many as fit into ``room`` bytes as a JSON list; where not even the first does, what it says in short."""
        shown: list[bytes] = []
        # The first are those that decide, so what is left out decided nothing.
        for report in self.full:
            # One byte more for the comma.
            room -= len(report) + 1
            if room < 0:
                break
            shown.append(report)
        return b"[%b]" % b",".join(shown or [self.short])


@dataclass(frozen=True, slots=True)
class Decided:
    """What was decided about an image, ready to be sent.

    ``error`` is set where nothing could be decided; then there are no reports. ``policy`` names what decided. ``v1`` and ``v2``
    are the reports as Ratify v1 and v2 list them; ``pinned`` is what a mutation puts in the key's place.
    """

    decision: Decision
    reason: str
    policy: str
    digest: str = ""
    error: str = ""
    transient: bool = False
    v1: Reports = Reports()
    v2: Reports = Reports()
    pinned: bytes = b""

    @property
    def admitted(self) -> bool:
        """True for the one decision that admits."""
        return self.decision is Decision.ADMITTED and not self.error

    @property
    def size(self) -> int:
        """Bytes that it takes, for what keeps it."""
        # 1 KiB for the short texts and the objects themselves.
        return self.v1.size + self.v2.size + 1024


def refused(reason: str, message: str, policy: str = "", transient: bool = False) -> Decided:
    """Return what is answered for a key that nothing was decided about: an error with its reason code in front."""
    # A text that was cut keeps its dots: they say that there was more.
    words = message if message.endswith("...") else message.removesuffix(".")
    return Decided(
        Decision.UNDECIDED, reason, policy, error=f"{reason}: {plain(words, 4096)}", transient=transient
    )


def decided(report: ImageReport, asked: Reference, policy: str) -> Decided:
    """Return a report on an image as it is answered.

    What could not even be looked at (the registry does not answer, there is no time left) is an error of the key. Where a
    verifier has a verdict, that is the answer, as in Ratify: its words are in the reports.

    Args:
        report: what the verifiers say.
        asked: the image of the key.
        policy: the name of what decided.
    """
    # Gatekeeper tells errors of a key from answers: the template denies for both, with other words.
    if report.decision is Decision.UNDECIDED and not report.artifacts:
        failed = refused(str(report.reason), report.message, policy, report.transient)
        return replace(failed, digest=report.digest)
    subject = plain(str(asked), 1200)
    return Decided(
        report.decision,
        str(report.reason),
        policy,
        report.digest,
        transient=report.transient,
        v1=_reports(report, subject, _ratify_1),
        v2=_reports(report, subject, _ratify_2),
    )


def value_1(found: Decided, room: int = MAX_REPORTED) -> bytes:
    """Return a decision as Ratify v1 answers at ``/v1/verify`` (Ratify v1.4.4, ``httpserver/types.go``).

    Args:
        found: the decision.
        room: bytes that its reports may take.
    """
    # Success is said here and in ``value_2`` alone, of a decision that admits.
    return (
        f'{{"version":"{VERSION}","isSuccess":{_admits(found)},"traceID":"{secrets.token_hex(16)}",'
        # isoformat ends with "+00:00", where Go writes "Z".
        f'"timestamp":"{datetime.now(UTC).isoformat(timespec="microseconds")[:-6]}Z","verifierReports":'
    ).encode() + b"%b}" % found.v1.listed(room)


def value_2(found: Decided, room: int = MAX_REPORTED) -> bytes:
    """Return a decision as Ratify v2 answers at ``/v2/verify`` (``internal/httpserver``, ``convertResult``)."""
    return f'{{"succeeded":{_admits(found)},"artifactReports":'.encode() + b"%b}" % found.v2.listed(room)


def value_pinned(found: Decided, room: int = 0) -> bytes:
    """Return a pinned image as the value of its key: Gatekeeper puts it into the object."""
    return found.pinned


def _admits(found: Decided) -> str:
    return "true" if found.admitted else "false"


def _reports(report: ImageReport, subject: str, render: Render) -> Reports:
    """Return the reports that are kept of an image, those that decide first."""
    shown: list[bytes] = []
    left = MAX_REPORTED
    ranked: list[ArtifactReport | None] = list(_ranked(report)[:MAX_REPORTS])
    # None stands for an image without artifacts: it gets one report as well, which says why.
    ranked = ranked or [None]
    for artifact in ranked:
        made = encode(render(report, artifact, subject, False))
        left -= len(made)
        # The first is kept whatever its size: it is what decided.
        if shown and left < 0:
            break
        shown.append(made)
    return Reports(tuple(shown), encode(render(report, ranked[0], subject, True)))


def _ranked(report: ImageReport) -> list[ArtifactReport]:
    deciding = report.deciding
    # Then those that got furthest: they say most about what is wrong.
    return sorted(report.artifacts, key=lambda artifact: (artifact is not deciding, -artifact.reached))


def _ratify_1(
    report: ImageReport, artifact: ArtifactReport | None, subject: str, in_short: bool
) -> dict[str, Any]:
    """Return a report as Ratify v1 prints that of an external plugin (Ratify v1.4.4, ``pkg/verifier/result.go``).

    Without an artifact no verifier got to see anything of the image.
    """
    if artifact is None:
        return {
            "subject": subject,
            "isSuccess": False,
            "message": _words(report, in_short),
            "extensions": {"reason": str(report.reason), "transient": report.transient},
        }
    verdict = artifact.verdict
    own = result(verdict, artifact.verifier, artifact.type, artifact.milliseconds)
    return {
        "subject": subject,
        "isSuccess": own["isSuccess"],
        # Name and type stand twice, under the older and the newer field of Ratify v1.4.4.
        "name": own["name"],
        "verifierName": own["name"],
        **({"type": own["type"], "verifierType": own["type"]} if own.get("type") else {}),
        "referenceDigest": verdict.artifact,
        "artifactType": plain(artifact.artifact_type),
        "message": plain(own["message"], MAX_SHORT) if in_short else own["message"],
        "extensions": {"reason": str(verdict.reason), "transient": verdict.transient}
        if in_short
        else own["extensions"],
    }


def _ratify_2(
    report: ImageReport, artifact: ArtifactReport | None, subject: str, in_short: bool
) -> dict[str, Any]:
    """Return a report as Ratify v2 renders it (``internal/httpserver``, ``convertResult``)."""
    if artifact is None:
        failed = {"verifierName": "", "detail": str(report.reason), "errorReason": _words(report, in_short)}
        return {"subject": subject, "artifact": "", "results": [failed]}
    verdict = artifact.verdict
    message = plain(verdict.message, MAX_SHORT) if in_short else verdict.message
    said = {"verifierName": plain(artifact.verifier), "description": message, "detail": str(verdict.reason)}
    # Ratify v2 has no reason for a success.
    if not verdict.success:
        said["errorReason"] = message
    return {"subject": subject, "artifact": verdict.artifact, "results": [said]}


def _words(report: ImageReport, in_short: bool) -> str:
    return FAILURE_PREFIX + plain(report.message, MAX_SHORT if in_short else 4096)
