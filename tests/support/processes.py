"""Processes as tests see them: whether they are there, stopped or ended; and waiting for a condition."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path

FAR = 60.0
"""Seconds that a condition has to become true, on however busy a machine."""


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """Kill a server and wait for its end, whoever its parent is."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(descriptor, number)
        assert has_ended(descriptor, FAR)
    except ProcessLookupError:
        pass
    finally:
        os.close(descriptor)
    reap(pid)


def is_there(pid: int) -> bool:
    """Return True for a process that runs, or whose end its parent has not noticed yet."""
    return Path(f"/proc/{pid}").exists()


def is_stopped(pid: int) -> bool:
    """Return True once a process has stopped: after the signal for it, and its next turn on a processor."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def children(thread: int) -> set[str]:
    """Return the processes that a thread has started, dead ones that nobody waited for among them."""
    return set(Path(f"/proc/{thread}/task/{thread}/children").read_text().split())


def open_files(pid: int | str) -> dict[int, str]:
    """Return what the descriptors of a process lead to, without those that are closed while it is looked at."""
    files = {}
    for name in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208
        with contextlib.suppress(FileNotFoundError):
            files[int(name)] = str(Path(f"/proc/{pid}/fd/{name}").readlink())
    return files


def has_ended(descriptor: int, seconds: float) -> bool:
    """Wait for the end of the process behind a process descriptor."""
    return bool(select.select([descriptor], [], [], seconds)[0])


def wait_for_end(pid: int, seconds: float = FAR) -> bool:
    """Wait for the end of a process, and reap it if it is a child of this one."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return has_ended(descriptor, seconds)
    finally:
        os.close(descriptor)
        reap(pid)


def number_in_status(pid: int, name: str) -> int:
    """Return a number of ``/proc/PID/status`` (proc_pid_status(5)); 0 where the process has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), 0)


def size_of_descriptor_table(pid: int) -> int:
    """Return how many descriptors a process may have before the kernel must make its table larger."""
    return number_in_status(pid, "FDSize")


def reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def wait_until(condition: Callable[[], object], seconds: float = FAR) -> None:
    """Wait until something is true; fails if that takes longer."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not become true in time"
        time.sleep(0.01)
