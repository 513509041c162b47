"""Which build provenance is trusted without ``trustedBuilders``: that of GitHub's own runs for the attested commit.

The attested source decides what such a run does: the workflow that the event started is a file of that very commit, on a runner
that GitHub made for the run, and GitHub's issuer vouches for both in the certificate. A reusable workflow of another repository
that this file calls is no weaker: the caller's file names it and the commit that was attested contains that line, so whoever
reviews the source reviews the choice, as with any action or tool that a workflow uses.
"""

from __future__ import annotations

import re

from slsa_verifier_plugin.model.signer import GITHUB_ISSUER, RUNNER, Signer
from slsa_verifier_plugin.model.source_uri import same_repository
from slsa_verifier_plugin.policy.certified import WORKFLOW, WORKFLOW_COMMIT

# A workflow's file in a repository of github.com, and the ref at which it ran.
_WORKFLOW_URL = re.compile(
    r"(https://github\.com/[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+)/\.github/workflows/[^/@\s]+@\S+"
)
_RUNNER_ID = "https://github.com/actions/runner/"
"""How the builder id of GitHub's attest-build-provenance began until version 1.3, with the runner behind it."""


def is_hosted_workflow(builder_id: str, signer: Signer) -> bool:
    """Return True if ``signer`` is a workflow of the public GitHub, and the builder that it names is itself.

    Args:
        builder_id: the provenance's builder; the workflow's URL, or that of the runner, which the certificate names.
        signer: the verified signer.
    """
    # The issuer is compared in full: an enterprise's own issuer vouches for its own runners, which nobody here knows.
    if signer.issuer != GITHUB_ISSUER or not _WORKFLOW_URL.fullmatch(signer.identity):
        return False
    return builder_id in (signer.identity, f"{_RUNNER_ID}{signer.claims.get(RUNNER)}")


def is_started_at(signer: Signer, repository: str, commit: str | None) -> bool:
    """Return True if the event started a workflow of ``repository`` at ``commit``, which is the signer or calls it.

    A workflow that an organization's rules force upon a repository runs for that repository's commit without being part of it.

    Args:
        signer: a workflow of the public GitHub.
        repository: the attested repository.
        commit: the attested commit.
    """
    started = signer.claims.get(WORKFLOW)
    # Certificates from before 2023 do not say what was started: then the signer itself must be of the repository.
    match = _WORKFLOW_URL.fullmatch(signer.identity if started is None else started)
    is_own = match is not None and same_repository(match[1], repository)
    # Old certificates do not name that commit either; where it is named, the workflow's file must be of the attested one.
    return is_own and signer.claims.get(WORKFLOW_COMMIT, commit) == commit
