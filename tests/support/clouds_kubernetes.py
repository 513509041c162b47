"""A kubernetes API for tests: the two reads that ``k8Secrets`` needs, with the API's own refusals."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import Any

from tests.support.clouds import Request, Response

DOCKER_CONFIG_JSON = "kubernetes.io/dockerconfigjson"
DOCKER_CFG = "kubernetes.io/dockercfg"


def entry(username: str, password: str) -> dict[str, str]:
    """Return an entry of docker's configuration, as ``kubectl create secret docker-registry`` writes it."""
    auth = base64.b64encode(f"{username}:{password}".encode()).decode()
    return {"username": username, "password": password, "auth": auth}


def data_of(kind: str, auths: dict[str, Any]) -> dict[str, str]:
    """Return a pull secret's ``data``."""
    if kind == DOCKER_CFG:
        return {".dockercfg": base64.b64encode(json.dumps(auths).encode()).decode()}
    return {".dockerconfigjson": base64.b64encode(json.dumps({"auths": auths}).encode()).decode()}


@dataclass
class FakeKubernetes:
    """Objects by namespace and name; ``forbidden`` are paths that RBAC does not grant."""

    token: str
    secrets: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    accounts: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    forbidden: set[str] = field(default_factory=set)
    answer: Response | None = None
    calls: list[str] = field(default_factory=list)

    def add(self, namespace: str, name: str, auths: dict[str, Any], kind: str = DOCKER_CONFIG_JSON) -> None:
        """Add a pull secret."""
        self.secrets[(namespace, name)] = {"type": kind, "data": data_of(kind, auths)}

    def __call__(self, request: Request) -> Response:
        """Answer as the API server (``core/v1``)."""
        self.calls.append(request.path)
        if self.answer is not None:
            return self.answer
        if request.headers.get("authorization") != f"Bearer {self.token}":
            return status(401, "Unauthorized", "Unauthorized")
        parts = request.path.strip("/").split("/")
        if request.method != "GET" or parts[:3] != ["api", "v1", "namespaces"] or len(parts) != 6:
            return status(404, "NotFound", "the server could not find the requested resource")
        _, _, _, namespace, kind, name = parts
        if request.path in self.forbidden:
            message = f'{kind} "{name}" is forbidden: User cannot get resource "{kind}" in API group ""'
            return status(403, "Forbidden", message)
        metadata = {"name": name, "namespace": namespace}
        if kind == "secrets" and (namespace, name) in self.secrets:
            content = self.secrets[(namespace, name)]
            return Response.json({"kind": "Secret", "apiVersion": "v1", "metadata": metadata, **content})
        if kind == "serviceaccounts" and (namespace, name) in self.accounts:
            references = [{"name": item} for item in self.accounts[(namespace, name)]]
            account = {"kind": "ServiceAccount", "apiVersion": "v1", "metadata": metadata}
            return Response.json({**account, "imagePullSecrets": references})
        return status(404, "NotFound", f'{kind} "{name}" not found')


def status(code: int, reason: str, message: str) -> Response:
    """Return an error as the API writes it (``meta/v1`` ``Status``)."""
    value = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code}
    return Response.json({**value, "message": message}, code)
