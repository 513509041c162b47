"""Entries of Docker's configuration, in a file or in a cluster's secrets: which one is for a registry, and what it holds.

Ratify v1.4.4 takes the entry whose name is exactly the registry's host; that one comes first here. Beyond it, names with a
scheme or with ``/v1/``, and the several names of Docker Hub, are understood, as ``docker login`` and ``kubectl create secret
docker-registry`` write them. Entries for a part of a registry (with a path) are passed over: Ratify keeps credentials by host.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping

from slsa_verifier_plugin.registry.credentials import Credentials

_DOCKER_HUB = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
_ROOTS = frozenset({"", "v1", "v2"})
"""Paths of a registry as a whole: those of the two versions of its API."""


class EntryError(ValueError):
    """Docker's configuration, or an entry of it, that cannot be read; the message holds nothing of its content."""


def matching(entries: Mapping[str, object], registry: str) -> Iterator[str]:
    """Yield the names that mean ``registry`` (host and port): its own first, then other ways to write it."""
    # Exactly as Ratify: whatever else the file has, that entry is the one that it would use.
    if registry in entries:
        yield registry
    wanted = _DOCKER_HUB if registry in _DOCKER_HUB else {registry.lower()}
    for name in entries:
        # ``docker login`` writes "https://index.docker.io/v1/" for Docker Hub, and bare hosts for others.
        host, _, path = (name.partition("://")[2] or name).partition("/")
        # Any other path is an entry for a part of the registry, which Ratify does not keep.
        if name != registry and host.lower() in wanted and path.strip("/") in _ROOTS:
            yield name


def login_in(entry: object) -> Credentials | None:
    """Return an entry's credentials as docker reads them, None for an empty one, which only marks a login.

    Raises:
        EntryError: the entry is broken.
    """
    fields = entry if isinstance(entry, Mapping) else {}
    # Absent and null are empty, as to Docker.
    values = [fields.get(key) or "" for key in ("auth", "username", "password", "identitytoken")]
    # An error and not anonymous access: somebody meant this entry to be used.
    if not isinstance(entry, Mapping) or not all(isinstance(value, str) for value in values):
        raise EntryError("the registry's entry is not an object of strings")
    auth, username, password, identity_token = (str(value) for value in values)
    if auth:
        # It counts before the two others, which docker itself never writes beside it.
        username, password = login_from(auth)
    # An identity token is exchanged for access tokens; the password beside it is of no use (docker's ``identitytoken``).
    if identity_token:
        return Credentials(username, identity_token=identity_token)
    return Credentials(username, password) if username or password else None


def login_from(auth: str) -> tuple[str, str]:
    """Return user name and password from base64 of both with a colon between them, as docker and ECR write them.

    Raises:
        EntryError: it is none.
    """
    try:
        username, colon, password = base64.b64decode(auth, validate=True).decode("utf-8").partition(":")
    except ValueError:
        # One error, below, for everything that is not such a text.
        colon = ""
    # Without a user name docker refuses it, too (cli/config/configfile, decodeAuth).
    if not colon or not username:
        raise EntryError("the registry's auth is not base64 of a user name, a colon and a password")
    # Docker strips what older versions padded passwords with.
    return username, password.strip("\x00")
