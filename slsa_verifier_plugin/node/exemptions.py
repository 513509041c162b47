"""Reads the list of images that a node pulls unverified: those that must start before anything else (pause, the CNI).

An entry means what one of the constraint's ``exemptImages`` means (``deploy/gatekeeper/template``): an exact reference, or a
registry and path that ends in ``/*``. Both are compared, as text, with what containerd hands over and is about to pull: no short
name is completed, no case is folded. An exact reference has a digest here, for containerd resolves tags before it asks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from slsa_verifier_plugin.errors import ArtifactError
from slsa_verifier_plugin.registry.reference import Reference
from slsa_verifier_plugin.text import quoted

# An entry has no tag, and a star only at its end and behind a slash.
_ENTRY = re.compile(
    r"(?P<registry>[A-Za-z0-9.:-]+)/(?P<path>[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)(?P<rest>/\*|@sha256:[0-9a-f]{64}|@sha512:[0-9a-f]{128})"
)
MAX_ENTRIES = 1000


class ExemptionError(Exception):
    """A list of exemptions that cannot be understood; ``str()`` names the line."""


@dataclass(frozen=True, slots=True)
class Exemptions:
    """What is exempt: references with their digests, and beginnings of names that end with a slash."""

    exact: frozenset[str] = frozenset()
    paths: tuple[str, ...] = ()

    def entry_for(self, name: str, digest: str) -> str | None:
        """Return the entry that exempts an image, None where none does.

        Args:
            name: the reference that is pulled, as containerd writes it; its tag and digest do not count.
            digest: of what is pulled.
        """
        bare = without_tag(name)
        # What is written in another way than it is read here (a short name, "..", "%2e") may be read otherwise by containerd.
        if not _is_as_read(bare):
            return None
        # With the digest that is pulled: a tag may be moved to another image at any time.
        if f"{bare}@{digest}" in self.exact:
            return f"{bare}@{digest}"
        return next((f"{path}*" for path in self.paths if bare.startswith(path)), None)


def parse_exemptions(text: str, source: str) -> Exemptions:
    """Return the exemptions in a file: an entry a line; blank lines and lines that begin with ``#`` do not count.

    Raises:
        ExemptionError: a line that is no entry.
    """
    exact, paths = set(), []
    # Not splitlines: an entry must not hide behind "#" and a line's end that no editor shows as one.
    for number, line in enumerate(text.split("\n"), 1):
        entry = line.strip()
        # Comments, so that an administrator can say why.
        if not entry or entry.startswith("#"):
            continue
        found = _ENTRY.fullmatch(entry)
        # An entry that is written in another way than names are read ("docker.io/busybox", "a/../b/*") would never match.
        named = f"{found['registry']}/{found['path']}" if found else ""
        if not found or not _is_as_read(f"{named}/x" if found["rest"] == "/*" else named):
            raise ExemptionError(
                f"{source}:{number}: found {quoted(entry, 120)}, expected registry/name@sha256:... or registry/path/*, in full "
                "(docker.io/library/busybox) and without '..'; a tag exempts nothing, for it may be moved"
            )
        # Kept with its slash: "registry/team*" must not match "registry/team-of-others".
        if found["rest"] == "/*":
            paths.append(entry.removesuffix("*"))
        else:
            exact.add(entry)
    # Each pull compares with every path.
    if len(exact) + len(paths) > MAX_ENTRIES:
        raise ExemptionError(f"{source} has more than {MAX_ENTRIES} entries; exempt a path instead")
    return Exemptions(frozenset(exact), tuple(paths))


def _is_as_read(name: str) -> bool:
    """Return True for a name without tag and digest that is written as it is read: in full, with its registry."""
    try:
        return Reference.parse(name).name == name
    except ArtifactError:
        return False


def without_tag(name: str) -> str:
    """Return a reference without its tag and digest."""
    bare = name.partition("@")[0]
    # Only the last part has a tag: a colon before it is a port's.
    head, slash, last = bare.rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}" if slash else bare


def names_registry(name: str) -> bool:
    """Return True where a reference's first part can only be a registry's host.

    containerd takes any first part for a host; Docker and Ratify complete one without dot or port to Docker Hub's.
    """
    host, slash, _ = name.partition("/")
    return bool(slash) and ("." in host or ":" in host or host == "localhost")
