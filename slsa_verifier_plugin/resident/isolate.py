"""A verification in a process of its own, which may crash, hang or be killed without taking the answer with it.

The parent only waits. Success is printed only if the child said so in full and in time; whatever else becomes of the child is
an answer that the caller of ``run_isolated`` chose before, which is a denial.
"""

import os
import select
import time

from slsa_verifier_plugin.resident.protocol import (
    ACCEPTED,
    ANSWER,
    DEADLINE_LINE,
    ENDED_LINE,
    GRACE_SECONDS,
    HEADER_BYTES,
    MAX_REPLY,
    Answer,
    FrameError,
    decode_accepted,
    decode_answer,
    encode_accepted,
    encode_answer,
    lack_line,
    parse_header,
)
from slsa_verifier_plugin.resident.spawn import close_from, detach_standard_files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

REAP_SECONDS = 0.25
"""How long the end of a killed child is waited for; one in an uninterruptible call of the kernel may take longer."""
ORPHAN_SECONDS = 2
"""How long after its time a child may live on whose parent was killed."""
FIRST_SECONDS = 6
"""How long it may live before it has told its time: longer than any caller waits for that."""
_SIGKILL = 9  # on every Linux; importing signal costs the waiting process 5 ms and a megabyte
_CHUNK = 65536


def run_isolated(
    work: "Callable[[], Answer]", budget: "Callable[[], float]", end: float, kept: int = -1
) -> Answer:
    """Run ``work`` in a fork of this process and return its answer, or a denial where there is none.

    The child has a session of its own, nothing but ``/dev/null`` as standard files and none of its parent's other
    descriptors but one, so neither it nor what it starts can keep the caller's output open or write to it. It is killed with
    all of its process group, whatever it answered.

    Args:
        work: returns exit status, standard output and standard error; imports what it needs.
        budget: called in the child, returns the seconds that the work may take from then on: what tells that is heavy.
        end: until when the child's answer is waited for, by ``time.monotonic``, unless its budget says otherwise.
        kept: a descriptor that the child keeps open; -1 for none.
    """
    try:
        reader, writer = os.pipe()
    except OSError as error:
        return 0, lack_line(error.errno or 0), b""
    try:
        child = os.fork()
    except OSError as error:
        os.close(reader)
        os.close(writer)
        return 0, lack_line(error.errno or 0), b""
    if child == 0:
        _run_child(work, budget, writer, kept)
    try:
        os.close(writer)
        try:
            return _receive(reader, child, end)
        except TimeoutError:
            return 0, DEADLINE_LINE, b""
        except (FrameError, OSError):
            return 0, ENDED_LINE, b""
    finally:
        os.close(reader)
        end_child(child)


def _run_child(
    work: "Callable[[], Answer]", budget: "Callable[[], float]", writer: int, kept: int
) -> "NoReturn":
    """Do the work, write the answer and end."""
    status = 1
    try:
        os.setsid()
        close_from(3, *(descriptor for descriptor in (writer, kept) if descriptor >= 0))
        detach_standard_files()
        import signal

        # The default action ends even a loop in C, should the parent be killed before it can do it.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(FIRST_SECONDS)
        seconds = max(budget(), 0.0)
        signal.alarm(int(seconds) + ORPHAN_SECONDS)
        _write(writer, encode_accepted(seconds + GRACE_SECONDS))
        _write(writer, encode_answer(work()))
        status = 0
    finally:
        # An exception ends here too: the missing answer tells, and a traceback has nowhere to go.
        os._exit(status)


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _receive(reader: int, child: int, end: float) -> Answer:
    """Return the child's answer.

    Raises:
        TimeoutError: none was complete by ``end``.
        FrameError: what it wrote is none, or it ended before it was complete.
        OSError: the pipe failed.
    """
    buffer = bytearray()
    waiter = select.poll()
    waiter.register(reader, select.POLLIN)
    death = _death_descriptor(child)
    try:
        if death >= 0:
            # A grandchild may hold the pipe open after the child's death.
            waiter.register(death, select.POLLIN)
        while True:
            left = end - time.monotonic()
            ready = [descriptor for descriptor, _ in waiter.poll(left * 1000)] if left > 0 else []
            if not ready:
                raise TimeoutError
            if reader not in ready:
                raise FrameError("the child ended before its answer was complete")
            data = os.read(reader, _CHUNK)
            if not data:
                raise FrameError("the child closed the pipe before its answer was complete")
            buffer += data
            while (taken := _take_frame(buffer)) is not None:
                kind, body = taken
                if kind == ANSWER:
                    return decode_answer(body)
                if kind != ACCEPTED:
                    raise FrameError("a frame that is not expected")
                end = time.monotonic() + decode_accepted(body)
    finally:
        if death >= 0:
            os.close(death)


def _take_frame(buffer: bytearray) -> tuple[int, bytes] | None:
    """Take the first frame out of ``buffer``, or return None while bytes of it are missing.

    Raises:
        FrameError: it is none.
    """
    if len(buffer) < HEADER_BYTES:
        return None
    kind, length = parse_header(buffer, MAX_REPLY)
    size = HEADER_BYTES + length
    if len(buffer) < size:
        return None
    body = bytes(buffer[HEADER_BYTES:size])
    del buffer[:size]
    return kind, body


def _death_descriptor(child: int) -> int:
    """Return a descriptor that becomes readable when ``child`` ends; -1 where the kernel or a sandbox has none."""
    try:
        return os.pidfd_open(child)
    except OSError:
        return -1


def end_child(child: int) -> None:
    """Kill a child and its process group, and reap it."""
    for target in (-child, child):
        try:
            os.kill(target, _SIGKILL)
        except OSError:
            continue  # it has ended, or has not made its session yet
    end = time.monotonic() + REAP_SECONDS
    while time.monotonic() < end:
        try:
            if os.waitpid(child, os.WNOHANG)[0] != 0:
                return
        except ChildProcessError:  # the caller's parent ignores SIGCHLD, so the kernel reaped it
            return
        time.sleep(0.001)
