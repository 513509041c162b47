"""The server's parts that need no socket: its log, settings, report, housekeeping and workers."""

from __future__ import annotations

import ctypes
import json
import os
import re
import resource
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from slsa_verifier_plugin.resident import errorlog, housekeeping, protocol
from slsa_verifier_plugin.resident.errorlog import ErrorLog
from slsa_verifier_plugin.resident.keeper import Keeper
from slsa_verifier_plugin.resident.pool import Counters, Job, Pool, describe
from slsa_verifier_plugin.resident.report import report
from slsa_verifier_plugin.resident.settings import Settings, read_settings
from tests.support.resident import ObedientService, wait_until


@pytest.fixture
def log(tmp_path: Path) -> Iterator[ErrorLog]:
    with closing(ErrorLog(str(tmp_path / "log"))) as log:
        yield log


def test_a_line_has_its_time_and_no_foreign_control(log: ErrorLog, tmp_path: Path) -> None:
    log.add('one\ntwo {"isSuccess":true} \x1b[2J')
    (line,) = (tmp_path / "log").read_text().splitlines()
    assert re.fullmatch(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ one\?two \("isSuccess":true\) \?\[2J', line)
    assert log.latest() == [line]
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600


def test_the_file_stays_small_and_keeps_the_latest(log: ErrorLog, tmp_path: Path) -> None:
    for number in range(1200):
        log.add(f"{number:06} " + "x" * 500)
    lines = (tmp_path / "log").read_text().splitlines()
    assert (tmp_path / "log").stat().st_size <= errorlog.MAX_BYTES
    numbers = [int(line.split()[1]) for line in lines]
    assert numbers == list(range(numbers[0], 1200))
    assert len(numbers) > 200
    assert [int(line.split()[1]) for line in log.latest()] == list(range(1180, 1200))


def test_a_file_that_grew_meanwhile_is_cut_too(log: ErrorLog, tmp_path: Path) -> None:
    with (tmp_path / "log").open("a") as file:
        file.write("y" * (3 * errorlog.MAX_BYTES))
    log.add("after")
    assert (tmp_path / "log").stat().st_size <= errorlog.MAX_BYTES
    assert (tmp_path / "log").read_text().endswith(" after\n")


def test_a_log_without_a_file_still_tells(tmp_path: Path) -> None:
    (tmp_path / "target").touch()
    (tmp_path / "link").symlink_to("target")
    for path in (tmp_path / "none" / "log", tmp_path / "link"):
        with closing(ErrorLog(str(path))) as log:
            log.add("lost")
            assert log.latest()[0].endswith(" lost")
            assert log.unwritten == 1
    assert (tmp_path / "target").read_text() == ""


def test_a_full_disk_does_not_disturb(log: ErrorLog, tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        log.add("lost")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert log.unwritten == 1
    assert log.latest()[0].endswith(" lost")
    log.add("kept")
    assert (tmp_path / "log").read_text().endswith(" kept\n")


def test_an_echo_gets_every_line(tmp_path: Path) -> None:
    lines: list[str] = []
    with closing(ErrorLog(str(tmp_path / "log"), lines.append)) as log:
        log.add("one")
        assert lines == log.latest()


def test_settings_come_from_the_environment() -> None:
    environ = {
        "SLSA_VERIFIER_WORKERS": "3",
        "SLSA_VERIFIER_IDLE_SECONDS": "0",
        "SLSA_VERIFIER_MEMORY_MIB": "64",
    }
    assert read_settings(environ) == (Settings(workers=3, idle_seconds=0, memory_bytes=64 << 20), [])
    assert read_settings({}) == (Settings(workers=8, idle_seconds=3600, memory_bytes=192 << 20), [])


@pytest.mark.parametrize("value", ["0", "65", "eight", "-1", "1.5", " 3", "\u0663", "9" * 13])
def test_settings_that_are_not_understood_are_told(value: str) -> None:
    settings, problems = read_settings({"SLSA_VERIFIER_WORKERS": value})
    assert settings == Settings()
    (problem,) = problems
    assert "SLSA_VERIFIER_WORKERS" in problem
    assert "expected 1 to 64" in problem


def test_an_exception_is_described_without_its_text() -> None:
    try:
        raise ValueError("https://user:secret@registry")
    except ValueError as error:
        text = describe(error)
    assert re.fullmatch(r"ValueError in test_resident_parts\.py line \d+", text)
    assert describe(ValueError("secret")) == "ValueError"


def test_resident_memory_is_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    before = housekeeping.resident_bytes()
    block = bytearray(b"x" * (64 << 20))
    after = housekeeping.resident_bytes()
    assert before is not None
    assert after is not None
    assert after - before > len(block) // 2
    monkeypatch.setattr(Path, "read_bytes", lambda self: b"")
    assert housekeeping.resident_bytes() is None


def test_identity_is_of_the_file_itself(tmp_path: Path) -> None:
    first, second, link = (str(tmp_path / name) for name in ("first", "second", "link"))
    Path(first).touch()
    Path(second).touch()
    Path(link).symlink_to("first")
    assert housekeeping.file_identity(str(tmp_path / "none")) is None
    assert len({housekeeping.file_identity(path) for path in (first, second, link)}) == 3


def test_source_state_changes_with_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "package"
    (package / "inner").mkdir(parents=True)
    monkeypatch.setattr(housekeeping, "__file__", str(package / "inner" / "housekeeping.py"))
    (package / "inner" / "one.py").write_text("1")
    states = [housekeeping.source_state()]
    (package / "inner" / "data").write_text("no source")
    assert housekeeping.source_state() == states[0]
    (package / "two.py").write_text("2")
    states.append(housekeeping.source_state())
    os.utime(package / "two.py", (2e9, 2e9))
    states.append(housekeeping.source_state())
    (package / "inner" / "one.py").unlink()
    states.append(housekeeping.source_state())
    assert len(set(states)) == 4


class Broken(ObedientService):
    def status(self) -> Mapping[str, object]:
        raise RuntimeError("secret")


class Boundless(ObedientService):
    def status(self) -> Mapping[str, object]:
        return {"text": "x" * protocol.MAX_REPLY}


class NoJson(ObedientService):
    def status(self) -> Mapping[str, object]:
        return {"value": float("nan")}


@contextmanager
def pool_of(service: ObedientService, log: ErrorLog, **settings: int) -> Iterator[tuple[Pool, Counters]]:
    counters = Counters()
    before = threading.active_count()
    unsent: list[socket.socket] = []
    pool = Pool(service, Settings(**settings), log, counters, lambda connection, _: unsent.append(connection))
    try:
        yield pool, counters
    finally:
        pool.close()
        # Other tests fork, which must not be done beside threads.
        wait_until(lambda: threading.active_count() == before)
        for connection in unsent:
            connection.close()


@pytest.mark.parametrize("service", [Broken(), Boundless(), NoJson()])
def test_a_report_is_complete_without_the_service(service: ObedientService, log: ErrorLog) -> None:
    with pool_of(service, log) as (pool, counters):
        counters.add("accepted")
        body = report(service, Settings(), pool, counters, log, {"ending": False})
    value = json.loads(body)
    assert value["service"] is None
    assert value["pid"] == os.getpid()
    assert value["calls"]["accepted"] == 1
    assert b"secret" not in body


def job(stdin: bytes, seconds: float = 20.0) -> tuple[Job, socket.socket]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.settimeout(20)
    return Job(ours, (0.5, b"VERIFY", None, b"1.0.0", stdin), seconds), theirs


def answer_on(connection: socket.socket) -> protocol.Answer:
    data = b""
    with connection:
        while chunk := connection.recv(65536):
            data += chunk
    kind, length = protocol.parse_header(data, protocol.MAX_REPLY)
    assert kind == protocol.ANSWER
    assert len(data) == protocol.HEADER_BYTES + length
    return protocol.decode_answer(data[protocol.HEADER_BYTES :])


def test_a_worker_answers_with_what_the_service_says(log: ErrorLog) -> None:
    with pool_of(ObedientService(), log) as (pool, _):
        pool.warm_up()
        work, caller = job(b"echo=1")
        pool.submit(work)
        status, stdout, stderr = answer_on(caller)
    assert (status, stderr) == (3, b"warn: echoed\n")
    command, subject, version, stdin, elapsed = eval(stdout.decode())
    assert (command, subject, version, stdin) == (b"VERIFY", None, b"1.0.0", b"echo=1")
    assert 0.5 <= elapsed < 5


@pytest.mark.parametrize("stdin", [b"raise=secret", b"exit=0", b"junk=1", b"size=300000"])
def test_a_worker_that_fails_answers_with_a_denial_and_lives_on(stdin: bytes, log: ErrorLog) -> None:
    with pool_of(ObedientService(), log, workers=1) as (pool, counters):
        pool.warm_up()
        for _ in range(2):
            work, caller = job(stdin)
            pool.submit(work)
            assert answer_on(caller) == (0, protocol.INTERNAL_LINE, b"")
        work, caller = job(b"")
        pool.submit(work)
        assert answer_on(caller)[1].startswith(b"resident")
        assert counters.get("failed") == 2
        assert len(log.latest()) == 2
        assert "secret" not in "".join(log.latest())


def test_a_call_that_was_given_up_is_not_worked_on(log: ErrorLog) -> None:
    with pool_of(ObedientService(), log, workers=1) as (pool, counters):
        first, waiting = job(b"sleep=0.2")
        given_up, caller = job(b"raise=never")
        pool.submit(first)
        pool.submit(given_up)
        caller.close()
        pool.warm_up()
        assert answer_on(waiting)[0] == 0
        wait_until(lambda: counters.get("abandoned") == 1)
        wait_until(lambda: pool.unfinished() == 0)
        assert log.latest() == []


def test_calls_wait_for_warming_up_but_not_beyond_their_time(log: ErrorLog) -> None:
    with pool_of(ObedientService(warm_seconds=0.6), log) as (pool, _):
        pool.warm_up()
        hasty, hasty_caller = job(b"", 0.1)
        patient, patient_caller = job(b"", 20)
        started = time.monotonic()
        pool.submit(hasty)
        pool.submit(patient)
        assert answer_on(hasty_caller) == (0, protocol.DEADLINE_LINE, b"")
        assert answer_on(patient_caller)[1].startswith(b"resident")
        assert time.monotonic() - started >= 0.5


def test_warming_up_that_fails_lets_calls_through(log: ErrorLog) -> None:
    with pool_of(ObedientService(warm_fails=True), log) as (pool, _):
        pool.warm_up()
        work, caller = job(b"")
        pool.submit(work)
        assert answer_on(caller)[1].startswith(b"resident")
        (line,) = log.latest()
        assert "warming up failed: RuntimeError in resident.py" in line
        assert "secret" not in line


def test_threads_are_bounded_and_replaced_when_they_are_stuck(log: ErrorLog) -> None:
    with pool_of(ObedientService(), log, workers=2) as (pool, counters):
        pool.warm_up()
        stuck = [job(b"sleep=1", 0.0) for _ in range(2)]
        for work, _ in stuck:
            pool.submit(work)
        wait_until(lambda: pool.load()[1] == 2)
        others = [job(b"sleep=0.05") for _ in range(6)]
        for work, _ in others:
            pool.submit(work)
        assert pool.threads == 2
        wait_until(lambda: pool.late(protocol.GRACE_SECONDS) == 2)
        for _, caller in others:
            assert answer_on(caller)[1].startswith(b"resident")
        assert pool.threads <= 4
        for _, caller in stuck:
            assert answer_on(caller)[1].startswith(b"resident")
        wait_until(lambda: counters.get("late") == 2)


def test_what_waits_for_stuck_workers_does_not_keep_a_server(log: ErrorLog) -> None:
    with pool_of(ObedientService(warm_seconds=0.8), log, workers=1) as (pool, _):
        callers = []
        for _ in range(5):
            work, caller = job(b"", 0.0)
            pool.submit(work)
            callers.append(caller)
        # Nothing warms up: the first one waits, the others wait for its worker.
        wait_until(lambda: pool.unfinished() == 0, 5)
        for caller in callers:
            caller.close()


class Growing:
    """Stands for the process's memory: so many bytes before the caches are emptied, and after."""

    def __init__(self, before: int, after: int) -> None:
        self._values = [before, after]

    def __call__(self) -> int:
        return self._values.pop(0) if len(self._values) > 1 else self._values[0]


@pytest.mark.parametrize(
    ("before", "after", "trims", "reason"),
    [(100, 100, 0, ""), (101, 90, 1, ""), (101, 91, 1, "it needs too much memory")],
)
def test_memory_over_the_limit(
    before: int,
    after: int,
    trims: int,
    reason: str,
    log: ErrorLog,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(housekeeping, "resident_bytes", Growing(before << 20, after << 20))
    service = ObedientService()
    (tmp_path / "socket").touch()
    with pool_of(service, log) as (pool, _):
        watched = Keeper(service, Settings(memory_bytes=100 << 20), str(tmp_path / "socket"), pool, log)
        assert watched.look(time.monotonic()) == reason
    assert service.trims == trims
    assert len(log.latest()) == trims + bool(reason)


ANY_MEMORY = 1 << 40
"""The process that is looked at is pytest, which grows with every test before."""


def test_reasons_to_end(log: ErrorLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = ObedientService()
    path = tmp_path / "socket"
    path.touch()
    monkeypatch.setattr(housekeeping, "source_state", lambda: (1, 1))
    with pool_of(service, log) as (pool, _):
        watched = Keeper(
            service,
            Settings(idle_seconds=10, source_seconds=0.0, memory_bytes=ANY_MEMORY),
            str(path),
            pool,
            log,
        )
        now = time.monotonic()
        assert watched.look(now) == ""
        assert watched.look(now - 11) == "nobody called"
        monkeypatch.setattr(housekeeping, "source_state", lambda: (1, 2))
        assert watched.look(now) == "its source files have changed"
        (tmp_path / "other").touch()
        (tmp_path / "other").rename(path)
        assert watched.look(now) == "its socket is gone or another's"
        path.unlink()
        assert watched.look(now) == "its socket is gone or another's"
        assert not watched.owns_socket()


def test_idle_time_0_is_never(log: ErrorLog, tmp_path: Path) -> None:
    (tmp_path / "socket").touch()
    with pool_of(ObedientService(), log) as (pool, _):
        settings = Settings(idle_seconds=0, memory_bytes=ANY_MEMORY)
        watched = Keeper(ObedientService(), settings, str(tmp_path / "socket"), pool, log)
        assert watched.look(time.monotonic() - 1e9) == ""


def test_memory_is_given_back_where_the_c_library_can(monkeypatch: pytest.MonkeyPatch) -> None:
    trimmed: list[int] = []

    class Glibc:
        malloc_trim = staticmethod(trimmed.append)

    monkeypatch.setattr(ctypes, "CDLL", lambda _: Glibc())
    housekeeping.release_memory()
    assert trimmed == [0]
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    housekeeping.release_memory()
