"""Exit statuses of the command line (``docs/cli.md``), and how a verdict becomes one."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum, StrEnum

PROGRAM = "slsa-verifier-plugin"
LISTING_SECONDS = 20.0
"""Time to resolve an image and list what is attached to it; Ratify does this before it calls the plugin."""


class Status(IntEnum):
    """What the process ends with."""

    ADMITTED = 0
    DENIED = 1
    # As click ends by itself after a wrong option.
    USAGE = 2
    UNDECIDED = 3
    # As shells count: 128 and the number of the signal, here SIGINT and SIGPIPE.
    INTERRUPTED = 130
    BROKEN_PIPE = 141


class Decision(StrEnum):
    """What is decided about an image. ``UNDECIDED``: what would be needed to decide could not be had."""

    ADMITTED = "admitted"
    DENIED = "denied"
    UNDECIDED = "undecided"


_UNDECIDING = frozenset({"TRUST_ROOT_UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL_ERROR"})
"""Reasons that decide nothing, as every ``REGISTRY_*``. Written out: help and completion need not load ``errors.Reason``."""


def decision_of(success: bool, reason: str) -> Decision:
    """Return the decision that a verdict with this outcome and reason stands for.

    Ratify has no third outcome: there, what is undecided is denied.
    """
    if success:
        return Decision.ADMITTED
    # Nothing was found wrong with the image: another try, or a repaired registry, may admit it.
    if reason in _UNDECIDING or reason.startswith("REGISTRY_"):
        return Decision.UNDECIDED
    return Decision.DENIED


def status_of(decisions: Iterable[Decision]) -> Status:
    """Return the exit status for several decisions: a denial outweighs what is undecided, that what is admitted."""
    found = set(decisions)
    if Decision.DENIED in found:
        return Status.DENIED
    return Status.UNDECIDED if Decision.UNDECIDED in found else Status.ADMITTED
