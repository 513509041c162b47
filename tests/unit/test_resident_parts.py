"""The server's parts that need no socket: its log, settings, report, housekeeping and workers."""

from __future__ import annotations

import ctypes
import json
import os
import re
import resource
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from slsa_verifier_plugin.resident import protocol
from slsa_verifier_plugin.resident.server import errorlog, housekeeping
from slsa_verifier_plugin.resident.server.errorlog import ErrorLog, describe
from slsa_verifier_plugin.resident.server.report import report
from slsa_verifier_plugin.resident.server.server_settings import ServerSettings, read_settings
from slsa_verifier_plugin.resident.server.watchdog import Watchdog
from tests.support.pool import pool_of
from tests.support.resident import ObedientService


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
        "SLSA_VERIFIER_MEMORY_MIB": "112",
    }
    assert read_settings(environ) == (ServerSettings(workers=3, idle_seconds=0, memory_bytes=112 << 20), [])
    assert read_settings({}) == (ServerSettings(workers=4, idle_seconds=3600, memory_bytes=192 << 20), [])


@pytest.mark.parametrize("value", ["0", "65", "eight", "-1", "1.5", " 3", "\u0663", "9" * 13])
def test_settings_that_are_not_understood_are_told(value: str) -> None:
    settings, problems = read_settings({"SLSA_VERIFIER_WORKERS": value})
    assert settings == ServerSettings()
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


@pytest.mark.parametrize("service", [Broken(), Boundless(), NoJson()])
def test_a_report_is_complete_without_the_service(service: ObedientService, log: ErrorLog) -> None:
    body = report(service, log, {"ending": False})
    value = json.loads(body)
    assert value["service"] is None
    assert value["pid"] == os.getpid()
    assert value["ending"] is False
    assert b"secret" not in body


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
    with pool_of(service, log) as pool:
        watched = Watchdog(
            service, ServerSettings(memory_bytes=100 << 20), str(tmp_path / "socket"), pool, log
        )
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
    with pool_of(service, log) as pool:
        watched = Watchdog(
            service,
            ServerSettings(idle_seconds=10, source_seconds=0.0, memory_bytes=ANY_MEMORY),
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
    with pool_of(ObedientService(), log) as pool:
        settings = ServerSettings(idle_seconds=0, memory_bytes=ANY_MEMORY)
        watched = Watchdog(ObedientService(), settings, str(tmp_path / "socket"), pool, log)
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
