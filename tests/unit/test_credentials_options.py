"""What providers are told, and what they say: configuration, environment, token files, messages, loggers."""

from __future__ import annotations

import base64
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slsa_verifier_plugin.errors import Reason, RegistryError
from slsa_verifier_plugin.registry.credentials.alibaba.alibaba_provider import make as make_alibaba
from slsa_verifier_plugin.registry.credentials.aws.aws_provider import make as make_aws
from slsa_verifier_plugin.registry.credentials.aws.aws_provider import region_of
from slsa_verifier_plugin.registry.credentials.azure import azure_provider as azure
from slsa_verifier_plugin.registry.credentials.credential_failures import (
    failed,
    libraries,
    silence,
)
from slsa_verifier_plugin.registry.credentials.provider_options import (
    MAX_TOKEN_BYTES,
    Options,
    token_file,
    variables,
)
from slsa_verifier_plugin.registry.credentials.web import explanation
from slsa_verifier_plugin.registry.redaction import MAX_EXPLANATION, explained

SECRET = "planted-secret-0123456789-abcdef"


def options(**config: object) -> Options:
    return Options("test", config, ("clientID", "endpoints", "items"))


def test_names_are_matched_as_go_matches_them() -> None:
    read = Options("test", {"clientid": "folded", "NAME": "x"}, ("clientID",))
    assert read.text("clientID") == "folded"
    both = Options("test", {"clientid": "folded", "clientID": "exact", "CLIENTID": "folded"}, ("clientID",))
    assert both.text("clientID") == "exact"
    assert options(clientID=None).text("clientID") == ""


def test_an_unknown_name_is_an_error_that_names_the_nearest() -> None:
    with pytest.raises(RegistryError, match="did you mean clientID") as caught:
        options(client=SECRET)
    assert caught.value.reason is Reason.REGISTRY_CREDENTIALS
    assert SECRET not in caught.value.message
    with pytest.raises(RegistryError, match="it knows name, clientID, endpoints, items"):
        options(zzz=1)


@pytest.mark.parametrize("value", [7, 1.5, True, [], {}])
def test_values_of_another_type(value: object) -> None:
    with pytest.raises(RegistryError, match=r"authProvider\.clientID is .*, expected a string"):
        options(clientID=value).text("clientID")
    with pytest.raises(RegistryError, match="expected a list of strings"):
        options(endpoints=[value]).texts("endpoints")


def test_lists() -> None:
    assert options().texts("endpoints") == []
    assert options(endpoints=["a", "b"]).texts("endpoints") == ["a", "b"]
    with pytest.raises(RegistryError, match="not empty"):
        options(endpoints=[""]).texts("endpoints")
    (item,) = options(items=[{"Key": "value"}]).objects("items", ("key",))
    assert item.required("key") == "value"
    with pytest.raises(RegistryError, match=r"authProvider\.items\[0\]\.key is missing"):
        options(items=[{}]).objects("items", ("key",))[0].required("key")


def test_variables() -> None:
    assert variables("test", {"A": "1", "B": "2"}, ("B", "A"), "set them") == ["2", "1"]
    with pytest.raises(RegistryError, match="B, C are not set; set them"):
        variables("test", {"A": "1", "B": ""}, ("A", "B", "C"), "set them")


def test_token_files(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(f"{SECRET}\n")
    assert token_file("test", "VARIABLE", str(path)) == SECRET
    path.write_text(f"{SECRET}\nX-Injected: header")
    with pytest.raises(RegistryError, match="holds no token") as caught:
        token_file("test", "VARIABLE", str(path))
    assert SECRET not in caught.value.message
    path.write_text("x" * MAX_TOKEN_BYTES)
    assert len(token_file("test", "VARIABLE", str(path))) == MAX_TOKEN_BYTES
    path.write_text("x" * (MAX_TOKEN_BYTES + 1))
    with pytest.raises(RegistryError, match="more than"):
        token_file("test", "VARIABLE", str(path))
    # Who opens a pipe waits until somebody writes.
    os.mkfifo(tmp_path / "pipe")
    for missing in (str(tmp_path), str(tmp_path / "none"), "a\x00b", str(tmp_path / "pipe")):
        with pytest.raises(RegistryError, match="VARIABLE"):
            token_file("test", "VARIABLE", missing)


def test_explanations_are_one_safe_line() -> None:
    assert explained("why\nnot {now}\x1b[31m") == '"why not (now)?[31m"'
    assert explained('a "quoted" word') == "\"a 'quoted' word\""
    assert explained("") == explained(None) == explained({"a": 1}) == "no explanation"
    assert len(explained("x" * 10_000)) <= MAX_EXPLANATION + 5


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=64), st.data())
def test_no_part_of_a_secret_is_repeated(secret: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(secret) - 8))
    end = data.draw(st.integers(start + 8, len(secret)))
    for form in (secret, quote(secret, safe="")):
        piece = form[start:end] if form is secret else form
        assert "repeats a secret" in explained(f"before {piece} after", [secret])


def test_encoded_secrets_are_not_repeated() -> None:
    secret = "planted+secret/with=signs&more"
    for form in (quote(secret), base64.b64encode(secret.encode()).decode()):
        assert "repeats a secret" in explained(f"x {form} y", [secret])
    assert explained("nothing of it", [secret, "", "short"]) == '"nothing of it"'
    assert "repeats a secret" in explained("it is short", ["short"])


def test_failures_name_provider_and_step() -> None:
    error = failed("awsEcrBasic", "asking", "no answer", transient=True)
    assert error.message == (
        "the credential provider awsEcrBasic failed at: asking: no answer; trying again may help"
    )
    assert failed("a", "b", "c").transient is False


def test_libraries_that_are_missing() -> None:
    with pytest.raises(RegistryError, match=r"not usable here; install slsa-verifier-plugin\[aws\]"):
        libraries("awsEcrBasic", "aws", ("json", "no_such_module_of_the_sdk"), ())


def test_silenced_loggers_reach_no_handler(capfd: pytest.CaptureFixture[str]) -> None:
    name = "test-of-a-chatty-sdk"
    parent, child = logging.getLogger(name), logging.getLogger(f"{name}.child")
    handler = logging.StreamHandler()
    parent.addHandler(handler)
    silence([name])
    parent.critical(SECRET)
    child.critical(SECRET)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"error": "a", "error_description": "b"}, ("a", "a: b")),
        ({"Code": "a", "Message": "b"}, ("a", "a: b")),
        ({"errors": [{"code": "a", "message": "b"}]}, ("a", "a: b")),
        ({"errors": []}, ("", "")),
        ({"errors": ["a"]}, ("", "")),
        ({"error": {"code": 1}}, ("", "")),
        ({}, ("", "")),
    ],
)
def test_explanation(value: Mapping[str, object], expected: tuple[str, str]) -> None:
    assert explanation(value) == expected


@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("123456789012.dkr.ecr.us-east-2.amazonaws.com", "us-east-2"),
        ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
        ("123456789012.dkr.ecr.us-iso-east-1.c2s.ic.gov", "us-iso-east-1"),
        ("123456789012.dkr.ecr.eusc-de-east-1.amazonaws.eu", "eusc-de-east-1"),
        ("123456789012.DKR.ECR.eu-west-1.amazonaws.com", "eu-west-1"),
        ("public.ecr.aws", None),
        ("docker.io", None),
        ("123456789012.dkr.ecr.us-east-2.evil.com", None),
        ("123456789012.dkr.ecr.us-east-2.amazonaws.com.evil.com", None),
        ("a.b.c.us-east-2.evil.example", None),
        ("123456789012.dkr.ecr.us-east-2.amazonaws.com:443", None),
        ("12345.dkr.ecr.us-east-2.amazonaws.com", None),
        ("123456789012.dkr.ecr.x#.amazonaws.com", None),
    ],
)
def test_regions_of_ecr(host: str, region: str | None) -> None:
    assert region_of(host) == region


@pytest.mark.parametrize(
    "endpoint", ["*", "*.", "a.*", "*a.b", "*.*.b", "a.*.b", "https://a.b", "a/b", "a b", "-a"]
)
def test_endpoints_that_are_none(endpoint: str) -> None:
    with pytest.raises(RegistryError, match="is no host name"):
        azure.parse_endpoints(Options("test", {"endpoints": [endpoint]}, ("endpoints",)))


def test_endpoints() -> None:
    def parse(*endpoints: str) -> tuple[str, ...]:
        return azure.parse_endpoints(Options("test", {"endpoints": list(endpoints)}, ("endpoints",)))

    assert parse() == azure.DEFAULT_ENDPOINTS == ("*.azurecr.io", "*.azurecr.us", "*.azurecr.cn")
    allowed = parse("*.Example.com", "registry.example:5000")
    assert azure.is_endpoint("a.example.com", allowed)
    assert azure.is_endpoint("registry.example:5000", allowed)
    for host in ("example.com", "a.b.example.com", "aexample.com", ".example.com", "registry.example", "a@b"):
        assert not azure.is_endpoint(host, allowed)


AWS = {"AWS_REGION": "r", "AWS_ROLE_ARN": "a", "AWS_WEB_IDENTITY_TOKEN_FILE": "f"}
WORKLOAD = {
    "AZURE_TENANT_ID": "t",
    "AZURE_CLIENT_ID": "c",
    "AZURE_FEDERATED_TOKEN_FILE": "f",
    "AZURE_AUTHORITY_HOST": "https://login.example",
}
MANAGED = {"AZURE_TENANT_ID": "t", "AZURE_CLIENT_ID": "c"}
ALIBABA = {
    "ALIBABA_CLOUD_ROLE_ARN": "r",
    "ALIBABA_CLOUD_OIDC_PROVIDER_ARN": "p",
    "ALIBABA_CLOUD_OIDC_TOKEN_FILE": "f",
    "ALIBABA_CLOUD_ACR_INSTANCE_ID": "i",
}


@pytest.mark.parametrize("name", [*AWS])
def test_what_aws_requires(name: str) -> None:
    make_aws({"name": "awsEcrBasic"}, AWS)
    with pytest.raises(RegistryError, match=f"{name} is not set"):
        make_aws({"name": "awsEcrBasic"}, {**AWS, name: ""})
    with pytest.raises(RegistryError, match="unknown key"):
        make_aws({"name": "awsEcrBasic", "region": "x"}, AWS)


@pytest.mark.parametrize(
    ("provider", "environ", "name"),
    [
        *(("azureWorkloadIdentity", WORKLOAD, name) for name in WORKLOAD),
        *(("azureManagedIdentity", MANAGED, name) for name in MANAGED),
    ],
)
def test_what_azure_requires(provider: str, environ: dict[str, str], name: str) -> None:
    azure.make({"name": provider}, environ)
    with pytest.raises(RegistryError, match=name):
        azure.make({"name": provider}, {**environ, name: ""})
    with pytest.raises(RegistryError, match="unknown key"):
        azure.make({"name": provider, "tenant": "x"}, environ)


@pytest.mark.parametrize("name", [*ALIBABA])
def test_what_alibaba_requires(name: str) -> None:
    make_alibaba({"name": "alibabacloudAcrBasic"}, ALIBABA)
    with pytest.raises(RegistryError, match=name):
        make_alibaba({"name": "alibabacloudAcrBasic"}, {**ALIBABA, name: ""})
    with pytest.raises(RegistryError, match="instanceId is missing"):
        make_alibaba({"name": "x", "acrInstancesConfig": [{"instanceName": "a"}]}, ALIBABA)
