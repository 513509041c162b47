"""A resident verifier's workers fail, loop, leak or hang, and what its callers get then."""

from __future__ import annotations

from pathlib import Path

import pytest

from slsa_verifier_plugin.resident import protocol
from slsa_verifier_plugin.resident.client import manage
from tests.support.answers import LATE, is_own, pid_of
from tests.support.processes import wait_for_end, wait_until
from tests.support.resident import World


@pytest.mark.parametrize("stdin", [b"raise=secret", b"exit=0", b"junk=1", b"size=262144"])
def test_a_worker_that_fails(world: World, stdin: bytes) -> None:
    pid = world.server()
    assert [world.call(stdin) for _ in range(20)] == [(0, protocol.INTERNAL_LINE, b"")] * 20
    assert world.server() == pid
    assert world.report()["calls"]["failed"] == 20
    assert world.report()["threads"] <= 8


def test_a_call_that_ends_verifiers(world: World) -> None:
    first = world.server()
    assert is_own(world.call(b"die=1"), b"ended before it had answered")
    assert len(world.pids()) == 2
    assert world.server() not in world.pids()[:2]
    assert world.pids()[0] == first


def test_a_worker_that_loops() -> None:
    with World({"late_seconds": 0.5}) as world:
        first = world.server()
        looping = [world.begin(b"budget=0.3 loop=1") for _ in range(2)]
        wait_until(lambda: world.report()["running"] == 2)
        assert world.server() == first
        assert [caller.result() for caller in looping] == [LATE] * 2
        assert wait_for_end(first)
        assert "a verification does not end" in Path(world.place.log).read_text()
        assert world.server() != first


def test_all_workers_loop() -> None:
    with World({"late_seconds": 30.0, "workers": 2, "threads": 4}) as world:
        first = world.server()
        looping = [world.begin(b"budget=0.2 loop=1") for _ in range(2)]
        assert [caller.result() for caller in looping] == [LATE] * 2
        # Others have taken their place.
        assert world.server() == first
        looping = [world.begin(b"budget=0.2 loop=1") for _ in range(2)]
        assert [caller.result() for caller in looping] == [LATE] * 2
        assert world.call(b"budget=0.2") == LATE
        assert manage.stop(world.environ, 20) == manage.Stopped(first)
        assert world.server() != first


def test_a_worker_that_keeps_the_interpreter_to_itself() -> None:
    with World({"watchdog_seconds": 1.5}, patient=False) as world:
        first = world.server()
        holding = world.begin(b"budget=0.5 hold=1")
        wait_until(lambda: not manage.status(world.environ, 0.2).report)
        meanwhile = world.call()
        assert is_own(meanwhile) or pid_of(meanwhile) != first
        assert holding.result() == LATE
        assert wait_for_end(first)
        assert "Timeout" in Path(world.place.log).read_text()
        wait_until(lambda: world.call()[1].startswith(b"resident "))


def test_a_worker_that_leaks() -> None:
    with World({"memory_bytes": 80 << 20}) as world:
        first = world.server()
        assert pid_of(world.call(b"leak=90")) == first
        assert wait_for_end(first)
        log = Path(world.place.log).read_text()
        assert "MiB are over the limit of 80" in log
        assert "it needs too much memory" in log
        assert world.server() != first


def test_caches_that_grow_are_emptied() -> None:
    with World({"memory_bytes": 80 << 20}) as world:
        first = world.server()
        assert pid_of(world.call(b"cache=90")) == first
        wait_until(lambda: world.report()["service"]["trims"] >= 1)
        wait_until(lambda: world.report()["memoryBytes"] < 72 << 20)
        assert world.server() == first


def test_a_service_that_cannot_warm_up(world: World) -> None:
    world.environ["TEST_RESIDENT_WARM_FAILS"] = "1"
    pid = world.server()
    assert "warming up failed: RuntimeError" in world.report()["latestErrors"][0]
    assert world.server() == pid
