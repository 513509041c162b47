"""Many callers of one resident verifier at once, in one thread: a process for each would be what the machine is busy with."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from slsa_verifier_plugin.resident import protocol
from slsa_verifier_plugin.resident.protocol import Answer, Request


@dataclass
class Caller:
    """One call, and what became of it: seconds from its connecting on, None for what did not come."""

    begun: float
    accepted: float | None = None
    answered: float | None = None
    answer: Answer | None = None
    busy: bool = False
    read: bytearray = field(default_factory=bytearray)


def ask_at_once(path: str, requests: Sequence[Request], seconds: float = 20.0) -> list[Caller]:
    """Make all calls at once, and return what became of them after all have ended, or after ``seconds``."""
    with selectors.DefaultSelector() as selector:
        callers = [_begin(path, request, selector) for request in requests]
        end = time.monotonic() + seconds
        while selector.get_map() and time.monotonic() < end:
            for key, _ in selector.select(end - time.monotonic()):
                assert isinstance(key.fileobj, socket.socket)
                if not _hear(key.fileobj, key.data):
                    selector.unregister(key.fileobj)
                    key.fileobj.close()
        for key in list(selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        return callers


def _begin(path: str, request: Request, selector: selectors.BaseSelector) -> Caller:
    connection = socket.socket(socket.AF_UNIX)
    caller = Caller(time.monotonic())
    connection.connect(path)
    connection.sendall(protocol.encode_request(request))
    connection.setblocking(False)
    selector.register(connection, selectors.EVENT_READ, caller)
    return caller


def _hear(connection: socket.socket, caller: Caller) -> bool:
    """Take in what has come; return False once no more will."""
    try:
        data = connection.recv(1 << 16)
    except OSError:
        data = b""
    caller.read += data
    while len(caller.read) >= protocol.HEADER_BYTES:
        kind, length = protocol.parse_header(caller.read, protocol.MAX_REPLY)
        size = protocol.HEADER_BYTES + length
        if len(caller.read) < size:
            break
        body = bytes(caller.read[protocol.HEADER_BYTES : size])
        del caller.read[:size]
        since = time.monotonic() - caller.begun
        if kind == protocol.ACCEPTED:
            caller.accepted = since
        elif kind == protocol.BUSY:
            caller.busy = True
        elif kind == protocol.ANSWER:
            caller.answered, caller.answer = since, protocol.decode_answer(body)
    return bool(data)
