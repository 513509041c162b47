"""Docker's configuration as kubernetes keeps it in image pull secrets."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

from slsa_verifier_plugin import strict_json
from slsa_verifier_plugin.registry.credentials import Credentials
from slsa_verifier_plugin.registry.credentials.login_entries import EntryError, login_in, matching

DOCKER_CONFIG_JSON = "kubernetes.io/dockerconfigjson"
DOCKER_CFG = "kubernetes.io/dockercfg"

DATA_KEYS = {DOCKER_CONFIG_JSON: ".dockerconfigjson", DOCKER_CFG: ".dockercfg"}
"""Where a secret of each supported type keeps its document (kubernetes ``core/v1``, "Docker config Secrets")."""


class PullSecret:
    """A pull secret's entries. Passwords stay out of ``repr``.

    Args:
        kind: the secret's type, a key of ``DATA_KEYS``.
        data: the secret's ``data``, base64 as the kubernetes API serves it.

    Raises:
        EntryError: its document is missing or is not what docker writes.
    """

    __slots__ = ("_entries",)

    def __init__(self, kind: str, data: object) -> None:
        key = DATA_KEYS[kind]
        text = data.get(key) if isinstance(data, Mapping) else None
        if not isinstance(text, str):
            raise EntryError(f"it has no {key}")
        try:
            document = strict_json.loads(base64.b64decode(text, validate=True))
        except (binascii.Error, ValueError):
            # One error, below, for what is no base64, no JSON and no object.
            document = None
        # The older type is the object of entries itself, without "auths" around it.
        if kind == DOCKER_CONFIG_JSON and isinstance(document, Mapping):
            # Without "auths" nobody has logged in: no entries, and nothing broken.
            document = document.get("auths", {})
        if not isinstance(document, Mapping):
            raise EntryError(f"its {key} is not docker's configuration in JSON")
        self._entries: Mapping[str, object] = document

    def find(self, registry: str) -> Credentials | None:
        """Return the credentials for ``registry`` (host and port), None where there is no entry, or an empty one.

        Raises:
            EntryError: the entry is broken.
        """
        # The first name alone, as Ratify: an empty entry of the exact name means anonymous access.
        name = next(matching(self._entries, registry), None)
        return None if name is None else login_in(self._entries[name])
