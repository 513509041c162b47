"""Something else stands in the place of one of the resident verifier's files: it is moved aside, and all are answered by one."""

from __future__ import annotations

import os
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from slsa_verifier_plugin import locks
from slsa_verifier_plugin.locks import move_aside, try_lock
from slsa_verifier_plugin.resident.place import check_directories
from tests.support.answers import pid_of
from tests.support.processes import FAR, kill
from tests.support.resident import World
from tests.support.users import OTHER_USER, as_root
from tests.support.waiting import at_once

CALLERS = 8
FILES = ("socket", "socket.new", "lock", "server")


def folder(path: Path) -> None:
    path.mkdir()
    (path / "kept").touch()


def link(path: Path) -> None:
    path.symlink_to("/nonexistent/file")


def link_to_a_file(path: Path) -> None:
    path.with_name("target").write_bytes(b"kept")
    path.symlink_to("target")


def pipe(path: Path) -> None:
    os.mkfifo(path, 0o600)


def listener(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(path))


def device(path: Path) -> None:
    os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 7))


def unreadable(path: Path) -> None:
    path.touch(mode=0)


def given_away(path: Path) -> None:
    path.touch(mode=0o600)
    os.chown(path, OTHER_USER, -1)


KINDS: tuple[Callable[[Path], None], ...] = (folder, link, link_to_a_file, pipe, listener, unreadable)
ROOTS = tuple(pytest.param(kind, marks=as_root) for kind in (device, given_away))


@pytest.fixture
def place(world: World) -> Iterator[Path]:
    check_directories(world.place, make=True)
    yield Path(world.place.directory)
    for pid in world.pids():
        kill(pid)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", [*KINDS, *ROOTS])
def test_all_of_many_first_callers_are_answered_by_one(
    world: World, place: Path, name: str, kind: Callable[[Path], None]
) -> None:
    kind(place / name)
    answers = at_once(CALLERS, lambda _: world.call())
    # Which of those that were started, the next test is about.
    [serving] = {pid_of(answer) for answer in answers}
    assert serving in world.pids(), answers
    # Once for all: the next one finds it.
    assert pid_of(world.call()) == serving


def test_callers_that_move_each_others_new_locks_aside_are_answered_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All have looked before any of them moves anything: each gets a lock and starts a verifier. One claims the place."""
    waiting, turns = threading.Barrier(CALLERS), threading.Lock()

    def move_late(path: str) -> None:
        waiting.wait(FAR)
        with turns:
            # Meanwhile the one before makes and takes its lock, which this one moves.
            time.sleep(0.05)
            move_aside(path)

    monkeypatch.setattr(locks, "move_aside", move_late)
    # None listens before all have been started.
    with World(TEST_RESIDENT_START_DELAY="1") as world:
        check_directories(world.place, make=True)
        pipe(Path(world.place.lock))
        answers = at_once(CALLERS, lambda _: world.call())
        [serving] = {pid_of(answer) for answer in answers}
        assert len(world.pids()) > CALLERS // 2
        assert pid_of(world.call()) == serving


def test_what_was_there_is_not_lost_nor_written_to(world: World, place: Path) -> None:
    for name in FILES:
        folder(place / name)
    link_to_a_file(place / "own-0")
    pid_of(world.call())
    turn = try_lock(str(place / "own-0"))
    assert turn is not None
    os.close(turn)
    aside = {path.name.rpartition(".")[0]: path for path in place.iterdir() if path.suffix[1:].isdigit()}
    assert set(aside) == {*FILES, "own-0"}
    assert all((aside[name] / "kept").exists() for name in FILES)
    assert aside["own-0"].is_symlink()
    assert (place / "target").read_bytes() == b"kept"


def test_a_lock_of_ours_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first = try_lock(str(path))
    assert first is not None
    assert try_lock(str(path)) is None
    os.close(first)
    again = try_lock(str(path))
    assert again is not None
    os.close(again)
    assert [entry.name for entry in tmp_path.iterdir()] == ["lock"]


def test_a_pipe_is_neither_a_lock_nor_waited_for(tmp_path: Path) -> None:
    pipe(tmp_path / "lock")
    lock = try_lock(str(tmp_path / "lock"))
    assert lock is not None
    assert stat.S_ISREG(os.fstat(lock).st_mode)
    os.close(lock)


@pytest.mark.parametrize("number", [b"", b"4194304", b"%d" % (1 << 60)])
@pytest.mark.parametrize("name", ["lock", "server"])
def test_one_who_holds_a_lock_and_does_nothing_holds_up_nobody(
    world: World, place: Path, name: str, number: bytes
) -> None:
    """As ``flock FILE sleep`` does: the file names nobody who lives, or the last one who had the lock."""
    held = try_lock(str(place / name))
    assert held is not None
    os.write(held, number)
    answers = at_once(CALLERS, lambda _: world.call())
    assert {pid_of(answer) for answer in answers} <= set(world.pids()), answers
    assert pid_of(world.call()) in world.pids()
    os.close(held)
