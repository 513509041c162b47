"""``policy check`` on Ratify's Stores: what Ratify refuses, and the near misses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from slsa_verifier_plugin.registry.credentials.select import MODULES
from tests.support.command_line import cli, write_yaml


def problems(
    tmp_path: Path, kind: str = "Store", name: str = "oras", **parameters: Any
) -> list[dict[str, Any]]:
    store = {
        "apiVersion": "config.ratify.deislabs.io/v1beta1",
        "kind": kind,
        "metadata": {"name": "store-oras"},
        "spec": {"name": name, "parameters": parameters},
    }
    found: list[dict[str, Any]] = json.loads(
        cli("policy", "check", write_yaml(tmp_path / "s.yaml", store), "--json").out
    )["problems"]
    return found


@pytest.mark.parametrize("kind", ["Store", "NamespacedStore"])
@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"cosignEnabled": True, "cacheEnabled": True, "ttl": 10, "localCachePath": ".ratify/x", "useHttp": False},
        # Go reads names of settings in any case.
        {"cosignenabled": True, "USEHTTP": False},
        {"something": "of a later version"},
        {"authProvider": {"name": "of-a-later-version-of-ratify"}},
        *({"authProvider": {"name": name}} for name in MODULES),
    ],
)  # fmt: skip
def test_what_ratify_takes_is_good(tmp_path: Path, kind: str, parameters: dict[str, Any]) -> None:
    assert problems(tmp_path, kind, **parameters) == []


@pytest.mark.parametrize(
    ("change", "says", "remedy"),
    [
        ({"authProvider": {"name": "k8sSecrets"}}, '"k8sSecrets"', "is k8Secrets meant?"),
        ({"authProvider": {"name": "awsECRBasic"}}, '"awsECRBasic"', "is awsEcrBasic meant?"),
        ({"authProvider": {"name": "azureWorkloadIdentiy"}}, "azureWorkloadIdentiy", "is azureWorkloadIdentity meant?"),
        ({"authProvider": "k8Secrets"}, "authProvider is a string, expected an object with a name", "refuses"),
        ({"authProviders": {"name": "k8Secrets"}}, '"authProviders"', "is authProvider meant?"),
        ({"useHttps": True}, '"useHttps"', "is useHttp meant?"),
        ({"useHttp": "true"}, "useHttp is a string, expected true or false", "refuses"),
        ({"ttl": "10s"}, "ttl is a string, expected a whole number of seconds", "refuses"),
        ({"name": "orass"}, '"orass"', "is oras meant?"),
        ({"useHttp": True}, "travel unencrypted", "leave it out"),
        ({"usehttp": True}, "travel unencrypted", "leave it out"),
    ],
)  # fmt: skip
def test_what_it_does_not_is_found(tmp_path: Path, change: dict[str, Any], says: str, remedy: str) -> None:
    (found,) = problems(tmp_path, **change)
    assert says in found["message"]
    assert remedy in found["remedy"]
