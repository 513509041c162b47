"""``k8Secrets`` against an API server with TLS and the API's own refusals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import Reason, RegistryError
from slsa_verifier_plugin.registry.auth import leases as refresh
from slsa_verifier_plugin.registry.credentials import Credentials
from slsa_verifier_plugin.registry.credentials.kubernetes.kubernetes_provider import KubernetesSecrets, make
from slsa_verifier_plugin.registry.reference import Reference
from tests.support.cloud_scenes import nothing_shown
from tests.support.clouds import (
    Response,
    Server,
    TestCa,
    eventually,
    everything_about,
    pieces_of,
)
from tests.support.clouds_kubernetes import DOCKER_CFG, FakeKubernetes, entry, status

pytestmark = pytest.mark.server("k8Secrets: API server of the tests")

CONFIG: Mapping[str, object] = {"name": "k8Secrets"}
TOKEN = "eyJhbGciOiJSUzI1NiJ9.planted-kubernetes-token.c2lnbmF0dXJl"
PASSWORD = "planted-pull-password-0123456789"
IMAGE = Reference.parse("registry.example:5000/team/app")
SECRETS = (TOKEN, PASSWORD)


@dataclass
class Cluster:
    """An API server, the mounted files of a Pod and its environment."""

    api: FakeKubernetes
    server: Server
    mount: Path
    environ: dict[str, str]
    now: list[float] = field(default_factory=lambda: [1_800_000_000.0])

    def provider(self, config: Mapping[str, object] = CONFIG) -> KubernetesSecrets:
        return KubernetesSecrets(config, self.environ, str(self.mount), lambda: self.now[0])

    def get(
        self, config: Mapping[str, object] = CONFIG, image: Reference = IMAGE, seconds: float = 60.0
    ) -> Credentials | None:
        return self.provider(config).credentials(image, Deadline(seconds))


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    ca = TestCa(tmp_path)
    mount = tmp_path / "serviceaccount"
    mount.mkdir()
    (mount / "token").write_text(TOKEN)
    (mount / "ca.crt").write_bytes(ca.file.read_bytes())
    api = FakeKubernetes(TOKEN, accounts={("ratify", "default"): []})
    with Server(api, ca.context()) as server:
        environ = {
            "KUBERNETES_SERVICE_HOST": "127.0.0.1",
            "KUBERNETES_SERVICE_PORT": str(server.port),
            "RATIFY_NAMESPACE": "ratify",
        }
        yield Cluster(api, server, mount, environ)


@pytest.fixture(autouse=True)
def nothing_leaks(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    with nothing_shown(SECRETS, capfd):
        yield


def failure(cluster: Cluster, config: Mapping[str, object] = CONFIG) -> RegistryError:
    with pytest.raises(RegistryError) as caught:
        cluster.get(config)
    assert caught.value.reason is Reason.REGISTRY_CREDENTIALS
    assert "k8Secrets" in caught.value.message
    assert not pieces_of(SECRETS, everything_about(caught.value))
    return caught.value


def secrets(*names: str) -> Mapping[str, object]:
    return {**CONFIG, "secrets": [{"secretName": name} for name in names]}


def test_a_configured_secret_in_ratify_s_namespace(cluster: Cluster) -> None:
    cluster.api.add("ratify", "mine", {IMAGE.registry: entry("robot", PASSWORD)})
    found = cluster.get(secrets("mine"))
    assert found == Credentials("robot", PASSWORD)
    assert cluster.api.calls == ["/api/v1/namespaces/ratify/secrets/mine"]
    assert not pieces_of(SECRETS, repr(found))


def test_a_configured_secret_in_another_namespace(cluster: Cluster) -> None:
    cluster.api.add("team", "mine", {IMAGE.registry: entry("robot", PASSWORD)})
    config = {**CONFIG, "secrets": [{"secretName": "mine", "namespace": "team"}]}
    assert cluster.get(config) == Credentials("robot", PASSWORD)


def test_the_service_account_s_pull_secrets(cluster: Cluster) -> None:
    cluster.api.accounts[("ratify", "ratify-admin")] = ["gone", "opaque", "mine"]
    cluster.api.secrets[("ratify", "opaque")] = {"type": "Opaque", "data": {"key": "dmFsdWU="}}
    cluster.api.add("ratify", "mine", {IMAGE.registry: entry("robot", PASSWORD)})
    assert cluster.get({**CONFIG, "serviceAccountName": "ratify-admin"}) == Credentials("robot", PASSWORD)


def test_the_old_type_of_pull_secret(cluster: Cluster) -> None:
    cluster.api.accounts[("ratify", "default")] = ["old"]
    cluster.api.add("ratify", "old", {IMAGE.registry: entry("robot", PASSWORD)}, DOCKER_CFG)
    assert cluster.get() == Credentials("robot", PASSWORD)


def test_configured_secrets_come_first_and_in_their_order(cluster: Cluster) -> None:
    cluster.api.accounts[("ratify", "default")] = ["account"]
    for name in ("account", "second", "third"):
        cluster.api.add("ratify", name, {IMAGE.registry: entry(name, PASSWORD)})
    cluster.api.add("ratify", "elsewhere", {"other.example": entry("other", PASSWORD)})
    found = cluster.get(secrets("missing", "elsewhere", "second", "third"))
    assert found == Credentials("second", PASSWORD)


def test_no_entry_for_the_registry_means_anonymous_access(cluster: Cluster) -> None:
    cluster.api.accounts[("ratify", "default")] = ["elsewhere"]
    cluster.api.add("ratify", "elsewhere", {"registry.example": entry("other", PASSWORD)})
    assert cluster.get() is None


def test_a_configured_secret_of_another_type_is_an_error(cluster: Cluster) -> None:
    """Ratify v1.4.4: only ``dockerconfigjson`` for configured secrets, both types for the service account's."""
    cluster.api.add("ratify", "old", {IMAGE.registry: entry("robot", PASSWORD)}, DOCKER_CFG)
    error = failure(cluster, secrets("old"))
    assert "ratify/old" in error.message
    assert "kubernetes.io/dockercfg" in error.message
    assert not error.transient


@pytest.mark.parametrize(
    "content",
    [
        {"type": "kubernetes.io/dockerconfigjson"},
        {"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": "%%%"}},
        {"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": "W10="}},
        {"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": 7}},
        {"type": 7},
        {},
    ],
)
def test_broken_secrets_are_errors(cluster: Cluster, content: dict[str, Any]) -> None:
    cluster.api.secrets[("ratify", "mine")] = content
    assert "ratify/mine" in failure(cluster, secrets("mine")).message


def test_a_broken_entry_of_another_registry_does_no_harm(cluster: Cluster) -> None:
    auths = {"other.example": {"auth": "%%%"}, IMAGE.registry: entry("robot", PASSWORD)}
    cluster.api.add("ratify", "mine", auths)
    assert cluster.get(secrets("mine")) == Credentials("robot", PASSWORD)
    with pytest.raises(RegistryError, match="auth is not base64"):
        cluster.get(secrets("mine"), Reference("other.example", "app"))


def test_a_missing_service_account_is_an_error(cluster: Cluster) -> None:
    error = failure(cluster, {**CONFIG, "serviceAccountName": "nobody"})
    assert "service account ratify/nobody" in error.message
    assert not error.transient


@pytest.mark.parametrize("path", ["secrets/mine", "serviceaccounts/default"])
def test_rbac_that_does_not_grant_it(cluster: Cluster, path: str) -> None:
    cluster.api.forbidden.add(f"/api/v1/namespaces/ratify/{path}")
    error = failure(cluster, secrets("mine"))
    assert "HTTP 403" in error.message
    assert "is forbidden" in error.message
    assert "RBAC" in error.message
    assert not error.transient


def test_a_token_that_the_api_does_not_accept(cluster: Cluster) -> None:
    (cluster.mount / "token").write_text("eyJhbGciOiJSUzI1NiJ9.expired.c2ln")
    assert "does not accept the mounted token" in failure(cluster).message


def test_the_token_is_read_again(cluster: Cluster) -> None:
    provider = cluster.provider()
    assert provider.credentials(IMAGE, Deadline(60)) is None
    cluster.api.token = "eyJhbGciOiJSUzI1NiJ9.planted-next-token.c2lnbmF0dXJl"
    (cluster.mount / "token").write_text(cluster.api.token)
    cluster.now[0] += 3600
    assert provider.credentials(IMAGE, Deadline(60)) is None
    assert len(cluster.api.calls) == 2


@pytest.mark.parametrize("content", [b"", b"  \n", b"two words", b"\xff\xfe", b"x" * 70_000])
def test_token_files_that_hold_no_token(cluster: Cluster, content: bytes) -> None:
    (cluster.mount / "token").write_bytes(content)
    failure(cluster)
    assert cluster.api.calls == []


def test_a_missing_token_is_an_error(cluster: Cluster) -> None:
    (cluster.mount / "token").unlink()
    assert "No such file" in failure(cluster).message


def test_a_missing_ca_is_an_error(cluster: Cluster) -> None:
    (cluster.mount / "ca.crt").unlink()
    assert "ca.crt" in failure(cluster).message


@pytest.mark.parametrize(("code", "transient"), [(429, True), (500, True), (503, True), (410, False)])
def test_an_api_in_trouble(cluster: Cluster, code: int, transient: bool) -> None:
    cluster.api.answer = status(code, "Trouble", f"wait; {TOKEN}")
    error = failure(cluster)
    assert error.transient is transient
    assert f"HTTP {code}" in error.message
    assert "repeats a secret" in error.message


@pytest.mark.parametrize(
    "answer",
    [
        Response(200, b"<html>"),
        Response(200, b"[]"),
        Response(200, b""),
        Response(404, b"<html>not here</html>"),
        Response(302, b"", {"Location": "https://127.0.0.1:1/"}),
        Response(200, b" " * (2 * 1024 * 1024 + 1)),
    ],
    ids=["html", "list", "empty", "another server", "redirect", "too long"],
)
def test_what_is_no_kubernetes_api(cluster: Cluster, answer: Response) -> None:
    cluster.api.answer = answer
    assert not failure(cluster).transient


def test_a_changed_secret_is_noticed_without_a_wait(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refresh, "RETRY_SECONDS", 0.0)
    cluster.api.add("ratify", "mine", {IMAGE.registry: entry("robot", "planted-first-password")})
    provider = cluster.provider(secrets("mine"))
    assert provider.credentials(IMAGE, Deadline(60)) == Credentials("robot", "planted-first-password")
    cluster.api.add("ratify", "mine", {IMAGE.registry: entry("robot", PASSWORD)})
    cluster.now[0] += 61
    assert provider.credentials(IMAGE, Deadline(60)) == Credentials("robot", "planted-first-password")
    assert eventually(lambda: provider.credentials(IMAGE, Deadline(60)) == Credentials("robot", PASSWORD))


def test_an_api_that_is_away_does_no_harm_for_a_while(cluster: Cluster) -> None:
    cluster.api.add("ratify", "mine", {IMAGE.registry: entry("robot", PASSWORD)})
    provider = cluster.provider(secrets("mine"))
    assert provider.credentials(IMAGE, Deadline(60)) is not None
    cluster.api.answer = status(503, "ServiceUnavailable", "away")
    cluster.now[0] += 200
    assert provider.credentials(IMAGE, Deadline(60)) == Credentials("robot", PASSWORD)
    cluster.now[0] += 101
    with pytest.raises(RegistryError) as caught:
        provider.credentials(IMAGE, Deadline(60))
    assert caught.value.transient


def test_make_takes_kubernetes_own_place_for_the_token(cluster: Cluster) -> None:
    with pytest.raises(RegistryError, match=r"/var/run/secrets/kubernetes\.io/serviceaccount/ca\.crt"):
        make(CONFIG, cluster.environ)


@pytest.mark.parametrize("name", ["KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT", "RATIFY_NAMESPACE"])
def test_variables_that_must_be_set(cluster: Cluster, name: str) -> None:
    del cluster.environ[name]
    assert name in failure(cluster).message


@pytest.mark.parametrize(
    ("host", "port"), [("evil.example/x?", "443"), ("a b", "443"), ("10.0.0.1", "http"), ("u@h", "1")]
)
def test_addresses_that_are_none(cluster: Cluster, host: str, port: str) -> None:
    cluster.environ |= {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
    assert "are no address" in failure(cluster).message


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"secrets": [{"secretName": "../../../../api"}]}, "not the name of a kubernetes object"),
        ({"secrets": [{"secretName": "a", "namespace": "b/c"}]}, "not the name of a kubernetes object"),
        ({"secrets": [{"namespace": "a"}]}, "secretName is missing"),
        ({"secrets": ["a"]}, "expected a list of objects"),
        ({"secrets": "a"}, "expected a list of objects"),
        ({"secret": []}, "did you mean secrets?"),
        ({"serviceAccountName": 7}, "expected a string"),
    ],
)
def test_configurations_that_cannot_be_used(
    cluster: Cluster, config: Mapping[str, object], expected: str
) -> None:
    assert expected in failure(cluster, {**CONFIG, **config}).message
