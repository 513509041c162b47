"""One connection to a resident verifier, frame by frame (``docs/resident-protocol.md``).

The thin client imports this module at every call, so it imports next to nothing.
"""

import time

from slsa_verifier_plugin.resident import lifecycle, protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket

_CHUNK = 65536


class ClosedError(Exception):
    """The verifier closed the connection before it had answered; ``accepted`` says whether it had accepted the call."""

    accepted = False


class Channel:
    """One connection to a resident verifier.

    Args:
        connection: closed by ``close``.
    """

    __slots__ = ("_buffer", "connection")

    def __init__(self, connection: "_socket.socket") -> None:
        self.connection = connection
        self._buffer = bytearray()

    def send(self, data: bytes, end: float) -> None:
        """Send bytes until ``end`` by ``time.monotonic``.

        Raises:
            TimeoutError: out of time.
            ClosedError: the other side has closed, or will read no more.
        """
        self._limit(end)
        try:
            self.connection.sendall(data)
        except TimeoutError:
            raise
        except OSError as error:
            raise ClosedError from error

    def receive(self, end: float, limit: int = protocol.MAX_REPLY) -> tuple[int, bytes]:
        """Return kind and body of the next frame; what came of it before ``TimeoutError`` is kept for the next attempt.

        Args:
            end: by ``time.monotonic``.
            limit: bytes that its body may have.

        Raises:
            TimeoutError: no complete frame until ``end`` by ``time.monotonic``.
            ClosedError: the other side closed before.
            FrameError: what came is no frame, or one over ``limit``.
        """
        self._fill(protocol.HEADER_BYTES, end)
        kind, length = protocol.parse_header(self._buffer, limit)
        size = protocol.HEADER_BYTES + length
        self._fill(size, end)
        body = bytes(self._buffer[protocol.HEADER_BYTES : size])
        del self._buffer[:size]
        return kind, body

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    def _fill(self, size: int, end: float) -> None:
        while len(self._buffer) < size:
            self._limit(end)
            try:
                data = self.connection.recv(_CHUNK)
            except TimeoutError:
                raise
            except OSError as error:
                raise ClosedError from error
            if not data:
                raise ClosedError
            self._buffer += data

    def _limit(self, end: float) -> None:
        left = end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.connection.settimeout(left)


def open_channel(place: lifecycle.Place, end: float) -> Channel:
    """Return a connection to the verifier that listens at a place.

    Raises:
        NobodyListensError: nobody does.
        PlaceError: the place must not be used, or another user listens.
        TimeoutError: the verifier takes no connection until ``end`` by ``time.monotonic``.
        OSError: the place cannot be looked at.
    """
    begun = time.monotonic()
    while True:
        left = end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        try:
            return Channel(lifecycle.connect(place, left))
        except BlockingIOError:
            # Its backlog is full, and a connect with a time limit does not wait for room there.
            lifecycle.pause(begun, end)
