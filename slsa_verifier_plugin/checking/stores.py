"""Ports of a decision about images: the stores that can be asked, and the maker of policies and verifiers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, NoReturn, Protocol

from slsa_verifier_plugin.errors import Reason, RegistryError
from slsa_verifier_plugin.verification.ports import ArtifactStore, SignatureVerifier

if TYPE_CHECKING:
    from slsa_verifier_plugin.deadline import Deadline
    from slsa_verifier_plugin.model.digest import Descriptor
    from slsa_verifier_plugin.policy.parameters import Policy
    from slsa_verifier_plugin.policy.verdict import Verdict
    from slsa_verifier_plugin.registry.reference import Reference
    from slsa_verifier_plugin.verification.judged import ArtifactRequest


class Store(ArtifactStore, Protocol):
    """A store that can be asked for the artifacts of one type."""

    def matching_referrers(
        self, image: Reference, artifact_type: str, deadline: Deadline
    ) -> list[Descriptor]:
        """Return the referrers of ``image`` whose manifests are of ``artifact_type``.

        Raises:
            RegistryError, DeadlineError: as ``referrers``.
        """


class PolicySource(Protocol):
    """Makes policies and signature verifiers; implemented by ``service.Service``."""

    def policy(self, config: Mapping[str, object]) -> Policy:
        """Return the policy in a configuration; raises ``ParameterError``."""

    def verifier(self, policy: Policy) -> SignatureVerifier:
        """Return the verifier for a policy's roots and keys; raises ``TrustRootError``."""

    def verdict(
        self, request: ArtifactRequest, store: ArtifactStore, deadline: Deadline, now: Callable[[], datetime]
    ) -> Verdict:
        """Return the verdict on one artifact; raises ``TrustRootError`` as ``verifier`` does."""


def unreachable_store(reason: str) -> Store:
    """Return a store that refuses every request, for checks that must not touch a registry."""
    return _Unreachable(reason)


class _Unreachable:
    def __init__(self, reason: str) -> None:
        self._reason = reason

    def _refuse(self, *arguments: object) -> NoReturn:
        # Undecided and not denied: what a registry would have said is unknown.
        raise RegistryError(self._reason, reason=Reason.REGISTRY_UNREACHABLE)

    resolve = manifest = blob = referrers = matching_referrers = _refuse
