"""``azureWorkloadIdentity`` and ``azureManagedIdentity``: Azure Container Registry (Ratify v1.4.4 ``azure/``).

1. A Microsoft Entra access token for ACR: for the service account's token (workload identity) or from the
   instance's metadata service (managed identity).
2. The registry's ``POST /oauth2/exchange``: the access token for an ACR refresh token, which is the password of
   the user 00000000-0000-0000-0000-000000000000 (azure.github.io/acr/AAD-OAuth.html).

Step 2 is only done with hosts of the configuration's ``endpoints``: the access token is good for every registry of
the identity, and whoever names an image names the host that would receive it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from time import time
from typing import Protocol

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.registry.auth.leases import EARLY_SECONDS, Lease, Leases
from slsa_verifier_plugin.registry.credentials import CredentialProvider, Credentials
from slsa_verifier_plugin.registry.credentials.azure.azure_tokens import ManagedIdentity, WorkloadIdentity
from slsa_verifier_plugin.registry.credentials.credential_failures import failed
from slsa_verifier_plugin.registry.credentials.provider_options import Options, variables
from slsa_verifier_plugin.registry.credentials.web import Web
from slsa_verifier_plugin.registry.http.transport import HttpRequest
from slsa_verifier_plugin.registry.reference import Reference
from slsa_verifier_plugin.text import quoted

WORKLOAD_IDENTITY = "azureWorkloadIdentity"
MANAGED_IDENTITY = "azureManagedIdentity"

USERNAME = "00000000-0000-0000-0000-000000000000"
"""The user name that says that the password is a token."""

DEFAULT_ENDPOINTS = ("*.azurecr.io", "*.azurecr.us", "*.azurecr.cn")
"""Hosts that get a token where the configuration names none."""

REFRESH_TOKEN_SECONDS = 3 * 3600.0
"""Life of an ACR refresh token, which the answer does not say."""

API_VERSION = "2021-07-01"
"""Version of the exchange that Azure's SDK for Go, and so Ratify, asks for."""

_HOST = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::[0-9]{1,5})?")


class EntraTokens(Protocol):
    """Gets Microsoft Entra access tokens for ACR."""

    tenant: str

    def token(self, deadline: Deadline) -> Lease[str]:
        """Return an access token.

        Raises:
            RegistryError: there is none to be had.
            DeadlineError: out of time.
        """


class AzureCredentials:
    """Finds credentials for Azure Container Registry; see ``make``."""

    def __init__(
        self,
        provider: str,
        tokens: EntraTokens,
        endpoints: tuple[str, ...],
        environ: Mapping[str, str],
        clock: Callable[[], float] = time,
    ) -> None:
        self._provider = provider
        self._tenant = tokens.tenant
        self._endpoints = endpoints
        self._clock = clock
        self._web = Web(provider, environ)
        self._entra = Leases[str, Lease[str]](
            f"a Microsoft Entra access token for {provider}",
            # The value is the lease itself: ``_exchange`` needs its end, so that no password outlives the token it was made from.
            lambda _, deadline: Lease.until(lease := tokens.token(deadline), lease.ends),
            clock,
        )
        self._acr = Leases[str, Credentials](f"an ACR refresh token for {provider}", self._exchange, clock)

    def credentials(self, image: Reference, deadline: Deadline) -> Credentials | None:
        """Return ACR's credentials for the image's registry, None where that is not among the endpoints.

        Raises:
            RegistryError: an exchange failed.
            DeadlineError: out of time.
        """
        # Host names know no case, and the endpoints are kept in lower case.
        host = image.registry.lower()
        # Any other host is asked anonymously: a token shown to it would open every registry of the identity.
        return self._acr.get(host, deadline) if is_endpoint(host, self._endpoints) else None

    def _exchange(self, host: str, deadline: Deadline) -> Lease[Credentials]:
        # One identity, so one access token for all registries.
        access = self._entra.get("", deadline)
        step = f"exchanging the access token with {host}"
        form = {
            "grant_type": "access_token",
            "service": host,
            "tenant": self._tenant,
            "access_token": access.value,
        }
        answer = self._web.json(
            HttpRequest(step, f"https://{host}/oauth2/exchange?api-version={API_VERSION}", "POST", body=form),
            deadline,
            secrets=[access.value],
            advice="check the registry's name, AZURE_TENANT_ID, and that the identity has the role AcrPull on it",
        )
        token = answer.get("refresh_token")
        if not isinstance(token, str) or not token:
            raise failed(self._provider, step, "the answer has no refresh_token")
        # ACR refuses a refresh token whose access token is over.
        ends = min(self._clock() + REFRESH_TOKEN_SECONDS - EARLY_SECONDS, access.ends)
        return Lease.until(Credentials(USERNAME, token, expires_at=ends), ends)


def is_endpoint(host: str, endpoints: tuple[str, ...]) -> bool:
    """Return True if a token may be sent to ``host`` (lower case): it is an endpoint, or one label before ``*.``'s."""
    # The host goes into a URL: "/", "@" or "?" in it would send the token elsewhere.
    if not _HOST.fullmatch(host):
        return False
    # One label: "*.azurecr.io" must not mean a.b.azurecr.io, as with certificates (RFC 6125, 6.4.3).
    zone = host.partition(".")[2]
    return any(host == item or (item.startswith("*.") and zone == item[2:]) for item in endpoints)


def parse_endpoints(options: Options) -> tuple[str, ...]:
    """Return the configuration's ``endpoints`` as Ratify v1.4.4 takes them (``azure/helper.go``).

    Raises:
        RegistryError: a ``*`` that is not the first of two or more labels.
    """
    endpoints = options.texts("endpoints")
    for endpoint in endpoints:
        bare = endpoint.removeprefix("*.")
        # "*.*.io" or "a*.io" would send the token to hosts that nobody named.
        if "*" in bare or not _HOST.fullmatch(bare.lower()):
            raise options.error(
                f"the endpoint {quoted(endpoint, 80)} is no host name; expected registry.example or *.registry.example"
            )
    return tuple(endpoint.lower() for endpoint in endpoints) or DEFAULT_ENDPOINTS


def make(config: Mapping[str, object], environ: Mapping[str, str]) -> CredentialProvider:
    """Return the provider that ``config``'s ``name`` says, ``azureWorkloadIdentity`` or ``azureManagedIdentity``.

    Args:
        config: Ratify's ``authProvider``: ``clientID`` (or ``AZURE_CLIENT_ID``) and ``endpoints``, host names or ``*.`` and a
            domain.
        environ: ``AZURE_TENANT_ID`` is required, for workload identity also ``AZURE_FEDERATED_TOKEN_FILE`` and
            ``AZURE_AUTHORITY_HOST``.

    Raises:
        RegistryError: the configuration or the environment cannot be used.
    """
    name = config.get("name")
    if name not in (WORKLOAD_IDENTITY, MANAGED_IDENTITY):
        raise failed("azure", "reading its configuration", f"there is no provider {quoted(name, 60)}")
    options = Options(str(name), config, ("clientID", "endpoints"))
    tokens: EntraTokens
    if name == WORKLOAD_IDENTITY:
        advice = "the workload identity webhook sets them in Pods with the label azure.workload.identity/use"
        names = ("AZURE_TENANT_ID", "AZURE_FEDERATED_TOKEN_FILE", "AZURE_AUTHORITY_HOST")
        tenant, path, authority = variables(name, environ, names, advice)
        # As in Ratify the configuration counts first; the variable must be set only where that is silent.
        client = options.text("clientID") or variables(name, environ, ("AZURE_CLIENT_ID",), advice)[0]
        tokens = WorkloadIdentity(name, tenant, client, path, authority, environ)
    else:
        advice = "Ratify's chart sets it from azureManagedIdentity.tenantId"
        (tenant,) = variables(MANAGED_IDENTITY, environ, ("AZURE_TENANT_ID",), advice)
        # The other way round than for workload identity, as Ratify v1.4.4 has it.
        client = environ.get("AZURE_CLIENT_ID") or options.text("clientID")
        if not client:
            raise options.error("authProvider.clientID is missing, and AZURE_CLIENT_ID is not set")
        tokens = ManagedIdentity(MANAGED_IDENTITY, tenant, client, environ)
    return AzureCredentials(str(name), tokens, parse_endpoints(options), environ)
