"""Programs on a terminal of their own."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path

SECONDS = 60


def run_on_terminal(
    command: Sequence[str], columns: int, folder: Path, environ: Mapping[str, str]
) -> tuple[int, str]:
    """Run ``command`` on a terminal of that width; return its exit status and what it wrote, colours and all."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    child = subprocess.Popen(command, cwd=folder, env=dict(environ), stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    written = b""
    try:
        while chunk := os.read(master, 65536):
            written += chunk
    except OSError:  # the terminal's other side is closed: the program has ended
        pass
    finally:
        os.close(master)
    return child.wait(SECONDS), written.decode("utf-8").replace("\r\n", "\n")
