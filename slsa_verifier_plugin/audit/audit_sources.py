"""Where an audit's images come from, as a caller names it; ``image_sources`` reads each of these."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from slsa_verifier_plugin.audit import image_sources as images
from slsa_verifier_plugin.audit.audit_row import AuditRun
from slsa_verifier_plugin.audit.image_sources import Use
from slsa_verifier_plugin.audit.pod_images import Cluster, from_cluster, from_pods
from slsa_verifier_plugin.checking.demands import Demands
from slsa_verifier_plugin.errors import UsageError
from slsa_verifier_plugin.resources.ratify_resources import Setup


@dataclass(slots=True)
class AuditSources:
    """Where the images come from, as the options say it."""

    images: Sequence[str] = ()
    lists: Sequence[str] = ()
    pods: Sequence[str] = ()
    manifests: Sequence[str] = ()
    registries: Sequence[str] = ()
    clusters: Sequence[Cluster] = ()
    unread: Counter[str] = field(default_factory=Counter)
    """Objects in manifests that name images in places that are not known here, by kind; counted by ``uses``."""
    mentioned: set[str] = field(default_factory=set)
    """Images that variables and arguments name, and no container; filled by ``uses``."""
    found: int = 0
    """How many places use an image, as far as ``uses`` has got."""

    def names(self) -> tuple[str, ...]:
        """Return where the images come from, for the report."""
        files = (("list", self.lists), ("Pods", self.pods), ("manifests", self.manifests))
        named = (
            f"{kind} {'on standard input' if path == '-' else path}"
            for kind, paths in files
            for path in paths
        )
        # Their names are in the command, which stands beside it.
        arguments = (f"{len(self.images)} named by arguments",) if self.images else ()
        return (
            *arguments,
            *named,
            *(f"registry {name}" for name in self.registries),
            *map(str, self.clusters),
        )

    def gaps(self) -> tuple[str, ...]:
        """Return what was not looked at, for people."""
        return tuple(
            f"{count} {kind}: not looked at, for it names images by parameters, or in places that are not known here"
            # By name, so that two audits of the same manifests give the same report.
            for kind, count in sorted(self.unread.items())
        )

    def check(self, demands: Demands) -> None:
        """Raise ``UsageError`` where there is nothing to audit, or where two options name standard input."""
        files = [*self.lists, *self.pods, *self.manifests]
        # An audit of nothing would end with status 0, which a pipeline takes for success.
        if not (self.images or files or self.registries or self.clusters):
            raise UsageError(
                "there is nothing to audit; name images, or give --cluster, --images, --pods, --manifests or --registry"
            )
        # Standard input can be read once; the second reader would find an empty list and audit nothing.
        if [*files, demands.policy].count("-") > 1:
            raise UsageError("standard input can only be one of --policy, --images, --pods and --manifests")

    def uses(self, catalog: Any) -> Iterator[Use]:
        """Yield every place where an image is used.

        Raises:
            UsageError: a source cannot be read.
            VerifierError: a registry cannot be listed.
        """
        # Generators: what comes first is audited before the last is read, and a source that fails is told by name.
        sources = (
            images.from_arguments(self.images),
            *(images.from_list(path) for path in self.lists),
            *(from_pods(path) for path in self.pods),
            *(images.from_manifests(path, self.unread) for path in self.manifests),
            *(images.from_registry(name, catalog) for name in self.registries),
            *(from_cluster(cluster, os.environ) for cluster in self.clusters),
        )
        # Counted as they are drawn: a list of a million is never in memory.
        for use in chain.from_iterable(sources):
            if use.runs:
                self.found += 1
                yield images.storable(use)
            else:
                self.mentioned.add(use.image)

    def run(self, typed: str, setup: Setup) -> AuditRun:
        """Return what the report says of a run, once ``uses`` has been drawn; ``typed`` is the command, for a shell."""
        # By the verifiers' own names: the report says which policy demanded what.
        parameters = {verifier.shown(): verifier.config for verifier in setup.verifiers}
        return AuditRun(typed, self.names(), parameters, self.gaps(), tuple(sorted(self.mentioned)))
