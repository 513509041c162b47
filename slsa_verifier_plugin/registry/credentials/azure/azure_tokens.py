"""Microsoft Entra access tokens for Azure Container Registry, by Microsoft's libraries.

Workload identity by azure-identity, which asks the authority for the token in one request. Managed identity by MSAL,
the library below azure-identity: azure-identity's own ``ManagedIdentityCredential`` would take the workload identity
instead where its variables are set, which Ratify's Go library does not.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import RegistryError
from slsa_verifier_plugin.network.tls import TrustStore
from slsa_verifier_plugin.registry.auth.leases import Lease
from slsa_verifier_plugin.registry.credentials.credential_failures import failed, libraries
from slsa_verifier_plugin.registry.credentials.provider_options import token_file
from slsa_verifier_plugin.registry.credentials.web import (
    SdkCall,
    is_transient,
    refused,
    seconds,
    unanswered,
)
from slsa_verifier_plugin.registry.http.sdk_sessions import session_until
from slsa_verifier_plugin.registry.redaction import explained
from slsa_verifier_plugin.text import quoted

RESOURCE = "https://containerregistry.azure.net"
"""The resource that an access token must be for; the scope is this and ``/.default``."""

_LOGGERS = ("azure", "msal", "msal_extensions")


class WorkloadIdentity:
    """Entra tokens for a service account's token (federated credential).

    Args:
        provider: the provider's name, for messages.
        tenant: the Entra tenant.
        client: the identity's client ID.
        path: the file with the service account's token.
        authority: the authority's URL, ``https://login.microsoftonline.com/`` in the public cloud.
        environ: proxies and places of certificates.

    Raises:
        RegistryError: the authority is not an https URL.
    """

    def __init__(
        self, provider: str, tenant: str, client: str, path: str, authority: str, environ: Mapping[str, str]
    ) -> None:
        # azure-identity, too, takes a bare host for an https URL.
        parts = urlsplit(authority if "://" in authority else f"https://{authority}")
        # The service account's token is sent there, so never in clear text.
        if parts.scheme != "https" or not parts.hostname:
            raise failed(
                provider,
                "reading the environment",
                f"AZURE_AUTHORITY_HOST {quoted(authority)} is not an https:// URL",
            )
        self.tenant = tenant
        self._provider = provider
        self._client = client
        self._path = path
        self._authority = parts.geturl()
        self._host = parts.hostname
        self._environ = environ
        self._trust = TrustStore(environ)

    def token(self, deadline: Deadline) -> Lease[str]:
        """Return an access token; see ``EntraTokens``."""
        identity, exceptions, http = libraries(
            self._provider,
            "azure",
            ("azure.identity", "azure.core.exceptions", "azure.core.pipeline.transport"),
            _LOGGERS,
        )
        step = f"getting an access token from {self._host}"
        # At every use: Kubernetes renews the file each hour.
        assertion = token_file(self._provider, "AZURE_FEDERATED_TOKEN_FILE", self._path)
        timeout = seconds(deadline, self._provider, step)

        def work() -> Lease[str]:
            # The SDK's own limits are for the silence between two bytes: a peer that trickles would keep this thread for ever.
            with (
                session_until(deadline, self._environ, self._trust) as session,
                identity.ClientAssertionCredential(
                    self.tenant,
                    self._client,
                    lambda: assertion,
                    authority=self._authority,
                    connection_timeout=timeout,
                    read_timeout=timeout,
                    transport=http.RequestsTransport(session=session, session_owner=False),
                    # Proxies and certificates are those of the call, not of this process.
                    use_env_settings=False,
                    # Its sleep between attempts knows no deadline.
                    retry_total=0,
                ) as credential,
            ):
                found = credential.get_token_info(f"{RESOURCE}/.default")
            if isinstance(found.token, str) and found.token:
                return Lease.until(found.token, float(found.expires_on))
            raise failed(self._provider, step, "the answer has no access token")

        def judge(error: Any) -> RegistryError | None:
            if isinstance(error, exceptions.HttpResponseError):
                shown = f"HTTP {error.status_code}, " if error.status_code else ""
                detail = f"{shown}{explained(error.message, [assertion])}"
                advice = f"check the federated credential of the identity {quoted(self._client, 60)}"
                transient = is_transient(error.status_code)
                return refused(self._provider, step, detail, advice, transient=transient)
            # No answer: azure-core keeps what the network raised in ``inner_exception``.
            if isinstance(error, exceptions.AzureError):
                return unanswered(self._provider, step, self._authority, error.inner_exception or error)
            return None

        return SdkCall(self._provider, step, (exceptions.AzureError,), judge).make(work, deadline)


class ManagedIdentity:
    """Entra tokens from the instance's metadata service (IMDS), or what stands for it in other places of Azure.

    Args:
        provider: the provider's name, for messages.
        tenant: the Entra tenant.
        client: the client ID of the user-assigned identity.
        environ: for certificates only: the service is on this machine or its link, and no proxy may see the token.
    """

    def __init__(self, provider: str, tenant: str, client: str, environ: Mapping[str, str]) -> None:
        self.tenant = tenant
        self._provider = provider
        self._client = client
        self._trust = TrustStore(environ)

    def token(self, deadline: Deadline) -> Lease[str]:
        """Return an access token; see ``EntraTokens``."""
        (msal,) = libraries(self._provider, "azure", ("msal",), _LOGGERS)
        step = "getting an access token from the instance's metadata service"
        # The answer gives a life, not an end: counted from before the request, so that it never ends late.
        begun = time.time()
        statuses: list[int] = []

        def work() -> Mapping[str, Any]:
            # No environment, so that no proxy is asked: the service is on this machine or its link.
            with session_until(deadline, {}, self._trust) as session:
                # MSAL hands on the fields of an answer without its status.
                session.hooks["response"] = [lambda answer, **_: statuses.append(answer.status_code)]
                identity = msal.UserAssignedManagedIdentity(client_id=self._client)
                client = msal.ManagedIdentityClient(identity, http_client=session)
                found = client.acquire_token_for_client(resource=RESOURCE)
                return found if isinstance(found, Mapping) else {}

        def refusal(detail: str) -> RegistryError:
            status = statuses[-1] if statuses else 0
            # 404 and 410: the service is being updated (Microsoft, "Error handling" of managed identities).
            transient = is_transient(status) or status in (404, 410)
            advice = f"check that the identity {quoted(self._client, 60)} is assigned to this machine"
            text = f"HTTP {status}, {detail}"
            return refused(self._provider, step, text, advice, transient=transient)

        def judge(error: Any) -> RegistryError:
            # Nothing answered, so it was the network.
            if not statuses:
                asked = getattr(error, "request", None)
                return unanswered(self._provider, step, str(getattr(asked, "url", "")), error)
            return refusal(f"the answer cannot be read ({type(error).__name__})")

        call = SdkCall(self._provider, step, (msal.ManagedIdentityError,), judge)
        found = call.make(work, deadline)
        token, life = found.get("access_token"), found.get("expires_in")
        if isinstance(token, str) and token and isinstance(life, int):
            return Lease.until(token, begun + life)
        # MSAL returns a refusal as fields and does not raise it.
        said = ": ".join(str(found[key]) for key in ("error", "error_description") if found.get(key))
        raise refusal(explained(said, [str(token or "")]))
