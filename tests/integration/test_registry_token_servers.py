"""Token servers that deny, answer badly, redirect or never end, and what must not be sent to them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import Reason, RegistryError
from slsa_verifier_plugin.registry.credentials import Credentials
from slsa_verifier_plugin.registry.settings import StoreSettings
from slsa_verifier_plugin.registry.store import RegistryStore
from tests.support.content import NOTE, push
from tests.support.registries import RecordingRegistry, Seen, TokenRegistry, TokenServer
from tests.support.registry_handler import RegistryHandler
from tests.support.registry_logins import ALICE, USERS, Provider, failure, fetch

pytestmark = pytest.mark.server("registries and token servers of the tests")

HTTP = StoreSettings(use_http=True)


def test_denied_credentials_name_the_token_server_and_not_the_secret() -> None:
    provider = Provider([Credentials("alice", "planted-secret-1")])
    with (
        TokenServer(USERS) as server,
        TokenRegistry(server) as registry,
        RegistryStore(HTTP, provider, {}) as store,
    ):
        error = failure(store, push(registry))
        assert server.host in error.message
    assert error.reason is Reason.REGISTRY_UNAUTHORIZED
    assert "refused the credentials" in error.message
    assert "planted" not in error.message


def _answers(status: int, body: bytes) -> Callable[[RegistryHandler], None]:
    return lambda handler: handler.answer(status, body, "application/json")


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (200, b"", Reason.REGISTRY_INVALID_RESPONSE),
        (200, b"[]", Reason.REGISTRY_INVALID_RESPONSE),
        (200, b'{"token":""}', Reason.REGISTRY_INVALID_RESPONSE),
        (200, b'{"token":7}', Reason.REGISTRY_INVALID_RESPONSE),
        (200, b'{"token":"a\\r\\nX-Injected: b"}', Reason.REGISTRY_INVALID_RESPONSE),
        (200, b'{"token":"' + b"x" * 300_000 + b'"}', Reason.LIMIT_EXCEEDED),
        (404, b"", Reason.REGISTRY_INVALID_RESPONSE),
        (403, b"", Reason.REGISTRY_UNAUTHORIZED),
        (400, b'{"error":"invalid_grant"}', Reason.REGISTRY_UNAUTHORIZED),
    ],
)
def test_a_token_server_that_answers_badly_is_the_error(status: int, body: bytes, reason: Reason) -> None:
    with (
        TokenServer(USERS) as server,
        TokenRegistry(server) as registry,
        RegistryStore(HTTP, Provider([ALICE]), {}) as store,
    ):
        server.first = [_answers(status, body)] * 8
        assert failure(store, push(registry)).reason is reason


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_token_server_that_fails_for_a_moment_is_asked_again(status: int) -> None:
    with (
        TokenServer(USERS) as server,
        TokenRegistry(server) as registry,
        RegistryStore(HTTP, Provider([ALICE]), {}) as store,
    ):
        server.first = [_answers(status, b"")] * 2
        assert fetch(store, push(registry)) == NOTE


@pytest.mark.parametrize(
    ("realm", "reason"),
    [
        ("", Reason.REGISTRY_UNAUTHORIZED),
        ("token", Reason.REGISTRY_INVALID_RESPONSE),
        ("file:///etc/passwd", Reason.REGISTRY_INVALID_RESPONSE),
        ("https://user:password@auth.example/token", Reason.REGISTRY_INVALID_RESPONSE),
        ("http://auth.example/token", Reason.REGISTRY_CREDENTIALS),
        ("http://localhost:1/token", Reason.REGISTRY_CREDENTIALS),
        ("https://169.254.169.254/token", Reason.REGISTRY_INVALID_RESPONSE),
        ("https://[::ffff:169.254.169.254]/token", Reason.REGISTRY_INVALID_RESPONSE),
        ("https://100.100.100.200/token", Reason.REGISTRY_INVALID_RESPONSE),
    ],
)
def test_credentials_do_not_go_to_a_realm_that_is_not_safe(realm: str, reason: Reason) -> None:
    with (
        TokenServer(USERS) as server,
        TokenRegistry(server, [f'Bearer realm="{realm}"']) as registry,
        RegistryStore(HTTP, Provider([ALICE]), {}) as store,
    ):
        assert failure(store, push(registry)).reason is reason


def test_a_redirect_of_the_token_server_does_not_take_the_credentials_along() -> None:
    with (
        RecordingRegistry() as elsewhere,
        TokenServer(USERS) as server,
        TokenRegistry(server) as registry,
        RegistryStore(HTTP, Provider([ALICE]), {}) as store,
    ):
        target = elsewhere.url.replace("127.0.0.1", "localhost")
        server.first = [lambda handler: handler.answer(307, headers={"Location": f"{target}/token"})] * 4
        failure(store, push(registry))
        assert elsewhere.seen
        assert not any("Authorization" in seen.headers for seen in elsewhere.seen)


def test_an_identity_token_is_not_posted_along_a_redirect() -> None:
    provider = Provider([Credentials("<token>", identity_token="refresh-me")])
    with (
        RecordingRegistry() as elsewhere,
        TokenServer() as server,
        TokenRegistry(server) as registry,
        RegistryStore(HTTP, provider, {}) as store,
    ):
        server.first = [
            lambda handler: handler.answer(307, headers={"Location": f"{elsewhere.url}/token"})
        ] * 4
        assert failure(store, push(registry)).reason is Reason.REGISTRY_INVALID_RESPONSE
        assert elsewhere.seen == []


class HalfOpen(TokenRegistry):
    """Wants a token for one repository, and serves the other to everybody."""

    def respond(self, handler: RegistryHandler, seen: Seen) -> bool:
        return "/team/closed/" in seen.path and super().respond(handler, seen)


def test_a_guess_from_another_repository_does_not_fail_what_is_open() -> None:
    provider = Provider([ALICE, RegistryError("the provider failed", reason=Reason.REGISTRY_CREDENTIALS)])
    with (
        TokenServer(USERS) as server,
        HalfOpen(server) as registry,
        RegistryStore(HTTP, provider, {}) as store,
    ):
        closed, opened = push(registry, "team/closed"), push(registry, "team/opened")
        assert store.referrers(closed.image, Deadline(5))
        server.users = {}
        assert store.referrers(opened.image, Deadline(5))
        with pytest.raises(RegistryError):
            store.referrers(push(registry, "team/closed/other").image, Deadline(5))


def test_a_guess_leaves_time_for_what_is_open_where_the_token_server_never_answers() -> None:
    with (
        TokenServer(USERS) as server,
        HalfOpen(server) as registry,
        RegistryStore(HTTP, Provider([ALICE]), {}) as store,
    ):
        closed, opened = push(registry, "team/closed"), push(registry, "team/opened")
        assert store.referrers(closed.image, Deadline(5))

        def never(handler: RegistryHandler) -> None:
            server.over.wait(30)

        server.first = [never, never]
        assert store.referrers(opened.image, Deadline(3))
        assert len(server.first) == 1  # the guess was made


def test_credentials_that_a_token_server_denied_are_asked_for_again_by_the_next_call() -> None:
    provider = Provider([Credentials("alice", "old password"), ALICE])
    with (
        TokenServer(USERS) as server,
        TokenRegistry(server) as registry,
        RegistryStore(HTTP, provider, {}) as store,
    ):
        pushed = push(registry)
        assert failure(store, pushed).reason is Reason.REGISTRY_UNAUTHORIZED
        assert fetch(store, pushed) == NOTE
    assert provider.asked == 2
