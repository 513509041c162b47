"""The resident verifier's service: it is kept warm, and refreshes trusted roots in the background.

A trusted root is never fetched while a verification waits (``docs/verification.md``): threads of their own do it, for the roots
that policies have asked for.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from slsa_verifier_plugin import ratify
from slsa_verifier_plugin.errors import TrustRootError
from slsa_verifier_plugin.policy.parameters import Policy, RootSource
from slsa_verifier_plugin.resident.processors import usable_processors
from slsa_verifier_plugin.resident.server.fork import Fork
from slsa_verifier_plugin.resident.server.server_settings import read_settings
from slsa_verifier_plugin.service.service import Service
from slsa_verifier_plugin.text import plain

if TYPE_CHECKING:
    from slsa_verifier_plugin.resident.protocol import Answer, Request
    from slsa_verifier_plugin.signatures.refresh import Refreshed
    from slsa_verifier_plugin.signatures.sharing import Ask
    from slsa_verifier_plugin.signatures.trust import LoadedRoot
    from slsa_verifier_plugin.signatures.verifier import AttestationVerifier, RootVerifier

REFRESH_VARIABLE = "SLSA_VERIFIER_REFRESH_HOURS"
"""Hours between two refreshes of a trusted root; 0 for never, as where there is no network."""
DEFAULT_REFRESH_HOURS = 24
RETRY_SECONDS = 900.0
"""Seconds after which a refresh that failed is tried again."""
MAX_SOURCES = 64

Refresh = Callable[[RootSource, Mapping[str, str]], "Refreshed | None"]
CheckImage = Callable[[Service, "Request", float], "Answer"]
"""Answers a CHECK or REPORT: the service, what is asked, and the seconds that are used already."""


@dataclass(slots=True)
class _Followed:
    """A trusted root that policies have asked for: when it is due (``time.monotonic``), and what became of it last."""

    due: float = 0.0
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
        refresh: Refresh | None = None,
        checks: Mapping[int, CheckImage] | None = None,
    ) -> None:
        self._environ = environ
        # Made here and started by warm_up: a fork must be made before the process has threads.
        self._fork = _fork(environ)
        self.service = _Service(environ, self._follow, self._ask if self._fork else None)
        self._refresh = refresh
        self._checks = checks or {}
        self._every = refresh_seconds(environ)
        self._lock = threading.Lock()
        self._running = 0
        self._wake = threading.Event()
        self._followed: dict[RootSource, _Followed] = {}

    def handle(self, request: Request, elapsed: float) -> Answer:
        """Return exit status, standard output and standard error for one call of Ratify."""
        # A variable that the caller did not set is absent, which is another error than an empty one.
        _, *variables, stdin = request
        names = (ratify.COMMAND, ratify.SUBJECT, ratify.VERSION)
        environment = {
            # As Python decodes its own environment: bytes that are no UTF-8 stay what they were.
            name: value.decode("utf-8", "surrogateescape")
            for name, value in zip(names, variables, strict=True)
            if value is not None
        }
        with self.working():
            response = self.service.respond(environment, stdin, elapsed)
        return response.status, response.stdout, response.stderr

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

    def check(self, kind: int, request: Request, elapsed: float) -> Answer:
        """Return the answer about a whole image.

        Raises:
            LookupError: nobody here answers that.
        """
        # The plugin alone (a container of Ratify's) answers no node and no person, and need not load what decides there.
        check = self._checks[kind]
        with self.working():
            return check(self.service, request, elapsed)

    def budget(self, stdin: bytes) -> float:
        """Return the seconds that the call in ``stdin`` may take."""
        return ratify.budget(stdin)

    def warm_up(self) -> None:
        """Import and load what every call needs, and begin to refresh trusted roots."""
        # Workers take no call before this is over: the first would pay for all imports.
        self.service.warm_up()
        if self._fork is not None:
            # Now: workers wait for the end of this, and no other thread has begun.
            self._fork.start()
        if self._every:
            threading.Thread(target=self._refresh_for_ever, name="trusted-roots", daemon=True).start()

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

    def refresh_due(self) -> list[threading.Thread]:
        """Begin to refresh every trusted root whose time has come; return the threads that do it.

        Each root has a thread of its own: one whose repository keeps its thread waiting, to the time limit of a refresh, holds
        up no other. There are at most ``MAX_SOURCES``.
        """
        now = time.monotonic()
        with self._lock:
            due = [source for source, item in self._followed.items() if item.due <= now]
            for source in due:
                self._followed[source].due = math.inf  # until it has ended
        threads = []
        # Outside of the lock: to start a thread may take long where the system is short of memory.
        for source in due:
            thread = threading.Thread(
                target=self._refresh_one, args=(source,), name="trusted-root", daemon=True
            )
            try:
                thread.start()
                threads.append(thread)
            except RuntimeError:  # what Python raises where the system gives no thread
                self._note(source, None, "the system gives no thread for it")
        return threads

    def next_refresh(self) -> float:
        """Return the seconds until the next trusted root is due, of those that are not being refreshed now."""
        with self._lock:
            # One that is being refreshed is due at infinity, so it wakes nobody.
            due = min((item.due for item in self._followed.values()), default=math.inf)
        # Never longer than one period: the clock of a suspended machine stands still meanwhile.
        return max(0.0, min(due - time.monotonic(), self._every))

    def _ask(self, request: bytes) -> bytes | None:
        """Have the fork verify a signature where that leaves this process something to do meanwhile."""
        # Without the lock: a count that is not the newest changes who does the work, and nothing else.
        return self._fork.ask(request) if self._fork is not None and self._running > 1 else None

    def _follow(self, source: RootSource) -> None:
        """Note that a policy has asked for ``source``."""
        # Read at each change of the file; there is nothing to fetch.
        if source.kind == "path":
            return
        with self._lock:
            # Callers name sources. Beyond the limit a root is still used as it lies in the cache; it is not refreshed here.
            if source not in self._followed and len(self._followed) < MAX_SOURCES:
                self._followed[source] = _Followed()
                self._wake.set()

    def _refresh_for_ever(self) -> None:
        while True:
            self.refresh_due()
            self._wake.wait(self.next_refresh())
            # Cleared after the wait: a wake-up that comes during a look is kept for the next.
            self._wake.clear()

    def _refresh_one(self, source: RootSource) -> None:
        refreshed, error = None, ""
        try:
            refreshed = self._refresher()(source, self._environ)
        # The copy in use stays in use; a refresh that failed denies nobody.
        except TrustRootError as failure:
            error = failure.message
        except Exception as failure:  # noqa: BLE001 (the thread must outlive what a library raises; the status tells)
            error = f"an unforeseen {type(failure).__name__}"
        self._note(source, refreshed, error)
        # The loop sleeps until another root is due: this one may be due before.
        self._wake.set()

    def _note(self, source: RootSource, refreshed: Refreshed | None, error: str) -> None:
        with self._lock:
            item = self._followed[source]
            item.error = plain(error, 512)
            # A failure is tried again soon, but not sooner than the refreshes that somebody has asked for.
            item.due = time.monotonic() + (min(RETRY_SECONDS, self._every) if error else self._every)
            if refreshed is not None:
                # Only of a success: the age of what is in use is what an administrator looks for.
                item.refreshed = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
                item.digest = refreshed.digest

    def _refresher(self) -> Refresh:
        # Imported by the thread that needs it, so that no call waits for tuf.
        if self._refresh is None:
            from slsa_verifier_plugin.signatures.refresh import refresh

            self._refresh = refresh
        return self._refresh


class _Service(Service):
    """A service that tells which trusted roots policies ask for, and has signatures verified elsewhere.

    Args:
        environ: the process's environment.
        follow: gets each trusted root.
        ask: reaches the process that verifies signatures; None where there is none.
    """

    def __init__(
        self, environ: Mapping[str, str], follow: Callable[[RootSource], None], ask: Ask | None
    ) -> None:
        super().__init__(environ)
        self._follow = follow
        self._ask = ask

    def root_verifier(self, root: LoadedRoot) -> RootVerifier:
        """Return the verifier for one trusted root, one that shares the work where there is somebody to share it with."""
        # One processor or one worker: another process could only take turns with this one.
        if self._ask is None:
            return super().root_verifier(root)
        from slsa_verifier_plugin.signatures.sharing import SharedVerifier

        return SharedVerifier(root, self._ask)

    def verifier(self, policy: Policy) -> AttestationVerifier:
        """Return the verifier for a policy, after noting its trusted roots."""
        for source in policy.roots:
            self._follow(source)
        return super().verifier(policy)


def _fork(environ: Mapping[str, str]) -> Fork | None:
    """Return the fork that verifies signatures where more than one processor is of use."""
    workers = read_settings(environ)[0].workers
    # With one processor or one call at a time the other process could only take turns with this one.
    if workers == 1 or usable_processors() == 1:
        return None
    return Fork(_answerer, workers)


def _answerer() -> Callable[[bytes], bytes]:
    # In the fork alone, which has told by now that it is ready.
    from slsa_verifier_plugin.signatures.sharing import Answerer

    return Answerer()


def refresh_seconds(environ: Mapping[str, str]) -> float:
    """Return the seconds between two refreshes, 0 for never. What is no number counts as not set."""
    value: Any = environ.get(REFRESH_VARIABLE, "")
    # A typing error must not end the refreshing: what is no number counts as the default.
    if value.isascii() and value.isdigit() and len(value) <= 5:
        return int(value) * 3600.0
    return DEFAULT_REFRESH_HOURS * 3600.0
