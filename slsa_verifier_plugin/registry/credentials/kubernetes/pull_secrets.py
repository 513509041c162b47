"""Docker's configuration as kubernetes keeps it in image pull secrets, and the entry for a registry in it.

Ratify v1.4.4 takes the entry whose name is exactly the registry's host; that one comes first here. Beyond it, names
with a scheme or with ``/v1/``, and the several names of Docker Hub, are understood, as ``kubectl create secret
docker-registry`` writes them. Entries for a part of a registry (with a path) are passed over, as Ratify does: it keeps
credentials by host.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

from slsa_verifier_plugin import strict_json
from slsa_verifier_plugin.registry.credentials import Credentials

DOCKER_CONFIG_JSON = "kubernetes.io/dockerconfigjson"
DOCKER_CFG = "kubernetes.io/dockercfg"

DATA_KEYS = {DOCKER_CONFIG_JSON: ".dockerconfigjson", DOCKER_CFG: ".dockercfg"}
"""Where a secret of each supported type keeps its document (kubernetes ``core/v1``, "Docker config Secrets")."""

_DOCKER_HUB = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
_ROOTS = frozenset({"", "v1", "v2"})


class PullSecretError(ValueError):
    """A pull secret that cannot be read; the message holds nothing of its content."""


class PullSecret:
    """A pull secret's entries. Passwords stay out of ``repr``.

    Args:
        kind: the secret's type, a key of ``DATA_KEYS``.
        data: the secret's ``data``, base64 as the kubernetes API serves it.

    Raises:
        PullSecretError: its document is missing or is not what docker writes.
    """

    __slots__ = ("_entries",)

    def __init__(self, kind: str, data: object) -> None:
        key = DATA_KEYS[kind]
        text = data.get(key) if isinstance(data, Mapping) else None
        if not isinstance(text, str):
            raise PullSecretError(f"it has no {key}")
        try:
            document = strict_json.loads(base64.b64decode(text, validate=True))
        except (binascii.Error, ValueError):
            document = None
        if kind == DOCKER_CONFIG_JSON and isinstance(document, Mapping):
            document = document.get("auths", {})
        if not isinstance(document, Mapping):
            raise PullSecretError(f"its {key} is not docker's configuration in JSON")
        self._entries: Mapping[str, object] = document

    def find(self, registry: str) -> Credentials | None:
        """Return the credentials for ``registry`` (host and port), None where there is no entry, or an empty one.

        Raises:
            PullSecretError: the entry is broken.
        """
        if registry in self._entries:
            return _credentials(self._entries[registry])
        wanted = _DOCKER_HUB if registry in _DOCKER_HUB else {registry.lower()}
        name = next((name for name in self._entries if _host_in(name) in wanted), None)
        return None if name is None else _credentials(self._entries[name])


def _host_in(name: str) -> str:
    """Return the host in an entry's name, in lower case; "" where the entry is for a part of a registry."""
    host, _, path = (name.partition("://")[2] or name).partition("/")
    return host.lower() if path.strip("/") in _ROOTS else ""


def _credentials(entry: object) -> Credentials | None:
    """Return an entry's credentials as docker reads them: ``auth`` counts before ``username`` and ``password``."""
    fields = entry if isinstance(entry, Mapping) else {}
    values = [fields.get(key) or "" for key in ("auth", "username", "password", "identitytoken")]
    if not isinstance(entry, Mapping) or not all(isinstance(value, str) for value in values):
        raise PullSecretError("the registry's entry is not an object of strings")
    auth, username, password, identity_token = (str(value) for value in values)
    if auth:
        username, password = _decoded(auth)
    if identity_token:
        return Credentials(username, identity_token=identity_token)
    return Credentials(username, password) if username or password else None


def _decoded(auth: str) -> tuple[str, str]:
    try:
        username, colon, password = base64.b64decode(auth, validate=True).decode("utf-8").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        colon = ""
    if not colon or not username:
        raise PullSecretError("the registry's auth is not base64 of a user name, a colon and a password")
    return username, password.strip("\x00")
