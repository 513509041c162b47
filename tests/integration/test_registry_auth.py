"""Authentication against registries that want it: Basic, bearer tokens, and what must not be sent where."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import DeadlineError, Reason, RegistryError
from slsa_verifier_plugin.network.transport import HttpRequest
from slsa_verifier_plugin.registry.auth.challenge import Challenge
from slsa_verifier_plugin.registry.auth.tokens import TokenRequest
from slsa_verifier_plugin.registry.credentials import Credentials
from slsa_verifier_plugin.registry.reference import Reference
from slsa_verifier_plugin.registry.settings import StoreSettings
from slsa_verifier_plugin.registry.store import RegistryStore
from tests.support.content import NOTE, Pushed, push
from tests.support.embedded_registry import EmbeddedRegistry
from tests.support.processes import wait_until
from tests.support.registries import BasicRegistry, RecordingRegistry, Seen, TokenRegistry, TokenServer
from tests.support.registry_handler import RegistryHandler
from tests.support.registry_logins import ALICE, USERS, Provider, failure, fetch
from tests.support.waiting import at_once

pytestmark = pytest.mark.server("registries and token servers of the tests")

HTTP = StoreSettings(use_http=True)


def test_basic_is_shown_once_it_was_asked_for_and_then_always() -> None:
    provider = Provider([ALICE])
    with BasicRegistry(USERS) as registry, RegistryStore(HTTP, provider, {}) as store:
        pushed = push(registry)
        assert fetch(store, pushed) == NOTE
        assert store.referrers(pushed.image, Deadline(5))
        shown = ["Authorization" in seen.headers for seen in registry.seen]
    assert shown == [False, True, True]
    assert provider.asked == 1


def test_basic_without_credentials_says_what_is_missing() -> None:
    with BasicRegistry(USERS) as registry, RegistryStore(HTTP, Provider([None]), {}) as store:
        error = failure(store, push(registry))
    assert error.reason is Reason.REGISTRY_UNAUTHORIZED
    assert "authProvider has no credentials" in error.message


def test_wrong_basic_credentials_are_asked_for_once_more_and_then_refused() -> None:
    provider = Provider([Credentials("alice", "wrong"), Credentials("alice", "still wrong")])
    with BasicRegistry(USERS) as registry, RegistryStore(HTTP, provider, {}) as store:
        error = failure(store, push(registry))
        assert len(registry.seen) == 3
    assert error.reason is Reason.REGISTRY_UNAUTHORIZED
    assert provider.asked == 2


def test_credentials_that_were_changed_are_found() -> None:
    provider = Provider([Credentials("alice", "old password"), ALICE])
    with BasicRegistry(USERS) as registry, RegistryStore(HTTP, provider, {}) as store:
        assert fetch(store, push(registry)) == NOTE


def test_a_user_name_with_a_colon_is_not_sent() -> None:
    provider = Provider([Credentials("ali:ce", "secret-password")])
    with BasicRegistry(USERS) as registry, RegistryStore(HTTP, provider, {}) as store:
        error = failure(store, push(registry))
        assert not any("Authorization" in seen.headers for seen in registry.seen)
    assert error.reason is Reason.REGISTRY_CREDENTIALS


@pytest.mark.parametrize("name", ["token", "access_token"])
def test_a_token_is_got_for_the_repository_and_used_again(name: str) -> None:
    with (
        TokenServer(USERS, name=name) as server,
        TokenRegistry(server) as registry,
        RegistryStore(HTTP, Provider([ALICE]), {}) as store,
    ):
        pushed = push(registry)
        assert fetch(store, pushed) == NOTE
        assert store.referrers(pushed.image, Deadline(5))
        assert len(server.seen) == 1
        assert server.seen[0].query == {"service": ["test"], "scope": ["repository:team/app:pull"]}


def test_a_token_for_nobody_is_got_where_there_are_no_credentials() -> None:
    with (
        TokenServer(anonymous=True) as server,
        TokenRegistry(server) as registry,
        RegistryStore(HTTP, None, {}) as store,
    ):
        assert fetch(store, push(registry)) == NOTE


def test_an_identity_token_is_exchanged_by_post() -> None:
    provider = Provider([Credentials("<token>", identity_token="refresh-me")])
    with (
        TokenServer(identities={"refresh-me": "alice"}, name="access_token") as server,
        TokenRegistry(server) as registry,
        RegistryStore(HTTP, provider, {}) as store,
    ):
        assert fetch(store, push(registry)) == NOTE
        assert [seen.method for seen in server.seen] == ["POST"]
        assert "refresh-me" not in server.seen[0].path
        assert server.seen[0].form["scope"] == ["repository:team/app:pull"]


def test_every_repository_has_its_own_token_and_the_second_needs_no_refusal() -> None:
    with (
        TokenServer(USERS) as server,
        TokenRegistry(server) as registry,
        RegistryStore(HTTP, Provider([ALICE]), {}) as store,
    ):
        first, second = push(registry, "team/first"), push(registry, "team/second")
        other = store.manifest(first.image, first.artifact, Deadline(5))
        assert other != store.manifest(second.image, second.artifact, Deadline(5))
        scopes = [seen.query["scope"] for seen in server.seen]
        assert scopes == [["repository:team/first:pull"], ["repository:team/second:pull"]]
        assert len(registry.seen) == 3


SCOPES = st.lists(
    st.one_of(
        st.sampled_from(
            [
                *(
                    "<scope>",
                    "<scope>,push",
                    "repository:team/app:push,pull-x",
                    "repository:team/app:*",
                    "registry:catalog:*",
                ),
                *(
                    "repository:other/app:pull",
                    "repository:team/app:delete",
                    "repository(plugin):team/app:pull",
                    "*",
                    "admin",
                ),
                *(
                    "repository:team/app:PULL",
                    "repository:team/app:pull,pull",
                    "repository:host:5000/team/app:pull",
                    "a:b",
                ),
                *(
                    "repository:team/app/../other:pull",
                    "repository:team%2Fapp:pull",
                    "&scope=repository:x:push",
                    "#",
                ),
            ]
        ),
        st.text(
            alphabet=st.characters(min_codepoint=33, max_codepoint=126, exclude_characters='"\\'), max_size=40
        ),
    ),
    max_size=9,
).map(" ".join)


@pytest.fixture(scope="module")
def scoped() -> Iterator[tuple[TokenServer, TokenRegistry, Pushed]]:
    with TokenServer(USERS) as server, TokenRegistry(server) as registry:
        yield server, registry, push(registry)


@given(
    SCOPES,
    st.sampled_from(
        [
            "",
            "?scope=repository:team/app:push",
            "?a=b&%73cope=*&SCOPE=x&offline_token=true",
            "?a=b;scope=*",
            "?scope[]=*&%20scope=*&scope%5B0%5D=*&+scope=*",
        ]
    ),
)
@settings(max_examples=60, deadline=None)
def test_whatever_a_challenge_asks_for_only_what_the_call_needs_is_asked_of_the_token_server(
    scoped: tuple[TokenServer, TokenRegistry, Pushed], scope: str, query: str
) -> None:
    server, registry, pushed = scoped
    registry.challenge = (f'Bearer realm="<realm>{query}",service="s",scope="{scope}"',)
    server.seen.clear()
    with RegistryStore(HTTP, Provider([ALICE]), {}) as store:
        assert fetch(store, pushed) == NOTE
    kept = {"a": ["b"]} if "a=b&" in query else {}
    assert server.seen[0].query == {"service": ["s"], "scope": ["repository:team/app:pull"], **kept}


def test_the_catalog_is_asked_for_to_list_repositories_and_for_nothing_else() -> None:
    assert (
        TokenRequest.answering(Challenge("bearer", {"realm": "r", "scope": "*"}), "").scope
        == "registry:catalog:*"
    )


@pytest.mark.parametrize(
    "challenge",
    [
        ['Basic realm="x"', 'Bearer realm="<realm>",service="test",scope="<scope>"'],
        ['Negotiate, Basic realm="x", Bearer realm="<realm>", service=test, scope="<scope>"'],
        ['bearer REALM="<realm>" , SERVICE="a, \\"b\\"" , scope="<scope>"'],
        ["Bearer realm=<realm>,scope=<scope>"],
        ['Bearer realm="<realm>"'],
    ],
)
def test_every_common_form_of_challenge_is_answered(challenge: list[str]) -> None:
    with (
        TokenServer(USERS) as server,
        TokenRegistry(server, challenge) as registry,
        RegistryStore(HTTP, Provider([ALICE]), {}) as store,
    ):
        assert fetch(store, push(registry)) == NOTE


def test_a_token_is_renewed_before_it_ends() -> None:
    with (
        TokenServer(USERS, seconds=1) as server,
        TokenRegistry(server) as registry,
        RegistryStore(HTTP, Provider([ALICE]), {}) as store,
    ):
        pushed = push(registry)
        fetch(store, pushed)
        before = len(registry.seen)
        time.sleep(0.95)
        store.referrers(pushed.image, Deadline(5))
        assert len(server.seen) == 2
        assert len(registry.seen) == before + 1, "the old token was tried"


def test_a_token_that_was_revoked_is_replaced() -> None:
    with (
        TokenServer(USERS) as server,
        TokenRegistry(server) as registry,
        RegistryStore(HTTP, Provider([ALICE]), {}) as store,
    ):
        pushed = push(registry)
        fetch(store, pushed)
        server.issued.clear()
        assert store.referrers(pushed.image, Deadline(5))


def test_many_callers_ask_for_one_token_and_once_for_credentials() -> None:
    provider = Provider([ALICE], pause=0.05)
    with (
        TokenServer(USERS, latency=0.05) as server,
        TokenRegistry(server) as registry,
        RegistryStore(HTTP, provider, {}) as store,
    ):
        pushed = push(registry)
        found = at_once(32, lambda _: store.referrers(pushed.image, Deadline(10)))
        assert all(len(item) == 1 for item in found)
        assert len(server.seen) == 1
    assert provider.asked == 1


class PausingTokenServer(TokenServer):
    """Issues no token until told to."""

    def __init__(self) -> None:
        super().__init__(USERS)
        self.go_on = threading.Event()

    def respond(self, handler: RegistryHandler, seen: Seen) -> bool:
        self.go_on.wait(60)
        return super().respond(handler, seen)


def test_a_caller_with_little_time_does_not_wait_for_another_that_gets_a_token() -> None:
    with (
        PausingTokenServer() as server,
        TokenRegistry(server) as registry,
        RegistryStore(HTTP, Provider([ALICE]), {}) as store,
    ):
        pushed = push(registry)

        def call(number: int) -> None:
            if number == 0:
                assert fetch(store, pushed, 60) == NOTE
            else:
                wait_until(lambda: len(server.seen) == 1)
                with pytest.raises(DeadlineError):
                    fetch(store, pushed, 0.2)
                # Only now does the other one get it.
                server.go_on.set()

        at_once(2, call)
        assert len(server.seen) == 1


def test_a_provider_that_fails_is_the_error() -> None:
    provider = Provider([RegistryError("the provider failed", reason=Reason.REGISTRY_CREDENTIALS)])
    with BasicRegistry(USERS) as registry, RegistryStore(HTTP, provider, {}) as store:
        assert failure(store, push(registry)).reason is Reason.REGISTRY_CREDENTIALS


def test_a_provider_is_not_asked_where_nothing_is_asked_for() -> None:
    provider = Provider([RegistryError("the provider failed", reason=Reason.REGISTRY_CREDENTIALS)])
    with EmbeddedRegistry() as registry, RegistryStore(HTTP, provider, {}) as store:
        assert fetch(store, push(registry)) == NOTE
    assert provider.asked == 0


def test_two_stores_do_not_share_credentials_or_tokens() -> None:
    with TokenServer(USERS) as server, TokenRegistry(server) as registry:
        pushed = push(registry)
        with RegistryStore(HTTP, Provider([ALICE]), {}) as first:
            fetch(first, pushed)
            with RegistryStore(HTTP, None, {}) as second:
                assert failure(second, pushed).reason is Reason.REGISTRY_UNAUTHORIZED


def test_the_registry_localhost_is_not_docker_hub() -> None:
    from slsa_verifier_plugin.network.dialing import Endpoint, Resolver

    with BasicRegistry(USERS) as local, RecordingRegistry() as hub:
        pushed = push(local)
        push(hub)
        ports = {"localhost": local.host, "registry-1.docker.io": hub.host, "docker.io": hub.host}

        def lookup(host: str, port: int) -> list[Endpoint]:
            return [Endpoint(socket.AF_INET, ("127.0.0.1", int(ports[host].rpartition(":")[2])))]

        image = Reference("localhost", "team/app", digest=pushed.image.digest)
        with RegistryStore(HTTP, Provider([ALICE]), {}, resolver=Resolver(lookup)) as store:
            assert [item.digest for item in store.referrers(image, Deadline(5))] == [pushed.artifact.digest]
            assert store.manifest(image, pushed.artifact, Deadline(5))
            assert store.blob(image, pushed.blob, len(NOTE), Deadline(5)) == NOTE
            assert store.tags(image, Deadline(5)) == ["1"]
        assert hub.seen == []


def test_no_authorization_goes_to_a_url_of_another_host() -> None:
    with BasicRegistry(USERS) as registry, RecordingRegistry() as other:
        pushed = push(registry)
        with RegistryStore(HTTP, Provider([ALICE]), {}) as store:
            assert fetch(store, pushed) == NOTE
            client = store.client(pushed.image)
            client.send(HttpRequest("asking", f"{other.url}/v2/"), Deadline(5)).error_body()
        assert [seen.headers.get("Authorization") for seen in other.seen] == [None]
