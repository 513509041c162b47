"""Starts the programs of the cluster, keeps their output, and ends them by process id."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_STOP_SECONDS = 15.0
_POLL_SECONDS = 0.05


class ProcessDiedError(RuntimeError):
    """A program of the cluster ended, or did not come up in time; the message has the end of its output."""


class Processes:
    """The running programs by name, with one log file each."""

    def __init__(self, logs: Path) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        self._logs = logs
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(
        self, name: str, command: Sequence[str | Path], environment: Mapping[str, str] | None = None
    ) -> None:
        """Start ``command`` in a session of its own; its output goes to the log of that name."""
        if self.is_alive(name):
            raise ProcessDiedError(f"{name} is already running")
        with self.log(name).open("ab") as output:
            self._running[name] = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={"PATH": os.environ["PATH"], **(environment or {})},
                start_new_session=True,
            )

    def log(self, name: str) -> Path:
        """Return the file that holds the output of ``name``."""
        return self._logs / f"{name}.log"

    def is_alive(self, name: str) -> bool:
        """Tell whether ``name`` was started and has not ended."""
        return name in self._running and self._running[name].poll() is None

    def process_id(self, name: str) -> int:
        """Return the process id of ``name``."""
        return self._running[name].pid

    def wait_until(self, condition: Callable[[], bool], name: str, what: str, seconds: float = 60.0) -> None:
        """Wait for ``condition``, which may raise OSError while ``name`` is not up yet.

        Raises:
            ProcessDiedError: ``name`` ended, or ``seconds`` have passed.
        """
        end = time.monotonic() + seconds
        while True:
            with contextlib.suppress(OSError):
                if condition():
                    return
            if not self.is_alive(name):
                raise ProcessDiedError(f"{name} ended while waiting until {what}:\n{self._tail(name)}")
            if time.monotonic() > end:
                raise ProcessDiedError(f"{name}: not in {seconds:.0f} s: {what}\n{self._tail(name)}")
            time.sleep(_POLL_SECONDS)

    def stop(self, name: str) -> None:
        """End ``name`` and all of its session; kill what does not end by itself."""
        process = self._running.pop(name, None)
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def kill(self, name: str) -> None:
        """Kill ``name`` and all of its session at once, as a node that fails would."""
        process = self._running.pop(name)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def stop_all(self) -> None:
        """End everything at once, last started first: nothing of it is to be kept."""
        for name in reversed(list(self._running)):
            self.kill(name)

    def _tail(self, name: str) -> str:
        return "\n".join(self.log(name).read_text(errors="replace").splitlines()[-15:])
