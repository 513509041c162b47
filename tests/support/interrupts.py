"""Programs that hear Ctrl-C, wherever the tests run."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def heard() -> Iterator[None]:
    """Let programs that are started in the block hear Ctrl-C.

    A shell that runs the tests in the background (``nohup make test &``, a job of CI) has them ignore SIGINT, and what they start
    inherits that (POSIX, "Signals and Error Handling" of the shell).
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
