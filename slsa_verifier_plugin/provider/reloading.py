"""Reads files again when they change. Where they are broken then, the last good ones stay in use; log and metrics say so."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from slsa_verifier_plugin.errors import UsageError
from slsa_verifier_plugin.provider.decision_log import DecisionLog
from slsa_verifier_plugin.provider.provider_metrics import ProviderMetrics
from slsa_verifier_plugin.regular_files import Stamp, stamp_of

LOOK_SECONDS = 1.0
"""Seconds between two looks at the files: a kubelet takes a minute to bring a change of a Secret to its Pods."""
RETRY_SECONDS = 10.0
"""Seconds after which files that failed are read once more, though none has changed: there may have been no descriptor left."""


@dataclass(slots=True)
class Reloader:
    """One kind of files and what is made of them.

    Args:
        what: names them, for log and metrics.
        paths: returns the files that count now; folders too, for what is added to them.
        load: reads them, lets what it made count, and returns what to remark on; raises ``UsageError``.
    """

    what: str
    paths: Callable[[], Iterable[str]]
    load: Callable[[], Iterable[str]]
    _stamp: Stamp = ()
    _failed: str = ""
    _retry: float = 0.0

    def begin(self) -> Iterable[str]:
        """Read the files for the first time, and return what to remark on.

        Raises:
            UsageError: they are broken, and there is nothing else to count.
        """
        # Taken before the files are read, as in ``look``.
        self._stamp = self._now()
        return self.load()

    def look(self, log: DecisionLog, metrics: ProviderMetrics) -> None:
        """Read the files anew where they have changed since the last look."""
        # Taken before they are read: what is written meanwhile is found at the next look.
        stamp = self._now()
        is_retry = stamp == self._stamp
        # Files that have not changed are read again only after a failure: it may have been the machine's.
        if is_retry and not (self._failed and time.monotonic() >= self._retry):
            return
        self._stamp = stamp
        try:
            remarks = self.load()
        except Exception as error:  # noqa: BLE001 (a file that nobody foresaw must not end the look-out)
            words = str(error) if isinstance(error, UsageError) else f"an unforeseen {type(error).__name__}"
            self._retry = time.monotonic() + RETRY_SECONDS
            # Said once, not every ten seconds.
            if is_retry and words == self._failed:
                return
            self._failed = words
            log.event(
                "reload", what=self.what, outcome="failed", message=f"{words}; the files read before count on"
            )
            metrics.reloads.labels(self.what, "failed").inc()
            metrics.stale.labels(self.what).set(1)
        else:
            self._failed = ""
            log.event("reload", what=self.what, outcome="done")
            log.remarks(remarks)
            metrics.reloads.labels(self.what, "done").inc()
            metrics.stale.labels(self.what).set(0)

    def _now(self) -> Stamp:
        try:
            return stamp_of(self.paths())
        except UsageError:
            # A folder that is not there at this moment; the next look may find it.
            return ()


def look_out(
    reloaders: Sequence[Reloader], log: DecisionLog, metrics: ProviderMetrics, ended: threading.Event
) -> None:
    """Look at all files now and then, in a thread of its own: they may be on a disk that answers late.

    Args:
        reloaders: what to look at.
        log: told of what was read anew.
        metrics: told too.
        ended: set once nobody is to look any more.
    """
    while not ended.wait(LOOK_SECONDS):
        for reloader in reloaders:
            reloader.look(log, metrics)
