"""A verification in a process of its own, which may crash, hang or be killed without taking the answer with it.

The parent only waits. Success is printed only if the child said so in full and in time; whatever else becomes of the child is
an answer that the caller of ``run_isolated`` chose before, which is a denial.
"""

import os
import select
import time

from slsa_verifier_plugin.resident.protocol import (
    ANSWER,
    HEADER_BYTES,
    MAX_REPLY,
    Answer,
    FrameError,
    decode_answer,
    encode_answer,
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
_SIGKILL = 9  # on every Linux; importing signal costs the waiting process 5 ms and a megabyte
_CHUNK = 65536


def run_isolated(work: "Callable[[], Answer]", seconds: float, on_timeout: bytes, on_crash: bytes) -> Answer:
    """Run ``work`` in a fork of this process and return its answer.

    The child has a session of its own, nothing but ``/dev/null`` as standard files and none of its parent's other
    descriptors, so neither it nor what it starts can keep the caller's output open or write to it. It is killed with all
    of its process group, whatever it answered.

    Args:
        work: returns exit status, standard output and standard error; imports what it needs.
        seconds: how long its answer is waited for.
        on_timeout: standard output for no complete answer in time, with exit status 0: a denial.
        on_crash: the same for a child that ended without a complete answer, or could not be started.
    """
    end = time.monotonic() + seconds
    try:
        reader, writer = os.pipe()
    except OSError:
        return 0, on_crash, b""
    try:
        child = os.fork()
    except OSError:
        os.close(reader)
        os.close(writer)
        return 0, on_crash, b""
    if child == 0:
        _run_child(work, writer, seconds)
    try:
        os.close(writer)
        try:
            return _receive(reader, child, end)
        except TimeoutError:
            return 0, on_timeout, b""
        except (FrameError, OSError):
            return 0, on_crash, b""
    finally:
        os.close(reader)
        end_child(child)


def _run_child(work: "Callable[[], Answer]", writer: int, seconds: float) -> "NoReturn":
    """Do the work, write the answer and end."""
    status = 1
    try:
        os.setsid()
        close_from(3, writer)
        detach_standard_files()
        import signal

        # The default action ends even a loop in C, should the parent be killed before it can do it.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(max(int(seconds), 0) + ORPHAN_SECONDS)
        data = encode_answer(work())
        while data:
            data = data[os.write(writer, data) :]
        status = 0
    finally:
        # An exception ends here too: the missing answer tells, and a traceback has nowhere to go.
        os._exit(status)


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
            answer = _complete(buffer)
            if answer is not None:
                return answer
    finally:
        if death >= 0:
            os.close(death)


def _complete(buffer: bytearray) -> Answer | None:
    """Return the answer in ``buffer``, or None while bytes are missing.

    Raises:
        FrameError: it is none.
    """
    if len(buffer) < HEADER_BYTES:
        return None
    kind, length = parse_header(buffer, MAX_REPLY)
    if kind != ANSWER:
        raise FrameError("a frame that is not expected")
    if len(buffer) < HEADER_BYTES + length:
        return None
    return decode_answer(bytes(buffer[HEADER_BYTES : HEADER_BYTES + length]))


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
