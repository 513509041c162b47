"""The plugin with its client in Python on its worst days: what ``docs/life-of-a-call.md`` promises of it."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from tests.support import storms
from tests.support.load import Group, Outcome
from tests.support.storms import PROMISES, Storm, hold

COMMAND = [sys.executable, "-P", "-c", "from slsa_verifier_plugin.entry import main; main()"]


@pytest.mark.parametrize(("row", "play"), storms.ROWS.items())
def test_a_storm(row: str, play: Callable[[Storm], Outcome]) -> None:
    if "frozen" in row and not storms.can_freeze():
        pytest.skip("this machine lets no test freeze a process")
    promise = PROMISES[row]
    with storms.storm(COMMAND, storms.processors_of(row), storms.limit_of(row)) as storm:
        bare = storm.bare(sys.executable, 600) if promise.is_beside else 0.0
        outcome = play(storm)
        hold(
            promise,
            outcome,
            outcome.peak_beside if promise.is_beside else outcome.peak_bytes,
            promise.python_mib,
            bare,
        )


@pytest.mark.parametrize("lack", storms.LACKS)
@pytest.mark.parametrize("mode", ["auto", "off"])
def test_a_lack_is_named_or_does_no_harm(lack: str, mode: str) -> None:
    with storms.storm(COMMAND) as storm:
        storms.expect_honest(storm.lacking(lack, mode), lack)


def test_a_machine_without_control_groups_says_so() -> None:
    with Group(1) as group:
        if not group.is_limited:
            pytest.skip(
                "no test may make a memory control group here: the promises on memory were not looked at"
            )
        assert group.memory_bytes() < 64 << 20
