"""Which call is next: those that wait for a worker, by registry."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from slsa_verifier_plugin.resident.server.pool import Job


class Turns:
    """Calls that wait. The registry with the fewest calls begun is next: one that is silent holds up its own only.

    Not safe under threads; whoever has it locks it.

    Args:
        most: calls of one registry that may have begun at once.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: dict[bytes, deque[Job]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def add(self, job: Job) -> None:
        """Let a call wait, behind those of its registry."""
        self._waiting.setdefault(job.registry, deque()).append(job)

    def put_back(self, job: Job) -> None:
        """Let a call that was taken wait on, in front of those of its registry."""
        self._waiting.setdefault(job.registry, deque()).appendleft(job)

    def take(self, begun: Iterable[Job]) -> Job | None:
        """Return the call that is next beside those that have begun; None where none waits, or each must wait on."""
        if not self._waiting:
            return None
        # Of equals the one that has waited longest: its registry came first, and goes behind the others below.
        busy = Counter(job.registry for job in begun)
        registry = min(self._waiting, key=busy.__getitem__)
        if busy[registry] >= self._most:
            return None
        jobs = self._waiting.pop(registry)
        job = jobs.popleft()
        if jobs:
            self._waiting[registry] = jobs
        return job
