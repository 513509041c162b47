"""Source repository URIs in the forms that attestations use (SPDX download locations, plain https).

``git+https://host/path@ref``, ``https://host/path.git`` and ``git+https://host/path`` name one repository. On hosts that
ignore case in the names of owners and repositories, so do ``https://github.com/Owner/App`` and ``https://github.com/owner/app``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_URI = re.compile(
    r"(?:git\+)?(?P<scheme>https|http|ssh|git)://(?P<host>[A-Za-z0-9.-]+(?::[0-9]{1,5})?)"
    r"/(?P<path>[A-Za-z0-9._~/-]+?)(?:@(?P<ref>[^\s?]+))?"
)

GITHUB, GITLAB = "github.com", "gitlab.com"
_GHE = ".ghe.com"
"""GitHub's hosts with data residency: one a customer, below this name."""


def is_github(host: str) -> bool:
    """Return True if ``host`` (lower case) is GitHub's own: the public one, or one with data residency."""
    return host == GITHUB or (host.endswith(_GHE) and host != _GHE)


def ignores_case(host: str) -> bool:
    """Return True if ``host`` (lower case) ignores case in the names of owners and repositories.

    github.com, ``*.ghe.com`` and gitlab.com do, everywhere on the platform: nobody else can register the other spelling there.
    Of any other host this is not known, so case counts. A port makes another host of it.
    """
    return host == GITLAB or is_github(host)


@dataclass(frozen=True, slots=True)
class SourceUri:
    """A repository: scheme, host (lower case), path without ``.git``; and the ref after ``@``, if any."""

    scheme: str
    host: str
    path: str
    ref: str | None = None

    @classmethod
    def parse(cls, text: object) -> SourceUri | None:
        """Return the repository that ``text`` names, or None where it names none.

        The ref begins at the first ``@``, which no host or path has; tags such as ``@scope/name@1.2.0`` and branches such as
        ``fix-#12`` are refs. User names, queries, fragments, percent escapes, dot segments and a second ``.git`` are not
        accepted: they are ways to write one repository's name so that it reads like another's.
        """
        # In full: what follows a name that reads well could make another name of it.
        match = _URI.fullmatch(text) if isinstance(text, str) and len(text) <= 2048 else None
        if match is None:
            return None
        segments = match["path"].rstrip("/").removesuffix(".git").split("/")
        # Whoever normalizes the path (RFC 3986, section 5.2.4) would read another repository's name.
        if any(segment in ("", ".", "..") for segment in segments) or segments[-1].endswith(".git"):
            return None
        return cls(match["scheme"], match["host"].lower(), "/".join(segments), match["ref"])

    def same_repository(self, other: SourceUri) -> bool:
        """Return True if both name one repository; refs do not matter, the path's case does unless the host ignores it."""
        return self._name() == other._name()

    def _name(self) -> tuple[str, str, str]:
        # The path is ASCII by its pattern, so lower() is the platforms' own comparison.
        path = self.path.lower() if ignores_case(self.host) else self.path
        return self.scheme, self.host, path

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}/{self.path}"


def same_repository(one: object, other: object) -> bool:
    """Return True if both texts name one and the same repository."""
    left, right = SourceUri.parse(one), SourceUri.parse(other)
    return left is not None and right is not None and left.same_repository(right)
