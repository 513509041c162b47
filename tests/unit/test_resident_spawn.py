from __future__ import annotations

import fcntl
import os
import socket

import pytest

from slsa_verifier_plugin.resident import channel, place, spawn
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


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """In place of the clock of everything that waits for a verifier."""
    clock = Clock()
    for module in (channel, place, spawn):
        monkeypatch.setattr(module, "time", clock)
    return clock


def expect_ever_longer_pauses(clock: Clock) -> None:
    """Many callers that look without rest keep the verifier that they all wait for from a processor."""
    assert len(clock.pauses) < 100
    assert clock.pauses[0] < 0.01
    assert sum(clock.pauses) == pytest.approx(SECONDS, abs=0.01)


def test_who_waits_for_a_start_looks_less_often_the_longer_it_takes(clock: Clock) -> None:
    with World() as world:
        place.check_directories(world.place, make=True)
        other = os.open(world.place.lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(other, fcntl.LOCK_EX)
            assert spawn.await_listener(world.place, world.start, {}, clock.now + SECONDS) is None
        finally:
            os.close(other)
        assert world.pids() == []
    expect_ever_longer_pauses(clock)


def test_who_waits_for_room_in_the_backlog_does_too(clock: Clock) -> None:
    with World() as world, socket.socket(socket.AF_UNIX) as full, socket.socket(socket.AF_UNIX) as waiting:
        place.check_directories(world.place, make=True)
        full.bind(world.place.socket)
        full.listen(0)
        waiting.connect(world.place.socket)
        with pytest.raises(TimeoutError):
            channel.open_channel(world.place, clock.now + SECONDS)
    expect_ever_longer_pauses(clock)
