"""Step 14: an image that says, or a builder that says, which commit the image was built from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from slsa_verifier_plugin.errors import Reason
from slsa_verifier_plugin.model.built import Material
from slsa_verifier_plugin.model.digest import Digest
from slsa_verifier_plugin.model.provenance import Provenance
from slsa_verifier_plugin.model.signer import Signer
from slsa_verifier_plugin.policy.binding import (
    NOT_BOUND,
    Bound,
    Demand,
    ImageLabels,
    SignedProvenance,
    check_annotation,
    check_provenance,
    check_unbound,
)
from slsa_verifier_plugin.policy.checks import Context, Examination, examine
from slsa_verifier_plugin.policy.parameters import Policy
from slsa_verifier_plugin.policy.steps import CheckError, StepOutcome
from tests.support.policies import by_key, claim, policy, signer
from tests.support.sigstore import (
    COMMIT,
    GITHUB_ISSUER,
    IMAGE_DIGEST,
    LEVEL_1_COMMIT,
    Identity,
    attest_build_provenance,
    generic_generator,
    person,
    vsa,
)

IMAGE = Digest("sha256", IMAGE_DIGEST)
BUILDER = signer(attest_build_provenance())
BUILDER_ID = "https://builder.example/v1"
KEY = Signer("key:" + "ab" * 32, "")
REPOSITORY = "https://github.com/example/source-demo"


def examined(**fields: Any) -> Examination:
    return examine(claim(vsa(**fields)), Context(policy(), IMAGE))


def bound_by_digest() -> Examination:
    return examined(subjects=[{"digest": {"sha256": IMAGE_DIGEST}}])


def labels(
    revision: str | None = COMMIT, source: str | None = REPOSITORY, where: str = "the image"
) -> ImageLabels:
    return ImageLabels(where, revision, source)


def test_no_binding_is_said_aloud() -> None:
    step = check_unbound(examined())
    assert (step.number, step.outcome, step.detail) == (14, StepOutcome.NOT_CHECKED, NOT_BOUND)
    assert check_unbound(bound_by_digest()).outcome is StepOutcome.PASSED


def test_a_binding_that_is_asked_for_is_not_checked_where_there_is_no_image() -> None:
    step = check_unbound(examined(), "provenance")
    assert (step.number, step.outcome) == (14, StepOutcome.NOT_CHECKED)
    assert step.detail == "sourceBinding: provenance is not checked, for a file hangs on no image"


@pytest.mark.parametrize(
    "images",
    [
        [labels()],
        [labels(source=None)],
        [labels(source="")],
        [labels(source=f"git+{REPOSITORY}.git")],
        [labels(where="linux/amd64"), labels(where="linux/arm64", source=None)],
    ],
)
def test_an_image_that_names_the_commit_is_bound(images: list[ImageLabels]) -> None:
    step = check_annotation(examined(), images).step
    assert (step.number, step.outcome) == (14, StepOutcome.PASSED)
    assert COMMIT in step.detail


@pytest.mark.parametrize(
    ("images", "reason", "says"),
    [
        ([], Reason.SOURCE_NOT_BOUND, "no manifest"),
        ([labels(revision=None)], Reason.SOURCE_NOT_BOUND, "has no org.opencontainers.image.revision"),
        ([labels(revision="")], Reason.SOURCE_NOT_BOUND, "has no org.opencontainers.image.revision"),
        ([labels(revision=LEVEL_1_COMMIT)], Reason.SOURCE_REVISION_MISMATCH, LEVEL_1_COMMIT),
        ([labels(revision=COMMIT[:7])], Reason.SOURCE_REVISION_MISMATCH, COMMIT[:7]),
        ([labels(revision=COMMIT.upper())], Reason.SOURCE_REVISION_MISMATCH, COMMIT.upper()),
        ([labels(revision=f"{COMMIT} ")], Reason.SOURCE_REVISION_MISMATCH, COMMIT),
        ([labels(source=f"{REPOSITORY}2")], Reason.SOURCE_REVISION_MISMATCH, f"{REPOSITORY}2"),
        ([labels(source="nonsense")], Reason.SOURCE_REVISION_MISMATCH, "nonsense"),
        ([labels(), labels(revision=None, where="arm64")], Reason.SOURCE_NOT_BOUND, "arm64 has no"),
        (
            [labels(), labels(revision=LEVEL_1_COMMIT, where="arm64")],
            Reason.SOURCE_REVISION_MISMATCH,
            "arm64 was",
        ),
    ],
)
def test_an_image_that_does_not_is_not_bound(images: list[ImageLabels], reason: Reason, says: str) -> None:
    with pytest.raises(CheckError) as caught:
        check_annotation(examined(), images)
    assert caught.value.reason is reason
    assert says in caught.value.message


def two_commits(**changes: Any) -> Examination:
    """Return the examination of a key's summary about two commits, of which the second is on a branch of its own."""
    subjects = [
        {"digest": {"gitCommit": COMMIT}, "annotations": {"source_refs": ["refs/heads/main"]}},
        {"digest": {"gitCommit": LEVEL_1_COMMIT}, "annotations": {"source_refs": ["refs/heads/feature"]}},
    ]
    keyed, known = by_key(**changes)
    return examine(claim(vsa(subjects=subjects), KEY), Context(keyed, IMAGE, **known))


@pytest.mark.parametrize("commit", [COMMIT, LEVEL_1_COMMIT])
def test_of_several_commits_the_bound_one_is_shown(commit: str) -> None:
    for bound in (
        check_annotation(two_commits(), [labels(revision=commit)]),
        check([provenance(material(commit=commit), by=built_at(commit))], two_commits()),
    ):
        assert commit in bound.step.detail
        assert bound.examination.revision == commit
        assert len(bound.examination.refs) == 1


def test_a_commit_without_an_expected_ref_binds_no_image() -> None:
    examination = two_commits(expectedSourceRefs=["refs/heads/main"])
    assert examination.reason is None
    with pytest.raises(CheckError) as caught:
        check_annotation(examination, [labels(revision=LEVEL_1_COMMIT)])
    assert caught.value.reason is Reason.SOURCE_REVISION_MISMATCH
    assert "not with an expected ref" in caught.value.message
    with pytest.raises(CheckError) as caught:
        check([provenance(material(commit=LEVEL_1_COMMIT), by=built_at(LEVEL_1_COMMIT))], examination)
    assert caught.value.reason is Reason.SOURCE_REVISION_MISMATCH
    assert check_annotation(examination, [labels()]).examination.revision == COMMIT


def test_only_of_a_commit_that_the_summary_names_is_it_said_that_it_was_ruled_out() -> None:
    stranger = [labels(revision="c" * 40)]
    # An examination without its summary, as of a file that is none, has ruled nothing out.
    for examination in (
        two_commits(expectedSourceRefs=["refs/heads/main"]),
        replace(examined(), summary=None),
    ):
        with pytest.raises(CheckError) as caught:
            check_annotation(examination, stranger)
        assert caught.value.reason is Reason.SOURCE_REVISION_MISMATCH
        assert "it names that commit, too" not in caught.value.message


@pytest.mark.parametrize(("count", "more"), [(4, ""), (5, " and 1 more")])
def test_a_message_names_four_commits(count: int, more: str) -> None:
    (source,) = examined().sources
    commits = [f"{number:040x}" for number in range(count)]
    sources = tuple(replace(source, commit=commit) for commit in commits)
    with pytest.raises(CheckError) as caught:
        check_annotation(replace(examined(), sources=sources), [labels(revision=None)])
    assert f"expected {' or '.join(commits[:4])}{more}; build" in caught.value.message


def test_all_platforms_are_of_one_commit() -> None:
    mixed = [labels(where="amd64"), labels(revision=LEVEL_1_COMMIT, where="arm64")]
    with pytest.raises(CheckError, match="expected one commit for all") as caught:
        check_annotation(two_commits(), mixed)
    assert caught.value.reason is Reason.SOURCE_REVISION_MISMATCH


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


@pytest.mark.parametrize(
    "provenances",
    [
        [provenance(material())],
        [provenance(material(f"git+{REPOSITORY}.git@refs/heads/main"))],
        [provenance(), provenance(material())],
        [provenance(material(), digests=["sha256:" + "00" * 32]), provenance(material())],
        [provenance(material(), by=KEY), provenance(material())],
        [provenance(material(), digests=["sha256:" + "00" * 32, str(IMAGE)])],
        [provenance(material(commit=LEVEL_1_COMMIT)), provenance(material())],
    ],
)
def test_a_trusted_builders_provenance_binds(provenances: list[SignedProvenance]) -> None:
    step = check(provenances).step
    assert (step.number, step.outcome) == (14, StepOutcome.PASSED)
    assert BUILDER_ID in step.detail
    assert COMMIT in step.detail


@pytest.mark.parametrize(
    ("provenances", "reason", "says"),
    [
        ([], NOT, "no signed provenance"),
        ([provenance(material(), digests=["sha256:" + "00" * 32])], NOT, "none about"),
        ([provenance(material(), digests=[IMAGE.hex])], NOT, "none about"),
        ([provenance(material(), by=KEY)], NOT, KEY.identity),
        ([provenance(material(), by=Signer(BUILDER.identity, ""))], NOT, BUILDER.identity),
        ([provenance(material(), builder_id=f"{BUILDER_ID}/")], NOT, f"{BUILDER_ID}/"),
        ([provenance()], OTHER, "no known commit"),
        ([provenance(material(commit=LEVEL_1_COMMIT))], OTHER, LEVEL_1_COMMIT),
        ([provenance(material(commit=""))], OTHER, "no known commit"),
        ([provenance(material(f"{REPOSITORY}2"))], OTHER, f"{REPOSITORY}2"),
        ([provenance(material("nonsense"))], OTHER, "nonsense"),
        ([provenance(material(), material(ELSEWHERE))], NOT, f"{ELSEWHERE}@{COMMIT}"),
        ([provenance(material(), material())], NOT, "expected one source"),
        (
            [provenance(material(), by=KEY), provenance(material(commit=LEVEL_1_COMMIT))],
            OTHER,
            LEVEL_1_COMMIT,
        ),
    ],
)
def test_other_provenance_does_not(provenances: list[SignedProvenance], reason: Reason, says: str) -> None:
    denied(provenances, reason, says)
    denied(provenances[::-1], reason, says)


@pytest.mark.parametrize(
    ("by", "reason", "says"),
    [
        (attest_build_provenance(commit=LEVEL_1_COMMIT), OTHER, LEVEL_1_COMMIT),
        (attest_build_provenance().having({12: ELSEWHERE, 5: "example/other"}), OTHER, ELSEWHERE),
        (attest_build_provenance().having({12: ELSEWHERE}), NOT, "contradicts itself"),
        (attest_build_provenance().having({13: LEVEL_1_COMMIT}), NOT, "contradicts itself"),
        (attest_build_provenance().having({3: LEVEL_1_COMMIT}), NOT, "contradicts itself"),
        (attest_build_provenance().having({5: "example/other"}), NOT, "contradicts itself"),
        (attest_build_provenance().without(3, 13), OTHER, "nothing"),
        (attest_build_provenance().without(5, 12), OTHER, "nothing"),
        (attest_build_provenance().without(5).having({12: ELSEWHERE}), OTHER, ELSEWHERE),
        (attest_build_provenance().without(3).having({13: LEVEL_1_COMMIT}), OTHER, LEVEL_1_COMMIT),
        (attest_build_provenance().only_old(), NOT, "runner"),
        (attest_build_provenance(runner="self-hosted"), NOT, "allowSelfHostedRunners"),
    ],
)
def test_the_run_must_be_for_the_summarys_commit(by: Identity, reason: Reason, says: str) -> None:
    """What the provenance says was built is right in all of them: it was made elsewhere."""
    denied([provenance(material(), by=signer(by))], reason, says)


@pytest.mark.parametrize(
    "by",
    [
        attest_build_provenance(),
        attest_build_provenance().only_new(),
        attest_build_provenance().without(3, 5),
        attest_build_provenance().without(12, 13),
        attest_build_provenance(ref="refs/tags/v1"),
    ],
)
def test_the_run_names_the_commit_in_either_form(by: Identity) -> None:
    assert check([provenance(material(), by=signer(by))], identity=by.san).step.outcome is StepOutcome.PASSED


def test_another_providers_certificate_counts_as_far_as_it_goes() -> None:
    """Step 8's rule: what it names must be right, what it does not name is not asked for."""
    identity = "https://ci.example/job"
    entry: dict[str, Any] = {"issuer": "https://ci.example", "identity": identity}

    def by(**claims: str) -> list[SignedProvenance]:
        arcs = {"repository": 12, "commit": 13, "runner": 11}
        named = {arcs[name]: text for name, text in claims.items()}
        return [provenance(material(), by=Signer(identity, "https://ci.example", named))]

    for good in (
        {},
        {"repository": REPOSITORY},
        {"repository": REPOSITORY, "commit": COMMIT},
        {"commit": COMMIT},
    ):
        assert check(by(**good), **entry).step.outcome is StepOutcome.PASSED
    for bad in ({"repository": ELSEWHERE}, {"repository": REPOSITORY, "commit": LEVEL_1_COMMIT}):
        denied(by(**bad), OTHER, "run for", wanted=trusting(**entry))
    denied(by(repository=REPOSITORY, runner="self-hosted"), NOT, wanted=trusting(**entry))


def test_of_two_attested_commits_the_run_and_the_source_must_be_one() -> None:
    for run, source in ((COMMIT, LEVEL_1_COMMIT), (LEVEL_1_COMMIT, COMMIT)):
        with pytest.raises(CheckError) as caught:
            check([provenance(material(commit=source), by=built_at(run))], two_commits())
        assert caught.value.reason is OTHER


def test_a_builder_of_foreign_sources_must_build_the_right_one() -> None:
    elsewhere = signer(attest_build_provenance("example/builder", LEVEL_1_COMMIT))
    entry: dict[str, Any] = {"identity": elsewhere.identity}
    denied([provenance(material(), by=elsewhere)], OTHER, "buildsForeignSource", wanted=trusting(**entry))
    entry["buildsForeignSource"] = False
    denied([provenance(material(), by=elsewhere)], OTHER, wanted=trusting(**entry))
    entry["buildsForeignSource"] = True
    assert check([provenance(material(), by=elsewhere)], **entry).step.outcome is StepOutcome.PASSED
    contradicting = signer(attest_build_provenance("example/builder").having({13: LEVEL_1_COMMIT}))
    assert check([provenance(material(), by=contradicting)], **entry).step.outcome is StepOutcome.PASSED
    own = signer(attest_build_provenance("example/builder", LEVEL_1_COMMIT, runner="self-hosted"))
    for bad, reason in (
        (provenance(material(ELSEWHERE), by=elsewhere), OTHER),
        (provenance(material(commit=LEVEL_1_COMMIT), by=elsewhere), OTHER),
        (provenance(material(), material(ELSEWHERE), by=elsewhere), NOT),
        (provenance(material(), by=own), NOT),
        (provenance(material(), by=elsewhere, builder_id="https://other.example"), NOT),
    ):
        denied([bad], reason, wanted=trusting(**entry))


def test_foreign_sources_are_one_entrys_alone() -> None:
    """The flag of one entry does not loosen what is asked of another's builder."""
    builders = [
        {"builderId": BUILDER_ID, "issuer": BUILDER.issuer, "identity": BUILDER.identity},
        {"builderId": "https://other.example", "publicKey": "/k.pem", "buildsForeignSource": True},
    ]
    wanted = policy(sourceBinding="provenance", trustedBuilders=builders)
    denied([provenance(material(), by=built_at(LEVEL_1_COMMIT))], OTHER, wanted=wanted)


def test_a_builder_on_ones_own_runner_must_be_allowed() -> None:
    own = signer(attest_build_provenance(runner="self-hosted"))
    alone = [provenance(material(), by=own)]
    denied(alone, NOT, "allowSelfHostedRunners")
    hosted = provenance(material(commit=LEVEL_1_COMMIT))
    denied([*alone, hosted], OTHER, LEVEL_1_COMMIT)
    assert check([*alone, provenance(material())]).step.outcome is StepOutcome.PASSED
    builders = [{"builderId": BUILDER_ID, "issuer": BUILDER.issuer, "identity": BUILDER.identity}]
    allowed = policy(sourceBinding="provenance", trustedBuilders=builders, allowSelfHostedRunners=True)
    assert check_provenance(demand(allowed), alone).step.outcome is StepOutcome.PASSED


def test_a_builder_may_be_known_by_its_key() -> None:
    by_key: dict[str, Any] = {"issuer": None, "identity": None, "publicKey": "/k.pem"}
    assert check([provenance(material(), by=KEY)], **by_key).step.outcome is StepOutcome.PASSED
    for other in (Signer("key:" + "cd" * 32, ""), BUILDER):
        denied(
            [provenance(material(), by=other)],
            NOT,
            "expected the image's build provenance",
            wanted=trusting(**by_key),
        )


def test_builders_of_two_entries_are_not_mixed() -> None:
    """One entry's id with the other's signer is nobody."""
    builders = [
        {"builderId": BUILDER_ID, "issuer": BUILDER.issuer, "identity": BUILDER.identity},
        {"builderId": "https://other.example", "publicKey": "/k.pem"},
    ]
    wanted = policy(sourceBinding="provenance", trustedBuilders=builders)
    mixed = [provenance(material(), by=KEY), provenance(material(), builder_id="https://other.example")]
    denied(mixed, NOT, wanted=wanted)


# Without trustedBuilders

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
