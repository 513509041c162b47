"""Reads files anew when they change. What is broken changes nothing: what was read last counts on, and everybody is told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from slsa_verifier_plugin.errors import UsageError
from slsa_verifier_plugin.provider.decision_log import DecisionLog
from slsa_verifier_plugin.provider.file_stamps import stamp_of
from slsa_verifier_plugin.provider.provider_metrics import ProviderMetrics

LOOK_SECONDS = 1.0
"""Seconds between two looks at the files: a kubelet takes a minute to bring a change of a Secret to its Pods."""


class Reloader:
    """One kind of files and what is made of them.

    Args:
        what: names them, for log and metrics.
        paths: returns the files that count now; folders too, for what is added to them.
        load: reads them, and lets what it made count; raises ``UsageError``.
    """

    def __init__(self, what: str, paths: Callable[[], Iterable[str]], load: Callable[[], None]) -> None:
        self.what = what
        self._paths = paths
        self._load = load
        self._stamp = stamp_of(())

    def begin(self) -> None:
        """Read the files for the first time.

        Raises:
            UsageError: they are broken, and there is nothing else to count.
        """
        self._stamp = self._now()
        self._load()

    def look(self, log: DecisionLog, metrics: ProviderMetrics) -> None:
        """Read the files anew where they have changed since the last look."""
        # Taken before they are read: what is written meanwhile is found at the next look.
        stamp = self._now()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._load()
        except Exception as error:  # noqa: BLE001 (a file that nobody foresaw must not end the look-out)
            words = str(error) if isinstance(error, UsageError) else f"an unforeseen {type(error).__name__}"
            log.event(
                "reload", what=self.what, outcome="failed", message=f"{words}; the files read before count on"
            )
            metrics.reloads.labels(self.what, "failed").inc()
            metrics.stale.labels(self.what).set(1)
        else:
            log.event("reload", what=self.what, outcome="done")
            metrics.reloads.labels(self.what, "done").inc()
            metrics.stale.labels(self.what).set(0)

    def _now(self) -> tuple[tuple[str, int, int, int], ...]:
        try:
            return stamp_of(self._paths())
        except UsageError:
            # A folder that is not there at this moment; the next look may find it.
            return stamp_of(())


class LookOut(threading.Thread):
    """Looks at all files now and then, in a thread: they may be on a disk that answers late.

    Args:
        reloaders: what to look at.
        log: told of what was read anew.
        metrics: told too.
    """

    def __init__(self, reloaders: Iterable[Reloader], log: DecisionLog, metrics: ProviderMetrics) -> None:
        super().__init__(name="look-out", daemon=True)
        self._reloaders = tuple(reloaders)
        self._log = log
        self._metrics = metrics
        self._end = threading.Event()

    def run(self) -> None:
        """Look until the end."""
        while not self._end.wait(LOOK_SECONDS):
            for reloader in self._reloaders:
                reloader.look(self._log, self._metrics)

    def end(self) -> None:
        """Look no more."""
        self._end.set()
