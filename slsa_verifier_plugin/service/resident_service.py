"""The resident verifier's service: it is kept warm, and refreshes trusted roots in the background.

A trusted root is never fetched while a verification waits (``docs/verification.md``): threads of their own do it, for the roots
that policies have asked for.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from slsa_verifier_plugin import ratify
from slsa_verifier_plugin.errors import TrustRootError
from slsa_verifier_plugin.policy.parameters import RootSource
from slsa_verifier_plugin.resident import protocol
from slsa_verifier_plugin.resident.processors import usable_processors
from slsa_verifier_plugin.resident.server.fork import Fork
from slsa_verifier_plugin.resident.server.server_settings import read_settings
from slsa_verifier_plugin.service.service import Service
from slsa_verifier_plugin.text import plain

if TYPE_CHECKING:
    from slsa_verifier_plugin.resident.protocol import Answer, Request
    from slsa_verifier_plugin.signatures.refresh import Refreshed

RETRY_SECONDS = 900.0
"""Seconds after which a refresh that failed is tried again."""
MAX_SOURCES = 64

Refresh = Callable[[RootSource, Mapping[str, str]], "Refreshed | None"]
CheckImage = Callable[[Service, "Request", float], "Answer"]
"""Answers a CHECK or REPORT: the service, what is asked, and the seconds that are used already."""


def _fetched(source: RootSource, environ: Mapping[str, str]) -> Refreshed | None:
    # Imported by the thread that needs it, so that no call waits for tuf.
    from slsa_verifier_plugin.signatures.refresh import refresh

    return refresh(source, environ)


@dataclass(slots=True)
class _Followed:
    """A trusted root that policies have asked for: whether a thread refreshes it, and what became of it last."""

    has_thread: bool = False
    refreshed: str = ""
    digest: str = ""
    error: str = ""


class ResidentService:
    """Implements ``resident.server.handler.CallHandler``; safe under threads.

    Args:
        environ: the process's environment.
        refresh: fetches a trusted root into its cache; tests replace it.
        checks: answer questions about whole images, by the kind of their frame; without one each is an internal error.

    Attributes:
        service: verifies; what has no Ratify around it asks it directly, within ``working``.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        refresh: Refresh = _fetched,
        checks: Mapping[int, CheckImage] | None = None,
    ) -> None:
        self._environ = environ
        settings, _ = read_settings(environ)
        # With one processor or one call at a time the other process could only take turns with this one.
        is_alone = settings.workers == 1 or usable_processors() == 1
        # Made here and started by warm_up: a fork must be made before the process has threads.
        self._fork = None if is_alone else Fork(_answerer, settings.workers)
        self.service = Service(environ, self._follow, self._ask if self._fork else None)
        self._refresh = refresh
        self._checks = checks or {}
        self._every = settings.refresh_hours * 3600.0
        self._is_warm = False
        self._lock = threading.Lock()
        self._running = 0
        self._followed: dict[RootSource, _Followed] = {}

    def handle(self, kind: int, request: Request, elapsed: float) -> Answer:
        """Return exit status, standard output and standard error for one call of Ratify, or about a whole image.

        Raises:
            LookupError: nobody here answers questions of this kind.
        """
        with self.working():
            if kind == protocol.VERIFY:
                _, *variables, stdin = request
                return self.service.respond(ratify.environment_of(*variables), stdin, elapsed)
            # The plugin alone (a container of Ratify's) answers no node and no person, and need not load what decides there.
            return self._checks[kind](self.service, request, elapsed)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Count the block as a call under way: only beside others is the process that verifies signatures of use."""
        with self._lock:
            self._running += 1
        try:
            yield
        finally:
            with self._lock:
                self._running -= 1

    def budget(self, stdin: bytes) -> float:
        """Return the seconds that the call in ``stdin`` may take."""
        return ratify.Input.of(stdin).seconds

    def warm_up(self) -> None:
        """Import and load what every call needs, and begin to refresh trusted roots."""
        try:
            # Workers take no call before this is over: the first would pay for all imports.
            self.service.warm_up()
            if self._fork is not None:
                # Now: workers wait for the end of this, and no other thread has begun.
                self._fork.start()
        # Also where it fails, for want of descriptors say: roots are refreshed all the same.
        finally:
            self._is_warm = True
            # What a policy has asked for by now, as where a server reads its policies first.
            for source in list(self._followed):
                self._follow(source)

    def close(self) -> None:
        """End the process that verifies signatures, so that nothing is left when this one ends."""
        if self._fork is not None:
            self._fork.end()

    def trim(self) -> None:
        """Drop what is kept only for speed."""
        self.service.trim()

    def status(self) -> Mapping[str, object]:
        """Return the calls so far, what is kept, and each trusted root in use and with its last refresh."""
        with self._lock:
            roots = [
                {
                    "source": plain(source.location or source.kind),
                    "refreshed": item.refreshed,
                    "digest": item.digest,
                    "error": item.error,
                }
                for source, item in self._followed.items()
            ]
        return {
            "calls": self.service.calls,
            **self.service.usage(),
            "signatureProcess": self._fork.state if self._fork else "none, for one processor or worker",
            "refreshHours": round(self._every / 3600, 3),
            "trustedRoots": roots,
        }

    def _ask(self, request: bytes) -> bytes | None:
        """Have the fork verify a signature where that leaves this process something to do meanwhile."""
        # Without the lock: a count that is not the newest changes who does the work, and nothing else.
        return self._fork.ask(request) if self._fork is not None and self._running > 1 else None

    def _follow(self, source: RootSource) -> None:
        """Have a trusted root refreshed that a policy asks for.

        Each has a thread of its own, which sleeps nearly always: one whose repository keeps its thread waiting, to the time limit
        of a refresh, holds up no other. There are at most ``MAX_SOURCES``.
        """
        # Read at each change of the file; there is nothing to fetch.
        if source.kind == "path":
            return
        with self._lock:
            # Callers name sources. Beyond the limit a root is still used as it lies in the cache; it is not refreshed here.
            if source not in self._followed and len(self._followed) >= MAX_SOURCES:
                return
            item = self._followed.setdefault(source, _Followed())
            # Before the end of warming up there must be no thread beside the one that forks.
            if item.has_thread or not self._is_warm or not self._every:
                return
            item.has_thread = True
        thread = threading.Thread(
            target=self._refresh_for_ever, args=(source,), name="trusted-root", daemon=True
        )
        # Outside of the lock: to start a thread may take long where the system is short of memory.
        try:
            thread.start()
        except RuntimeError:  # what Python raises where the system gives no thread; the next call tries again
            item.has_thread, item.error = False, "the system gives no thread for it"

    def _refresh_for_ever(self, source: RootSource) -> None:
        while True:
            time.sleep(self._refresh_once(source))

    def _refresh_once(self, source: RootSource) -> float:
        """Refresh a trusted root, note what came of it, and return the seconds until it is due again."""
        refreshed, error = None, ""
        try:
            refreshed = self._refresh(source, self._environ)
        # The copy in use stays in use; a refresh that failed denies nobody.
        except TrustRootError as failure:
            error = failure.message
        except Exception as failure:  # noqa: BLE001 (the thread must outlive what a library raises; the status tells)
            error = f"an unforeseen {type(failure).__name__}"
        with self._lock:
            item = self._followed[source]
            item.error = plain(error, 512)
            if refreshed is not None:
                # Only of a success: the age of what is in use is what an administrator looks for.
                item.refreshed = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
                item.digest = refreshed.digest
        # A failure is tried again soon, but not sooner than the refreshes that somebody has asked for.
        return min(RETRY_SECONDS, self._every) if error else self._every


def _answerer() -> Callable[[bytes], bytes]:
    # In the fork alone, which has told by now that it is ready.
    from slsa_verifier_plugin.signatures.sharing import Answerer

    return Answerer()
