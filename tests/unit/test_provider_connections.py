"""One connection of the provider without a socket: heads and trailers are bounded, answers are one write, its age ends it."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any, cast

import pytest
from uvicorn import Config
from uvicorn.server import ServerState

from slsa_verifier_plugin.provider.connections import MAX_HEAD, BoundedProtocol, Guard
from slsa_verifier_plugin.provider.provider_metrics import ProviderMetrics
from slsa_verifier_plugin.provider.provider_settings import ProviderLimits

REQUEST = b"POST / HTTP/1.1\r\nHost: a\r\n"


class Wire(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__({"socket": socket.socket()})
        self.written: list[bytes] = []
        self.closed = self.is_over = False

    def write(self, data: Any) -> None:
        if data and not self.is_over:
            self.written.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    resume_reading = pause_reading


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Answer with what was asked, and say whether the connection leaves."""
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    if scope["path"] == "/decide":
        await asyncio.Event().wait()
    leaving = scope["state"]["connection"].is_leaving
    names = [name.decode() for name, _ in scope["headers"]]
    content = json.dumps({"leaving": leaving, "headers": names, "size": len(body)}).encode()
    headers = [(b"content-length", b"%d" % len(content))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})


def after(*parts: bytes, **limits: Any) -> tuple[Wire, Guard, bool]:
    """Return what a connection wrote after ``parts``, its guard, and whether it waits for its client."""

    async def run() -> tuple[Wire, Guard, bool]:
        config = Config(
            cast("Any", application), http=BoundedProtocol, ws="none", lifespan="off", log_config=None
        )
        config.load()
        guard = Guard(ProviderLimits(**limits), ProviderMetrics(), "provider")
        connection, wire = BoundedProtocol(config, ServerState(), guard, b"clients"), Wire()
        connection.connection_made(wire)
        for part in parts:
            if wire.closed:
                break
            connection.data_received(part)
            await asyncio.sleep(0)
        # Turns of the loop in which the application answers; it waits for nothing else.
        for _ in range(20):
            await asyncio.sleep(0)
        wire.get_extra_info("socket").close()
        # What is answered to nobody when the loop ends is no answer.
        wire.is_over = True
        return wire, guard, connection.waits_for_client

    return asyncio.run(run())


def test_head_and_body_of_an_answer_are_one_write_and_an_interim_answer_does_not_wait() -> None:
    wire, _, _ = after(REQUEST + b"Content-Length: 1\r\n\r\n1")
    (only,) = wire.written
    assert only.startswith(b"HTTP/1.1 200")
    assert b'"size": 1}' in only
    wire, _, _ = after(REQUEST + b"Expect: 100-continue\r\nContent-Length: 1\r\n\r\n")
    assert wire.written == [b"HTTP/1.1 100 Continue\r\n\r\n"]
    # An answer without a body is not kept for one.
    wire, _, _ = after(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
    (only,) = wire.written
    assert only.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "begun",
    [
        REQUEST + b"A: ",
        REQUEST,
        b"POST /",
        REQUEST + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nA: ",
        REQUEST + b"Transfer-Encoding: chunked\r\n\r\n1;",
    ],
    ids=["value", "name", "path", "trailer", "extension"],
)
@pytest.mark.parametrize("size", [1, 1000, 1 << 20])
def test_what_does_not_end_is_cut_off_however_it_comes(begun: bytes, size: int) -> None:
    count = 2 * MAX_HEAD // size + 1
    wire, _, _ = after(begun, *[b"a" * size] * min(count, 40_000))
    assert wire.closed
    assert wire.written[-1].startswith(b"HTTP/1.1 400")


def test_a_body_is_not_a_head_and_a_trailer_means_nothing() -> None:
    length = 10 * MAX_HEAD
    wire, _, _ = after(REQUEST + b"Content-Length: %d\r\n\r\n" % length, *[b"a" * 4096] * (length // 4096))
    assert not wire.closed
    assert b'"size": %d}' % length in wire.written[0]
    chunks = b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nContent-Type: evil\r\n\r\n"
    wire, _, _ = after(REQUEST + chunks, b"", b"", b"", REQUEST + b"Content-Length: 0\r\n\r\n")
    assert len(wire.written) == 2
    assert b"content-type" not in wire.written[0]


def test_a_connection_of_some_age_is_told_to_leave_and_a_young_one_is_not() -> None:
    asked = REQUEST + b"Content-Length: 0\r\n\r\n"
    assert b'"leaving": true' in after(asked, age_seconds=0.0)[0].written[0]
    assert b'"leaving": false' in after(asked)[0].written[0]


def test_who_was_let_in_by_another_authority_is_ended_and_others_are_not() -> None:
    wire, guard, _ = after()
    guard.end_others(b"clients")
    assert not wire.closed
    guard.end_others(b"others")
    assert wire.closed


def test_who_waits_for_the_client_makes_room_and_who_is_being_decided_about_does_not() -> None:
    decided = REQUEST.replace(b" / ", b" /decide ")
    for part, waits in (
        (b"", True),
        (REQUEST, True),
        (decided + b"Content-Length: 9\r\n\r\n1", True),
        (decided + b"Content-Length: 1\r\n\r\n1", False),
        (REQUEST + b"Content-Length: 1\r\n\r\n1", True),
    ):
        assert after(*[part] * bool(part))[2] is waits, part
