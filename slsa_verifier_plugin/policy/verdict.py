"""The verdict on one artifact, and its form in a result: one message, and ``extensions`` that fit Ratify's line limit."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from slsa_verifier_plugin.errors import Reason, VerifierError
from slsa_verifier_plugin.model.signer import Verified
from slsa_verifier_plugin.policy.checks import Examination
from slsa_verifier_plugin.policy.steps import Step, StepOutcome, completed
from slsa_verifier_plugin.sinks import json_text
from slsa_verifier_plugin.text import SUCCESS, ascii_only, plain

SUCCESS_PREFIX = f"{SUCCESS} "
FAILURE_PREFIX = "SLSA attestation verified FAILED: "
MAX_RESULT = 60 * 1024
"""Bytes of the result line; Ratify v1.4.4 stops reading a line at 64 KiB (``bufio.Scanner``)."""

# What one result shows of each kind; ``result_line`` leaves out more where the line is still too long for Ratify.
_MAX_MESSAGE = 4096
_MAX_ITEMS, _SHORT_ITEMS = 32, 8
_MAX_CANDIDATES = 64


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of one candidate: bundle or envelope ``line`` of blob ``blob`` (both from 1).

    ``verified`` is None where the signature was not checked or does not verify; ``examination`` then is of the mere claim.
    """

    blob: int
    line: int
    steps: tuple[Step, ...]
    reason: Reason | None
    message: str
    transient: bool = False
    examination: Examination | None = None
    verified: Verified | None = None
    signature_checked: bool = True

    @property
    def reached(self) -> int:
        """The number of the step that failed; one beyond the last if none did."""
        # A candidate's steps end with the one that failed.
        last = self.steps[-1]
        return last.number + (last.outcome is not StepOutcome.FAILED)


@dataclass(frozen=True, slots=True)
class RootInfo:
    """A trusted root that took part: where it came from, the SHA-256 of its bytes, and its date."""

    source: str
    digest: str
    date: datetime


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision on one artifact, and why.

    ``sentence`` is the message without its prefix. ``best`` is the finding that decided, ``findings`` all of them;
    ``unseen`` counts candidates that were not looked at any more, ``others`` lines that are no summaries. Built by
    ``verify`` alone.
    """

    success: bool
    reason: Reason
    sentence: str
    subject: str
    artifact: str
    steps: tuple[Step, ...]
    binding: str
    transient: bool = False
    best: Finding | None = None
    findings: tuple[Finding, ...] = ()
    unseen: int = 0
    others: int = 0
    roots: tuple[RootInfo, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def levels(self) -> tuple[str, ...]:
        """The levels that the deciding summary states, capped as the policy says; empty where there is no such summary."""
        # Also of a denial: what was stated, which was not enough.
        examination = self.best.examination if self.best else None
        return examination.levels if examination else ()

    @property
    def message(self) -> str:
        """The message of the result, as dashboards match it."""
        # Dashboards and constraint templates match these words, so they stay as they are.
        prefix = SUCCESS_PREFIX if self.success else FAILURE_PREFIX
        # Whoever reads a denial in kubectl sees nothing but the message: the code is what "explain" takes.
        code = "" if self.success else f" [{self.reason}]"
        return prefix + plain(self.sentence, _MAX_MESSAGE) + code


def denial(subject: str, artifact: str, error: VerifierError, binding: str) -> Verdict:
    """Return the denying verdict for an error that ended a verification before there was anything to judge.

    Args:
        subject: the image.
        artifact: the artifact's digest.
        error: what happened.
        binding: the policy's ``sourceBinding``.
    """
    return Verdict(
        success=False,
        reason=error.reason,
        sentence=f"{error.message}.",
        subject=subject,
        artifact=artifact,
        steps=completed([]),
        binding=binding,
        transient=error.transient,
    )


def result(verdict: Verdict, name: str, type_: str, duration_ms: int) -> dict[str, Any]:
    """Return the result object that Ratify reads, as ``result_line`` writes it."""
    read: dict[str, Any] = json.loads(result_line(verdict, name, type_, duration_ms))
    return read


def result_line(verdict: Verdict, name: str, type_: str, duration_ms: int) -> bytes:
    """Return the result object (Ratify v1.4.4, ``pkg/verifier/types``) as a line of at most ``MAX_RESULT`` bytes.

    Args:
        verdict: the decision.
        name: name of the Verifier resource.
        type_: its type, where it has one.
        duration_ms: milliseconds the verification took.
    """
    built: dict[str, Any] = {"isSuccess": verdict.success, "message": verdict.message, "name": plain(name)}
    # Optional in Ratify's result (``omitempty``): left out where the Verifier has no type.
    if type_:
        built["type"] = plain(type_)
    shown = min(len(verdict.findings), _MAX_CANDIDATES)
    # A line too long is no result at all for Ratify: candidates are left out, from the least interesting on, until it fits.
    while True:
        built["extensions"] = _extensions(verdict, duration_ms, shown)
        line = encode(built)
        if len(line) <= MAX_RESULT:
            return line
        # Even without candidates too long: text of an attestation in another script takes up to 12 bytes a character in
        # ASCII JSON.
        if shown == 0:
            return encode(_in_short(built))
        # Halved and not lowered by one: each turn writes the whole line anew.
        shown //= 2


def _in_short(value: Any) -> Any:
    """Return ``value`` in ASCII and with short lists of texts.

    For text that JSON writes in many bytes a character: what a signature says may be anything, and anybody may sign.
    """
    if isinstance(value, dict):
        return {key: _in_short(item) for key, item in value.items()}
    if isinstance(value, list):
        # Only lists of texts are cut: steps and candidates are counted elsewhere in the result.
        is_text = all(isinstance(item, str) for item in value)
        return [_in_short(item) for item in (value[:_SHORT_ITEMS] if is_text else value)]
    return ascii_only(value) if isinstance(value, str) else value


def encode(value: Mapping[str, Any]) -> bytes:
    """Return ``value`` as one line of ASCII JSON without the newline."""
    return json_text(value, None).encode("ascii")


def _extensions(verdict: Verdict, duration_ms: int, shown: int) -> dict[str, Any]:
    extensions: dict[str, Any] = {
        "reason": str(verdict.reason),
        "transient": verdict.transient,
        "subject": plain(verdict.subject, 512),
        "artifact": verdict.artifact,
        "sourceBinding": verdict.binding,
        "steps": [_step(step, with_detail=True) for step in verdict.steps],
        "durationMs": duration_ms,
    }
    # Facts are those of the finding that decided. A denial before any candidate has none.
    if verdict.best is not None:
        extensions.update(_facts(verdict.best))
    if verdict.roots:
        # With several roots the one that verified the deciding signature; else the first, so that the field is always there.
        vouched = verdict.best.verified.trusted_root if verdict.best and verdict.best.verified else ""
        own = next((root for root in verdict.roots if root.digest == vouched), verdict.roots[0])
        extensions["trustedRoot"] = root_info(own)
    # One root has its own field above, as it always had.
    if len(verdict.roots) > 1:
        extensions["trustedRoots"] = [root_info(root) for root in verdict.roots]
    if verdict.warnings:
        extensions["warnings"] = _texts(verdict.warnings)
    # Those that got furthest first: they are what people look for, and the others are what is cut off.
    ranked = sorted(verdict.findings, key=lambda finding: -finding.reached)
    looked_at = sum(finding.signature_checked for finding in verdict.findings)
    extensions["candidates"] = [_candidate(finding) for finding in ranked[:shown]]
    # The counts say how many candidates are not in the list above, so nobody takes it for all of them.
    total = len(verdict.findings) + verdict.unseen
    extensions["candidatesTotal"] = total
    extensions["candidatesLookedAt"] = looked_at
    extensions["candidatesOmitted"] = total - shown
    extensions["otherLines"] = verdict.others
    return extensions


def _facts(finding: Finding) -> dict[str, Any]:
    """Return what the deciding candidate says; ``verified`` tells whether a signature stands behind it."""
    facts: dict[str, Any] = {"verified": finding.verified is not None}
    examination, verified = finding.examination, finding.verified
    if examination is not None:
        facts["signer"] = {
            "identity": plain(examination.signer.identity, 512),
            "issuer": plain(examination.signer.issuer),
        }
        if examination.summary is not None:
            facts["verifierId"] = plain(examination.summary.verifier_id)
            facts["resourceUri"] = plain(examination.summary.resource_uri, 512)
            facts["verifiedLevels"] = _texts(examination.levels)
            facts["revision"] = examination.revision
            facts["refs"] = _texts(examination.refs)
    # Only what is verified: a claimed time or log index would read as if it were.
    if verified is not None:
        if verified.log_index is not None:
            facts["logIndex"] = verified.log_index
        if verified.signed_at is not None:
            facts["signedAt"] = _time(verified.signed_at)
    return facts


def _candidate(finding: Finding) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "blob": finding.blob,
        "line": finding.line,
        "reason": str(finding.reason or Reason.VERIFIED),
        "message": plain(finding.message, 400),
        "steps": [_step(step, with_detail=False) for step in finding.steps],
    }
    # Left out in the usual case. Only where there are many hopeless candidates some are not checked.
    if not finding.signature_checked:
        entry["signatureChecked"] = False
    examination = finding.examination
    if examination is not None and examination.summary is not None:
        entry["verifiedLevels"] = _texts(examination.levels)
        entry["revision"] = examination.revision
    return entry


def _step(step: Step, *, with_detail: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {"number": step.number, "name": step.name, "outcome": str(step.outcome)}
    if with_detail and step.detail:
        entry["detail"] = plain(step.sentence, 400)
    return entry


def root_info(root: RootInfo) -> dict[str, Any]:
    """Return a trusted root as a result names one."""
    return {
        "source": plain(root.source),
        "digest": f"sha256:{root.digest}",
        "date": _time(root.date),
    }


def _texts(items: Iterable[str]) -> list[str]:
    return [plain(item, 256) for item in list(items)[:_MAX_ITEMS]]


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
