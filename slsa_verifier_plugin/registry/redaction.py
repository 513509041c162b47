"""Takes secrets out of text, whoever wrote it: messages, a server's explanation, what a probe shows."""

from __future__ import annotations

import base64
import re
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from urllib.parse import quote, quote_plus

from slsa_verifier_plugin.errors import RegistryError
from slsa_verifier_plugin.text import plain

SHORTEST_SECRET = 6
"""Characters from which on a secret is searched for in messages: shorter ones occur in ordinary words."""

MAX_SECRETS = 32
"""Secrets remembered, the oldest out first: tokens are renewed for as long as a process lives."""

MAX_EXPLANATION = 240
"""Characters of a server's own explanation that a message shows."""

_FRAGMENT = 8
"""Characters of a secret that give it away: an explanation with as many in a row is not shown at all."""


class Redactor:
    """Knows secrets and takes them out of text; safe for many threads.

    Args:
        secrets: those known already.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets: deque[str] = deque(maxlen=MAX_SECRETS)
        self.add(*secrets)

    def add(self, *secrets: str) -> None:
        """Take note of more secrets."""
        self._secrets.extend(secret for secret in secrets if secret and secret not in self._secrets)

    def hide(self, text: str) -> str:
        """Return ``text`` with "(secret)" for each secret, in whatever case: hosts are written in lower case."""
        for secret in tuple(self._secrets):
            # Plain search first, for the pattern is compiled for each secret and message.
            if len(secret) >= SHORTEST_SECRET and secret.lower() in text.lower():
                text = re.sub(re.escape(secret), "(secret)", text, flags=re.IGNORECASE)
        return text

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Take every secret out of the message of a ``RegistryError`` that passes.

        Messages repeat hosts that a registry names, and it could name one after the token it was shown.
        """
        try:
            yield
        except RegistryError as error:
            message = self.hide(error.message)
            # Nothing was hidden: the error goes on as it is, with its type and its cause.
            if message == error.message:
                raise
            # ``from None``: the error before has the secret in it, and a traceback would show it.
            raise RegistryError(message, reason=error.reason, transient=error.transient) from None


def explained(text: object, secrets: Iterable[str] = (), limit: int = MAX_EXPLANATION) -> str:
    """Return a server's explanation in quotes, safe to show; a text that repeats a part of a secret is withheld.

    Args:
        text: what the server said; anything but a string, or an empty one, gives "no explanation".
        secrets: what was sent to it or received from it; looked for as it is, URL-encoded and in base64.
        limit: characters shown.
    """
    if not isinstance(text, str) or not text.strip():
        return "no explanation"
    # Withheld and not redacted: a foreign service may cut, encode or wrap what it repeats.
    if any(_gives_away(text, form) for secret in secrets for form in _forms(secret)):
        return "an explanation that repeats a secret and is not shown"
    # Double quotes within become single ones, so that the message shows where the foreign text ends.
    return '"' + plain(" ".join(text.split()), limit).replace('"', "'") + '"'


def _forms(secret: str) -> tuple[str, ...]:
    # Without padding, which some writers leave out.
    encoded = base64.b64encode(secret.encode("utf-8", "surrogatepass")).decode("ascii").rstrip("=")
    safe = secret.encode("utf-8", "replace").decode("utf-8")
    return secret, quote(safe), quote_plus(safe), encoded


def _gives_away(text: str, secret: str) -> bool:
    if len(secret) < _FRAGMENT:
        # Shorter than a fragment, it can only be there as a whole.
        return bool(secret) and secret in text
    # A set of the text's fragments: a token of 20,000 characters is looked for in linear time.
    fragments = {text[start : start + _FRAGMENT] for start in range(len(text) - _FRAGMENT + 1)}
    return any(secret[start : start + _FRAGMENT] in fragments for start in range(len(secret) - _FRAGMENT + 1))
