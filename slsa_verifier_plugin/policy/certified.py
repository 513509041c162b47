"""What a signing certificate says of the CI run that it was issued to (Fulcio ``docs/oid-info.md``).

Step 8 holds it against a summary, step 14 against the summary that a build provenance is to bind an image to.
"""

from __future__ import annotations

from slsa_verifier_plugin.errors import Reason
from slsa_verifier_plugin.model.signer import GITHUB, GITHUB_ISSUER, REPOSITORY, RUNNER, Signer
from slsa_verifier_plugin.policy.parameters import Policy
from slsa_verifier_plugin.policy.steps import CheckError
from slsa_verifier_plugin.problem import Problem
from slsa_verifier_plugin.text import quoted

WORKFLOW, WORKFLOW_COMMIT = 18, 19
"""Extensions with the URL and the commit of the workflow (build configuration) that the event started."""


def certified(signer: Signer, arcs: tuple[int, int]) -> str | None:
    """Return what the certificate says in one of two extensions, None where it says nothing.

    Raises:
        CheckError: ``CERTIFICATE_MISMATCH`` where the two contradict each other.
    """
    new, old = (signer.claims.get(arc) for arc in arcs)
    if old is not None and arcs == REPOSITORY:
        # The old extension has no host; only the public GitHub's is known.
        # Taken from the new extension, so that the two can be compared where there are both.
        host = new.removesuffix(f"/{old}") if new else GITHUB
        old = f"{host}/{old}" if new or signer.issuer == GITHUB_ISSUER else None
    # Which of the two counts would depend on the reader.
    if new is not None and old is not None and new != old:
        raise CheckError(
            Reason.CERTIFICATE_MISMATCH,
            f"the certificate contradicts itself: {quoted(new)} and {quoted(old)}",
            "have the commit attested anew",
        )
    # Certificates from before 2023 have the old extensions alone (Fulcio ``docs/oid-info.md``).
    return new if new is not None else old


def runner_problem(signer: Signer, policy: Policy) -> Problem | None:
    """Return what is wrong with the runner that ``signer`` ran on, None for nothing.

    GitHub's runs must say that they were on GitHub's runners; those of other providers must not say ``self-hosted``.
    """
    # On a runner of one's own whoever owns the machine can change what is built and what is said of it (SLSA v1.2,
    # "Isolated").
    runner = signer.claims.get(RUNNER)
    is_bad = runner != "github-hosted" if signer.is_github else runner == "self-hosted"
    if policy.allow_self_hosted or not is_bad:
        return None
    expected = "github-hosted" if signer.is_github else "the provider's own"
    return Problem(
        (),
        f"signed on the runner {quoted(runner)}, expected {expected}",
        remedy="if your own runners are as well guarded, set allowSelfHostedRunners",
    )
