"""``awsEcrBasic`` against STS and ECR as their references describe them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import Reason, RegistryError
from slsa_verifier_plugin.registry.credentials import Credentials
from slsa_verifier_plugin.registry.credentials.aws.aws_provider import SESSION_NAME, EcrCredentials, make
from slsa_verifier_plugin.registry.reference import Reference
from tests.support.cloud_scenes import aws_scene, nothing_shown
from tests.support.clouds import (
    Cloud,
    Response,
    TestCa,
    everything_about,
    pieces_of,
)
from tests.support.clouds_aws import ACCOUNT, ROLE, FakeAws

pytestmark = pytest.mark.server("awsEcrBasic: STS and ECR of the tests")

CONFIG = {"name": "awsEcrBasic"}
IMAGE = Reference.parse(f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com/team/app")
STS, ECR = "sts.us-east-2.amazonaws.com", "api.ecr.eu-west-1.amazonaws.com"
JWT = "eyJhbGciOiJSUzI1NiJ9.planted-web-identity-token.c2lnbmF0dXJl"
SECRET_KEY = "planted/secret+access/key/0123456789abcdef"
SESSION_TOKEN = "planted-session-token//IQoJb3JpZ2luX2VjPlanted"
PASSWORD = "planted-ecr-password:with-a-colon-eyJwYXlsb2FkIjoi"
SECRETS = (JWT, SECRET_KEY, SESSION_TOKEN, PASSWORD)


@dataclass
class Aws:
    """The fake, the servers before it, and the environment that leads to it."""

    cloud: Cloud
    fake: FakeAws
    environ: dict[str, str]

    def get(self, seconds: float = 60.0, image: Reference = IMAGE) -> Credentials | None:
        return make(CONFIG, self.environ).credentials(image, Deadline(seconds))


@pytest.fixture
def aws(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Iterator[Aws]:
    with aws_scene(tmp_path) as made, nothing_shown(SECRETS, capfd):
        yield Aws(made.cloud, made.fake, made.environ)


def failure(aws: Aws, seconds: float = 60.0, image: Reference = IMAGE) -> RegistryError:
    with pytest.raises(RegistryError) as caught:
        aws.get(seconds, image)
    assert caught.value.reason is Reason.REGISTRY_CREDENTIALS
    assert "awsEcrBasic" in caught.value.message
    assert not pieces_of(SECRETS, everything_about(caught.value))
    return caught.value


def test_exchanges_the_token_for_a_password_of_the_images_region(aws: Aws) -> None:
    found = aws.get()
    assert found is not None
    assert (found.username, found.password, found.identity_token) == ("AWS", PASSWORD, "")
    assert found.expires_at == pytest.approx(time.time() + 12 * 3600, abs=60)
    assert aws.fake.calls == ["sts", "ecr"]
    assert not pieces_of(SECRETS, repr(found))
    assert sorted(aws.cloud.proxy.asked) == [f"{ECR}:443", f"{STS}:443"]


def test_names_the_session_as_ratify_does(aws: Aws, tmp_path: Path) -> None:
    server = aws.cloud.serve(aws.fake.sts, STS)
    aws.get()
    assert server.requests[0].form["RoleSessionName"] == SESSION_NAME == "ratifyEcrBasicAuth"


def test_the_token_file_is_read_again_for_each_exchange(aws: Aws) -> None:
    path = Path(aws.environ["AWS_WEB_IDENTITY_TOKEN_FILE"])
    path.write_text("eyJhbGciOiJSUzI1NiJ9.another-token.c2ln")
    assert "InvalidIdentityToken" in failure(aws).message
    path.write_text(JWT)
    assert aws.get() is not None


def test_regions_share_the_keys_and_have_a_password_each(aws: Aws) -> None:
    aws.cloud.serve(aws.fake.ecr, "api.ecr.ap-south-1.amazonaws.com")
    provider = make(CONFIG, aws.environ)
    other = Reference.parse(f"{ACCOUNT}.dkr.ecr.ap-south-1.amazonaws.com/app")
    for image in (IMAGE, other, IMAGE, other):
        assert provider.credentials(image, Deadline(60)) is not None
    assert aws.fake.calls == ["sts", "ecr", "ecr"]


def test_expired_passwords_are_not_handed_out(aws: Aws) -> None:
    now = [time.time()]
    provider = EcrCredentials(CONFIG, aws.environ, clock=lambda: now[0])
    assert provider.credentials(IMAGE, Deadline(60)) is not None
    now[0] += 12 * 3600
    aws.fake.token_seconds, aws.fake.key_seconds = 24 * 3600, 24 * 3600
    aws.fake.password = "planted-password-of-the-next-day"
    found = provider.credentials(IMAGE, Deadline(60))
    assert found is not None
    assert found.password == "planted-password-of-the-next-day"


@pytest.mark.parametrize(
    ("status", "code", "transient"),
    [
        (400, "ExpiredTokenException", False),
        (400, "InvalidIdentityToken", False),
        (400, "IDPCommunicationError", True),
        (403, "IDPRejectedClaim", False),
        (403, "AccessDenied", False),
        (403, "RegionDisabledException", False),
        (400, "Throttling", True),
        (500, "InternalFailure", True),
    ],
)
def test_what_sts_rejects(aws: Aws, status: int, code: str, transient: bool) -> None:
    aws.fake.sts_error = (status, code, "because of the provider")
    error = failure(aws)
    assert f'assuming the role "{ROLE}"' in error.message
    assert code in error.message
    assert "because of the provider" in error.message
    assert error.transient is transient
    assert aws.fake.calls == ["sts"]


@pytest.mark.parametrize(
    ("status", "code", "transient"),
    [
        (400, "AccessDeniedException", False),
        (400, "UnrecognizedClientException", False),
        (400, "ThrottlingException", True),
        (500, "ServerException", True),
        (503, "ServiceUnavailable", True),
    ],
)
def test_what_ecr_rejects(aws: Aws, status: int, code: str, transient: bool) -> None:
    aws.fake.ecr_error = (status, code, "because of the policy")
    error = failure(aws)
    assert "getting an ECR authorization token in eu-west-1" in error.message
    assert code in error.message
    assert error.transient is transient
    assert aws.fake.calls == ["sts", "ecr"], "no retries by the SDK"


@pytest.mark.parametrize("secret", [JWT, SECRET_KEY[:20], SESSION_TOKEN])
def test_an_explanation_that_repeats_a_secret_is_withheld(aws: Aws, secret: str) -> None:
    if secret == JWT:
        aws.fake.sts_error = (400, "InvalidIdentityToken", f"the token {secret} is bad")
    else:
        aws.fake.ecr_error = (400, "AccessDeniedException", f"the key {secret} is bad")
    assert "repeats a secret" in failure(aws).message


@pytest.mark.parametrize(
    "data",
    [
        {"authorizationToken": None},
        {"authorizationToken": "not base64"},
        {"authorizationToken": "bm9jb2xvbg=="},
        {"expiresAt": None},
        {"expiresAt": 1.0},
    ],
)
def test_answers_that_are_none(aws: Aws, data: dict[str, object]) -> None:
    aws.fake.authorization = data
    assert failure(aws).transient is False


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff\xfe", b"[]"])
def test_answers_that_are_not_of_the_protocol(aws: Aws, body: bytes) -> None:
    aws.cloud.serve(lambda _: Response(200, body, {"Content-Type": "text/html"}), STS)
    failure(aws)


def test_aws_ca_bundle_replaces_the_roots(aws: Aws, tmp_path: Path) -> None:
    other = TestCa(tmp_path, "another CA")
    assert "is not trusted" in _with(aws, AWS_CA_BUNDLE=str(other.file)).message
    aws.environ["SSL_CERT_FILE"] = str(other.file)
    aws.environ["AWS_CA_BUNDLE"] = str(aws.cloud.ca.file)
    assert aws.get() is not None


def test_roots_in_a_directory_are_the_sdk_s_too(aws: Aws, tmp_path: Path) -> None:
    directory = tmp_path / "roots"
    directory.mkdir()
    (directory / "company.crt").write_bytes(aws.cloud.ca.file.read_bytes())
    aws.environ["SSL_CERT_FILE"] = str(TestCa(tmp_path, "another CA").file)
    assert "is not trusted" in failure(aws).message
    aws.environ["SSL_CERT_DIR"] = str(directory)
    assert aws.get() is not None


def test_an_unreachable_service_is_transient(aws: Aws) -> None:
    del aws.cloud.proxy.hosts[STS]
    error = failure(aws)
    assert error.transient
    assert "(HTTP 502)" in error.message


def _with(aws: Aws, **changes: str) -> RegistryError:
    return failure(Aws(aws.cloud, aws.fake, {**aws.environ, **changes}))


def test_the_chart_s_api_override_replaces_ecr_in_its_region(aws: Aws) -> None:
    aws.cloud.serve(aws.fake.ecr, "ecr.private.example")
    del aws.cloud.proxy.hosts[ECR]
    override = {
        "AWS_API_OVERRIDE_ENDPOINT": "https://ecr.private.example",
        "AWS_API_OVERRIDE_PARTITION": "aws",
        "AWS_API_OVERRIDE_REGION": "eu-west-1",
    }
    aws.environ.update(override)
    assert aws.get() is not None
    assert "ecr.private.example:443" in aws.cloud.proxy.asked
    aws.environ["AWS_API_OVERRIDE_REGION"] = "eu-west-2"
    assert failure(aws).transient


def test_aws_own_variables_for_endpoints(aws: Aws) -> None:
    aws.cloud.serve(aws.fake.sts, "sts.private.example")
    del aws.cloud.proxy.hosts[STS]
    aws.environ["AWS_ENDPOINT_URL_STS"] = "https://sts.private.example"
    assert aws.get() is not None
    aws.environ["AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"] = "true"
    failure(aws)


def test_fips_endpoints(aws: Aws) -> None:
    aws.cloud.serve(aws.fake.sts, "sts-fips.us-east-2.amazonaws.com")
    # Either is ECR's, as the version of botocore has it.
    aws.cloud.serve(aws.fake.ecr, "ecr-fips.us-east-1.amazonaws.com", "api.ecr-fips.us-east-1.amazonaws.com")
    aws.environ["AWS_USE_FIPS_ENDPOINT"] = "true"
    image = Reference.parse(f"{ACCOUNT}.dkr.ecr-fips.us-east-1.amazonaws.com/app")
    assert aws.get(image=image) is not None


def test_keys_in_the_environment_take_the_role_s_place(aws: Aws) -> None:
    aws.environ |= {
        "AWS_ACCESS_KEY_ID": aws.fake.key_id,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_SESSION_TOKEN": SESSION_TOKEN,
    }
    assert aws.get() is not None
    assert aws.fake.calls == ["ecr"]


def test_this_process_s_own_environment_is_not_read(
    aws: Aws, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = tmp_path / "config"
    config.write_text("[profile other]\nregion = mars-north-1\nendpoint_url = https://elsewhere.example\n")
    for name, value in {
        "AWS_PROFILE": "missing",
        "AWS_CONFIG_FILE": str(config),
        "AWS_SHARED_CREDENTIALS_FILE": str(config),
        "AWS_ACCESS_KEY_ID": "AKIAELSEWHERE",
        "AWS_SECRET_ACCESS_KEY": "elsewhere",
        "AWS_ENDPOINT_URL": "https://elsewhere.example",
        "AWS_CA_BUNDLE": str(tmp_path / "missing.pem"),
        "AWS_USE_FIPS_ENDPOINT": "true",
        "AWS_DATA_PATH": str(tmp_path),
        "AWS_MAX_ATTEMPTS": "7",
        "HTTPS_PROXY": "http://127.0.0.1:1",
        "REQUESTS_CA_BUNDLE": str(tmp_path / "missing.pem"),
    }.items():
        monkeypatch.setenv(name, value)
    assert aws.get() is not None
    assert aws.fake.calls == ["sts", "ecr"]
