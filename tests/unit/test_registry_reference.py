"""Image references: what is one, what is none, and what they mean."""

from __future__ import annotations

import time
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slsa_verifier_plugin.errors import ArtifactError
from slsa_verifier_plugin.model.digest import Digest
from slsa_verifier_plugin.registry.reference import Reference

DIGEST = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("text", "registry", "repository", "tag", "digest"),
    [
        ("alpine", "docker.io", "library/alpine", None, None),
        ("alpine:3.20", "docker.io", "library/alpine", "3.20", None),
        ("team/app", "docker.io", "team/app", None, None),
        ("docker.io/alpine", "docker.io", "library/alpine", None, None),
        ("index.docker.io/team/app", "docker.io", "team/app", None, None),
        ("localhost/app", "localhost", "app", None, None),
        ("localhost:5000/app:v1", "localhost:5000", "app", "v1", None),
        (f"registry.example/team/app@{DIGEST}", "registry.example", "team/app", None, DIGEST),
        (f"registry.example:443/a/b/c:v1@{DIGEST}", "registry.example:443", "a/b/c", "v1", DIGEST),
        ("127.0.0.1:5000/app", "127.0.0.1:5000", "app", None, None),
        ("[::1]:5000/app", "[::1]:5000", "app", None, None),
        ("[fd00::1]/app", "[fd00::1]", "app", None, None),
        ("r.example/a__b/c-d.e", "r.example", "a__b/c-d.e", None, None),
    ],
)
def test_references(text: str, registry: str, repository: str, tag: str | None, digest: str | None) -> None:
    found = Reference.parse(text)
    expected = Digest.parse(digest) if digest else None
    assert found == Reference(registry, repository, tag, expected)
    assert Reference.parse(str(found)) == (
        found if tag or digest else Reference(registry, repository, "latest")
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Team/App",
        "registry.example/",
        "registry.example/app:",
        "registry.example/app@",
        "registry.example/app@sha256:12",
        "registry.example/app@md5:" + "0" * 32,
        f"registry.example/app@{DIGEST.upper()}",
        "registry.example:port/app",
        "registry.example:65536/app",
        "registry.example:99999/app",
        "https://registry.example/app",
        "user@registry.example/app",
        "registry.example//app",
        "registry.example/../app",
        "registry.example/app\n",
        "registry.example/app?x=1",
        "registry.example/a b",
        "-registry.example/app",
        "[::1/app",
        "[::1]x/app",
        "[1.2.3.4]:5000/app",
        "[::::]:5000/app",
        "[]:5000/app",
        "registry.example/" + "a" * 256,
        "registry.example/app:" + "t" * 129,
        "a" * 2000,
    ],
)
def test_what_is_no_reference(text: str) -> None:
    with pytest.raises(ArtifactError):
        Reference.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        f"https://user:secret@registry.example/app@{DIGEST}",
        f"https://user:secret@{DIGEST}/app",
        f"https://user:secret@{DIGEST}0",
        "//user:secret@registry.example",
    ],
)
def test_what_may_be_a_password_is_not_shown(text: str) -> None:
    with pytest.raises(ArtifactError, match="no user name or password") as raised:
        Reference.parse(text)
    assert "secret" not in str(raised.value)


@given(st.text(max_size=80) | st.text(alphabet="abz09./:@[]-_%", max_size=60))
def test_whatever_is_read_makes_a_url_of_the_same_host(text: str) -> None:
    try:
        found = Reference.parse(text)
    except ArtifactError:
        return
    parts = urlsplit(f"https://{found.registry}/v2/{found.repository}/")
    assert parts.netloc == found.registry
    assert parts.username is None
    assert parts.port is None or parts.port <= 65535
    assert parts.path == f"/v2/{found.repository}/"


@pytest.mark.parametrize("piece", ["a.", "a-", "a/", "a_", "[::", "a:"])
def test_long_text_takes_no_time(piece: str) -> None:
    begin = time.process_time()
    for length in (300, 512):
        with pytest.raises(ArtifactError):
            Reference.parse(f"{piece * length}!/")
    assert time.process_time() - begin < 5
