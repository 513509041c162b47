"""A resident verifier's workers without its socket: a pool, calls for it, and what the callers get."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from slsa_verifier_plugin.resident import protocol
from slsa_verifier_plugin.resident.server.errorlog import ErrorLog
from slsa_verifier_plugin.resident.server.fair_queue import Job
from slsa_verifier_plugin.resident.server.pool import Pool
from slsa_verifier_plugin.resident.server.server_settings import ServerSettings
from tests.support.processes import wait_until
from tests.support.resident import ObedientService


@contextmanager
def pool_of(service: ObedientService, log: ErrorLog, **settings: Any) -> Iterator[Pool]:
    before = threading.active_count()
    unsent: list[socket.socket] = []
    pool = Pool(service, ServerSettings(**settings), log, lambda connection, _: unsent.append(connection))
    try:
        yield pool
    finally:
        pool.close()
        # Other tests fork, which must not be done beside threads.
        wait_until(lambda: threading.active_count() <= before)
        for connection in unsent:
            connection.close()


def job(stdin: bytes, seconds: float = 20.0, subject: bytes | None = None) -> tuple[Job, socket.socket]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.settimeout(20)
    return Job(ours, (0.5, b"VERIFY", subject, b"1.0.0", stdin), seconds), theirs


def answer_on(connection: socket.socket) -> protocol.Answer:
    data = b""
    with connection:
        while chunk := connection.recv(65536):
            data += chunk
    kind, length = protocol.parse_header(data, protocol.MAX_REPLY)
    assert kind == protocol.ANSWER
    assert len(data) == protocol.HEADER_BYTES + length
    return protocol.decode_answer(data[protocol.HEADER_BYTES :])
