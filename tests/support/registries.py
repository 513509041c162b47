"""Registries for tests, built on the embedded one: recording, authenticated, behind a token server, toxic."""

from __future__ import annotations

import base64
import json
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from tests.support.embedded_registry import EmbeddedRegistry
from tests.support.registry_handler import RegistryHandler

_REPOSITORY = re.compile(r"/v2/(.+?)/(?:manifests|blobs|referrers|tags)/")


@dataclass(frozen=True)
class Seen:
    """One request as a server received it."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def query(self) -> dict[str, list[str]]:
        """Its query's parameters."""
        return parse_qs(urlsplit(self.path).query)

    @property
    def form(self) -> dict[str, list[str]]:
        """Its body as a form."""
        return parse_qs(self.body.decode())


class RecordingRegistry(EmbeddedRegistry):
    """Keeps what it was asked; ``respond`` may answer before the registry does."""

    def __init__(self, **options: object) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        self.seen: list[Seen] = []
        self.over = threading.Event()

    def intercept(self, handler: RegistryHandler) -> bool:
        body = (
            handler.body()
            if handler.command == "POST" and "form" in handler.headers.get("Content-Type", "")
            else b""
        )
        seen = Seen(handler.command, handler.path, dict(handler.headers.items()), body)
        self.seen.append(seen)
        return self.respond(handler, seen)

    def respond(self, handler: RegistryHandler, seen: Seen) -> bool:
        """Return True if the request has been answered here."""
        return False

    def close(self) -> None:
        self.over.set()
        super().close()

    def paths(self) -> list[str]:
        """The paths asked for, in order."""
        return [seen.path for seen in self.seen]


class BasicRegistry(RecordingRegistry):
    """Wants a user name and password."""

    def __init__(
        self, users: Mapping[str, str], challenge: str = 'Basic realm="test"', **options: object
    ) -> None:
        super().__init__(**options)
        self.users = dict(users)
        self.challenge = challenge

    def respond(self, handler: RegistryHandler, seen: Seen) -> bool:
        if user_of(seen, self.users) is not None:
            return False
        handler.fail(401, "UNAUTHORIZED", {"WWW-Authenticate": self.challenge})
        return True


def user_of(seen: Seen, users: Mapping[str, str]) -> str | None:
    """Return the user whose password a request shows, None for none or a wrong one."""
    scheme, _, value = seen.headers.get("Authorization", "").partition(" ")
    if scheme != "Basic":
        return None
    name, _, password = base64.b64decode(value).decode().partition(":")
    return name if users.get(name) == password else None


@dataclass
class Issued:
    """A token that a server gave out: for whom, for what, until when (monotonic)."""

    user: str | None
    scopes: frozenset[str]
    ends: float


class TokenServer(RecordingRegistry):
    """Issues bearer tokens: GET with Basic or anonymous, POST with an identity token.

    Args:
        users: passwords by user name.
        identities: user names by identity token.
        anonymous: whether tokens are given to nobody in particular.
        seconds: life of a token.
        name: the field in which tokens are given.
    """

    def __init__(
        self,
        users: Mapping[str, str] | None = None,
        identities: Mapping[str, str] | None = None,
        *,
        anonymous: bool = False,
        seconds: int = 300,
        name: str = "token",
        **options: object,
    ) -> None:
        super().__init__(**options)
        self.users = dict(users or {})
        self.identities = dict(identities or {})
        self.anonymous = anonymous
        self.seconds = seconds
        self.name = name
        self.issued: dict[str, Issued] = {}
        self.first: list[Callable[[RegistryHandler], None]] = []

    @property
    def realm(self) -> str:
        """Where tokens are asked for."""
        return f"{self.url}/token"

    def respond(self, handler: RegistryHandler, seen: Seen) -> bool:
        if self.first:
            self.first.pop(0)(handler)
            return True
        if seen.method == "POST":
            user = self.identities.get(seen.form.get("refresh_token", [""])[0])
            scopes = seen.form.get("scope", [""])[0].split()
            allowed = user is not None and seen.form.get("grant_type") == ["refresh_token"]
        else:
            user = user_of(seen, self.users)
            scopes = seen.query.get("scope", [])
            allowed = user is not None or (self.anonymous and "Authorization" not in seen.headers)
        if not allowed:
            handler.fail(401, "UNAUTHORIZED")
            return True
        token = self.new_token(user, scopes)
        self.issued[token] = Issued(user, frozenset(scopes), time.monotonic() + self.seconds)
        handler.answer_json({self.name: token, "expires_in": self.seconds})
        return True

    def new_token(self, user: str | None, scopes: Sequence[str]) -> str:
        """Return a token that nobody else has."""
        return f"tok-{secrets.token_urlsafe(24)}"


def _covered(scope: str, scopes: Iterable[str]) -> bool:
    """Return True if one of ``scopes`` is for the same repository and has the actions of ``scope``, perhaps among others."""
    where, _, actions = scope.rpartition(":")
    given = (item.rpartition(":") for item in scopes)
    return any(
        where == own and set(actions.split(",")) <= set(granted.split(",")) for own, _, granted in given
    )


class TokenRegistry(RecordingRegistry):
    """Wants a token of a ``TokenServer`` for the repository that is asked for.

    Args:
        server: whose tokens count; started by the test.
        challenge: the ``WWW-Authenticate`` headers, with ``<realm>`` and ``<scope>`` to be replaced.
    """

    def __init__(
        self,
        server: TokenServer,
        challenge: Iterable[str] = ('Bearer realm="<realm>",service="test",scope="<scope>"',),
        **options: object,
    ) -> None:
        super().__init__(**options)
        self.server = server
        self.challenge = tuple(challenge)

    def respond(self, handler: RegistryHandler, seen: Seen) -> bool:
        match = _REPOSITORY.match(seen.path)
        scope = f"repository:{match[1]}:pull" if match else ""
        token = seen.headers.get("Authorization", "").removeprefix("Bearer ")
        issued = self.server.issued.get(token)
        if (
            issued is not None
            and time.monotonic() < issued.ends
            and (not scope or _covered(scope, issued.scopes))
        ):
            return False
        body = json.dumps({"errors": [{"code": "UNAUTHORIZED"}]}).encode()
        handler.send_response(401)
        for text in self.challenge:
            handler.send_header(
                "WWW-Authenticate", text.replace("<realm>", self.server.realm).replace("<scope>", scope)
            )
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)
        return True


Toxin = Callable[[RegistryHandler, "ToxicRegistry"], bool]
"""Answers a request badly and returns True, or returns False to let it be answered well."""


class ToxicRegistry(RecordingRegistry):
    """Misbehaves in one way, for the requests whose path matches.

    Args:
        toxin: what it does.
        where: a regular expression for paths.
        times: requests that are hit, all if left out.
    """

    def __init__(self, toxin: Toxin, where: str = "", times: int = 1 << 30, **options: object) -> None:
        super().__init__(**options)
        self.toxin = toxin
        self.where = where
        self.times = times
        self.hits = 0

    def respond(self, handler: RegistryHandler, seen: Seen) -> bool:
        if self.hits >= self.times or not re.search(self.where, seen.path):
            return False
        self.hits += 1
        return self.toxin(handler, self)
