"""How the credential providers fail, and what they may say about it: the provider, the step, never a secret."""

from __future__ import annotations

import base64
import importlib
import logging
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import quote, quote_plus

from slsa_verifier_plugin.errors import Reason, RegistryError
from slsa_verifier_plugin.registry.faults import RETRY_HELPS
from slsa_verifier_plugin.text import plain

MAX_SAID = 240
"""Characters of a server's own explanation that a message shows."""

_FRAGMENT = 8
"""Characters of a secret that give it away: a text with as many in a row is not shown at all."""

_NEVER = logging.CRITICAL + 1


def failed(provider: str, step: str, detail: str, *, transient: bool = False) -> RegistryError:
    """Return the error for a step of a provider's work that did not succeed.

    Args:
        provider: the provider's name, as in ``authProvider.name``.
        step: what was being done, as it completes "while ...": "exchanging the token at sts.amazonaws.com".
        detail: what was found and what to do; foreign text in it went through ``said`` or ``plain``.
        transient: True where the same call may succeed later.
    """
    return RegistryError(
        f"the credential provider {provider} failed at: {step}: {detail}{RETRY_HELPS if transient else ''}",
        reason=Reason.REGISTRY_CREDENTIALS,
        transient=transient,
    )


def said(text: object, secrets: Iterable[str] = (), limit: int = MAX_SAID) -> str:
    """Return a server's explanation in quotes, safe to show; a text that repeats a part of a secret is withheld.

    Args:
        text: what the server said; anything but a string, or an empty one, gives "no explanation".
        secrets: what was sent to it or received from it; looked for as it is, URL-encoded and in base64.
        limit: characters shown.
    """
    if not isinstance(text, str) or not text.strip():
        return "no explanation"
    if any(_gives_away(text, form) for secret in secrets for form in _forms(secret)):
        return "an explanation that repeats a secret and is not shown"
    return '"' + plain(" ".join(text.split()), limit).replace('"', "'") + '"'


def _forms(secret: str) -> tuple[str, ...]:
    encoded = base64.b64encode(secret.encode("utf-8", "surrogatepass")).decode("ascii").rstrip("=")
    safe = secret.encode("utf-8", "replace").decode("utf-8")
    return secret, quote(safe), quote_plus(safe), encoded


def _gives_away(text: str, secret: str) -> bool:
    if len(secret) < _FRAGMENT:
        return bool(secret) and secret in text
    fragments = {text[start : start + _FRAGMENT] for start in range(len(text) - _FRAGMENT + 1)}
    return any(secret[start : start + _FRAGMENT] in fragments for start in range(len(secret) - _FRAGMENT + 1))


def libraries(provider: str, extra: str, modules: Sequence[str], loggers: Sequence[str]) -> list[Any]:
    """Return the imported ``modules`` of a cloud's SDK, with its ``loggers`` silenced.

    The SDKs are extras: nothing imports them before the provider is chosen and used.

    Raises:
        RegistryError: one is not installed; names the extra to install.
    """
    try:
        found = [importlib.import_module(name) for name in modules]
    except ImportError as error:
        missing = plain(error.name or modules[0])
        raise failed(
            provider,
            "loading its library",
            f"the Python module {missing} is not usable here; install slsa-verifier-plugin[{extra}]",
        ) from None
    silence(loggers)
    return found


def silence(names: Iterable[str]) -> None:
    """Take the loggers ``names`` and those below them out of service, whatever the application's log settings.

    The SDKs write tokens, signed requests and whole answers to their loggers, some of them to standard error
    without having been asked; and a line of theirs with braces there would be read by Ratify as a result.
    """
    for name in names:
        logger = logging.getLogger(name)
        logger.handlers = [logging.NullHandler()]
        logger.propagate = False
        logger.setLevel(_NEVER)
