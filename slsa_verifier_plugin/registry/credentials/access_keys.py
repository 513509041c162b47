"""Access keys of a cloud that signs its calls: a role's temporary ones, or those of the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class AccessKeys:
    """A cloud's access key, temporary where it has a token."""

    key_id: str
    secret: str = field(repr=False)
    token: str = field(repr=False, default="")

    def secrets(self) -> list[str]:
        """Return what no message may repeat."""
        return [secret for secret in (self.secret, self.token) if secret]


def keys_in(environ: Mapping[str, str], names: tuple[str, str, str]) -> AccessKeys | None:
    """Return the keys that variables hold, None where they hold none; they take a role's place, as in the clouds' own chains.

    Args:
        environ: may hold keys.
        names: the variables of key, secret and token.
    """
    keys = AccessKeys(*(environ.get(name, "") for name in names))
    # Half a key is no key: the clouds' chains go on to the role then.
    return keys if keys.key_id and keys.secret else None


def filled(values: Mapping[str, object], names: tuple[str, ...]) -> list[str] | None:
    """Return the texts of ``names`` in an answer, None where one is missing or empty."""
    found = [values.get(name) for name in names]
    return [str(text) for text in found] if all(isinstance(text, str) and text for text in found) else None
