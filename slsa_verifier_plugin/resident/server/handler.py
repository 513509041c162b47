"""What the server needs from whoever answers calls; ``service/resident_service.py`` implements it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from slsa_verifier_plugin.resident.protocol import Answer, Request


class CallHandler(Protocol):
    """Answers calls. Its methods are called from several threads at once."""

    def handle(self, kind: int, request: Request, elapsed: float) -> Answer:
        """Return exit status, standard output and standard error for one call of Ratify, or about a whole image.

        Args:
            kind: VERIFY, CHECK or REPORT.
            request: with all of its fields; of a VERIFY the three RATIFY_VERIFIER_* variables (None for one that is not set) and
                standard input.
            elapsed: seconds of the call's own time limit that are used already; more than the request says, which waited here.
        """

    def budget(self, stdin: bytes) -> float:
        """Return the seconds that the call in ``stdin`` may take."""

    def warm_up(self) -> None:
        """Import and load what every call needs."""

    def trim(self) -> None:
        """Drop what is kept only for speed."""

    def status(self) -> Mapping[str, object]:
        """Return facts for the status, as JSON values."""
