"""The limits in ``docs/life-of-a-call.md`` are those of both clients."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "life-of-a-call.md").read_text("utf-8")
SOURCES = "".join(path.read_text("utf-8") for path in sorted((ROOT / "launcher" / "src").glob("*.[ch]")))
LIMITS = re.findall(r"^\| ([^|]+) \| ([0-9.]+) s \| `(\w+)\.(\w+)` \| `(\w+)` \|$", PAGE, re.MULTILINE)


def test_the_table_is_read() -> None:
    assert len(LIMITS) == 11


@pytest.mark.parametrize(("what", "limit", "module", "name", "constant"), LIMITS)
def test_a_limit_is_that_of_both_clients(
    what: str, limit: str, module: str, name: str, constant: str
) -> None:
    room = "resident.client" if module in ("client", "own_turns") else "resident"
    python = getattr(importlib.import_module(f"slsa_verifier_plugin.{room}.{module}"), name)
    assert python == float(limit), what
    values = re.findall(rf"\b{constant} = (\d+),", SOURCES)
    assert values == [f"{float(limit) * 1000:.0f}"], what


def test_waits_leave_time_for_what_follows() -> None:
    """What is waited for last ends within the promise, and each way is open before the one behind it closes."""
    limits = {constant: float(limit) for _, limit, _, _, constant in LIMITS}
    assert limits["CALL_MS"] + limits["GRACE_MS"] < 4.5
    assert (
        limits["HUNG_MS"]
        < limits["SILENCE_MS"]
        < limits["START_MS"]
        < limits["CALL_MS"] - limits["RESERVED_MS"]
    )
    assert limits["TURN_MS"] < limits["RESERVED_MS"]
