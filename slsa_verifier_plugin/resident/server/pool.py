"""The workers of a resident verifier: many threads, each with one call, of which few work while the others wait.

A thread that waits for a registry takes some ten kilobytes and no processor; threads that work take turns at the interpreter, and
each that wants it keeps the one that accepts calls from it. So the number of threads is what memory allows, and the
number of those that work what processors can do.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable

from slsa_verifier_plugin import lacks
from slsa_verifier_plugin.resident.protocol import (
    CHECK,
    DEADLINE_LINE,
    GRACE_SECONDS,
    INTERNAL_LINE,
    Answer,
    encode_answer,
    lack_line,
)
from slsa_verifier_plugin.resident.server.counters import Counters
from slsa_verifier_plugin.resident.server.errorlog import ErrorLog, describe
from slsa_verifier_plugin.resident.server.fair_queue import FairQueue, Job
from slsa_verifier_plugin.resident.server.handler import CallHandler
from slsa_verifier_plugin.resident.server.server_settings import ServerSettings
from slsa_verifier_plugin.turn import held

SHARE_OF_ONE_REGISTRY = 0.75
"""Of the threads that may be at the calls of one registry: others find some free even where it has all that wait."""
IDLE_THREAD_SECONDS = 10.0
"""Time without a call after which a thread ends that is more than there are workers."""


class Pool:
    """Runs jobs in threads that are started as they are needed.

    A job works while it has one of ``Settings.workers`` turns, and gives it away while it waits (``turn.aside``). One that has
    worked for a while without waiting counts no more, for nothing in Python can end it: another works in its place. Whoever
    comes back from waiting is next, then the calls that wait for a thread. How many may wait is for the one thread that
    submits them to decide, by ``load``.

    Args:
        service: does the work.
        settings: limits.
        log: gets what went wrong.
        counters: counts what becomes of the jobs.
        unsent: takes over a connection whose peer does not read its answer at once, and what is left of it; thread-safe.
    """

    def __init__(
        self,
        service: CallHandler,
        settings: ServerSettings,
        log: ErrorLog,
        counters: Counters,
        unsent: Callable[[socket.socket, bytes], None],
    ) -> None:
        self._service = service
        self._settings = settings
        self._log = log
        self._counters = counters
        self._unsent = unsent
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._waiting = FairQueue(max(1, int(settings.threads * SHARE_OF_ONE_REGISTRY)))
        self._returning: deque[tuple[Job, threading.Lock]] = deque()
        self._handed_over: deque[Job] = deque()
        self._queued_bytes = 0
        self._closing = False
        self._last_deadline = 0.0
        self._running: set[Job] = set()
        self._working = 0
        self._threads = self._idle = 0
        self._warm = threading.Event()

    def warm_up(self) -> None:
        """Begin to warm the service up; jobs wait for its end."""
        threading.Thread(target=self._warm_up, name="warm-up", daemon=True).start()

    def submit(self, job: Job) -> None:
        """Queue a job."""
        with self._lock:
            self._waiting.add(job)
            self._queued_bytes += job.size
            self._last_deadline = max(self._last_deadline, job.deadline)
            self._dispatch()

    def close(self) -> None:
        """Let the workers end, each after its call; what waits by now is still worked on."""
        with self._lock:
            self._closing = True
            self._changed.notify_all()

    def load(self) -> tuple[int, int, int]:
        """Return how many jobs wait and run, and how many bytes the waiting ones hold."""
        with self._lock:
            return len(self._waiting), len(self._running), self._queued_bytes

    def reinforce(self) -> bool:
        """Let calls work in the place of those that take long; return True where calls wait nevertheless."""
        with self._lock:
            self._dispatch()
            return bool(self._waiting or self._returning)

    @property
    def threads(self) -> int:
        """Threads that there are."""
        return self._threads

    def is_warm(self) -> bool:
        """Return True once warming up has ended, well or badly."""
        return self._warm.is_set()

    def late(self, seconds: float) -> int:
        """Return how many running jobs are more than ``seconds`` past their deadline."""
        now = time.monotonic()
        with self._lock:
            return sum(now > job.deadline + seconds for job in self._running)

    def unfinished(self) -> int:
        """Return how many jobs wait or run whose callers still wait."""
        now = time.monotonic()
        with self._lock:
            if now > self._last_deadline + GRACE_SECONDS:
                return 0  # though some may wait for a worker that never comes
            return len(self._waiting) + sum(now <= job.deadline + GRACE_SECONDS for job in self._running)

    def give_turn(self, job: Job) -> None:
        """Let another call work while this one waits."""
        with self._lock:
            job.working = None
            self._working -= 1
            self._dispatch()

    def take_turn(self, job: Job) -> None:
        """Wait until this call may work again."""
        with self._lock:
            if not self._returning and self._has_turn():
                self._begin(job)
                return
            gate = threading.Lock()
            gate.acquire()
            self._returning.append((job, gate))
        gate.acquire()

    def _dispatch(self) -> None:
        """Let those that wait for a turn work, as many as may; the lock is held."""
        while self._has_turn():
            if self._returning:
                job, gate = self._returning.popleft()
                gate.release()
            else:
                taken = self._hand_over()
                if taken is None:
                    return
                job = taken
            self._begin(job)

    def _begin(self, job: Job) -> None:
        job.working = time.monotonic()
        self._working += 1

    def _has_turn(self) -> bool:
        """Return True where one more may work; the lock is held."""
        if self._working < self._settings.workers:
            return True
        since = time.monotonic() - self._settings.patience_seconds
        held_up = sum(job.working is not None and job.working < since for job in self._running)
        return self._working < self._settings.workers + held_up

    def _hand_over(self) -> Job | None:
        """Hand the next call that waits to a thread, and return it; None where there is none of either. The lock is held."""
        has_thread = self._idle > len(self._handed_over)
        if not has_thread and self._threads >= self._settings.threads:
            return None
        job = self._waiting.take(self._running)
        if job is None:
            return None
        if not has_thread and not self._add_thread():
            self._waiting.put_back(job)
            return None
        self._queued_bytes -= job.size
        self._running.add(job)
        self._handed_over.append(job)
        self._changed.notify()
        return job

    def _add_thread(self) -> bool:
        """Start a thread, which is idle at first; return whether there is one more. The lock is held."""
        try:
            threading.Thread(target=self._work, name="worker", daemon=True).start()
        except RuntimeError:  # the system has no more; the others go on
            self._log.add("the system allows no more threads")
            return False
        self._threads += 1
        self._idle += 1
        return True

    def _warm_up(self) -> None:
        try:
            self._service.warm_up()
        except Exception as error:  # noqa: BLE001 (whatever it was, each call will say what it lacks)
            self._log.add(f"warming up failed: {describe(error)}")
        finally:
            self._warm.set()

    def _work(self) -> None:
        while (job := self._next()) is not None:
            try:
                with held(_JobTurn(self, job)):
                    self._process(job)
            except BaseException as error:  # noqa: BLE001 (a worker outlives everything)
                self._log.add(f"a worker failed: {describe(error)}")
                job.connection.close()
            finally:
                self._finish(job)
                del job  # an idle worker holds no request

    def _next(self) -> Job | None:
        """Wait for a job and return it; None once there will be none, or this thread is not needed."""
        with self._lock:
            while not self._handed_over:
                is_over = self._closing and not self._waiting
                if is_over or (
                    not self._changed.wait(IDLE_THREAD_SECONDS)
                    and not self._handed_over
                    and self._threads > self._settings.workers
                ):
                    self._idle -= 1
                    self._threads -= 1
                    return None
            self._idle -= 1
            return self._handed_over.popleft()

    def _finish(self, job: Job) -> None:
        with self._lock:
            self._running.discard(job)
            self._working -= 1
            self._idle += 1
            self._dispatch()
            if self._closing:
                self._changed.notify_all()

    def _process(self, job: Job) -> None:
        warm = self._warm.wait(max(job.deadline - time.monotonic(), 0.0))
        if _peer_is_gone(job.connection):
            self._counters.add("abandoned")
            job.connection.close()
            return
        answer = self._answer(job) if warm else (0, DEADLINE_LINE, b"")
        self._send(job.connection, answer)
        if time.monotonic() > job.deadline + GRACE_SECONDS:
            self._counters.add("late")

    def _answer(self, job: Job) -> Answer:
        elapsed, first, second, third, last = job.request
        elapsed += time.monotonic() - job.accepted
        try:
            if job.kind == CHECK:
                return self._service.check(job.request, elapsed)
            return self._service.handle(first, second, third, last, elapsed)
        except BaseException as error:  # noqa: BLE001 (SystemExit and MemoryError, too: the caller gets a denial)
            self._counters.add("failed")
            self._log.add(f"a verification failed: {describe(error)}")
            number = lacks.number_of(error)
            return 0, lack_line(number) if number else INTERNAL_LINE, b""

    def _send(self, connection: socket.socket, answer: Answer) -> None:
        try:
            data = encode_answer(answer)
        except Exception as error:  # noqa: BLE001 (too large, or no answer at all)
            self._counters.add("failed")
            self._log.add(f"an answer fits in no frame: {describe(error)}")
            data = encode_answer((0, INTERNAL_LINE, b""))
        try:
            sent = connection.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._counters.add("abandoned")
            connection.close()
            return
        if sent == len(data):
            connection.close()
        else:
            self._unsent(connection, data[sent:])


class _JobTurn:
    """The turn of one job, for ``turn.aside``."""

    __slots__ = ("_job", "_pool")

    def __init__(self, pool: Pool, job: Job) -> None:
        self._pool = pool
        self._job = job

    def give(self) -> None:
        self._pool.give_turn(self._job)

    def take(self) -> None:
        self._pool.take_turn(self._job)


def _peer_is_gone(connection: socket.socket) -> bool:
    """Return True once the other side has closed the connection altogether."""
    poll = select.poll()
    poll.register(connection, 0)
    return bool(poll.poll(0))
