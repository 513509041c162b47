"""Wildcards match names and no syntax, whole texts or nothing, and no text that means something else than it seems."""

from __future__ import annotations

import time

import pytest

from slsa_verifier_plugin.policy.matching import (
    IdentityPattern,
    PatternError,
    RefPattern,
    UriPattern,
)

HOST = "git+https://git.example"
CORP = "git+https://*.corp.example/x"


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        (f"{HOST}/a/b", f"{HOST}/a/b", True),
        (f"{HOST}/a/b", f"{HOST}/a/b/", False),
        (f"{HOST}/a/b", f"{HOST}/a/B", False),
        (f"{HOST}/a/b", f"x{HOST}/a/b", False),
        (f"{HOST}/a/../b", f"{HOST}/a/../b", True),
        (f"{HOST}/a/*", f"{HOST}/a/b", True),
        (f"{HOST}/a/*", f"{HOST}/a/b.c_d-e~f", True),
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
        ("git+https://*/a/b", "git+https://host/a/b", True),
        ("git+https://*/a/b", "git+https://git.example/a/b", False),
        ("git+https://**/a/b", "git+https://git.example/a/b", True),
        ("git+https://**/a/b", "git+https://evil.example/x/a/b", False),
        ("git+https://**/**", "git+https://git.example/a/b", True),
        ("git+https://**", "git+https://git.example/a/b", False),
        (f"{HOST}/**", f"{HOST}/a/../b", False),
        (f"{HOST}/**", f"{HOST}/a/./b", False),
        (f"{HOST}/**", f"{HOST}/../a/b", False),
        (f"{HOST}/**", f"{HOST}/a//b", False),
        (f"{HOST}/**", f"{HOST}/a/b/..", False),
        (f"{HOST}/*@*", f"{HOST}/..@v1", False),
        (f"{HOST}/**", f"{HOST}/a/b/", False),
        (f"{HOST}/**", f"{HOST}/a/b/.", False),
        (f"{HOST}/**", f"{HOST}/a%2fb", False),
        (f"{HOST}/**", f"{HOST}/a\\b", False),
        (f"{HOST}/**", f"{HOST}/a/b\n", False),
        (f"{HOST}/**", f"{HOST}/a\n/b", False),
        (f"{HOST}/**", f"{HOST}/...", True),
        (f"{HOST}/**", f"{HOST}/a/.git", True),
        ("git+https://git.example*", "git+https://git.example.evil.example", False),
        ("git+https://git.example*/a", "git+https://git.example.evil.example/a", False),
        ("git+https://git.example*/a", "git+https://git.example.evil/a", False),
        ("git+https://git.example*/a", "git+https://git.example-x/a", True),
        ("*://git.example/a", "https://git.example/a", False),
        ("git+http*://git.example/a", "git+https://git.example/a", False),
        ("**", "anything/at-all", True),
        ("**", "../x", False),
        ("**", f"{HOST}/a/b", True),
        ("**", f"{HOST}/a/b@refs/heads/main", True),
        ("**", f"{HOST}/a/b#c", False),
        ("**", "git+https://user@git.example/a", False),
        ("****", f"{HOST}/a/b", False),
        ("**/b", f"{HOST}/a/b", False),
        ("**/b", "a/c/b", True),
        ("**/b", "a/c", False),
        ("**/b", "a/../b", False),
        ("**/b", "a//b", False),
        ("*/x", "a/x", True),
        ("*/x", "../x", False),
        ("pkg:oci/*", "pkg:oci/app", True),
        ("pkg:oci/*", "pkg:oci/app?tag=x", False),
        # The characters of a host's labels, and what is around it.
        (CORP, "git+https://git.corp.example/x", True),
        (CORP, "git+https://GIT.Corp.example/x", True),
        (CORP, "git+https://a.b.corp.example/x", False),
        (CORP, "git+https://.corp.example/x", False),
        (CORP, "git+https://a..corp.example/x", False),
        (CORP, "git+https://git.corp.example/X", False),
        (CORP, "git+https://git.corp.example:8443/x", False),
        ("git+https://*.corp.example:*/x", "git+https://git.corp.example:8443/x", True),
        (CORP, "git+https://evil.example#.corp.example/x", False),
        (CORP, "git+https://evil.example?.corp.example/x", False),
        (CORP, "git+https://evil.example:1@a.corp.example/x", False),
        (CORP, "git+https://evil.example@a.corp.example/x", False),
        (CORP, "git+https://evil.example\\.corp.example/x", False),
        (CORP, "git+https://evil.example%2f.corp.example/x", False),
        (CORP, "git+https://evil.example%00.corp.example/x", False),
        (CORP, "git+https://evil\uff0eexample\uff0fa.corp.example/x", False),
        (CORP, "git+https://evil\u2024a.corp.example/x", False),
        (CORP, "git+https://g\u0131t.corp.example/x", False),
        (CORP, "git+https://evil\x00.corp.example/x", False),
        (CORP, "git+https://evil.corp.example/x\x7f", False),
        (CORP, "git+https://evil example.corp.example/x", False),
        (CORP, "git+https://[::1].corp.example/x", False),
        (CORP, "git+https://evil:.corp.example/x", False),
        (CORP, "git+https://evil$.corp.example/x", False),
        ("git+https://**.corp.example/x", "git+https://a.b.corp.example/x", True),
        ("git+https://**.corp.example/x", "git+https://evil.example/y.corp.example/x", False),
        (f"{HOST}/a/*", f"{HOST}/a/b?x=1", False),
        (f"{HOST}/a/*", f"{HOST}/a/b#c", False),
        (f"{HOST}/a/*", f"{HOST}/a/b+c", False),
        (f"{HOST}/a+b/*", f"{HOST}/a+b/c", True),
        (f"{HOST}/a/*", f"{HOST}/a/\uff42", False),
        # Refs behind the repository.
        (f"{HOST}/a/*@refs/heads/main", f"{HOST}/a/b@refs/heads/main", True),
        (f"{HOST}/a/b@refs/tags/v*", f"{HOST}/a/b@refs/tags/v1.2", True),
        (f"{HOST}/a/b@refs/tags/v*", f"{HOST}/a/b@refs/heads/v1", False),
        (f"{HOST}/a/**", f"{HOST}/a/b@refs/heads/main", True),
        (f"{HOST}/a/*", f"{HOST}/a/b@v1", False),
        (f"{HOST}/*/trusted", f"{HOST}/evil@x/trusted", False),
        (f"{HOST}/**/trusted", f"{HOST}/evil/app@x/trusted", False),
        (f"{HOST}/**@refs/heads/main", f"{HOST}/evil/app@x@refs/heads/main", False),
        # Escaped wildcards are themselves.
        (f"{HOST}/a\\*", f"{HOST}/a*", True),
        (f"{HOST}/a\\*", f"{HOST}/ab", False),
        (f"{HOST}/a\\*", f"{HOST}/a\\*", False),
        (f"{HOST}/a\\*/*", f"{HOST}/a*/b", True),
        (f"{HOST}/a\\*/*", f"{HOST}/ax/b", False),
        (f"{HOST}/*", f"{HOST}/*", False),
    ],
)
def test_uri_patterns(pattern: str, text: str, matches: bool) -> None:
    assert UriPattern(pattern).matches(text) is matches


@pytest.mark.parametrize(
    ("host", "ignores"),
    [
        ("github.com", True),
        ("tenant.ghe.com", True),
        ("gitlab.com", True),
        ("git.example", False),
        ("github.com:443", False),
    ],
)
def test_owners_and_repositories_compare_without_case_where_the_host_does(host: str, ignores: bool) -> None:
    for pattern in ("Owner/App", "Owner/*", "*/App", "Owner/App@refs/heads/main", "*/App@refs/heads/*"):
        ref = "@refs/heads/main" if "@" in pattern else ""
        text = f"git+https://{host}/oWner/aPP{ref}"
        assert UriPattern(f"git+https://{host}/{pattern}").matches(text) is (ignores or pattern == "*")
        assert UriPattern(f"git+https://{host.upper()}/{pattern}").matches(text) is ignores
        assert not UriPattern(f"https://{host}/{pattern}").matches(text)
    assert not UriPattern(f"git+https://{host}/owner/app@refs/heads/Main").matches(
        f"git+https://{host}/owner/app@refs/heads/main"
    )
    assert not UriPattern(f"git+https://{host}/*/app@refs/heads/Main").matches(
        f"git+https://{host}/owner/app@refs/heads/main"
    )


def test_a_wildcard_host_takes_the_rule_of_the_host_that_it_stands_for() -> None:
    pattern = UriPattern("git+https://*.ghe.com/Owner/App")
    assert pattern.matches("git+https://tenant.ghe.com/owner/app")
    other = UriPattern("git+https://*.example/Owner/App")
    assert not other.matches("git+https://git.example/owner/app")
    assert other.matches("git+https://git.example/Owner/App")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://github.com/owner/\u212ait", "https://github.com/owner/kit"),
        ("https://user@github.com/owner/app", "https://USER@github.com/owner/app"),
        ("https://github.com/owner/app?q=A", "https://github.com/owner/app?q=a"),
        ("https://github.com/owner/app#A", "https://github.com/owner/app#a"),
        ("https://github.com@evil.example/A", "https://github.com@evil.example/a"),
        ("https://git.example/A", "https://git.example/a"),
    ],
)
def test_only_the_letters_of_owners_and_repositories_are_folded(one: str, other: str) -> None:
    assert UriPattern(one).matches(one)
    assert not UriPattern(one).matches(other)
    assert not UriPattern(other).matches(one)


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("refs/heads/main", "refs/heads/main", True),
        ("refs/heads/main", "refs/heads/Main", False),
        ("refs/heads/*", "refs/heads/main", True),
        ("refs/heads/*", "refs/heads/feature/x", False),
        ("refs/heads/**", "refs/heads/feature/x", True),
        ("refs/heads/feature/*", "refs/heads/feature/#12", True),
        ("refs/heads/*", "refs/heads/fix-100%", True),
        ("refs/tags/*", "refs/tags/@scope@1.2.0+build", True),
        ("refs/heads/*", "refs/heads/\u00e4nderung", True),
        ("refs/heads/*", "refs/heads/{x}!$&'(),;=<>|", True),
        ("**", "refs/heads/main", True),
        ("*", "main", True),
        ("*", "refs/heads/main", False),
        ("refs/tags/v*", "refs/tags/v1.0.0", True),
        ("refs/tags/v*", "refs/tags/v", True),
        ("refs/tags/v*", "refs/tags/x1", False),
        ("refs/tags/v[0-9]*", "refs/tags/v1", False),
        ("refs/x.y*", "refs/xzy", False),
        ("refs/x+*", "refs/xx", False),
        ("refs/(a|b)*", "refs/a", False),
        *(
            ("**", f"refs/heads/{name}", False)
            for name in (
                "a b", "a~1", "a^", "a:b", "a?", "a*", "a[b", "a\\b", "a..b", "a@{1}", "a//b", "/a", ".a", "a/.b", "a.lock",
                "a.lock/b", "a.", "a/", "", "a\nb", "a\x00b", "a\x7f", "a\x85b", "a\ud800b", "../x", "./x",
            )
        ),
        ("**", "@", False),
        ("**", "/refs/heads/main", False),
        ("**", "", False),
        ("refs/heads/\\*", "refs/heads/*", True),
        ("refs/heads/\\*", "refs/heads/main", False),
    ],
)  # fmt: skip
def test_ref_patterns(pattern: str, text: str, matches: bool) -> None:
    assert RefPattern(pattern).matches(text) is matches


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
        (".*", "someone@example.com", True),
        (".*", "spiffe://cluster.local/ns/x/sa/y", True),
        (".*", "https://gitlab.com/group/app//.gitlab-ci.yml@refs/heads/main", True),
        (".*", "https://github.com/o/r/.github/workflows/CI%20x.yml@refs/heads/main", True),
        (".*", "https://github.com/o/r/.github/workflows/x.yml@refs/heads/feature/#12", True),
        ("https://[^/]*\\.corp\\.example/x", "https://a.corp.example/x", True),
        ("https://[^/]*\\.corp\\.example/x", "https://evil.example#.corp.example/x", False),
        ("https://[^/]*\\.corp\\.example/x", "https://evil.example?.corp.example/x", False),
        ("https://[^/]*\\.corp\\.example/x", "https://evil.example@a.corp.example/x", False),
        ("https://[^/]*\\.corp\\.example/x", "https://evil.example\\.corp.example/x", False),
        ("https://[^/]*\\.corp\\.example/x", "https://evil\uff0e.corp.example/x", False),
        ("https://.*@refs/heads/main", "https://a.example/x?@refs/heads/main", False),
        ("https://.*@refs/heads/main", "https://a.example/x#@refs/heads/main", False),
        (".*", "a b", False),
        (".*", "a\x00", False),
        ("\\pL+", "\u00e4\u00f6", False),
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
    started = time.process_time()
    IdentityPattern(pattern).matches("a" * 20_000)
    RefPattern(f"refs/{'**a' * 30}").matches("refs/" + "a" * 20_000)
    UriPattern(f"https://h/{'**a' * 30}").matches("https://h/" + "a" * 20_000)
    UriPattern("https://h/x").matches("https://h/" + "@" * 20_000 + "\n")
    UriPattern("https://h/**").matches("https://" + "a." * 20_000 + "/")
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    ("pattern", "can"),
    [
        (f"{HOST}/a", True),
        (f"{HOST}/a?b#c", True),
        ("anything", True),
        ("**", True),
        (f"{HOST}/*", True),
        (f"{HOST}/**", True),
        (CORP, True),
        ("git+https://**/**", True),
        (f"{HOST}/a\\*/*", True),
        (f"{HOST}/*@refs/heads/*", True),
        ("**/b", False),
        ("*", False),
        ("git+https://**", False),
        ("*://git.example/a", False),
        ("git+*://git.example/a", False),
        (f"{HOST}/*?x", False),
        (f"{HOST}/*#x", False),
        (f"{HOST}/*/", False),
        (f"{HOST}/../*", False),
        ("git+https://me@git.example/*", False),
    ],
)
def test_patterns_of_nothing_are_known(pattern: str, can: bool) -> None:
    assert UriPattern(pattern).can_match is can


@pytest.mark.parametrize(
    ("pattern", "can"),
    [
        ("refs/heads/main", True),
        ("refs/heads/*", True),
        ("**", True),
        ("refs/heads/feature/#*", True),
        ("refs/heads/a..b", False),
        ("refs/heads/*?", False),
        ("refs/heads/\\*", False),
        ("refs/tags/v[0-9]*", False),
    ],
)
def test_refs_that_git_refuses_are_known(pattern: str, can: bool) -> None:
    assert RefPattern(pattern).can_match is can
