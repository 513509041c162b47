"""``k8Secrets`` against a real kube-apiserver, where the end-to-end tests have built one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import RegistryError
from slsa_verifier_plugin.registry.credentials import Credentials
from slsa_verifier_plugin.registry.credentials.kubernetes.kubernetes_provider import KubernetesSecrets
from slsa_verifier_plugin.registry.reference import Reference
from tests.support.clouds import eventually, everything_about, pieces_of
from tests.support.clouds_apiserver import ApiServer, api_server, program
from tests.support.clouds_kubernetes import DOCKER_CFG, DOCKER_CONFIG_JSON, data_of, entry

pytestmark = pytest.mark.server("k8Secrets: a real kube-apiserver")

NAMESPACE = "/api/v1/namespaces/ratify"
RBAC = "/apis/rbac.authorization.k8s.io/v1/namespaces/ratify"
PASSWORD = "planted-pull-password-0123456789"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    etcd, kube_apiserver = program("etcd"), program("kube-apiserver")
    if etcd is None or kube_apiserver is None:
        pytest.skip("etcd and kube-apiserver are built by the end-to-end tests")
    with api_server(tmp_path_factory.mktemp("api"), etcd, kube_apiserver) as server:
        server.call("POST", "/api/v1/namespaces", {"metadata": {"name": "ratify"}})
        for name, kind, registry in (
            ("mine", DOCKER_CONFIG_JSON, "configured.example"),
            ("old", DOCKER_CFG, "account.example"),
        ):
            secret = {
                "metadata": {"name": name},
                "type": kind,
                "data": data_of(kind, {registry: entry(name, PASSWORD)}),
            }
            server.call("POST", f"{NAMESPACE}/secrets", secret)
        account = {
            "metadata": {"name": "ratify-admin"},
            "imagePullSecrets": [{"name": "gone"}, {"name": "old"}],
        }
        server.call("POST", f"{NAMESPACE}/serviceaccounts", account)
        yield server


@pytest.fixture
def mount(api: ApiServer, tmp_path: Path) -> Path:
    request = {"spec": {"expirationSeconds": 3600}}
    answer = api.call("POST", f"{NAMESPACE}/serviceaccounts/ratify-admin/token", request)
    (tmp_path / "token").write_text(answer["status"]["token"])
    (tmp_path / "ca.crt").write_bytes(api.ca.read_bytes())
    return tmp_path


@pytest.fixture
def granted(api: ApiServer) -> Iterator[None]:
    """What Ratify's chart grants its service account, as far as it matters here."""
    rules = [{"apiGroups": [""], "resources": ["secrets", "serviceaccounts"], "verbs": ["get"]}]
    api.call("POST", f"{RBAC}/roles", {"metadata": {"name": "pull"}, "rules": rules})
    binding = {
        "metadata": {"name": "pull"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "pull"},
        "subjects": [{"kind": "ServiceAccount", "name": "ratify-admin", "namespace": "ratify"}],
    }
    api.call("POST", f"{RBAC}/rolebindings", binding)
    assert eventually(lambda: may_read(api)), "the authorizer reads rules from a cache of its own"
    yield
    for kind in ("rolebindings", "roles"):
        api.call("DELETE", f"{RBAC}/{kind}/pull")
    assert eventually(lambda: not may_read(api))


def may_read(api: ApiServer) -> bool:
    asked = {"namespace": "ratify", "verb": "get", "resource": "secrets", "name": "mine"}
    review = {"spec": {"user": "system:serviceaccount:ratify:ratify-admin", "resourceAttributes": asked}}
    answer = api.call("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
    return answer["status"]["allowed"] is True


def provider(api: ApiServer, mount: Path) -> KubernetesSecrets:
    config = {
        "name": "k8Secrets",
        "serviceAccountName": "ratify-admin",
        "secrets": [{"secretName": "missing"}, {"secretName": "mine"}],
    }
    environ = {
        "KUBERNETES_SERVICE_HOST": "127.0.0.1",
        "KUBERNETES_SERVICE_PORT": str(api.port),
        "RATIFY_NAMESPACE": "ratify",
    }
    return KubernetesSecrets(config, environ, str(mount))


@pytest.mark.usefixtures("granted")
def test_configured_secrets_and_the_service_account_s(api: ApiServer, mount: Path) -> None:
    secrets = provider(api, mount)
    found = [
        secrets.credentials(Reference(registry, "app"), Deadline(10))
        for registry in ("configured.example", "account.example", "another.example")
    ]
    assert found == [Credentials("mine", PASSWORD), Credentials("old", PASSWORD), None]


def test_what_rbac_does_not_grant(api: ApiServer, mount: Path) -> None:
    with pytest.raises(RegistryError) as caught:
        provider(api, mount).credentials(Reference("configured.example", "app"), Deadline(10))
    assert "HTTP 403" in caught.value.message
    assert "system:serviceaccount:ratify:ratify-admin" in caught.value.message
    assert not pieces_of((PASSWORD, (mount / "token").read_text()), everything_about(caught.value))


@pytest.mark.usefixtures("granted")
def test_a_token_of_another_issuer(api: ApiServer, mount: Path) -> None:
    token = (mount / "token").read_text()
    (mount / "token").write_text(token[:-8] + token[:8])
    with pytest.raises(RegistryError, match="HTTP 401"):
        provider(api, mount).credentials(Reference("configured.example", "app"), Deadline(10))
