"""One connection to a resident verifier, frame by frame (``docs/resident-protocol.md``).

The thin client imports this module at every call, so it imports next to nothing.
"""

import time

from slsa_verifier_plugin.resident import protocol
from slsa_verifier_plugin.resident.place import Place, connect, pause, peer_of
from slsa_verifier_plugin.resident.protocol import Answer, FrameError, Question

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable

LOOK_SECONDS = 0.1
"""Between two looks at whether the other side lives."""
HUNG_SECONDS = 1.0
"""Seconds without any processor time after which a verifier counts as hung, while a call waits to be accepted."""
HUNG_AT_WORK_SECONDS = 2.0
"""The same for a call that was accepted: a verifier that waits looks around once a second."""
_LOOKS = 10
_CHUNK = 65536
# CPUCLOCK_SCHED of Linux: the processor time of all threads of a process.
_CLOCK_OF_PROCESS = 2
# Of a signed 32-bit ``pid_t``.
_MOST = 2**31 - 1


class ProcessWatch:
    """Watches the process that listens: while it lives, its processor time moves.

    A stopped or frozen one, or one held by a debugger, uses none, while one that only waits for its own turn uses some as
    often as those who watch it. So the sign of life costs the resident verifier nothing.

    Attributes:
        process: the number of the one that was looked at last; 0 for none.
        used: the processor time that it had used by then.
    """

    # Nothing is kept open for it: a number and a clock are all that a watch needs.
    def __init__(self) -> None:
        self.process = 0
        self.used: int | None = None
        self._since = time.monotonic()
        self._looks = 0

    def looks_hung(self, process: int, patience: float, gone_is_still: bool = False) -> bool:
        """Look at a process, and return whether nothing of it has moved for ``patience`` seconds and ten looks.

        The watcher itself has had a processor ten times by then; a verifier that is only starved would have had one, too.

        Args:
            process: its number; 0 for none, which is never still.
            patience: in seconds.
            gone_is_still: True for the number in a lock that is held: where its process is gone, somebody holds the lock who
                does not do what it is for.
        """
        used = time_used(process)
        # What was seen of another process says nothing about this one, and one that is gone does not hang: the connection will
        # say that it has ended.
        if process != self.process or used != self.used or (used is None and not gone_is_still):
            self.process, self.used, self._since, self._looks = process, used, time.monotonic(), 0
            return False
        # By looks as well as by seconds: on a machine so busy that the watcher itself had no processor for a second, the
        # watched one may have had none either.
        self._looks += 1
        return self._looks >= _LOOKS and time.monotonic() - self._since >= patience


def time_used(process: int) -> int | None:
    """Return the nanoseconds of processor time that a process has used; None where there is no such process."""
    # SO_PEERCRED says 0 of a process in another namespace; the clock of 0 would be this process's own. A claim may hold a number
    # that no process can have.
    if not 0 < process <= _MOST:
        return None
    try:
        # As clock_getcpuclockid(3) makes it. It needs no /proc, which a container may hide or not have.
        return time.clock_gettime_ns((~process << 3) | _CLOCK_OF_PROCESS)
    except OSError:
        return None


class BusyError(Exception):
    """A verifier listens, and has too many calls waiting."""


class HungError(Exception):
    """The verifier has not ended and does not run any more: it is stopped or frozen; ``Exchanger.watch`` saw it."""


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
            # A kind of OSError, which the next branch would take for an end of the connection.
            raise
        except OSError as error:  # EPIPE or ECONNRESET
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
        while (taken := protocol.take_frame(self._buffer, limit)) is None:
            self._limit(end)
            try:
                data = self.connection.recv(_CHUNK)
            except TimeoutError:
                # What came before stays in the buffer: the next attempt goes on there.
                raise
            except OSError as error:  # ECONNRESET: it ended with the request unread
                raise ClosedError from error
            if not data:
                raise ClosedError
            self._buffer += data
        return taken

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    def _limit(self, end: float) -> None:
        left = end - time.monotonic()
        if left <= 0:
            # settimeout(0) would make the socket non-blocking, and the error another one.
            raise TimeoutError
        self.connection.settimeout(left)


def receive_watched(
    channel: Channel, end: float, pause: float, look: "Callable[[], None]"
) -> tuple[int, bytes]:
    """Return kind and body of the next frame, with a look at the other side every now and then.

    Args:
        channel: where it comes from.
        end: until when it is waited for, by ``time.monotonic``.
        pause: seconds between two looks.
        look: raises where waiting is of no use any more.

    Raises:
        TimeoutError: none until ``end``.
        ClosedError, FrameError: as ``Channel.receive``.
    """
    while True:
        try:
            return channel.receive(min(end, time.monotonic() + pause))
        except TimeoutError:
            look()
            # Asked here and not before the attempt: what has come by the end is still read.
            if time.monotonic() >= end:
                raise


class Exchanger:
    """Asks one question, over one connection after another if need be (steps 3 to 5 of "The client").

    Args:
        question: what is asked.
        started: when the call began, by ``time.monotonic``.
        patience: seconds within which it must be accepted.
        most: seconds that ACCEPTED may promise; whoever has another way to turn to believes no more.
    """

    def __init__(
        self,
        question: Question,
        started: float,
        patience: float,
        most: float = protocol.MAX_ACCEPTED_SECONDS,
    ) -> None:
        self._question = question
        self._started = started
        self._patience = patience
        self._most = most
        # Kept from one connection to the next: what was seen of the same process before counts.
        self.watch = ProcessWatch()

    def exchange(self, channel: Channel, end: float) -> Answer:
        """Return the answer that comes over a new connection, and close it.

        Args:
            channel: the connection.
            end: until when the question must be accepted, by ``time.monotonic``.

        Raises:
            BusyError, TimeoutError: the verifier is busy or does not accept the call.
            HungError: it does not live any more.
            ClosedError: it closed early.
            FrameError: what it says is not of this protocol, or the call fits in no frame.
        """
        try:
            # Step 3: the verifier learns how much of the time is used by now.
            sent = time.monotonic()
            accept = min(sent + self._patience, end)
            channel.send(self._question.frame(sent - self._started), accept)
            kind, body = self._receive(channel, accept, HUNG_SECONDS)
            if kind == protocol.BUSY:
                raise BusyError
            if kind != protocol.ACCEPTED:
                raise FrameError("a frame that is not expected")
            # Step 4, counted from the sending: a verifier that accepts late, on a busy machine, must not answer late.
            promised = sent + min(protocol.decode_accepted(body), self._most)
            try:
                kind, body = self._receive(channel, promised, HUNG_AT_WORK_SECONDS)
            except TimeoutError:
                # The verifier has promised its own word by now, and its time to say it has gone, too.
                return 0, protocol.DEADLINE_LINE, b""
            except ClosedError as error:
                # Work had begun, so the call itself may be what ends verifiers: few more are tried (``client.MAX_CUT``).
                error.accepted = True
                raise
            if kind != protocol.ANSWER:
                raise FrameError("a frame that is not expected")
            return protocol.decode_answer(body)
        finally:
            # One question a connection: a second frame is refused (``server.loop``).
            channel.close()

    def _receive(self, channel: Channel, end: float, patience: float) -> tuple[int, bytes]:
        """Return the next frame, with a look at the other side's life now and then.

        Raises:
            TimeoutError: none until ``end``.
            HungError: the other side does not live any more.
            ClosedError, FrameError: as ``Channel.receive``.
        """

        def look() -> None:
            if self.watch.looks_hung(peer_of(channel.connection)[0], patience):
                raise HungError

        # A tenth of the patience, so that many that wait wake seldom.
        return receive_watched(channel, end, max(LOOK_SECONDS, patience / 10), look)


def open_channel(place: Place, end: float) -> Channel:
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
            return Channel(connect(place, left))
        except BlockingIOError:
            # Its backlog is full, and a connect with a time limit does not wait for room there.
            pause(begun, end)
