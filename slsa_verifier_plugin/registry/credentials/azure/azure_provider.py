"""``azureWorkloadIdentity`` and ``azureManagedIdentity``: Azure Container Registry (Ratify v1.4.4 ``azure/``).

1. A Microsoft Entra access token for ACR: for the service account's token (workload identity) or from the
   instance's metadata service (managed identity).
2. The registry's ``POST /oauth2/exchange``: the access token for an ACR refresh token, which is the password of
   the user 00000000-0000-0000-0000-000000000000 (azure.github.io/acr/AAD-OAuth.html).

Step 2 is only done with hosts of the configuration's ``endpoints``: the access token is good for every registry of
the identity, and whoever names an image names the host that would receive it.

An access token for a service account's token is one form (RFC 7523), which is sent from here as the exchange is. One from the
metadata service is by MSAL, which knows what stands for that service in other places of Azure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from time import time
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.members import object_at, text_at
from slsa_verifier_plugin.network.origins import is_url
from slsa_verifier_plugin.network.tls import TrustStore
from slsa_verifier_plugin.network.transport import HttpRequest
from slsa_verifier_plugin.registry.auth.leases import EARLY_SECONDS, Lease, Leases
from slsa_verifier_plugin.registry.credentials import CredentialProvider, Credentials
from slsa_verifier_plugin.registry.credentials.credential_failures import failed, libraries
from slsa_verifier_plugin.registry.credentials.provider_options import (
    STEP_ENVIRONMENT,
    Options,
    token_file,
    variables,
)
from slsa_verifier_plugin.registry.credentials.web import CloudStep, Refusal, Web, is_transient
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

EntraToken = Callable[[Deadline], Lease[str]]
"""Gets a Microsoft Entra access token for ACR.

Raises ``RegistryError`` where there is none to be had, ``DeadlineError`` where the time is over.
"""

RESOURCE = "https://containerregistry.azure.net"
"""The resource that an access token must be for; the scope is this and ``/.default``."""

_LOGGERS = ("msal",)

_DIGITS = re.compile("[0-9]{1,9}")

_MAX_LIFE = 366 * 24 * 3600
"""Seconds that an access token may say it lives; Entra's live for a day at most."""


def workload_token(
    web: Web, tenant: str, client: str, path: str, authority: str, deadline: Deadline
) -> Lease[str]:
    """Return an access token for a service account's token (federated credential); see ``EntraToken``.

    Args:
        web: asks the authority.
        tenant: the Entra tenant.
        client: the identity's client ID.
        path: the file with the service account's token.
        authority: the authority's https URL, ``https://login.microsoftonline.com`` in the public cloud.
        deadline: the end of it.
    """
    # At every use: Kubernetes renews the file each hour.
    assertion = token_file(web.provider, "AZURE_FEDERATED_TOKEN_FILE", path)
    step = CloudStep(
        f"getting an access token from {urlsplit(authority).hostname}",
        f"check the federated credential of the identity {quoted(client, 60)}",
        [assertion],
    )
    # Microsoft identity platform, "client credentials flow", the third case: with a federated credential.
    form = {
        "grant_type": "client_credentials",
        "client_id": client,
        "scope": f"{RESOURCE}/.default",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": assertion,
    }
    begun = time()
    url = f"{authority}/{quote(tenant, safe='')}/oauth2/v2.0/token"
    lease = _token_in(web.post(step, url, deadline, form), begun)
    if lease is None:
        raise failed(web.provider, step.name, "the answer has no access token")
    return lease


def managed_token(web: Web, client: str, deadline: Deadline) -> Lease[str]:
    """Return an access token from the instance's metadata service (IMDS), or what stands for it in other places of Azure.

    See ``EntraToken``.

    Args:
        web: asks the service, which is on this machine or its link: no proxy may see the token.
        client: the client ID of the user-assigned identity.
        deadline: the end of it.
    """
    msal, requests = libraries(web.provider, "azure", ("msal", "requests"), _LOGGERS)
    step = CloudStep(
        "getting an access token from the instance's metadata service",
        f"check that the identity {quoted(client, 60)} is assigned to this machine",
    )
    begun = time()
    status = 0

    def get(
        url: str, *, params: Mapping[str, str] | None = None, headers: Mapping[str, str], **_: object
    ) -> SimpleNamespace:
        nonlocal status
        asked = f"{url}?{urlencode(params)}" if params else url
        reply, content = web.exchange(HttpRequest(step.name, asked, headers=headers), deadline)
        # MSAL hands on the fields of an answer without its status.
        status = reply.status
        text = content.decode("utf-8", "replace")
        return SimpleNamespace(status_code=status, headers=reply.headers(), text=text)

    def refusal(said: str) -> Refusal:
        # 404 and 410: the service is being updated (Microsoft, "Error handling" of managed identities).
        return Refusal(status, said, is_transient(status) or status in (404, 410))

    def work() -> Lease[str]:
        identity = msal.UserAssignedManagedIdentity(client_id=client)
        # Of a session only ``get`` is used. In Service Fabric alone MSAL takes nothing but a session, and sends with one that it
        # makes from it: there the endpoint's certificate is known by its digest, not by an authority.
        session = requests.Session()
        session.trust_env = False
        session.get = get
        asked = msal.ManagedIdentityClient(identity, http_client=session)
        found = object_at(asked.acquire_token_for_client(resource=RESOURCE))
        lease = _token_in(found, begun)
        if lease is not None:
            return lease
        # MSAL returns a refusal as fields and does not raise it.
        said = ": ".join(str(found[key]) for key in ("error", "error_description") if found.get(key))
        secrets = [text_at(found, "access_token")]
        raise web.refused(replace(step, secrets=secrets), refusal(said))

    def judge(_: Exception) -> Refusal | None:
        # Something answered, and what it said cannot be read.
        return refusal("") if status else None

    return web.call(step, work, judge, deadline)


def _token_in(answer: Mapping[str, Any], begun: float) -> Lease[str] | None:
    """Return the access token in an answer, None where there is none or its life is not said."""
    token, life = text_at(answer, "access_token"), answer.get("expires_in")
    # Entra's first version and AD FS write the number as text.
    if isinstance(life, str) and _DIGITS.fullmatch(life):
        life = int(life)
    if not token or not isinstance(life, int) or not 0 < life <= _MAX_LIFE:
        return None
    # A life, and not an end: counted from before the request, so that it never ends late.
    return Lease.until(token, begun + life)


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
        step = CloudStep(
            f"exchanging the access token with {host}",
            "check the registry's name, AZURE_TENANT_ID, and that the identity has the role AcrPull on it",
            [access.value],
        )
        form = {
            "grant_type": "access_token",
            "service": host,
            "tenant": self._tenant,
            "access_token": access.value,
        }
        url = f"https://{host}/oauth2/exchange?api-version={API_VERSION}"
        token = text_at(self._web.post(step, url, deadline, form), "refresh_token")
        if not token:
            raise failed(self._web.provider, step.name, "the answer has no refresh_token")
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
        # A bare host is taken for an https URL, as by azure-identity.
        url = authority if "://" in authority else f"https://{authority}"
        # The service account's token is sent there, so never in clear text.
        if not is_url(url) or urlsplit(url).scheme != "https":
            why = f"AZURE_AUTHORITY_HOST {quoted(authority)} is not an https:// URL"
            raise failed(name, STEP_ENVIRONMENT, why)
        token = partial(workload_token, web, tenant, client, path, url.rstrip("/"))
    else:
        advice = "Ratify's chart sets it from azureManagedIdentity.tenantId"
        (tenant,) = variables(MANAGED_IDENTITY, environ, ("AZURE_TENANT_ID",), advice)
        # The other way round than for workload identity, as Ratify v1.4.4 has it.
        client = environ.get("AZURE_CLIENT_ID") or options.text("clientID")
        if not client:
            raise options.error("authProvider.clientID is missing, and AZURE_CLIENT_ID is not set")
        # Of the environment the certificates alone, so that no proxy is asked.
        token = partial(managed_token, Web(MANAGED_IDENTITY, {}, TrustStore(environ)), client)
    return AzureCredentials(web, tenant, token, parse_endpoints(options))
