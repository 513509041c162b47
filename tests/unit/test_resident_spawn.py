from __future__ import annotations

import fcntl
import os

import pytest

from slsa_verifier_plugin.resident import lifecycle, spawn
from tests.support.resident import World

SECONDS = 20.0


class Clock:
    """A clock that moves only when somebody sleeps, and remembers every pause."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


def test_who_waits_looks_less_often_the_longer_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many callers that look without rest keep the verifier that they all wait for from a processor."""
    clock = Clock()
    monkeypatch.setattr(spawn, "time", clock)
    with World() as world:
        lifecycle.check_directories(world.place, make=True)
        other = os.open(world.place.lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(other, fcntl.LOCK_EX)
            assert spawn.await_listener(world.place, world.start, {}, clock.now + SECONDS) is None
        finally:
            os.close(other)
        assert world.pids() == []
    assert len(clock.pauses) < 100
    assert clock.pauses[0] < 0.01
    assert sum(clock.pauses) == pytest.approx(SECONDS, abs=0.01)
