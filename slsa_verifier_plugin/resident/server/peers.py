"""Keeps the connections of a resident verifier whose request is incomplete, or whose reply is not read yet."""

from __future__ import annotations

import selectors
import socket
import time

from slsa_verifier_plugin.resident.protocol import FRAME_SECONDS


class Peer:
    """One connection.

    Args:
        connection: non-blocking.
        reply: what is left to send; nothing while the request is being read.
    """

    __slots__ = ("buffer", "connection", "deadline", "is_registered", "received", "reply")

    def __init__(self, connection: socket.socket, reply: bytes = b"") -> None:
        self.connection = connection
        self.buffer = bytearray()
        # Bytes in all, those that were taken out of the buffer as well.
        self.received = 0
        self.reply = reply
        self.is_registered = False
        self.deadline = time.monotonic() + FRAME_SECONDS


class Peers:
    """All such connections, oldest first; each has ``FRAME_SECONDS`` from the moment at which it was added.

    Args:
        selector: where they are registered for what they wait for.
    """

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._peers: dict[socket.socket, Peer] = {}
        self.held_bytes = 0

    def __len__(self) -> int:
        return len(self._peers)

    def __contains__(self, peer: Peer) -> bool:
        return peer.connection in self._peers

    def add(self, connection: socket.socket, reply: bytes = b"") -> Peer:
        """Add a connection that is to be read from, or written to if there is a reply."""
        # A dict keeps the order of adding, which is that of the deadlines: all have the same time.
        peer = Peer(connection, reply)
        self._peers[connection] = peer
        return peer

    def wait(self, peer: Peer) -> None:
        """Have the selector tell when a connection can be read from or written to.

        Called only once a read or a write would block. Most requests are there by the time they are accepted, and each system
        call gives the interpreter to the threads that work.
        """
        # Registered for one direction only: a connection first sends all of its request, and then reads.
        if not peer.is_registered:
            peer.is_registered = True
            events = selectors.EVENT_WRITE if peer.reply else selectors.EVENT_READ
            self._selector.register(peer.connection, events, peer)

    def received(self, peer: Peer, data: bytes) -> None:
        """Append what a connection sent."""
        peer.buffer += data
        peer.received += len(data)
        self.held_bytes += len(data)

    def detach(self, peer: Peer) -> socket.socket:
        """Forget a connection without closing it, and return it."""
        # Not closed: its call is accepted, and a worker answers on it.
        del self._peers[peer.connection]
        self.held_bytes -= peer.received
        if peer.is_registered:
            self._selector.unregister(peer.connection)
        return peer.connection

    def drop(self, peer: Peer) -> None:
        """Forget a connection and close it."""
        self.detach(peer).close()

    def drop_oldest(self) -> bool:
        """Make room by ending the connection that has been incomplete for longest; return whether there was one."""
        # The first is the oldest: a connection that sends nothing must not keep out one that has a request.
        for peer in self._peers.values():
            self.drop(peer)
            return True
        return False

    def expire(self) -> None:
        """End the connections whose time is over."""
        now = time.monotonic()
        # All behind the first one that has time left have more of it.
        while self.next_deadline(now + 1) <= now and self.drop_oldest():
            pass

    def next_deadline(self, otherwise: float) -> float:
        """Return when the oldest connection's time is over, by ``time.monotonic``; ``otherwise`` if there is none."""
        # The first is the oldest, and so the first whose time is over.
        for peer in self._peers.values():
            return peer.deadline
        return otherwise
