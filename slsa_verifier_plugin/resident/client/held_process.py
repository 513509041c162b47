"""Holds another process, so that its number cannot mean a later one. Loaded only where one is to be ended."""

import os
import select
import signal


class HeldProcess:
    """A process by its descriptor (``pidfd_open``), which names one process for good, where a number may be given again.

    Args:
        pid: its number.

    Raises:
        ProcessLookupError: there is no such process.
        OSError: it cannot be held.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._descriptor = os.pidfd_open(pid)

    def has_ended(self, seconds: float) -> bool:
        """Wait for its end; return whether it came within ``seconds``."""
        waiter = select.poll()
        waiter.register(self._descriptor, select.POLLIN)
        # In milliseconds; poll takes a negative number as "for ever".
        return bool(waiter.poll(max(seconds, 0.0) * 1000))

    def kill(self) -> None:
        """Kill it, unless it has ended."""
        try:
            signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)
        # It may have ended by itself since it was looked at.
        except ProcessLookupError:
            return

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._descriptor)
