"""Runs a verification in a process of its own. It may crash, hang or be killed, and the caller still gets an answer.

The parent only waits. Success is printed only if the child said so in full and in time; whatever else becomes of the child is
a denial of the parent's own. The frames are those of the resident verifier: ACCEPTED with the call's time, then ANSWER.
"""

import _socket
import os
import time

from slsa_verifier_plugin import lacks
from slsa_verifier_plugin.resident import protocol
from slsa_verifier_plugin.resident.channel import LOOK_SECONDS, Channel, ClosedError, receive_watched
from slsa_verifier_plugin.resident.protocol import Answer
from slsa_verifier_plugin.resident.spawn import close_from, detach_standard_files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    Work = tuple[float, Callable[[float], Answer]]

REAP_SECONDS = 0.05
"""How long the end of a killed child is waited for; one in an uninterruptible call of the kernel may take longer. The denial is
printed only after it: at 0.25 s, calls whose child died slowly beside other work took 4.5 s and more (`make soak`)."""
TELL_SECONDS = 0.1
"""How long a child that is out of time has to say so. Less than a resident verifier has (``GRACE_SECONDS``): whoever waits counts
from when it reads what is left, and beside other work that was so late that a call in 4,000 took 4.5 s (`make soak`)."""
ORPHAN_SECONDS = 2
"""How long after its time a child may live on whose parent was killed."""
FIRST_SECONDS = 6
"""How long it may live before it has told its time: longer than any caller waits for that."""
_SIGKILL = 9  # on every Linux; importing signal costs the waiting process 5 ms and a megabyte


def run_isolated(prepare: "Callable[[], Work]", started: float, seconds: float, kept: int = -1) -> Answer:
    """Do work in a fork of this process and return its answer, or a denial where there is none.

    The child has a session of its own, nothing but ``/dev/null`` as standard files and none of its parent's other
    descriptors but one, so neither it nor what it starts can keep the caller's output open or write to it. It is killed with
    all of its process group, whatever it answered.

    Args:
        prepare: called in the child, imports what is heavy; returns the seconds that the whole call may take, and the work,
            which gets the seconds that are used, and returns exit status, standard output and standard error.
        started: when the call began, by ``time.monotonic``.
        seconds: what the call may take, unless the child says otherwise.
        kept: a descriptor that the child keeps open; -1 for none.
    """
    # A call that begins late is asked about all the same: the child itself says best what time was left.
    end = max(started + seconds, time.monotonic()) + protocol.GRACE_SECONDS
    try:
        ours, theirs = _socket.socketpair()
    except OSError as error:
        return 0, protocol.lack_line(error.errno or 0), b""
    try:
        child = os.fork()
    except OSError as error:
        ours.close()
        theirs.close()
        return 0, protocol.lack_line(error.errno or 0), b""
    # From here on there are two processes: the child never returns.
    if child == 0:
        _run_child(prepare, started, theirs, kept)
    # Closed here: while this process had it open, the child's end would never be seen.
    theirs.close()
    try:
        return _receive(Channel(ours), child, end)
    except TimeoutError:
        return 0, protocol.DEADLINE_LINE, b""
    except (protocol.FrameError, ClosedError):
        return 0, protocol.ENDED_LINE, b""
    finally:
        ours.close()
        end_child(child)


def answer_call(channel: Channel, seconds: float, work: "Callable[[], Answer]") -> None:
    """Answer one call over a channel, as a process of its own does: ACCEPTED at once, ANSWER after the work.

    Args:
        channel: to whoever waits.
        seconds: how long the work may take.
        work: returns exit status, standard output and standard error.

    Raises:
        TimeoutError, ClosedError: nobody reads.
        FrameError: the answer fits into no frame.
    """
    promised = max(seconds, 0.0) + TELL_SECONDS
    channel.send(protocol.encode_accepted(promised), time.monotonic() + promised)
    try:
        answer = work()
    except Exception as error:
        # Named where the system gives no more of something; of anything else the missing answer tells.
        number = lacks.number_of(error)
        if not number:
            raise
        answer = 0, protocol.lack_line(number), b""
    channel.send(protocol.encode_answer(answer), time.monotonic() + protocol.FRAME_SECONDS)


def _run_child(
    prepare: "Callable[[], Work]", started: float, connection: _socket.socket, kept: int
) -> "NoReturn":
    """Do the work, write the answer and end."""
    status = 1
    try:
        # A process group of its own, which the parent kills as a whole.
        os.setsid()
        close_from(3, *(number for number in (connection.fileno(), kept) if number >= 0))
        detach_standard_files()
        import signal

        # The default action ends even a loop in C, should the parent be killed before it can do it.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        # A caller that has blocked signals hands that on, and an alarm that is blocked ends nothing.
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        signal.alarm(FIRST_SECONDS)
        # Imports, and the parsing of standard input, under the first alarm.
        seconds, work = prepare()
        left = started + seconds - time.monotonic()
        signal.alarm(int(max(left, 0.0)) + ORPHAN_SECONDS)
        answer_call(Channel(connection), left, lambda: work(time.monotonic() - started))
        status = 0
    finally:
        # An exception ends here too: the missing answer tells, and a traceback has nowhere to go.
        os._exit(status)


def _receive(channel: Channel, child: int, end: float) -> Answer:
    """Return the child's answer.

    Raises:
        TimeoutError: none was complete by ``end``, or by the time that the child itself has promised.
        FrameError: what it wrote is none.
        ClosedError: it ended before its answer was complete.
    """
    ended_before = False

    def look() -> None:
        # A process that the child has started may keep the connection open after the child's death. One more attempt to read
        # comes after that is known: the child may have answered and ended since the attempt before.
        nonlocal ended_before
        if ended_before:
            raise ClosedError
        ended_before = _has_ended(child)

    # ACCEPTED comes first, and says how long the answer may take.
    while True:
        kind, body = receive_watched(channel, end, LOOK_SECONDS, look)
        if kind == protocol.ANSWER:
            return protocol.decode_answer(body)
        if kind != protocol.ACCEPTED:
            raise protocol.FrameError("a frame that is not expected")
        # The child said what is left from then on.
        end = time.monotonic() + protocol.decode_accepted(body)


def _has_ended(child: int) -> bool:
    """Return True once a child has ended; it is not reaped, so its number stays its own until ``end_child``."""
    try:
        return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:  # the caller's parent ignores SIGCHLD, so the kernel reaped it
        return True


def end_child(child: int) -> bool:
    """Kill a child and its process group, and reap it; return False where that takes longer than ``REAP_SECONDS``."""
    # Its group first: a credential helper that it has started must not outlive it.
    for target in (-child, child):
        try:
            os.kill(target, _SIGKILL)
        except OSError:
            continue  # it has ended, or has not made its session yet
    end = time.monotonic() + REAP_SECONDS
    # Not waited for without end: a process within a call of the kernel (a dead NFS server) dies only when that returns.
    while time.monotonic() < end:
        try:
            if os.waitpid(child, os.WNOHANG)[0] != 0:
                return True
        except ChildProcessError:  # as above
            return True
        time.sleep(0.001)
    return False
