"""Answers to a registry's 401: Basic, or a bearer token of the repository's own scope.

oras-py keeps one token a client, whatever it was issued for. Here a client is for one repository (``repository``),
so a token is used for the repository it was issued for; tokens live in memory only, are renewed before they expire,
and by one caller for all that wait.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import oras.auth.base

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import DeadlineError, Reason, RegistryError
from slsa_verifier_plugin.registry import faults, limits
from slsa_verifier_plugin.registry.auth.challenge import Challenge
from slsa_verifier_plugin.registry.auth.expiring import ExpiringCache
from slsa_verifier_plugin.registry.auth.tokens import (
    TokenDeniedError,
    TokenRequest,
    TokenServers,
    basic_value,
)
from slsa_verifier_plugin.registry.credentials import CredentialProvider, Credentials
from slsa_verifier_plugin.registry.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Iterator

Found = tuple[Credentials | None]
"""Credentials, or the knowledge that there are none; a value that a cache can hold."""

_KNOWN_SCHEMES = frozenset({"basic", "bearer", "digest", "negotiate", "ntlm", "mutual", "dpop", "hoba"})
"""Schemes that a message may repeat."""


class CredentialCache:
    """Asks a provider once for all callers, and again when its credentials end or were refused.

    Args:
        provider: finds credentials, None for anonymous access only.
    """

    def __init__(self, provider: CredentialProvider | None) -> None:
        self._provider = provider
        self._known: ExpiringCache[str, Found] = ExpiringCache(limits.MAX_HOSTS)

    def find(self, image: Reference, deadline: Deadline) -> Credentials | None:
        """Return the credentials for the image's registry, or None for anonymous access.

        Raises:
            RegistryError: the provider failed.
            DeadlineError: out of time.
        """
        provider = self._provider
        if provider is None:
            return None

        def load() -> tuple[Found, float]:
            found = provider.credentials(image, deadline)
            seconds = limits.CREDENTIALS_SECONDS
            if found is not None and found.expires_at is not None:
                seconds = min(max(found.expires_at - time.time(), 0.0), limits.MAX_TOKEN_SECONDS)
            return (found,), seconds

        doing = f"waiting for the credentials of {image.registry}"
        return self._known.get(image.registry, load, deadline, doing)[0]

    def known(self, image: Reference) -> Credentials | None:
        """Return the credentials found before, None where there are none or their time is over."""
        found = self._known.peek(image.registry)
        return found[0] if found else None

    def refused(self, image: Reference, credentials: Credentials | None) -> None:
        """Forget credentials that were not accepted, so that the next call asks the provider again."""
        self._known.drop(image.registry, (credentials,))


class RepositoryAuth(oras.auth.base.AuthBackend):  # type: ignore[misc]  # oras has no type information
    """The authorization for one repository, the ``auth`` of an oras-py client.

    Args:
        image: the repository.
        origin: the registry's scheme and host, as ``https://registry.example``.
        servers: issue tokens.
        credentials: where credentials come from.
    """

    def __init__(
        self, image: Reference, origin: str, servers: TokenServers, credentials: CredentialCache
    ) -> None:
        super().__init__()
        self._image = image
        self._origin = origin
        self._servers = servers
        self._credentials = credentials
        self._tokens: ExpiringCache[TokenRequest, str] = ExpiringCache(4)
        self._challenge: Challenge | None = None
        self._guessed = False
        self._secrets: deque[str] = deque(maxlen=32)

    def expect(self, challenge: Challenge) -> None:
        """Take it that the registry will ask as it did for another repository, which saves asking it first."""
        parameters = {name: text for name, text in challenge.parameters.items() if name != "scope"}
        self._challenge = Challenge(challenge.scheme, parameters)
        self._guessed = True

    def get_auth_header(self) -> dict[str, str]:
        """Return the headers for a request sent now, none where no token is at hand (oras-py's interface)."""
        challenge = self._challenge
        if challenge is None or challenge.scheme != "bearer":
            return {}
        token = self._tokens.peek(self._request(challenge))
        return {} if token is None else {"Authorization": f"Bearer {token}"}

    def authorization(self, deadline: Deadline) -> str | None:
        """Return the ``Authorization`` header for the next request, None before the registry asked for one.

        Raises:
            RegistryError: no token, or no credentials.
            DeadlineError: out of time.
        """
        challenge = self._challenge
        if challenge is None:
            return None
        if not self._guessed:
            return self._answer(challenge, deadline)
        try:
            return self._answer(challenge, deadline.within(deadline.remaining() * limits.GUESS_PART))
        except (RegistryError, DeadlineError):
            deadline.check(f"getting a token for {self._image.name}")
            self._challenge = None  # a guess must not fail what would succeed without it
            self._guessed = False
            return None

    def refuse(self, challenges: Sequence[Challenge], used: str | None) -> Challenge:
        """Take note of a 401: what the registry asks for, and that it does not accept ``used``.

        Returns:
            The challenge that the next ``authorization`` answers: a bearer one where there is one.

        Raises:
            RegistryError: the registry asks for something that is not supported.
        """
        if used is not None:
            self.forget(used)
        bearer = next((item for item in challenges if item.scheme == "bearer" and item.get("realm")), None)
        basic = next((item for item in challenges if item.scheme == "basic"), None)
        chosen = bearer or basic
        if chosen is None:
            named = {item.scheme for item in challenges} & _KNOWN_SCHEMES
            raise RegistryError(
                f"authentication with {self._origin} failed: it asks for "
                f"{', '.join(sorted(named)) or 'nothing known'}; supported are Basic, and Bearer with a realm",
                reason=Reason.REGISTRY_UNAUTHORIZED,
            )
        self._challenge = chosen
        self._guessed = False
        return chosen

    def forget(self, used: str) -> None:
        """Drop the token or credentials in a header that was refused."""
        challenge = self._challenge
        scheme, _, value = used.partition(" ")
        if scheme == "Bearer" and challenge is not None and challenge.scheme == "bearer":
            self._tokens.drop(self._request(challenge), value)
        elif scheme == "Basic":
            known = self._credentials.known(self._image)
            if known is not None and basic_value(known, self._origin) == value:
                self._credentials.refused(self._image, known)

    def hide(self, text: str) -> str:
        """Return ``text`` without the secrets used here."""
        return faults.hidden(text, tuple(self._secrets))

    @contextmanager
    def hiding_secrets(self) -> Iterator[None]:
        """Take every secret used here out of the message of a ``RegistryError`` that passes.

        Messages repeat hosts that a registry names, and it could name one after the token it was shown.
        """
        try:
            yield
        except RegistryError as error:
            raise faults.without(error, tuple(self._secrets)) from None

    def _answer(self, challenge: Challenge, deadline: Deadline) -> str:
        if challenge.scheme == "basic":
            return self._basic(deadline)
        request = self._request(challenge)
        operation = f"getting a token for {self._image.name}"

        def load() -> tuple[str, float]:
            credentials = self._find(deadline)
            try:
                token, seconds = self._servers.issue(request, credentials, deadline, operation)
            except TokenDeniedError:
                self._credentials.refused(self._image, credentials)
                raise
            self._secrets.append(token)
            return token, seconds

        return f"Bearer {self._tokens.get(request, load, deadline, operation)}"

    def _basic(self, deadline: Deadline) -> str:
        credentials = self._find(deadline)
        if credentials is None or not credentials.password:
            self._credentials.refused(self._image, credentials)
            has = "no credentials" if credentials is None else "no password, only an identity token,"
            raise RegistryError(
                f"authentication with {self._origin} failed: it asks for a user name and password, and the "
                f"store's authProvider has {has} for {self._image.registry}; add them there",
                reason=Reason.REGISTRY_UNAUTHORIZED,
            )
        return f"Basic {basic_value(credentials, self._origin)}"

    def _find(self, deadline: Deadline) -> Credentials | None:
        credentials = self._credentials.find(self._image, deadline)
        if credentials is not None:
            secrets = [credentials.password, credentials.identity_token]
            if credentials.password:
                secrets.append(basic_value(credentials, self._origin))
            self._secrets.extend(secret for secret in secrets if secret and secret not in self._secrets)
        return credentials

    def _request(self, challenge: Challenge) -> TokenRequest:
        return TokenRequest.answering(challenge, self._image.repository)
