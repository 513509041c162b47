"""A verification in a process of the launcher's own: the launcher stays, holds the deadline, and lets a few at a time run."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from launcher.tests.harness import Plugin, denial, told
from slsa_verifier_plugin.resident import protocol
from slsa_verifier_plugin.resident.client import own_turns
from slsa_verifier_plugin.resident.place import check_directories
from slsa_verifier_plugin.resident.processors import usable_processors
from tests.support.load import PROMISE
from tests.support.processes import is_there, wait_until
from tests.support.waiting import at_once

OFF: dict[str, Any] = {"SLSA_VERIFIER_RESIDENT": "off"}
TURNS = min(usable_processors(), own_turns.MOST_TURNS)


@pytest.fixture
def plugin() -> Iterator[Plugin]:
    with Plugin() as plugin:
        yield plugin


def own(plugin: Plugin, **environ: str) -> subprocess.CompletedProcess[bytes]:
    told: dict[str, Any] = {f"TEST_LAUNCHER_RUNTIME_{name}": value for name, value in environ.items()}
    return plugin.run(**OFF, **told)


def test_it_is_a_child_and_answers_by_frames(plugin: Plugin) -> None:
    with plugin.began(**OFF) as process:
        output, errors = process.communicate(timeout=20)
        value = told(subprocess.CompletedProcess([], process.returncode, output, errors))
        assert value["parent"] == process.pid
        assert not is_there(value["pid"])


@pytest.mark.parametrize("promise", ["5000", "60000"])
def test_what_it_promises_is_waited_for_and_no_more(plugin: Plugin, promise: str) -> None:
    """Only the process itself reads how long the call may take."""
    done = own(plugin, PROMISES=promise, SLEEPS="5.5")
    if promise == "60000":
        assert told(done)["called"] == []
    else:
        assert (done.returncode, done.stdout) == (0, protocol.DEADLINE_LINE)


def test_one_that_says_nothing_is_late_and_killed(plugin: Plugin) -> None:
    begun = time.monotonic()
    done = plugin.run(**OFF, TEST_LAUNCHER_RUNTIME_SILENT=str(plugin.home / "silent"))
    assert 4 <= time.monotonic() - begun < PROMISE + 3  # its runtime was unpacked first
    assert (done.returncode, done.stdout) == (0, protocol.DEADLINE_LINE)
    pids = [int(pid) for pid in (plugin.home / "silent").read_text().split()]
    wait_until(lambda: not any(map(is_there, pids)))  # its helper, too


def test_one_that_stays_after_its_answer_is_killed(plugin: Plugin) -> None:
    begun = time.monotonic()
    value = told(own(plugin, LINGERS="60"))
    assert time.monotonic() - begun < 30
    assert not is_there(value["pid"])


def test_it_ends_with_its_parent(plugin: Plugin) -> None:
    file = plugin.home / "silent"
    with plugin.began(**OFF, TEST_LAUNCHER_RUNTIME_SILENT=str(file)) as process:
        wait_until(lambda: file.exists() and len(file.read_text().split()) == 2)
        [pid, helper] = map(int, file.read_text().split())
        process.kill()
        process.wait()
    wait_until(lambda: not is_there(pid))
    os.kill(helper, signal.SIGKILL)


@contextmanager
def turns_taken(plugin: Plugin, count: int) -> Iterator[None]:
    """Take turns as the client in Python does."""
    place = plugin.place
    check_directories(place, make=True)
    taken = [own_turns.take_turn(place) for _ in range(count)]
    assert all(turn is not None and turn >= 0 for turn in taken)
    try:
        yield
    finally:
        for turn in taken:
            os.close(turn or 0)


def test_both_clients_take_the_same_turns(plugin: Plugin) -> None:
    told(plugin.run(**OFF))  # unpacked
    with turns_taken(plugin, TURNS):
        assert own_turns.take_turn(plugin.place) is None
        begun = time.monotonic()
        done = plugin.run(**OFF)
        assert 3 < time.monotonic() - begun < PROMISE
        assert (done.returncode, done.stdout, done.stderr) == (0, protocol.NO_TURN_LINE, b"")
        assert denial(done)["extensions"]["transient"] is True
    if TURNS > 1:
        with turns_taken(plugin, TURNS - 1):
            assert told(plugin.run(**OFF))["called"] == []
    assert sorted(path.name for path in Path(plugin.place.directory).glob("own-*")) == [
        f"own-{number}" for number in range(TURNS)
    ]


def test_a_few_at_a_time_run(plugin: Plugin) -> None:
    told(plugin.run(**OFF))
    results = at_once(8, lambda number: own(plugin, SLEEPS="1"))
    right = [done for done in results if done.returncode == 3]
    assert TURNS <= len(right) <= 4 * TURNS
    assert {done.stdout for done in results if done not in right} <= {
        protocol.NO_TURN_LINE,
        protocol.DEADLINE_LINE,
    }


def test_where_the_place_cannot_be_used_there_are_turns_all_the_same(plugin: Plugin) -> None:
    told(plugin.run(**OFF))
    environ = {**OFF, "TEST_LAUNCHER_RUNTIME_SLEEPS": "1.5", "SLSA_VERIFIER_DIR": "/proc/none"}
    results = at_once(8, lambda number: plugin.run(**environ))
    # Each turn has time for two; all eight together would be as many processes at once.
    assert 1 <= sum(done.returncode == 3 for done in results) < 8


def test_a_limit_of_file_sizes_ends_no_call(plugin: Plugin) -> None:
    def limited(**environ: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [plugin.path],
            input=b"{}" * 50_000,
            capture_output=True,
            env={**plugin.environ, **environ},
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)),
            timeout=30,
            check=False,
        )

    assert "File too large" in denial(limited(**OFF))["message"]  # it is not unpacked yet
    told(plugin.run(**OFF))
    assert told(limited(**OFF))["size"] == 100_000


def test_no_descriptor_for_its_own_file_is_no_damage(plugin: Plugin) -> None:
    done = subprocess.run(
        [plugin.path],
        input=b"{}",
        capture_output=True,
        env={**plugin.environ, **OFF},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3)),
        timeout=30,
        check=False,
    )
    assert denial(done)["extensions"] == {"reason": "INTERNAL_ERROR", "transient": True}
    assert "limit of descriptors" in denial(done)["message"]


def test_a_starter_that_ignores_its_children_hides_nothing(plugin: Plugin) -> None:
    """Ratify does not; a shell or an init may."""
    command = ["/bin/sh", "-c", 'trap "" CHLD; exec "$0"', str(plugin.path)]
    assert told(plugin.run_in(command, **OFF))["called"] == []
    assert plugin.run_in(command).stdout == b"resident %d\n" % plugin.pids()[0]


def test_a_turn_is_free_again_when_its_holder_was_killed(plugin: Plugin) -> None:
    file = plugin.home / "silent"
    with plugin.began(**OFF, TEST_LAUNCHER_RUNTIME_SILENT=str(file)) as process:
        wait_until(lambda: file.exists() and len(file.read_text().split()) == 2)
        turn = os.open(f"{plugin.place.directory}/own-0", os.O_RDWR)
        with pytest.raises(BlockingIOError):
            fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
        process.kill()
        process.wait()
        fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(turn)
    os.kill(int(file.read_text().split()[1]), signal.SIGKILL)
