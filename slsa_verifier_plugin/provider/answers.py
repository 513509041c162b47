"""What is said about an image, in the shapes of Ratify v1 and v2.

A report on an image is rendered once and kept (``decisions``); only the time and the trace of an answer are new each time.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
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
MAX_ANSWER = 512 << 10
"""Bytes of one image's reports: the decision does not depend on those that are left out."""


@dataclass(frozen=True, slots=True)
class Decided:
    """What was decided about an image, ready to be sent.

    ``error`` is set where nothing could be decided; then there are no reports. ``policy`` names what decided. ``v1`` are the
    reports as Ratify v1 lists them, ``v2`` is all that Ratify v2 answers.
    """

    decision: Decision
    reason: str
    policy: str
    image: str = ""
    digest: str = ""
    error: str = ""
    transient: bool = False
    v1: bytes = b""
    v2: bytes = b""

    @property
    def admitted(self) -> bool:
        """True for the one decision that admits."""
        return self.decision is Decision.ADMITTED and not self.error

    @property
    def size(self) -> int:
        """Bytes that it takes, for what keeps it."""
        return len(self.v1) + len(self.v2) + 1024


def refused(reason: str, message: str, policy: str = "", transient: bool = False) -> Decided:
    """Return what is answered for a key that nothing was decided about: an error with its reason code in front."""
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
    image, digest = f"{asked.registry}/{asked.repository}", report.digest
    if report.decision is Decision.UNDECIDED and not report.artifacts:
        failed = refused(str(report.reason), report.message, policy, report.transient)
        return Decided(failed.decision, failed.reason, policy, image, digest, failed.error, failed.transient)
    shown = _fitting(report, str(asked))
    return Decided(
        report.decision,
        str(report.reason),
        policy,
        image,
        digest,
        transient=report.transient,
        v1=b"[%b]" % b",".join(map(encode, shown)),
        v2=encode(_ratify_2(report, str(asked))),
    )


def value_1(found: Decided) -> bytes:
    """Return a decision as Ratify v1 answers at ``/v1/verify`` (Ratify v1.4.4, ``httpserver/types.go``)."""
    # Success is said here and in ``_ratify_2`` alone, of a decision that admits.
    head = (
        f'{{"version":"{VERSION}","isSuccess":{"true" if found.admitted else "false"},"traceID":"{secrets.token_hex(16)}",'
        f'"timestamp":"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}","verifierReports":'
    )
    return head.encode() + found.v1 + b"}"


def value_2(found: Decided) -> bytes:
    """Return a decision as Ratify v2 answers at ``/v2/verify``."""
    return found.v2


def _fitting(report: ImageReport, subject: str) -> list[dict[str, Any]]:
    """Return the reports that fit into an answer, those that decide first."""
    if not report.artifacts:
        return [_without_artifact(report, subject)]
    shown: list[dict[str, Any]] = []
    left = MAX_ANSWER
    for artifact in _ranked(report):
        made = _ratify_1(artifact, subject)
        left -= len(encode(made))
        if shown and (left < 0 or len(shown) == MAX_REPORTS):
            break
        shown.append(made)
    return shown


def _ranked(report: ImageReport) -> Iterable[ArtifactReport]:
    deciding = report.deciding
    return sorted(report.artifacts, key=lambda artifact: (artifact is not deciding, -artifact.reached))


def _ratify_1(artifact: ArtifactReport, subject: str) -> dict[str, Any]:
    """Return a report as Ratify v1 prints that of an external plugin (Ratify v1.4.4, ``pkg/verifier/result.go``)."""
    own = result(artifact.verdict, artifact.verifier, artifact.type, artifact.milliseconds)
    return {
        "subject": plain(subject, 1200),
        "isSuccess": own["isSuccess"],
        "name": own["name"],
        "verifierName": own["name"],
        **({"type": own["type"], "verifierType": own["type"]} if own.get("type") else {}),
        "referenceDigest": artifact.verdict.artifact,
        "artifactType": plain(artifact.artifact_type),
        "message": own["message"],
        "extensions": own["extensions"],
    }


def _without_artifact(report: ImageReport, subject: str) -> dict[str, Any]:
    """Return the report on an image that no verifier got to see anything of."""
    return {
        "subject": plain(subject, 1200),
        "isSuccess": False,
        "message": FAILURE_PREFIX + plain(report.message, 4096),
        "extensions": {"reason": str(report.reason), "transient": report.transient},
    }


def _ratify_2(report: ImageReport, subject: str) -> dict[str, Any]:
    """Return a report as Ratify v2 renders it (``internal/httpserver``, ``convertResult``)."""
    shown = []
    for artifact in list(_ranked(report))[:MAX_REPORTS]:
        verdict = artifact.verdict
        said: dict[str, Any] = {
            "verifierName": plain(artifact.verifier),
            "description": verdict.message,
            "detail": str(verdict.reason),
        }
        if not verdict.success:
            said["errorReason"] = verdict.message
        shown.append({"subject": plain(subject, 1200), "artifact": verdict.artifact, "results": [said]})
    if not shown:
        words = FAILURE_PREFIX + plain(report.message, 4096)
        failed = {"verifierName": "", "detail": str(report.reason), "errorReason": words}
        shown.append({"subject": plain(subject, 1200), "artifact": "", "results": [failed]})
    return {"succeeded": report.decision is Decision.ADMITTED, "artifactReports": shown}
