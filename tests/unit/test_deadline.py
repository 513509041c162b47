"""One deadline: what is left of it, and when it is over."""

from __future__ import annotations

import time

import pytest

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import DeadlineError, Reason


class Clock:
    now = 500.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", lambda: clock.now)
    return clock


def test_time_runs_out(clock: Clock) -> None:
    deadline = Deadline(4)
    assert (deadline.remaining(), deadline.expired()) == (4, False)
    clock.now += 3.5
    assert (deadline.remaining(), deadline.expired()) == (0.5, False)
    deadline.check("waiting")
    clock.now += 0.5
    assert (deadline.remaining(), deadline.expired()) == (0, True)
    clock.now += 100
    assert deadline.remaining() == 0


def test_what_was_used_before_counts(clock: Clock) -> None:
    assert Deadline(4, elapsed=1.5).remaining() == 2.5
    assert Deadline(4, elapsed=4).expired()
    assert Deadline(4, elapsed=9).remaining() == 0


def test_the_error_says_what_was_done_and_may_be_tried_again(clock: Clock) -> None:
    with pytest.raises(
        DeadlineError, match=r"the time limit of 2\.5 s was reached while fetching the blob"
    ) as caught:
        Deadline(2.5, elapsed=2.5).check("fetching the blob")
    assert caught.value.transient
    assert caught.value.reason is Reason.DEADLINE_EXCEEDED


def test_a_part_ends_no_later_than_the_whole(clock: Clock) -> None:
    whole = Deadline(4)
    assert whole.within(1).remaining() == 1
    assert whole.within(9).remaining() == 4
    clock.now += 3.5
    assert whole.within(1).remaining() == 0.5
    clock.now += 1
    assert whole.within(1).expired()
