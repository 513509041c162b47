"""The plugin's way in: what runs when Ratify calls (``docs/life-of-a-call.md``).

Nothing heavy is imported here. The resident verifier answers if it can; else the call is verified in a process of its own, a
fork whose parent only waits, and prints a denial of its own making if the child gives no complete answer in time.
"""

from __future__ import annotations

import os
import sys
import time

from slsa_verifier_plugin.resident import protocol
from slsa_verifier_plugin.resident.client import client

TYPE_CHECKING = False  # importing typing for it takes longer than the whole call
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from slsa_verifier_plugin.resident.protocol import Answer

START = [sys.executable, "-P", "-m", "slsa_verifier_plugin", "resident", "serve", "--detached"]
"""How a caller starts the resident verifier; the same interpreter and package as its own."""
WARN_SECONDS = 0.05
"""How long a reader of standard error that is behind is waited for; nobody may be there to read it."""
PRINT_SECONDS = 0.2
"""How long one of standard output is, however late the call."""
_TICK_SECONDS = 0.01
OLDEST_SECONDS = 5.0
"""Ratify's own limit. A process that is older was something else before, say a shell."""


def main() -> NoReturn:
    """Answer one call of Ratify on standard output, and exit with the contract's status."""
    # Step 0 of ``docs/resident-protocol.md``, "The client", then the others.
    prepare()
    used = process_age()
    end = time.monotonic() - used + client.CALL_SECONDS
    answer = client.refusal(os.environ) or client.call(os.environ, 0, own_process, START, used)
    status, stdout, stderr = answer
    # Half a verdict is none, as in C: no status of a verdict goes with it.
    if not write_answer(stdout, stderr, end):
        status = status or 1
    # Not sys.exit: the caller would wait for an interpreter that tidies up.
    os._exit(status)


def own_process(stdin: bytes, started: float, turn: int) -> Answer:
    """Verify one call in a fork of this process, which holds the deadline and imports nothing for it.

    Args:
        stdin: all of standard input.
        started: when the call began, by ``time.monotonic``.
        turn: a descriptor that the fork keeps open; -1 for none.
    """
    from slsa_verifier_plugin.resident import isolate

    return isolate.run_isolated(lambda: _parsed(dict(os.environ), stdin), started, client.CALL_SECONDS, turn)


def answer_launcher(started: str) -> NoReturn:
    """Answer one call as a process of the launcher's own: one VERIFY on standard input, ACCEPTED and ANSWER after it.

    Args:
        started: when the call began, in milliseconds of ``time.monotonic``.
    """
    import _socket

    from slsa_verifier_plugin.resident.channel import Channel, ClosedError
    from slsa_verifier_plugin.resident.isolate import answer_call
    from slsa_verifier_plugin.resident.spawn import detach_standard_files

    try:
        began = int(started) / 1000
        # Not as standard input: a credential helper that inherits that could give the answer.
        channel = Channel(_socket.socket(fileno=os.dup(0)))
        kind, body = channel.receive(time.monotonic() + protocol.STDIN_SECONDS, protocol.MAX_OWN_REQUEST)
        if kind != protocol.VERIFY:
            raise protocol.FrameError("a frame that is not expected")
        elapsed, *fields, stdin = protocol.decode_request(body)
    except (OSError, ValueError, ClosedError, protocol.FrameError):
        # A person who found the argument, or a launcher of another version; its own line must not be an answer.
        write_all(
            2,
            b"own-process is for the one-file plugin alone; people use 'slsa-verifier-plugin verify IMAGE'\n",
            time.monotonic() + PRINT_SECONDS,
        )
        os._exit(2)
    # Its output is the channel alone: whatever a library prints goes nowhere.
    detach_standard_files()
    from slsa_verifier_plugin import ratify

    # The call's own variables come in the frame; the launcher's environment has all others.
    seconds, verify = _parsed({**os.environ, **ratify.environment_of(*fields)}, stdin)
    # The launcher counts the promise from its sending, to which ``elapsed`` belongs; the work counts from the call's beginning.
    answer_call(channel, seconds - elapsed, lambda: verify(max(elapsed, time.monotonic() - began)))
    # The channel has the answer; an interpreter that tidies up would keep the launcher's turn for a while longer.
    os._exit(0)


def _parsed(environment: dict[str, str], stdin: bytes) -> tuple[float, Callable[[float], Answer]]:
    """Parse standard input, once: return the seconds that the call may take, and what verifies it after ``elapsed`` of them."""
    from slsa_verifier_plugin import ratify

    parsed = ratify.Input.of(stdin)

    def verify(elapsed: float) -> Answer:
        # Imported only now, half a second's worth: whoever waits is told the call's time first.
        from slsa_verifier_plugin.service.service import Service

        return Service(environment).respond(environment, parsed, elapsed)

    return min(parsed.seconds, protocol.MAX_BUDGET), verify


def process_age(oldest: float | None = None) -> float:
    """Return the seconds since this process was started; 0 where that cannot be told.

    Also 0 where it is older than ``oldest`` seconds, ``OLDEST_SECONDS`` by default.

    Where many interpreters start at once, each waits long for the processor, and the caller's clock counts that wait.
    """
    try:
        with open("/proc/self/stat", "rb") as file:  # noqa: PTH123 (pathlib is slow to import)
            # Field 22, "starttime"; the second field is a name in parentheses, which may hold spaces and parentheses.
            ticks = int(file.read().rpartition(b")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        # Without an age the call counts from now, which gives it more time than it has: its caller then ends it.
        return 0.0
    # /proc counts from the machine's start, sleep included, as CLOCK_BOOTTIME does and CLOCK_MONOTONIC does not.
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return age if 0.0 < age <= (OLDEST_SECONDS if oldest is None else oldest) else 0.0


def prepare() -> None:
    """Make what a caller may have left odd fit for one call: standard files that are closed, and its umask."""
    # A file that is opened later would become standard output, and a verdict would be written into it.
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free number is handed out first, and every lower one is open by now. For the wrong direction: reading
            # from it, or writing into it, fails as before.
            os.open("/dev/null", os.O_RDONLY if descriptor else os.O_WRONLY)
    # A caller's might take from this user what is made here.
    os.umask(0o077)


def write_answer(stdout: bytes, stderr: bytes, end: float) -> bool:
    """Write warnings, which hold nothing up, and then the answer; return whether all of the answer was taken.

    Args:
        stdout: the answer.
        stderr: lines that are lost where they are not taken at once, or nearly so.
        end: until when the answer is waited for, by ``time.monotonic``; for a moment in any case.
    """
    # Ratify takes what it finds on standard output for the verdict, so warnings go elsewhere.
    write_all(2, stderr, time.monotonic() + WARN_SECONDS)
    return write_all(1, stdout, max(end, time.monotonic() + PRINT_SECONDS))


def write_all(descriptor: int, content: bytes, end: float) -> bool:
    """Write all of ``content``, or as much of it as is taken in time; return whether that was all. For the main thread alone.

    Args:
        descriptor: a pipe of the caller's, mostly.
        content: what is written.
        end: until when, by ``time.monotonic``.
    """
    # What ``signal`` wraps: that costs 5 ms.
    import _signal  # type: ignore[import-not-found]

    raised = False

    def tick(*_: object) -> None:
        nonlocal raised
        # Once: the second one might come after the last line that catches it.
        if not raised and time.monotonic() >= end:
            raised = True
            raise TimeoutError

    try:
        _signal.signal(_signal.SIGALRM, tick)
        # A caller that has blocked signals hands that on.
        _signal.pthread_sigmask(_signal.SIG_UNBLOCK, (_signal.SIGALRM,))
        try:
            # Others may write to the same pipe, so that it had room is no promise; and one tick alone might come just before
            # the write that it should end.
            _signal.setitimer(_signal.ITIMER_REAL, _TICK_SECONDS, _TICK_SECONDS)
            # A pipe takes 64 KiB at once, and a verdict may have 60.
            while content:
                try:
                    content = content[os.write(descriptor, content) :]
                except BlockingIOError:
                    # Full, and made non-blocking by whoever shares it: the rest waits for the reader, as in any other pipe.
                    import select

                    waiter = select.poll()
                    waiter.register(descriptor, select.POLLOUT)
                    waiter.poll()
        finally:
            _signal.setitimer(_signal.ITIMER_REAL, 0.0)
    # Out of time, a full disk, or a broken pipe, as where Ratify gave up at its own limit of 5 s: there is nobody to tell.
    except OSError:
        pass
    return not content
