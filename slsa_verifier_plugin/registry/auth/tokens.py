"""Bearer tokens from the token server that a registry names (distribution token specification).

The server is named by the registry, so what it is shown and where it may be is decided here:

- Credentials go to a token server over HTTPS. With the store's ``useHttp`` also over plain HTTP, but then only to
  one on the registry's own host.
- Its address is subject to the rules of ``addresses``; redirects to those of ``redirects``.
- Only what the call needs is asked for (``pull`` of its repository), whatever the challenge says.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from urllib.parse import unquote_plus, urlencode, urlsplit

from slsa_verifier_plugin import strict_json
from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import Reason, RegistryError
from slsa_verifier_plugin.network import faults
from slsa_verifier_plugin.network.hosts import canonical_host
from slsa_verifier_plugin.network.origins import is_url
from slsa_verifier_plugin.network.redirects import HttpClient
from slsa_verifier_plugin.network.transport import HttpRequest
from slsa_verifier_plugin.registry import limits
from slsa_verifier_plugin.registry.auth.challenge import Challenge
from slsa_verifier_plugin.registry.credentials import Credentials
from slsa_verifier_plugin.registry.retries import retried

CLIENT_ID = "slsa-verifier-plugin"
"""The OAuth2 client's name, for token servers that log it."""

_OURS = frozenset({"scope", "offline_token", "access_type"})
"""Parameters of a token request that say what is asked for (distribution token and OAuth2 specifications)."""

_HEADER_SAFE = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """What a token is asked for; also the key under which it is kept."""

    realm: str
    service: str
    scope: str

    @classmethod
    def answering(cls, challenge: Challenge, repository: str, actions: str = "pull") -> TokenRequest:
        """Return the request that answers a bearer challenge, for what a call needs and nothing else.

        The scope of the challenge is not looked at: a registry, or who stands before it, could ask for ``push``, ``delete``,
        ``*`` or another repository, and the token that comes back is shown to it.

        Args:
            challenge: names the token server.
            repository: whose content is read; "" to list the registry's repositories.
            actions: what is done there ("Token Scope Documentation" of the distribution registry).
        """
        # The catalog belongs to no repository (distribution, "Token Scope Documentation").
        scope = f"repository:{repository}:{actions}" if repository else "registry:catalog:*"
        return cls(challenge.get("realm"), challenge.get("service"), scope)


class TokenDeniedError(RegistryError):
    """The token server does not accept the credentials, or anonymous access."""


@dataclass(frozen=True, slots=True)
class TokenServers:
    """Asks token servers on behalf of one registry.

    Args:
        origin: the registry's scheme and host, as ``https://registry.example``; ``http:`` with the store's ``useHttp`` alone.
        http: sends requests.
    """

    origin: str
    http: HttpClient

    def issue(
        self, request: TokenRequest, credentials: Credentials | None, deadline: Deadline, operation: str
    ) -> tuple[str, float]:
        """Return a token, and the seconds for which it is good.

        Basic credentials go with a GET, an identity token with a POST (the specification's OAuth2 part), as in
        oras-go, which Ratify uses.

        Args:
            request: what for, and where.
            credentials: None for anonymous access.
            deadline: the end of all attempts.
            operation: what is being done, for messages.

        Raises:
            TokenDeniedError: the credentials do not suffice.
            RegistryError: the server must not be asked, did not answer, or answered something else.
            DeadlineError: out of time.
        """
        _check_realm(request.realm, self.origin, secret=credentials is not None)
        sent = _written(request, credentials, self.origin, operation)

        def attempt() -> tuple[str, float]:
            reply = self.http.follow(sent, deadline, self.origin)
            if reply.status == 200:
                return _token_of(reply.read(limits.MAX_TOKEN_RESPONSE_BYTES), operation)
            # Read to its end, so that the connection serves the next attempt.
            error = reply.refusal()
            # A refusal is worded for the token server: the advice for a registry's status would mislead.
            raise error if error.transient else _refusal(operation, request.realm, reply.status, credentials)

        return retried(attempt, deadline)


def _check_realm(realm: str, origin: str, *, secret: bool) -> None:
    """Refuse a token server that must not be asked, or not be shown a secret.

    Args:
        realm: the URL that the registry named.
        origin: the registry's scheme and host.
        secret: whether credentials would be sent.

    Raises:
        RegistryError: it is no URL, holds user information, or would be spoken to in clear text without need.
    """
    operation = f"authentication with {origin}"
    # A blank or a line's end in the realm would end up in the request's first line; a port of 0 is "any port" to some libraries,
    # and user information would go along as credentials.
    if not is_url(realm):
        raise faults.invalid_response(operation, "the realm that it names for tokens is not an HTTP URL")
    parts = urlsplit(realm)
    # Over TLS it may be any host; its address is judged when it is connected to.
    if parts.scheme == "https":
        return
    # A bearer token is as good as a password for as long as it lives: not even an anonymous one is asked for in clear
    # text.
    if not origin.startswith("http:"):
        why = (
            f"its token server {faults.redacted(realm)} is not HTTPS, and neither --plain-http (at the command line) nor "
            "the Store's useHttp is given; give the token server TLS"
        )
        raise faults.failure(operation, why, Reason.REGISTRY_CREDENTIALS)
    # The registry's own host gets the password in clear text anyway, with useHttp; nobody else does.
    if secret and canonical_host(parts.hostname or "") != canonical_host(urlsplit(origin).hostname or ""):
        why = f"credentials would go in clear text to another host, {faults.redacted(realm)}; give the token server TLS"
        raise faults.failure(operation, why, Reason.REGISTRY_CREDENTIALS)


def basic_value(credentials: Credentials, origin: str) -> str:
    """Return what follows ``Basic`` in an ``Authorization`` header (RFC 7617).

    Raises:
        RegistryError: the user name holds a colon, with which another name and password would arrive.
    """
    if ":" in credentials.username:
        why = (
            "the user name holds a colon, which Basic cannot carry (RFC 7617); correct it in the credentials"
        )
        raise faults.failure(f"authentication with {origin}", why, Reason.REGISTRY_CREDENTIALS)
    return base64.b64encode(f"{credentials.username}:{credentials.password}".encode()).decode("ascii")


def _written(
    request: TokenRequest, credentials: Credentials | None, origin: str, operation: str
) -> HttpRequest:
    """Return the request to the token server."""
    # A fragment is for a browser; sent along it would end up in the query.
    url = _without_scope(request.realm.partition("#")[0])
    headers = {"Accept": "application/json"}
    if credentials is not None and credentials.identity_token:
        form = {
            "grant_type": "refresh_token",
            "service": request.service,
            "client_id": CLIENT_ID,
            "scope": request.scope,
            "refresh_token": credentials.identity_token,
        }
        return HttpRequest(operation, url, "POST", headers, form)
    # Left out where the challenge names none: an empty one is another service to some servers.
    query = [("service", request.service)] if request.service else []
    query.append(("scope", request.scope))
    url += ("&" if urlsplit(url).query else "?") + urlencode(query)
    if credentials is not None:
        # To the token server alone; HttpClient takes it away where a redirect leads elsewhere.
        headers["Authorization"] = f"Basic {basic_value(credentials, origin)}"
    return HttpRequest(operation, url, headers=headers)


def _without_scope(realm: str) -> str:
    """Return ``realm`` without what asks for a token beside our own scope: the challenge could put it there as well."""
    parts = urlsplit(realm)
    # Some servers read ";" as a separator too (HTML 4.01, B.2.2).
    kept = [item for item in parts.query.split("&") if not any(map(_is_ours, item.split(";")))]
    return parts._replace(query="&".join(kept)).geturl()


def _is_ours(item: str) -> bool:
    """Return True if some server would read ``item`` as a parameter of ``_OURS``: with blanks, as a list, behind a semicolon."""
    return unquote_plus(item.partition("=")[0]).strip().partition("[")[0].lower() in _OURS


def _refusal(operation: str, realm: str, status: int, credentials: Credentials | None) -> RegistryError:
    # 400 is OAuth2's answer to a refresh token that is not good (RFC 6749, 5.2).
    denied = status in (401, 403) or (status == 400 and credentials is not None)
    # Anything else says nothing about the credentials, which are kept (``RepositoryAuth._issue``).
    if not denied:
        return faults.invalid_response(
            operation, f"the token server {faults.redacted(realm)} answered HTTP {status}"
        )
    if credentials is None:
        what = "refused anonymous access; give the store an authProvider with credentials for this registry"
    else:
        what = "refused the credentials of the store's authProvider; check that they are current and may pull"
    return TokenDeniedError(
        f"{operation} failed: the token server {faults.redacted(realm)} {what} (HTTP {status})",
        reason=Reason.REGISTRY_UNAUTHORIZED,
    )


def _token_of(body: bytes, operation: str) -> tuple[str, float]:
    """Return the token and its life in seconds from a token server's answer."""
    # Strict, so that no proxy between reads another token than we do.
    fields = strict_json.object_in(body)
    # Both names are in use: the first is docker's, the second OAuth2's.
    token = fields.get("token") or fields.get("access_token")
    # It becomes a part of a header: a line's end in it would begin another header.
    if not isinstance(token, str) or not _HEADER_SAFE.fullmatch(token):
        raise faults.invalid_response(operation, "the token server's answer has no usable token")
    seconds = fields.get("expires_in")
    # True is an int in Python; JSON's true says nothing of seconds.
    if not isinstance(seconds, (int, float)) or isinstance(seconds, bool) or seconds <= 0:
        # The token specification's own default, 60 seconds.
        seconds = limits.DEFAULT_TOKEN_SECONDS
    # At least a second, or the token that has just been issued could not be used once.
    return token, min(max(float(seconds), 1.0), limits.MAX_TOKEN_SECONDS)
