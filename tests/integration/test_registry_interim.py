"""Interim answers without end and trickled heads, wherever a registry, a token server or a cloud's service answers."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import DeadlineError, RegistryError
from slsa_verifier_plugin.network.transport import HttpRequest
from slsa_verifier_plugin.registry import push as pushing
from slsa_verifier_plugin.registry.credentials.aws.aws_provider import EcrCredentials
from slsa_verifier_plugin.registry.credentials.web import Web
from slsa_verifier_plugin.registry.push import Pusher
from slsa_verifier_plugin.registry.reference import Reference
from slsa_verifier_plugin.registry.settings import StoreSettings
from slsa_verifier_plugin.registry.store import RegistryStore
from tests.support import toxins
from tests.support.content import NOTE, push
from tests.support.registries import TokenRegistry, TokenServer, ToxicRegistry, Toxin

pytestmark = pytest.mark.server("endless interim answers, in every exchange")

HTTP = StoreSettings(use_http=True)
SECONDS = 0.6
LATE = 15.0
"""Far beyond the limit, and far below what a peer that is waited for without one would take: for ever."""
ENDLESS = [
    toxins.dripping_headers,
    toxins.endless_continue,
    toxins.endless_processing,
    toxins.flooding_interim,
]


def expect_an_end(work: Callable[[], object]) -> None:
    begun = time.monotonic()
    with pytest.raises((DeadlineError, RegistryError)):
        work()
    assert time.monotonic() - begun < LATE


@pytest.mark.parametrize("toxin", ENDLESS)
@pytest.mark.parametrize("where", ["/blobs/", "/manifests/", "/referrers/", "/tags/"])
def test_every_request_to_a_registry_ends(where: str, toxin: Toxin) -> None:
    with ToxicRegistry(toxin, where) as registry, RegistryStore(HTTP, None, {}) as store:
        pushed = push(registry)
        work: dict[str, Callable[[], object]] = {
            "/blobs/": lambda: store.blob(pushed.image, pushed.blob, len(NOTE), Deadline(SECONDS)),
            "/manifests/": lambda: store.manifest(pushed.image, pushed.artifact, Deadline(SECONDS)),
            "/referrers/": lambda: store.referrers(pushed.image, Deadline(SECONDS)),
            "/tags/": lambda: store.tags(pushed.image, Deadline(SECONDS)),
        }
        expect_an_end(work[where])


@pytest.mark.parametrize("toxin", ENDLESS)
def test_every_request_to_a_token_server_ends(toxin: Toxin) -> None:
    with ToxicRegistry(toxin, "/token") as toxic, TokenServer() as server:
        challenge = [f'Bearer realm="{toxic.url}/token",service="s"']
        with TokenRegistry(server, challenge) as registry, RegistryStore(HTTP, None, {}) as store:
            pushed = push(registry)
            expect_an_end(lambda: store.blob(pushed.image, pushed.blob, len(NOTE), Deadline(SECONDS)))


@pytest.mark.parametrize("toxin", ENDLESS)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_every_request_of_a_cloud_provider_ends(toxin: Toxin, method: str) -> None:
    with ToxicRegistry(toxin, "/cloud") as toxic:
        web = Web("cloud", {})
        form = {"a": "b"} if method == "POST" else None
        request = HttpRequest("asking", f"{toxic.url}/cloud", method, body=form)
        expect_an_end(lambda: web.send(request, Deadline(SECONDS)))


@pytest.mark.parametrize("toxin", ENDLESS)
def test_every_call_of_awss_sdk_ends(toxin: Toxin) -> None:
    """Its own limits are for the silence between two bytes: sixteen that hung would be all that a provider may have."""
    pytest.importorskip("botocore")
    with ToxicRegistry(toxin, "/") as toxic:
        environ = {
            "AWS_ENDPOINT_URL": toxic.url,
            "AWS_REGION": "eu-north-1",
            "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/x",
            "AWS_WEB_IDENTITY_TOKEN_FILE": "/nonexistent",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
        }
        provider = EcrCredentials({"name": "awsEcrBasic"}, environ)
        image = Reference("123456789012.dkr.ecr.eu-north-1.amazonaws.com", "app")
        # Loading the SDK may take all of the time of the first calls.
        for _ in range(50):
            expect_an_end(lambda: provider.credentials(image, Deadline(SECONDS)))
            if toxic.hits:
                break
        assert toxic.hits


@pytest.mark.parametrize("toxin", ENDLESS)
def test_every_request_of_a_push_ends(toxin: Toxin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pushing, "PUSH_SECONDS", SECONDS)
    monkeypatch.setattr(pushing, "ATTEMPTS", 1)
    with ToxicRegistry(toxin, "/blobs/") as registry:
        pushed = push(registry)
        with Pusher(pushed.image, True, None, {}) as pusher:
            expect_an_end(lambda: pusher.blob(b"x"))


@pytest.mark.parametrize("where", ["/blobs/", "/manifests/", "/referrers/"])
def test_interim_answers_before_a_proper_one_do_no_harm(where: str) -> None:
    with ToxicRegistry(toxins.with_hints, where) as registry, RegistryStore(HTTP, None, {}) as store:
        pushed = push(registry)
        assert store.referrers(pushed.image, Deadline(30))
        assert store.manifest(pushed.image, pushed.artifact, Deadline(30))
        assert store.blob(pushed.image, pushed.blob, len(NOTE), Deadline(30)) == NOTE
        with Pusher(pushed.image, True, None, {}) as pusher:
            assert pusher.blob(b"x").algorithm == "sha256"
