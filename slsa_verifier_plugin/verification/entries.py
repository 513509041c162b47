"""One candidate before its signature is verified: what it says, and how far that would get."""

from __future__ import annotations

from dataclasses import dataclass

from slsa_verifier_plugin.errors import Reason
from slsa_verifier_plugin.model.envelope import Candidate
from slsa_verifier_plugin.model.vsa import Reading
from slsa_verifier_plugin.policy.checks import Examination
from slsa_verifier_plugin.policy.steps import failed
from slsa_verifier_plugin.policy.verdict import Finding
from slsa_verifier_plugin.problem import Problem


@dataclass(frozen=True, slots=True)
class RankedCandidate:
    """A candidate, where it stands, what it says, and how far its claims get (None where its signer cannot be read)."""

    blob: int
    candidate: Candidate
    reading: Reading
    claimed: Examination | None

    @property
    def outlook(self) -> int:
        """The step at which the claims fail."""
        # What cannot be read at all fails at step 5, where its certificate is looked at.
        return self.claimed.reached if self.claimed else 5

    @property
    def is_hopeless(self) -> bool:
        """True where the claims fail: what is verified says the same, so it fails as well."""
        # The checks are pure and the signature changes no word of what is signed, so a claim that fails cannot pass
        # once verified.
        return self.claimed is None or self.claimed.reason is not None

    def unchecked(self) -> Finding:
        """Return the finding of a hopeless candidate whose signature is not checked."""
        claimed = self.claimed
        return Finding(
            blob=self.blob,
            line=self.candidate.line,
            steps=(failed(5, Problem((), "not checked: it could not pass the later steps")),),
            # Told by its claim, and marked as unchecked: a claim is the claimant's word, and no reason may rest on it alone.
            reason=(claimed.reason if claimed else None) or Reason.SIGNATURE_INVALID,
            message=claimed.message if claimed else "its certificate cannot be read",
            examination=claimed,
            signature_checked=False,
        )
