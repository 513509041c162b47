"""Releases of the workflow that signs source summaries, by commit: data (``releases.json``) with where it was learnt.

``sourcetool setup`` has repositories call the workflow at a release's commit, and the certificate then names that commit and no
tag. GitHub serves the commits of forks under their parent's name, so only listed commits may sign. ``tools/releases.py`` adds
releases from a clone's tags.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

from slsa_verifier_plugin.policy.carried import carried


@dataclass(frozen=True, slots=True)
class Release:
    """A release: its version, the full commit id, and where both were learnt."""

    version: str
    commit: str
    learnt: str


@dataclass(frozen=True, slots=True)
class KnownReleases:
    """The releases of ``repository`` that were known on the day ``as_of``."""

    repository: str
    as_of: date
    releases: tuple[Release, ...]

    @property
    def commits(self) -> frozenset[str]:
        """The releases' commits."""
        return frozenset(item.commit for item in self.releases)


@lru_cache(maxsize=1)
def known_releases() -> KnownReleases:
    """Return the releases that this version of the plugin knows."""
    # Our own file, so the lenient parser does.
    value = json.loads(carried("slsa_verifier_plugin.policy", "releases.json"))
    return KnownReleases(
        value["repository"],
        date.fromisoformat(value["asOf"]),
        tuple(Release(item["version"], item["commit"], item["learnt"]) for item in value["releases"]),
    )
