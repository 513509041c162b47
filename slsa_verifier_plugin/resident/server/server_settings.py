"""Reads the limits of a resident verifier: how large it may become, and how long it lives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from slsa_verifier_plugin.resident.server.permit_pool import ThreadLimits
from slsa_verifier_plugin.text import quoted

WORKERS_VARIABLE = "SLSA_VERIFIER_WORKERS"
IDLE_VARIABLE = "SLSA_VERIFIER_IDLE_SECONDS"
MEMORY_VARIABLE = "SLSA_VERIFIER_MEMORY_MIB"
REFRESH_VARIABLE = "SLSA_VERIFIER_REFRESH_HOURS"

LEAST_MIB = 112
"""It takes 75 MiB idle, and ends where it stays over nine tenths of its limit."""
DEFAULT_BUDGET = 4.0
"""Seconds for a call whose own time limit cannot be told."""


@dataclass(frozen=True, slots=True)
class ServerSettings(ThreadLimits):
    """Limits of one resident verifier.

    Attributes:
        queue: calls that wait beyond those.
        connections: open connections.
        held_bytes: bytes of requests that are being read or wait.
        idle_seconds: time without a call after which it ends; 0 for never.
        memory_bytes: resident set over which it empties its caches, and ends if that does not help.
        refresh_hours: time between two refreshes of a trusted root; 0 for never, as where there is no network.
        tick_seconds: time between two looks at all of this.
        source_seconds: time between two looks at the package's source files.
        late_seconds: time after its deadline at which a call that has not ended makes the verifier end.
        watchdog_seconds: time without a turn of the main thread after which the process ends.
    """

    queue: int = 1024
    connections: int = 1536
    held_bytes: int = 32 << 20
    idle_seconds: int = 3600
    memory_bytes: int = 192 << 20
    refresh_hours: int = 24
    tick_seconds: float = 1.0
    source_seconds: float = 5.0
    late_seconds: float = 5.0
    watchdog_seconds: float = 20.0


def read_settings(environ: Mapping[str, str]) -> tuple[ServerSettings, list[str]]:
    """Return the settings in the environment, and a sentence for each variable that is not understood.

    Such a variable counts as not set: a resident verifier with the default number of workers is better for an admission than
    none, and its status repeats the sentence.
    """
    problems: list[str] = []
    default = ServerSettings()

    def number(name: str, least: int, most: int, otherwise: int) -> int:
        value = environ.get(name, "")
        # Empty is not set: a manifest may leave a value blank.
        if not value:
            return otherwise
        # isdigit alone is true of Arabic digits too, and int() refuses thousands of digits with an exception.
        if value.isascii() and value.isdigit() and len(value) <= 12 and least <= int(value) <= most:
            return int(value)
        problems.append(f"{name} is {quoted(value)}, expected {least} to {most}; {otherwise} is used instead")
        return otherwise

    settings = ServerSettings(
        workers=number(WORKERS_VARIABLE, 1, 64, default.workers),
        idle_seconds=number(IDLE_VARIABLE, 0, 10**9, default.idle_seconds),
        memory_bytes=number(MEMORY_VARIABLE, LEAST_MIB, 1 << 20, default.memory_bytes >> 20) << 20,
        refresh_hours=number(REFRESH_VARIABLE, 0, 99_999, default.refresh_hours),
    )
    return settings, problems
