"""Verification summaries and the times in them."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slsa_verifier_plugin.errors import StatementError
from slsa_verifier_plugin.model.statement import PAYLOAD_TYPE, parse_statement
from slsa_verifier_plugin.model.vsa import (
    MAX_LEVELS,
    MAX_REFS,
    MAX_TEXT,
    SourceSubject,
    VerificationSummary,
    is_commit,
    parse_time,
    parse_vsa,
)
from tests.support.sigstore import COMMIT, MAIN, REMOVED, build_vsa, vsa

OTHER = "ab" * 20


def parse(statement: Any) -> VerificationSummary:
    return parse_vsa(parse_statement(PAYLOAD_TYPE, json.dumps(statement).encode()))


def test_a_source_summary_is_read() -> None:
    summary = parse(vsa(levels=["SLSA_SOURCE_LEVEL_3", "ORG_X"], refs=[MAIN, "refs/tags/v1"]))
    assert summary == VerificationSummary(
        verifier_id="https://github.com/slsa-framework/source-actions",
        resource_uri="git+https://github.com/example/source-demo",
        result="PASSED",
        levels=("SLSA_SOURCE_LEVEL_3", "ORG_X"),
        time_verified=datetime(2025, 11, 3, 9, 59, 59, 77372, tzinfo=UTC),
        sources=(SourceSubject(COMMIT, (MAIN, "refs/tags/v1")),),
        digests=frozenset(),
        algorithms=("gitCommit",),
    )


def test_a_build_summary_is_read() -> None:
    summary = parse(build_vsa("cd" * 32))
    assert summary.sources == ()
    assert summary.digests == {"sha256:" + "cd" * 32}


def test_subjects_of_all_kinds_are_told_apart() -> None:
    subjects = [
        {"digest": {"gitCommit": COMMIT, "sha256": "aa"}},
        {"digest": {"sha512": "bb", "md5": "cc", "sha1": COMMIT}},
        {"digest": {"gitCommit": OTHER}},
    ]
    summary = parse(vsa(subjects=subjects))
    assert [source.commit for source in summary.sources] == [COMMIT, OTHER]
    assert summary.digests == {"sha256:aa", "sha512:bb"}


def test_refs_are_taken_from_all_three_names_once_each() -> None:
    annotations = {
        "sourceRefs": ["a", "b"],
        "source_refs": ["b", "c"],
        "source_branches": ["d"],
        "refs": ["e"],
    }
    summary = parse(vsa(subjects=[{"digest": {"gitCommit": COMMIT}, "annotations": annotations}]))
    assert summary.sources == (SourceSubject(COMMIT, ("a", "b", "c", "d")),)


@pytest.mark.parametrize("name", ["sourceRefs", "source_refs", "source_branches"])
def test_null_is_an_empty_list_of_refs_as_go_writes_it(name: str) -> None:
    annotations = {"sourceRefs": ["a"], name: None}
    summary = parse(vsa(subjects=[{"digest": {"gitCommit": COMMIT}, "annotations": annotations}]))
    assert summary.sources == (SourceSubject(COMMIT, () if name == "sourceRefs" else ("a",)),)


def test_what_may_be_absent_or_empty() -> None:
    summary = parse(
        vsa(levels=[], refs=None, changes={"predicate.timeVerified": REMOVED, "predicate.policy": REMOVED})
    )
    assert summary.time_verified is None
    assert summary.levels == ()
    assert summary.sources[0].refs == ()


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"predicateType": "https://slsa.dev/verification_summary/v2"}, "the predicate type is"),
        ({"predicateType": "https://slsa.dev/provenance/v1"}, "the predicate type is"),
        ({"predicate.verifier": REMOVED}, "no verifier"),
        ({"predicate.verifier": ["x"]}, "no verifier"),
        ({"predicate.verifier.id": REMOVED}, "has no verifier.id"),
        ({"predicate.verifier.id": ""}, "verifier.id is"),
        ({"predicate.verifier.id": 1}, "verifier.id is"),
        ({"predicate.resourceUri": REMOVED}, "has no resourceUri"),
        ({"predicate.resourceUri": "x" * (MAX_TEXT + 1)}, "resourceUri is"),
        ({"predicate.verificationResult": REMOVED}, "has no verificationResult"),
        ({"predicate.verificationResult": True}, "verificationResult is"),
        ({"predicate.verifiedLevels": REMOVED}, "has no verifiedLevels"),
        ({"predicate.verifiedLevels": "SLSA_SOURCE_LEVEL_3"}, "verifiedLevels is no list"),
        ({"predicate.verifiedLevels": [3]}, "verifiedLevels is"),
        ({"predicate.verifiedLevels": [""]}, "verifiedLevels is"),
        ({"predicate.verifiedLevels": ["x"] * (MAX_LEVELS + 1)}, "at most 256"),
        ({"predicate.timeVerified": None}, "timeVerified is missing"),
        ({"predicate.timeVerified": ""}, "timeVerified is missing"),
        ({"predicate.timeVerified": "yesterday"}, "not an RFC 3339 time"),
        ({"subject.0.digest.gitCommit": COMMIT.upper()}, "full commit id"),
        ({"subject.0.digest.gitCommit": COMMIT[:-1]}, "full commit id"),
        ({"subject.0.digest.gitCommit": COMMIT + "0"}, "full commit id"),
        ({"subject.0.digest.gitCommit": ""}, "full commit id"),
        ({"subject.0.annotations.source_refs": "refs/heads/main"}, "source_refs is no list"),
        ({"subject.0.annotations.source_refs": [1]}, "source_refs is"),
        ({"subject.0.annotations.source_refs": [None]}, "has no annotation source_refs"),
        ({"subject.0.annotations.source_refs": False}, "source_refs is no list"),
        ({"subject.0.annotations.source_refs": ["r"] * (MAX_REFS + 1)}, "at most 1024"),
    ],
)
def test_a_malformed_summary_is_refused(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(StatementError, match=problem):
        parse(vsa(changes=changes))


def test_the_longest_that_is_read() -> None:
    summary = parse(
        vsa(levels=["x"] * MAX_LEVELS, refs=[f"r{n}" for n in range(MAX_REFS)], verifier_id="v" * MAX_TEXT)
    )
    assert (len(summary.levels), len(summary.sources[0].refs), len(summary.verifier_id)) == (256, 1024, 2048)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2025-11-03T10:00:00Z", datetime(2025, 11, 3, 10, tzinfo=UTC)),
        ("2025-11-03t10:00:00z", datetime(2025, 11, 3, 10, tzinfo=UTC)),
        ("2025-11-03T10:00:00.5Z", datetime(2025, 11, 3, 10, 0, 0, 500000, tzinfo=UTC)),
        ("2025-11-03T10:00:00.123456789012Z", datetime(2025, 11, 3, 10, 0, 0, 123456, tzinfo=UTC)),
        ("2025-11-03T10:00:00+02:30", datetime(2025, 11, 3, 7, 30, tzinfo=UTC)),
        ("2025-11-03T10:00:00-00:00", datetime(2025, 11, 3, 10, tzinfo=UTC)),
        ("2024-02-29T00:00:00Z", datetime(2024, 2, 29, tzinfo=UTC)),
    ],
)
def test_times_are_read(text: str, moment: datetime) -> None:
    assert parse_time(text) == moment
    assert parse_time(text).tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2025-11-03",
        "2025-11-03 10:00:00Z",
        "2025-11-03T10:00:00",
        "2025-11-03T10:00Z",
        "2025-11-03T10:00:00.Z",
        "2025-11-03T10:00:00.1234567890123Z",
        "2025-11-03T10:00:00+0200",
        "2025-11-03T10:00:00Z\n",
        "\u0662025-11-03T10:00:00Z",
        "2025-02-29T00:00:00Z",
        "2025-13-01T00:00:00Z",
        "2025-11-03T24:00:01Z",
        "2025-11-03T10:00:60Z",
        "2025-11-03T10:00:00+24:00",
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
        "0000-01-01T00:00:00Z",
        None,
        1762164000,
        ["2025-11-03T10:00:00Z"],
    ],
)
def test_what_is_no_time_is_refused(text: object) -> None:
    with pytest.raises(StatementError, match=r"is not a|is missing"):
        parse_time(text)


@given(
    st.datetimes(
        datetime(1, 1, 2),  # noqa: DTZ001 (hypothesis wants naive bounds)
        datetime(9999, 12, 30),  # noqa: DTZ001
        timezones=st.builds(timezone, st.builds(timedelta, minutes=st.integers(-1439, 1439))),
    )
)
def test_any_time_is_read_back(moment: datetime) -> None:
    assert parse_time(moment.isoformat()) == moment


@given(st.text("0123456789-:TtZz.+ ", max_size=36))
def test_any_text_is_a_time_or_an_error(text: str) -> None:
    with contextlib.suppress(StatementError):
        assert parse_time(text).tzinfo is UTC


@pytest.mark.parametrize(
    ("text", "commit"),
    [
        ("ab" * 20, True),
        ("ab" * 32, True),
        ("ab" * 16, False),
        ("AB" * 20, False),
        ("ag" * 20, False),
        ("ab" * 20 + "\n", False),
        (None, False),
        (b"ab" * 20, False),
    ],
)
def test_full_commit_ids(text: object, commit: bool) -> None:
    assert is_commit(text) is commit


def test_a_failed_summary_may_leave_its_levels_out() -> None:
    for levels in (REMOVED, None):
        summary = parse(vsa(result="FAILED", changes={"predicate.verifiedLevels": levels}))
        assert (summary.result, summary.levels) == ("FAILED", ())
    for result in ("PASSED", "failed", "PASSED "):
        with pytest.raises(StatementError, match="has no verifiedLevels"):
            parse(vsa(result=result, changes={"predicate.verifiedLevels": REMOVED}))
    with pytest.raises(StatementError, match="verifiedLevels is no list"):
        parse(vsa(result="FAILED", changes={"predicate.verifiedLevels": "x"}))


def test_the_algorithms_of_all_digests_are_known() -> None:
    assert parse(vsa(subjects=[{"digest": {"sha1": COMMIT}}])).algorithms == ("sha1",)
    assert parse(
        vsa(subjects=[{"digest": {"sha1": "a"}}, {"digest": {"gitTree": "b", "sha1": "c"}}])
    ).algorithms == (
        "sha1",
        "gitTree",
    )
