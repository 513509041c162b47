"""What denials say to do: near misses are named, other repositories and levels are not."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slsa_verifier_plugin.model.signer import Signer
from slsa_verifier_plugin.policy.hints import (
    CASE,
    differences_of,
    full_ref,
    near_level,
    near_levels,
    near_ref,
    near_repository,
    near_signer,
    near_text,
    near_type,
    near_uri,
)
from slsa_verifier_plugin.policy.trusted import TrustedSigner

URI = "git+https://git.example/Owner/App"


@pytest.mark.parametrize(
    ("expected", "found", "differences"),
    [
        (f"{URI}.git", URI, ("the .git at the end",)),
        (URI.removeprefix("git+"), URI, ("the git+ at the start",)),
        (URI.lower(), URI, (CASE,)),
        (f"{URI}/", URI, ("the slash at the end",)),
        (URI.replace("https", "http"), URI, ("the scheme (http and https)",)),
        ("git@git.example:Owner/App.git", URI, ("the git+ at the start", "the scheme (ssh and https)", "the .git at the end")),
        ("ssh://git@git.example/Owner/App", URI, ("the git+ at the start", "the scheme (ssh and https)")),
        ("git.example/Owner/App", URI, ("the git+ at the start", "the scheme (none and https)")),
        ("git+https://git.example/owner/app.git/", URI, (CASE, "the .git at the end", "the slash at the end")),
        ("https://git.example/Owner/*", URI, ("the git+ at the start",)),
        ("git+https://git.example/owner/*", URI, (CASE,)),
        ("git+https://GIT.example/Owner/App", URI, ()),
        ("git+https://github.com/OWNER/App.git", "git+https://github.com/owner/app", ("the .git at the end",)),
        (URI, URI, ()),
        (f"{URI}2", URI, ()),
        ("https://git.example.evil/Owner/App", URI, ()),
        ("git+https://git.example/Other/App", URI, ()),
        (f"{URI}@refs/heads/main", URI, ("the @ and the ref at the end, which expectedSourceRefs is for",)),
        (f"{URI}@refs/heads/main", f"{URI}@refs/heads/dev", ()),
        (f"{URI}.git@refs/heads/main", f"{URI}@refs/heads/main", ("the .git at the end",)),
        ("", URI, ()),
        ("**", URI, ()),
    ],
)  # fmt: skip
def test_what_alone_differs(expected: str, found: str, differences: tuple[str, ...]) -> None:
    assert differences_of(expected, found) == differences


def test_the_first_expected_uri_that_is_a_near_miss_is_named() -> None:
    said = near_uri(["git+https://git.example/other", f"{URI}.git"], URI)
    assert said == f" (it differs from {URI}.git only in the .git at the end; write it as the summary has it)"
    assert near_uri(["git+https://git.example/other"], URI) == ""


def test_what_makes_no_difference_between_repositories_is_not_named() -> None:
    assert near_repository("https://git.example/Owner/App", f"{URI}.git") == ""
    assert near_repository("https://git.example/owner/App", f"{URI}.git").endswith(f"only in {CASE})")
    assert "scheme (http and https)" in near_repository("http://git.example/Owner/App", URI)
    assert near_repository(None, URI) == ""


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("TAG_HYGEINE", "TAG_HYGIENE"),
        ("tag_hygiene", "TAG_HYGIENE"),
        ("SLSA_SORUCE_LEVEL_2", "SLSA_SOURCE_LEVEL_2"),
        ("slsa_source_level_3", "SLSA_SOURCE_LEVEL_3"),
        ("SLSA_SOURCE_TWO_PARTY_REVIEW", "SLSA_SOURCE_TWO_PARTY_REVIEWED"),
        ("TWO_PARTY_REVIEW", "SLSA_SOURCE_SCS_TWO_PARTY_REVIEW"),
        ("PROVENANCE", "SLSA_SOURCE_SCS_PROVENANCE"),
        ("TAG_HYGIENE", ""),
        ("SLSA_SOURCE_LEVEL_3", ""),
        ("ORG_SOURCE_TESTED", ""),
        ("X", ""),
    ],
)
def test_misspelt_levels(name: str, near: str) -> None:
    assert near_level(name) == near
    assert (
        (near in near_levels(["SLSA_SOURCE_LEVEL_3", name], []))
        if near
        else (near_levels([name], ["X2"]) == "")
    )


def test_other_letters_are_named() -> None:
    assert "from Org_X only in the case" in near_levels(["Org_X"], ["SLSA_SOURCE_LEVEL_1", "ORG_X"])
    assert "from refs/heads/Rel/* only in the case" in near_text(["refs/heads/Rel/*"], ["refs/heads/rel/1"])
    assert near_text(["refs/heads/Rel/*"], ["refs/heads/other/1", "refs/tags/rel/1"]) == ""
    assert near_text([], ["x"]) == near_text(["x"], []) == ""


@given(st.text("aAb./:@+gith*\\%#", max_size=30), st.text("aAb./:@+gith%#", max_size=30))
def test_a_difference_is_found_both_ways_and_never_fails(one: str, other: str) -> None:
    assert differences_of(one, one) == ()
    if "*" not in one and len(differences_of(one, other)) == 1 and CASE not in differences_of(one, other):
        assert len(differences_of(other, one)) == 1


def test_hints_take_linear_time() -> None:
    started = time.process_time()
    for text in ("/" * 200_000, "git@" * 50_000, "x://" + ".git/" * 40_000):
        differences_of(URI, text)
        differences_of(text, URI)
    assert time.process_time() - started < 5


def test_a_ref_that_is_no_ones_is_told() -> None:
    assert "is refs/heads/ meant?" in near_ref(["refs/head/main"], ["refs/heads/main"])
    assert "is refs/tags/ meant?" in near_ref(["refs/heads/main", "refs/tag/v*"], ["refs/tags/v1"])
    assert "only in the case" in near_ref(["refs/heads/Main"], ["refs/heads/main"])
    for expected in (
        "refs/heads/dev",
        "refs/pull/1/merge",
        "refs/head",
        "refs/tags/**",
        "x" * 4096 + "/a/b",
    ):
        assert near_ref([expected], ["refs/heads/main"]) == ""


@pytest.mark.parametrize(
    ("expected", "part"),
    [
        ("git+https://www.github.com/owner/app", "the www."),
        ("git+https://github.com:443/owner/app", "the port"),
        ("git+https://github.com/owner/app/tree/main/x", "the path"),
        ("git+https://github.com/owner/app/blob/main/README.md", "the path"),
    ],
)
def test_what_is_copied_along_with_a_name_is_told(expected: str, part: str) -> None:
    found = "git+https://github.com/owner/app"
    assert differences_of(expected, found) == (f"{part} that is not the repository's",)
    assert differences_of(expected, f"{found}-other") == ()
    assert near_repository(expected, found) == ""


@pytest.mark.parametrize(
    "expected",
    [
        "git+https://www.git.example/owner/app",
        "git+https://github.com:8443/owner/app",
        "git+https://git.example/owner/app/tree/main",
        "git+https://github.com/owner/app/releases",
    ],
)
def test_another_host_port_or_path_is_another(expected: str) -> None:
    for found in ("git+https://github.com/owner/app", "git+https://git.example/owner/app"):
        assert differences_of(expected, found) == ()


def test_a_level_above_the_highest_is_not_blamed_on_protection() -> None:
    assert "ends with SLSA_SOURCE_LEVEL_4" in near_levels(["SLSA_SOURCE_LEVEL_5"], ["SLSA_SOURCE_LEVEL_3"])
    assert near_levels(["SLSA_SOURCE_LEVEL_4"], ["SLSA_SOURCE_LEVEL_3"]) == ""
    # Of a summary that is not about the source alone nothing is known.
    assert near_levels(["SLSA_SOURCE_LEVEL_5"], ["SLSA_SOURCE_LEVEL_3", "SLSA_BUILD_LEVEL_3"]) == ""


@pytest.mark.parametrize(
    ("name", "ref"),
    [
        ("main", "refs/heads/main"),
        ("heads/main", "refs/heads/main"),
        ("origin/main", "refs/heads/main"),
        ("ref/heads/main", "refs/heads/main"),
        ("REFS/HEADS/main", "refs/heads/main"),
        ("^refs/heads/main$", "refs/heads/main"),
        ("v1.2.3", "refs/tags/v1.2.3"),
        ("tag/v1", "refs/tags/v1"),
        ("feature/x", "refs/heads/feature/x"),
    ],
)
def test_a_short_ref_is_completed(name: str, ref: str) -> None:
    assert full_ref(name) == ref


def test_a_repository_without_its_host_is_told() -> None:
    found = "git+https://github.com/Owner/App"
    assert near_uri(["owner/app"], found) == " (owner/app has no host; write it as the summary has it)"
    for other in ("owner/ap", "other/app", "app", "owner/app@x", "/"):
        assert near_uri([other], found) == ""


ISSUER = "https://token.actions.githubusercontent.com"
WORKFLOW = "https://github.com/o/r/.github/workflows/x.yml@refs/heads/main"


@pytest.mark.parametrize(
    ("issuer", "identity", "expected"),
    [
        (f"{ISSUER}/", WORKFLOW, "is not written as the certificate has it"),
        (ISSUER.replace("https", "http"), WORKFLOW, "is not written as the certificate has it"),
        (ISSUER, WORKFLOW.replace("https", "http"), "only in the scheme or a slash"),
        (ISSUER, WORKFLOW.upper().replace("HTTPS", "https"), "only in the case of letters"),
        (ISSUER, "https://github.com/o/.*", "reads like a regular expression; identityPattern takes one"),
        # Others are somebody else.
        (ISSUER, "https://github.com/p/.*", ""),
        (f"{ISSUER}.evil", WORKFLOW, ""),
        (f"{ISSUER}/", WORKFLOW.replace("/r/", "/s/"), ""),
        (ISSUER, "(((*", ""),
    ],
)
def test_a_signer_that_is_only_written_otherwise_is_told(issuer: str, identity: str, expected: str) -> None:
    said = near_signer([TrustedSigner("v", issuer, identity)], Signer(WORKFLOW, ISSUER))
    assert expected in said
    assert bool(said) == bool(expected)


def test_an_artifact_type_that_is_nearly_expected_is_told() -> None:
    assert (
        near_type(["slsa/attestation"], ["slsla/attestation", "application/spdx+json"]) == "slsla/attestation"
    )
    assert near_type(["SLSLA/attestation"], ["slsla/attestation"]) == "slsla/attestation"
    assert near_type(["slsla/attestation"], ["slsla/attestation", "application/spdx+json"]) == ""
