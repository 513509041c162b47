"""The use case: one artifact of one image against one policy.

The store and the signature verifiers come in as Protocols, so that the plugin, the resident verifier, the
command line and the tests run the same code.
"""

from __future__ import annotations

from typing import Protocol

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.model.digest import Descriptor
from slsa_verifier_plugin.registry.reference import Reference


class ArtifactStore(Protocol):
    """Content of a registry, each piece checked against its descriptor before it is returned."""

    def manifest(self, image: Reference, descriptor: Descriptor, deadline: Deadline) -> bytes:
        """Return the manifest's bytes; their digest and size are the descriptor's.

        Raises:
            RegistryError: the registry did not deliver, or delivered something else.
            DeadlineError: out of time.
        """

    def blob(self, image: Reference, descriptor: Descriptor, limit: int, deadline: Deadline) -> bytes:
        """Return a blob of at most ``limit`` bytes; its digest and size are the descriptor's.

        Raises:
            RegistryError: as above; reason ``LIMIT_EXCEEDED`` for a larger one, before it is read.
            DeadlineError: out of time.
        """

    def referrers(self, image: Reference, deadline: Deadline) -> list[Descriptor]:
        """Return the descriptors of the manifests whose subject is ``image``'s digest.

        Raises:
            RegistryError: as above.
            DeadlineError: out of time.
        """

    def resolve(self, image: Reference, deadline: Deadline) -> Descriptor:
        """Return the descriptor of the manifest that the tag or digest of ``image`` names.

        Raises:
            RegistryError: as above.
            DeadlineError: out of time.
        """
