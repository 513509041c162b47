"""What happens to installations while they are called: verifiers killed and stopped, upgrades, clocks that jump."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from tools.soak.installations import Installation, Package

JUMPS = (0, 3600, -3600, 86_400, 366 * 86_400)
"""Seconds by which a clock is off."""
STOPPED_SECONDS = 6.0
"""After which a verifier that was stopped goes on, if it is still there."""


@dataclass(frozen=True)
class Every:
    """Seconds between two of each kind of fault."""

    kill: float = 5.0
    stop: float = 17.0
    upgrade: float = 31.0
    jump: float = 7.0


class Faults:
    """Lets faults happen while it is entered.

    Args:
        installations: which suffer them.
        every: how often.
        seed: of the choices.
    """

    def __init__(self, installations: Sequence[Installation], every: Every, seed: int) -> None:
        self._installations = installations
        self._random = random.Random(seed)
        self._over = threading.Event()
        self.done: dict[str, int] = {}
        deeds = (
            (every.kill, "kills", self._kill),
            (every.stop, "stops", self._stop),
            (every.upgrade, "upgrades", self._upgrade),
            (every.jump, "clock jumps", self._jump),
        )
        self._threads = [threading.Thread(target=self._repeat, args=deed, name=deed[1]) for deed in deeds]

    def __enter__(self) -> Faults:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _repeat(self, seconds: float, name: str, deed: Callable[[Installation], bool]) -> None:
        number = 0
        while not self._over.wait(seconds):
            if deed(self._installations[number % len(self._installations)]):
                self.done[name] = self.done.get(name, 0) + 1
            number += 1

    def _kill(self, installation: Installation) -> bool:
        pids = installation.residents()
        return bool(pids) and _sent(self._random.choice(pids), signal.SIGKILL)

    def _stop(self, installation: Installation) -> bool:
        pids = installation.residents()
        if not pids:
            return False
        pid = self._random.choice(pids)
        if not _sent(pid, signal.SIGSTOP):
            return False
        self._over.wait(STOPPED_SECONDS)
        # Only if it is that process still: its id may be another's by now.
        if pid in installation.processes():
            _sent(pid, signal.SIGCONT)
        return True

    def _upgrade(self, installation: Installation) -> bool:
        installation.upgrade()
        return True

    def _jump(self, installation: Installation) -> bool:
        if not isinstance(installation, Package):
            return False
        installation.jump(self._random.choice(JUMPS))
        return True


def _sent(pid: int, number: signal.Signals) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
        return True
    return False
