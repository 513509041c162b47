"""Turns errors about a place into errors for a person at the command line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from slsa_verifier_plugin.errors import UsageError
from slsa_verifier_plugin.resident.place import PlaceError
from slsa_verifier_plugin.text import plain, quoted


@contextmanager
def usage_errors(doing: str) -> Iterator[None]:
    """Turn what the system or the place refuses in the block into an error for people.

    Args:
        doing: what cannot be done then, after "cannot".

    Raises:
        UsageError: the place must not be used, or the system refused something.
    """
    try:
        yield
    except PlaceError as error:
        raise UsageError(f"{error.problem}: {quoted(error.path)}") from error
    except OSError as error:
        # The system's word for it, without the path that ``str`` would add.
        raise UsageError(f"cannot {doing}: {plain(error.strerror or error)}") from error
