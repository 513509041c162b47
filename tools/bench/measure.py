"""Times processes, and reads what the kernel knows of their memory."""

from __future__ import annotations

import os
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Run:
    """One call: wall and CPU seconds (of the called process and its children), exit status, standard output."""

    wall: float
    cpu: float
    status: int
    stdout: bytes


@dataclass(frozen=True)
class Spread:
    """Median, first and third quartile of a series."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Return the spread of ``values``."""
        series = sorted(values)
        if len(series) < 2:
            return cls(series[0], series[0], series[0])
        low, _, high = statistics.quantiles(series, n=4)
        return cls(statistics.median(series), low, high)

    def shown(self, factor: float = 1.0, digits: int = 2) -> str:
        """Return the spread as ``median (low to high)``."""
        return f"{self.median * factor:.{digits}f} ({self.low * factor:.{digits}f} to {self.high * factor:.{digits}f})"


def call(command: list[str], stdin: bytes, environment: Mapping[str, str]) -> Run:
    """Run ``command`` once, through ``posix_spawn`` so that the measuring process's size does not count."""
    started = time.perf_counter()
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=dict(environment),
        close_fds=False,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(stdin)
        process.stdin.close()
    except BrokenPipeError:
        pass
    stdout = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stdout.close()
    return Run(wall, usage.ru_utime + usage.ru_stime, process.returncode, stdout)


def at_once(calls: list[Callable[[], Run]]) -> tuple[float, list[Run]]:
    """Make all ``calls`` at once, a thread each; return the wall seconds for all, and the runs."""
    runs: list[Run] = []
    threads = [threading.Thread(target=lambda c=one: runs.append(c())) for one in calls]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - started, runs


class MemoryWatch:
    """Samples the proportional set size of processes while it is entered; ``peak`` is in bytes.

    Args:
        executables: names that mark a process as one of those to be counted: a part of its command line.
    """

    def __init__(self, executables: list[str]) -> None:
        self._marks = executables
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.peak = 0

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.is_set():
            self.peak = max(self.peak, sum(pss(pid) for pid in self._pids()))
            self._stop.wait(0.002)

    def _pids(self) -> Iterable[int]:
        for name in os.listdir("/proc"):  # noqa: PTH208 (a sample must be quick)
            if not name.isdigit() or int(name) == os.getpid():
                continue
            try:
                line = Path(f"/proc/{name}/cmdline").read_bytes().decode("utf-8", "replace")
            except OSError:
                continue
            if any(mark in line for mark in self._marks):
                yield int(name)


def pss(pid: int) -> int:
    """Return the proportional set size of a process in bytes, 0 where it has ended."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def pss_of_all(pid: int) -> int:
    """Return the proportional set size of a process and its children in bytes."""
    return pss(pid) + sum(pss(child.pid) for child in psutil.Process(pid).children())


def cpu_seconds(pid: int) -> float:
    """Return the CPU seconds that a process and its children have used so far."""
    process = psutil.Process(pid)
    times = [item.cpu_times() for item in (process, *process.children())]
    return float(sum(item.user + item.system for item in times))
