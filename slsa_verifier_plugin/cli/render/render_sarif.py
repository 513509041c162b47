"""SARIF 2.1.0 (OASIS Static Analysis Results Interchange Format): one result an image, for code scanning dashboards."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from slsa_verifier_plugin import __version__
from slsa_verifier_plugin.checking.status import PROGRAM, Decision
from slsa_verifier_plugin.cli.reason_page import entries, reasons_page
from slsa_verifier_plugin.cli.render.report_item import ReportItem
from slsa_verifier_plugin.errors import Reason
from slsa_verifier_plugin.sinks import Json, json_text, sarif_text, uri_text
from slsa_verifier_plugin.text import plain

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS = {Decision.ADMITTED: "none", Decision.DENIED: "error", Decision.UNDECIDED: "warning"}
# Undecided is a "fail": no other kind may have a level (SARIF 2.1.0, 3.27.10).
_KINDS = {Decision.ADMITTED: "pass", Decision.DENIED: "fail", Decision.UNDECIDED: "fail"}
_IMAGE_SCHEME = "oci"


def sarif_of(items: Iterable[ReportItem], remarks: Iterable[str] = ()) -> Json:
    """Return a SARIF log of one run; ``remarks`` are on the run as a whole (SARIF 3.20.21).

    Denied images are of level ``error``, undecided ones ``warning``; admitted ones are of kind ``pass``.
    """
    # A list, for the rules come before the results and are taken from them.
    results = list(items)
    # Only rules with a result: a dashboard lists every rule that it is told of.
    used = sorted({item.reason for item in results})
    document = {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": PROGRAM,
                        "version": __version__,
                        "semanticVersion": __version__,
                        "rules": [_rule(reason) for reason in used],
                    }
                },
                "columnKind": "unicodeCodePoints",
                # The tool itself ran well: what it found wrong stands in the results.
                "invocations": [
                    {
                        "executionSuccessful": True,
                        "toolExecutionNotifications": [
                            {"level": "note", "message": {"text": sarif_text(remark, 5200)}}
                            for remark in remarks
                        ],
                    }
                ],
                "results": [_result(item, used.index(item.reason)) for item in results],
            }
        ],
    }
    return json_text(document)


def _rule(reason: str) -> dict[str, Any]:
    entry = entries()[reason]
    return {
        "id": reason,
        "name": "".join(word.capitalize() for word in reason.split("_")),
        "shortDescription": {"text": entry.meaning},
        "fullDescription": {
            "text": f"{entry.meaning} '{PROGRAM} explain {reason}' has an example and the remedy."
        },
        "helpUri": reasons_page(),
        "help": {
            "text": f"{entry.meaning} {entry.in_short} '{PROGRAM} explain {reason}' says more, without a network."
        },
        # A rule for a success would stand in dashboards as a finding.
        "defaultConfiguration": {"level": "none" if reason == Reason.VERIFIED else "error"},
    }


def _result(item: ReportItem, index: int) -> dict[str, Any]:
    image = plain(item.image, 1024)
    # An image has no file: its own name is the place, under a scheme that opens nothing.
    uri = uri_text(item.uri) if item.uri else uri_text(item.image, _IMAGE_SCHEME, 1024)
    location: dict[str, Any] = {"artifactLocation": {"uri": uri}}
    # SARIF counts lines from 1 (3.30.5): a region that begins at 0 is not valid.
    if item.line > 0:
        location["region"] = {"startLine": item.line}
    # By image and reason, not by place: a finding that moves to another line stays the same finding.
    identity = hashlib.sha256(f"{image}\0{item.reason}".encode()).hexdigest()
    return {
        "ruleId": item.reason,
        "ruleIndex": index,
        "kind": _KINDS[item.decision],
        "level": _LEVELS[item.decision],
        # Room for a name of 1,024 characters and a message of 4,096.
        "message": {"text": sarif_text(f"{image}: {item.message}", 5200)},
        "locations": [
            {
                "physicalLocation": location,
                "logicalLocations": [{"fullyQualifiedName": image, "kind": "resource"}],
            }
        ],
        # By this code scanning tells a known finding from a new one (SARIF 3.27.17).
        "partialFingerprints": {"imageAndReason/v1": identity},
        "properties": {"decision": str(item.decision), **item.properties},
    }
