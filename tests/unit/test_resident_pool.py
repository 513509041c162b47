"""The workers of a resident verifier, without its socket: answers, failures, turns and limits."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from slsa_verifier_plugin.permit import aside
from slsa_verifier_plugin.resident import protocol
from slsa_verifier_plugin.resident.protocol import Answer, Request
from slsa_verifier_plugin.resident.server import permit_pool
from slsa_verifier_plugin.resident.server.errorlog import ErrorLog
from slsa_verifier_plugin.resident.server.fair_queue import FairQueue, Job
from tests.support.pool import answer_on, job, pool_of
from tests.support.processes import wait_until
from tests.support.resident import ObedientService


@pytest.fixture
def log(tmp_path: Path) -> Iterator[ErrorLog]:
    with closing(ErrorLog(str(tmp_path / "log"))) as log:
        yield log


def test_a_worker_answers_with_what_the_service_says(log: ErrorLog) -> None:
    with pool_of(ObedientService(), log) as pool:
        pool.warm_up()
        work, caller = job(b"echo=1")
        pool.submit(work)
        status, stdout, stderr = answer_on(caller)
    assert (status, stderr) == (3, b"warn: echoed\n")
    command, subject, version, stdin, elapsed = eval(stdout.decode())
    assert (command, subject, version, stdin) == (b"VERIFY", None, b"1.0.0", b"echo=1")
    assert 0.5 <= elapsed < 60


@pytest.mark.parametrize("stdin", [b"raise=secret", b"exit=0", b"junk=1", b"size=300000"])
def test_a_worker_that_fails_answers_with_a_denial_and_lives_on(stdin: bytes, log: ErrorLog) -> None:
    with pool_of(ObedientService(), log, workers=1) as pool:
        pool.warm_up()
        for _ in range(2):
            work, caller = job(stdin)
            pool.submit(work)
            assert answer_on(caller) == (0, protocol.INTERNAL_LINE, b"")
        work, caller = job(b"")
        pool.submit(work)
        assert answer_on(caller)[1].startswith(b"resident")
        assert pool.counts["failed"] == 2
        assert len(log.latest()) == 2
        assert "secret" not in "".join(log.latest())


def test_a_call_that_was_given_up_is_not_worked_on(log: ErrorLog) -> None:
    with pool_of(ObedientService(), log, workers=1) as pool:
        first, waiting = job(b"sleep=0.2")
        given_up, caller = job(b"raise=never")
        pool.submit(first)
        pool.submit(given_up)
        caller.close()
        pool.warm_up()
        assert answer_on(waiting)[0] == 0
        wait_until(lambda: pool.counts["abandoned"] == 1)
        wait_until(lambda: pool.unfinished() == 0)
        assert log.latest() == []


def test_calls_wait_for_warming_up_but_not_beyond_their_time(log: ErrorLog) -> None:
    with pool_of(ObedientService(warm_seconds=0.6), log) as pool:
        started = time.monotonic()
        pool.warm_up()
        hasty, hasty_caller = job(b"", 0.1)
        patient, patient_caller = job(b"", 20)
        pool.submit(hasty)
        pool.submit(patient)
        assert answer_on(hasty_caller) == (0, protocol.DEADLINE_LINE, b"")
        assert answer_on(patient_caller)[1].startswith(b"resident")
        assert time.monotonic() - started >= 0.5


def test_warming_up_that_fails_lets_calls_through(log: ErrorLog) -> None:
    with pool_of(ObedientService(warm_fails=True), log) as pool:
        pool.warm_up()
        work, caller = job(b"")
        pool.submit(work)
        assert answer_on(caller)[1].startswith(b"resident")
        (line,) = log.latest()
        assert "warming up failed: RuntimeError in resident.py" in line
        assert "secret" not in line


def test_others_take_the_place_of_calls_that_wait_for_a_registry_up_to_a_limit(
    log: ErrorLog, tmp_path: Path
) -> None:
    go_on = tmp_path / "go-on"
    orders = f"until={go_on}".encode()
    with pool_of(ObedientService(), log, workers=2, threads=4, patience_seconds=0.2) as pool:
        pool.warm_up()
        # These have no time left to wait for that.
        wait_until(pool.warm.is_set)
        held_up = [job(orders, 0.0, subject=b"%d.example/app" % number) for number in range(5)]
        for work, _ in held_up:
            pool.submit(work)
        wait_until(lambda: pool.reinforce() and pool.threads == 4)
        wait_until(lambda: pool.load()[1] == 4)
        # One still waits, and after its patience is told so.
        wait_until(pool.reinforce)
        assert pool.threads == 4
        wait_until(lambda: pool.late(protocol.GRACE_SECONDS) == 4)
        go_on.touch()
        for _, caller in held_up:
            assert answer_on(caller)[1].startswith(b"resident")
        wait_until(lambda: pool.counts["late"] == 5)


def test_calls_that_wait_for_a_registry_hold_up_nobody(log: ErrorLog) -> None:
    service = ObedientService()
    with pool_of(service, log, workers=2, threads=64, patience_seconds=60.0) as pool:
        pool.warm_up()
        slow = [job(b"wait=20", subject=b"%d.example/app" % (number % 2)) for number in range(40)]
        for work, _ in slow:
            pool.submit(work)
        wait_until(lambda: pool.load()[1] == 40)
        quick, caller = job(b"", subject=b"good.example/app")
        pool.submit(quick)
        assert answer_on(caller)[1].startswith(b"resident")
        wait_until(lambda: pool.load()[:2] == (0, 40))
        service.registry.set()
        for _, caller in slow:
            assert answer_on(caller)[1].startswith(b"resident")


def test_no_more_work_at_once_than_may_however_many_come_back_from_waiting(log: ErrorLog) -> None:
    at_work: list[int] = []
    working: set[int] = set()
    lock = threading.Lock()

    class Service(ObedientService):
        def handle(self, kind: int, request: Request, elapsed: float) -> Answer:
            for _ in range(5):
                with lock:
                    working.add(threading.get_ident())
                    at_work.append(len(working))
                time.sleep(0.002)
                with lock:
                    working.discard(threading.get_ident())
                with aside(), aside():
                    time.sleep(0.002)
            return 0, b"resident", b""

    with pool_of(Service(), log, workers=3, threads=64, patience_seconds=60.0) as pool:
        pool.warm_up()
        many = [job(b"", subject=b"%d.example/app" % number) for number in range(60)]
        for work, _ in many:
            pool.submit(work)
        for _, caller in many:
            assert answer_on(caller)[1] == b"resident"
        wait_until(lambda: pool.unfinished() == 0)
        assert max(at_work) == 3
        assert len(at_work) == 300


def test_one_registry_never_has_all_threads(log: ErrorLog) -> None:
    service = ObedientService()
    with pool_of(service, log, workers=2, threads=8, patience_seconds=60.0) as pool:
        pool.warm_up()
        dead = [job(b"wait=20", subject=b"dead.example/app") for _ in range(20)]
        for work, _ in dead:
            pool.submit(work)
        wait_until(lambda: pool.load()[:2] == (14, 6))
        for _ in range(5):
            work, caller = job(b"", subject=b"good.example/app")
            pool.submit(work)
            assert answer_on(caller)[1].startswith(b"resident")
        wait_until(lambda: pool.load()[:2] == (14, 6))
        service.registry.set()
        for _, caller in dead:
            assert answer_on(caller)[1].startswith(b"resident")


def test_one_that_fails_while_it_waits_gives_its_turn_back(log: ErrorLog) -> None:
    class Service(ObedientService):
        def handle(self, kind: int, request: Request, elapsed: float) -> Answer:
            with aside():
                raise ValueError("secret")

    with pool_of(Service(), log, workers=1, patience_seconds=60.0) as pool:
        pool.warm_up()
        for _ in range(5):
            work, caller = job(b"")
            pool.submit(work)
            assert answer_on(caller) == (0, protocol.INTERNAL_LINE, b"")
        assert pool.counts["failed"] == 5


def test_without_a_turn_nothing_is_given_away() -> None:
    reached = False
    with aside(), aside():
        reached = True
    assert reached


def test_threads_that_are_not_needed_end(log: ErrorLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(permit_pool, "IDLE_THREAD_SECONDS", 0.1)
    service = ObedientService()
    with pool_of(service, log, workers=2, threads=64) as pool:
        pool.warm_up()
        many = [job(b"wait=20", subject=b"%d.example/app" % number) for number in range(30)]
        for work, _ in many:
            pool.submit(work)
        wait_until(lambda: pool.threads == 30)
        service.registry.set()
        for _, caller in many:
            assert answer_on(caller)[1].startswith(b"resident")
        wait_until(lambda: pool.threads == 2)
        work, caller = job(b"")
        pool.submit(work)
        assert answer_on(caller)[1].startswith(b"resident")


def test_where_no_thread_can_be_started_the_call_waits_for_one_that_there_is(
    log: ErrorLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pool_of(ObedientService(), log, workers=4) as pool:
        pool.warm_up()
        first, caller = job(b"")
        pool.submit(first)
        assert answer_on(caller)[1].startswith(b"resident")

        def refuse(_: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(threading.Thread, "start", refuse)
        many = [job(b"sleep=0.05", subject=b"%d.example/app" % number) for number in range(5)]
        for work, _ in many:
            pool.submit(work)
        for _, caller in many:
            assert answer_on(caller)[1].startswith(b"resident")
        assert pool.threads == 1
        assert "the system allows no more threads" in "".join(log.latest())


def test_calls_that_are_not_held_up_wait_for_their_turn(log: ErrorLog) -> None:
    with pool_of(ObedientService(), log, workers=2, patience_seconds=60.0) as pool:
        pool.warm_up()
        many = [job(b"sleep=0.05") for _ in range(8)]
        for work, _ in many:
            pool.submit(work)
            pool.reinforce()
        assert pool.threads == 2
        for _, caller in many:
            assert answer_on(caller)[1].startswith(b"resident")


def test_a_silent_registry_holds_up_its_own_calls_only(log: ErrorLog) -> None:
    with pool_of(ObedientService(), log, workers=2, threads=2) as pool:
        pool.warm_up()
        silent = [job(b"sleep=0.5", subject=b"silent.example/app@sha256:0") for _ in range(8)]
        for work, _ in silent:
            pool.submit(work)
        other, caller = job(b"", subject=b"good.example/app@sha256:0")
        pool.submit(other)
        assert answer_on(caller)[1].startswith(b"resident")
        assert pool.load()[0] >= 4, "most of those that came before it still wait"
        for _, caller in silent:
            assert answer_on(caller)[1].startswith(b"resident")


def take(turns: FairQueue[Job], begun: list[Job]) -> Job:
    job = turns.take(begun)
    assert job is not None
    return job


def test_turns_go_round_the_registries() -> None:
    turns: FairQueue[Job] = FairQueue(most=3)
    for subject in (b"a/1", b"a/2", b"a/3", b"b/1", None, b"b/2"):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            turns.add(Job(ours, (0.0, None, subject, None, b""), 1.0))
    assert len(turns) == 6
    taken: list[Job] = []
    for _ in range(4):
        taken.append(take(turns, taken))
    assert [one.request[2] for one in taken] == [b"a/1", b"b/1", None, b"a/2"]
    del taken[1]
    taken.append(take(turns, taken))
    assert taken[-1].request[2] == b"b/2"
    last = take(turns, taken)
    assert last.request[2] == b"a/3"
    assert turns.take(taken) is None
    turns.put_back(last)
    taken.append(last)
    assert turns.take(taken) is None, "three of that registry have begun"
    assert turns.take(taken[:-1]) is last


def test_what_waits_for_stuck_workers_does_not_keep_a_server(log: ErrorLog) -> None:
    with pool_of(ObedientService(warm_seconds=0.8), log, workers=1) as pool:
        callers = []
        for _ in range(5):
            work, caller = job(b"", 0.0)
            pool.submit(work)
            callers.append(caller)
        # Nothing warms up: the first one waits, the others wait for its worker.
        wait_until(lambda: pool.unfinished() == 0)
        for caller in callers:
            caller.close()
