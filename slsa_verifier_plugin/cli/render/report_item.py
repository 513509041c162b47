"""What became of one image, as the formats for other programs (SARIF, JUnit) tell it. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from slsa_verifier_plugin.checking.status import Decision


@dataclass(frozen=True, slots=True)
class ReportItem:
    """What became of one image, and where it is used: ``uri`` and ``line`` (from 1, 0 for none) of a file, or the image's own.

    ``group`` is what a CI system lists it under, such as its namespace; ``properties`` are further facts.
    """

    image: str
    decision: Decision
    reason: str
    message: str
    uri: str = ""
    line: int = 0
    properties: Mapping[str, Any] = field(default_factory=dict)
    group: str = ""
