"""A tag's run whose summary names branches alone is the tag's; nothing else is taken for one."""

from __future__ import annotations

import pytest

from slsa_verifier_plugin.model.signer import Signer
from slsa_verifier_plugin.model.vsa import SourceSubject
from slsa_verifier_plugin.policy.tag_runs import tag_run

COMMIT, OTHER = "ab" * 20, "cd" * 20
TAG, MAIN = "refs/tags/v1", "refs/heads/main"


def signer(**claims: str) -> Signer:
    numbers = {"commit": 13, "ref": 14, "old_commit": 3, "old_ref": 6}
    return Signer(
        "https://s.example", "https://i.example", {numbers[name]: text for name, text in claims.items()}
    )


def sources(*refs: str, commit: str = COMMIT) -> list[SourceSubject]:
    return [SourceSubject(commit, refs)]


@pytest.mark.parametrize("by", [signer(commit=COMMIT, ref=TAG), signer(old_commit=COMMIT, old_ref=TAG)])
def test_the_certified_tag_takes_the_place_of_branches(by: Signer) -> None:
    assert tag_run(by, sources(MAIN)) == SourceSubject(COMMIT, (TAG,))
    assert tag_run(by, sources(MAIN, "refs/heads/x/y")) == SourceSubject(COMMIT, (TAG,))
    assert tag_run(by, [*sources(MAIN), *sources()]) == SourceSubject(COMMIT, (TAG,))


def test_refs_of_other_commits_neither_help_nor_hinder() -> None:
    by = signer(commit=COMMIT, ref=TAG)
    assert tag_run(by, [*sources("refs/tags/v9", commit=OTHER), *sources(MAIN)]) == SourceSubject(
        COMMIT, (TAG,)
    )
    assert tag_run(by, [*sources(MAIN, commit=OTHER), *sources()]) is None
    assert tag_run(by, sources(MAIN, commit=OTHER)) is None


@pytest.mark.parametrize(
    "refs", [(), (TAG,), (MAIN, "refs/tags/v2"), ("refs/pull/1/merge",), ("main",), ("",)]
)
def test_a_summary_that_names_anything_but_branches_is_none(refs: tuple[str, ...]) -> None:
    assert tag_run(signer(commit=COMMIT, ref=TAG), sources(*refs)) is None


@pytest.mark.parametrize(
    "ref", ["refs/tags/", MAIN, "refs/pull/1/merge", "v1", "", "refs/tagsx/v1", " refs/tags/v1"]
)
def test_a_certificate_that_names_anything_but_a_tag_is_none(ref: str) -> None:
    assert tag_run(signer(commit=COMMIT, ref=ref), sources(MAIN)) is None


def test_a_certificate_that_leaves_commit_or_ref_out_is_none() -> None:
    assert tag_run(signer(ref=TAG), sources(MAIN)) is None
    assert tag_run(signer(commit=COMMIT), sources(MAIN)) is None
    assert tag_run(signer(), []) is None
