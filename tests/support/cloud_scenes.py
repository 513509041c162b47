"""A provider of each cloud with the servers that it asks, for the tests that hold for all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from slsa_verifier_plugin.registry.credentials import CredentialProvider
from slsa_verifier_plugin.registry.credentials.alibaba.alibaba_provider import AlibabaCredentials
from slsa_verifier_plugin.registry.credentials.aws.aws_provider import EcrCredentials
from slsa_verifier_plugin.registry.credentials.azure.azure_provider import make as make_azure
from slsa_verifier_plugin.registry.credentials.kubernetes.kubernetes_provider import KubernetesSecrets
from slsa_verifier_plugin.registry.reference import Reference
from tests.support import clouds_alibaba, clouds_aws, clouds_azure
from tests.support.clouds import Answering, Cloud, Server, TestCa, pieces_of, recorded_logs
from tests.support.clouds_kubernetes import FakeKubernetes, entry


@dataclass
class CloudScene:
    """A provider, the servers before it, and the environment that leads to them.

    ``hosts`` are the servers that one exchange asks, in their order, with what each answers; ``hurry`` makes what is handed out
    end soon, and ``change`` makes the next password another one that lasts. ``clock`` moves the provider's.
    """

    name: str
    secrets: tuple[str, ...]
    image: Reference
    password: str
    fake: Any
    environ: dict[str, str]
    hosts: Mapping[str, Answering]
    make: Callable[[], CredentialProvider]
    hurry: Callable[[], None]
    change: Callable[[str], None]
    module: str = ""
    extra: str = ""
    cloud: Any = None
    server: Any = None
    elapsed: list[float] = field(default_factory=lambda: [0.0])
    config: Mapping[str, object] = field(default_factory=dict)

    def answer(self, host: str, answering: Answering, ca: TestCa | None = None) -> Server:
        """Put another server in the place of ``host``."""
        if self.cloud is not None and host in self.cloud.proxy.hosts:
            server: Server = self.cloud.serve(answering, host, ca=ca)
            return server
        self.server.answering = answering
        return self.server  # type: ignore[no-any-return]


@contextmanager
def aws_scene(directory: Path) -> Iterator[CloudScene]:
    """IRSA: STS, then ECR."""
    token = directory / "token"
    jwt = "eyJhbGciOiJSUzI1NiJ9.planted-web-identity-token.c2lnbmF0dXJl"
    secret, session = (
        "planted/secret+access/key/0123456789abcdef",
        "planted-session-token//IQoJb3JpZ2luX2VjPlanted",
    )
    password = "planted-ecr-password:with-a-colon-eyJwYXlsb2FkIjoi"
    token.write_text(f"{jwt}\n")
    fake = clouds_aws.FakeAws(jwt, secret, session, password)
    hosts = {"sts.us-east-2.amazonaws.com": fake.sts, "api.ecr.eu-west-1.amazonaws.com": fake.ecr}
    with Cloud(directory) as cloud:
        for host, answering in hosts.items():
            cloud.serve(answering, host)
        environ = cloud.environ(
            AWS_REGION="us-east-2", AWS_ROLE_ARN=clouds_aws.ROLE, AWS_WEB_IDENTITY_TOKEN_FILE=str(token)
        )
        scene = CloudScene(
            "awsEcrBasic",
            (jwt, secret, session, password),
            Reference.parse(f"{clouds_aws.ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com/team/app"),
            password,
            fake,
            environ,
            hosts,
            lambda: EcrCredentials({"name": "awsEcrBasic"}, environ, lambda: time.time() + scene.elapsed[0]),
            lambda: setattr(fake, "token_seconds", 200),
            lambda text: fake.__dict__.update(password=text, token_seconds=12 * 3600),
            "botocore.session",
            "aws",
            cloud,
        )
        yield scene


@contextmanager
def azure_scene(directory: Path, *, managed: bool = False) -> Iterator[CloudScene]:
    """Workload identity: Entra, then the registry. Managed identity: the metadata service, then the registry."""
    name = "azureManagedIdentity" if managed else "azureWorkloadIdentity"
    token = directory / "azure-identity-token"
    secrets = (
        "eyJhbGciOiJSUzI1NiJ9.planted-service-account-token.c2lnbmF0dXJl",
        "eyJ0eXAiOiJKV1QifQ.planted-entra-access-token.QWNjZXNz",
        "eyJ0eXAiOiJKV1QifQ.planted-acr-refresh-token.UmVmcmVzaA",
    )
    token.write_text(secrets[0])
    fake = clouds_azure.FakeAzure(*secrets)
    authority, registry = "login.microsoftonline.com", "planted.azurecr.io"
    with Cloud(directory) as cloud, Server(fake.imds) as imds, pytest.MonkeyPatch.context() as patch:
        cloud.serve(fake.entra, authority)
        cloud.serve(fake.acr, registry)
        environ = cloud.environ(
            HTTP_PROXY=cloud.proxy.url,
            AZURE_TENANT_ID=clouds_azure.TENANT,
            AZURE_CLIENT_ID=clouds_azure.CLIENT,
            AZURE_FEDERATED_TOKEN_FILE=str(token),
            AZURE_AUTHORITY_HOST=f"https://{authority}/",
        )
        # MSAL reads where the metadata service is from this process's own environment.
        patch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", f"http://127.0.0.1:{imds.port}")
        for variable in ("IDENTITY_ENDPOINT", "IDENTITY_HEADER", "MSI_ENDPOINT"):
            patch.delenv(variable, raising=False)
        yield CloudScene(
            name,
            secrets,
            Reference(registry, "team/app"),
            secrets[2],
            fake,
            environ,
            {"metadata": fake.imds, registry: fake.acr}
            if managed
            else {authority: fake.entra, registry: fake.acr},
            lambda: make_azure({"name": name}, environ),
            lambda: setattr(fake, "access_seconds", 200),
            lambda text: fake.__dict__.update(refresh_token=text, access_seconds=3599),
            "msal" if managed else "",
            "azure" if managed else "",
            cloud,
            imds,
        )


@contextmanager
def alibaba_scene(directory: Path) -> Iterator[CloudScene]:
    """RRSA: STS, then ACR."""
    token = directory / "token"
    secrets = (
        "eyJhbGciOiJSUzI1NiJ9.planted-rrsa-oidc-token.c2lnbmF0dXJl",
        "plantedSecret0123456789abcdefgh",
        "planted/security+token//CAISyQJ1q6Ft5B2yfSjIr5fW",
        "plantedAcrPasswordOfOneHour-eyJ0aW1lIjoi",
    )
    token.write_text(f"{secrets[0]}\n")
    fake = clouds_alibaba.FakeAlibaba(*secrets)
    hosts = {"sts.aliyuncs.com": fake.sts, "cr.cn-hangzhou.aliyuncs.com": fake.acr}
    config = {"name": "alibabacloudAcrBasic", "defaultInstanceId": "cri-default"}
    with Cloud(directory) as cloud:
        for host, answering in hosts.items():
            cloud.serve(answering, host)
        environ = cloud.environ(
            ALIBABA_CLOUD_ROLE_ARN=clouds_alibaba.ROLE,
            ALIBABA_CLOUD_OIDC_PROVIDER_ARN=clouds_alibaba.OIDC_PROVIDER,
            ALIBABA_CLOUD_OIDC_TOKEN_FILE=str(token),
        )
        scene = CloudScene(
            "alibabacloudAcrBasic",
            secrets,
            Reference.parse("planted-registry.cn-hangzhou.cr.aliyuncs.com/team/app"),
            secrets[3],
            fake,
            environ,
            hosts,
            lambda: AlibabaCredentials(config, environ, lambda: time.time() + scene.elapsed[0]),
            lambda: setattr(fake, "token_seconds", 200),
            lambda text: fake.__dict__.update(password=text, token_seconds=3600),
            "alibabacloud_tea_openapi.utils",
            "alibaba",
            cloud,
        )
        yield scene


@contextmanager
def kubernetes_scene(directory: Path) -> Iterator[CloudScene]:
    """Pull secrets of a service account: the API server, twice."""
    secrets = (
        "eyJhbGciOiJSUzI1NiJ9.planted-kubernetes-token.c2lnbmF0dXJl",
        "planted-pull-password-0123456789",
    )
    ca, mount = TestCa(directory), directory / "serviceaccount"
    mount.mkdir()
    (mount / "token").write_text(secrets[0])
    (mount / "ca.crt").write_bytes(ca.file.read_bytes())
    image = Reference.parse("registry.example:5000/team/app")
    fake = FakeKubernetes(secrets[0], accounts={("ratify", "default"): ["mine"]})

    def change(password: str) -> None:
        fake.add("ratify", "mine", {image.registry: entry("robot", password)})

    change(secrets[1])
    with Server(fake, ca.context()) as server:
        environ = {
            "KUBERNETES_SERVICE_HOST": "127.0.0.1",
            "KUBERNETES_SERVICE_PORT": str(server.port),
            "RATIFY_NAMESPACE": "ratify",
        }
        elapsed = [1_800_000_000.0]
        yield CloudScene(
            "k8Secrets",
            secrets,
            image,
            secrets[1],
            fake,
            environ,
            {"127.0.0.1": fake},
            lambda: KubernetesSecrets({"name": "k8Secrets"}, environ, str(mount), lambda: elapsed[0]),
            lambda: elapsed.__setitem__(0, elapsed[0] + 61),
            change,
            server=server,
            elapsed=elapsed,
        )


SCENES: dict[str, Callable[[Path], AbstractContextManager[CloudScene]]] = {
    "aws": aws_scene,
    "azure workload": azure_scene,
    "azure managed": lambda directory: azure_scene(directory, managed=True),
    "alibaba": alibaba_scene,
    "kubernetes": kubernetes_scene,
}


@contextmanager
def nothing_shown(secrets: tuple[str, ...], capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Hold that the block writes nothing to the standard streams, and no part of a secret to a log."""
    with recorded_logs() as logs:
        yield
    shown = capfd.readouterr()
    assert shown.out == shown.err == ""
    assert not pieces_of(secrets, "\n".join(logs))
