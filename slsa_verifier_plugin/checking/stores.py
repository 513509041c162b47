"""The port of a decision about images: the stores that can be asked."""

from __future__ import annotations

from typing import NoReturn, Protocol

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import Reason, RegistryError
from slsa_verifier_plugin.model.digest import Descriptor
from slsa_verifier_plugin.registry.reference import Reference
from slsa_verifier_plugin.verification.ports import ArtifactStore


class Store(ArtifactStore, Protocol):
    """A store that can be asked for the artifacts of one type."""

    def matching_referrers(
        self, image: Reference, artifact_type: str, deadline: Deadline
    ) -> list[Descriptor]:
        """Return the referrers of ``image`` whose manifests are of ``artifact_type``.

        Raises:
            RegistryError, DeadlineError: as ``referrers``.
        """


class UnreachableStore:
    """A store that refuses every request, for checks that must not touch a registry.

    Args:
        reason: what is said where one is asked for something all the same.
    """

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def _refuse(self, *arguments: object) -> NoReturn:
        # Undecided and not denied: what a registry would have said is unknown.
        raise RegistryError(self._reason, reason=Reason.REGISTRY_UNREACHABLE)

    resolve = manifest = blob = referrers = matching_referrers = _refuse
