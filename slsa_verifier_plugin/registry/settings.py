"""The ORAS store's settings, as Ratify hands them to a plugin (``storeConfig.store``).

Keys and types are those of Ratify v1.4.4 ``pkg/referrerstore/oras`` (``OrasStoreConf``, ``cacheConf``). Go's JSON
decoder matches names without regard to case, so ``usehttp`` means ``useHttp`` here too; an exact match wins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from slsa_verifier_plugin.errors import ContractCode, ContractError
from slsa_verifier_plugin.members import folded, kind_of_value
from slsa_verifier_plugin.text import quoted

DEFAULT_CACHE_PATH = ".ratify/local_oras_cache"
"""Where Ratify keeps its layout cache without ``localCachePath``, below the home directory."""
LOOPBACK_HTTP = "slsaLoopbackHttp"
"""The key by which the command line asks for ``loopback_http``."""


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """What the store was configured with.

    ``auth_provider`` may hold secrets, so it stays out of ``repr``; ``cache_ttl`` is in seconds. ``loopback_http``, which Ratify
    does not know, lets a registry on this machine speak plain HTTP if that is what it speaks: the command line sets it.
    """

    use_http: bool = False
    auth_provider: Mapping[str, object] | None = field(default=None, repr=False)
    local_cache_path: str | None = None
    cosign_enabled: bool = False
    cache_enabled: bool = False
    cache_ttl: int = 10
    loopback_http: bool = False

    @classmethod
    def parse(cls, store: Mapping[str, object] | None) -> StoreSettings:
        """Return the settings in ``store``, a decoded JSON object; other keys than the known ones are ignored.

        Raises:
            ContractError: code 2, a value is of another type than Ratify itself accepts. The value, which may
                be a secret in the wrong place, is not shown.
        """

        def read(name: str, kind: type, expected: str) -> Any:
            value = folded(store or {}, name)
            # True is an int in Python, and no number in JSON.
            fits = isinstance(value, kind) and not (kind is int and isinstance(value, bool))
            if value is None or fits:
                return value
            found = f"storeConfig.store.{name} is {kind_of_value(value)}"
            raise ContractError(
                ContractCode.INVALID_CONFIG,
                "the store's settings are invalid",
                f"{found}, expected {expected} ({quoted(name)} of Ratify's ORAS store)",
            )

        provider = read("authProvider", Mapping, "an object with a name")
        return cls(
            use_http=bool(read("useHttp", bool, "true or false")),
            auth_provider=None if provider is None else dict(provider),
            # An empty path is "not set" to Go.
            local_cache_path=read("localCachePath", str, "a string") or None,
            cosign_enabled=bool(read("cosignEnabled", bool, "true or false")),
            cache_enabled=bool(read("cacheEnabled", bool, "true or false")),
            cache_ttl=read("ttl", int, "a whole number of seconds") or 10,
            loopback_http=bool(read(LOOPBACK_HTTP, bool, "true or false")),
        )
