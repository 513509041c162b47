"""Whose turn it is: the calls that wait for a worker, by registry."""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from slsa_verifier_plugin.resident.pool import Job


class Turns:
    """Calls that wait. The registry with the fewest calls at work is next: one that is silent holds up its own only.

    Not safe under threads; whoever has it locks it.
    """

    def __init__(self) -> None:
        self._waiting: dict[bytes, deque[Job]] = {}
        self._at_work: Counter[bytes] = Counter()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, job: Job) -> None:
        """Let a call wait, behind those of its registry."""
        self._waiting.setdefault(job.registry, deque()).append(job)
        self._count += 1

    def take(self) -> Job:
        """Return the call whose turn it is, which is at work from now on.

        Raises:
            ValueError: none waits.
        """
        # Of equals the one that has waited longest: its registry came first, and goes behind the others below.
        registry = min(self._waiting, key=self._at_work.__getitem__)
        jobs = self._waiting.pop(registry)
        job = jobs.popleft()
        if jobs:
            self._waiting[registry] = jobs
        self._at_work[registry] += 1
        self._count -= 1
        return job

    def done(self, job: Job) -> None:
        """Note that a call is no longer at work."""
        self._at_work[job.registry] -= 1
        if not self._at_work[job.registry]:
            del self._at_work[job.registry]
