"""Accepts connections and reads requests, in one thread of the resident verifier (``docs/resident-protocol.md``, "The server").

Whatever comes over a connection ends at most that connection.
"""

from __future__ import annotations

import math
import os
import queue
import selectors
import socket
import time
from collections.abc import Callable

from slsa_verifier_plugin.resident import protocol
from slsa_verifier_plugin.resident.place import peer_of
from slsa_verifier_plugin.resident.server.errorlog import ErrorLog, describe
from slsa_verifier_plugin.resident.server.fair_queue import Job
from slsa_verifier_plugin.resident.server.handler import CallHandler
from slsa_verifier_plugin.resident.server.peers import Peer, Peers
from slsa_verifier_plugin.resident.server.pool import Pool
from slsa_verifier_plugin.resident.server.report import COUNTED, report
from slsa_verifier_plugin.resident.server.server_settings import DEFAULT_BUDGET, ServerSettings
from slsa_verifier_plugin.resident.server.watchdog import Watchdog

_CHUNK = 256 << 10
_ENDING_PAUSE = 0.02
"""Seconds between two looks at whether the last calls are done."""
_HELD_UP_PAUSE = 0.1
"""Between two looks at whether calls that wait have others in front of them that wait for a registry."""
_NO_DESCRIPTORS_PAUSE = 0.05


class Loop:
    """Serves one listening socket until there is a reason to end.

    Args:
        service: does the work.
        settings: limits.
        path: the listener's socket file.
        listener: non-blocking; closed at the end.
        log: gets what went wrong.
        release: called once callers no longer find this verifier, so that another may take its place.
    """

    def __init__(
        self,
        service: CallHandler,
        settings: ServerSettings,
        path: str,
        listener: socket.socket,
        log: ErrorLog,
        release: Callable[[], None],
    ) -> None:
        self._service = service
        self._settings = settings
        self._path = path
        self._listener = listener
        self._log = log
        self._release = release
        self._unsent: queue.SimpleQueue[tuple[socket.socket, bytes]] = queue.SimpleQueue()
        self.waker, self._woken = socket.socketpair()
        """Workers and signals (``signal.set_wakeup_fd``) write a byte to the first, which ends the wait for events."""
        # Where the buffer is full, there are bytes enough to wake for.
        self.waker.setblocking(False)
        self._woken.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ, self._accept)
        self._selector.register(self._woken, selectors.EVENT_READ, self._take_over)
        self._peers = Peers(self._selector)
        self._pool = Pool(service, settings, log, self._hand_over)
        self._watchdog = Watchdog(service, settings, path, self._pool, log)
        self._started = self._last_call = time.monotonic()
        self._next_tick = 0.0
        self._reason = ""
        self._is_retired = False

    def end(self, reason: str) -> None:
        """Ask the loop to end after the calls at hand; safe in a signal handler."""
        self._reason = self._reason or reason

    def run(self) -> str:
        """Serve, and return the reason for the end."""
        # In a thread of its own: callers are accepted meanwhile, and told that their answers will come.
        self._pool.warm_up()
        try:
            while True:
                for key, _ in self._selector.select(self._pause()):
                    if isinstance(key.data, Peer):
                        self._on_peer(key.data)
                    else:
                        key.data()
                # In each round, for a selector knows no deadlines.
                self._peers.expire()
                self._keep_house()
                # Looked at in each round: a signal's handler only sets the reason.
                if self._reason:
                    self._retire()
                    if not self._peers and not self._pool.unfinished() and self._unsent.empty():
                        return self._reason
        finally:
            self._watchdog.stop()
            self._retire()
            self._pool.close()
            while self._peers.drop_oldest():
                pass
            self._selector.close()
            self.waker.close()
            self._woken.close()

    def _pause(self) -> float:
        now = time.monotonic()
        # While it ends it looks often, for nothing wakes it when the last worker is done.
        end = now + _ENDING_PAUSE if self._reason else self._next_tick
        if self._pool.reinforce():
            end = min(end, now + _HELD_UP_PAUSE)
        return max(min(end, self._peers.next_deadline(end)) - now, 0.0)

    def _keep_house(self) -> None:
        now = time.monotonic()
        if now < self._next_tick:
            return
        self._next_tick = now + self._settings.tick_seconds
        self._watchdog.heartbeat()
        # The heartbeat goes on while it ends; a second reason would change nothing.
        if not self._reason:
            self.end(self._watchdog.look(self._last_call))

    def _retire(self) -> None:
        """Leave the place to another verifier, and take no more calls than have come by then."""
        if self._is_retired:
            return
        self._is_retired = True
        # Another verifier's socket, which has taken this one's place, is left alone.
        if self._watchdog.owns_socket():
            try:
                os.unlink(self._path)  # noqa: PTH108
            except OSError:
                self._log.add("the socket cannot be removed")
        # Callers that have connected by now are served; nobody finds the socket any more.
        self._accept()
        self._selector.unregister(self._listener)
        self._listener.close()
        self._release()

    def _accept(self) -> None:
        # All that wait, not one a turn: each turn at the selector is a system call, after which the threads that work come first.
        while True:
            try:
                connection, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:  # no descriptors or no memory left
                self._log.add(f"cannot accept a connection: {error.strerror}")
                # Without a pause the loop would spin: the listener stays ready while nobody can be accepted.
                if not self._peers.drop_oldest():
                    time.sleep(_NO_DESCRIPTORS_PAUSE)
                return
            connection.setblocking(False)
            # The directory's mode keeps other users out already, unless it is changed while this process runs.
            if not self._is_own(connection):
                self._pool.count("foreign")
                self._log.add("a connection of another user was refused")
                connection.close()
            # Those that send nothing make room first; else who comes is told at once, and does not wait in the backlog.
            elif self._is_full() and not self._peers.drop_oldest():
                self._refuse(connection)
            else:
                # At once: most requests are there by the time their connections are accepted.
                self._read(self._peers.add(connection))

    def _is_own(self, connection: socket.socket) -> bool:
        try:
            return peer_of(connection)[1] == os.geteuid()
        except OSError:
            return False

    def _is_full(self) -> bool:
        # Calls count as well: each keeps its connection until it is answered.
        waiting, running, _ = self._pool.load()
        return len(self._peers) + waiting + running >= self._settings.connections

    def _on_peer(self, peer: Peer) -> None:
        if peer not in self._peers:
            return  # dropped since the wait, to make room
        if peer.reply:
            self._write(peer)
        else:
            self._read(peer)

    def _read(self, peer: Peer) -> None:
        try:
            data = peer.connection.recv(_CHUNK)
        except BlockingIOError:
            self._peers.wait(peer)
            return
        except OSError:
            # A connection that was reset has ended, too.
            data = b""
        # The other side has sent no whole request and closed: nobody is there to be answered.
        if not data:
            self._peers.drop(peer)
            return
        self._peers.received(peer, data)
        try:
            self._look_at(peer)
            if peer in self._peers:
                self._peers.wait(peer)
        except protocol.FrameError as error:
            self._pool.count("refused")
            self._log.add(f"a connection was ended: {error}")
            if peer in self._peers:
                self._peers.drop(peer)

    def _look_at(self, peer: Peer) -> None:
        """Serve a connection's request if it is complete.

        Raises:
            FrameError: it is none that a client sends.
        """
        taken = protocol.take_frame(peer.buffer, protocol.MAX_REQUEST)
        if taken is None:
            # 1,536 connections with 4 MiB each would be 6 GiB.
            if self._peers.held_bytes > self._settings.held_bytes:
                self._refuse(self._peers.detach(peer))
            return
        # One request a connection: a second one could only be smuggled in.
        if peer.buffer:
            raise protocol.FrameError("more than one frame")
        kind, body = taken
        if kind in (protocol.VERIFY, protocol.CHECK, protocol.REPORT):
            self._accept_call(peer, kind, protocol.decode_request(body))
        elif kind == protocol.STATUS and not body:
            self._reply(peer, protocol.frame(protocol.STATUS_REPLY, self._report()))
        elif kind == protocol.STOP and not body:
            self._reply(peer, protocol.encode_answer((0, b"", b"")))
            self.end("it was told to stop")
        else:
            raise protocol.FrameError("a frame that no client sends")

    def _accept_call(self, peer: Peer, kind: int, request: protocol.Request) -> None:
        """Accept a call and queue it, or refuse it.

        Raises:
            FrameError: it does not say its time.
        """
        # Before the connection is let go: whoever catches the error closes those that are still kept, and no others.
        budget = self._seconds(kind, request)
        connection = self._peers.detach(peer)
        self._last_call = time.monotonic()
        waiting, _, waiting_bytes = self._pool.load()
        held = waiting_bytes + self._peers.held_bytes
        # Who is told BUSY asks again, or verifies alone; who is accepted and forgotten waits for all of its time.
        if waiting >= self._settings.queue or held > self._settings.held_bytes:
            self._refuse(connection)
            return
        seconds = max(budget - request[0], 0.0)
        accepted = protocol.encode_accepted(seconds + protocol.GRACE_SECONDS)
        # Sixteen bytes always fit, unless the caller is gone.
        try:
            complete = connection.send(accepted) == len(accepted)
        except OSError:
            complete = False
        # Half an acceptance cannot be completed: the worker's answer must not come before its rest.
        if not complete:
            self._pool.count("abandoned")
            connection.close()
            return
        self._pool.count("accepted")
        self._pool.submit(Job(connection, request, seconds, kind))

    def _seconds(self, kind: int, request: protocol.Request) -> float:
        """Return all of the seconds that a call may take.

        Raises:
            FrameError: its request does not say so.
        """
        if kind != protocol.VERIFY:
            return protocol.asked_seconds(kind, request)
        # Parsed here for its time, and again by the worker: the value of four megabytes of JSON would be ten times as large
        # while it waits.
        try:
            seconds = self._service.budget(request[4])
        except Exception as error:  # noqa: BLE001 (the call itself will say what is wrong with it)
            self._log.add(f"a call's time limit cannot be told: {describe(error)}")
            return DEFAULT_BUDGET
        # A number that is none would compare as neither less nor more.
        return min(max(seconds, 0.0), protocol.MAX_BUDGET) if math.isfinite(seconds) else DEFAULT_BUDGET

    def _refuse(self, connection: socket.socket) -> None:
        """Answer BUSY, if the other side takes it at once."""
        self._pool.count("busy")
        try:
            connection.send(protocol.frame(protocol.BUSY))
        except OSError:
            self._pool.count("abandoned")
        connection.close()

    def _reply(self, peer: Peer, data: bytes) -> None:
        """Send a reply, which is made before the connection is let go: what fails on the way leaves it to be closed."""
        self._send(self._peers.detach(peer), data)

    def _send(self, connection: socket.socket, data: bytes) -> None:
        """Send a reply; what the other side does not take at once is sent as it takes it."""
        self._write(self._peers.add(connection, data))

    def _write(self, peer: Peer) -> None:
        try:
            peer.reply = peer.reply[peer.connection.send(peer.reply) :]
        # All of it is left.
        except BlockingIOError:
            pass
        except OSError:
            # Nobody will read the rest.
            peer.reply = b""
        if peer.reply:
            self._peers.wait(peer)
        else:
            self._peers.drop(peer)

    def _hand_over(self, connection: socket.socket, data: bytes) -> None:
        """Take a worker's connection over; called in its thread."""
        # Put before the byte is sent: the loop reads the byte first.
        self._unsent.put((connection, data))
        try:
            self.waker.send(b"w")
        except OSError:  # full: the loop will wake anyway
            return

    def _take_over(self) -> None:
        try:
            # Many bytes at once: they say nothing but that there is something to take over.
            self._woken.recv(4096)
        except BlockingIOError:
            return
        # After the byte is read: an answer that comes from here on brings another byte.
        while not self._unsent.empty():
            self._send(*self._unsent.get())

    def _report(self) -> bytes:
        now = time.monotonic()
        waiting, running, _ = self._pool.load()
        facts = {
            "socket": self._path,
            "uptimeSeconds": round(now - self._started),
            "idleSeconds": round(now - self._last_call),
            "connections": len(self._peers),
            "ending": bool(self._reason),
            "warm": self._pool.warm.is_set(),
            "calls": {name: self._pool.counts[name] for name in COUNTED},
            "waiting": waiting,
            "running": running,
            "threads": self._pool.threads,
            "workers": self._settings.workers,
            "memoryLimitBytes": self._settings.memory_bytes,
        }
        return report(self._service, self._log, facts)
