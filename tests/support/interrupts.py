"""Programs that hear Ctrl-C and a terminal's end, wherever the tests run."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

ENDS = (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
"""What ``nohup`` and a shell's background jobs have ignored."""


@contextmanager
def heard() -> Iterator[None]:
    """Let programs that are started in the block hear Ctrl-C and a terminal's end.

    A shell that runs the tests in the background (``nohup make test &``, a job of CI) has them ignore these signals, and what
    they start inherits that (POSIX, "Signals and Error Handling" of the shell); a shell script cannot even trap them then.
    """
    before = {number: signal.getsignal(number) for number in ENDS}
    for number in ENDS:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
