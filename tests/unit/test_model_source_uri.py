"""Repositories and the ways to write one; each near miss is another repository or none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slsa_verifier_plugin.model.source_uri import SourceUri, ignores_case, same_repository

REPOSITORY = "https://github.com/example/source-demo"


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        (REPOSITORY, None),
        (f"git+{REPOSITORY}", None),
        (f"{REPOSITORY}.git", None),
        (f"{REPOSITORY}/", None),
        (f"{REPOSITORY}.git/", None),
        (f"git+{REPOSITORY}@refs/heads/main", "refs/heads/main"),
        (f"git+{REPOSITORY}.git@v1", "v1"),
        (f"git+{REPOSITORY}@refs/tags/@scope/name@1.2.0", "refs/tags/@scope/name@1.2.0"),
        (f"{REPOSITORY}@refs/heads/fix-#12", "refs/heads/fix-#12"),
        (f"{REPOSITORY}@@", "@"),
        ("https://GitHub.com/example/source-demo", None),
        ("https://GITHUB.com/EXAMPLE/Source-Demo", None),
    ],
)
def test_all_forms_of_one_repository_are_the_same(text: str, ref: str | None) -> None:
    parsed = SourceUri.parse(text)
    assert parsed is not None
    assert str(parsed).lower() == REPOSITORY
    assert parsed.ref == ref
    assert same_repository(text, REPOSITORY)
    assert same_repository(REPOSITORY, text)


@pytest.mark.parametrize(
    "text",
    [
        "https://github.com/example/source-demo2",
        "https://github.com/example/source-dem",
        "https://github.com/example/source-demo/tree",
        "https://github.com/example",
        "http://github.com/example/source-demo",
        "ssh://github.com/example/source-demo",
        "https://github.com:443/example/source-demo",
        "https://github.com./example/source-demo",
        "https://gitlab.com/example/source-demo",
        "https://evil-github.com/example/source-demo",
    ],
)
def test_another_repository_is_not_the_same(text: str) -> None:
    assert SourceUri.parse(text) is not None
    assert not same_repository(text, REPOSITORY)


@pytest.mark.parametrize(
    ("host", "ignores"),
    [
        ("github.com", True),
        ("GitHub.COM", True),
        ("gitlab.com", True),
        ("tenant.ghe.com", True),
        ("a.b.ghe.com", True),
        ("ghe.com", False),
        ("evilghe.com", False),
        ("tenant.ghe.com.evil.example", False),
        ("github.com.evil.example", False),
        ("evil-github.com", False),
        ("api.github.com", False),
        ("github.com.", False),
        ("github.com:443", False),
        ("gitlab.example", False),
        ("git.corp.example", False),
    ],
)
def test_case_counts_in_names_unless_the_host_ignores_it(host: str, ignores: bool) -> None:
    one, other = f"https://{host}/Owner/App", f"git+https://{host}/owner/aPP.git"
    assert same_repository(one, other) is ignores
    assert same_repository(other, one) is ignores
    assert same_repository(one, f"https://{host.lower()}/Owner/App")
    assert not same_repository(one, f"https://{host}/owner/app2")
    assert not same_repository(one, f"http://{host}/Owner/App")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "github.com/example/source-demo",
        "git@github.com:example/source-demo",
        "https://github.com",
        "https://github.com/",
        "https://github.com/@main",
        "https://user@github.com/example/source-demo",
        "https://user:secret@github.com/example/source-demo",
        "https://github.com/example/source-demo?x=1",
        "https://github.com/example/source-demo#main",
        "https://github.com/example/source-demo#main@b",
        "https://github.com/example/source-demo?x=1@b",
        "https://github.com/example/source-demo@a?b",
        "https://user@github.com/example/source-demo@main",
        "https://github.com/example/source-demo@",
        "https://github.com/example/source-demo@a b",
        "https://github.com/example/../other/source-demo",
        "https://github.com/./example/source-demo",
        "https://github.com//example/source-demo",
        "https://github.com/example//source-demo",
        "https://github.com/example/source%2ddemo",
        "https://github.com/example\\source-demo",
        "https://github.com/example/source-demo\n",
        "https://github.com/example/.git",
        "https://github.com/example/source-demo.git.git",
        "https://github.com/example/..git",
        "https://github.com/example/s\u00f6urce",
        "https://git\u0131hub.com/example/source-demo",
        "hg+https://github.com/example/source-demo",
        "HTTPS://github.com/example/source-demo",
        "https://github.com:123456/example/source-demo",
        "https://github.com/" + "a" * 2048,
        None,
        7,
        [REPOSITORY],
    ],
)
def test_what_may_read_like_another_name_is_none(text: object) -> None:
    assert SourceUri.parse(text) is None
    assert not same_repository(text, text)
    assert not same_repository(text, REPOSITORY)
    assert not same_repository(REPOSITORY, text)


@given(
    st.text("abAB./:@-~%git+hps", max_size=40).map(lambda text: f"https://g/{text}") | st.text(max_size=60)
)
def test_what_is_a_repository_is_itself_however_written(text: str) -> None:
    parsed = SourceUri.parse(text)
    if parsed is None:
        assert not same_repository(text, text)
        return
    again = SourceUri.parse(str(parsed))
    assert again is not None
    assert again.same_repository(parsed)
    assert same_repository(text, text)
    assert ".." not in parsed.path.split("/")


def test_a_name_may_have_2048_characters() -> None:
    longest = "https://github.com/" + "a" * (2048 - len("https://github.com/"))
    assert str(SourceUri.parse(longest)) == longest
    assert SourceUri.parse(longest + "a") is None


def test_the_name_below_which_customers_have_hosts_is_no_host() -> None:
    assert ignores_case("tenant.ghe.com")
    assert not ignores_case(".ghe.com")
