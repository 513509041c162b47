"""Answers the paths of HTTP: Ratify's, and those of health and metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from slsa_verifier_plugin.provider.answers import Decided, refused, value_1, value_2, value_pinned
from slsa_verifier_plugin.provider.decision_log import DecisionLog
from slsa_verifier_plugin.provider.decisions import Decisions
from slsa_verifier_plugin.provider.external_data import (
    API_VERSION,
    MAX_ANSWER,
    MAX_BODY,
    RequestRefused,
    item,
    read_request,
    response,
)
from slsa_verifier_plugin.provider.provider_metrics import CONTENT_TYPE, ProviderMetrics
from slsa_verifier_plugin.provider.provider_settings import ProviderLimits

ROOT = "/ratify/gatekeeper"
_JSON = "application/json"
KEYS_A_TURN = 8
"""Keys of one request that are begun in a row; each takes some 0.2 ms of the thread that answers everybody."""
ROOM_TURNS = 64
"""Turns of the event loop in which answers that nobody takes are given up."""
PIECE = 64 << 10
"""Bytes of an answer that are written at once; that of one image has some 10 KiB."""

PROBE_SECONDS = 0.02
"""Pause after each look at health or metrics, which take one at a time: whoever reaches that door needs no certificate."""

T = TypeVar("T")
Endpoint = Callable[[Request], Awaitable[Response]]
Render = Callable[[Decided, int], bytes]


@dataclass(slots=True)
class State:
    """What the paths need to know of the server. ``is_stopping``: it answers, and tells clients to go elsewhere.

    ``problems`` returns why it is not ready, in a thread: it may read files. ``limits`` are for bodies at once, and the time for
    one.
    """

    problems: Callable[[], list[str]]
    limits: ProviderLimits
    is_stopping: bool = False
    held_bytes: int = 0
    answer_bytes: int = 0


class _InPieces(Response):
    """An answer whose bytes count while it is held. Each piece is written when the client has taken most of those before.

    The TLS transports of uvloop and asyncio take over whatever they are given in one go, and never say that nobody takes it
    (``sslproto``): written whole, answers that are left untaken would be memory that no limit ends.
    """

    state: State

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer."""
        content = bytes(self.body)
        self.state.answer_bytes += len(content)
        try:
            await send(
                {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            )
            # An empty answer has one piece as well, which ends it.
            for start in range(0, max(len(content), 1), PIECE):
                end = start + PIECE
                more = end < len(content)
                await send({"type": "http.response.body", "body": content[start:end], "more_body": more})
        finally:
            self.state.answer_bytes -= len(content)


class Application:
    """The two applications of a server: for Gatekeeper and for the node's probes.

    Args:
        decisions: decides about keys.
        state: what becomes of the server.
        metrics: counted here, and shown.
        log: gets what went wrong.
    """

    def __init__(
        self, decisions: Decisions, state: State, metrics: ProviderMetrics, log: DecisionLog
    ) -> None:
        self._decisions = decisions
        self._state = state
        self._metrics = metrics
        self._log = log
        self._probe = asyncio.Lock()
        health = [
            Route("/healthz", self._healthz, methods=["GET"]),
            Route("/readyz", self._readyz, methods=["GET"]),
            Route("/metrics", self._show_metrics, methods=["GET"]),
        ]
        paths: Mapping[str, Render] = {
            "v1/verify": value_1,
            "v1/mutate": value_pinned,
            "v2/verify": value_2,
            "v2/mutate": value_pinned,
        }
        routes = [
            Route(f"{ROOT}/{path}", self._endpoint(path, render), methods=["POST"])
            for path, render in paths.items()
        ]
        handlers = {HTTPException: self._no_such, Exception: self._failed}
        self.provider = Starlette(routes=[*routes, *health], exception_handlers=handlers)
        self.health = Starlette(routes=health, exception_handlers=handlers)
        for application in (self.provider, self.health):
            # A redirect would lead to whatever host the request names.
            application.router.redirect_slashes = False

    def _endpoint(self, path: str, render: Render) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            api_version = API_VERSION
            try:
                api_version, keys = read_request(await self._body(request))
                found = await _all(self._decisions, path, keys)
                await self._room(request)
                # All reports together are bounded, so the keys share the room.
                room = MAX_ANSWER // max(len(found), 1)
                items = [
                    item(key, None if one.error else render(one, room), one.error)
                    for key, one in zip(keys, found, strict=True)
                ]
                status, content = 200, response(api_version, items)
                # A server that ends, and a connection whose age is over, tell it with the answer, so that no request is lost on
                # its way.
                closes = self._state.is_stopping or request.state.connection.is_leaving
            except RequestRefused as refusal:
                # The rest of it is not read: the connection ends with the answer.
                content = response(api_version, (), f"{refusal.message}; nothing was decided")
                status, closes = refusal.status, True
                self._log.event("refused", path=path, status=status, message=refusal.message)
            # Nobody reads this answer; it is counted.
            except ClientDisconnect:
                status, content, closes = 400, b"", True
            self._metrics.requests.labels(path, str(status)).inc()
            headers = {"Connection": "close"} if closes else None
            answer = _InPieces(content, status, headers, _JSON)
            answer.state = self._state
            return answer

        return endpoint

    async def _room(self, request: Request) -> None:
        """Let those who leave their answers untaken make room for one more.

        Raises:
            RequestRefused: there is none all the same.
        """
        for _ in range(ROOM_TURNS):
            if self._state.answer_bytes <= self._state.limits.held_bytes:
                return
            request.state.connection.guard.end_untaken()
            # What a connection holds is free some turns of the loop after its end.
            await asyncio.sleep(0)
        raise RequestRefused(503, "too many answers wait to be taken")

    async def _body(self, request: Request) -> bytes:
        """Return a request's body, of bounded size, within bounded time.

        Raises:
            RequestRefused: it is larger, or slower, or others take all the room.
            ClientDisconnect: the client went away.
        """
        length = request.headers.get("content-length", "")
        # Before a byte is read; whoever sends more than announced is ended by the parser.
        if length.isascii() and length.isdigit() and (len(length) > 12 or int(length) > MAX_BODY):
            raise RequestRefused(413, f"the request is larger than {MAX_BODY} bytes")
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._state.limits.body_seconds):
                async for part in request.stream():
                    size += len(part)
                    self._state.held_bytes += len(part)
                    parts.append(part)
                    # Chunked bodies have no length in their head.
                    if size > MAX_BODY:
                        raise RequestRefused(413, f"the request is larger than {MAX_BODY} bytes")
                    # All bodies together: a thousand that drip would fill the memory, each within its own limit.
                    if self._state.held_bytes > self._state.limits.held_bytes:
                        raise RequestRefused(503, "too many requests are being read at once")
        except TimeoutError:
            raise RequestRefused(
                408, f"the request did not come within {self._state.limits.body_seconds:g} s"
            ) from None
        finally:
            self._state.held_bytes -= size
        return b"".join(parts)

    async def _healthz(self, request: Request) -> Response:
        """Return 200 as long as the process can work; a kubelet starts it anew where it cannot."""
        # Python cannot end threads; a new process can.
        if self._decisions.is_stuck():
            return PlainTextResponse("verifications hang, and their threads cannot be ended\n", 503)
        return PlainTextResponse("ok\n")

    async def _readyz(self, request: Request) -> Response:
        """Return 200 where policies count and their trusted roots are loaded."""
        # Endpoints are updated by this answer, so that new requests go elsewhere.
        if self._state.is_stopping:
            return PlainTextResponse("stopping\n", 503)
        if problems := await self._in_turn(self._state.problems):
            return PlainTextResponse("".join(f"{problem}\n" for problem in problems), 503)
        return PlainTextResponse("ok\n")

    async def _show_metrics(self, request: Request) -> Response:
        text = await self._in_turn(self._metrics.text)
        return Response(text, headers={"Content-Type": CONTENT_TYPE})

    async def _in_turn(self, look: Callable[[], T]) -> T:
        """Return what ``look`` does, in a thread."""
        async with self._probe:
            found = await asyncio.to_thread(look)
            # The pause is part of the turn: the next look waits for its end.
            await asyncio.sleep(PROBE_SECONDS)
            return found

    async def _no_such(self, request: Request, error: Exception) -> Response:
        """Answer a path or a method that is not there, as Gatekeeper reads it."""
        # Starlette's 404 and 405.
        status = error.status_code if isinstance(error, HTTPException) else 404
        words = "no such path" if status == 404 else "this path takes another method"
        expected = f"expected POST to {ROOT}/v1/verify, v1/mutate, v2/verify or v2/mutate"
        return self._other(status, f"{words}; {expected}")

    async def _failed(self, request: Request, error: Exception) -> Response:
        """Answer what nobody foresaw, without a word of its text."""
        self._log.add(f"an unforeseen {type(error).__name__} while a request was answered")
        return self._other(500, refused("INTERNAL_ERROR", f"an unforeseen {type(error).__name__}").error)

    def _other(self, status: int, words: str) -> Response:
        """Return the answer to a request that comes to none of the paths, or to no end."""
        self._metrics.requests.labels("other", str(status)).inc()
        # A body that it may have is not read: the connection ends with the answer.
        return Response(response(API_VERSION, (), words), status, {"Connection": "close"}, _JSON)


async def _all(decisions: Decisions, path: str, keys: Sequence[str]) -> list[Decided]:
    """Decide about all keys at once; between some of them others' requests have their turn of the event loop."""
    # One image a Pod is the rule, and a task takes as long as a kept answer.
    if len(keys) == 1:
        return [await decisions.answer(path, keys[0])]
    begun = []
    for start in range(0, len(keys), KEYS_A_TURN):
        # All begin before the first is waited for: the keys of one Pod share its time limit.
        turn = keys[start : start + KEYS_A_TURN]
        begun += [asyncio.ensure_future(decisions.answer(path, key)) for key in turn]
        await asyncio.sleep(0)
    return list(await asyncio.gather(*begun))
