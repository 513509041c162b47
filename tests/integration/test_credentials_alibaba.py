"""``alibabacloudAcrBasic`` against STS and ACR as they are documented; the SDK's signature is checked anew."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import Reason, RegistryError
from slsa_verifier_plugin.registry.credentials import Credentials
from slsa_verifier_plugin.registry.credentials.alibaba.alibaba_provider import (
    DEFAULT_SESSION_NAME,
    AlibabaCredentials,
    make,
)
from slsa_verifier_plugin.registry.reference import Reference
from tests.support.cloud_scenes import alibaba_scene, nothing_shown
from tests.support.clouds import (
    Cloud,
    Response,
    everything_about,
    pieces_of,
)
from tests.support.clouds_alibaba import ROLE, FakeAlibaba, refused

pytestmark = pytest.mark.server("alibabacloudAcrBasic: STS and ACR of the tests")

CONFIG: Mapping[str, object] = {"name": "alibabacloudAcrBasic", "defaultInstanceId": "cri-default"}
STS, ACR = "sts.aliyuncs.com", "cr.cn-hangzhou.aliyuncs.com"
IMAGE = Reference.parse("planted-registry.cn-hangzhou.cr.aliyuncs.com/team/app")
OIDC_TOKEN = "eyJhbGciOiJSUzI1NiJ9.planted-rrsa-oidc-token.c2lnbmF0dXJl"
SECRET_KEY = "plantedSecret0123456789abcdefgh"
SECURITY_TOKEN = "planted/security+token//CAISyQJ1q6Ft5B2yfSjIr5fW"
PASSWORD = "plantedAcrPasswordOfOneHour-eyJ0aW1lIjoi"
SECRETS = (OIDC_TOKEN, SECRET_KEY, SECURITY_TOKEN, PASSWORD)


@dataclass
class Alibaba:
    """The fake, the servers before it, and the environment that leads to it."""

    cloud: Cloud
    fake: FakeAlibaba
    environ: dict[str, str]

    def get(
        self, seconds: float = 20.0, image: Reference = IMAGE, config: Mapping[str, object] = CONFIG
    ) -> Credentials | None:
        return make(config, self.environ).credentials(image, Deadline(seconds))


@pytest.fixture
def alibaba(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Iterator[Alibaba]:
    with alibaba_scene(tmp_path) as made, nothing_shown(SECRETS, capfd):
        yield Alibaba(made.cloud, made.fake, made.environ)


def failure(
    alibaba: Alibaba, seconds: float = 20.0, image: Reference = IMAGE, config: Mapping[str, object] = CONFIG
) -> RegistryError:
    with pytest.raises(RegistryError) as caught:
        alibaba.get(seconds, image, config)
    assert caught.value.reason is Reason.REGISTRY_CREDENTIALS
    assert "alibabacloudAcrBasic" in caught.value.message
    assert not pieces_of(SECRETS, everything_about(caught.value))
    return caught.value


def test_exchanges_the_token_for_the_instance_s_password(alibaba: Alibaba) -> None:
    found = alibaba.get()
    assert found is not None
    assert (found.username, found.password) == ("cr_temp_user", PASSWORD)
    assert found.expires_at == pytest.approx(time.time() + 3600, abs=30)
    assert alibaba.fake.calls == ["sts", "acr"]
    assert alibaba.cloud.proxy.asked == [f"{STS}:443", f"{ACR}:443"]
    assert not pieces_of(SECRETS, repr(found))


def test_the_session_s_name(alibaba: Alibaba) -> None:
    server = alibaba.cloud.serve(alibaba.fake.sts, STS)
    alibaba.get()
    alibaba.environ["ALIBABA_CLOUD_ROLE_SESSION_NAME"] = "mine"
    alibaba.get()
    names = [request.form["RoleSessionName"] for request in server.requests]
    assert names == [DEFAULT_SESSION_NAME, "mine"]


def test_sts_of_a_region(alibaba: Alibaba) -> None:
    alibaba.cloud.serve(alibaba.fake.sts, "sts.eu-central-1.aliyuncs.com")
    alibaba.environ["ALIBABA_CLOUD_STS_REGION"] = "eu-central-1"
    assert alibaba.get() is not None
    assert f"{STS}:443" not in alibaba.cloud.proxy.asked


@pytest.mark.parametrize(
    ("registry", "region", "instance"),
    [
        ("planted-registry.cn-hangzhou.cr.aliyuncs.com", "cn-hangzhou", "cri-planted"),
        ("planted-registry-vpc.cn-hangzhou.cr.aliyuncs.com", "cn-hangzhou", "cri-planted"),
        ("other-registry.ap-southeast-1.cr.aliyuncs.com", "ap-southeast-1", "cri-default"),
        ("registry-intl.us-west-1.aliyuncs.com", "us-west-1", "cri-default"),
        ("registry-vpc.distributed.cn-beijing.aliyuncs.com", "cn-beijing", "cri-default"),
    ],
)
def test_instances_by_the_registry_s_host(
    alibaba: Alibaba, registry: str, region: str, instance: str
) -> None:
    alibaba.fake.instances = {"cri-default": "default", "cri-planted": "planted"}
    server = alibaba.cloud.serve(alibaba.fake.acr, f"cr.{region}.aliyuncs.com")
    config = {**CONFIG, "acrInstancesConfig": [{"instanceName": "planted", "instanceId": "cri-planted"}]}
    found = alibaba.get(image=Reference(registry, "app"), config=config)
    assert found is not None
    assert server.requests[0].query["InstanceId"] == instance
    assert found.username == instance.removeprefix("cri-")


@pytest.mark.parametrize(
    "registry",
    [
        "docker.io",
        "planted-registry.cn-hangzhou.cr.aliyuncs.com.evil.example",
        "registry.cn-hangzhou.evil.aliyuncs.com",
        "evil-registry.oss-cn-hangzhou.aliyuncs.com",
        "registry.cn-hangzhou.aliyuncs.com:8443",
        "registry.aliyuncs.com",
    ],
)
def test_other_hosts_get_nothing(alibaba: Alibaba, registry: str) -> None:
    assert alibaba.get(image=Reference(registry, "app")) is None
    assert alibaba.cloud.proxy.asked == []


def test_a_registry_without_an_instance(alibaba: Alibaba) -> None:
    config = {
        "name": CONFIG["name"],
        "acrInstancesConfig": [{"instanceName": "another", "instanceId": "cri-another"}],
    }
    error = failure(alibaba, config=config)
    assert 'no instance "planted"' in error.message
    assert not error.transient
    assert alibaba.fake.calls == []


def test_the_default_instance_of_the_environment(alibaba: Alibaba) -> None:
    alibaba.environ["ALIBABA_CLOUD_ACR_INSTANCE_ID"] = "cri-default"
    assert alibaba.get(config={"name": CONFIG["name"]}) is not None


def test_keys_in_the_environment_take_the_role_s_place(alibaba: Alibaba) -> None:
    alibaba.environ |= {
        "ALIBABA_CLOUD_ACCESS_KEY_ID": alibaba.fake.key_id,
        "ALIBABA_CLOUD_ACCESS_KEY_SECRET": SECRET_KEY,
        "ALIBABA_CLOUD_SECURITY_TOKEN": SECURITY_TOKEN,
    }
    assert alibaba.get() is not None
    assert alibaba.fake.calls == ["acr"]


def test_a_wrong_key_makes_a_signature_that_is_rejected(alibaba: Alibaba) -> None:
    alibaba.environ |= {
        "ALIBABA_CLOUD_ACCESS_KEY_ID": alibaba.fake.key_id,
        "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "another-secret",
        "ALIBABA_CLOUD_SECURITY_TOKEN": SECURITY_TOKEN,
    }
    assert "SignatureDoesNotMatch" in failure(alibaba).message


def test_expired_keys_and_tokens_are_exchanged_anew(alibaba: Alibaba) -> None:
    now = [time.time()]
    provider = AlibabaCredentials(CONFIG, alibaba.environ, clock=lambda: now[0])
    assert provider.credentials(IMAGE, Deadline(60)) is not None
    now[0] += 3600
    alibaba.fake.token_seconds = alibaba.fake.key_seconds = 2 * 3600
    assert provider.credentials(IMAGE, Deadline(60)) is not None
    assert alibaba.fake.calls == ["sts", "acr"] * 2


@pytest.mark.parametrize(
    ("status", "code", "transient"),
    [
        (400, "AuthenticationFail.OIDCToken.Expired", False),
        (400, "AuthenticationFail.OIDCToken.Invalid", False),
        (403, "AuthenticationFail.NoPermission", False),
        (404, "EntityNotExist.Role", False),
        (400, "Throttling.User", True),
        (500, "InternalError", True),
        (503, "ServiceUnavailable", True),
    ],
)
def test_what_sts_rejects(alibaba: Alibaba, status: int, code: str, transient: bool) -> None:
    alibaba.fake.sts_answer = refused(status, code, "because of the policy")
    error = failure(alibaba)
    assert f'assuming the role "{ROLE}" at {STS}' in error.message
    assert f"{code}: because of the policy" in error.message
    assert error.transient is transient
    assert alibaba.fake.calls == ["sts"]


@pytest.mark.parametrize(
    ("status", "code", "transient"),
    [
        (403, "NoPermission", False),
        (404, "InvalidAccessKeyId.NotFound", False),
        (400, "InvalidSecurityToken.Expired", False),
        (400, "Throttling.User", True),
        (429, "Throttling", True),
        (503, "ServiceUnavailable", True),
    ],
)
def test_what_acr_rejects(alibaba: Alibaba, status: int, code: str, transient: bool) -> None:
    alibaba.fake.acr_answer = refused(status, code, "because of the policy")
    error = failure(alibaba)
    assert 'getting a token for the instance "cri-default" in cn-hangzhou' in error.message
    assert f"{code}: because of the policy" in error.message
    assert error.transient is transient
    assert alibaba.fake.calls == ["sts", "acr"], "no retries by the SDK"


def test_an_instance_that_does_not_exist(alibaba: Alibaba) -> None:
    alibaba.fake.instances = {}
    assert "INSTANCE_NOT_EXIST" in failure(alibaba).message


def test_a_token_that_sts_does_not_accept(alibaba: Alibaba) -> None:
    Path(alibaba.environ["ALIBABA_CLOUD_OIDC_TOKEN_FILE"]).write_text("eyJhbGciOiJSUzI1NiJ9.other.c2ln")
    assert "AuthenticationFail.OIDCToken.Invalid" in failure(alibaba).message


def test_explanations_that_repeat_a_secret_are_withheld(alibaba: Alibaba) -> None:
    alibaba.fake.acr_answer = refused(403, "NoPermission", f"with {SECURITY_TOKEN}")
    assert "repeats a secret" in failure(alibaba).message
    alibaba.fake.sts_answer = refused(400, "Invalid", f"with {OIDC_TOKEN}")
    assert "repeats a secret" in failure(alibaba).message


@pytest.mark.parametrize("host", [STS, ACR])
@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b"null", b"\xff", b'"text"', b"7"])
@pytest.mark.parametrize("status", [200, 400])
def test_answers_that_are_not_of_the_protocol(alibaba: Alibaba, host: str, body: bytes, status: int) -> None:
    alibaba.cloud.serve(lambda _: Response(status, body), host)
    failure(alibaba)


@pytest.mark.parametrize(
    "body",
    [
        {"AuthorizationToken": ""},
        {"TempUsername": None},
        {"ExpireTime": None},
        {"ExpireTime": "tomorrow"},
        {"ExpireTime": 1},
        {"AuthorizationToken": 7},
    ],
)
def test_tokens_that_are_none(alibaba: Alibaba, body: dict[str, object]) -> None:
    alibaba.fake.body = body
    assert not failure(alibaba).transient


@pytest.mark.parametrize("host", [STS, ACR])
def test_an_unreachable_service_is_transient(alibaba: Alibaba, host: str) -> None:
    del alibaba.cloud.proxy.hosts[host]
    assert failure(alibaba).transient


def test_the_sdk_s_debug_switch_shows_nothing(alibaba: Alibaba, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEBUG", "sdk")
    assert alibaba.get() is not None
