"""Looks once a second whether a resident verifier has a reason to end."""

from __future__ import annotations

import faulthandler
import gc
import time
from pathlib import Path

from slsa_verifier_plugin.resident.server import housekeeping
from slsa_verifier_plugin.resident.server.errorlog import ErrorLog, describe
from slsa_verifier_plugin.resident.server.handler import CallHandler
from slsa_verifier_plugin.resident.server.pool import Pool
from slsa_verifier_plugin.resident.server.server_settings import ServerSettings

_AFTER_TRIM = 0.9
"""Share of the memory limit that must be undercut once the caches are empty."""


class Watchdog:
    """Keeps house for one resident verifier.

    A watchdog that needs no interpreter lock ends the process, with every thread's stack in the log, once ``look`` has not been
    called for ``watchdog_seconds``.

    Args:
        service: its caches are emptied where memory is short.
        settings: limits.
        path: the verifier's socket file; must be there.
        pool: the workers.
        log: gets what went wrong.
    """

    def __init__(
        self, service: CallHandler, settings: ServerSettings, path: str, pool: Pool, log: ErrorLog
    ) -> None:
        self._service = service
        self._settings = settings
        self._path = path
        self._pool = pool
        self._log = log
        self._identity = housekeeping.file_identity(path)
        # Beside it (``place.Place``); a verifier whose claim is gone could not be ended by callers, once it hangs.
        self._claim = str(Path(path).with_name("server"))
        self._claimed = housekeeping.file_identity(self._claim)
        self._sources = housekeeping.source_state()
        self._next_sources = time.monotonic() + settings.source_seconds
        self._frozen = False

    def heartbeat(self) -> None:
        """Restart the watchdog's time."""
        # A thread of C code: it also ends a process whose interpreter lock a loop in a library never gives back.
        descriptor = self._log.descriptor if self._log.descriptor >= 0 else 2
        faulthandler.dump_traceback_later(self._settings.watchdog_seconds, exit=True, file=descriptor)

    def stop(self) -> None:
        """Switch the watchdog off."""
        faulthandler.cancel_dump_traceback_later()

    def owns_socket(self) -> bool:
        """Return True while the socket file is the one that was there at the beginning."""
        return housekeeping.file_identity(self._path) == self._identity

    def look(self, last_call: float) -> str:
        """Return the reason to end, empty for none.

        Args:
            last_call: when the latest call came, by ``time.monotonic``.
        """
        now = time.monotonic()
        if not self._frozen and self._pool.warm.is_set():
            # What is loaded by now stays; the collector need not look at it again and again.
            self._frozen = True
            gc.collect()
            gc.freeze()
        # Whoever removed the file wants another verifier, or a system's tidying of /tmp did: no caller finds this one any more.
        if not self.owns_socket():
            return self._reported("its socket is gone or another's")
        if housekeeping.file_identity(self._claim) != self._claimed:
            return self._reported("its claim is gone or another's")
        # The next call starts another one, for half a second; until then 75 MiB are free.
        if self._settings.idle_seconds and now - last_call >= self._settings.idle_seconds:
            return "nobody called"
        # A call that loops in C code keeps its thread and a processor for ever.
        if self._pool.late(self._settings.late_seconds):
            return self._reported("a verification does not end")
        # Once a few seconds: it walks over the whole package.
        if now >= self._next_sources:
            self._next_sources = now + self._settings.source_seconds
            # An upgrade in place: a module that is imported later would be of the new version, among old ones.
            if housekeeping.source_state() != self._sources:
                return self._reported("its source files have changed")
        return self._look_at_memory()

    def _look_at_memory(self) -> str:
        limit = self._settings.memory_bytes
        # None without /proc: then the limit of the Pod is the only one.
        before = housekeeping.resident_bytes()
        if before is None or before <= limit:
            return ""
        # What is kept for speed goes first: many policies and images may simply have been seen.
        try:
            self._service.trim()
        except Exception as error:  # noqa: BLE001 (then the memory shows it)
            self._log.add(f"emptying the caches failed: {describe(error)}")
        housekeeping.release_memory()
        after = housekeeping.resident_bytes() or 0
        self._log.add(
            f"{before >> 20} MiB are over the limit of {limit >> 20}, {after >> 20} with empty caches"
        )
        # Nine tenths and not all: else it would empty its caches every second.
        return self._reported("it needs too much memory") if after > limit * _AFTER_TRIM else ""

    def _reported(self, reason: str) -> str:
        self._log.add(f"ending, because {reason}")
        return reason
