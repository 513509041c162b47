"""The thin client: passes one call of Ratify to the resident verifier (``docs/resident-protocol.md``, "The client").

It runs at every call, so it imports next to nothing (a test lists it), parses no JSON and knows no policy. Whatever goes wrong
between it and the resident verifier, the caller gets one answer: the resident's, or that of a verification in a process of its
own, or a denial that says that the time is over. Never a success of its own making.
"""

import os
import select
import time

from slsa_verifier_plugin.environment import ELAPSED_VARIABLE, RESIDENT_VARIABLE
from slsa_verifier_plugin.resident import protocol
from slsa_verifier_plugin.resident.channel import (
    BusyError,
    Channel,
    ClosedError,
    Exchanger,
    HungError,
    open_channel,
)
from slsa_verifier_plugin.resident.place import (
    DIRECTORY_VARIABLE,
    NobodyListensError,
    Place,
    PlaceError,
    find_place,
    pause,
)
from slsa_verifier_plugin.resident.protocol import Answer, FrameError, Question

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from slsa_verifier_plugin.resident.spawn import Starter

    OwnProcess = Callable[[bytes, float, int], Answer]

CALL_SECONDS = 4.0
"""For a call of Ratify, where nobody says."""
RESERVED_SECONDS = 1.2
"""The last part of a call's time, in which other ways than a resident verifier are tried in any case."""
LEAST_SECONDS = 0.1
"""For a resident verifier, however late the call is."""
MAX_CLOSED = 3
"""Connections that are closed before the call is accepted, after which other ways are tried as well."""
MAX_CUT = 2
"""Connections that are closed after the call was accepted: the call itself may be what ends verifiers."""
VARIABLES = ("RATIFY_VERIFIER_COMMAND", "RATIFY_VERIFIER_VERSION", "RATIFY_VERIFIER_SUBJECT")
"""What Ratify sets, in the order in which its own skeleton looks."""
_CHUNK = 65536


class StdinError(Exception):
    """Standard input cannot be used; the text says why, in ASCII."""


def refusal(environ: "Mapping[str, str]") -> Answer | None:
    """Return the contract's error 4 where Ratify's variables are missing or empty: nothing need be read or started for it."""
    # Step 0: nothing is read, nobody is asked, nothing is started.
    missing = [name for name in VARIABLES if not environ.get(name)]
    return (1, protocol.MISSING_VARIABLES % ", ".join(missing).encode(), b"") if missing else None


def call(
    environ: "Mapping[str, str]",
    stdin: int,
    own_process: "OwnProcess",
    start_command: "Sequence[str]",
    used: float = 0.0,
) -> Answer:
    """Return the answer to one call of Ratify: exit status, standard output and standard error.

    Args:
        environ: the process's environment.
        stdin: descriptor of standard input.
        own_process: verifies in a process of its own; gets standard input, when the call began by ``time.monotonic``, and a
            descriptor that the process must keep open for as long as it runs (-1 for none).
        start_command: starts a resident verifier in the foreground; an absolute path and arguments.
        used: seconds that this process has run already.
    """
    # Step 1. Whoever called counts from the start of this process, and perhaps from before that.
    started = time.monotonic() - used - _used_before(environ)
    # Step 2, from now on: an interpreter that started late has read nothing yet.
    try:
        content = read_stdin(stdin, time.monotonic() + protocol.STDIN_SECONDS)
    except StdinError as error:
        return 1, protocol.stdin_line(str(error)), b""
    command, version, subject = (
        os.fsencode(environ[name]) if name in environ else None for name in VARIABLES
    )
    question = Question(protocol.VERIFY, (command, subject, version, content), CALL_SECONDS)
    return ask(environ, question, lambda turn: own_process(content, started, turn), start_command, started)


def ask(
    environ: "Mapping[str, str]",
    question: Question,
    own_process: "Callable[[int], Answer]",
    start_command: "Sequence[str]",
    started: float,
) -> Answer:
    """Return the answer to a question, from a resident verifier or else from a process of the call's own.

    Args:
        environ: as for ``call``.
        question: what is asked.
        own_process: answers it in a process of its own; gets a descriptor that the process must keep open (-1 for none).
        start_command: as for ``call``.
        started: when the call began, by ``time.monotonic``.
    """
    # Whatever is not understood counts as ``auto``: an admission must not hang on a misspelt word.
    mode = environ.get(RESIDENT_VARIABLE)
    search = _Search(environ, question, started, start_command, turns=mode != "require")
    if mode != "off":
        # Steps 3 to 6.
        answer = search.ask()
        if answer is not None:
            status, stdout, stderr = answer
            return (
                status,
                stdout,
                _warning(search.unusable, "; a resident verifier in another folder is used") + stderr,
            )
        # Chosen by people who have no memory for a process of a call's own.
        if mode == "require":
            return 0, protocol.REQUIRED_LINE, b"warn: " + search.problem.encode() + b"\n"
    # Step 7.
    turn = search.turn()
    if turn is None:
        return 0, protocol.NO_TURN_LINE, _warning(search.problem)
    try:
        status, stdout, stderr = own_process(turn)
    finally:
        # The process has ended, and with it its own copy: now the next one may begin.
        if turn >= 0:
            os.close(turn)
    said = _warning(search.problem, "; this call was verified in a process of its own")
    return status, stdout, said + stderr


def ask_running(environ: "Mapping[str, str]", question: Question, started: float) -> Answer | None:
    """Return the answer of a resident verifier that runs; None where none does, or none that answers. None is started.

    Args:
        environ: as for ``call``.
        question: what is asked.
        started: when the call began, by ``time.monotonic``.
    """
    if environ.get(RESIDENT_VARIABLE) == "off":
        return None
    end = started + question.seconds
    try:
        channel = open_channel(find_place(environ), min(time.monotonic() + protocol.ACCEPT_SECONDS, end))
        most = question.seconds + protocol.GRACE_SECONDS
        return Exchanger(question, started, protocol.ACCEPT_SECONDS, most).exchange(channel, end)
    # Whatever it is, the caller has another way; TimeoutError is an OSError.
    except (NobodyListensError, PlaceError, BusyError, HungError, ClosedError, FrameError, OSError):
        return None


def _warning(problem: str, more: str = "") -> bytes:
    return f"warn: {problem}{more}\n".encode() if problem else b""


def read_stdin(descriptor: int, end: float) -> bytes:
    """Return all of standard input.

    Raises:
        StdinError: more than ``MAX_STDIN`` bytes, no end until ``end`` by ``time.monotonic``, or unreadable.
    """
    chunks: list[bytes] = []
    size = 0
    # poll takes any descriptor, select none above 1023.
    waiter = select.poll()
    waiter.register(descriptor, select.POLLIN)
    try:
        while True:
            left = end - time.monotonic()
            # A caller that keeps its end open, or sends a byte a second, must not keep this process for ever.
            if left <= 0 or not waiter.poll(left * 1000):
                raise StdinError(protocol.STDIN_SLOW)
            chunk = os.read(descriptor, _CHUNK)
            if not chunk:
                return b"".join(chunks)
            chunks.append(chunk)
            size += len(chunk)
            # Asked at each chunk: /dev/zero has no end.
            if size > protocol.MAX_STDIN:
                raise StdinError(protocol.STDIN_LARGE)
    except OSError as error:
        raise StdinError(protocol.STDIN_FAILED) from error


class _Search:
    """One call's attempts to have a resident verifier answer; ``problem`` says why none did."""

    def __init__(
        self,
        environ: "Mapping[str, str]",
        question: Question,
        started: float,
        start_command: "Sequence[str]",
        turns: bool,
    ) -> None:
        self._environ = environ
        # With ``require`` there is no other way to turn to, so ACCEPTED may take all of the call's time.
        self._exchanger = Exchanger(question, started, protocol.ACCEPT_SECONDS if turns else question.seconds)
        self._start_command = start_command
        self._turns = turns
        self._end = started + question.seconds
        self._begun = time.monotonic()
        # However late the call is, it has one look: it may start the verifier that the next call finds.
        least = self._begun + LEAST_SECONDS
        self._last_look = max(self._end, least)
        # When a turn is tried beside the resident verifier, and when at the latest.
        self._reserved = max(self._end - RESERVED_SECONDS, least)
        self._due = min(self._begun + protocol.START_SECONDS, self._reserved)
        # Connections that were closed before ACCEPTED, and after it.
        self._closed = self._cut = 0
        self._turn: int | None = None
        self._time_is_over = False
        self._folders: list[str] | None = None
        self._starter: Starter | None = None
        self.problem = ""
        self.unusable = ""
        """Why the environment's own place could not be used; empty where it could."""

    def ask(self) -> Answer | None:
        """Return a resident verifier's answer (or that its time is over); None for none, perhaps with a turn taken.

        One is started where none listens, and another where one does not live any more, until the call's time is over.
        """
        try:
            while True:
                try:
                    return self._ask_until_the_end(find_place(self._environ))
                except (PlaceError, OSError) as error:
                    if not self._goes_elsewhere(error):
                        raise
        except PlaceError as error:
            self.problem = f"no resident verifier is used: {error.problem}"
        except ClosedError:
            self.problem = "the resident verifier ended before it had answered"
        except FrameError as error:
            self.problem = f"the resident verifier cannot be understood: {error}"
        except NobodyListensError:
            self.problem = "no resident verifier could be started in time"
        except OSError as error:
            # Only the number: the system's text may name a path, and Ratify logs standard error.
            self.problem = f"no resident verifier is used: system error {error.errno}"
        finally:
            if self._starter is not None:
                self._starter.close()
        # The first reason is the one that people can mend.
        if self.unusable:
            self.problem = f"no resident verifier is used: {self.unusable}"
        return None

    def _goes_elsewhere(self, error: PlaceError | OSError) -> bool:
        """Take the next folder in place of one that cannot be used, as if the environment said so; False where there is none."""
        from slsa_verifier_plugin import lacks
        from slsa_verifier_plugin.resident.client import own_turns

        # What this process lacks, it lacks anywhere.
        if isinstance(error, OSError) and lacks.names(error.errno):
            return False
        if self._folders is None:
            self._folders = own_turns.folders_elsewhere()
            self.unusable = error.problem if isinstance(error, PlaceError) else f"system error {error.errno}"
        if not self._folders:
            return False
        if self._starter is not None:
            self._starter.close()
            self._starter = None
        self._environ = {**self._environ, DIRECTORY_VARIABLE: self._folders.pop(0)}
        return True

    def turn(self) -> int | None:
        """Return a turn for a process of its own, ``own_turns.NO_PLACE`` where there are none to take; None for none in time."""
        from slsa_verifier_plugin.resident.client import own_turns

        # Taken beside the search already; or the call's time is over, and whoever begins now would answer too late.
        if self._turn is not None or self._time_is_over:
            return self._turn
        place: Place | None = None
        try:
            place = find_place(self._environ)
        # Turns bound the memory all the same (``own_turns.ELSEWHERE``).
        except PlaceError:
            place = None
        return own_turns.await_turn(place, self._end)

    def _ask_until_the_end(self, place: Place) -> Answer | None:
        while True:
            answer = self._ask_once(place)
            if answer is not None:
                return answer
            now = time.monotonic()
            # Not sooner: of 32 first calls one starts the verifier, and waiting for it takes the least memory and time.
            if self._turns and now >= self._due:
                from slsa_verifier_plugin.resident.client import own_turns

                self._turn = own_turns.take_turn(place)
            self._time_is_over = now >= self._last_look
            if self._turn is not None or self._time_is_over:
                return None
            pause(self._begun, self._last_look)

    def _ask_once(self, place: Place) -> Answer | None:
        """Return the answer of a verifier that listens by now; None for none, and other ways may be due sooner then.

        Raises:
            PlaceError, FrameError, OSError: none will answer this call.
            ClosedError: the same, for the call itself may be what ends verifiers.
            NobodyListensError: none can be started.
        """
        try:
            channel = self._channel(place)
            if channel is None:
                self.problem = "no resident verifier could be started in time"
                return None
            return self._exchanger.exchange(channel, self._last_look)
        except BusyError:
            self.problem = "the resident verifier has too many calls waiting"
        except TimeoutError:
            # Not accepted in time. An attempt that the end of the call's time cut short tells less than those before.
            if not self.problem or time.monotonic() < self._end:
                self.problem = "the resident verifier does not answer"
        except HungError:
            from slsa_verifier_plugin.resident.client.end_hung import end_hung

            self.problem = "the resident verifier does not answer"
            # Ended by this call or another one: the next verifier is on its way, or will be started by the next look.
            if end_hung(self._exchanger.watch, place):
                self._wait_for_the_next()
                return None
        except ClosedError as error:
            # Step 5: what ended calls is counted apart from what ended before a call was accepted.
            self._cut += error.accepted
            self._closed += not error.accepted
            # A call that ends two verifiers (a fault of ours in C code, a limit of memory) must not end a third one.
            if self._cut == MAX_CUT:
                raise
            self.problem = "the resident verifier ended before it had answered"
            # A killed process may close its connections before its listening socket, so the first ones tell little.
            if self._closed >= MAX_CLOSED:
                # In the past: other ways are tried at the next look.
                self._due = 0.0
            else:
                self._wait_for_the_next()
            return None
        # Busy, silent or hung: less is to be hoped for than of a verifier that has just been started.
        self._due = min(self._due, self._begun + protocol.ACCEPT_SECONDS)
        return None

    def _wait_for_the_next(self) -> None:
        """Give the verifier that follows a lost one some time before other ways are tried."""
        self._due = min(max(self._due, time.monotonic() + protocol.ACCEPT_SECONDS), self._reserved)

    def _channel(self, place: Place) -> Channel | None:
        """Return a connection to a verifier, after starting one if need be; None while it does not listen yet."""
        try:
            # Once this call is at starting one, the starter connects by itself, in an order that it needs.
            if self._starter is None:
                return open_channel(place, min(time.monotonic() + protocol.ACCEPT_SECONDS, self._last_look))
        # Not an end yet: the starter below has one started.
        except NobodyListensError:
            pass
        # Step 6: nobody listens. Loaded only now, for most calls find a verifier that runs.
        from slsa_verifier_plugin.resident import spawn

        if self._starter is None:
            self._starter = spawn.Starter(place, self._start_command, self._environ)
        try:
            connection = self._starter.look()
        except spawn.NotStartedError:
            raise NobodyListensError from None
        if connection is None:
            return None
        # At once, not when the answer is there: the verifier may be lost again, and another caller may start the next one.
        self._starter.release()
        return Channel(connection)


def _used_before(environ: "Mapping[str, str]") -> float:
    """Return the seconds that whoever ran this process had used of the call's time."""
    value = environ.get(ELAPSED_VARIABLE, "")
    # The length before int(), which refuses thousands of digits with an exception; isascii, for int() reads Arabic digits too.
    return int(value) / 1000 if value.isascii() and value.isdigit() and len(value) <= 10 else 0.0
