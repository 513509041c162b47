"""Docker's configuration in pull secrets: which entry is an image's, and what it holds."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slsa_verifier_plugin.registry.credentials import Credentials
from slsa_verifier_plugin.registry.credentials.kubernetes.kubernetes_provider import (
    DOCKER_CFG,
    DOCKER_CONFIG_JSON,
    login_in_secret,
)
from slsa_verifier_plugin.registry.credentials.login_entries import EntryError
from tests.support.clouds import everything_about
from tests.support.clouds_kubernetes import data_of, entry


def found(auths: dict[str, Any], registry: str, kind: str = DOCKER_CONFIG_JSON) -> Credentials | None:
    return login_in_secret(kind, data_of(kind, auths), registry)


@pytest.mark.parametrize("kind", [DOCKER_CONFIG_JSON, DOCKER_CFG])
@pytest.mark.parametrize(
    ("name", "registry"),
    [
        ("registry.example", "registry.example"),
        ("registry.example:5000", "registry.example:5000"),
        ("https://registry.example", "registry.example"),
        ("https://registry.example/", "registry.example"),
        ("https://registry.example/v1/", "registry.example"),
        ("http://registry.example/v2", "registry.example"),
        ("Registry.Example", "registry.example"),
        ("[::1]:5000", "[::1]:5000"),
        ("docker.io", "docker.io"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("registry-1.docker.io", "docker.io"),
    ],
)
def test_names_of_a_registry(kind: str, name: str, registry: str) -> None:
    assert found({name: entry("u", "p")}, registry, kind) == Credentials("u", "p")


@pytest.mark.parametrize(
    "name",
    [
        "other.example",
        "registry.example:5000",
        "registry.example.evil",
        "evilregistry.example",
        "registry.example/team",
        "https://registry.example/team/",
        "*.example",
        "*",
        "",
        "https://",
    ],
)
def test_names_of_other_registries(name: str) -> None:
    assert found({name: entry("u", "p")}, "registry.example") is None


def test_ratify_s_exact_name_comes_first() -> None:
    auths = {"https://registry.example/v1/": entry("url", "p"), "registry.example": entry("exact", "p")}
    assert found(auths, "registry.example") == Credentials("exact", "p")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"username": "u", "password": "p"}, Credentials("u", "p")),
        ({"auth": "dTpw"}, Credentials("u", "p")),
        ({"auth": "dTpw", "username": "other", "password": "other"}, Credentials("u", "p")),
        ({"auth": "dTpwOnE="}, Credentials("u", "p:q")),
        ({"auth": base64.b64encode(b"u:p\x00\x00").decode()}, Credentials("u", "p")),
        ({"identitytoken": "t", "username": "u"}, Credentials("u", identity_token="t")),
        ({"auth": "dTo=", "identitytoken": "t"}, Credentials("u", identity_token="t")),
        ({"auth": "", "username": None, "email": "e"}, None),
        ({}, None),
    ],
)
def test_entries(fields: dict[str, Any], expected: Credentials | None) -> None:
    assert found({"registry.example": fields}, "registry.example") == expected


@pytest.mark.parametrize(
    "fields",
    [[], "text", None, {"auth": 7}, {"auth": "%%"}, {"auth": "dQ=="}, {"auth": "OnA="}, {"auth": "/w=="}],
)
def test_entries_that_are_broken(fields: object) -> None:
    broken = {"registry.example": fields, "other.example": entry("u", "p")}
    with pytest.raises(EntryError):
        found(broken, "registry.example")
    assert found(broken, "other.example") == Credentials("u", "p")


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {},
        {".dockercfg": "e30="},
        {".dockerconfigjson": None},
        {".dockerconfigjson": "%%"},
        {".dockerconfigjson": base64.b64encode(b"{").decode()},
        {".dockerconfigjson": base64.b64encode(b"[]").decode()},
        {".dockerconfigjson": base64.b64encode(b'{"auths": []}').decode()},
        {".dockerconfigjson": base64.b64encode(b'{"auths": {"a": {}, "a": {}}}').decode()},
    ],
)
def test_documents_that_are_none(data: object) -> None:
    with pytest.raises(EntryError):
        login_in_secret(DOCKER_CONFIG_JSON, data, "registry.example")


def test_a_document_without_entries() -> None:
    empty = {".dockerconfigjson": base64.b64encode(b"{}").decode()}
    assert login_in_secret(DOCKER_CONFIG_JSON, empty, "registry.example") is None


@given(st.recursive(st.none() | st.booleans() | st.integers(), st.lists, max_leaves=5))
def test_errors_never_hold_the_content(value: object) -> None:
    fields = {"auth": "planted-secret", "password": value}
    with pytest.raises(EntryError) as caught:
        found({"registry.example": fields}, "registry.example")
    assert "planted" not in everything_about(caught.value)
