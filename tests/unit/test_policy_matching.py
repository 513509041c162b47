"""Globs and identity patterns: whole texts or nothing, and no text that means something else than it seems."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slsa_verifier_plugin.policy.matching import Glob, IdentityPattern, PatternError

HOST = "git+https://github.com"


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        (f"{HOST}/a/b", f"{HOST}/a/b", True),
        (f"{HOST}/a/b", f"{HOST}/a/b/", False),
        (f"{HOST}/a/b", f"{HOST}/a/B", False),
        (f"{HOST}/a/b", f"x{HOST}/a/b", False),
        (f"{HOST}/a/../b", f"{HOST}/a/../b", True),
        (f"{HOST}/a/*", f"{HOST}/a/b", True),
        (f"{HOST}/a/*", f"{HOST}/a/b.c_d-e", True),
        (f"{HOST}/a/*", f"{HOST}/a/", False),
        (f"{HOST}/a/*", f"{HOST}/a/b/c", False),
        (f"{HOST}/a/*", f"{HOST}/ab/c", False),
        (f"{HOST}/a/**", f"{HOST}/a/b/c", True),
        (f"{HOST}/a/**", f"{HOST}/a/", False),
        (f"{HOST}/a/**/d", f"{HOST}/a/b/c/d", True),
        (f"{HOST}/*/b", f"{HOST}/a/b", True),
        (f"{HOST}/*/b", f"{HOST}/a/c/b", False),
        (f"{HOST}/a/b-*", f"{HOST}/a/b-", True),
        (f"{HOST}/a/b-*", f"{HOST}/a/b", False),
        ("git+https://*/a/b", "git+https://github.com/a/b", True),
        ("git+https://*/a/b", "git+https://evil.example/x/a/b", False),
        (f"{HOST}/**", f"{HOST}/a/../b", False),
        (f"{HOST}/**", f"{HOST}/a/./b", False),
        (f"{HOST}/**", f"{HOST}/../a/b", False),
        (f"{HOST}/**", f"{HOST}/a//b", False),
        (f"{HOST}/**", f"{HOST}/a/b/..", False),
        (f"{HOST}/**", f"{HOST}/a/b/", False),
        (f"{HOST}/**", f"{HOST}/a/b/.", False),
        (f"{HOST}/**", f"{HOST}/a%2fb", False),
        (f"{HOST}/**", f"{HOST}/a\\b", False),
        (f"{HOST}/**", f"{HOST}/a/b\n", False),
        (f"{HOST}/**", f"{HOST}/a\n/b", False),
        (f"{HOST}/**", f"{HOST}/...", True),
        (f"{HOST}/**", f"{HOST}/a/.git", True),
        ("git+https://github.com*", "git+https://github.com.evil.example", True),
        ("**", "anything/at-all", True),
        ("**", "../x", False),
        ("refs/heads/*", "refs/heads/main", True),
        ("refs/heads/*", "refs/heads/feature/x", False),
        ("refs/tags/v*", "refs/tags/v1.0.0", True),
        ("refs/tags/v*", "refs/tags/x1", False),
        ("refs/tags/v[0-9]*", "refs/tags/v1", False),
        ("refs/tags/v[0-9]*", "refs/tags/v[0-9]1", True),
        ("refs/x.y*", "refs/xzy", False),
        ("refs/x+*", "refs/xx", False),
        ("refs/(a|b)*", "refs/a", False),
    ],
)
def test_globs(pattern: str, text: str, matches: bool) -> None:
    assert Glob(pattern).matches(text) is matches


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("https://github\\.com/a/.*", "https://github.com/a/b", True),
        ("https://github\\.com/a", "https://github.com/a/b", False),
        ("github\\.com", "https://github.com/a", False),
        ("a|b", "b", True),
        ("a|b", "ab", False),
        ("(?i)ABC", "abc", True),
        ("a.*", "a\nb", False),
        ("(?s)a.*", "a\nb", False),
        ("^a$", "a", True),
        ("a$", "a\n", False),
        ("", "", True),
        ("\\pL+", "\u00e4\u00f6", True),
    ],
)
def test_identity_patterns_match_in_full(pattern: str, text: str, matches: bool) -> None:
    assert IdentityPattern(pattern).matches(text) is matches


@pytest.mark.parametrize("pattern", ["(", "a**", "(?=a)", "\\1", "[z-a]", "(a{999}){999}", "\\"])
def test_what_re2_does_not_compile_is_an_error(pattern: str) -> None:
    with pytest.raises(PatternError):
        IdentityPattern(pattern).check()


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|a)*b", "(.*)*x", "(a?){40}a{40}"])
def test_matching_takes_linear_time(pattern: str) -> None:
    started = time.monotonic()
    IdentityPattern(pattern).matches("a" * 20_000)
    Glob(f"refs/{'**a' * 30}").matches("refs/" + "a" * 20_000)
    assert time.monotonic() - started < 5


@given(st.text("ab*/.-_+[](){}^$|?\\", max_size=20), st.text("ab/.-_+[]()^$|?", max_size=20))
def test_a_glob_without_wildcards_is_equality_and_one_with_them_never_raises(pattern: str, text: str) -> None:
    matches = Glob(pattern).matches(text)
    if "*" not in pattern:
        assert matches is (pattern == text)
    if matches and "*" in pattern:
        prefix, _, _ = pattern.partition("*")
        _, _, suffix = pattern.rpartition("*")
        assert text.startswith(prefix)
        assert text.endswith(suffix)
        assert len(text) >= len(prefix) + len(suffix)
