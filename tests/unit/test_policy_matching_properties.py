"""Properties of patterns, over texts that try to get round them."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from hypothesis import given
from hypothesis import strategies as st

from slsa_verifier_plugin.model.source_uri import SourceUri
from slsa_verifier_plugin.policy.matching import (
    IdentityPattern,
    RefPattern,
    UriPattern,
    escaped,
)

_SYNTAX = "ab.corp/@#?:%\\*+~_-&!\x00\x1f\x7f\u0130\u212a\uff0e\uff0f\u2024 "
_TEXTS = st.text(_SYNTAX, max_size=24) | st.text(max_size=12)


@given(_TEXTS)
def test_an_escaped_text_matches_itself_alone(text: str) -> None:
    for kind in (UriPattern, RefPattern):
        assert kind(escaped(text)).matches(text)
        assert not kind(escaped(text)).matches(text + "x")
    assert not UriPattern(escaped(text)).has_wildcard


@given(_TEXTS, _TEXTS)
def test_a_pattern_without_wildcards_is_equality(pattern: str, text: str) -> None:
    if "*" not in pattern:
        assert RefPattern(pattern).matches(text) is (pattern == text)
        if UriPattern(pattern).matches(text):
            assert pattern.lower() == text.lower()


_NAME = re.compile(r"[A-Za-z0-9_-]+\.corp\.example", re.ASCII)


@given(_TEXTS, _TEXTS)
def test_what_a_host_wildcard_matches_is_a_host_below_the_named_one(label: str, path: str) -> None:
    """However the text is written: a parser that the pattern knows nothing of finds the host that the pattern names."""
    for text in (
        f"git+https://{label}.corp.example/x",
        f"git+https://{label}.corp.example/{path}",
        label,
        path,
    ):
        for pattern in ("git+https://*.corp.example/x", "git+https://*.corp.example/**"):
            if not UriPattern(pattern).matches(text):
                continue
            parts = urlsplit(text)
            assert _NAME.fullmatch(parts.netloc)
            assert not parts.query
            assert not parts.fragment
            assert text.isascii()
            source = SourceUri.parse(text.replace("_", "-").replace("~", "-"))
            assert source is None or source.host.endswith(".corp.example")


@given(_TEXTS, _TEXTS)
def test_what_a_path_wildcard_matches_is_one_repository_of_the_named_owner(name: str, ref: str) -> None:
    for text in (
        f"git+https://git.example/owner/{name}",
        f"git+https://git.example/owner/{name}@{ref}",
        name,
    ):
        if UriPattern("git+https://git.example/owner/*").matches(text):
            parts = urlsplit(text)
            assert parts.netloc == "git.example"
            assert re.fullmatch(r"/owner/[A-Za-z0-9._~-]+", parts.path, re.ASCII)
            assert not parts.query
            assert not parts.fragment
        if UriPattern("git+https://git.example/**/app").matches(text):
            assert "@" not in text


@given(_TEXTS)
def test_what_a_ref_wildcard_matches_is_one_part(name: str) -> None:
    if RefPattern("refs/heads/*").matches(f"refs/heads/{name}"):
        assert "/" not in name
        assert not set(name) & set(" ~^:?*[\\\x00\x1f\x7f")


@given(_TEXTS)
def test_what_an_identity_pattern_matches_has_one_authority(text: str) -> None:
    identity = f"https://{text}.corp.example/x"
    if IdentityPattern("https://.*\\.corp\\.example/x").matches(identity):
        netloc = urlsplit(identity).netloc
        assert not set(netloc) & set("@#?\\%")
