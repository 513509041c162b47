"""Levels: numbers within a track, names by themselves, and nothing for what attests nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slsa_verifier_plugin.model.levels import Levels, is_failure, is_nothing, track_level


@pytest.mark.parametrize(
    ("name", "level"),
    [
        ("SLSA_SOURCE_LEVEL_3", ("SOURCE", 3)),
        ("SLSA_BUILD_LEVEL_0", ("BUILD", 0)),
        ("SLSA_X2_LEVEL_999", ("X2", 999)),
        ("SLSA_SOURCE_LEVEL_03", None),
        ("SLSA_SOURCE_LEVEL_1000", None),
        ("SLSA_SOURCE_LEVEL_", None),
        ("SLSA_SOURCE_LEVEL_-1", None),
        ("SLSA_SOURCE_LEVEL_3 ", None),
        ("SLSA_SOURCE_LEVEL_3\n", None),
        ("SLSA_SOURCE_LEVEL_\u0663", None),
        ("slsa_source_level_3", None),
        ("XSLSA_SOURCE_LEVEL_3", None),
        ("SLSA__LEVEL_3", None),
        ("SLSA_SOURCE_TWO_PARTY_REVIEWED", None),
        ("", None),
    ],
)
def test_a_tracks_level_is_told_from_other_names(name: str, level: tuple[str, int] | None) -> None:
    assert track_level(name) == level


@pytest.mark.parametrize(
    ("name", "nothing"),
    [
        ("FAILED", True),
        ("SLSA_SOURCE_LEVEL_UNEVALUATED", True),
        ("SLSA_BUILD_LEVEL_UNEVALUATED", True),
        ("PASSED", False),
        ("failed", False),
        ("FAILED_BEFORE", False),
        ("SLSA_SOURCE_LEVEL_0", False),
    ],
)
def test_what_attests_nothing(name: str, nothing: bool) -> None:
    assert is_nothing(name) is nothing


@pytest.mark.parametrize(
    ("stated", "expected", "missing"),
    [
        (["SLSA_SOURCE_LEVEL_2"], ["SLSA_SOURCE_LEVEL_2"], []),
        (["SLSA_SOURCE_LEVEL_3"], ["SLSA_SOURCE_LEVEL_2"], []),
        (["SLSA_SOURCE_LEVEL_1"], ["SLSA_SOURCE_LEVEL_2"], ["SLSA_SOURCE_LEVEL_2"]),
        (["SLSA_SOURCE_LEVEL_10"], ["SLSA_SOURCE_LEVEL_9"], []),
        (["SLSA_SOURCE_LEVEL_9"], ["SLSA_SOURCE_LEVEL_10"], ["SLSA_SOURCE_LEVEL_10"]),
        (["SLSA_BUILD_LEVEL_3"], ["SLSA_SOURCE_LEVEL_1"], ["SLSA_SOURCE_LEVEL_1"]),
        (["SLSA_SOURCE_LEVEL_1", "SLSA_SOURCE_LEVEL_3"], ["SLSA_SOURCE_LEVEL_3"], []),
        (["SLSA_SOURCE_LEVEL_3", "SLSA_SOURCE_LEVEL_1"], ["SLSA_SOURCE_LEVEL_3"], []),
        (["SLSA_SOURCE_LEVEL_2"], ["SLSA_SOURCE_LEVEL_2", "SLSA_BUILD_LEVEL_1"], ["SLSA_BUILD_LEVEL_1"]),
        (["ORG_SOURCE_TESTED"], ["ORG_SOURCE_TESTED"], []),
        (["ORG_SOURCE_TESTED_TWICE"], ["ORG_SOURCE_TESTED"], ["ORG_SOURCE_TESTED"]),
        (["SLSA_SOURCE_LEVEL_3 "], ["SLSA_SOURCE_LEVEL_3"], ["SLSA_SOURCE_LEVEL_3"]),
        (["FAILED"], ["FAILED"], ["FAILED"]),
        (["SLSA_SOURCE_LEVEL_UNEVALUATED"], ["SLSA_SOURCE_LEVEL_1"], ["SLSA_SOURCE_LEVEL_1"]),
        ([], ["SLSA_SOURCE_LEVEL_0"], ["SLSA_SOURCE_LEVEL_0"]),
        ([], ["SLSA_SOURCE_LEVEL_1"], ["SLSA_SOURCE_LEVEL_1"]),
    ],
)
def test_expected_levels_are_reached_or_missing(
    stated: list[str], expected: list[str], missing: list[str]
) -> None:
    assert Levels.of(stated).missing(expected) == missing


@pytest.mark.parametrize(
    ("caps", "shown"),
    [
        ([], ["SLSA_BUILD_LEVEL_2", "SLSA_SOURCE_LEVEL_3", "ORG_X"]),
        (["SLSA_SOURCE_LEVEL_2"], ["SLSA_SOURCE_LEVEL_2"]),
        (["SLSA_SOURCE_LEVEL_4"], ["SLSA_SOURCE_LEVEL_3"]),
        (["SLSA_SOURCE_LEVEL_0"], ["SLSA_SOURCE_LEVEL_0"]),
        (["SLSA_OTHER_LEVEL_3"], []),
        (["SLSA_BUILD_LEVEL_1", "SLSA_SOURCE_LEVEL_1"], ["SLSA_BUILD_LEVEL_1", "SLSA_SOURCE_LEVEL_1"]),
        (["SLSA_SOURCE_LEVEL_3", "SLSA_SOURCE_LEVEL_1"], ["SLSA_SOURCE_LEVEL_1"]),
        (["SLSA_SOURCE_LEVEL_1", "SLSA_SOURCE_LEVEL_3"], ["SLSA_SOURCE_LEVEL_1"]),
        (["SLSA_SOURCE_LEVEL_1\n"], []),
        (["no level at all"], []),
    ],
)
def test_caps_limit_what_a_signer_may_attest(caps: list[str], shown: list[str]) -> None:
    levels = Levels.of(["SLSA_SOURCE_LEVEL_3", "SLSA_BUILD_LEVEL_2", "ORG_X"])
    assert levels.capped(caps).shown() == shown
    assert levels.capped(iter(caps)).shown() == shown


@pytest.mark.parametrize(
    "name",
    [
        "TAG_HYGIENE",
        "SLSA_SOURCE_TWO_PARTY_REVIEWED",
        "slsa_source_level_4",
        "SLSA_SOURCE_LEVEL_1000",
        "SLSA_SOURCE_LEVEL_04",
        "SLSA_SOURCE_LEVEL_4 ",
        "SLSA_SOURCE_LEVEL_\u0664",
    ],
)
def test_a_capped_signer_is_believed_in_no_name_beside_its_tracks(name: str) -> None:
    stated = Levels.of(["SLSA_SOURCE_LEVEL_1", name])
    assert stated.missing([name]) == []
    capped = stated.capped(["SLSA_SOURCE_LEVEL_3", "SLSA_BUILD_LEVEL_3"])
    assert capped.missing([name, "SLSA_SOURCE_LEVEL_1"]) == [name]


@pytest.mark.parametrize(
    ("name", "failure"),
    [
        ("FAILED", True),
        ("failed", True),
        (" FAILED\n", True),
        ("SLSA_SOURCE_LEVEL_3_FAILED", True),
        ("SLSA_SOURCE_LEVEL_FAILED", True),
        ("SLSA_SOURCE_LEVEL_3: FAILED", True),
        ("FAILED:SLSA_SOURCE_LEVEL_3", True),
        ("SLSA_SOURCE_LEVEL_3", False),
        ("SLSA_SOURCE_LEVEL_UNEVALUATED", False),
        ("ORG_FAILED_LOGINS_LOCKED", False),
        ("ORG_FAILEDLOGINS", False),
        ("SLSA_FAILEDOVER", False),
        ("", False),
    ],
)
def test_what_says_that_a_verification_failed(name: str, failure: bool) -> None:
    assert is_failure(name) is failure


NAMES = st.one_of(
    st.builds("SLSA_{}_LEVEL_{}".format, st.sampled_from(["SOURCE", "BUILD"]), st.integers(0, 12)),
    st.sampled_from(
        ["FAILED", "SLSA_SOURCE_LEVEL_UNEVALUATED", "ORG_A", "ORG_B", "", "SLSA_SOURCE_LEVEL_01"]
    ),
)


@given(st.lists(NAMES), st.lists(NAMES, min_size=1), st.lists(NAMES))
def test_stating_more_never_loses_and_capping_never_gains(
    stated: list[str], expected: list[str], more: list[str]
) -> None:
    levels = Levels.of(stated)
    missing = levels.missing(expected)
    assert set(Levels.of([*stated, *more]).missing(expected)) <= set(missing)
    assert set(missing) <= set(levels.capped(more).missing(expected))
    assert not Levels.of(expected).missing([name for name in expected if not is_nothing(name)])


CONTROL_NAMES = [
    ("TAG_HYGIENE", "SLSA_SOURCE_SCS_PROTECTED_REFS"),
    ("REVIEW_ENFORCED", "SLSA_SOURCE_SCS_TWO_PARTY_REVIEW"),
    ("REVIEW_ENFORCED", "SLSA_SOURCE_TWO_PARTY_REVIEWED"),
    ("SLSA_SOURCE_SCS_TWO_PARTY_REVIEW", "SLSA_SOURCE_TWO_PARTY_REVIEWED"),
    ("CONTINUITY_ENFORCED", "SLSA_SOURCE_SCS_CONTINUITY"),
    ("PROVENANCE_AVAILABLE", "SLSA_SOURCE_SCS_PROVENANCE"),
]


@pytest.mark.parametrize(("one", "other"), [*CONTROL_NAMES, *((b, a) for a, b in CONTROL_NAMES)])
def test_the_names_of_one_control_are_one_and_are_shown_as_stated(one: str, other: str) -> None:
    levels = Levels.of(["SLSA_SOURCE_LEVEL_2", one])
    assert levels.missing([other, one]) == []
    assert levels.shown() == ["SLSA_SOURCE_LEVEL_2", one]
    # A control is no level, and a level no control.
    assert levels.missing(["SLSA_SOURCE_LEVEL_3"]) == ["SLSA_SOURCE_LEVEL_3"]
    assert Levels.of(["SLSA_SOURCE_LEVEL_4"]).missing([one]) == [one]


def test_different_controls_stay_different() -> None:
    groups = [["TAG_HYGIENE"], ["REVIEW_ENFORCED"], ["CONTINUITY_ENFORCED"], ["PROVENANCE_AVAILABLE"]]
    for index, group in enumerate(groups):
        others = [name for number, names in enumerate(groups) if number != index for name in names]
        assert Levels.of(group).missing(others) == others
    for near in (
        "tag_hygiene",
        "TAG_HYGIENE2",
        "SLSA_SOURCE_SCS_PROTECTED_REF",
        "SLSA_SOURCE_PROTECTED_REFS",
    ):
        assert Levels.of([near]).missing(["TAG_HYGIENE"]) == ["TAG_HYGIENE"]
        assert Levels.of(["TAG_HYGIENE"]).missing([near]) == [near]


def test_level_0_and_level_4_are_levels() -> None:
    assert (
        Levels.of(["SLSA_SOURCE_LEVEL_4"]).missing([f"SLSA_SOURCE_LEVEL_{number}" for number in range(5)])
        == []
    )
    assert Levels.of(["SLSA_SOURCE_LEVEL_0"]).missing(["SLSA_SOURCE_LEVEL_1"]) == ["SLSA_SOURCE_LEVEL_1"]


@given(st.lists(NAMES), st.lists(NAMES, min_size=1), NAMES)
def test_a_cap_leaves_nothing_but_its_own_tracks(stated: list[str], caps: list[str], name: str) -> None:
    tracks = {level[0] for cap in caps if (level := track_level(cap))}
    level = track_level(name)
    if Levels.of(stated).capped(caps).missing([name]) == []:
        assert level is not None
        assert level[0] in tracks
