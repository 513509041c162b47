"""Reads what a provider is told: Ratify's ``authProvider`` object and the environment.

Ratify decodes the object with Go's ``encoding/json``, which matches names without regard to case (an exact match
wins) and takes null for absent; so does this. Ratify passes over names that it does not know; here they are
errors, because a misspelt key would otherwise be a setting that is silently not applied.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from slsa_verifier_plugin.errors import RegistryError
from slsa_verifier_plugin.members import kind_of_value
from slsa_verifier_plugin.registry.credentials.credential_failures import failed
from slsa_verifier_plugin.regular_files import read_regular
from slsa_verifier_plugin.text import nearest, plain, quoted

STEP_CONFIG = "reading its configuration"
STEP_ENVIRONMENT = "reading the environment"

MAX_TOKEN_BYTES = 64 * 1024
"""Bytes of a token file; service account tokens are under 4 KiB, Alibaba's STS takes 20,000 characters."""


class Options:
    """Typed access to a provider's configuration object.

    Args:
        provider: the provider's name, for messages.
        config: the object; ``name`` is always allowed.
        keys: the names that Ratify v1.4.4 knows for this provider.
        where: how the object is called in messages.

    Raises:
        RegistryError: an unknown name; the nearest known one is suggested. Values are never shown: one may be a
            secret in the wrong place.
    """

    def __init__(
        self, provider: str, config: Mapping[str, object], keys: Sequence[str], where: str = "authProvider"
    ) -> None:
        self._provider = provider
        self._where = where
        known = {key.lower(): key for key in ("name", *keys)}
        self._values: dict[str, object] = {}
        for name, value in config.items():
            # Go's encoding/json matches names without regard to case.
            key = known.get(name.lower())
            # Ratify passes over it; here a misspelt key would be a setting that is silently not applied.
            if key is None:
                near = nearest(name, known.values())
                hint = f"; did you mean {near}?" if near else f"; it knows {', '.join(known.values())}"
                raise self.error(f"{where} has an unknown key {quoted(name, 60)}{hint}")
            # The exact name wins, wherever it stands.
            if name == key or key not in self._values:
                self._values[key] = value

    def text(self, key: str) -> str:
        """Return a string, "" where it is absent."""
        # null is absent, as to Go.
        value = self._values.get(key)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise self._wrong(key, "a string", value)
        return value

    def texts(self, key: str) -> list[str]:
        """Return a list of non-empty strings, [] where it is absent."""
        expected = "a list of strings that are not empty"
        return self._list(key, expected, lambda item: isinstance(item, str) and item != "")

    def objects(self, key: str, keys: Sequence[str]) -> list[Options]:
        """Return a list of objects that know ``keys``, [] where it is absent."""
        items = self._list(key, "a list of objects", lambda item: isinstance(item, Mapping))
        return [
            Options(self._provider, item, keys, f"{self._where}.{key}[{number}]")
            for number, item in enumerate(items)
        ]

    def error(self, detail: str) -> RegistryError:
        """Return the error for a configuration that cannot be used."""
        return failed(self._provider, STEP_CONFIG, detail)

    def required(self, key: str) -> str:
        """Return a string that must be there.

        Raises:
            RegistryError: it is absent or empty.
        """
        value = self.text(key)
        if not value:
            raise self.error(f"{self._where}.{key} is missing")
        return value

    def _list(self, key: str, expected: str, fits: Callable[[object], bool]) -> list[Any]:
        value = self._values.get(key)
        # null is absent, as to Go.
        if value is None:
            return []
        if not isinstance(value, list) or not all(map(fits, value)):
            raise self._wrong(key, expected, value)
        return value

    def _wrong(self, key: str, expected: str, value: object) -> RegistryError:
        return self.error(f"{self._where}.{key} is {kind_of_value(value)}, expected {expected}")


def variables(provider: str, environ: Mapping[str, str], names: Sequence[str], advice: str) -> list[str]:
    """Return the values of environment variables that must all be set.

    Args:
        provider: the provider's name, for messages.
        environ: the environment.
        names: the variables, as Ratify v1.4.4 requires them.
        advice: who usually sets them, as a sentence without its end.

    Raises:
        RegistryError: one or more are not set or empty.
    """
    # All of them at once, so that nobody has to set one after the other.
    missing = [name for name in names if not environ.get(name)]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise failed(provider, STEP_ENVIRONMENT, f"{', '.join(missing)} {verb} not set; {advice}")
    return [environ[name] for name in names]


def token_file(provider: str, variable: str, path: str) -> str:
    """Return the token in a file that the platform renews in place, so it is read at every use.

    Args:
        provider: the provider's name, for messages.
        variable: where the path comes from, for messages.
        path: the file.

    Raises:
        RegistryError: it cannot be read, is empty, too long or not text.
    """
    step = f"reading the token file of {variable}"
    try:
        # Read at each use: the kubelet replaces the file before its token ends.
        content = read_regular(path, MAX_TOKEN_BYTES + 1)
    # ValueError: a NUL byte in the path.
    except (OSError, ValueError) as error:
        detail = getattr(error, "strerror", None) or "the path is not usable"
        raise failed(provider, step, f"{quoted(path)}: {plain(detail)}") from None
    # A path in the environment may lead to anything, /dev/zero included.
    if len(content) > MAX_TOKEN_BYTES:
        raise failed(provider, step, f"{quoted(path)} has more than {MAX_TOKEN_BYTES} bytes")
    # latin-1 takes every byte; what is not ASCII is refused below, in words of our own.
    token = content.decode("latin-1").strip()
    # An empty file may be in the middle of being renewed; anything else stays as it is.
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise failed(provider, step, f"{quoted(path)} holds no token", transient=not content)
    return token
