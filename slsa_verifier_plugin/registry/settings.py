"""The ORAS store's settings, as Ratify hands them to a plugin (``storeConfig.store``).

Keys and types are those of Ratify v1.4.4 ``pkg/referrerstore/oras`` (``OrasStoreConf``, ``cacheConf``). Go's JSON
decoder matches names without regard to case, so ``usehttp`` means ``useHttp`` here too; an exact match wins.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from slsa_verifier_plugin.errors import ContractCode, ContractError
from slsa_verifier_plugin.text import quoted

DEFAULT_CACHE_PATH = ".ratify/local_oras_cache"
"""Where Ratify keeps its layout cache without ``localCachePath``, below the home directory."""


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """What the store was configured with.

    ``auth_provider`` may hold secrets, so it stays out of ``repr``; ``cache_ttl`` is in seconds.
    """

    use_http: bool = False
    auth_provider: Mapping[str, object] | None = field(default=None, repr=False)
    local_cache_path: str | None = None
    cosign_enabled: bool = False
    cache_enabled: bool = False
    cache_ttl: int = 10

    @classmethod
    def parse(cls, store: Mapping[str, object] | None) -> StoreSettings:
        """Return the settings in ``store``, a decoded JSON object; other keys than the known ones are ignored.

        Raises:
            ContractError: code 2, a value is of another type than Ratify itself accepts. The value, which may
                be a secret in the wrong place, is not shown.
        """
        keys = _Keys(store or {})
        provider = keys.find("authProvider")
        if provider is not None and not isinstance(provider, Mapping):
            raise _wrong("authProvider", "an object with a name", provider)
        return cls(
            use_http=keys.boolean("useHttp"),
            auth_provider=None if provider is None else dict(provider),
            local_cache_path=keys.string("localCachePath") or None,
            cosign_enabled=keys.boolean("cosignEnabled"),
            cache_enabled=keys.boolean("cacheEnabled"),
            cache_ttl=keys.integer("ttl") or 10,
        )

    def fingerprint(self) -> str:
        """Return a digest that is equal for equal settings; for keys of caches, never for display."""
        values = [
            self.use_http,
            self.auth_provider,
            self.local_cache_path,
            self.cosign_enabled,
            self.cache_enabled,
            self.cache_ttl,
        ]
        return hashlib.sha256(json.dumps(values, sort_keys=True, default=repr).encode()).hexdigest()


class _Keys:
    """Reads typed values by name, exact names first."""

    def __init__(self, store: Mapping[str, object]) -> None:
        self._exact = store
        self._folded = {name.lower(): value for name, value in store.items()}

    def find(self, name: str) -> object:
        return self._exact[name] if name in self._exact else self._folded.get(name.lower())

    def boolean(self, name: str) -> bool:
        value = self.find(name)
        if value is not None and not isinstance(value, bool):
            raise _wrong(name, "true or false", value)
        return bool(value)

    def string(self, name: str) -> str:
        value = self.find(name)
        if value is not None and not isinstance(value, str):
            raise _wrong(name, "a string", value)
        return value or ""

    def integer(self, name: str) -> int:
        value = self.find(name)
        if value is None:
            return 0
        if not isinstance(value, int) or isinstance(value, bool):
            raise _wrong(name, "a whole number of seconds", value)
        return value


def _wrong(name: str, expected: str, value: object) -> ContractError:
    kind = {dict: "an object", list: "a list", str: "a string", bool: "a boolean"}.get(
        type(value), "a number"
    )
    return ContractError(
        ContractCode.INVALID_CONFIG,
        "the store's settings are invalid",
        f"storeConfig.store.{name} is {kind}, expected {expected} ({quoted(name)} of Ratify's ORAS store)",
    )
