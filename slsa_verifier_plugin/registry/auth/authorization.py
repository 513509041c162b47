"""Answers to a registry's 401: Basic, or a bearer token of the repository's own scope.

There is one of these for each repository, so a token is used for the repository it was issued for; tokens live in memory
only, are renewed before they expire, and by one caller for all that wait (``leases``).
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import DeadlineError, Reason, RegistryError
from slsa_verifier_plugin.lru import LruCache
from slsa_verifier_plugin.network import faults
from slsa_verifier_plugin.registry import limits
from slsa_verifier_plugin.registry.auth.challenge import Challenge
from slsa_verifier_plugin.registry.auth.leases import Lease, Leases
from slsa_verifier_plugin.registry.auth.tokens import (
    TokenDeniedError,
    TokenRequest,
    TokenServers,
    basic_value,
)
from slsa_verifier_plugin.registry.credentials import CredentialProvider, Credentials
from slsa_verifier_plugin.registry.redaction import Redactor
from slsa_verifier_plugin.registry.reference import Reference

CredentialLeases = Leases[str, Credentials | None]
"""Credentials by registry, None for anonymous access."""

_KNOWN_SCHEMES = frozenset({"basic", "bearer", "digest", "negotiate", "ntlm", "mutual", "dpop", "hoba"})
"""Schemes that a message may repeat."""


def credential_leases(provider: CredentialProvider | None) -> CredentialLeases:
    """Return what asks a provider once for all callers, and again when its credentials end or were refused.

    Args:
        provider: finds credentials, None for anonymous access only.
    """

    def fetch(registry: str, deadline: Deadline) -> Lease[Credentials | None]:
        # Every provider decides by the registry alone, as Ratify does: the repository is left out.
        found = provider.credentials(Reference(registry, ""), deadline) if provider is not None else None
        # For what has no end of its own: a rotated password must not need a restart.
        seconds = limits.CREDENTIALS_SECONDS
        if found is not None and found.expires_at is not None:
            # By the wall clock, for clouds say a time of day; at most an hour, for that time may be wrong.
            seconds = min(found.expires_at - time.time(), limits.MAX_TOKEN_SECONDS)
        return Lease.lasting(found, seconds)

    return Leases("credentials from the store's authProvider", fetch)


class RepositoryAuth:
    """The authorization for one repository.

    Args:
        image: the repository.
        servers: issue tokens for the registry.
        credentials: where credentials come from.
        actions: what is done in the repository, as a token's scope says it: "pull" or "pull,push".
        asked: what each registry has asked for, here or for another repository.
    """

    def __init__(
        self,
        image: Reference,
        servers: TokenServers,
        credentials: CredentialLeases,
        actions: str,
        asked: LruCache[str, Challenge],
    ) -> None:
        self._image = image
        self._servers = servers
        self._credentials = credentials
        self._actions = actions
        self._tokens: Leases[TokenRequest, str] = Leases(f"a token for {image.name}", self._issue)
        self._asked = asked
        # Nearly all registries ask for the same everywhere: to assume it saves one request for each repository.
        self._challenge = asked.get(image.registry)
        self._is_guess = self._challenge is not None
        self.redactor = Redactor()

    def authorization(self, deadline: Deadline) -> str | None:
        """Return the ``Authorization`` header for the next request, None before the registry asked for one.

        Raises:
            RegistryError: no token, or no credentials.
            DeadlineError: out of time.
        """
        challenge = self._challenge
        if challenge is None:
            # Not asked yet, and perhaps never: a public repository may be open to everybody.
            return None
        if not self._is_guess:
            # What the registry itself has asked for must be answered: its failure is the call's.
            return self._answer(challenge, deadline)
        try:
            # Part of the time only, so that a guess cannot take the time of the request itself.
            return self._answer(challenge, deadline.within(deadline.remaining() * limits.GUESS_PART))
        except (RegistryError, DeadlineError):
            # Out of the call's own time: that is a deadline, and not a failed guess.
            deadline.check(f"getting a token for {self._image.name}")
            # A guess must not fail what would succeed without it: now the registry is asked first.
            self._challenge, self._is_guess = None, False
            return None

    def refuse(self, challenges: Sequence[Challenge], used: str | None) -> None:
        """Take note of a 401: what the registry asks for, and that it does not accept ``used``.

        The next ``authorization`` answers a bearer challenge where there is one.

        Raises:
            RegistryError: the registry asks for something that is not supported.
        """
        if used is not None:
            self.forget(used)
        # A bearer challenge without a realm names nobody to ask.
        bearer = next((item for item in challenges if item.scheme == "bearer" and item.get("realm")), None)
        # A token says less to whoever listens than a password does.
        chosen = bearer or next((item for item in challenges if item.scheme == "basic"), None)
        if chosen is None:
            named = {item.scheme for item in challenges} & _KNOWN_SCHEMES
            asked = ", ".join(sorted(named)) or "nothing known"
            raise self._failed(f"asks for {asked}; supported are Basic, and Bearer with a realm")
        self._challenge, self._is_guess = chosen, False
        self._asked.put(self._image.registry, chosen)

    def forget(self, used: str) -> None:
        """Drop the token or credentials in a header that was refused."""
        challenge = self._challenge
        scheme, _, value = used.partition(" ")
        if scheme == "Bearer" and challenge is not None and challenge.scheme == "bearer":
            # Only this very token: another call may have renewed it a moment ago.
            self._tokens.drop(self._request(challenge), value)
        elif scheme == "Basic":
            # Only if they are still those: another caller may have found newer ones meanwhile.
            known = self._credentials.peek(self._image.registry)
            if known is not None and basic_value(known, self._servers.origin) == value:
                self._credentials.drop(self._image.registry, known)

    def _answer(self, challenge: Challenge, deadline: Deadline) -> str:
        # No exchange: the password itself goes along, once the registry has asked for it.
        if challenge.scheme == "basic":
            return self._basic(deadline)
        return f"Bearer {self._tokens.get(self._request(challenge), deadline)}"

    def _issue(self, request: TokenRequest, deadline: Deadline) -> Lease[str]:
        credentials = self._find(deadline)
        operation = f"getting a token for {self._image.name}"
        try:
            token, seconds = self._servers.issue(request, credentials, deadline, operation)
        except TokenDeniedError:
            # The next call asks the provider again: a rotated password must not need a restart. Other errors (no answer, 5xx)
            # say nothing about the credentials, which are kept.
            self._credentials.drop(self._image.registry, credentials)
            raise
        self.redactor.add(token)
        return Lease.lasting(token, seconds)

    def _basic(self, deadline: Deadline) -> str:
        credentials = self._find(deadline)
        # Forgotten, so that a password that is added now is found by the next call.
        if credentials is None or not credentials.password:
            self._credentials.drop(self._image.registry, credentials)
            has = "no credentials" if credentials is None else "no password, only an identity token,"
            raise self._failed(
                f"asks for a user name and password, and the store's authProvider has {has} for {self._image.registry}; "
                "add them there"
            )
        return f"Basic {basic_value(credentials, self._servers.origin)}"

    def _find(self, deadline: Deadline) -> Credentials | None:
        credentials = self._credentials.get(self._image.registry, deadline)
        if credentials is not None:
            self.redactor.add(credentials.password, credentials.identity_token)
            if credentials.password:
                # In this form it goes over the wire, and a registry could name a host after it.
                self.redactor.add(basic_value(credentials, self._servers.origin))
        return credentials

    def _request(self, challenge: Challenge) -> TokenRequest:
        return TokenRequest.answering(challenge, self._image.repository, self._actions)

    def _failed(self, why: str) -> RegistryError:
        operation = f"authentication with {self._servers.origin}"
        return faults.failure(operation, f"it {why}", Reason.REGISTRY_UNAUTHORIZED)
