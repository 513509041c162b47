"""The thin client: passes one call of Ratify to the resident verifier (``docs/resident-protocol.md``, "The client").

It runs at every call, so it imports next to nothing (a test lists it), parses no JSON and knows no policy. Whatever goes wrong
between it and the resident verifier, the caller gets one answer: the resident's, or that of a verification in a process of its
own, or a denial that says that the time is over. Never a success of its own making.
"""

import os
import select
import time

from slsa_verifier_plugin.environment import ELAPSED_VARIABLE, RESIDENT_VARIABLE
from slsa_verifier_plugin.resident import lifecycle, protocol
from slsa_verifier_plugin.resident.lifecycle import NobodyListensError, PlaceError
from slsa_verifier_plugin.resident.protocol import Answer, FrameError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable, Mapping, Sequence

RESERVED_SECONDS = 1.2
"""What waiting for a resident verifier leaves of a call's time, for a verification in a process of its own."""
DEFAULT_BUDGET = 4.0
"""Seconds that a call may take, where nobody says."""
SOON_SECONDS = 0.1
"""How long ACCEPTED is waited for before the call's own time limit is looked up."""
MAX_ATTEMPTS = 3
"""Connections to a verifier that was not there at first, as long as they are closed before the call is accepted."""
VARIABLES = ("RATIFY_VERIFIER_COMMAND", "RATIFY_VERIFIER_VERSION", "RATIFY_VERIFIER_SUBJECT")
"""What Ratify sets, in the order in which its own skeleton looks."""
_CHUNK = 65536


class SilentError(Exception):
    """A verifier listens, but gives no usable answer; ``str()`` says what happened, without any foreign text."""


class ClosedError(Exception):
    """The verifier closed the connection before it had answered; ``accepted`` says whether it had accepted the call."""

    accepted = False


class StdinError(Exception):
    """Standard input cannot be used; ``line`` is the contract's error object."""

    def __init__(self, line: bytes) -> None:
        super().__init__()
        self.line = line


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

    def receive(self, end: float) -> tuple[int, bytes]:
        """Return kind and body of the next frame; what came of it before ``TimeoutError`` is kept for the next attempt.

        Raises:
            TimeoutError: no complete frame until ``end`` by ``time.monotonic``.
            ClosedError: the other side closed before.
            FrameError: what came is no frame, or one over ``MAX_REPLY``.
        """
        self._fill(protocol.HEADER_BYTES, end)
        kind, length = protocol.parse_header(self._buffer, protocol.MAX_REPLY)
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


def refusal(environ: "Mapping[str, str]") -> Answer | None:
    """Return the contract's error 4 where Ratify's variables are missing or empty: nothing need be read or started for it."""
    missing = [name for name in VARIABLES if not environ.get(name)]
    return (1, protocol.MISSING_VARIABLES % ", ".join(missing).encode(), b"") if missing else None


def call(
    environ: "Mapping[str, str]",
    stdin: int,
    own_process: "Callable[[bytes, float], Answer]",
    start_command: "Sequence[str]",
    budget: "Callable[[bytes], float] | None" = None,
) -> Answer:
    """Return the answer to one call of Ratify: exit status, standard output and standard error.

    Args:
        environ: the process's environment.
        stdin: descriptor of standard input.
        own_process: verifies in a process of its own; gets standard input and the seconds that are used already.
        start_command: starts a resident verifier in the foreground; an absolute path and arguments.
        budget: the seconds that the call in standard input may take, ``DEFAULT_BUDGET`` without it; asked only once something is
            amiss, so that no wait for a resident verifier uses what a process of its own needs.
    """
    started = time.monotonic() - _used_before(environ)
    try:
        content = read_stdin(stdin, time.monotonic() + protocol.STDIN_SECONDS)
    except StdinError as error:
        return 1, error.line, b""
    mode = environ.get(RESIDENT_VARIABLE)
    warning = b""
    if mode != "off":
        attempt = _Call(environ, content, started, start_command, budget)
        answer = attempt.ask()
        if answer is not None:
            return answer
        if mode == "require":
            return 0, protocol.REQUIRED_LINE, b"warn: " + attempt.problem.encode() + b"\n"
        warning = b"warn: " + attempt.problem.encode() + b"; this call was verified in a process of its own\n"
    status, stdout, stderr = own_process(content, time.monotonic() - started)
    return status, stdout, warning + stderr


def read_stdin(descriptor: int, end: float) -> bytes:
    """Return all of standard input.

    Raises:
        StdinError: more than ``MAX_STDIN`` bytes, no end until ``end`` by ``time.monotonic``, or unreadable.
    """
    chunks: list[bytes] = []
    size = 0
    waiter = select.poll()
    waiter.register(descriptor, select.POLLIN)
    try:
        while True:
            left = end - time.monotonic()
            if left <= 0 or not waiter.poll(left * 1000):
                raise StdinError(protocol.STDIN_SLOW_LINE)
            chunk = os.read(descriptor, _CHUNK)
            if not chunk:
                return b"".join(chunks)
            chunks.append(chunk)
            size += len(chunk)
            if size > protocol.MAX_STDIN:
                raise StdinError(protocol.STDIN_LARGE_LINE)
    except OSError as error:
        raise StdinError(protocol.STDIN_FAILED_LINE) from error


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


class _Call:
    """One call's attempts to have a resident verifier answer; ``problem`` says why none did."""

    def __init__(
        self,
        environ: "Mapping[str, str]",
        content: bytes,
        started: float,
        start_command: "Sequence[str]",
        budget: "Callable[[bytes], float] | None",
    ) -> None:
        self._environ = environ
        self._content = content
        self._started = started
        self._start_command = start_command
        self._budget = budget
        self.problem = ""

    def ask(self) -> Answer | None:
        """Return a resident verifier's answer (or that its time is over), starting one if nobody listens; None for none."""
        try:
            place = lifecycle.find_place(self._environ)
            try:
                return self._exchange(open_channel(place, time.monotonic() + protocol.ACCEPT_SECONDS))
            except (NobodyListensError, ClosedError):
                pass
            return self._ask_again(place)
        except PlaceError as error:
            self.problem = f"no resident verifier is used: {error.problem}"
        except (NobodyListensError, ClosedError):
            self.problem = "the resident verifier ended before it had answered"
        except TimeoutError:
            self.problem = "the resident verifier does not answer"
        except SilentError as error:
            self.problem = str(error)
        except FrameError as error:
            self.problem = f"the resident verifier cannot be understood: {error}"
        except OSError as error:
            # Only the number: its text may name anything.
            self.problem = f"no resident verifier is used: system error {error.errno}"
        return None

    def _ask_again(self, place: lifecycle.Place) -> Answer | None:
        """Return the answer of a verifier that listens by now, or is started (step 6); None for none in time."""
        from slsa_verifier_plugin.resident import spawn

        begun, end = time.monotonic(), self._until(spawn.START_SECONDS)
        attempts = 0
        while True:
            connection = spawn.await_listener(place, self._start_command, self._environ, end)
            if connection is None:
                self.problem = "no resident verifier could be started in time"
                return None
            attempts += 1
            try:
                return self._exchange(Channel(connection))
            except ClosedError as error:
                # A process that is killed may close its connections before its listening socket. But a call that
                # was accepted twice may be what ends verifiers.
                if error.accepted or attempts == MAX_ATTEMPTS:
                    raise
            lifecycle.pause(begun, end)

    def _exchange(self, channel: Channel) -> Answer:
        """Return the answer to this call on a new connection (steps 3 to 5), and close it.

        Raises:
            SilentError, TimeoutError: the verifier is busy or does not accept the call.
            ClosedError: it closed early.
            FrameError: what it says is not of this protocol, or the call fits in no frame.
        """
        try:
            end = time.monotonic() + protocol.ACCEPT_SECONDS
            variables = (self._variable("COMMAND"), self._variable("SUBJECT"), self._variable("VERSION"))
            request = (time.monotonic() - self._started, *variables, self._content)
            channel.send(protocol.encode_request(request), end)
            try:
                kind, body = channel.receive(min(end, time.monotonic() + SOON_SECONDS))
            except TimeoutError:
                kind, body = channel.receive(min(end, self._until(protocol.ACCEPT_SECONDS)))
            if kind == protocol.BUSY:
                raise SilentError("the resident verifier has too many calls waiting")
            if kind != protocol.ACCEPTED:
                raise FrameError("a frame that is not expected")
            end = time.monotonic() + protocol.decode_accepted(body)
            try:
                kind, body = channel.receive(end)
            except TimeoutError:
                return 0, protocol.DEADLINE_LINE, b""
            except ClosedError as error:
                error.accepted = True
                raise
            if kind != protocol.ANSWER:
                raise FrameError("a frame that is not expected")
            return protocol.decode_answer(body)
        finally:
            channel.close()

    def _variable(self, name: str) -> bytes | None:
        value = self._environ.get("RATIFY_VERIFIER_" + name)
        return None if value is None else os.fsencode(value)

    def _until(self, seconds: float) -> float:
        """Return when a wait of ``seconds`` from now ends, if need be sooner: a process of its own needs time, too."""
        now = time.monotonic()
        budget = DEFAULT_BUDGET if self._budget is None else self._budget(self._content)
        last = self._started + budget - RESERVED_SECONDS
        return min(now + seconds, max(last, now + SOON_SECONDS))


def _used_before(environ: "Mapping[str, str]") -> float:
    """Return the seconds that whoever ran this process had used of the call's time."""
    value = environ.get(ELAPSED_VARIABLE, "")
    return int(value) / 1000 if value.isascii() and value.isdigit() and len(value) <= 10 else 0.0
