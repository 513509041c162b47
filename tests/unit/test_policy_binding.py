"""Step 14: an image that says, or a builder that says, which commit the image was built from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from slsa_verifier_plugin.errors import Reason
from slsa_verifier_plugin.model.digest import Digest
from slsa_verifier_plugin.model.provenance import Material, Provenance
from slsa_verifier_plugin.model.signer import Signer
from slsa_verifier_plugin.model.source_uri import SourceUri
from slsa_verifier_plugin.policy.binding import (
    NOT_BOUND,
    Bound,
    ImageLabels,
    SignedProvenance,
    check_annotation,
    check_provenance,
    check_unbound,
    is_passed,
)
from slsa_verifier_plugin.policy.checks import CheckError, Context, Examination, examine
from slsa_verifier_plugin.policy.steps import StepOutcome
from tests.support.policies import by_key, claim, policy, signer
from tests.support.sigstore import COMMIT, IMAGE_DIGEST, LEVEL_1_COMMIT, attest_build_provenance, vsa

IMAGE = Digest("sha256", IMAGE_DIGEST)
BUILDER = signer(attest_build_provenance())
BUILDER_ID = "https://builder.example/v1"
KEY = Signer("key:" + "ab" * 32, "")
REPOSITORY = "https://github.com/example/source-demo"


def examined(**fields: Any) -> Examination:
    return examine(claim(vsa(**fields)), Context(policy(), IMAGE))


def bound_by_digest() -> Examination:
    return examined(subjects=[{"digest": {"gitCommit": COMMIT}}, {"digest": {"sha256": IMAGE_DIGEST}}])


def labels(
    revision: str | None = COMMIT, source: str | None = REPOSITORY, where: str = "the image"
) -> ImageLabels:
    return ImageLabels(where, revision, source)


def test_no_binding_is_said_aloud() -> None:
    step = check_unbound(examined())
    assert (step.number, step.outcome, step.detail) == (14, StepOutcome.NOT_CHECKED, NOT_BOUND)
    assert check_unbound(bound_by_digest()).outcome is StepOutcome.PASSED


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
        check([provenance(material(commit=commit))], two_commits()),
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
        check([provenance(material(commit=LEVEL_1_COMMIT))], examination)
    assert caught.value.reason is Reason.SOURCE_REVISION_MISMATCH
    assert check_annotation(examination, [labels()]).examination.revision == COMMIT


def test_all_platforms_are_of_one_commit() -> None:
    mixed = [labels(where="amd64"), labels(revision=LEVEL_1_COMMIT, where="arm64")]
    with pytest.raises(CheckError, match="expected one commit for all") as caught:
        check_annotation(two_commits(), mixed)
    assert caught.value.reason is Reason.SOURCE_REVISION_MISMATCH


def test_a_summary_of_the_image_itself_needs_no_label() -> None:
    for images in ([], [labels(revision=LEVEL_1_COMMIT)]):
        assert check_annotation(bound_by_digest(), images).step.outcome is StepOutcome.PASSED


def material(repository: str = REPOSITORY, commit: str = COMMIT) -> Material:
    parsed = SourceUri.parse(repository)
    assert parsed is not None
    return Material(parsed, commit)


def provenance(
    *materials: Material,
    by: Signer = BUILDER,
    builder_id: str = BUILDER_ID,
    digests: Sequence[str] = (str(IMAGE),),
) -> SignedProvenance:
    return SignedProvenance(Provenance(builder_id, frozenset(digests), materials), by)


def check(
    provenances: Sequence[SignedProvenance], examination: Examination | None = None, **entry: Any
) -> Bound:
    trusted = {"builderId": BUILDER_ID, "issuer": BUILDER.issuer, "identity": BUILDER.identity, **entry}
    builders = [{key: value for key, value in trusted.items() if value is not None}]
    wanted = policy(sourceBinding="provenance", trustedBuilders=builders)
    return check_provenance(examination or examined(), provenances, IMAGE, wanted, {"/k.pem": KEY.identity})


@pytest.mark.parametrize(
    "provenances",
    [
        [provenance(material())],
        [provenance(material(f"git+{REPOSITORY}.git@refs/heads/main"))],
        [provenance(material(commit=LEVEL_1_COMMIT), material("https://github.com/a/b"), material())],
        [provenance(), provenance(material())],
        [provenance(material(), digests=["sha256:" + "00" * 32]), provenance(material())],
        [provenance(material(), by=KEY), provenance(material())],
        [provenance(material(), digests=["sha256:" + "00" * 32, str(IMAGE)])],
    ],
)
def test_a_trusted_builders_provenance_binds(provenances: list[SignedProvenance]) -> None:
    step = check(provenances).step
    assert (step.number, step.outcome) == (14, StepOutcome.PASSED)
    assert BUILDER_ID in step.detail


@pytest.mark.parametrize(
    ("provenances", "reason", "says"),
    [
        ([], Reason.SOURCE_NOT_BOUND, "no signed provenance"),
        ([provenance(material(), digests=["sha256:" + "00" * 32])], Reason.SOURCE_NOT_BOUND, "none about"),
        ([provenance(material(), digests=[IMAGE.hex])], Reason.SOURCE_NOT_BOUND, "none about"),
        ([provenance(material(), by=KEY)], Reason.SOURCE_NOT_BOUND, KEY.identity),
        (
            [provenance(material(), by=Signer(BUILDER.identity, ""))],
            Reason.SOURCE_NOT_BOUND,
            BUILDER.identity,
        ),
        ([provenance(material(), builder_id=f"{BUILDER_ID}/")], Reason.SOURCE_NOT_BOUND, f"{BUILDER_ID}/"),
        ([provenance()], Reason.SOURCE_REVISION_MISMATCH, "no known commit"),
        ([provenance(material(commit=LEVEL_1_COMMIT))], Reason.SOURCE_REVISION_MISMATCH, LEVEL_1_COMMIT),
        ([provenance(material(f"{REPOSITORY}2"))], Reason.SOURCE_REVISION_MISMATCH, f"{REPOSITORY}2"),
        (
            [provenance(material(commit=LEVEL_1_COMMIT), material(f"{REPOSITORY}2"))],
            Reason.SOURCE_REVISION_MISMATCH,
            LEVEL_1_COMMIT,
        ),
        (
            [provenance(material(), by=KEY), provenance(material(commit=LEVEL_1_COMMIT))],
            Reason.SOURCE_REVISION_MISMATCH,
            LEVEL_1_COMMIT,
        ),
    ],
)
def test_other_provenance_does_not(provenances: list[SignedProvenance], reason: Reason, says: str) -> None:
    with pytest.raises(CheckError) as caught:
        check(provenances)
    assert caught.value.reason is reason
    assert says in caught.value.message


def test_a_builder_on_ones_own_runner_must_be_allowed() -> None:
    own = signer(attest_build_provenance(runner="self-hosted"))
    alone = [provenance(material(), by=own)]
    with pytest.raises(CheckError, match="allowSelfHostedRunners") as caught:
        check(alone)
    assert caught.value.reason is Reason.SOURCE_NOT_BOUND
    hosted = provenance(material(commit=LEVEL_1_COMMIT))
    with pytest.raises(CheckError, match=LEVEL_1_COMMIT):
        check([*alone, hosted])
    assert check([*alone, provenance(material())]).step.outcome is StepOutcome.PASSED
    builders = [{"builderId": BUILDER_ID, "issuer": BUILDER.issuer, "identity": BUILDER.identity}]
    allowed = policy(sourceBinding="provenance", trustedBuilders=builders, allowSelfHostedRunners=True)
    assert check_provenance(examined(), alone, IMAGE, allowed, {}).step.outcome is StepOutcome.PASSED


def test_a_builder_may_be_known_by_its_key() -> None:
    by_key: dict[str, Any] = {"issuer": None, "identity": None, "publicKey": "/k.pem"}
    assert check([provenance(material(), by=KEY)], **by_key).step.outcome is StepOutcome.PASSED
    for other in (Signer("key:" + "cd" * 32, ""), BUILDER):
        with pytest.raises(CheckError, match="expected the image's build provenance"):
            check([provenance(material(), by=other)], **by_key)


def test_builders_of_two_entries_are_not_mixed() -> None:
    """One entry's id with the other's signer is nobody."""
    builders = [
        {"builderId": BUILDER_ID, "issuer": BUILDER.issuer, "identity": BUILDER.identity},
        {"builderId": "https://other.example", "publicKey": "/k.pem"},
    ]
    wanted = policy(sourceBinding="provenance", trustedBuilders=builders)
    mixed = [provenance(material(), by=KEY), provenance(material(), builder_id="https://other.example")]
    with pytest.raises(CheckError) as caught:
        check_provenance(examined(), mixed, IMAGE, wanted, {"/k.pem": KEY.identity})
    assert caught.value.reason is Reason.SOURCE_NOT_BOUND


def test_a_summary_of_the_image_itself_needs_no_provenance() -> None:
    assert check([], bound_by_digest()).step.outcome is StepOutcome.PASSED


def test_is_passed_says_what_a_check_does() -> None:
    assert is_passed(check, [provenance(material())])
    assert not is_passed(check, [])
