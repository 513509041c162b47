"""A registry, a git repository that is served, and a policy: where ``attach --from`` is tried."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.command_line import Done, cli
from tests.support.embedded_registry import EmbeddedRegistry
from tests.support.git_repository import GitRepository, GitServer
from tests.support.sigstore import Lab, github_source_actions, vsa

REPOSITORY = "team/app"
REVISION, SOURCE = "org.opencontainers.image.revision", "org.opencontainers.image.source"


@dataclass
class Scene:
    """A registry, a repository that is served, and a policy that trusts the lab."""

    registry: EmbeddedRegistry
    repository: GitRepository
    server: GitServer
    policy: Path
    lab: Lab
    folder: Path

    def bundle(self, commit: str, level: int = 3) -> bytes:
        """Return a summary of a commit, signed as the source workflow signs it."""
        return self.lab.sign(
            vsa(commit, levels=(f"SLSA_SOURCE_LEVEL_{level}",)), github_source_actions(commit=commit)
        )

    def image(self, tag: str, **labels: str) -> str:
        """Push an image with labels and return its name."""
        names = {"revision": REVISION, "source": SOURCE}
        self.registry.push_image(REPOSITORY, tag, {names[name]: value for name, value in labels.items()})
        return f"{self.registry.host}/{REPOSITORY}:{tag}"

    def attach(
        self, image: str, *arguments: str, policy: bool = True, environ: Mapping[str, str] | None = None
    ) -> Done:
        """Run ``attach``."""
        demands = ("--policy", str(self.policy)) if policy else ()
        return cli("attach", image, "--plain-http", *demands, *arguments, environ=environ)

    def attached(self, image: str) -> int:
        """Return how many artifacts the image has."""
        return len(json.loads(cli("inspect", image, "--plain-http", "--json").out)["artifacts"])


def image_of(registry: EmbeddedRegistry) -> str:
    """Return the name of the image that the registry has from the start."""
    return f"{registry.host}/{REPOSITORY}:v1"
