"""Whose turn it is: the calls that wait for a worker, by registry."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from slsa_verifier_plugin.resident.pool import Job


class Turns:
    """Calls that wait. The registry with the fewest calls at work is next: one that is silent holds up its own only.

    Not safe under threads; whoever has it locks it.
    """

    def __init__(self) -> None:
        self._waiting: dict[bytes, deque[Job]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def add(self, job: Job) -> None:
        """Let a call wait, behind those of its registry."""
        self._waiting.setdefault(job.registry, deque()).append(job)

    def take(self, at_work: Iterable[Job]) -> Job:
        """Return the call whose turn it is, beside those that are at work.

        Raises:
            ValueError: none waits.
        """
        # Of equals the one that has waited longest: its registry came first, and goes behind the others below.
        busy = Counter(job.registry for job in at_work)
        registry = min(self._waiting, key=busy.__getitem__)
        jobs = self._waiting.pop(registry)
        job = jobs.popleft()
        if jobs:
            self._waiting[registry] = jobs
        return job
