"""Steps 9 to 13, each from both sides: the nearest that passes and the nearest that does not."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from slsa_verifier_plugin.errors import Reason
from slsa_verifier_plugin.model.signer import GITHUB_ISSUER
from slsa_verifier_plugin.policy.checks import Context, aged, examine
from slsa_verifier_plugin.policy.steps import StepOutcome
from tests.support.policies import (
    IMAGE,
    KEY,
    NOW,
    RESOURCE,
    assert_failed,
    assert_passed,
    by_key,
    claim,
    policy,
    run,
)
from tests.support.sigstore import (
    COMMIT,
    LEVEL_1_COMMIT,
    MAIN,
    REMOVED,
    github_source_actions,
    vsa,
)

# Steps 9 and 10


@pytest.mark.parametrize("result", ["FAILED", "passed", "PASSED ", " PASSED", "PASSED\n", "true", "UNKNOWN"])
def test_step_9_only_passed_is_passed(result: str) -> None:
    examination = run(claim(vsa(result=result)))
    assert_failed(examination, 9, Reason.VERIFICATION_RESULT_FAILED, "expected PASSED")


@pytest.mark.parametrize(
    ("expected", "passes"),
    [
        (RESOURCE, True),
        (["git+https://github.com/example/other", RESOURCE], True),
        ("git+https://github.com/example/*", True),
        ("git+https://github.com/**", True),
        ("git+https://github.com/example/source-dem", False),
        (f"{RESOURCE}.git", False),
        (f"{RESOURCE}/", False),
        (RESOURCE.removeprefix("git+"), False),
        ("git+https://github.com/Example/source-demo", True),
        ("git+https://github.com/*", False),
        ("git+https://github.com/example/source.demo", False),
    ],
)
def test_step_10_the_resource_uri(expected: Any, passes: bool) -> None:
    examination = run(claim(), policy(expectedResourceUri=expected))
    if passes:
        assert_passed(examination)
    else:
        assert_failed(examination, 10, Reason.RESOURCE_URI_MISMATCH, RESOURCE)


# Step 11


@pytest.mark.parametrize(
    ("stated", "expected", "passes"),
    [
        (["SLSA_SOURCE_LEVEL_2"], ["SLSA_SOURCE_LEVEL_2"], True),
        (["SLSA_SOURCE_LEVEL_1"], ["SLSA_SOURCE_LEVEL_2"], False),
        (["SLSA_SOURCE_LEVEL_10"], ["SLSA_SOURCE_LEVEL_2"], True),
        (["SLSA_SOURCE_LEVEL_2"], ["SLSA_SOURCE_LEVEL_10"], False),
        (["SLSA_BUILD_LEVEL_3"], ["SLSA_SOURCE_LEVEL_1"], False),
        (["SLSA_SOURCE_LEVEL_UNEVALUATED"], ["SLSA_SOURCE_LEVEL_1"], False),
        ([], ["SLSA_SOURCE_LEVEL_1"], False),
        (["SLSA_SOURCE_LEVEL_2", "ORG_SOURCE_X"], ["ORG_SOURCE_X", "SLSA_SOURCE_LEVEL_1"], True),
        (["SLSA_SOURCE_LEVEL_2", "ORG_SOURCE_X"], ["ORG_SOURCE_X", "ORG_SOURCE_Y"], False),
    ],
)
def test_step_11_levels(stated: list[str], expected: list[str], passes: bool) -> None:
    examination = run(claim(vsa(levels=stated)), policy(expectedVerifiedLevels=expected))
    if passes:
        assert_passed(examination)
    else:
        assert_failed(examination, 11, Reason.LEVEL_TOO_LOW, "expected")


@pytest.mark.parametrize(
    ("cap", "passes"),
    [
        (None, True),
        ("SLSA_SOURCE_LEVEL_2", True),
        ("SLSA_SOURCE_LEVEL_1", False),
        ("SLSA_BUILD_LEVEL_3", False),
        (["SLSA_BUILD_LEVEL_1", "SLSA_SOURCE_LEVEL_2"], True),
    ],
)
def test_step_11_a_signers_cap(cap: Any, passes: bool) -> None:
    keyed, known = by_key(**({"maxLevel": cap} if cap else {}))
    examination = run(claim(vsa(), KEY), keyed, **known)
    if passes:
        assert_passed(examination)
    else:
        assert_failed(examination, 11, Reason.LEVEL_TOO_LOW, "maxLevel caps", "SLSA_SOURCE_LEVEL_3")
        assert "SLSA_SOURCE_LEVEL_3" not in examination.levels


def test_step_11_the_best_of_the_entries_that_trust_the_signer_counts() -> None:
    verifier = "https://github.com/slsa-framework/source-actions"
    identity = github_source_actions().san
    low = {
        "verifierId": verifier,
        "issuer": GITHUB_ISSUER,
        "identity": identity,
        "maxLevel": "SLSA_SOURCE_LEVEL_1",
    }
    high = {**low, "identity": "https://somebody.else", "maxLevel": "SLSA_SOURCE_LEVEL_3"}
    assert_failed(run(claim(), policy(trustedVerifiers=[low, high])), 11, Reason.LEVEL_TOO_LOW)
    also = {**low, "maxLevel": "SLSA_SOURCE_LEVEL_2"}
    for entries in ([low, also], [also, low]):
        examination = run(claim(), policy(trustedVerifiers=entries))
        assert_passed(examination)
        assert examination.levels == ("SLSA_SOURCE_LEVEL_2",)


# Steps 12 and 13


@pytest.mark.parametrize(
    ("expected", "refs", "passes"),
    [
        ([MAIN], [MAIN], True),
        (["refs/heads/*"], ["refs/heads/main"], True),
        (["refs/heads/*"], ["refs/heads/a/b"], False),
        (["refs/heads/**"], ["refs/heads/a/b"], True),
        (["refs/tags/v*", MAIN], ["refs/heads/x", MAIN], True),
        ([MAIN], ["refs/heads/main2"], False),
        ([MAIN], ["main"], False),
        ([MAIN], [], False),
        ([MAIN], None, False),
    ],
)
def test_step_12_refs(expected: list[str], refs: list[str] | None, passes: bool) -> None:
    keyed, known = by_key(expectedSourceRefs=expected)
    examination = run(claim(vsa(refs=refs), KEY), keyed, **known)
    if passes:
        assert_passed(examination)
    else:
        assert_failed(examination, 12, Reason.SOURCE_REF_MISMATCH, "expected")


def test_step_12_another_commits_refs_do_not_count() -> None:
    subjects: list[dict[str, Any]] = [
        {"digest": {"gitCommit": LEVEL_1_COMMIT}, "annotations": {"source_refs": [MAIN]}},
        {"digest": {"gitCommit": COMMIT}},
    ]
    examination = run(claim(vsa(subjects=subjects)), policy(expectedSourceRefs=[MAIN]))
    assert_failed(examination, 12, Reason.SOURCE_REF_MISMATCH, "no source ref")


def test_step_12_only_commits_with_an_expected_ref_stay() -> None:
    subjects: list[dict[str, Any]] = [
        {"digest": {"gitCommit": LEVEL_1_COMMIT}, "annotations": {"source_refs": ["refs/heads/x"]}},
        {"digest": {"gitCommit": COMMIT}, "annotations": {"source_refs": [MAIN]}},
    ]
    keyed, known = by_key(expectedSourceRefs=[MAIN])
    examination = run(claim(vsa(subjects=subjects), KEY), keyed, **known)
    assert_passed(examination)
    assert (examination.revision, examination.refs) == (COMMIT, (MAIN,))


@pytest.mark.parametrize(
    ("age", "reason"),
    [
        (timedelta(0), None),
        (timedelta(hours=24), None),
        (timedelta(hours=24, seconds=1), Reason.TOO_OLD),
        (timedelta(minutes=-5), None),
        (timedelta(minutes=-5, seconds=-1), Reason.TIME_INVALID),
        (timedelta(days=-365), Reason.TIME_INVALID),
        (timedelta(days=3650), Reason.TOO_OLD),
    ],
)
@pytest.mark.parametrize("by_log", [True, False])
def test_step_13_age(age: timedelta, reason: Reason | None, by_log: bool) -> None:
    moment = NOW - age
    stated = (NOW - timedelta(hours=1) if by_log else moment).isoformat()
    examination = run(
        claim(vsa(time_verified=stated)),
        policy(maxAge="24h"),
        now=NOW,
        signed_at=moment if by_log else None,
    )
    if reason is None:
        assert_passed(examination)
    else:
        assert_failed(examination, 13, reason)


def test_step_13_the_logs_time_counts_and_not_the_stated_one() -> None:
    old = claim(vsa(time_verified=(NOW - timedelta(days=9)).isoformat()))
    assert_passed(run(old, policy(maxAge="24h"), now=NOW, signed_at=NOW - timedelta(hours=1)))
    young = claim(vsa(time_verified=NOW.isoformat()))
    examination = run(young, policy(maxAge="24h"), now=NOW, signed_at=NOW - timedelta(days=9))
    assert_failed(examination, 13, Reason.TOO_OLD, "9 days ago")


def test_step_13_no_time_at_all() -> None:
    timeless = claim(vsa(changes={"predicate.timeVerified": REMOVED}))
    assert_failed(run(timeless, policy(maxAge="24h"), now=NOW), 13, Reason.TIME_INVALID, "no timeVerified")
    assert_passed(run(timeless, policy(), now=NOW))


def test_step_13_is_left_open_while_nothing_is_verified() -> None:
    old = claim(vsa(time_verified="2001-01-01T00:00:00Z"))
    examination = examine(old, Context(policy(maxAge="24h"), IMAGE))
    assert examination.reason is None
    assert [step.number for step in examination.steps] == list(range(6, 13))
    assert examination.reached == 13


@pytest.mark.parametrize(
    ("seconds", "shown"), [(3, "3 s"), (180, "3 min"), (7200, "2 h"), (100_000, "28 h"), (864_000, "10 days")]
)
def test_step_13_says_the_age_in_a_fitting_unit(seconds: int, shown: str) -> None:
    examination = run(claim(), policy(maxAge="1s"), now=NOW, signed_at=NOW - timedelta(seconds=seconds))
    assert f"signed {shown} ago" in examination.message


def test_foreign_text_in_messages_is_harmless() -> None:
    hostile = 'x{"isSuccess":true}\n\x1b[2J\u202e'
    for statement in (
        vsa(verifier_id=hostile),
        vsa(result=hostile),
        vsa(levels=[hostile]),
        vsa(refs=[hostile]),
        vsa(changes={"predicate.resourceUri": hostile}),
        vsa(subjects=[{"digest": {"sha256": hostile}}]),
    ):
        for keyed, known in (
            by_key(),
            by_key(expectedSourceRefs=["refs/x"]),
            by_key(expectedVerifiedLevels=["X"]),
        ):
            examination = run(claim(statement, KEY), keyed, **known)
            for text in (examination.message, *(step.detail for step in examination.steps)):
                assert not set(text) & set("{}\n\x1b\u202e")


# Step 11: what says that something failed


@pytest.mark.parametrize("failure", ["FAILED", "SLSA_SOURCE_LEVEL_3_FAILED", "failed"])
@pytest.mark.parametrize("expected", [["SLSA_SOURCE_LEVEL_2"], ["ORG_SOURCE_TESTED"]])
def test_step_11_failed_beside_a_level_is_a_failure(failure: str, expected: list[str]) -> None:
    stated = ["SLSA_SOURCE_LEVEL_3", "ORG_SOURCE_TESTED"]
    wanted = policy(expectedVerifiedLevels=expected)
    assert_passed(run(claim(vsa(levels=[*stated, "ORG_FAILED_LOGINS_LOCKED"])), wanted))
    for levels in ([failure, *stated], [*stated, failure]):
        assert_failed(run(claim(vsa(levels=levels)), wanted), 11, Reason.LEVEL_TOO_LOW, failure)


def test_step_12_says_that_only_letters_differ() -> None:
    denied = run(claim(), policy(expectedSourceRefs=["refs/heads/Main"]))
    assert_failed(
        denied, 12, Reason.SOURCE_REF_MISMATCH, "differs from refs/heads/Main only in the case of letters"
    )
    other = run(claim(), policy(expectedSourceRefs=["refs/heads/master"]))
    assert "case" not in other.message


@pytest.mark.parametrize(
    "signed_at",
    [None, NOW, NOW - timedelta(days=9), NOW + timedelta(days=1)],
    ids=["none", "now", "old", "future"],
)
@pytest.mark.parametrize("max_age", [None, "24h"])
@pytest.mark.parametrize(
    "statement",
    [
        vsa(),
        vsa(time_verified="2001-01-01T00:00:00Z"),
        vsa(changes={"predicate.timeVerified": REMOVED}),
        vsa(levels=["SLSA_SOURCE_LEVEL_1"]),
        {"_type": "x"},
    ],
    ids=["honest", "old", "timeless", "low", "nothing"],
)
def test_the_age_adds_step_13_to_what_passed_and_changes_nothing_else(
    statement: Any, max_age: str | None, signed_at: datetime | None
) -> None:
    a_policy = policy(maxAge=max_age)
    examination = examine(claim(statement), Context(a_policy, IMAGE))
    timed = aged(examination, a_policy.max_age, NOW, signed_at)
    # What failed stays as it is.
    if examination.reason is not None:
        assert timed == examination
        return
    *before, step = timed.steps
    assert (tuple(before), step.number) == (examination.steps, 13)
    assert (timed.reason is not None) == (step.outcome is StepOutcome.FAILED)
    assert replace(timed, steps=examination.steps, reason=None, message="") == examination
