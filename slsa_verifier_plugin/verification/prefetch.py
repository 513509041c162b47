"""Fetches several things at once, and only so many ahead, for a caller that takes them one after the other."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import suppress
from itertools import islice
from typing import Generic, TypeVar

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.permit import aside

PARTING = 0.25
"""Seconds that the end waits for fetches that are under way, so that one seldom outlives the call that it was for."""

Key = TypeVar("Key")
Value = TypeVar("Value")


def prefetched(
    keys: Sequence[Key], fetch: Callable[[Key], Value], workers: int, deadline: Deadline, doing: str
) -> Generator[tuple[Key, Value | Exception]]:
    """Yield each of ``keys`` with what ``fetch`` returned or raised for it, as soon as that is there.

    At most twice ``workers`` results exist at a time. Once the iterator is closed, nothing more is begun; what is under way is
    waited for no longer than ``PARTING`` and then ends by itself in the background, so ``fetch`` must have its own end.

    Args:
        keys: what to fetch, the first first.
        fetch: called in several threads at once; in the caller's own where one worker is enough.
        workers: fetches at a time.
        deadline: the time for all of it.
        doing: what is being done, for messages.

    Raises:
        DeadlineError: out of time.
    """
    # One worker alone is no gain over the caller.
    count = min(workers, len(keys))
    crew = _Crew(keys, fetch, count if count > 1 else 0)
    # No threads, by choice or because the system gives none: the caller fetches, one after the other.
    if not crew.threads:
        for key in keys:
            deadline.check(doing)
            yield key, _outcome(fetch, key)
        return
    try:
        for _ in keys:
            yield crew.take(deadline, doing)
    finally:
        crew.dismiss()


def _outcome(fetch: Callable[[Key], Value], key: Key) -> Value | Exception:
    try:
        # Of a worker nothing may be raised: a thread that dies would leave its caller waiting.
        return fetch(key)
    except Exception as error:  # noqa: BLE001
        # Handed to whoever takes the result, who knows what it means.
        return error


class _Crew(Generic[Key, Value]):
    """Daemon threads that fetch: a registry that hangs keeps no process from ending."""

    def __init__(self, keys: Iterable[Key], fetch: Callable[[Key], Value], count: int) -> None:
        self._keys = iter(keys)
        self._fetch = fetch
        # Bounded: a worker waits with its result, so no more is fetched ahead than a worker's own and the queue's.
        self._results: queue.Queue[tuple[Key, Value | Exception]] = queue.Queue(count)
        self._next = threading.Lock()
        self._dismissed = threading.Event()
        self.threads: list[threading.Thread] = []
        for number in range(count):
            thread = threading.Thread(target=self._work, name=f"prefetch-{number}", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                break  # a limit of processes: fewer do, or none, and the caller fetches
            self.threads.append(thread)

    def take(self, deadline: Deadline, doing: str) -> tuple[Key, Value | Exception]:
        """Return the next result."""
        with suppress(queue.Empty):
            # Without giving the permit away where a result is there already: to get it back may take a wait.
            return self._results.get_nowait()
        with aside():
            while True:
                with suppress(queue.Empty):
                    # A timeout of 0 would be an error; after the shortest wait the deadline itself is asked.
                    return self._results.get(timeout=deadline.remaining() or 1e-3)
                deadline.check(doing)

    def dismiss(self) -> None:
        """Let nothing more be begun, and wait a moment for what is under way."""
        # Workers look at this before each fetch, and never in the middle of one: a request has its own deadline.
        self._dismissed.set()
        parting = Deadline(PARTING)
        for thread in self.threads:
            while not self._results.empty():
                self._results.get()  # nobody takes it: whoever waits to hand over may go
            with aside():
                thread.join(parting.remaining())

    def _work(self) -> None:
        while not self._dismissed.is_set():
            with self._next:
                # A list, for None may be a key; the lock is held for no more than this, as iterators are not safe under
                # threads.
                found = list(islice(self._keys, 1))
            if not found:
                return
            # Once dismissed, each of the workers has a place in the emptied queue: none waits here for ever.
            self._results.put((found[0], _outcome(self._fetch, found[0])))
