"""``WWW-Authenticate`` parsing: forms seen in the wild, and text that is anything at all."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slsa_verifier_plugin.registry import limits
from slsa_verifier_plugin.registry.auth.challenge import Challenge, parse_challenges

BEARER = {"realm": "https://auth.example/token", "service": "registry.example"}


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", []),
        (" , ,", []),
        ("Basic", [("basic", {})]),
        ('Basic realm="a, b"', [("basic", {"realm": "a, b"})]),
        (
            'Bearer realm="https://auth.example/token",service="registry.example"',
            [("bearer", BEARER)],
        ),
        (
            'bearer  REALM = "https://auth.example/token" ,\tservice=registry.example,',
            [("bearer", BEARER)],
        ),
        (
            "Bearer realm=https://auth.example/token,service=registry.example",
            [("bearer", BEARER)],
        ),
        (
            'Bearer realm="https://auth.example/token" service="registry.example"',
            [("bearer", BEARER)],
        ),
        (
            'Basic realm="x", Bearer realm="https://auth.example/token",service="registry.example"',
            [("basic", {"realm": "x"}), ("bearer", BEARER)],
        ),
        ('Negotiate, Basic realm="x"', [("negotiate", {}), ("basic", {"realm": "x"})]),
        ('NTLM TlRMTVNTUAAB==, Basic realm="x"', [("ntlm", {}), ("basic", {"realm": "x"})]),
        (r'Basic realm="say \"hi\""', [("basic", {"realm": 'say "hi"'})]),
        ('Basic realm="first", realm="second"', [("basic", {"realm": "first"})]),
        (
            'Bearer error="invalid_token",scope="a b"',
            [("bearer", {"error": "invalid_token", "scope": "a b"})],
        ),
        ('"', []),
        ('Bearer realm="no end', [("bearer", {"realm": ""})]),
    ],
)
def test_common_forms(header: str, expected: list[tuple[str, dict[str, str]]]) -> None:
    assert [(item.scheme, dict(item.parameters)) for item in parse_challenges(header)] == expected


TOKENS = st.text(alphabet="abcdefghijklmnopqrstuvwxyz-_.0123456789", min_size=1, max_size=12)
VALUES = st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), max_size=30)


@given(
    st.lists(
        st.tuples(TOKENS, st.dictionaries(TOKENS, VALUES, min_size=1, max_size=4)), min_size=1, max_size=5
    )
)
def test_what_is_written_by_the_rules_is_read_back(challenges: list[tuple[str, dict[str, str]]]) -> None:
    header = ", ".join(
        scheme + " " + ", ".join(f'{name}="{_escaped(value)}"' for name, value in parameters.items())
        for scheme, parameters in challenges
    )
    read = parse_challenges(header)
    assert [(item.scheme, dict(item.parameters)) for item in read] == challenges


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')


@given(st.text(max_size=300))
def test_any_text_is_read_to_an_end_and_takes_nothing_away_from_what_comes_before(header: str) -> None:
    found = parse_challenges(f'Basic realm="x", {header}')
    assert (found[0].scheme, found[0].get("realm")) == ("basic", "x")
    assert len(found) <= limits.MAX_CHALLENGES
    assert all(item.scheme and item.scheme == item.scheme.lower() for item in found)


@pytest.mark.parametrize("piece", ['"', "\\", "a=", "a ", ",", '="', "a,", 'a="\\'])
def test_long_headers_take_no_time(piece: str) -> None:
    # The processor's time: beside other work, wall time says nothing of an input.
    begin = time.thread_time()
    found = parse_challenges("Bearer " + piece * 500_000)
    assert time.thread_time() - begin < 0.5
    assert len(found) <= limits.MAX_CHALLENGES


def test_an_absent_parameter_is_empty() -> None:
    assert Challenge("bearer", {"realm": "x"}).get("service") == ""
