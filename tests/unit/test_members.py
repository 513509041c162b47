"""Members of values of whatever shape: what is absent or of another type counts as empty."""

from __future__ import annotations

from typing import Any

import pytest

from slsa_verifier_plugin.members import at, folded, list_at, object_at, objects_at, text_at

VALUE = {"a": {"b": [{"c": "text"}, 5]}, "n": None}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ((), VALUE),
        (("a", "b", 0, "c"), "text"),
        (("a", "b", 1), 5),
        (("a", "b", 2), None),
        (("a", "b", "0"), None),
        (("a", "b", 1, "c"), None),
        (("n", "c"), None),
        (("missing",), None),
    ],
)
def test_what_stands_at_a_path(path: tuple[str | int, ...], found: Any) -> None:
    assert at(VALUE, *path) == found


def test_what_is_of_another_type_counts_as_empty() -> None:
    assert object_at(VALUE, "a") == VALUE["a"]
    assert object_at(VALUE, "a", "b") == {}
    assert list_at(VALUE, "a", "b") == [{"c": "text"}, 5]
    assert list_at(VALUE, "a") == []
    assert objects_at(VALUE, "a", "b") == [{"c": "text"}]
    assert objects_at(VALUE, "n") == []
    assert text_at(VALUE, "a", "b", 0, "c") == "text"
    assert text_at(VALUE, "a", "b", 1) == ""


@pytest.mark.parametrize("value", [None, 5, "text", [], True])
def test_what_is_no_object_has_no_members(value: object) -> None:
    assert at(value, "a") is None
    assert object_at(value, "a") == {}


def test_names_are_matched_as_go_matches_them() -> None:
    assert folded({"useHttp": 1, "USEHTTP": 2}, "useHttp") == 1
    assert folded({"usehttp": 1, "USEHTTP": 2}, "useHttp") == 2
    assert folded({"use": 1}, "useHttp") is None
    assert folded({"useHttp": None, "usehttp": 1}, "useHttp") is None
