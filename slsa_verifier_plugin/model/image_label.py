"""The repository that an image's label ``org.opencontainers.image.source`` names, in the forms that build tools write.

Beside the forms of ``source_uri``: ``git@host:owner/repo.git`` and ``ssh://git@host/owner/repo``, which ``git remote`` shows
where somebody pushes over SSH, and the page of a folder such as ``https://github.com/owner/repo/tree/main/app``. A summary's
``resourceUri`` has none of these: they are read here, for labels, alone.
"""

from __future__ import annotations

import re
from dataclasses import replace

from slsa_verifier_plugin.model.source_uri import GITLAB, SourceUri, is_github

# As long as a repository's URI may be (``source_uri``).
MAX_CHARACTERS = 2048

_SCHEME = re.compile(r"(?:git\+)?(?:https?|ssh)://", re.IGNORECASE)
# The user is always "git": paths of another user may begin in a folder of that user. A port of SSH says nothing of HTTPS.
_SSH = re.compile(r"(?:git\+)?ssh://(?:git@)?(?P<host>[A-Za-z0-9.-]+)(?::22)?/(?P<path>[A-Za-z0-9._/-]+)")
_SCP = re.compile(r"git@(?P<host>[A-Za-z0-9.-]+):(?P<path>[A-Za-z0-9._-][A-Za-z0-9._/-]*)")
_PAGE = re.compile(
    r"https://(?P<host>[A-Za-z0-9.-]+)/(?P<path>[A-Za-z0-9._/-]+?)/(?P<kind>-/(?:tree|blob|commit)|tree|blob|commit)"
    r"/(?P<rest>[A-Za-z0-9._/@+-]+)"
)
_GITHUB_SEGMENTS = 2


def names_repository(label: str, repository: str) -> bool:
    """Return True if ``label`` names the repository whose URI is ``repository``.

    Args:
        label: the label's text, written by whoever built the image.
        repository: a summary's ``resourceUri``.
    """
    wanted = SourceUri.parse(repository)
    if wanted is None:
        return False
    found = _repository(label, wanted.scheme)
    return found is not None and found.same_repository(wanted)


def repository_in(label: str) -> SourceUri | None:
    """Return the repository that ``label`` names, by HTTPS where it names it over SSH; None where it names none."""
    return _repository(label, "https")


def _repository(label: str, scheme: str) -> SourceUri | None:
    """Return the repository that ``label`` names: no label can be read in two ways.

    Args:
        label: the text.
        scheme: of the repository that is compared with; SSH is another way to the repositories of the same host.
    """
    # Labels are as long as whoever built the image likes.
    if len(label) > MAX_CHARACTERS:
        return None
    # A scheme has no case (RFC 3986, section 3.1); the patterns below have it in lower case.
    text = _SCHEME.sub(lambda match: match[0].lower(), label, count=1) if _SCHEME.match(label) else label
    # ``git@host:path`` is no URI; git documents both forms (git-clone, "GIT URLS").
    over_ssh = _SSH.fullmatch(text) or _SCP.fullmatch(text)
    page = _PAGE.fullmatch(text)
    if over_ssh is not None:
        found = SourceUri.parse(f"https://{over_ssh['host']}/{over_ssh['path']}")
        # A label over SSH names no repository of a summary whose scheme is http or git: these are compared as they are
        # written.
        return replace(found, scheme=scheme) if found and scheme in ("https", "ssh") else None
    if page is not None and _is_page(page["host"].lower(), page["path"], page["kind"], page["rest"]):
        text = f"https://{page['host']}/{page['path']}"
    return SourceUri.parse(text)


def _is_page(host: str, path: str, kind: str, rest: str) -> bool:
    """Return True for a page below the repository at ``path``, on hosts of which it is known where a repository's path ends.

    On GitHub it has two segments; on gitlab.com ``-`` is no name, so what stands before ``/-/`` is the repository. Elsewhere
    ``/tree/main`` may be the end of another repository's name.
    """
    # What is normalized away could make another page of it.
    if any(segment in ("", ".", "..") for segment in rest.rstrip("/").split("/")):
        return False
    if host == GITLAB:
        return kind.startswith("-/") and "-" not in path.split("/")
    return is_github(host) and not kind.startswith("-/") and len(path.split("/")) == _GITHUB_SEGMENTS
