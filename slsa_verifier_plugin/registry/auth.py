"""Answers to a registry's 401: Basic, or a bearer token of the repository's own scope.

oras-py keeps one token a client, whatever it was issued for, and asks whichever server a registry names. Here a
client is for one repository (``repository``), so a token is used for the repository it was issued for, and:

- Credentials are sent to the registry itself, or to a token server over HTTPS. With ``useHttp`` also over plain
  HTTP, but only to a token server on the registry's own host.
- A token server named by a registry is subject to the rules on addresses (``addresses``).
- Only ``pull`` is ever asked for.
- Tokens are kept in memory, renewed before they expire, by one caller for all that wait.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

import oras.auth.base
import oras.auth.utils

from slsa_verifier_plugin import strict_json
from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import Reason, RegistryError
from slsa_verifier_plugin.registry import faults, limits
from slsa_verifier_plugin.registry.challenge import Challenge
from slsa_verifier_plugin.registry.credentials import CredentialProvider, Credentials
from slsa_verifier_plugin.registry.expiring import ExpiringCache
from slsa_verifier_plugin.registry.reference import Reference

if TYPE_CHECKING:
    from slsa_verifier_plugin.registry.redirects import Courier

CLIENT_ID = "slsa-verifier-plugin"
"""The OAuth2 client's name, for token servers that log it."""

_HEADER_SAFE = re.compile(r"[\x21-\x7e]+")
_REPOSITORY_SCOPE = re.compile(r"(repository(?:\([a-z]+\))?:[^\s:]+(?::[0-9]+/[^\s:]+)?):([a-zA-Z*,]+)")

Found = tuple[Credentials | None]
"""Credentials, or the knowledge that there are none; a value that a cache can hold."""


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """What a token is asked for; also the key under which it is kept."""

    realm: str
    service: str
    scope: str


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
        """Forget credentials that the registry did not accept, so that the next call asks the provider again."""
        self._known.drop(image.registry, (credentials,))


class RepositoryAuth(oras.auth.base.AuthBackend):  # type: ignore[misc]  # oras has no type information
    """The authorization for one repository, as oras-py's client asks its backend for it.

    Args:
        image: the repository.
        origin: the registry's scheme and host, as ``https://registry.example``.
        use_http: the store's ``useHttp``.
        credentials: where credentials come from.
        courier: sends the requests to token servers.
    """

    def __init__(
        self, image: Reference, origin: str, use_http: bool, credentials: CredentialCache, courier: Courier
    ) -> None:
        super().__init__()
        self._image = image
        self._origin = origin
        self._use_http = use_http
        self._credentials = credentials
        self._courier = courier
        self._tokens: ExpiringCache[TokenRequest, str] = ExpiringCache(4)
        self._challenge: Challenge | None = None

    def expect(self, challenge: Challenge) -> None:
        """Take it that the registry will ask as it did for another repository, which saves asking it first."""
        if self._challenge is None:
            parameters = {name: text for name, text in challenge.parameters.items() if name != "scope"}
            self._challenge = Challenge(challenge.scheme, parameters)

    def get_auth_header(self) -> dict[str, str]:
        """Return the headers for a request sent now, none where no token is at hand (oras-py's interface)."""
        challenge = self._challenge
        if challenge is None or challenge.scheme != "bearer":
            return {}
        token = self._tokens.peek(self._token_request(challenge))
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
        if challenge.scheme == "basic":
            return self._basic(deadline)
        request = self._token_request(challenge)
        doing = f"getting a token for {self._image.name}"
        token = self._tokens.get(request, lambda: self._issue(request, deadline), deadline, doing)
        return f"Bearer {token}"

    def refuse(self, challenges: Sequence[Challenge], used: str | None) -> Challenge:
        """Take note of a 401: what the registry asks for, and that it does not accept ``used``.

        Returns:
            The challenge that the next ``authorization`` answers.

        Raises:
            RegistryError: the registry asks for something that is not supported.
        """
        if used is not None:
            self.forget(used)
        bearer = next((item for item in challenges if item.scheme == "bearer" and item.get("realm")), None)
        basic = next((item for item in challenges if item.scheme == "basic"), None)
        chosen = bearer or basic
        if chosen is None:
            named = (
                ", ".join(sorted({item.scheme for item in challenges} & _KNOWN_SCHEMES)) or "nothing usable"
            )
            raise RegistryError(
                f"authentication with {self._origin} failed: it asks for {named}, supported are Basic and Bearer "
                "with a realm; configure the registry for one of them",
                reason=Reason.REGISTRY_UNAUTHORIZED,
            )
        self._challenge = chosen
        return chosen

    def forget(self, used: str) -> None:
        """Drop the token or credentials in a header that was refused."""
        challenge = self._challenge
        scheme, _, value = used.partition(" ")
        if scheme == "Bearer" and challenge is not None and challenge.scheme == "bearer":
            self._tokens.drop(self._token_request(challenge), value)
        elif scheme == "Basic":
            known = self._credentials.known(self._image)
            if known is not None and _basic_value(known, self._origin) == value:
                self._credentials.refused(self._image, known)

    def _basic(self, deadline: Deadline) -> str:
        credentials = self._credentials.find(self._image, deadline)
        if credentials is None or not credentials.password:
            has = "only an identity token" if credentials is not None else "no credentials"
            raise RegistryError(
                f"authentication with {self._origin} failed: it asks for a user name and password, and the "
                f"store's authProvider has {has} for {self._image.registry}; add them there",
                reason=Reason.REGISTRY_UNAUTHORIZED,
            )
        return f"Basic {_basic_value(credentials, self._origin)}"

    def _token_request(self, challenge: Challenge) -> TokenRequest:
        scopes = {f"repository:{self._image.repository}:pull"} if self._image.repository else set()
        for scope in challenge.get("scope").split()[:8]:
            match = _REPOSITORY_SCOPE.fullmatch(scope)
            if match is None:
                scopes.add(scope)
            elif "pull" in match[2].split(",") or match[2] == "*":
                scopes.add(f"{match[1]}:pull")
        return TokenRequest(challenge.get("realm"), challenge.get("service"), " ".join(sorted(scopes)))

    def _issue(self, request: TokenRequest, deadline: Deadline) -> tuple[str, float]:
        """Return a token from the token server, and the seconds for which it is good.

        Basic credentials go with a GET (distribution token specification), an identity token with a POST (its
        OAuth2 part), as in oras-go, which Ratify uses.
        """
        credentials = self._credentials.find(self._image, deadline)
        check_realm(request.realm, self._origin, self._use_http, secret=credentials is not None)
        operation = f"getting a token for {self._image.name}"
        headers = {"Accept": "application/json"}
        form: Mapping[str, str] | None = None
        url = request.realm.partition("#")[0]
        if credentials is not None and credentials.identity_token:
            form = {
                "grant_type": "refresh_token",
                "service": request.service,
                "client_id": CLIENT_ID,
                "scope": request.scope,
                "refresh_token": credentials.identity_token,
            }
        else:
            query = [("service", request.service)] if request.service else []
            query += [("scope", scope) for scope in request.scope.split()]
            url += ("&" if urlsplit(url).query else "?") + urlencode(query)
            if credentials is not None:
                headers["Authorization"] = f"Basic {_basic_value(credentials, self._origin)}"
        reply = self._courier.carry(
            "POST" if form else "GET", url, headers, deadline, operation, home=self._origin, form=form
        )
        if reply.status != 200:
            codes = faults.error_codes(reply.error_body())
            if reply.status in (400, 401, 403):
                self._credentials.refused(self._image, credentials)
                raise _denied(operation, request.realm, reply.status, credentials)
            raise faults.status_error(operation, request.realm, reply.status, codes)
        return _token_of(reply.read(limits.MAX_TOKEN_RESPONSE_BYTES), operation)


_KNOWN_SCHEMES = frozenset({"basic", "bearer", "digest", "negotiate", "ntlm", "mutual", "dpop", "hoba"})


def check_realm(realm: str, origin: str, use_http: bool, *, secret: bool) -> None:
    """Refuse a token server that must not be asked, or not be shown a secret.

    Args:
        realm: the URL that the registry named.
        origin: the registry's scheme and host.
        use_http: the store's ``useHttp``.
        secret: whether credentials would be sent.

    Raises:
        RegistryError: it is no URL, holds user information, or would be spoken to in clear text without need.
    """
    try:
        parts = urlsplit(realm)
        host = parts.hostname
        valid = (
            parts.scheme in ("http", "https") and bool(host) and "@" not in parts.netloc and parts.port != 0
        )
    except ValueError:
        valid, host = False, None
    operation = f"authentication with {origin}"
    if not valid:
        raise faults.invalid_response(operation, "the realm that it names for tokens is not an HTTP URL")
    if parts.scheme == "https":
        return
    if not use_http:
        raise RegistryError(
            f"{operation} failed: its token server {faults.redacted(realm)} is not HTTPS, and the store's useHttp "
            "is not set; give the token server TLS",
            reason=Reason.REGISTRY_CREDENTIALS,
        )
    if secret and host != urlsplit(origin).hostname:
        raise RegistryError(
            f"{operation} failed: credentials would go in clear text to another host, {faults.redacted(realm)}; "
            "give the token server TLS",
            reason=Reason.REGISTRY_CREDENTIALS,
        )


def _basic_value(credentials: Credentials, origin: str) -> str:
    if ":" in credentials.username:
        raise RegistryError(
            f"authentication with {origin} failed: the user name holds a colon, which Basic cannot carry "
            "(RFC 7617); correct it in the credentials",
            reason=Reason.REGISTRY_CREDENTIALS,
        )
    return str(oras.auth.utils.get_basic_auth(credentials.username, credentials.password))


def _denied(operation: str, realm: str, status: int, credentials: Credentials | None) -> RegistryError:
    if credentials is None:
        what = "refused anonymous access; give the store an authProvider with credentials for this registry"
    else:
        what = "refused the credentials of the store's authProvider; check that they are current and may pull"
    return RegistryError(
        f"{operation} failed: the token server {faults.redacted(realm)} {what} (HTTP {status})",
        reason=Reason.REGISTRY_UNAUTHORIZED,
    )


def _token_of(body: bytes, operation: str) -> tuple[str, float]:
    """Return the token and its life in seconds from a token server's answer."""
    try:
        value = strict_json.loads(body)
    except strict_json.JsonError:
        raise faults.invalid_response(operation, "the token server's answer is not JSON") from None
    fields = value if isinstance(value, dict) else {}
    token = fields.get("token") or fields.get("access_token")
    if not isinstance(token, str) or not _HEADER_SAFE.fullmatch(token):
        raise faults.invalid_response(operation, "the token server's answer has no usable token")
    seconds = fields.get("expires_in")
    if not isinstance(seconds, (int, float)) or isinstance(seconds, bool) or seconds <= 0:
        seconds = limits.DEFAULT_TOKEN_SECONDS
    return token, min(float(seconds), limits.MAX_TOKEN_SECONDS)
