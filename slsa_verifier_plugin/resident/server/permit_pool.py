"""Runs calls in threads: there may be many, of which few work while the others wait.

A thread that waits for a registry takes some ten kilobytes and no processor; threads that work take turns at the interpreter, and
each that wants it keeps the one that accepts calls from it. So the number of threads is what memory allows, and the
number of those that work what processors can do.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Generic

from slsa_verifier_plugin.permit import held
from slsa_verifier_plugin.resident.protocol import GRACE_SECONDS
from slsa_verifier_plugin.resident.server.errorlog import describe
from slsa_verifier_plugin.resident.server.fair_queue import FairQueue, J

SHARE_OF_ONE_REGISTRY = 0.75
"""Of the threads that may be at the calls of one registry: others find some free even where it has all that wait."""
IDLE_THREAD_SECONDS = 10.0
"""Time without a call after which a thread ends that is more than there are workers."""


@dataclass(frozen=True, slots=True)
class ThreadLimits:
    """How many calls work at once.

    Attributes:
        workers: calls that work at once, beside those that wait for a registry.
        threads: calls that are begun at once; one that waits takes 60 to 100 KiB.
        patience_seconds: time after which a call that works without waiting no longer counts.
    """

    workers: int = 4
    threads: int = 512
    patience_seconds: float = 0.5


class PermitPool(ABC, Generic[J]):
    """Runs calls in threads that are started as they are needed.

    A call works while it has one of ``ThreadLimits.workers`` permits, and gives it away while it waits (``permit.aside``). A call
    that has worked for a while without waiting counts no more, for Python cannot kill threads: another works in its place. A call
    that comes back from waiting goes before those that wait for a thread. The one thread that submits calls limits how many may
    wait, by ``load``.

    Args:
        limits: how many.
        log: gets what went wrong, a line each.
    """

    def __init__(self, limits: ThreadLimits, log: Callable[[str], None]) -> None:
        self._limits = limits
        self._log = log
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._waiting: FairQueue[J] = FairQueue(max(1, int(limits.threads * SHARE_OF_ONE_REGISTRY)))
        self._returning: deque[tuple[J, threading.Lock]] = deque()
        self._handed_over: deque[J] = deque()
        self._queued_bytes = 0
        self._closing = False
        self._last_deadline = 0.0
        self._running: set[J] = set()
        self._working = 0
        self.threads = self._idle = 0
        """Threads that there are, and those without a call. The status reads the first without the lock."""

    @abstractmethod
    def _process(self, job: J) -> None:
        """Do the work of one call, in a thread of its own that has its permit."""

    @abstractmethod
    def _abandon(self, job: J) -> None:
        """Let go of a call whose work failed."""

    def submit(self, job: J) -> None:
        """Queue a job."""
        # One lock for all counts: they are changed together, for some microseconds.
        with self._lock:
            self._waiting.add(job)
            self._queued_bytes += job.size
            # The latest end of any call: beyond it nobody waits (``unfinished``).
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

    def late(self, seconds: float) -> int:
        """Return how many running jobs are more than ``seconds`` past their deadline."""
        now = time.monotonic()
        with self._lock:
            return sum(now > job.deadline + seconds for job in self._running)

    def unfinished(self) -> int:
        """Return how many jobs wait or run whose callers still wait."""
        now = time.monotonic()
        with self._lock:
            # Though some may wait for a thread that a looping call never gives back: nobody waits for their answers.
            if now > self._last_deadline + GRACE_SECONDS:
                return 0
            return len(self._waiting) + sum(now <= job.deadline + GRACE_SECONDS for job in self._running)

    def _give(self, job: J) -> None:
        """Let another call work while this one waits."""
        # While it waits it does not count as one that works for long.
        with self._lock:
            job.working = None
            self._working -= 1
            self._dispatch()

    def _take(self, job: J) -> None:
        """Wait until this call may work again."""
        with self._lock:
            # Behind those that came back before: who waited for a registry has less time left than who has not begun.
            if not self._returning and self._has_permit():
                self._begin(job)
                return
            # A lock for each and not one condition for all: who is next is woken, and nobody else.
            gate = threading.Lock()
            # Held from the beginning, so that the next acquire waits until ``_dispatch`` releases it.
            gate.acquire()
            self._returning.append((job, gate))
        # Outside of the pool's lock, which whoever releases the gate needs.
        gate.acquire()

    def _dispatch(self) -> None:
        """Let those that wait for a permit work, as many as may; the lock is held."""
        while self._has_permit():
            # Who has begun comes before who has not: it holds memory, and its time has run for longer.
            if self._returning:
                job, gate = self._returning.popleft()
                gate.release()
            else:
                taken = self._hand_over()
                if taken is None:
                    return
                job = taken
            self._begin(job)

    def _begin(self, job: J) -> None:
        job.working = time.monotonic()
        self._working += 1

    def _has_permit(self) -> bool:
        """Return True where one more may work; the lock is held."""
        if self._working < self._limits.workers:
            return True
        # Counted only here, where all permits are taken: some hundred comparisons.
        since = time.monotonic() - self._limits.patience_seconds
        held_up = sum(job.working is not None and job.working < since for job in self._running)
        return self._working < self._limits.workers + held_up

    def _hand_over(self) -> J | None:
        """Hand the next call that waits to a thread, and return it; None where there is none of either. The lock is held."""
        # An idle thread may have been handed a call that it has not picked up yet.
        has_thread = self._idle > len(self._handed_over)
        if not has_thread and self.threads >= self._limits.threads:
            return None
        job = self._waiting.take(self._running)
        if job is None:
            return None
        # Of a limit of processes or memory: the threads that there are go on, and one of them will take it.
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
            self._log("the system allows no more threads")
            return False
        # Counted here, not by the thread itself: the next look at the counts may come before it runs.
        self.threads += 1
        self._idle += 1
        return True

    def _work(self) -> None:
        while (job := self._next()) is not None:
            try:
                with held(partial(self._give, job), partial(self._take, job)):
                    self._process(job)
            except BaseException as error:  # noqa: BLE001 (a worker outlives everything)
                self._log(f"a worker failed: {describe(error)}")
                self._abandon(job)
            finally:
                self._finish(job)
                del job  # an idle worker holds no request

    def _next(self) -> J | None:
        """Wait for a job and return it; None once there will be none, or this thread is not needed."""
        with self._lock:
            while not self._handed_over:
                # An idle thread beyond those that may work at once ends after a while: a burst must not keep 512 stacks.
                is_over = self._closing and not self._waiting
                if is_over or (
                    not self._changed.wait(IDLE_THREAD_SECONDS)
                    and not self._handed_over
                    and self.threads > self._limits.workers
                ):
                    self._idle -= 1
                    self.threads -= 1
                    return None
            self._idle -= 1
            return self._handed_over.popleft()

    def _finish(self, job: J) -> None:
        with self._lock:
            self._running.discard(job)
            self._working -= 1
            # Idle before the next call is handed over, so that this thread may get it.
            self._idle += 1
            self._dispatch()
            # Those that still wait for a call may be done now.
            if self._closing:
                self._changed.notify_all()
