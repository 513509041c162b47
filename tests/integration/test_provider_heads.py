"""Requests to the provider in every odd form: what may be read in two ways is refused, nothing is waited for for ever."""

from __future__ import annotations

import contextlib
import time

import pytest

from tests.support.provider import (
    is_closed,
    provider_request,
)
from tests.support.provider_place import DROP_SECONDS, Place, tls

pytestmark = pytest.mark.usefixtures("still_well")


HALVES = {
    "line": b"POST /ratify/gatekeeper/v1/ver",
    "head": b"POST /ratify/gatekeeper/v1/verify HTTP/1.1\r\nHost: a\r\n",
    "body": b"POST /ratify/gatekeeper/v1/verify HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{",
}


def test_half_a_request_is_not_waited_for(place: Place) -> None:
    # All at once: each takes the whole of its limit.
    with contextlib.ExitStack() as opened:
        connections = {part: opened.enter_context(tls(place)) for part in HALVES}
        for part, connection in connections.items():
            connection.sendall(HALVES[part])
        for part, connection in connections.items():
            assert is_closed(connection, DROP_SECONDS), part


def test_a_head_that_drips_has_no_longer_than_one_that_stops(place: Place) -> None:
    dropped = place.running.metric('slsa_provider_connections_dropped_total{limit="head_seconds"')
    with tls(place) as connection:
        # The second request of a connection, too: an answered first one buys no time.
        body = provider_request([place.level_3])
        head = b"POST /ratify/gatekeeper/v1/verify HTTP/1.1\r\nHost: a\r\n"
        connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        end = time.monotonic() + DROP_SECONDS
        with contextlib.suppress(OSError):
            while time.monotonic() < end:
                connection.sendall(head[:1])
                head = head[1:] or b"a"
                time.sleep(0.5)
        assert time.monotonic() < end
    assert place.running.metric('slsa_provider_connections_dropped_total{limit="head_seconds"') > dropped


@pytest.mark.parametrize(
    "head",
    [
        b"POST /ratify/gatekeeper/v1/verify HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /ratify/gatekeeper/v1/verify HTTP/1.1\r\nHost: a\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /ratify/gatekeeper/v1/verify HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"POST /ratify/gatekeeper/v1/verify HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n{}",
        b"POST /ratify/gatekeeper/v1/verify HTTP/1.1\r\nHost: a\r\nContent-Length : 2\r\n\r\n{}",
        b"POST /ratify/gatekeeper/v1/verify HTTP/1.1\nHost: a\nContent-Length: 2\n\n{}",
        b"POST /ratify/gatekeeper/v1/verify HTTP/1.1\r\nHost: a\r\nA: \0\r\n\r\n",
        b"POST /ratify/gatekeeper/v1/verify HTTP/1.1\r\nHost: a\r\n" + b"a" * (1 << 20),
        b"POST /ratify/gatekeeper/v1/verify HTTP/1.1\r\nHost: a\r\nA: " + b"a" * (1 << 20),
        b"POST /" + b"a" * (1 << 20),
        b"\r\n" * (1 << 19),
        b"POST /ratify/gatekeeper/v1/verify HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
        + b"A: b\r\n" * 20_000,
        b"POST /ratify/gatekeeper/v1/verify HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nA: "
        + b"a" * (1 << 20),
        b"POST /ratify/gatekeeper/v1/verify HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;"
        + b"a" * (1 << 20),
        b"POST /ratify/gatekeeper/v1/verify HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /ratify/gatekeeper/v1/verify HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"POST /ratify/gatekeeper/v1/verify HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST /ratify/gatekeeper/v1/verify HTTP/1.1\r\n" + b"A: b\r\n" * 20_000 + b"\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /ratify/gatekeeper/v1/verify HTTP/9.9\r\n\r\n",
        b"\0\0\0\0",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /ratify/gatekeeper/v1/verify HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    ],
    ids=[
        "no-host",
        "two-hosts",
        "two-codings",
        "another-coding",
        "blank-before-colon",
        "bare-lf",
        "nul-in-header",
        "unfinished-name",
        "unfinished-value",
        "unfinished-path",
        "empty-lines",
        "trailer",
        "unfinished-trailer",
        "unfinished-extension",
        "two-lengths",
        "lengths-differ",
        "negative",
        "many-headers",
        "long-path",
        "version",
        "nul",
        "http2",
        "websocket",
    ],
)
def test_odd_heads_are_errors(place: Place, head: bytes) -> None:
    began = time.monotonic()
    with tls(place) as connection:
        # It may be refused before all of it is sent.
        with contextlib.suppress(OSError):
            connection.sendall(head)
        answer = b""
        with contextlib.suppress(OSError):
            while part := connection.recv(65536):
                answer += part
        assert b" 200 " not in answer.split(b"\r\n")[0]
        assert b"isSuccess" not in answer
        assert b"Traceback" not in answer
    # Refused for what it is, not waited for: the limits of time are a test of their own.
    assert b" 408 " not in answer
    assert time.monotonic() - began < DROP_SECONDS


def test_what_may_be_written_in_more_than_one_way_is_answered(place: Place) -> None:
    body = provider_request([place.level_3])
    line = b"POST /ratify/gatekeeper/v1/verify HTTP/1.1\r\n"
    length = b"Content-Length: %d\r\nConnection: close\r\n" % len(body)
    chunks = b"5;a=b\r\n%b\r\n%x\r\n%b\r\n0\r\nA: 1\r\n\r\n" % (
        body[:5],
        len(body) - 5,
        body[5:],
    )
    for request in (
        line + b"HOST: a\r\n" + length + b"\r\n" + body,
        line + b"Host: a\r\nAccept-Encoding: gzip\r\n" + length + b"A: " + b"a" * 15_000 + b"\r\n\r\n" + body,
        line + b"Host: a\r\nExpect: 100-continue\r\n" + length + b"\r\n" + body,
        line + b"Host: a\r\nConnection: close\r\nTransfer-Encoding: Chunked\r\n\r\n" + chunks,
        line.replace(b"1.1", b"1.0") + length + b"\r\n" + body,
        # One after the other on one connection, all sent at once.
        (line + b"Host: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body) * 3
        + line
        + b"Host: a\r\n"
        + length
        + b"\r\n"
        + body,
    ):
        assert answer_to(place, request).count(b'"isSuccess":true,"traceID"') == request.count(b"POST")


def test_an_answer_comes_in_one_record(place: Place) -> None:
    with tls(place) as connection:
        body = provider_request([place.level_3])
        head = b"POST /ratify/gatekeeper/v1/verify HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(
            body
        )
        connection.sendall(head + body)
        # A read returns one record of TLS.
        first = connection.recv(65536)
    assert first.startswith(b"HTTP/1.1 200")
    assert b"isSuccess" in first


def answer_to(place: Place, request: bytes) -> bytes:
    """Return all that comes back until the server ends the connection."""
    with tls(place) as connection:
        connection.sendall(request)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    return answer


def test_a_request_has_one_length_and_a_body_in_chunks_is_answered(place: Place) -> None:
    body = provider_request([place.level_3])
    head = b"POST /ratify/gatekeeper/v1/verify HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
    chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    refused = answer_to(place, head + b"Content-Length: 4\r\n\r\n" + chunks)
    assert refused.startswith(b"HTTP/1.1 400")
    assert b"isSuccess" not in refused
    assert b'"isSuccess":true' in answer_to(place, head + b"Connection: close\r\n\r\n" + chunks)


def test_a_path_beside_those_that_are_answered_leads_nowhere(place: Place) -> None:
    for path in (b"verify/", b"verify//", b"", b"../v1/verify/"):
        head = (
            b"POST /ratify/gatekeeper/v1/%b HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 0\r\n\r\n"
            % path
        )
        answer = answer_to(place, head)
        assert answer.startswith(b"HTTP/1.1 404")
        assert b"evil" not in answer
