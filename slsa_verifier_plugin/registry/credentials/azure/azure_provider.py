"""``azureWorkloadIdentity`` and ``azureManagedIdentity``: Azure Container Registry (Ratify v1.4.4 ``azure/``).

1. A Microsoft Entra access token for ACR: for the service account's token (workload identity) or from the
   instance's metadata service (managed identity).
2. The registry's ``POST /oauth2/exchange``: the access token for an ACR refresh token, which is the password of
   the user 00000000-0000-0000-0000-000000000000 (azure.github.io/acr/AAD-OAuth.html).

Step 2 is only done with hosts of the configuration's ``endpoints``: the access token is good for every registry of
the identity, and whoever names an image names the host that would receive it.

The access tokens are by Microsoft's libraries. Workload identity by azure-identity, which asks the authority for the
token in one request. Managed identity by MSAL, the library below azure-identity: azure-identity's own
``ManagedIdentityCredential`` would take the workload identity instead where its variables are set, which Ratify's Go
library does not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.members import object_at, text_at
from slsa_verifier_plugin.network.origins import is_url
from slsa_verifier_plugin.network.tls import TrustStore
from slsa_verifier_plugin.registry.auth.leases import EARLY_SECONDS, Lease, Leases
from slsa_verifier_plugin.registry.credentials import CredentialProvider, Credentials
from slsa_verifier_plugin.registry.credentials.credential_failures import failed, libraries
from slsa_verifier_plugin.registry.credentials.provider_options import (
    STEP_ENVIRONMENT,
    Options,
    token_file,
    variables,
)
from slsa_verifier_plugin.registry.credentials.web import Refusal, SdkCall, Web, is_transient
from slsa_verifier_plugin.registry.http.transport import HttpRequest
from slsa_verifier_plugin.registry.reference import Reference
from slsa_verifier_plugin.text import quoted

if TYPE_CHECKING:
    import requests

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

EntraToken = Callable[[Deadline], Lease[str]]
"""Gets a Microsoft Entra access token for ACR.

Raises ``RegistryError`` where there is none to be had, ``DeadlineError`` where the time is over.
"""

RESOURCE = "https://containerregistry.azure.net"
"""The resource that an access token must be for; the scope is this and ``/.default``."""

_LOGGERS = ("azure", "msal", "msal_extensions")


class WorkloadIdentity:
    """Entra tokens for a service account's token (federated credential).

    Args:
        web: asks the authority.
        tenant: the Entra tenant.
        client: the identity's client ID.
        path: the file with the service account's token.
        authority: the authority's URL, ``https://login.microsoftonline.com/`` in the public cloud.

    Raises:
        RegistryError: the authority is not an https URL.
    """

    def __init__(self, web: Web, tenant: str, client: str, path: str, authority: str) -> None:
        # azure-identity, too, takes a bare host for an https URL.
        url = authority if "://" in authority else f"https://{authority}"
        parts = urlsplit(url if is_url(url) else "")
        # The service account's token is sent there, so never in clear text.
        if parts.scheme != "https":
            why = f"AZURE_AUTHORITY_HOST {quoted(authority)} is not an https:// URL"
            raise failed(web.provider, STEP_ENVIRONMENT, why)
        self._tenant = tenant
        self._web = web
        self._client = client
        self._path = path
        self._authority = parts.geturl()
        self._step = f"getting an access token from {parts.hostname}"

    def token(self, deadline: Deadline) -> Lease[str]:
        """Return an access token; see ``EntraToken``."""
        identity, exceptions, http = libraries(
            self._web.provider,
            "azure",
            ("azure.identity", "azure.core.exceptions", "azure.core.pipeline.transport"),
            _LOGGERS,
        )
        # At every use: Kubernetes renews the file each hour.
        assertion = token_file(self._web.provider, "AZURE_FEDERATED_TOKEN_FILE", self._path)

        def work(session: requests.Session) -> Lease[str]:
            with identity.ClientAssertionCredential(
                self._tenant,
                self._client,
                lambda: assertion,
                authority=self._authority,
                # The SDK's own limits are for the silence between two bytes: a peer that trickles would keep this thread for
                # ever.
                transport=http.RequestsTransport(session=session, session_owner=False),
                # Proxies and certificates are those of the call, not of this process.
                use_env_settings=False,
                # Its sleep between attempts knows no deadline.
                retry_total=0,
            ) as credential:
                found = credential.get_token_info(f"{RESOURCE}/.default")
            if isinstance(found.token, str) and found.token:
                return Lease.until(found.token, float(found.expires_on))
            raise failed(self._web.provider, self._step, "the answer has no access token")

        def judge(error: Any) -> Refusal | None:
            if not isinstance(error, exceptions.HttpResponseError):
                return None
            return Refusal(error.status_code, error.message, is_transient(error.status_code))

        advice = f"check the federated credential of the identity {quoted(self._client, 60)}"
        call = SdkCall(self._step, advice, [assertion], (exceptions.AzureError,), judge)
        return self._web.call(call, work, deadline)


@dataclass(frozen=True, slots=True)
class ManagedIdentity:
    """Entra tokens from the instance's metadata service (IMDS), or what stands for it in other places of Azure.

    Args:
        web: asks the service, which is on this machine or its link: no proxy may see the token.
        client: the client ID of the user-assigned identity.
    """

    web: Web
    client: str

    def token(self, deadline: Deadline) -> Lease[str]:
        """Return an access token; see ``EntraToken``."""
        (msal,) = libraries(self.web.provider, "azure", ("msal",), _LOGGERS)
        step = "getting an access token from the instance's metadata service"
        advice = f"check that the identity {quoted(self.client, 60)} is assigned to this machine"
        # The answer gives a life, not an end: counted from before the request, so that it never ends late.
        begun = time()
        statuses: list[int] = []

        def refusal(said: str) -> Refusal:
            status = statuses[-1] if statuses else 0
            # 404 and 410: the service is being updated (Microsoft, "Error handling" of managed identities).
            return Refusal(status, said, is_transient(status) or status in (404, 410))

        def work(session: requests.Session) -> Lease[str]:
            # MSAL hands on the fields of an answer without its status.
            session.hooks["response"] = [lambda answer, **_: statuses.append(answer.status_code)]
            identity = msal.UserAssignedManagedIdentity(client_id=self.client)
            client = msal.ManagedIdentityClient(identity, http_client=session)
            found = object_at(client.acquire_token_for_client(resource=RESOURCE))
            token, life = found.get("access_token"), found.get("expires_in")
            if isinstance(token, str) and token and isinstance(life, int):
                return Lease.until(token, begun + life)
            # MSAL returns a refusal as fields and does not raise it.
            said = ": ".join(str(found[key]) for key in ("error", "error_description") if found.get(key))
            raise self.web.refused(step, refusal(said), [str(token or "")], advice)

        def judge(_: Any) -> Refusal | None:
            # Something answered, and what it said cannot be read.
            return refusal("") if statuses else None

        call = SdkCall(step, advice, (), (msal.ManagedIdentityError,), judge)
        return self.web.call(call, work, deadline)


class AzureCredentials:
    """Finds credentials for Azure Container Registry; see ``make``."""

    def __init__(self, web: Web, tenant: str, token: EntraToken, endpoints: tuple[str, ...]) -> None:
        self._tenant = tenant
        self._endpoints = endpoints
        self._web = web
        self._entra = Leases[str, Lease[str]](
            f"a Microsoft Entra access token for {web.provider}",
            # The value is the lease itself: ``_exchange`` needs its end, so that no password outlives the token it was made from.
            lambda _, deadline: Lease.until(lease := token(deadline), lease.ends),
            time,
        )
        self._acr = Leases(f"an ACR refresh token for {web.provider}", self._exchange, time)

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
            [access.value],
            "check the registry's name, AZURE_TENANT_ID, and that the identity has the role AcrPull on it",
        )
        token = text_at(answer, "refresh_token")
        if not token:
            raise failed(self._web.provider, step, "the answer has no refresh_token")
        # ACR refuses a refresh token whose access token is over.
        ends = min(time() + REFRESH_TOKEN_SECONDS - EARLY_SECONDS, access.ends)
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
    # One of the two: ``select`` knows no other.
    name = str(config["name"])
    options = Options(name, config, ("clientID", "endpoints"))
    web = Web(name, environ)
    if name == WORKLOAD_IDENTITY:
        advice = "the workload identity webhook sets them in Pods with the label azure.workload.identity/use"
        names = ("AZURE_TENANT_ID", "AZURE_FEDERATED_TOKEN_FILE", "AZURE_AUTHORITY_HOST")
        tenant, path, authority = variables(name, environ, names, advice)
        # As in Ratify the configuration counts first; the variable must be set only where that is silent.
        client = options.text("clientID") or variables(name, environ, ("AZURE_CLIENT_ID",), advice)[0]
        token = WorkloadIdentity(web, tenant, client, path, authority).token
    else:
        advice = "Ratify's chart sets it from azureManagedIdentity.tenantId"
        (tenant,) = variables(MANAGED_IDENTITY, environ, ("AZURE_TENANT_ID",), advice)
        # The other way round than for workload identity, as Ratify v1.4.4 has it.
        client = environ.get("AZURE_CLIENT_ID") or options.text("clientID")
        if not client:
            raise options.error("authProvider.clientID is missing, and AZURE_CLIENT_ID is not set")
        # Of the environment the certificates alone, so that no proxy is asked.
        token = ManagedIdentity(Web(MANAGED_IDENTITY, {}, TrustStore(environ)), client).token
    return AzureCredentials(web, tenant, token, parse_endpoints(options))
