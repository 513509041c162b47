"""Step 14 without trustedBuilders: which runs of GitHub's own bind an image."""

from __future__ import annotations

import pytest

from slsa_verifier_plugin.errors import Reason
from slsa_verifier_plugin.policy.binding import (
    SignedProvenance,
    check_provenance,
)
from slsa_verifier_plugin.policy.steps import StepOutcome
from tests.support.binding_evidence import (
    BUILDER_ID,
    ELSEWHERE,
    NOT,
    OTHER,
    REPOSITORY,
    demand,
    denied,
    material,
    provenance,
)
from tests.support.policies import policy, signer
from tests.support.sigstore import (
    GITHUB_ISSUER,
    LEVEL_1_COMMIT,
    Identity,
    attest_build_provenance,
    generic_generator,
    person,
)

BY_DEFAULT = policy(sourceBinding="provenance")
CALLED = generic_generator()


def hosted(identity: Identity, builder_id: str | None = None) -> list[SignedProvenance]:
    """Return the provenance of a workflow that names itself as builder, unless told otherwise."""
    named = identity.san if builder_id is None else builder_id
    return [provenance(material(), by=signer(identity), builder_id=named)]


@pytest.mark.parametrize(
    "provenances",
    [
        hosted(attest_build_provenance()),
        hosted(attest_build_provenance(ref="refs/tags/v1")),
        hosted(attest_build_provenance(), "https://github.com/actions/runner/github-hosted"),
        hosted(attest_build_provenance().only_new()),
        hosted(attest_build_provenance().without(18, 19)),
        hosted(CALLED),
        hosted(CALLED.without(3, 5)),
    ],
)
def test_a_workflow_of_the_very_commit_is_trusted_without_configuration(
    provenances: list[SignedProvenance],
) -> None:
    assert check_provenance(demand(BY_DEFAULT), provenances).step.outcome is StepOutcome.PASSED


BUILD = attest_build_provenance()
ELSEWHERES = f"{ELSEWHERE}/.github/workflows/release.yml@refs/heads/main"


@pytest.mark.parametrize(
    ("provenances", "reason", "says"),
    [
        ([], NOT, "a GitHub-hosted workflow of"),
        (hosted(BUILD, "https://builder.example"), NOT, "https://builder.example"),
        (hosted(BUILD, f"{BUILD.san}/"), NOT, "found builder"),
        (hosted(BUILD, "https://github.com/actions/runner/self-hosted"), NOT, "self-hosted"),
        (hosted(BUILD, CALLED.san), NOT, "slsa-github-generator"),
        (hosted(attest_build_provenance(runner="self-hosted")), NOT, "github-hosted"),
        (hosted(BUILD.without(11)), NOT, "github-hosted"),
        (hosted(BUILD.having({1: "https://ci.example", 8: "https://ci.example"})), NOT, "found builder"),
        (hosted(BUILD.having({1: f"{GITHUB_ISSUER}/corp", 8: f"{GITHUB_ISSUER}/corp"})), NOT, "found"),
        (hosted(person()), NOT, "someone@example.com"),
        (hosted(Identity(f"{REPOSITORY}/release.yml@main", BUILD.extensions)), NOT, "found builder"),
        (hosted(attest_build_provenance("example/other")), OTHER, "example/other"),
        (hosted(attest_build_provenance(commit=LEVEL_1_COMMIT)), OTHER, LEVEL_1_COMMIT),
        (hosted(generic_generator(repository="example/other")), OTHER, "example/other"),
        (hosted(generic_generator(commit=LEVEL_1_COMMIT)), OTHER, LEVEL_1_COMMIT),
        (hosted(CALLED.without(18, 19)), NOT, "was started by"),
        (hosted(CALLED.having({18: ELSEWHERES})), NOT, "was started by"),
        (hosted(CALLED.having({19: LEVEL_1_COMMIT})), NOT, LEVEL_1_COMMIT),
        (hosted(BUILD.having({18: ELSEWHERES})), NOT, "was started by"),
        (hosted(BUILD.having({18: "nonsense"})), NOT, "was started by"),
        (hosted(BUILD.having({13: LEVEL_1_COMMIT})), NOT, "contradicts itself"),
        (hosted(BUILD.without(3, 13)), OTHER, "nothing"),
    ],
)
def test_nobody_else_is(provenances: list[SignedProvenance], reason: Reason, says: str) -> None:
    denied(provenances, reason, says, wanted=BY_DEFAULT)


def test_a_trusted_workflow_must_have_built_that_commit() -> None:
    for built in (material(ELSEWHERE), material(commit=LEVEL_1_COMMIT)):
        denied(
            [provenance(built, by=signer(BUILD), builder_id=BUILD.san)],
            OTHER,
            f"{built.repository}@{built.commit}",
            wanted=BY_DEFAULT,
        )


def test_with_trusted_builders_the_repositorys_own_workflow_is_not_trusted_by_itself() -> None:
    denied(hosted(attest_build_provenance(workflow_file="other.yml")), NOT, BUILDER_ID)


def test_of_several_that_come_equally_close_the_first_is_said() -> None:
    both = [provenance(material(commit=f"{number}" * 40)) for number in (1, 2)]
    denied(both, OTHER, "1" * 40)
    denied(both[::-1], OTHER, "2" * 40)
