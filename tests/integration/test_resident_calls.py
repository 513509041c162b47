"""The thin client and the resident verifier together, where nothing is amiss."""

from __future__ import annotations

import ast
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from slsa_verifier_plugin.errors import UsageError
from slsa_verifier_plugin.resident import protocol
from slsa_verifier_plugin.resident.channel import open_channel
from slsa_verifier_plugin.resident.client import manage
from tests.support.processes import open_files, wait_for_end, wait_until
from tests.support.resident import OWN, ROOT, START, Caller, World, run_caller


def test_the_first_call_starts_it_and_the_next_find_it(world: World) -> None:
    first = world.call()
    pid = world.status().pid
    assert first == (0, b"resident %d\n" % (pid or 0), b"")
    assert [world.call() for _ in range(3)] == [first] * 3
    assert world.pids() == [pid]


def test_a_call_reaches_the_service_as_it_was_made(world: World) -> None:
    variables = {
        "RATIFY_VERIFIER_COMMAND": "VERIFY",
        "RATIFY_VERIFIER_SUBJECT": "registry/\udcff@sha256:0",
        "SLSA_VERIFIER_ELAPSED_MS": "250",
    }
    status, stdout, stderr = world.call(b"echo=1 \x00\xff", **variables)
    assert (status, stderr) == (3, b"warn: echoed\n")
    command, subject, version, stdin, elapsed = ast.literal_eval(stdout.decode())
    assert (command, subject, version) == (b"VERIFY", b"registry/\xff@sha256:0", None)
    assert stdin == b"echo=1 \x00\xff"
    assert 0.25 <= elapsed < 60
    assert world.call(**variables)[1] == b"resident %d\n" % world.pids()[0]


def test_large_requests_and_answers_pass_whole(world: World) -> None:
    world.server()
    room = protocol.MAX_REQUEST - 100
    status, stdout, _ = world.call(b"size=250000 " + b"x" * (room - 12))
    assert status == 0
    assert len(stdout.partition(b"\n")[2]) == 250000
    # One byte more than a frame takes with its other fields; standard input alone may have as many.
    status, stdout, stderr = world.call(b"x" * protocol.MAX_STDIN)
    assert (status, stdout) == OWN[:2]
    assert b"a request of more than" in stderr


def test_settings_of_one_caller_never_reach_another(world: World) -> None:
    one = world.call(AWS_PROFILE="one")
    other = world.call(AWS_PROFILE="other")
    assert one[1] != other[1]
    assert world.call(AWS_PROFILE="one") == one
    assert len(world.pids()) == 2


def test_off_starts_nothing(world: World) -> None:
    assert world.call(SLSA_VERIFIER_RESIDENT="off") == OWN
    assert world.pids() == []


def test_require_is_answered_by_the_resident(world: World) -> None:
    assert world.call(SLSA_VERIFIER_RESIDENT="require") == world.call()


def test_nobody_waits_for_the_server_and_it_keeps_nothing(world: World) -> None:
    started = time.monotonic()
    # Returns only once nobody holds the pipes open any more, as Ratify's wait for its plugin does.
    done = run_caller(world, b"", RATIFY_VERIFIER_COMMAND="VERIFY", SLSA_VERIFIER_ELAPSED_MS="5")
    assert time.monotonic() - started < 15
    assert done.returncode == 0
    assert done.stderr == b""
    pid = world.status().pid
    assert done.stdout == b"resident %d\n" % (pid or 0)
    process = Path(f"/proc/{pid}")
    files = open_files(pid or 0)
    assert [files.pop(number) for number in (0, 1, 2)] == ["/dev/null"] * 3
    assert not [name for name in files.values() if name.startswith(("pipe:", "/dev/pts", "/dev/tty"))]
    assert str((process / "cwd").readlink()) == "/"
    assert os.getsid(pid or 0) == pid
    environment = (process / "environ").read_bytes().split(b"\0")
    assert b"MALLOC_ARENA_MAX=2" in environment
    assert not [
        entry for entry in environment if entry.startswith((b"RATIFY_VERIFIER_", b"SLSA_VERIFIER_ELAPSED_MS"))
    ]


def test_a_start_without_dev_null_keeps_nothing_either(world: World) -> None:
    program = (
        "import os, sys; from slsa_verifier_plugin.resident import spawn; real = os.open; tell = int(sys.argv[1])\n"
        "def missing(path, *rest):\n"
        "    if path == '/dev/null': raise FileNotFoundError(path)\n"
        "    return real(path, *rest)\n"
        "spawn.os.open = missing; spawn.detach_standard_files(); os.write(tell, os.read(0, 9) or b'empty')\n"
        "for descriptor in (1, 2):\n"
        "    try: os.write(descriptor, b'x')\n"
        "    except OSError: os.write(tell, b' full')\n"
    )
    reader, writer = os.pipe()
    command = [sys.executable, "-c", program, str(writer)]
    try:
        done = subprocess.run(
            command, input=b"x", capture_output=True, env=world.environ, pass_fds=[writer], check=True
        )
        assert os.read(reader, 100) == b"empty full full"
    finally:
        os.close(writer)
        os.close(reader)
    assert (done.stdout, done.stderr) == (b"", b"")


def test_the_socket_and_its_directories_are_private(world: World) -> None:
    world.server()
    for path in (world.place.parent, world.place.directory):
        assert Path(path).stat().st_mode & 0o7777 == 0o700
    for path in (world.place.socket, world.place.lock, world.place.claim, world.place.log):
        assert Path(path).stat().st_mode & 0o7777 == 0o600


def test_a_server_that_nobody_calls_ends(world: World) -> None:
    pid = int(world.call(SLSA_VERIFIER_IDLE_SECONDS="1")[1].split()[1])
    assert wait_for_end(pid)
    assert not list(world.base.glob("*/socket"))


def test_a_status_is_no_call_and_tells(world: World) -> None:
    assert world.status() == manage.ResidentStatus(world.place.directory, problem="no resident verifier runs")
    pid = world.server()
    world.call(b"raise=secret")
    status = world.status()
    report = dict(status.report or {})
    assert (status.listens, status.pid, status.problem) == (True, pid, "")
    (error,) = report.pop("latestErrors")
    assert "a verification failed: ValueError in resident.py line" in error
    assert "secret" not in Path(world.place.log).read_text()
    assert report["calls"] == {
        **dict.fromkeys(("late", "abandoned", "busy", "refused", "foreign"), 0),
        "accepted": 2,
        "failed": 1,
    }
    assert (report["pid"], report["warm"], report["ending"], report["workers"]) == (pid, True, False, 4)
    assert report["service"] == {"trims": 0}
    assert 1 << 20 < report["memoryBytes"] < report["memoryLimitBytes"] == 192 << 20


def test_settings_that_are_not_understood_are_in_the_status(world: World) -> None:
    world.environ["SLSA_VERIFIER_WORKERS"] = "many"
    started = manage.start(world.environ, START, 20)
    assert started.status.report is not None
    assert started.status.report["workers"] == 4
    (error,) = started.status.report["latestErrors"]
    assert 'SLSA_VERIFIER_WORKERS is "many", expected 1 to 64; 4 is used instead' in error


def test_start_and_stop(world: World) -> None:
    assert manage.stop(world.environ) == manage.Stopped(None)
    started = manage.start(world.environ, START, 20)
    assert not started.was_running
    pid = started.status.pid
    assert manage.start(world.environ, START, 20).was_running
    assert world.call()[1] == b"resident %d\n" % (pid or 0)
    assert manage.stop(world.environ, 20) == manage.Stopped(pid)
    assert wait_for_end(pid or 0)
    assert world.status().listens is False
    assert len(world.pids()) == 1
    assert world.server() != pid


def test_start_waits_until_it_is_warm(world: World) -> None:
    world.environ["TEST_RESIDENT_WARM_SECONDS"] = "0.5"
    started = manage.start(world.environ, START, 20)
    assert started.status.report is not None
    assert started.status.report["warm"]
    world.environ["TEST_RESIDENT_WARM_SECONDS"] = "60"
    manage.stop(world.environ, 20)
    with pytest.raises(UsageError, match="not ready"):
        manage.start(world.environ, START, 1)


def test_start_says_when_it_cannot(world: World) -> None:
    with pytest.raises(UsageError, match="does not start"):
        manage.start(world.environ, ["/bin/false"], 20)
    world.base.chmod(0o755)
    with pytest.raises(UsageError, match="not private"):
        manage.start(world.environ, START, 20)
    with pytest.raises(UsageError, match="relative"):
        manage.start({"SLSA_VERIFIER_DIR": "here"}, START, 20)
    assert manage.status({"SLSA_VERIFIER_DIR": "here"}).problem == "SLSA_VERIFIER_DIR is a relative path"


@pytest.mark.parametrize("how", ["STOP", "SIGTERM"])
def test_calls_at_hand_are_answered_before_the_end(world: World, how: str) -> None:
    pid = world.server()
    callers = [world.begin_held(b"size=240000") for _ in range(12)]
    wait_until(lambda: world.report()["running"] + world.report()["waiting"] == 12)
    ending = Caller(
        lambda: manage.stop(world.environ, 20).pid if how == "STOP" else os.kill(pid, signal.SIGTERM)
    )
    wait_until(lambda: not world.status().listens)
    world.signal.touch()
    assert ending.result() == (pid if how == "STOP" else None)
    answer = (0, b"resident %d\n" % pid + b"x" * 240000, b"")
    assert [caller.result() for caller in callers] == [answer] * 12
    assert world.server() != pid


def test_another_server_takes_the_place_of_one_that_ends(world: World) -> None:
    first = world.server()
    slow = world.begin_held()
    wait_until(lambda: world.report()["running"] == 1)
    os.kill(first, signal.SIGTERM)
    wait_until(lambda: not world.status().listens)
    second = world.server()
    assert second != first
    world.signal.touch()
    assert slow.result() == (0, b"resident %d\n" % first, b"")
    assert wait_for_end(first)
    assert world.server() == second


def test_a_second_server_at_a_place_ends_at_once(world: World) -> None:
    pid = world.server()
    done = subprocess.run(START, env=world.environ, cwd=ROOT, capture_output=True, timeout=30, check=False)
    assert done.returncode == 2
    assert b"another resident verifier serves here" in done.stderr
    assert world.server() == pid


def test_a_caller_that_reads_late_gets_the_whole_answer(world: World) -> None:
    world.server()
    end = time.monotonic() + 60
    channel = open_channel(world.place, end)
    try:
        channel.connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        channel.send(protocol.encode_request((0.0, None, None, None, b"size=250000")), end)
        assert channel.receive(end)[0] == protocol.ACCEPTED
        time.sleep(0.5)
        kind, body = channel.receive(end)
    finally:
        channel.close()
    assert kind == protocol.ANSWER
    assert protocol.decode_answer(body)[1].endswith(b"x" * 250000)


def test_promises_follow_the_calls_own_time(world: World) -> None:
    world.server()
    for stdin, elapsed, left in ((b"budget=2", 0.5, 1.5), (b"budget=2", 3.0, 0.0), (b"budget=nan", 0.0, 4.0)):
        end = time.monotonic() + 60
        channel = open_channel(world.place, end)
        try:
            channel.send(protocol.encode_request((elapsed, None, None, None, stdin)), end)
            kind, body = channel.receive(end)
        finally:
            channel.close()
        assert kind == protocol.ACCEPTED
        assert protocol.decode_accepted(body) == pytest.approx(left + protocol.GRACE_SECONDS, abs=0.01)


def test_builds_do_not_share_a_verifier(world: World) -> None:
    """An older and a newer build side by side, each asked in turn; then one is corrected in place."""
    packages = {}
    for version in ("0.0.1", "0.0.2"):
        root = world.home / version
        shutil.copytree(
            ROOT / "slsa_verifier_plugin",
            root / "slsa_verifier_plugin",
            ignore=shutil.ignore_patterns("__pycache__"),
        )
        (root / "tests" / "support").mkdir(parents=True)
        shutil.copy(ROOT / "tests" / "support" / "resident.py", root / "tests" / "support")
        (root / "slsa_verifier_plugin" / "__init__.py").write_text(f'__version__ = "{version}"\n')
        packages[version] = {
            "PYTHONPATH": str(root),
            "TEST_RESIDENT_SETTINGS": '{"source_seconds": 0.1, "tick_seconds": 0.1}',
        }
    answers = [run_caller(world, b"", **packages[version]).stdout for version in ("0.0.1", "0.0.2") * 2]
    assert all(answer.startswith(b"resident ") for answer in answers)
    assert answers[0] == answers[2] != answers[1] == answers[3]
    assert len(world.pids()) == 2

    source = Path(packages["0.0.2"]["PYTHONPATH"]) / "slsa_verifier_plugin" / "policy" / "checks.py"
    source.write_text(source.read_text() + "\n# corrected\n")
    assert wait_for_end(int(answers[1].split()[1]))
    corrected = run_caller(world, b"", **packages["0.0.2"]).stdout
    assert corrected.startswith(b"resident ")
    assert corrected != answers[1]
    assert run_caller(world, b"", **packages["0.0.1"]).stdout == answers[0]
