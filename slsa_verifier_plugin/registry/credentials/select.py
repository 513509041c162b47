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
    "dockerConfig": ("docker.docker_config", None),
    "k8Secrets": ("kubernetes.kubernetes_provider", None),
    "awsEcrBasic": ("aws.aws_provider", "aws"),
    "azureWorkloadIdentity": ("azure.azure_provider", "azure"),
    "azureManagedIdentity": ("azure.azure_provider", "azure"),
    "alibabacloudAcrBasic": ("alibaba.alibaba_provider", "alibaba"),
}
"""Name to the module that has ``make``, and the extra of this package that it needs."""


def provider_for(
    auth_provider: Mapping[str, object] | None, environ: Mapping[str, str]
) -> CredentialProvider | None:
    """Return the provider that a store's ``authProvider`` asks for; only its own module is imported.

    Args:
        auth_provider: an object with ``name`` and the provider's own keys; None for Ratify's default.
        environ: where the provider finds files, endpoints and tokens.

    Raises:
        RegistryError: reason ``REGISTRY_CREDENTIALS``: an unknown name, a missing extra, or settings that the
            provider does not accept.
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
    module, extra = MODULES[name]
    try:
        # Only the chosen one: the clouds' SDKs take up to a second to import.
        make = importlib.import_module(f"{_PACKAGE}.{module}").make
        provider: CredentialProvider = make(config, environ)
    except ImportError as error:
        hint = f"; install slsa-verifier-plugin[{extra}]" if extra else ""
        raise RegistryError(
            f"the credential provider {name} cannot be used: the module {quoted(error.name)} is missing{hint}",
            reason=Reason.REGISTRY_CREDENTIALS,
        ) from None
    return provider
