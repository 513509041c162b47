"""Levels: numbers within a track, names by themselves, and nothing for what attests nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slsa_verifier_plugin.model.levels import Levels, is_nothing, track_level


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
        (["SLSA_SOURCE_LEVEL_2"], ["SLSA_SOURCE_LEVEL_2", "ORG_X"]),
        (["SLSA_SOURCE_LEVEL_4"], ["SLSA_SOURCE_LEVEL_3", "ORG_X"]),
        (["SLSA_SOURCE_LEVEL_0"], ["SLSA_SOURCE_LEVEL_0", "ORG_X"]),
        (["SLSA_OTHER_LEVEL_3"], ["ORG_X"]),
        (
            ["SLSA_BUILD_LEVEL_1", "SLSA_SOURCE_LEVEL_1"],
            ["SLSA_BUILD_LEVEL_1", "SLSA_SOURCE_LEVEL_1", "ORG_X"],
        ),
        (["SLSA_SOURCE_LEVEL_3", "SLSA_SOURCE_LEVEL_1"], ["SLSA_SOURCE_LEVEL_1", "ORG_X"]),
        (["SLSA_SOURCE_LEVEL_1", "SLSA_SOURCE_LEVEL_3"], ["SLSA_SOURCE_LEVEL_1", "ORG_X"]),
        (["SLSA_SOURCE_LEVEL_1\n"], ["ORG_X"]),
        (["no level at all"], ["ORG_X"]),
    ],
)
def test_caps_limit_what_a_signer_may_attest(caps: list[str], shown: list[str]) -> None:
    levels = Levels.of(["SLSA_SOURCE_LEVEL_3", "SLSA_BUILD_LEVEL_2", "ORG_X"])
    assert levels.capped(caps).shown() == shown
    assert levels.capped(iter(caps)).shown() == shown


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
