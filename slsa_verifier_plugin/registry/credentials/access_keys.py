"""Access keys of a cloud that signs its calls: a role's temporary ones, or those of the environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.registry.auth.leases import Lease, Leases


@dataclass(frozen=True, slots=True)
class AccessKeys:
    """A cloud's access key, temporary where it has a token."""

    key_id: str
    secret: str = field(repr=False)
    token: str = field(repr=False, default="")

    def secrets(self) -> list[str]:
        """Return what no message may repeat."""
        return [secret for secret in (self.secret, self.token) if secret]


class RoleKeys:
    """The keys that a provider signs with; keys in the environment take the role's place, as in the clouds' own chains.

    Args:
        provider: the provider's name, for messages.
        environ: may hold keys.
        names: the variables of key, secret and token.
        assume: gets the role's temporary keys.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        provider: str,
        environ: Mapping[str, str],
        names: tuple[str, str, str],
        assume: Callable[[str, Deadline], Lease[AccessKeys]],
        clock: Callable[[], float],
    ) -> None:
        # Read once: a provider is made anew for each environment.
        self._own = AccessKeys(*(environ.get(name, "") for name in names))
        self._leases = Leases(f"the role's temporary keys for {provider}", assume, clock)

    def get(self, deadline: Deadline) -> AccessKeys:
        """Return the keys.

        Raises:
            RegistryError: the role could not be assumed.
            DeadlineError: out of time.
        """
        # Half a key is no key: the clouds' chains go on to the role then.
        has_own = self._own.key_id and self._own.secret
        # One role, so one lease under one key.
        return self._own if has_own else self._leases.get("", deadline)


def filled(values: Mapping[str, object], names: tuple[str, ...]) -> list[str] | None:
    """Return the texts of ``names`` in an answer, None where one is missing or empty."""
    found = [values.get(name) for name in names]
    return [str(text) for text in found] if all(isinstance(text, str) and text for text in found) else None
