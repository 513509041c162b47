"""Who is whom: exact identities, patterns, keys, and commits after an at sign."""

from __future__ import annotations

import re
from datetime import date
from typing import Any

import pytest

from slsa_verifier_plugin.model.signer import GITHUB_ISSUER, Signer
from slsa_verifier_plugin.policy.matching import PatternError
from slsa_verifier_plugin.policy.releases import known_releases
from slsa_verifier_plugin.policy.trusted import (
    BUILT_IN_VERIFIERS,
    CURRENT_VERIFIER_ID,
    DEFAULT_VERIFIER_IDS,
    EARLIER_VERIFIER_ID,
    FIRST_VERIFIER_ID,
    TrustedSigner,
)
from tests.support.policies import signer
from tests.support.sigstore import github_source_actions, slsa_framework_actions

WORKFLOW = "https://github.com/slsa-framework/actions/.github/workflows/compute_slsa_source.yml"
COMMIT = "ab" * 20


def trusted(**entry: Any) -> TrustedSigner:
    return TrustedSigner.parse({"verifierId": "v", "issuer": GITHUB_ISSUER, **entry}, "verifierId")


def is_signer(entry: TrustedSigner, identity: str, issuer: str = GITHUB_ISSUER) -> bool:
    return entry.is_signer(Signer(identity, issuer), {})


def test_an_exact_identity() -> None:
    entry = trusted(identity=f"{WORKFLOW}@refs/heads/main")
    assert is_signer(entry, f"{WORKFLOW}@refs/heads/main")
    for other in (
        f"{WORKFLOW}@refs/heads/main2",
        f"{WORKFLOW}@refs/heads/Main",
        WORKFLOW,
        "",
        f"x{WORKFLOW}@refs/heads/main",
    ):
        assert not is_signer(entry, other)
    for issuer in ("", f"{GITHUB_ISSUER}/", "https://accounts.google.com"):
        assert not is_signer(entry, f"{WORKFLOW}@refs/heads/main", issuer)


def test_a_pattern_matches_in_full() -> None:
    entry = trusted(identityPattern="https://github\\.com/slsa-framework/.*@refs/tags/v[0-9.]+")
    assert is_signer(entry, f"{WORKFLOW}@refs/tags/v1.0")
    assert not is_signer(entry, f"{WORKFLOW}@refs/tags/v1.0-rc")
    assert not is_signer(entry, f"https://evil.example/?{WORKFLOW}@refs/tags/v1.0")
    assert not is_signer(entry, f"{WORKFLOW}@refs/tags/v1.0", "")
    assert not is_signer(entry, "")


@pytest.mark.parametrize("commit", [COMMIT, "cd" * 32, COMMIT.upper(), "aB" * 32])
def test_no_pattern_admits_a_bare_commit_by_itself(commit: str) -> None:
    assert not is_signer(trusted(identityPattern=".*"), f"{WORKFLOW}@{commit}")
    assert is_signer(trusted(identityPattern=".*"), f"{WORKFLOW}@refs/heads/{commit}")
    assert is_signer(trusted(identityPattern=".*"), f"{WORKFLOW}@{commit[:-1]}")


def test_a_listed_commit_is_accepted_for_its_workflow_alone() -> None:
    entry = trusted(identity=f"{WORKFLOW}@refs/heads/main", allowedWorkflowDigests=[COMMIT])
    assert is_signer(entry, f"{WORKFLOW}@{COMMIT}")
    assert is_signer(entry, f"{WORKFLOW}@refs/heads/main")
    assert not is_signer(entry, f"{WORKFLOW}@{'cd' * 20}")
    assert not is_signer(entry, f"{WORKFLOW}@{COMMIT.upper()}")
    assert not is_signer(entry, f"https://github.com/slsa-framework/other/.github/workflows/x.yml@{COMMIT}")
    assert not is_signer(entry, f"{WORKFLOW}@{COMMIT}", "https://accounts.google.com")
    assert not is_signer(entry, f"@{COMMIT}")
    assert not is_signer(entry, f"{WORKFLOW}@refs/heads/x@{COMMIT}")
    assert not is_signer(trusted(identity=f"{WORKFLOW}@refs/heads/main"), f"{WORKFLOW}@{COMMIT}")


def test_a_listed_commit_must_match_the_pattern_too() -> None:
    entry = trusted(identityPattern=r"https://github\.com/slsa-framework/.*", allowedWorkflowDigests=[COMMIT])
    assert is_signer(entry, f"{WORKFLOW}@{COMMIT}")
    assert not is_signer(entry, f"https://github.com/other/x@{COMMIT}")
    # A branch that is called x@COMMIT is no commit.
    assert not is_signer(entry, f"{WORKFLOW}@refs/heads/x@{COMMIT}")
    assert not is_signer(entry, f"{WORKFLOW}@{'cd' * 20}")


def test_an_exact_identity_may_itself_end_with_a_commit() -> None:
    assert is_signer(trusted(identity=f"{WORKFLOW}@{COMMIT}"), f"{WORKFLOW}@{COMMIT}")
    assert not is_signer(trusted(identity=f"{WORKFLOW}@{COMMIT}"), f"{WORKFLOW}@{'cd' * 20}")


def test_a_key_is_known_by_its_identity_and_has_no_issuer() -> None:
    entry = TrustedSigner.parse({"verifierId": "v", "publicKey": "/k.pem"}, "verifierId")
    identities = {"/k.pem": "key:aa", "/other.pem": "key:bb"}
    assert entry.is_signer(Signer("key:aa", ""), identities)
    assert not entry.is_signer(Signer("key:bb", ""), identities)
    assert not entry.is_signer(Signer("key:aa", GITHUB_ISSUER), identities)
    assert not entry.is_signer(Signer("key:aa", ""), {})
    assert not entry.is_signer(Signer("", ""), {"/k.pem": "key:aa"})
    assert not trusted(identity="key:aa").is_signer(Signer("key:aa", ""), identities)


@pytest.mark.parametrize("pattern", ["(", "(?=x)"])
def test_a_pattern_that_does_not_compile_is_an_error(pattern: str) -> None:
    with pytest.raises(PatternError):
        trusted(identityPattern=pattern)


def test_a_signer_as_messages_name_it() -> None:
    assert trusted(identity="i").shown() == f"i (issuer {GITHUB_ISSUER})"
    assert trusted(identityPattern="p.*").shown() == f"identities like p.* (issuer {GITHUB_ISSUER})"
    pem = "-----BEGIN PUBLIC KEY-----\nabc"
    assert "abc" not in TrustedSigner.parse({"verifierId": "v", "publicKey": pem}, "verifierId").shown()


CURRENT = {entry.id: entry for entry in BUILT_IN_VERIFIERS if entry.is_current_workflow}
EARLIER = {entry.id: entry for entry in BUILT_IN_VERIFIERS if not entry.is_current_workflow}


def test_the_built_in_table_has_the_known_verifiers() -> None:
    assert list(CURRENT) == [CURRENT_VERIFIER_ID, EARLIER_VERIFIER_ID]
    assert list(EARLIER) == [EARLIER_VERIFIER_ID, FIRST_VERIFIER_ID]
    assert DEFAULT_VERIFIER_IDS == (CURRENT_VERIFIER_ID, EARLIER_VERIFIER_ID)
    assert all(entry.issuer == GITHUB_ISSUER and entry.is_built_in for entry in BUILT_IN_VERIFIERS)
    assert not any(entry.workflow_digests for entry in EARLIER.values())
    assert all(entry.workflow_digests == known_releases().commits for entry in CURRENT.values())
    assert not trusted(identity="i").is_built_in


def test_what_is_known_of_releases_is_well_formed() -> None:
    known = known_releases()
    assert known.repository == CURRENT_VERIFIER_ID
    assert known.as_of >= date(2026, 11, 28)
    assert "dea965cdca5e0cb422bf7b2653c9d15f678ad01c" in known.commits
    versions = [item.version for item in known.releases]
    assert len(set(versions)) == len(versions) == len(known.commits)
    for item in known.releases:
        assert re.fullmatch(r"v[0-9]+\.[0-9]+\.[0-9]+", item.version)
        assert re.fullmatch(r"[0-9a-f]{40}", item.commit)
        assert len(item.learnt) > 10


@pytest.mark.parametrize(
    ("tag", "trusted_"),
    [
        ("v1.0.0", True),
        ("v12.34.56", True),
        ("v1.0", False),
        ("v1.0.0-rc1", False),
        ("v1.0.0.0", False),
        ("1.0.0", False),
        ("refs/heads/main", False),
        ("refs/heads/v1.0.0", False),
        (COMMIT, False),
        ("dea965cdca5e0cb422bf7b2653c9d15f678ad01c", True),
        ("DEA965CDCA5E0CB422BF7B2653C9D15F678AD01C", False),
        ("refs/heads/x@dea965cdca5e0cb422bf7b2653c9d15f678ad01c", False),
        ("v1.0.0\n", False),
        ("v\u0661.0.0", False),
    ],
)
def test_slsa_framework_actions_signs_from_its_release_tags_alone(tag: str, trusted_: bool) -> None:
    entry = CURRENT[CURRENT_VERIFIER_ID]
    assert entry.is_signer(signer(slsa_framework_actions(tag)), {}) is trusted_


def test_source_actions_signs_from_main_alone() -> None:
    entry = EARLIER[EARLIER_VERIFIER_ID]
    named = signer(github_source_actions())
    assert entry.is_signer(named, {})
    assert not entry.is_signer(Signer(named.identity.replace("main", "dev"), named.issuer), {})
    assert not entry.is_signer(Signer(named.identity.rpartition("@")[0] + f"@{COMMIT}", named.issuer), {})


def test_an_unlisted_commit_is_told_where_it_alone_keeps_a_signer_out() -> None:
    by_pattern = trusted(identityPattern=re.escape(WORKFLOW) + "@[0-9a-f]{40}")
    by_branch = trusted(identity=f"{WORKFLOW}@refs/heads/main")
    pinned = Signer(f"{WORKFLOW}@{COMMIT}", GITHUB_ISSUER)
    for entry in (by_pattern, by_branch):
        assert entry.unlisted_commit(pinned) == COMMIT
        assert entry.unlisted_commit(Signer(pinned.identity, "https://other.example")) == ""
        assert entry.unlisted_commit(Signer(f"x{pinned.identity}", GITHUB_ISSUER)) == ""
        assert entry.unlisted_commit(Signer(f"{WORKFLOW}@refs/heads/main", GITHUB_ISSUER)) == ""
        assert entry.unlisted_commit(Signer(f"{WORKFLOW}@{COMMIT.upper()}", GITHUB_ISSUER)) == ""
    listed = trusted(identity=f"{WORKFLOW}@refs/heads/main", allowedWorkflowDigests=[COMMIT])
    assert listed.is_signer(pinned, {})
    assert listed.unlisted_commit(pinned) == ""
    keyed = TrustedSigner("v", public_key="pem")
    assert keyed.unlisted_commit(Signer(pinned.identity, "")) == ""
