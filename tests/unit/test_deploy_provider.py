"""``deploy/provider``: its policy is Ratify's, its arguments are options of ``serve``, its deadlines lie inside one another."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from slsa_verifier_plugin.checking.demands import seconds_of
from slsa_verifier_plugin.cli.commands.serve_command import serve
from slsa_verifier_plugin.provider.provider_settings import ProviderLimits

DEPLOY = Path(__file__).parents[2] / "deploy"
SERVER = DEPLOY / "provider" / "server"


def _documents(*path: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(DEPLOY.joinpath(*path).read_text()))


def _pod() -> dict[str, Any]:
    (deployment,) = [
        one for one in _documents("provider", "server", "deployment.yaml") if one["kind"] == "Deployment"
    ]
    spec: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return spec


def _options() -> dict[str, Any]:
    (container,) = _pod()["containers"]
    name, *arguments = container["args"]
    assert name == "serve"
    return serve.make_context("serve", list(arguments)).params


def test_the_policy_is_that_of_ratify() -> None:
    """kustomize reads no file outside of its folder, so the resources stand there twice; they must not drift apart."""
    ratify = _documents("ratify", "demo", "verifier-slsa.yaml") + _documents(
        "ratify", "policy", "policy.yaml"
    )
    assert _documents("provider", "server", "policy.yaml") == ratify


@pytest.mark.parametrize("folder", ["server", "k8s-secrets"])
def test_the_store_is_that_of_ratify(folder: str) -> None:
    (store,) = _documents("provider", folder, "store.yaml")
    provider = store["spec"]["parameters"].pop("authProvider", None)
    assert [store] == _documents("ratify", "store", "store-oras.yaml")
    assert (provider is not None) == (folder == "k8s-secrets")


def test_the_arguments_are_options() -> None:
    options = _options()
    assert options["policies"] == ("/policy",)
    assert options["client_ca"] == "/client-ca/ca.crt"
    assert options["any_client"] is False


def test_deadlines_lie_inside_one_another() -> None:
    """The innermost tells the reason: provider, Gatekeeper's client, its webhook."""
    own = seconds_of(_options()["timeout"])
    provider, mutation = (
        one["spec"]["timeout"] for one in _documents("gatekeeper", "provider", "providers.yaml")
    )
    (values,) = _documents("gatekeeper", "values.yaml")
    assert own is not None
    assert own < provider < values["validatingWebhookTimeoutSeconds"]
    assert mutation < values["mutatingWebhookTimeoutSeconds"]


def test_the_grace_period_outlasts_the_stop() -> None:
    drain = seconds_of(_options()["drain"])
    assert drain is not None
    assert drain + ProviderLimits().stop_seconds < _pod()["terminationGracePeriodSeconds"]


def test_the_pod_has_no_token_and_no_privilege() -> None:
    spec = _pod()
    (container,) = spec["containers"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    gatekeepers = [one["secret"] for one in spec["volumes"] if one["name"] == "client-ca"]
    assert [one["items"] for one in gatekeepers] == [[{"key": "ca.crt", "path": "ca.crt"}]], (
        "and no key of Gatekeeper's"
    )


def test_the_script_is_one() -> None:
    subprocess.run(["sh", "-n", DEPLOY / "provider" / "certificates.sh"], check=True)
