"""The resident verifier's directories are open to others, or take no file, and what its callers get then."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from slsa_verifier_plugin.resident import protocol
from slsa_verifier_plugin.resident.place import check_directories
from slsa_verifier_plugin.resident.protocol import Answer
from tests.support.answers import is_own, pid_elsewhere, pid_of
from tests.support.processes import kill
from tests.support.resident import ROOT, START, Caller, World
from tests.support.users import OTHER_USER, as_root


def open_to_all(path: Path) -> None:
    path.chmod(0o777)


def given_away(path: Path) -> None:
    os.chown(path, OTHER_USER, -1)


def linked(path: Path) -> None:
    path.rename(path.with_name("moved"))
    path.symlink_to(path.with_name("moved"))


@pytest.mark.parametrize("which", ["parent", "directory"])
@pytest.mark.parametrize("change", [open_to_all, pytest.param(given_away, marks=as_root), linked])
def test_a_directory_that_others_can_change(world: World, which: str, change: object) -> None:
    assert callable(change)
    check_directories(world.place, make=True)
    change(Path(getattr(world.place, which)))
    assert [pid_elsewhere(world.call(), b"not private to this user")] == world.pids()
    done = subprocess.run(START, env=world.environ, cwd=ROOT, capture_output=True, timeout=30, check=False)
    assert done.returncode == 2
    assert b"not private to this user" in done.stderr


def test_a_directory_that_is_opened_under_a_server(world: World) -> None:
    pid = world.server()
    world.base.chmod(0o777)
    assert pid_elsewhere(world.call(), b"not private to this user") != pid
    assert "not private" in world.status().problem
    world.base.chmod(0o700)
    assert world.server() == pid


@pytest.mark.parametrize("name", ["SLSA_VERIFIER_DIR", "TMPDIR"])
def test_no_directory_can_be_made(world: World, name: str) -> None:
    del world.environ["SLSA_VERIFIER_DIR"]
    world.environ[name] = "/proc/none"
    assert pid_elsewhere(world.call(), b"a directory cannot be made") in world.pids()


@contextmanager
def small_disk(world: World, options: str) -> Iterator[None]:
    """Mount a file system in memory over the world's directory."""
    world.base.mkdir(0o700)
    command = ["mount", "-t", "tmpfs", "-o", f"mode=0700,{options}", "none", str(world.base)]
    mounted = subprocess.run(command, capture_output=True, check=False) if os.geteuid() == 0 else None
    if mounted is None or mounted.returncode != 0:
        pytest.skip("no file system can be mounted here")
    try:
        yield
    finally:
        for pid in world.pids():
            kill(pid)
        subprocess.run(["umount", str(world.base)], check=True)


def test_a_disk_without_room_for_another_file(world: World) -> None:
    with small_disk(world, "size=64k,nr_inodes=2"):
        Path(world.base / "file").touch()
        pid = pid_elsewhere(world.call(), b"a directory cannot be made")
        (world.base / "file").unlink()
        # Room for DIR/KEY, but for nothing in it.
        assert pid_elsewhere(world.call(), b"system error 28") == pid


def test_a_disk_without_room_for_another_byte(world: World) -> None:
    with small_disk(world, "size=64k"):
        (world.base / "filling").write_bytes(bytes(64 << 10))
        pid = world.server()
        assert world.call(b"raise=secret") == (0, protocol.INTERNAL_LINE, b"")
        assert world.report()["unwrittenErrors"] == 1
        assert "ValueError" in world.report()["latestErrors"][0]
        assert world.server() == pid
        (world.base / "filling").unlink()
        world.call(b"raise=secret")
        assert "ValueError" in Path(world.place.log).read_text()


def test_a_disk_that_becomes_read_only(world: World) -> None:
    with small_disk(world, "size=64k"):
        pid = world.server()
        kill(pid)
        subprocess.run(["mount", "-o", "remount,ro", str(world.base)], check=True)
        assert pid_elsewhere(world.call(), b"system error 30") in world.pids()
        assert pid_elsewhere(world.call(AWS_PROFILE="other"), b"a directory cannot be made") in world.pids()
        subprocess.run(["mount", "-o", "remount,rw", str(world.base)], check=True)
        assert world.server() != pid


def test_no_file_may_grow(world: World) -> None:
    def call() -> Answer:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        return world.call()

    answer = Caller(call).result()
    assert is_own(answer) or pid_of(answer) in world.pids()
    assert world.server()
