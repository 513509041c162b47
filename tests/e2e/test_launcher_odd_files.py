"""The launcher where files are odd: the resident verifier's own, and the caller's standard error and output."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from launcher.tests.harness import Plugin, told
from slsa_verifier_plugin.locks import try_lock
from slsa_verifier_plugin.resident.place import check_directories
from slsa_verifier_plugin.resident.protocol import DEADLINE_LINE, NO_TURN_LINE
from tests.integration.test_resident_odd_files import CALLERS, FILES, KINDS, ROOTS
from tests.support.load import PROMISE
from tests.support.waiting import at_once


@pytest.fixture
def plugin() -> Iterator[Plugin]:
    with Plugin() as plugin:
        yield plugin


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", [*KINDS, *ROOTS])
def test_all_of_many_first_callers_are_answered_by_one(
    plugin: Plugin, name: str, kind: Callable[[Path], None]
) -> None:
    check_directories(plugin.place, make=True)
    kind(Path(plugin.place.directory) / name)
    results = at_once(CALLERS, lambda _: plugin.run())
    [(status, answer)] = {(done.returncode, done.stdout) for done in results}
    assert (status, answer in {b"resident %d\n" % pid for pid in plugin.pids()}) == (0, True), results
    assert plugin.run().stdout == answer


@pytest.mark.parametrize("kind", [*KINDS, *ROOTS])
def test_turns_and_unpacking_go_on(plugin: Plugin, kind: Callable[[Path], None]) -> None:
    check_directories(plugin.place, make=True)
    kind(Path(plugin.place.directory) / "own-0")
    plugin.cache.mkdir(mode=0o700)
    kind(plugin.cache / f"runtime-{plugin.digest}.lock")
    assert told(plugin.run(SLSA_VERIFIER_RESIDENT="off"))["called"] == []
    assert plugin.runtime.is_dir()
    assert (Path(plugin.place.directory) / "own-0").is_file()


@pytest.mark.parametrize("name", ["lock", "server"])
def test_one_who_holds_a_lock_and_does_nothing_holds_up_nobody(plugin: Plugin, name: str) -> None:
    check_directories(plugin.place, make=True)
    held = try_lock(str(Path(plugin.place.directory) / name))
    assert held is not None
    results = at_once(CALLERS, lambda _: plugin.run())
    pids = {b"resident %d\n" % pid for pid in plugin.pids()}
    assert {done.stdout for done in results} <= pids, results
    os.close(held)


def test_where_no_file_can_be_made_there_is_one_turn(plugin: Plugin) -> None:
    """Each process of its own takes 55 MiB: a burst must not take the memory of all."""
    told(plugin.run(SLSA_VERIFIER_RESIDENT="off"))
    nowhere = " && ".join(
        f"mkdir -p {folder} && mount -t tmpfs -o ro none {folder}"
        for folder in (
            "/var/tmp",
            "/dev/shm",
            f"/tmp/slsa-verifier-plugin-{os.geteuid()}",
        )
    )
    command = ["unshare", "-m", "/bin/sh", "-c", f'{nowhere} && exec "$@"', "sh", str(plugin.path)]
    if subprocess.run([*command[:-1], "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no file system can be mounted here")
    plugin.environ |= {"SLSA_VERIFIER_DIR": "/proc/none", "TEST_LAUNCHER_RUNTIME_SLEEPS": "1"}
    results = at_once(6, lambda _: plugin.run_in(command))
    right = [done for done in results if done.returncode == 3]
    assert 1 <= len(right) <= 4
    assert {done.stdout for done in results if done not in right} <= {NO_TURN_LINE, DEADLINE_LINE}


def full_pipe() -> tuple[int, int]:
    """Return the ends of a pipe that takes no byte more."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, bytes(1 << 16))
    except BlockingIOError:
        os.set_blocking(writer, True)
    return reader, writer


def broken_pipe() -> tuple[int, int]:
    """Return one that nobody will read."""
    reader, writer = os.pipe()
    os.close(reader)
    return -1, writer


def full_device() -> tuple[int, int]:
    return -1, os.open("/dev/full", os.O_WRONLY)


def _call(plugin: Plugin, stdout: int, stderr: int) -> tuple[int, bytes, float]:
    begun = time.monotonic()
    with subprocess.Popen(
        [str(plugin.path)],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        env=plugin.environ,
    ) as process:
        output, _ = process.communicate(timeout=30)
        return process.returncode, output or b"", time.monotonic() - begun


@pytest.mark.parametrize("odd", [full_pipe, broken_pipe, full_device])
@pytest.mark.parametrize("directory", ["", "relative"])
def test_a_standard_error_that_takes_nothing_alters_no_verdict(
    plugin: Plugin, odd: Callable[[], tuple[int, int]], directory: str
) -> None:
    """With a place that cannot be used there is a warning of the launcher's own."""
    plugin.run()  # unpacked, and a resident verifier runs
    if directory:
        plugin.environ["SLSA_VERIFIER_DIR"] = directory
    expected = plugin.run()
    reader, writer = odd()
    status, output, seconds = _call(plugin, subprocess.PIPE, writer)
    assert status == expected.returncode
    assert output[:9] == expected.stdout[:9]
    assert seconds < PROMISE
    for end in (reader, writer):
        if end >= 0:
            os.close(end)


def test_a_standard_output_that_nobody_reads_is_given_up_in_time(plugin: Plugin) -> None:
    plugin.run()
    reader, writer = full_pipe()
    status, _, seconds = _call(plugin, writer, writer)
    assert status == 1
    assert 3 < seconds < PROMISE
    os.close(reader)
    os.close(writer)


def test_a_standard_output_that_is_read_late_gets_the_whole_answer(plugin: Plugin) -> None:
    plugin.run()
    reader, writer = full_pipe()
    with subprocess.Popen(
        [str(plugin.path)], stdin=subprocess.DEVNULL, stdout=writer, stderr=writer, env=plugin.environ
    ) as process:
        os.close(writer)
        time.sleep(0.5)
        with os.fdopen(reader, "rb") as file:
            assert file.read().lstrip(b"\0") == b"resident %d\n" % plugin.pids()[-1]
        assert process.wait(30) == 0


def test_a_callers_umask_takes_nothing_away(plugin: Plugin) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", 'umask 0777; exec "$0"', str(plugin.path)],
        stdin=subprocess.DEVNULL,
        env=plugin.environ,
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert done.stdout == b"resident %d\n" % plugin.pids()[-1]
    place = Path(plugin.place.directory)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (place, place / "lock", place / "server")}
    assert modes == {place.name: 0o700, "lock": 0o600, "server": 0o600}
