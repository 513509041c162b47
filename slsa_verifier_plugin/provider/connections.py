"""Limits connections: each wait of a client has an end, where uvicorn itself has none.

uvicorn on httptools bounds neither the time of a handshake, nor time and size of a head, nor how many connections there are
before it answers 503, nor the time for which a client may leave its answer untaken. And its listening socket keeps the TLS
context that it began with; here every connection gets the context of the moment, so certificates are rotated without a new
socket (``loop.connect_accepted_socket`` is made for that).
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from slsa_verifier_plugin.provider.joining import JoiningTransport
from slsa_verifier_plugin.provider.provider_metrics import ProviderMetrics
from slsa_verifier_plugin.provider.provider_settings import ProviderLimits
from slsa_verifier_plugin.provider.tls_files import TlsContext

WRITE_BUFFER = 64 << 10
"""Bytes of an answer that wait in a transport before it asks its writer to stop."""
MAX_HEAD = 16 << 10
"""Bytes of a request's head, those of its trailer among them; Gatekeeper's has some 300."""
SHUTDOWN_SECONDS = 2.0
"""Time for a client to end its side of TLS; longer ones are cut off. What it still sends is read and thrown away."""
ACCEPT_PAUSE = 0.1
"""Seconds without a new connection after the system had none to give (no descriptors, no memory)."""


class BoundedProtocol(HttpToolsProtocol):
    """One HTTP/1.1 connection whose heads are bounded and come in time, and whose answers are taken in time.

    A head is due from its first byte on. A connection that has sent nothing yet may wait as long as one between two requests:
    Go's clients keep some in store.

    Args:
        config: uvicorn's, with the application.
        state: uvicorn's, with all connections.
        guard: bounds their number.
        clients: the clients' authority that let this one in.
    """

    def __init__(self, config: Config, state: ServerState, guard: Guard, clients: bytes = b"") -> None:
        # The application learns of it which connection asks (ASGI: ``scope["state"]``).
        super().__init__(config=config, server_state=state, app_state={"connection": self})
        self.guard = guard
        self.clients = clients
        self._ages = self.loop.time() + guard.limits.age_seconds
        self._has_begun = False
        self._is_in_head = True
        self._head_bytes = self._unended = 0
        self._timers: dict[str, asyncio.TimerHandle] = {}

    @property
    def is_idle(self) -> bool:
        """True while no request is being answered."""
        # None before the first request, whatever uvicorn's type says.
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is None or cycle.response_complete

    @property
    def waits_for_client(self) -> bool:
        """True unless a whole request is being decided about: the rest of it is due, or the client's taking of the answer."""
        return self.is_idle or self.cycle.more_body or "write_seconds" in self._timers

    @property
    def is_untaken(self) -> bool:
        """True while its client leaves an answer untaken."""
        return "write_seconds" in self._timers and not self.transport.is_closing()

    @property
    def is_leaving(self) -> bool:
        """True where the next answer is the last."""
        return self.loop.time() >= self._ages

    def leave(self) -> None:
        """End now, or after the answer that is being made."""
        # What is being answered now is the last answer (``is_leaving``).
        self._ages = self.loop.time()
        if self.is_idle:
            self.transport.close()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, and limit the time until the first head."""
        # uvicorn's part first: it sets what the timers below abort.
        super().connection_made(transport)
        self._joining = JoiningTransport(transport)
        self.transport = self._joining  # type: ignore[assignment]  # stands for the transport
        # A handshake without tickets ends with nothing to send, and the system would keep its acknowledgement for 40 ms, for
        # which a client that gathers small writes (Nagle's algorithm) waits with its request.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        transport.set_write_buffer_limits(WRITE_BUFFER)
        self._limit("head_seconds", self.guard.limits.idle_seconds)
        self.guard.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers, and forget the connection."""
        self.guard.discard(self)
        for name in list(self._timers):
            self._unlimit(name)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came; once a head has begun, the rest of it is due."""
        # Asked before the parser goes on, which may begin a request.
        begins = self.is_idle and not self._has_begun
        self._unended += len(data)
        super().data_received(data)
        # A name or a value that does not end, of a head or of a trailer, is kept by the parser and told to nobody.
        if self._unended > MAX_HEAD:
            self.send_400_response("The request's head is too large.")
            return
        # The head is whole and its request begins; the time for the body is the application's.
        if not self.is_idle:
            self._has_begun = False
            self._unlimit("head_seconds")
        elif begins:
            # Part of a head: from now on the rest of it is due, however it drips.
            self._has_begun = True
            self._limit("head_seconds", self.guard.limits.head_seconds)

    def on_message_begin(self) -> None:
        """Begin a head."""
        super().on_message_begin()
        self._head_bytes = 0

    def on_url(self, url: bytes) -> None:
        """Read on in a path."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Read one header, or one of a trailer: those are counted, and mean nothing."""
        # The colon with its blank and the line's end are four bytes more.
        self._count(len(name) + len(value) + 4)
        # Fields behind the body must not change a request that is being answered (RFC 9110, section 6.5.1).
        if self._is_in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin a request."""
        self._is_in_head = False
        self._unended = 0
        # RFC 9112, sections 3.2 and 6.1; the parser asks neither, only that there are not two lengths.
        names = [name for name, _ in self.headers]
        if names.count(b"host") != 1 and self.parser.get_http_version() != "1.0":
            raise ValueError("one Host")
        if any(name == b"transfer-encoding" and value.lower() != b"chunked" for name, value in self.headers):
            raise ValueError("chunks alone")
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Read on in a body, whose size is for the application to bound."""
        self._unended = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request."""
        super().on_message_complete()
        self._is_in_head = True
        self._unended = 0

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: whoever asks for another protocol is answered in this one."""

    def _count(self, size: int) -> None:
        self._head_bytes += size
        # Answered by uvicorn, as whatever else is no request.
        if self._head_bytes > MAX_HEAD:
            raise ValueError("the head is too large")

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        # An answer without a body has nothing that would take its head along.
        self._joining.flush()
        super().on_response_complete()
        self.guard.used(self)

    def pause_writing(self) -> None:
        """Wait for the client to take what is written, and not for ever."""
        super().pause_writing()
        # Once for a stretch of waiting, however many times more is written meanwhile.
        if "write_seconds" not in self._timers:
            self._limit("write_seconds", self.guard.limits.write_seconds)

    def resume_writing(self) -> None:
        """The client takes its answer."""
        super().resume_writing()
        self._unlimit("write_seconds")

    def _limit(self, name: str, seconds: float) -> None:
        """End the connection after so many seconds, unless ``_unlimit`` comes first; the later of two calls counts."""
        self._unlimit(name)
        self._timers[name] = self.loop.call_later(seconds, self.drop, name)

    def _unlimit(self, name: str) -> None:
        if timer := self._timers.pop(name, None):
            timer.cancel()

    def drop(self, limit: str) -> None:
        """End the connection at once for a limit."""
        self.guard.dropped(limit)
        # Not closed: a client that reads nothing would keep what is left to write, and the connection.
        self.transport.abort()


class Guard:
    """Bounds how many connections there are. At the limit the one that has waited longest for its client makes room.

    Args:
        limits: how many, and for how long.
        metrics: counts them.
        door: which door they come through, for the metrics.
    """

    def __init__(self, limits: ProviderLimits, metrics: ProviderMetrics, door: str) -> None:
        self.limits = limits
        self._door = door
        self._metrics = metrics
        self._open: dict[BoundedProtocol, None] = {}

    def add(self, connection: BoundedProtocol) -> None:
        """Count one more connection, and end another where there are too many."""
        self._open[connection] = None
        # Ended after it was added: the newest is the one who has something to ask.
        if len(self._open) > self.limits.connections:
            # An honest body comes with its head: one that drips, or an answer that nobody takes, is as good as idle. Where all
            # are being decided about, the newest waits for none of them.
            oldest = next((one for one in self._open if one.waits_for_client), connection)
            oldest.drop("connections")
            self._open.pop(oldest, None)
        self._metrics.connections.labels(self._door, "open").set(len(self._open))

    def used(self, connection: BoundedProtocol) -> None:
        """Note that a connection has just been of use: it is the last to make room."""
        # One that was ended for room may still finish its answer.
        if connection in self._open:
            # Set anew, it is the last one of the dict, which keeps the order.
            del self._open[connection]
            self._open[connection] = None

    def end_untaken(self) -> None:
        """End the oldest connection whose client leaves its answer untaken; it may be any client's."""
        oldest = next((one for one in self._open if one.is_untaken), None)
        if oldest is not None:
            oldest.drop("answers")

    def end_others(self, clients: bytes) -> None:
        """End the connections of clients that another authority let in: TLS asks for certificates at the beginning alone."""
        # Listed first: a connection that ends is taken out of the dict.
        for one in [one for one in self._open if one.clients != clients]:
            one.leave()

    def discard(self, connection: BoundedProtocol) -> None:
        """Count one less."""
        self._open.pop(connection, None)
        self._metrics.connections.labels(self._door, "open").set(len(self._open))

    def dropped(self, limit: str) -> None:
        """Count a connection that a limit has ended."""
        self._metrics.dropped.labels(limit).inc()

    def shaking(self, count: int) -> None:
        """Show how many handshakes are under way."""
        self._metrics.connections.labels(self._door, "handshake").set(count)


@dataclass(eq=False, slots=True)
class Listener:
    """Accepts the connections of one door.

    Args:
        listening: the socket.
        config: uvicorn's, with the application that answers there.
        tls: as it is at the moment; None for plain HTTP.
        state: uvicorn's, with all connections.
        guard: bounds their number.
    """

    listening: socket.socket
    config: Config
    tls: Callable[[], TlsContext | None]
    state: ServerState
    guard: Guard
    _shaking: dict[asyncio.Task[None], None] = field(default_factory=dict, init=False)

    async def run(self) -> None:
        """Accept until cancelled; then the socket is closed, and handshakes under way are ended."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                try:
                    connection, _ = await loop.sock_accept(self.listening)
                # EMFILE or ENOMEM comes again at once: without a pause this would take a whole processor.
                except OSError:
                    # No descriptors, or a client that was gone before it was accepted: the others are served.
                    await asyncio.sleep(ACCEPT_PAUSE)
                    continue
                self._begin(connection)
                # An accept that need not wait does not let the loop turn: a thousand in a row would be answered by nobody.
                await asyncio.sleep(0)
        finally:
            self.listening.close()
            for task in list(self._shaking):
                task.cancel()

    def _begin(self, connection: socket.socket) -> None:
        # A blocking handshake would hold up all the others.
        connection.setblocking(False)
        task = asyncio.create_task(self._shake(connection))
        self._shaking[task] = None
        task.add_done_callback(lambda done: self._shaken(done, connection))
        if len(self._shaking) > self.guard.limits.handshakes:
            # An honest handshake takes milliseconds, so the oldest is none.
            oldest = next(iter(self._shaking))
            # Taken out now: it is the oldest until its cancellation has run, which takes some turns of the loop.
            del self._shaking[oldest]
            oldest.cancel()
            self.guard.dropped("handshakes")
        self.guard.shaking(len(self._shaking))

    def _shaken(self, task: asyncio.Task[None], connection: socket.socket) -> None:
        self._shaking.pop(task, None)
        self.guard.shaking(len(self._shaking))
        # One that was cancelled before its first step has closed nothing itself.
        if task.cancelled() or task.exception() is not None:
            connection.close()

    async def _shake(self, connection: socket.socket) -> None:
        """Make a connection of an accepted socket; one whose handshake fails is closed without a word (``_shaken``)."""
        # Once for this connection: the files may be replaced during the handshake, and context and authority belong together.
        tls = self.tls()
        seconds = self.guard.limits.handshake_seconds
        waits = {"ssl_handshake_timeout": seconds, "ssl_shutdown_timeout": SHUTDOWN_SECONDS}
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: BoundedProtocol(self.config, self.state, self.guard, tls.clients if tls else b""),
                connection,
                ssl=tls.context if tls else None,
                # Refused where there is no TLS.
                **(waits if tls else {}),
            )
        except (OSError, ssl.SSLError, TimeoutError):
            # A probe of a port, a client without a certificate, one of another authority: not worth a line each.
            self.guard.dropped("handshake_failed")
            raise
