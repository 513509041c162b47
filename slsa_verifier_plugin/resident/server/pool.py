"""Runs the calls of a resident verifier: each is one job, which a thread of the pool works on and answers."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable

from slsa_verifier_plugin import lacks
from slsa_verifier_plugin.resident.protocol import (
    DEADLINE_LINE,
    GRACE_SECONDS,
    INTERNAL_LINE,
    Answer,
    encode_answer,
    lack_line,
)
from slsa_verifier_plugin.resident.server.errorlog import ErrorLog, describe
from slsa_verifier_plugin.resident.server.fair_queue import Job
from slsa_verifier_plugin.resident.server.handler import CallHandler
from slsa_verifier_plugin.resident.server.permit_pool import PermitPool
from slsa_verifier_plugin.resident.server.server_settings import ServerSettings


class Pool(PermitPool[Job]):
    """Runs the calls that a resident verifier has accepted, and answers each on its own connection.

    Args:
        service: does the work.
        settings: limits.
        log: gets what went wrong.
        unsent: takes over a connection whose peer does not read its answer at once, and what is left of it; thread-safe.
    """

    def __init__(
        self,
        service: CallHandler,
        settings: ServerSettings,
        log: ErrorLog,
        unsent: Callable[[socket.socket, bytes], None],
    ) -> None:
        super().__init__(settings, log.add)
        self._service = service
        self.counts: Counter[str] = Counter()
        """What became of calls and of connections, by the names of ``report.COUNTED``."""
        self._unsent = unsent
        self.warm = threading.Event()
        """Set once warming up has ended, well or badly."""

    def count(self, name: str) -> None:
        """Count one more of what became of calls and of connections."""
        # Reading, adding and storing are three steps of the interpreter, between which another thread may run.
        with self._lock:
            self.counts[name] += 1

    def warm_up(self) -> None:
        """Begin to warm the service up; jobs wait for its end."""
        threading.Thread(target=self._warm_up, name="warm-up", daemon=True).start()

    def _warm_up(self) -> None:
        try:
            self._service.warm_up()
        except Exception as error:  # noqa: BLE001 (whatever it was, each call will say what it lacks)
            self._log(f"warming up failed: {describe(error)}")
        finally:
            self.warm.set()

    def _process(self, job: Job) -> None:
        # The first calls come while the service is being imported: each waits for it, and for no longer than its own time.
        warm = self.warm.wait(max(job.deadline - time.monotonic(), 0.0))
        # Ratify's caller may have given up by now; half a second of work would be for nobody.
        if _peer_is_gone(job.connection):
            self.count("abandoned")
            job.connection.close()
            return
        answer = self._answer(job) if warm else (0, DEADLINE_LINE, b"")
        self._send(job.connection, answer)
        # The caller has printed a denial of its own by now.
        if time.monotonic() > job.deadline + GRACE_SECONDS:
            self.count("late")

    def _abandon(self, job: Job) -> None:
        job.connection.close()

    def _answer(self, job: Job) -> Answer:
        # What the client had used when it sent, and what it has waited for here.
        elapsed = job.request[0] + time.monotonic() - job.accepted
        try:
            return self._service.handle(job.kind, job.request, elapsed)
        except BaseException as error:  # noqa: BLE001 (SystemExit and MemoryError, too: the caller gets a denial)
            self.count("failed")
            self._log(f"a verification failed: {describe(error)}")
            # A limit that passes is said, for the same call may succeed later; anything else is a fault of ours.
            number = lacks.number_of(error)
            return 0, lack_line(number) if number else INTERNAL_LINE, b""

    def _send(self, connection: socket.socket, answer: Answer) -> None:
        try:
            data = encode_answer(answer)
        except Exception as error:  # noqa: BLE001 (too large, or no answer at all)
            self.count("failed")
            self._log(f"an answer fits in no frame: {describe(error)}")
            # The caller gets a word all the same, and need not wait for its time to be over.
            data = encode_answer((0, INTERNAL_LINE, b""))
        # Most answers fit into the socket's buffer; of the others the loop sends the rest, so that no thread waits for a caller.
        try:
            sent = connection.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.count("abandoned")
            connection.close()
            return
        if sent == len(data):
            connection.close()
        else:
            self._unsent(connection, data[sent:])


def _peer_is_gone(connection: socket.socket) -> bool:
    """Return True once the other side has closed the connection altogether."""
    # No event is asked for: POLLHUP comes unasked once both directions are closed, and never for one that only sends no more.
    poll = select.poll()
    poll.register(connection, 0)
    return bool(poll.poll(0))
