"""When a request is sent again: transient failures, few times, never beyond the deadline."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from urllib3.exceptions import InvalidHeader
from urllib3.util import Retry

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import RegistryError
from slsa_verifier_plugin.network.faults import StatusError
from slsa_verifier_plugin.registry import limits

NEEDED_SECONDS = 0.02
"""Time that must be left after a wait for another attempt to make sense."""

T = TypeVar("T")

# Only for its parser, which reads seconds and dates.
_RETRY = Retry(retry_after_max=24 * 3600)


def retried(
    attempt: Callable[[], T],
    deadline: Deadline,
    most: int = limits.MAX_ATTEMPTS,
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """Return what ``attempt`` returns, once it succeeds; raise its last ``RegistryError`` where no other attempt makes sense.

    The wait between two attempts is the registry's own where the error is a ``StatusError`` with a ``Retry-After``.

    Args:
        attempt: one attempt.
        deadline: the end of the operation.
        most: attempts, the first included; 1 where a larger operation is repeated as a whole.
        sleep: waits; tests replace it.
    """
    made = 0
    while True:
        try:
            return attempt()
        except RegistryError as error:
            made += 1
            asked = seconds_of(error.retry_after) if isinstance(error, StatusError) else None
            # The registry's own wait counts, 0 as well: whoever comes back sooner is refused again (RFC 9110, 10.2.3).
            delay = asked if asked is not None else _backoff(made)
            # With a wait that ends too close to the deadline the reason is still the registry's, and known early.
            is_late = delay + NEEDED_SECONDS >= deadline.remaining()
            if not error.transient or made >= most or is_late:
                # The last failure, not "too many attempts": it says what people have to look at.
                raise
        # The caller waits ``aside`` where it is one of many (``store``), so another call works meanwhile.
        sleep(delay)


def _backoff(made: int) -> float:
    base: float = min(limits.FIRST_BACKOFF_SECONDS * 2 ** (made - 1), limits.MAX_BACKOFF_SECONDS)
    # Spread, or all callers that met one fault would come back at once.
    return base * (1 + random.random() / 2)  # noqa: S311  (spreads callers, guards nothing)


def seconds_of(retry_after: str) -> float | None:
    """Return the seconds that a ``Retry-After`` asks for (RFC 9110, 10.2.3), None where it cannot be read."""
    try:
        return float(_RETRY.parse_retry_after(retry_after))
    except (InvalidHeader, ValueError, TypeError, OverflowError):
        # The last three are of email.utils, for dates that no calendar has.
        return None
