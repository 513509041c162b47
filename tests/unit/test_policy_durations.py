"""Durations, as Go writes them."""

from __future__ import annotations

import pytest

from slsa_verifier_plugin.policy.durations import parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("4s", 4),
        ("250ms", 0.25),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("1us", 1e-6),
        ("1\u00b5s", 1e-6),
        ("100ns", 1e-7),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


def test_a_long_duration_is_refused_at_once() -> None:
    assert parse_duration("1h" * 32) == 32 * 3600
    with pytest.raises(ValueError, match="more than 64 characters"):
        parse_duration("1" * 6000)


@pytest.mark.parametrize("text", ["", "4", "s", "4 s", " 4s", "4s\n", "s4m", "-4s", "4s4", "1,5h", "٤s"])
def test_what_is_no_duration_as_a_whole_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="no duration"):
        parse_duration(text)
