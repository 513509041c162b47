"""What binds an image in tests of step 14: an examined summary, builders, and build provenance of theirs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from slsa_verifier_plugin.errors import Reason
from slsa_verifier_plugin.model.built import Material
from slsa_verifier_plugin.model.digest import Digest
from slsa_verifier_plugin.model.provenance import Provenance
from slsa_verifier_plugin.model.signer import Signer
from slsa_verifier_plugin.policy.binding import (
    Bound,
    Demand,
    SignedProvenance,
    check_provenance,
)
from slsa_verifier_plugin.policy.checks import Context, Examination, examine
from slsa_verifier_plugin.policy.parameters import Policy
from slsa_verifier_plugin.policy.steps import CheckError
from tests.support.policies import by_key, claim, policy, signer
from tests.support.sigstore import (
    COMMIT,
    IMAGE_DIGEST,
    LEVEL_1_COMMIT,
    attest_build_provenance,
    vsa,
)

IMAGE = Digest("sha256", IMAGE_DIGEST)
BUILDER = signer(attest_build_provenance())
BUILDER_ID = "https://builder.example/v1"
KEY = Signer("key:" + "ab" * 32, "")
REPOSITORY = "https://github.com/example/source-demo"


def examined(**fields: Any) -> Examination:
    return examine(claim(vsa(**fields)), Context(policy(), IMAGE))


def two_commits(**changes: Any) -> Examination:
    """Return the examination of a key's summary about two commits, of which the second is on a branch of its own."""
    subjects = [
        {"digest": {"gitCommit": COMMIT}, "annotations": {"source_refs": ["refs/heads/main"]}},
        {"digest": {"gitCommit": LEVEL_1_COMMIT}, "annotations": {"source_refs": ["refs/heads/feature"]}},
    ]
    keyed, known = by_key(**changes)
    return examine(claim(vsa(subjects=subjects), KEY), Context(keyed, IMAGE, **known))


def material(repository: str = REPOSITORY, commit: str = COMMIT) -> Material:
    return Material(repository, commit)


def built_at(commit: str = COMMIT, **run: Any) -> Signer:
    """Return the builder's signer in a run for ``commit``."""
    return signer(attest_build_provenance(commit=commit, **run))


def provenance(
    *built: Material,
    by: Signer = BUILDER,
    builder_id: str = BUILDER_ID,
    digests: Sequence[str] = (str(IMAGE),),
) -> SignedProvenance:
    return SignedProvenance(Provenance(builder_id, frozenset(digests), built), by)


def demand(wanted: Policy, examination: Examination | None = None) -> Demand:
    return Demand(examination or examined(), IMAGE, wanted, {"/k.pem": KEY.identity})


def trusting(**entry: Any) -> Policy:
    """Return a policy that trusts the builder, or another that ``entry`` says."""
    trusted = {"builderId": BUILDER_ID, "issuer": BUILDER.issuer, "identity": BUILDER.identity, **entry}
    builders = [{key: value for key, value in trusted.items() if value is not None}]
    return policy(sourceBinding="provenance", trustedBuilders=builders)


def check(
    provenances: Sequence[SignedProvenance], examination: Examination | None = None, **entry: Any
) -> Bound:
    return check_provenance(demand(trusting(**entry), examination), provenances)


def denied(
    provenances: Sequence[SignedProvenance], reason: Reason, *says: str, wanted: Policy | None = None
) -> None:
    with pytest.raises(CheckError) as caught:
        check_provenance(demand(wanted or trusting()), provenances)
    assert caught.value.reason is reason
    for text in says:
        assert text in caught.value.message


NOT, OTHER = Reason.SOURCE_NOT_BOUND, Reason.SOURCE_REVISION_MISMATCH
ELSEWHERE = "https://github.com/example/other"
