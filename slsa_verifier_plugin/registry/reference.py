"""Image references (OCI distribution specification 1.1, "Pulling manifests"; docker.io's short names)."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from slsa_verifier_plugin.errors import ArtifactError
from slsa_verifier_plugin.model.digest import Digest
from slsa_verifier_plugin.registry.reference_slips import has_user, slip
from slsa_verifier_plugin.text import plain, quoted

MAX_LENGTH = 1024
"""Characters of a reference; registries allow 255 for the repository name and 128 for the tag."""

_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9_-]*[a-zA-Z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:.]+\])(?::[0-9]{{1,5}})?")
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True)
class Reference:
    """Where an image is: registry host (and port), repository, and a tag, a digest, or both.

    The digest decides where both are given.
    """

    registry: str
    repository: str
    tag: str | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Return the reference written as ``[registry/]repository[:tag][@digest]``.

        Raises:
            ArtifactError: it is not a reference.
        """
        # Before any pattern looks at it.
        if len(text) > MAX_LENGTH:
            raise ArtifactError(f"an image reference of {len(text)} characters is longer than {MAX_LENGTH}")
        # Before it is shown anywhere: a password may stand in it.
        if has_user(text):
            raise ArtifactError(
                "an image reference has no user name or password; take away what stands before the @, and log in with "
                "'docker login'"
            )
        name, at, digest_text = text.partition("@")
        registry, repository = _split_registry(name)
        repository, colon, tag = repository.partition(":")
        # Docker's official images.
        if registry == "docker.io" and "/" not in repository:
            repository = f"library/{repository}"
        try:
            digest = Digest.parse(digest_text) if at else None
        except ArtifactError:
            # Worded below, for the whole reference.
            digest = None
        valid = (
            _HOST.fullmatch(registry)
            and _is_reachable(registry)
            and _REPOSITORY.fullmatch(repository)
            and len(repository) <= 255
            and (not colon or _TAG.fullmatch(tag))
            and (digest is not None or not at)
        )
        if not valid:
            raise ArtifactError(
                f"{quoted(text)} is not an image reference{_case(registry, repository) or slip(text)}; expected "
                "registry/repository@sha256:..."
            )
        return cls(registry, repository, tag or None, digest)

    @property
    def name(self) -> str:
        """The registry and repository, without tag or digest."""
        return f"{self.registry}/{self.repository}"

    def with_digest(self, digest: Digest) -> Reference:
        """Return this reference pinned to ``digest``."""
        return Reference(self.registry, self.repository, self.tag, digest)

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.name}{tag}@{self.digest}" if self.digest else f"{self.name}{tag or ':latest'}"


def _case(registry: str, repository: str) -> str:
    """Return a remark where upper case alone keeps a repository's name from being one; empty where it does not."""
    if not _REPOSITORY.fullmatch(repository.lower()) or repository == repository.lower():
        return ""
    # OCI distribution specification 1.1, "Pulling manifests": names are in lower case.
    lower = repository.lower() if registry == "docker.io" else f"{registry}/{repository.lower()}"
    return f": a repository's name has no upper case; is {plain(lower.removeprefix('library/'))} meant?"


def _is_reachable(registry: str) -> bool:
    """Return False for a port or bracketed address that no URL may have."""
    # In "[::1]" the last colon is the address's own.
    host, _, port = registry.rpartition(":") if registry[-1:] != "]" else (registry, "", "")
    # The pattern takes any digits and colons within brackets.
    if host.startswith("["):
        try:
            ipaddress.IPv6Address(host[1:-1])
        except ValueError:
            return False
    return int(port if host and port else 0) <= 65535


def _split_registry(name: str) -> tuple[str, str]:
    """Return registry and rest; a first part without dot, port or ``localhost`` is part of the repository."""
    first, slash, rest = name.partition("/")
    # As docker and containerd tell a registry from a part of a repository.
    if slash and ("." in first or ":" in first or first == "localhost"):
        return ("docker.io" if first == "index.docker.io" else first), rest
    return "docker.io", name
