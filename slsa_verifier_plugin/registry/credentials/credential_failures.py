"""How the credential providers fail, and what they may say about it: the provider, the step, never a secret."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterable, Sequence
from typing import Any

from slsa_verifier_plugin.errors import Reason, RegistryError
from slsa_verifier_plugin.text import plain

_NEVER = logging.CRITICAL + 1


def failed(provider: str, step: str, detail: str, *, transient: bool = False) -> RegistryError:
    """Return the error for a step of a provider's work that did not succeed.

    Args:
        provider: the provider's name, as in ``authProvider.name``.
        step: what was being done, as it completes "while ...": "exchanging the token at sts.amazonaws.com".
        detail: what was found and what to do; foreign text in it went through ``redaction.explained`` or ``plain``.
        transient: True where the same call may succeed later.
    """
    # Not at the top: ``faults`` imports ssl, and most calls read Docker's file and find nothing wrong.
    from slsa_verifier_plugin.network.faults import RETRY_HELPS

    return RegistryError(
        f"the credential provider {provider} failed at: {step}: {detail}{RETRY_HELPS if transient else ''}",
        reason=Reason.REGISTRY_CREDENTIALS,
        transient=transient,
    )


def libraries(provider: str, extra: str, modules: Sequence[str], loggers: Sequence[str]) -> list[Any]:
    """Return the imported ``modules`` of a cloud's SDK, with its ``loggers`` silenced.

    The SDKs are extras: nothing imports them before the provider is chosen and used.

    Raises:
        RegistryError: one is not installed; names the extra to install.
    """
    try:
        found = [importlib.import_module(name) for name in modules]
    except ImportError as error:
        # The module that was not found may be one that the SDK itself imports.
        missing = plain(error.name or modules[0])
        raise failed(
            provider,
            "loading its library",
            f"the Python module {missing} is not usable here; install slsa-verifier-plugin[{extra}]",
        ) from None
    # After the import, which gives some of them handlers of their own.
    silence(loggers)
    return found


def silence(names: Iterable[str]) -> None:
    """Take the loggers ``names`` and those below them out of service, whatever the application's log settings.

    The SDKs write tokens, signed requests and whole answers to their loggers, some of them to standard error
    without having been asked; and a line of theirs with braces there would be read by Ratify as a result.
    """
    for name in names:
        logger = logging.getLogger(name)
        # A logger without any handler writes warnings to standard error (logging's "last resort").
        logger.handlers = [logging.NullHandler()]
        logger.propagate = False
        logger.setLevel(_NEVER)
