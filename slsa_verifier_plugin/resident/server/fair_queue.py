"""Fair scheduling: the calls that wait for a thread, and which of them is next."""

from __future__ import annotations

import socket
import time
from collections import Counter, deque
from collections.abc import Iterable

from slsa_verifier_plugin.resident.protocol import VERIFY, Request


class Job:
    """One accepted call.

    Args:
        connection: a non-blocking socket, owned by the job from now on.
        request: what was asked.
        seconds: what is left of the call's time, from now on.
        kind: of the request's frame, VERIFY or CHECK.
    """

    __slots__ = ("accepted", "connection", "deadline", "kind", "registry", "request", "working")

    def __init__(
        self, connection: socket.socket, request: Request, seconds: float, kind: int = VERIFY
    ) -> None:
        self.connection = connection
        self.kind = kind
        self.request = request
        self.accepted = time.monotonic()
        self.working: float | None = None
        """Since when it has had its turn; None while it has not."""
        self.deadline = self.accepted + seconds
        # Of VERIFY the subject, of CHECK the image's name: both begin with the registry's host.
        self.registry = (request[2] or b"").partition(b"/")[0]

    @property
    def size(self) -> int:
        """Bytes of standard input that it holds."""
        return len(self.request[4])


class FairQueue:
    """Calls that wait for a thread. Next is one whose registry has the fewest calls under way.

    So a registry that is silent holds up its own calls only. Not safe under threads; whoever has it locks it.

    Args:
        most: calls of one registry that may be under way at once.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        # A dict keeps the order in which registries came, which is the order of their turns.
        self._waiting: dict[bytes, deque[Job]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def add(self, job: Job) -> None:
        """Let a call wait, behind those of its registry."""
        self._waiting.setdefault(job.registry, deque()).append(job)

    def put_back(self, job: Job) -> None:
        """Let a call that was taken wait on, in front of those of its registry."""
        self._waiting.setdefault(job.registry, deque()).appendleft(job)

    def take(self, under_way: Iterable[Job]) -> Job | None:
        """Return the call that is next beside those under way; None where none waits, or each must wait on."""
        if not self._waiting:
            return None
        busy = Counter(job.registry for job in under_way)
        # ``min`` returns the first of equals: the registry that has waited longest.
        registry = min(self._waiting, key=busy.__getitem__)
        # The least busy registry is at the limit, so all are.
        if busy[registry] >= self._most:
            return None
        jobs = self._waiting.pop(registry)
        job = jobs.popleft()
        if jobs:
            # Set anew, so that it goes behind the other registries.
            self._waiting[registry] = jobs
        return job
