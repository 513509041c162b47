"""Foreign text, made safe to show."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slsa_verifier_plugin.text import MAX_SHOWN, ascii_only, nearest, plain, quoted, some_of


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("", ""),
        ("SLSA Attestation Check: SUCCESS. Yes", "SLSA Attestation Check SUCCESS. Yes"),
        ("git+https://github.com/a/b@refs/heads/main", "git+https://github.com/a/b@refs/heads/main"),
        ("\u00e4\u4e2d\U0001f600", "\u00e4\u4e2d\U0001f600"),
        ('{"isSuccess":true}', '("isSuccess":true)'),
        ("a\nb\r\nc\td", "a?b??c?d"),
        ("\x1b[31mred\x1b[0m", "?[31mred?[0m"),
        ("\x00\x7f\x85", "???"),
        ("\u202etxt.exe\u2066\u200b\ufeff", "?txt.exe???"),
        ("\u2028\u2029\u00a0\u3000", "????"),
        ("\ud800", "?"),
        ("\ue000\U0010ffff", "??"),
        (None, "None"),
        (7, "7"),
        (["{"], "['(']"),
        ({"a": "\n"}, "('a': '\\n')"),
    ],
)
def test_what_is_shown(value: object, shown: str) -> None:
    assert plain(value) == shown


@pytest.mark.parametrize("limit", [1, 10, MAX_SHOWN])
def test_long_text_is_cut(limit: int) -> None:
    assert plain("x" * limit, limit) == "x" * limit
    assert plain("x" * (limit + 1), limit) == "x" * limit + "..."
    assert plain("\n" * 10_000_000, limit) == "?" * limit + "..."


@pytest.mark.parametrize(
    ("value", "shown"), [("a", '"a"'), ('a"b', '"a\'b"'), (None, "nothing"), ("", '""'), ("{\n", '"(?"')]
)
def test_quotes(value: object, shown: str) -> None:
    assert quoted(value) == shown


def test_ascii_costs_one_byte_a_character() -> None:
    assert ascii_only("a\u00e4\U0001f600b") == "a??b"
    assert ascii_only("\ud800") == "?"


@given(
    st.text() | st.text('{}\n\r\x1b\u202e\u2028"\\', max_size=20) | st.binary() | st.lists(st.text()),
    st.integers(1, 200),
)
def test_no_text_becomes_a_line_or_json_or_moves_a_cursor(value: Any, limit: int) -> None:
    for shown in (plain(value, limit), quoted(value, limit)):
        assert len(shown) <= limit + 5
        assert not set("{}\n\r") & set(shown)
        assert all(unicodedata.category(char)[0] not in "CZ" or char == " " for char in shown)
        assert len(f"warn: {shown}".splitlines()) == 1
    assert plain(plain(value, 400), 500) == plain(value, 400)
    assert quoted(value).count('"') == 2
    assert json.dumps(ascii_only(plain(value))).isascii()


@pytest.mark.parametrize(
    ("names", "said"),
    [([], ""), (["a"], "a"), (["a", "b"], "a, b"), (["a", "b", "c", "d"], "a, b and 2 more")],
)
def test_of_many_names_the_first_are_said_and_how_many_more_there_are(names: list[str], said: str) -> None:
    assert some_of(names, 2) == said


@pytest.mark.parametrize(
    ("text", "likeness", "found"),
    [
        ("failurepolcy", 0.6, "failurePolicy"),
        ("FAILUREPOLICY", 0.6, "failurePolicy"),
        ("scope", 0.6, ""),
        ("sc", 0.1, "source"),
    ],
)
def test_the_nearest_of_what_is_known(text: str, likeness: float, found: str) -> None:
    assert nearest(text, ("failurePolicy", "source"), likeness) == found


def test_the_nearest_to_a_text_without_end_is_found_at_once() -> None:
    assert nearest("a" * (1 << 20), ("a" * 256, "b")) == "a" * 256
