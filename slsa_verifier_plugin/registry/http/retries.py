"""When a request is sent again: transient failures, few times, never beyond the deadline."""

from __future__ import annotations

import email.utils
import random
import time
from collections.abc import Callable

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import RegistryError
from slsa_verifier_plugin.registry import limits

NEEDED_SECONDS = 0.02
"""Time that must be left after a wait for another attempt to make sense."""


class Retries:
    """The attempts that one operation has.

    Args:
        deadline: the end of the operation.
        sleep: waits; tests replace it.
    """

    def __init__(self, deadline: Deadline, sleep: Callable[[float], None] = time.sleep) -> None:
        self._deadline = deadline
        self._sleep = sleep
        self._attempts = 1

    def wait(self, error: RegistryError, retry_after: str = "") -> None:
        """Wait before the next attempt, or raise ``error`` if there is none.

        It is raised at once if it is not transient, the attempts are used up, or the wait (the registry's own
        where it gave one) would end too close to the deadline: the reason is then the registry's, and known early.

        Args:
            error: the failure of the attempt that has just been made.
            retry_after: that answer's ``Retry-After`` (RFC 9110, 10.2.3), "" where there was none.
        """
        asked = seconds_of(retry_after)
        delay = asked if asked is not None else self._backoff()
        if (
            not error.transient
            or self._attempts >= limits.MAX_ATTEMPTS
            or delay + NEEDED_SECONDS >= self._deadline.remaining()
        ):
            raise error
        self._attempts += 1
        self._sleep(delay)

    def _backoff(self) -> float:
        base: float = min(
            limits.FIRST_BACKOFF_SECONDS * 2 ** (self._attempts - 1), limits.MAX_BACKOFF_SECONDS
        )
        return base * (1 + random.random() / 2)  # noqa: S311  (spreads callers, guards nothing)


def seconds_of(retry_after: str) -> float | None:
    """Return the seconds that a ``Retry-After`` asks for, None where it says nothing that can be read."""
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        when = email.utils.parsedate_to_datetime(text)
        return max(0.0, when.timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None
