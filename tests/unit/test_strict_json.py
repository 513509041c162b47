"""JSON with one meaning: what is read, and what is refused although Python's own reader takes it."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slsa_verifier_plugin.strict_json import (
    BYTES_A_VALUE,
    FREE_VALUES,
    MAX_DEPTH,
    MAX_VALUES,
    JsonError,
    is_dense,
    loads,
    object_in,
)


def nested(depth: int, *inside: object) -> list[object]:
    """Return lists in each other, the innermost one with ``inside`` in it."""
    value: list[object] = list(inside)
    for _ in range(depth - 1):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"null", None),
        (b' {"a" : [1, 2.5, true, "x"]}\r\n', {"a": [1, 2.5, True, "x"]}),
        (b'{"a":1,"A":2}', {"a": 1, "A": 2}),
        ('"\u00e9\U0001f600"'.encode(), "\u00e9\U0001f600"),
        (b'"\\ud83d\\ude00"', "\U0001f600"),
        (b'"\\\\ud83d"', "\\ud83d"),
        (b"-" + b"9" * 31, -int("9" * 31)),
        (b"1e308", 1e308),
        (b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, nested(MAX_DEPTH)),
        (b"[" * (MAX_DEPTH - 1) + b"1" + b"]" * (MAX_DEPTH - 1), nested(MAX_DEPTH - 1, 1)),
    ],
)
def test_json_is_read(content: bytes, value: object) -> None:
    assert loads(content) == value


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "Expecting value"),
        (b"{", "Expecting property name"),
        (b"{}{}", "Extra data"),
        (b"{} x", "Extra data"),
        (b"{'a':1}", "Expecting property name"),
        (b"[1,]", "Expecting value|Illegal trailing comma"),
        (b'{"a":1,"a":1}', "occurs twice"),
        (b'{"a":1,"\\u0061":2}', "occurs twice"),
        (b'{"b":{"a":1,"a":2}}', "occurs twice"),
        (b"NaN", "NaN is not"),
        (b"[Infinity]", "Infinity is not"),
        (b"-Infinity", "-Infinity is not"),
        (b"1e309", "too large"),
        (b"-1e999", "too large"),
        (b"9" * 33, "more than 32 digits"),
        (b"-" + b"9" * 32, "more than 32 digits"),
        (b"1" * 100_000, "more than 32 digits"),
        (b'"\xff"', "not UTF-8 at byte 1"),
        (b'"\xed\xa0\x80"', "not UTF-8"),
        (b"\xef\xbb\xbf{}", "Expecting value|BOM"),
        (b"\xff\xfe{\x00}\x00", "not UTF-8"),
        (b'"\\ud800"', "half a surrogate pair"),
        (b'["\\uDC00\\uD800"]', "half a surrogate pair"),
        (b'{"\\uDFFF":1}', "half a surrogate pair"),
        (b'"a\nb"', "control character"),
        (b'"a\x00b"', "control character"),
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "nested deeper"),
        # What the innermost one holds is a level too.
        (b"[" * MAX_DEPTH + b"1" + b"]" * MAX_DEPTH, "nested deeper"),
        (b'{"a":' * MAX_DEPTH + b"1" + b"}" * MAX_DEPTH, "nested deeper"),
        (b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1), "nested deeper"),
        (b"[" * 100_000 + b"]" * 100_000, "nested deeper"),
        (b'{"a":' * 100_000, "nested deeper|Expecting value"),
    ],
)
def test_what_has_no_one_meaning_is_refused(content: bytes, problem: str) -> None:
    with pytest.raises(JsonError, match=problem):
        loads(content)


def test_the_number_of_values_is_bounded() -> None:
    most = b"[" + b"0," * (MAX_VALUES - 1) + b"0]"
    assert len(loads(most)) == MAX_VALUES
    for value in (b"0", b"[]", b"{}"):
        with pytest.raises(JsonError, match="more than 262144 values"):
            loads(b"[" + value + b"," + most[1:])


def test_memory_is_bounded_by_the_document_not_by_what_it_asks_for() -> None:
    hostile = b'{"payload":[' + b"[]," * 5_000_000 + b"0]}"
    tracemalloc.start()
    try:
        with pytest.raises(JsonError):
            loads(hostile)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"])),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_what_python_writes_is_read_back(value: Any) -> None:
    assert loads(json.dumps(value).encode()) == value
    assert loads(json.dumps(value, ensure_ascii=False, indent=1).encode()) == value


@given(st.binary(max_size=200) | st.text('{}[],:"\\u0dD89aeE+-.1 \n', max_size=60).map(str.encode))
def test_any_bytes_are_a_value_or_an_error(content: bytes) -> None:
    try:
        value = loads(content)
    except JsonError:
        return
    # What was read has one meaning: written out and read again it is the same, by Python's own reader too.
    assert loads(json.dumps(value).encode()) == value == json.loads(content)


def test_an_object_or_an_empty_one() -> None:
    assert object_in(b'{"a": 1}') == {"a": 1}
    for content in (b"", b"[]", b"7", b"null", b"\xff", b'{"a": 1, "a": 2}'):
        assert object_in(content) == {}


@pytest.mark.parametrize("mark", [b",", b"[", b"{"])
def test_a_document_is_dense_by_its_values_and_its_size(mark: bytes) -> None:
    size = BYTES_A_VALUE * 10
    assert not is_dense((mark * (FREE_VALUES + 10)).ljust(size))
    assert is_dense((mark * (FREE_VALUES + 11)).ljust(size))
