"""``azureWorkloadIdentity`` and ``azureManagedIdentity`` against Entra, IMDS and ACR as they are documented."""

from __future__ import annotations

import hashlib
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import Reason, RegistryError
from slsa_verifier_plugin.registry.credentials import Credentials
from slsa_verifier_plugin.registry.credentials.azure.azure_provider import USERNAME, make
from slsa_verifier_plugin.registry.reference import Reference
from tests.support.cloud_scenes import azure_scene, nothing_shown
from tests.support.clouds import (
    Cloud,
    Request,
    Response,
    Server,
    TestCa,
    everything_about,
    pieces_of,
)
from tests.support.clouds_azure import CLIENT, FakeAzure

pytestmark = pytest.mark.server(
    "azureWorkloadIdentity, azureManagedIdentity: Entra, IMDS and ACR of the tests"
)

WORKLOAD = {"name": "azureWorkloadIdentity"}
MANAGED = {"name": "azureManagedIdentity"}
BOTH = pytest.mark.parametrize("config", [WORKLOAD, MANAGED], ids=["workload", "managed"])
AUTHORITY, REGISTRY = "login.microsoftonline.com", "planted.azurecr.io"
IMAGE = Reference.parse(f"{REGISTRY}/team/app")
ASSERTION = "eyJhbGciOiJSUzI1NiJ9.planted-service-account-token.c2lnbmF0dXJl"
ACCESS_TOKEN = "eyJ0eXAiOiJKV1QifQ.planted-entra-access-token.QWNjZXNz"
REFRESH_TOKEN = "eyJ0eXAiOiJKV1QifQ.planted-acr-refresh-token.UmVmcmVzaA"
SECRETS = (ASSERTION, ACCESS_TOKEN, REFRESH_TOKEN)


@dataclass
class Azure:
    """The fake, the servers before it, and the environment that leads to it."""

    cloud: Cloud
    fake: FakeAzure
    environ: dict[str, str]
    imds: Server

    def get(
        self, config: Mapping[str, object], seconds: float = 60.0, image: Reference = IMAGE
    ) -> Credentials | None:
        return make(dict(config), self.environ).credentials(image, Deadline(seconds))


@pytest.fixture
def azure(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Iterator[Azure]:
    with azure_scene(tmp_path) as made, nothing_shown(SECRETS, capfd):
        yield Azure(made.cloud, made.fake, made.environ, made.server)


def failure(azure: Azure, config: dict[str, str], seconds: float = 60.0) -> RegistryError:
    with pytest.raises(RegistryError) as caught:
        azure.get(config, seconds)
    assert caught.value.reason is Reason.REGISTRY_CREDENTIALS
    assert config["name"] in caught.value.message
    assert not pieces_of(SECRETS, everything_about(caught.value))
    return caught.value


@BOTH
def test_exchanges_an_access_token_for_the_registry_s_refresh_token(
    azure: Azure, config: dict[str, str]
) -> None:
    found = azure.get(config)
    assert found is not None
    assert (found.username, found.password, found.identity_token) == (USERNAME, REFRESH_TOKEN, "")
    assert found.expires_at == pytest.approx(time.time() + 3599, abs=30)
    assert azure.fake.calls == ["entra" if config is WORKLOAD else "imds", "acr"]
    assert not pieces_of(SECRETS, repr(found))


def test_a_life_may_be_written_as_text(azure: Azure) -> None:
    answer = {"access_token": ACCESS_TOKEN, "expires_in": "3599", "token_type": "Bearer"}
    azure.fake.entra_answer = Response.json(answer)
    found = azure.get(WORKLOAD)
    assert found is not None
    assert found.password == REFRESH_TOKEN


def test_the_metadata_service_is_never_asked_through_a_proxy(
    azure: Azure, monkeypatch: pytest.MonkeyPatch
) -> None:
    azure.get(MANAGED)
    assert azure.cloud.proxy.asked == [f"{REGISTRY}:443"]
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://metadata.invalid")
    assert "has no address" in failure(azure, MANAGED).message
    assert azure.cloud.proxy.asked == [f"{REGISTRY}:443"]


@pytest.mark.parametrize("honest", [True, False])
def test_service_fabric_is_known_by_its_certificate_s_digest(
    azure: Azure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, honest: bool
) -> None:
    def answering(request: Request) -> Response:
        assert request.headers["secret"] == "planted-header"
        ends = str(int(time.time()) + 3599)
        return Response.json({"access_token": ACCESS_TOKEN, "expires_on": ends, "token_type": "Bearer"})

    with Server(answering, TestCa(tmp_path, "fabric").context()) as fabric:
        certificate = ssl.get_server_certificate(("127.0.0.1", fabric.port))
        digest = hashlib.sha1(ssl.PEM_cert_to_DER_cert(certificate), usedforsecurity=False).hexdigest()
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"https://127.0.0.1:{fabric.port}/token")
        monkeypatch.setenv("IDENTITY_HEADER", "planted-header")
        monkeypatch.setenv("IDENTITY_SERVER_THUMBPRINT", digest if honest else "0" * 40)
        if honest:
            assert azure.get(MANAGED) is not None
            assert azure.fake.calls == ["acr"]
        else:
            failure(azure, MANAGED)
        assert len(fabric.requests) == honest


def test_managed_identity_is_not_replaced_by_workload_identity(
    azure: Azure, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_FEDERATED_TOKEN_FILE", "AZURE_AUTHORITY_HOST"):
        monkeypatch.setenv(name, azure.environ[name])
    azure.get(MANAGED)
    assert azure.fake.calls == ["imds", "acr"]


def test_client_id_of_the_configuration_or_of_the_environment(azure: Azure) -> None:
    """Ratify v1.4.4: the configuration counts first for workload identity, the environment for managed identity."""
    wrong = "00000000-aaaa-bbbb-cccc-dddddddddddd"
    assert azure.get({**MANAGED, "clientID": wrong}) is not None
    azure.environ["AZURE_CLIENT_ID"] = wrong
    assert azure.get({**WORKLOAD, "clientID": CLIENT}) is not None
    del azure.environ["AZURE_CLIENT_ID"]
    assert azure.get({**WORKLOAD, "clientID": CLIENT}) is not None
    assert azure.get({**MANAGED, "clientId": CLIENT}) is not None


@BOTH
def test_tokens_go_only_to_hosts_of_the_endpoints(azure: Azure, config: dict[str, str]) -> None:
    for registry in (
        "planted.azurecr.io.evil.example",
        "a.planted.azurecr.io",
        "azurecr.io",
        "evilazurecr.io",
        "docker.io",
        f"{REGISTRY}:443",
    ):
        assert azure.get(config, image=Reference(registry, "app")) is None
    assert azure.fake.calls == []
    assert azure.cloud.proxy.asked == []
    restricted = {**config, "endpoints": ["*.azurecr.us", "other.azurecr.io"]}
    assert azure.get(restricted) is None
    assert azure.get({**config, "endpoints": [REGISTRY.upper()]}) is not None


@BOTH
def test_registries_share_the_access_token(azure: Azure, config: dict[str, str]) -> None:
    azure.cloud.serve(azure.fake.acr, "second.azurecr.io")
    provider = make(config, azure.environ)
    for registry in (REGISTRY, "second.azurecr.io", REGISTRY):
        assert provider.credentials(Reference(registry, "app"), Deadline(60)) is not None
    assert azure.fake.calls[1:] == ["acr", "acr"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"AZURE_TENANT_ID": "99999999-2222-3333-4444-555555555555"}, "AADSTS90002"),
        ({"AZURE_TENANT_ID": "../evil?x=1#"}, "AADSTS90002"),
        ({"AZURE_CLIENT_ID": "99999999-2222-3333-4444-555555555555"}, "AADSTS700016"),
        ({"AZURE_AUTHORITY_HOST": "http://login.microsoftonline.com"}, "not an https:// URL"),
        ({"AZURE_AUTHORITY_HOST": "https://["}, "not an https:// URL"),
        ({"AZURE_AUTHORITY_HOST": "https://login.elsewhere.example"}, "(HTTP 502)"),
    ],
)
def test_what_entra_rejects(azure: Azure, change: dict[str, str], expected: str) -> None:
    azure.environ |= change
    error = failure(azure, WORKLOAD)
    assert expected in error.message
    assert error.transient is (expected == "(HTTP 502)")


def test_a_token_that_entra_does_not_accept(azure: Azure) -> None:
    Path(azure.environ["AZURE_FEDERATED_TOKEN_FILE"]).write_text("eyJhbGciOiJSUzI1NiJ9.another.c2ln")
    error = failure(azure, WORKLOAD)
    assert "getting an access token from login.microsoftonline.com" in error.message
    assert "AADSTS700213" in error.message
    assert f'federated credential of the identity "{CLIENT}"' in error.message
    assert not error.transient


def test_an_identity_that_is_not_assigned(azure: Azure) -> None:
    azure.environ["AZURE_CLIENT_ID"] = "99999999-2222-3333-4444-555555555555"
    error = failure(azure, MANAGED)
    assert "instance's metadata service" in error.message
    assert "Identity not found" in error.message
    assert not error.transient


@pytest.mark.parametrize(
    ("status", "transient"), [(404, True), (410, True), (429, True), (500, True), (400, False)]
)
def test_a_metadata_service_in_trouble(azure: Azure, status: int, transient: bool) -> None:
    azure.fake.imds_answer = Response.json({"error": "trouble", "error_description": "wait"}, status)
    error = failure(azure, MANAGED)
    assert error.transient is transient
    assert f"HTTP {status}" in error.message
    assert azure.fake.calls == ["imds"], "no retries by the SDK"


@pytest.mark.parametrize(("status", "transient"), [(429, True), (503, True), (401, False)])
def test_an_authority_in_trouble(azure: Azure, status: int, transient: bool) -> None:
    azure.fake.entra_answer = Response.json({"error": "trouble", "error_description": "wait"}, status)
    assert failure(azure, WORKLOAD).transient is transient
    assert azure.fake.calls == ["entra"], "no retries by the SDK"


@BOTH
@pytest.mark.parametrize(
    ("status", "transient"), [(401, False), (403, False), (404, False), (429, True), (502, True)]
)
def test_what_the_registry_rejects(
    azure: Azure, config: dict[str, str], status: int, transient: bool
) -> None:
    body = {"errors": [{"code": "UNAUTHORIZED", "message": "because of the role"}]}
    azure.fake.acr_answer = Response.json(body, status)
    error = failure(azure, config)
    assert f"exchanging the access token with {REGISTRY}" in error.message
    assert "UNAUTHORIZED: because of the role" in error.message
    assert ("AcrPull" in error.message) is not transient
    assert error.transient is transient


def test_a_tenant_that_is_not_the_registry_s(azure: Azure) -> None:
    azure.environ["AZURE_TENANT_ID"] = "99999999-2222-3333-4444-555555555555"
    assert "authentication required" in failure(azure, MANAGED).message


@BOTH
@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"{}", b'{"refresh_token": ""}', b'{"refresh_token": 7}', b"\xff"]
)
def test_exchanges_that_answer_nothing_useful(azure: Azure, config: dict[str, str], body: bytes) -> None:
    azure.fake.acr_answer = Response(200, body)
    assert not failure(azure, config).transient


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"access_token": 7, "expires_in": "x"}',
        b'{"access_token": "x", "expires_in": 9e99}',
        b'{"access_token": "x", "expires_in": 99999999999999999999}',
        b"null",
    ],
)
@BOTH
def test_token_services_that_answer_nothing_useful(azure: Azure, config: dict[str, str], body: bytes) -> None:
    azure.fake.entra_answer = azure.fake.imds_answer = Response(200, body)
    failure(azure, config)


@BOTH
def test_explanations_that_repeat_a_secret_are_withheld(azure: Azure, config: dict[str, str]) -> None:
    azure.fake.acr_answer = Response.json({"errors": [{"code": "X", "message": ACCESS_TOKEN[5:]}]}, 401)
    assert "repeats a secret" in failure(azure, config).message
    azure.fake.entra_answer = Response.json({"error": "x", "error_description": f"bad {ASSERTION}"}, 401)
    if config is WORKLOAD:
        assert "repeats a secret" in failure(azure, config).message


def test_a_redirect_is_not_followed(azure: Azure) -> None:
    azure.cloud.serve(azure.fake.acr, "evil.azurecr.io")
    moved = Response(307, b"", {"Location": "https://evil.azurecr.io/oauth2/exchange"})
    azure.fake.acr_answer = moved
    assert "HTTP 307" in failure(azure, MANAGED).message
    azure.fake.acr_answer = None
    azure.fake.entra_answer = Response(307, b"", {"Location": "https://evil.azurecr.io/oauth2/v2.0/token"})
    error = failure(azure, WORKLOAD)
    assert "HTTP 307" in error.message
    assert "not followed" in error.message
    assert "evil.azurecr.io:443" not in azure.cloud.proxy.asked
