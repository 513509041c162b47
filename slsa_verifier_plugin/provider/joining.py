"""Writes an answer's head and body together: uvicorn writes each by itself."""

from __future__ import annotations

import asyncio


class JoiningTransport:
    """A transport that writes the head of an answer together with what follows it: one record and one system call less.

    Args:
        transport: what it writes to.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head = b""
        self.is_closing = transport.is_closing
        self.abort = transport.abort

    def write(self, data: bytes) -> None:
        """Write, or keep the head of an answer for a moment."""
        # An interim answer (100) has nothing behind it: the client's body waits for it.
        if not self._head and data.startswith(b"HTTP/1.1 ") and not data.startswith(b"HTTP/1.1 1"):
            self._head = data
        else:
            self.flush(data)

    def flush(self, data: bytes = b"") -> None:
        """Write what is kept, and ``data``."""
        self._transport.write(self._head + data)
        self._head = b""

    def close(self) -> None:
        """End the connection once all is written."""
        self.flush()
        self._transport.close()
