"""Programs on a terminal of their own."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

SECONDS = 60


def fork_on_terminal(main: Callable[[], int], columns: int, environ: Mapping[str, str]) -> tuple[int, str]:
    """Call ``main`` in a fork of this process, on a terminal of that width; return as ``run_on_terminal`` does.

    What is loaded here need not be loaded again: an interpreter of its own takes a second for that.
    """
    child, master = pty.fork()
    if child == 0:
        status = 70
        try:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
            os.environ.clear()
            os.environ.update(environ)
            sys.stdin = os.fdopen(0, encoding="utf-8")
            sys.stdout, sys.stderr = (os.fdopen(number, "w", encoding="utf-8") for number in (1, 2))
            status = main()
            sys.stdout.flush()
        finally:
            os._exit(status)
    written = _all_of(master)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), written


def run_on_terminal(
    command: Sequence[str], columns: int, folder: Path, environ: Mapping[str, str]
) -> tuple[int, str]:
    """Run ``command`` on a terminal of that width; return its exit status and what it wrote, colours and all."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    child = subprocess.Popen(command, cwd=folder, env=dict(environ), stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    written = _all_of(master)
    return child.wait(SECONDS), written


def _all_of(master: int) -> str:
    """Return what is written to a terminal until its other side is closed."""
    written = b""
    try:
        while chunk := os.read(master, 65536):
            written += chunk
    except OSError:  # the other side is closed: the program has ended
        pass
    finally:
        os.close(master)
    return written.decode("utf-8").replace("\r\n", "\n")
