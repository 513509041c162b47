"""Durations as Go writes them, for parameters and options: ``4s``, ``1h30m``, ``250ms``. Pure."""

from __future__ import annotations

import re

MAX_DURATION = 64
"""Characters of a duration, as in the schema of the parameters."""

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
# Longer units come first, or the m of ``5ms`` would be minutes.
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ns|us|µs|ms|s|m|h)")
_DURATION = re.compile(rf"(?:{_PART.pattern})+")


def parse_duration(text: str) -> float:
    """Return the seconds in a duration.

    Raises:
        ValueError: it is none, or has more than ``MAX_DURATION`` characters.
    """
    # The length first: to look for units in a text takes the square of it.
    if len(text) > MAX_DURATION:
        raise ValueError(f"a duration of more than {MAX_DURATION} characters")
    # As a whole: of "4 s" or "s4m" some parts are durations, and what is between them would count as nothing.
    if not _DURATION.fullmatch(text):
        raise ValueError("no duration")
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
