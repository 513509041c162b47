"""Azure for tests: Microsoft Entra, the instance metadata service and ACR's exchange, as documented.

Each rejects what its documentation says is rejected: Entra the "OAuth 2.0 client credentials flow with a federated
credential", IMDS "How to use managed identities on an Azure VM", ACR "AAD-OAuth".
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from tests.support.clouds import Request, Response

TENANT = "11111111-2222-3333-4444-555555555555"
CLIENT = "66666666-7777-8888-9999-000000000000"
SCOPE = "https://containerregistry.azure.net/.default"


@dataclass
class FakeAzure:
    """What is accepted and handed out; ``*_answer`` is given instead of what a service would say."""

    assertion: str
    access_token: str
    refresh_token: str
    access_seconds: int = 3599
    entra_answer: Response | None = None
    imds_answer: Response | None = None
    acr_answer: Response | None = None
    delay: float = 0.0
    calls: list[str] = field(default_factory=list)

    def entra(self, request: Request) -> Response:
        """Answer as the token endpoint of an authority."""
        self.calls.append("entra")
        if self.entra_answer is not None:
            return self.entra_answer
        form = request.form
        if request.method != "POST" or not request.path.endswith("/oauth2/v2.0/token"):
            return Response.json({"error": "not_found"}, 404)
        if request.path != f"/{TENANT}/oauth2/v2.0/token":
            return _refused(400, "invalid_request", "AADSTS90002: Tenant not found.")
        if form.get("grant_type") != "client_credentials":
            return _refused(
                400, "unsupported_grant_type", "AADSTS70003: The app requested an unsupported grant."
            )
        if form.get("client_id") != CLIENT:
            return _refused(
                400, "unauthorized_client", "AADSTS700016: Application was not found in the directory."
            )
        if form.get("scope") != SCOPE:
            return _refused(400, "invalid_scope", "AADSTS70011: The provided value for scope is not valid.")
        kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        if form.get("client_assertion_type") != kind or form.get("client_assertion") != self.assertion:
            return _refused(
                401, "invalid_client", "AADSTS700213: No matching federated identity record found."
            )
        return Response.json(
            {"token_type": "Bearer", "expires_in": self.access_seconds, "access_token": self.access_token}
        )

    def imds(self, request: Request) -> Response:
        """Answer as the instance metadata service."""
        self.calls.append("imds")
        if self.imds_answer is not None:
            return self.imds_answer
        query = request.query
        if request.method != "GET" or request.path != "/metadata/identity/oauth2/token":
            return Response.json({"error": "not_found"}, 404)
        if request.headers.get("metadata", "").lower() != "true" or "x-forwarded-for" in request.headers:
            return _refused(400, "invalid_request", "Required metadata header not specified")
        if query.get("api-version") != "2018-02-01":
            return _refused(400, "bad_request_102", "Required API version is not valid")
        if query.get("resource") != SCOPE.removesuffix("/.default"):
            return _refused(
                400, "invalid_resource", "AADSTS50001: The application was not found in the tenant"
            )
        if query.get("client_id") != CLIENT:
            return _refused(400, "invalid_request", "Identity not found")
        now = int(time.time())
        return Response.json(
            {
                "access_token": self.access_token,
                "client_id": CLIENT,
                "expires_in": str(self.access_seconds),
                "expires_on": str(now + self.access_seconds),
                "not_before": str(now),
                "resource": query["resource"],
                "token_type": "Bearer",
            }
        )

    def acr(self, request: Request) -> Response:
        """Answer as a registry's ``/oauth2/exchange``."""
        self.calls.append("acr")
        time.sleep(self.delay)
        if self.acr_answer is not None:
            return self.acr_answer
        form = request.form
        if request.method != "POST" or request.path != "/oauth2/exchange":
            return _registry_error(404, "NOT_FOUND", "not found")
        if form.get("grant_type") != "access_token":
            return _registry_error(400, "UNSUPPORTED", "unsupported grant type")
        if form.get("service") != request.headers.get("host"):
            return _registry_error(400, "UNSUPPORTED", "service is not this registry")
        if form.get("tenant") != TENANT or form.get("access_token") != self.access_token:
            return _registry_error(
                401, "UNAUTHORIZED", "authentication required, visit https://aka.ms/acr/authorization"
            )
        return Response.json({"refresh_token": self.refresh_token})


def _refused(status: int, error: str, description: str) -> Response:
    return Response.json({"error": error, "error_description": description}, status)


def _registry_error(status: int, code: str, message: str) -> Response:
    return Response.json({"errors": [{"code": code, "message": message}]}, status)
