"""Schedules calls fairly: keeps those that wait for a thread, and chooses which is next."""

from __future__ import annotations

import socket
import time
from collections import Counter, deque
from collections.abc import Iterable
from typing import Generic, TypeVar

from slsa_verifier_plugin.resident.protocol import VERIFY, Request


class Assignment:
    """One call that is to be worked on.

    Args:
        registry: the registry that it will ask: those of one do not hold up those of another.
        size: bytes that it holds while it waits.
        seconds: what is left of the call's time, from now on.
    """

    __slots__ = ("accepted", "deadline", "registry", "size", "working")

    def __init__(self, registry: bytes, size: int, seconds: float) -> None:
        self.accepted = time.monotonic()
        self.working: float | None = None
        """Since when it has had its turn; None while it has not."""
        self.deadline = self.accepted + seconds
        self.registry = registry
        self.size = size


class Job(Assignment):
    """One accepted call of the plugin; its size is that of its standard input.

    Args:
        connection: a non-blocking socket, owned by the job from now on.
        request: what was asked.
        seconds: what is left of the call's time, from now on.
        kind: of the request's frame, VERIFY, CHECK or REPORT.
    """

    __slots__ = ("connection", "kind", "request")

    def __init__(
        self, connection: socket.socket, request: Request, seconds: float, kind: int = VERIFY
    ) -> None:
        # Of VERIFY the subject, of the others the image's name: all begin with the registry's host.
        super().__init__((request[2] or b"").partition(b"/")[0], len(request[4]), seconds)
        self.connection = connection
        self.kind = kind
        self.request = request


J = TypeVar("J", bound=Assignment)


class FairQueue(Generic[J]):
    """Calls that wait for a thread. Next is one whose registry has the fewest calls under way.

    So a registry that is silent holds up its own calls only. Not safe under threads; whoever has it locks it.

    Args:
        most: calls of one registry that may be under way at once.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        # A dict keeps the order in which registries came, which is the order of their turns.
        self._waiting: dict[bytes, deque[J]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def add(self, job: J) -> None:
        """Let a call wait, behind those of its registry."""
        self._waiting.setdefault(job.registry, deque()).append(job)

    def put_back(self, job: J) -> None:
        """Let a call that was taken wait on, in front of those of its registry."""
        self._waiting.setdefault(job.registry, deque()).appendleft(job)

    def take(self, under_way: Iterable[J]) -> J | None:
        """Return the call that is next beside those under way; None where none waits, or each must wait on."""
        if not self._waiting:
            return None
        # Counted anew at each taking: some hundred calls, against a count that could go wrong.
        busy = Counter(job.registry for job in under_way)
        # ``min`` returns the first of equals: the registry that has waited longest.
        registry = min(self._waiting, key=busy.__getitem__)
        # The least busy registry is at the limit, so all are.
        if busy[registry] >= self._most:
            return None
        # Taken out, and put back below if more wait: callers name registries, and those that are done with are forgotten.
        jobs = self._waiting.pop(registry)
        job = jobs.popleft()
        if jobs:
            # Set anew, so that it goes behind the other registries.
            self._waiting[registry] = jobs
        return job
