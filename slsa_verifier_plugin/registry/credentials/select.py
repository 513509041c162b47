"""Chooses the credential provider, by the names of Ratify v1.4.4 (``pkg/common/oras/authprovider``)."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

from slsa_verifier_plugin.errors import Reason, RegistryError
from slsa_verifier_plugin.registry.credentials import CredentialProvider
from slsa_verifier_plugin.text import quoted

DEFAULT = "dockerConfig"
"""What Ratify uses where its store has no ``authProvider``."""

_PACKAGE = "slsa_verifier_plugin.registry.credentials"

MODULES = {
    "dockerConfig": "docker.docker_config",
    "k8Secrets": "kubernetes.kubernetes_provider",
    "awsEcrBasic": "aws.aws_provider",
    "azureWorkloadIdentity": "azure.azure_provider",
    "azureManagedIdentity": "azure.azure_provider",
    "alibabacloudAcrBasic": "alibaba.alibaba_provider",
}
"""Name to the module that has ``make``; a cloud's SDK is imported when it is used (``credential_failures.libraries``)."""


def provider_for(
    auth_provider: Mapping[str, object] | None, environ: Mapping[str, str]
) -> CredentialProvider:
    """Return the provider that a store's ``authProvider`` asks for; only its own module is imported.

    Args:
        auth_provider: an object with ``name`` and the provider's own keys; None for Ratify's default.
        environ: where the provider finds files, endpoints and tokens.

    Raises:
        RegistryError: reason ``REGISTRY_CREDENTIALS``: an unknown name, or settings that the provider does not
            accept.
    """
    # As Ratify: a store without an authProvider reads Docker's file.
    config = auth_provider if auth_provider is not None else {"name": DEFAULT}
    name = config.get("name")
    # Never a guess, and never anonymous access instead of what was configured.
    if not isinstance(name, str) or name not in MODULES:
        known = ", ".join(MODULES)
        raise RegistryError(
            f"the store's authProvider has the name {quoted(name)}, which is none of: {known}",
            reason=Reason.REGISTRY_CREDENTIALS,
        )
    # Only the chosen one: the clouds' SDKs take up to a second to import.
    make = importlib.import_module(f"{_PACKAGE}.{MODULES[name]}").make
    provider: CredentialProvider = make(config, environ)
    return provider
