"""Step 14: binds one image to a commit as the policy's ``sourceBinding`` says, and fetches for that no more than it takes."""

from __future__ import annotations

from collections.abc import Sequence

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.model.digest import Descriptor
from slsa_verifier_plugin.model.envelope import Candidate
from slsa_verifier_plugin.policy.binding import Bound, Demand, check_annotation, check_unbound
from slsa_verifier_plugin.policy.checks import Examination
from slsa_verifier_plugin.policy.parameters import Policy
from slsa_verifier_plugin.registry.reference import Reference
from slsa_verifier_plugin.verification.evidence import ArtifactStore, ImageEvidence, SignatureVerifier
from slsa_verifier_plugin.verification.provenances import ProvenanceSearch


class Binder:
    """Binds one image for all summaries that were attached in one artifact.

    Args:
        store: where manifests and blobs come from.
        image: the admitted image, with its digest.
        verifier: verifies the signatures of build provenance.
        policy: says how the image must be bound.
        deadline: the time for all of it.
        unchecked: the ``sourceBinding`` that is asked for where there is no image to bind, for what is said of it.
    """

    def __init__(
        self,
        store: ArtifactStore,
        image: Reference,
        verifier: SignatureVerifier,
        policy: Policy,
        deadline: Deadline,
        unchecked: str = "none",
    ) -> None:
        self._store = store
        self._image = image
        self._verifier = verifier
        self._policy = policy
        self._deadline = deadline
        self._unchecked = unchecked
        self._evidence: ImageEvidence | None = None
        self._search: ProvenanceSearch | None = None

    def bind(
        self,
        examination: Examination,
        subject: Descriptor | None,
        own: Sequence[Candidate],
        *,
        thorough: bool = False,
    ) -> Bound:
        """Return step 14 as passed, or as not checked where the policy asks for no binding.

        Args:
            examination: a summary that passed all steps before.
            subject: the image's descriptor; None where there is no image, which no policy here asks to bind.
            own: the candidates of the judged artifact.
            thorough: False to look at some of the image's referrers alone; ``has_more`` says whether there are others.

        Raises:
            CheckError: the image is not bound to a commit of the summary's.
            RegistryError, ArtifactError: what would bind it cannot be had or read.
            DeadlineError: out of time.
        """
        if self._policy.source_binding == "none" or examination.bound_by_digest:
            return Bound(check_unbound(examination, self._unchecked), examination)
        assert self._image.digest is not None
        if self._policy.source_binding == "annotation":
            if self._evidence is None:
                assert subject is not None
                self._evidence = ImageEvidence(self._store, self._image, subject, self._deadline)
            return check_annotation(examination, self._evidence.labels())
        if self._search is None:
            place = (self._store, self._image, own)
            self._search = ProvenanceSearch(*place, self._verifier, self._policy, self._deadline)
        keys = self._verifier.key_identities
        return self._search.bind(Demand(examination, self._image.digest, self._policy, keys), thorough)

    @property
    def has_more(self) -> bool:
        """True where a thorough look may bind what was not bound."""
        return self._search is not None and self._search.has_more

    def close(self) -> None:
        """Fetch nothing more."""
        if self._search is not None:
            self._search.close()
