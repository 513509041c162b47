"""What a verification needs of the rooms around it, as Protocols: a store, a signature verifier, a way to bind an image.

The plugin, the resident verifier, the command line and the tests each bring their own; the use case is the same code for all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.model.digest import Descriptor
from slsa_verifier_plugin.model.envelope import Candidate
from slsa_verifier_plugin.model.signer import Claim, Verified
from slsa_verifier_plugin.policy.binding import Bound
from slsa_verifier_plugin.policy.checks import Examination
from slsa_verifier_plugin.policy.verdict import RootInfo
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


@runtime_checkable
class CountingStore(Protocol):
    """A store that counts what its caller holds of the content that it was given."""

    def dropped(self, size: int) -> None:
        """Note that ``size`` bytes of what was read are held no more."""


class SignatureVerifier(Protocol):
    """Verifies candidates against a policy's trusted roots and keys."""

    @property
    def roots(self) -> tuple[RootInfo, ...]:
        """The trusted roots that take part."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What could not be set up although the rest could."""

    @property
    def key_identities(self) -> Mapping[str, str]:
        """The identity of each configured key's signatures, by how the policy writes the key."""

    def claims(self, candidate: Candidate) -> list[Claim]:
        """Return what ``candidate`` claims, unverified.

        Raises:
            SignatureError: its certificate cannot be read.
        """

    def verify(self, candidate: Candidate) -> Verified:
        """Return the verified payload and signer of ``candidate``.

        Raises:
            SignatureError: it does not verify.
        """


class Binder(Protocol):
    """Step 14 for one image: binds it to a commit, as the policy's ``sourceBinding`` says."""

    def bind(self, examination: Examination, *, thorough: bool = False) -> Bound:
        """Return step 14 as passed, or as not checked where nobody asks for it.

        Args:
            examination: a summary that passed all steps before.
            thorough: False for a first look, which reads only a little of each of the image's referrers.

        Raises:
            CheckError: the image is not bound to a commit of the summary's.
            RegistryError, ArtifactError: what would bind it cannot be had or read.
            DeadlineError: out of time.
        """

    def close(self) -> None:
        """Fetch nothing more."""
