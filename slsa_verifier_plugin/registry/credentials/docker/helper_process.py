"""Runs a credential helper: with a deadline, bounded output, and no child left behind."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
from collections.abc import Mapping, Sequence

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.registry import limits


class HelperError(Exception):
    """A helper that could not be run, took too long or said too much; the text says which, without its output."""


def run_helper(
    command: Sequence[str], given: bytes, environ: Mapping[str, str], deadline: Deadline
) -> tuple[int, bytes]:
    """Run ``command``, hand it ``given``; return its exit status and what it wrote to its standard output, which is secret.

    It runs in a process group of its own, which is killed whole when this returns: a helper may have started others.

    Args:
        command: the program's full path and its arguments.
        given: a few bytes for its standard input.
        environ: its environment.
        deadline: the end of waiting.

    Raises:
        HelperError: it cannot be started, ran out of time or wrote more than 64 KiB.
    """
    try:
        process = subprocess.Popen(  # noqa: S603  (the name was checked, and comes from the user's configuration)
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Some helpers write the secret there with a message.
            stderr=subprocess.DEVNULL,
            env=dict(environ),
            # A group of its own, which can be killed whole.
            start_new_session=True,
        )
    except OSError as error:
        raise HelperError(f"it cannot be run ({error.strerror})") from None
    try:
        output = _converse(process, given, deadline)
        # The output is complete; a helper may still run on after it has closed its end.
        status = process.wait(timeout=max(deadline.remaining(), 0.001))
    except subprocess.TimeoutExpired:
        raise HelperError("it did not end in time") from None
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            # Also after it ended well: it may have left a child that holds the pipe.
            os.killpg(process.pid, signal.SIGKILL)
        # Takes the exit status, or the process would stay as a zombie.
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                # Closing sends what is left in the buffer, and the helper may have ended without reading it.
                with contextlib.suppress(OSError):
                    stream.close()
    return status, output


def _converse(process: subprocess.Popen[bytes], given: bytes, deadline: Deadline) -> bytes:
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(BrokenPipeError):  # it may end without reading
        process.stdin.write(given)  # far less than a pipe holds, so this does not wait
        process.stdin.close()
    output = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            # A helper that asks on a terminal waits for an answer that never comes.
            if deadline.expired() or not selector.select(deadline.remaining()):
                raise HelperError("it did not answer in time")
            piece = os.read(process.stdout.fileno(), 4096)
            # The end: every process that had the pipe has closed it.
            if not piece:
                return bytes(output)
            output += piece
            # Its output is held in memory.
            if len(output) > limits.MAX_HELPER_BYTES:
                raise HelperError(f"it wrote more than {limits.MAX_HELPER_BYTES} bytes")
