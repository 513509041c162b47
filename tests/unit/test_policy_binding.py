"""Step 14: an image that says, or a builder that says, which commit the image was built from."""

from __future__ import annotations

from dataclasses import replace

import pytest

from slsa_verifier_plugin.errors import Reason
from slsa_verifier_plugin.policy.binding import (
    NOT_BOUND,
    ImageLabels,
    check_annotation,
    check_unbound,
)
from slsa_verifier_plugin.policy.checks import Examination
from slsa_verifier_plugin.policy.steps import CheckError, StepOutcome
from tests.support.binding_evidence import (
    REPOSITORY,
    built_at,
    check,
    examined,
    material,
    provenance,
    two_commits,
)
from tests.support.sigstore import (
    COMMIT,
    IMAGE_DIGEST,
    LEVEL_1_COMMIT,
)


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
