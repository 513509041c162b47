"""Labels of images and the repository that they name: every form, and near misses that name another one or none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slsa_verifier_plugin.model.image_label import MAX_CHARACTERS, names_repository

REPOSITORY = "https://github.com/example/source-demo"


@pytest.mark.parametrize(
    "label",
    [
        REPOSITORY,
        f"git+{REPOSITORY}.git",
        f"{REPOSITORY}/",
        "https://github.com/Example/Source-Demo",
        "HTTPS://GitHub.com/example/source-demo",
        "git@github.com:example/source-demo.git",
        "git@github.com:example/source-demo",
        "git@GITHUB.com:EXAMPLE/source-demo.git",
        "ssh://git@github.com/example/source-demo.git",
        "ssh://git@github.com:22/example/source-demo",
        "ssh://github.com/example/source-demo",
        "git+ssh://git@github.com/example/source-demo.git",
        f"{REPOSITORY}/tree/main",
        f"{REPOSITORY}/tree/main/app",
        f"{REPOSITORY}/tree/main/app/",
        f"{REPOSITORY}/tree/feature/@scope/x+1",
        f"{REPOSITORY}/blob/main/Dockerfile",
        f"{REPOSITORY}/commit/0123456789abcdef0123456789abcdef01234567",
        "https://github.com/Example/source-demo/tree/Main",
        f"{REPOSITORY}/tree/".ljust(MAX_CHARACTERS, "a"),
    ],
)
@pytest.mark.parametrize("repository", [REPOSITORY, f"git+{REPOSITORY}", f"git+{REPOSITORY}@refs/heads/main"])
def test_every_form_of_a_label_names_the_repository(label: str, repository: str) -> None:
    assert names_repository(label, repository)


@pytest.mark.parametrize(
    "label",
    [
        "",
        "source-demo",
        "github.com/example/source-demo",
        "https://github.com/example/source-demo2",
        "https://github.com/other/source-demo/tree/main",
        "https://github.com/example/source-demo2/tree/main",
        "https://github.com/example/source-demo/source-demo/tree/main",
        "https://github.com/example/source-demo/tree",
        "https://github.com/example/source-demo/tree/",
        "https://github.com/example/source-demo/tree/main/../../../../other/app",
        "https://github.com/other/app/tree/../../../example/source-demo",
        "https://github.com/example/source-demo/tree/%2e%2e/%2e%2e",
        "https://github.com/example/source-demo/tree//main",
        "https://github.com/example/source-demo/tree/main?x",
        "https://github.com/example/source-demo/tree/main#x",
        "https://github.com/example/source-demo/-/tree/main",
        "https://github.com/example/source-demo/actions",
        "https://gist.github.com/example/source-demo/tree/main",
        "https://evil.example/github.com/example/source-demo",
        "https://evil.example/example/source-demo/tree/main",
        "https://github.com.evil.example/example/source-demo",
        "http://github.com/example/source-demo",
        "http://github.com/example/source-demo/tree/main",
        "git@github.com:other/source-demo.git",
        "git@github.com:example/source-demo.git.git",
        "git@github.com:example/../example/source-demo.git",
        "git@github.com:/example/source-demo.git",
        "git@github.com:~/example/source-demo.git",
        "git@github.com:22/example/source-demo",
        "git@evil.example:github.com/example/source-demo.git",
        "git@github.com@evil.example:example/source-demo.git",
        "git@evil.example/github.com:example/source-demo.git",
        "alice@github.com:example/source-demo.git",
        "github.com:example/source-demo.git",
        "ssh://alice@github.com/example/source-demo.git",
        "ssh://git:secret@github.com/example/source-demo.git",
        "ssh://git@github.com:2222/example/source-demo.git",
        "ssh://git@evil.example/example/source-demo.git",
        "ssh://git@github.com/example/source-demo/tree/main",
        "git@github.com:example/source-demo/tree/main",
        "git@github.com:example/source-demo.git\n",
        " git@github.com:example/source-demo.git",
        "git@github.com:example/s\u00f6urce-demo.git",
        "git@g\u0131thub.com:example/source-demo.git",
        "git@github.com:example/source-demo.git" + "a" * 3000,
        f"{REPOSITORY}/tree/".ljust(MAX_CHARACTERS + 1, "a"),
    ],
)
def test_another_repository_does_not_pass(label: str) -> None:
    assert not names_repository(label, REPOSITORY)


@pytest.mark.parametrize(
    ("label", "repository", "same"),
    [
        ("git@gitlab.com:group/sub/app.git", "https://gitlab.com/group/sub/app", True),
        ("https://gitlab.com/group/sub/app/-/tree/main/x", "https://gitlab.com/group/sub/app", True),
        ("https://gitlab.com/Group/Sub/app/-/blob/main/x", "https://gitlab.com/group/sub/app", True),
        ("https://gitlab.com/group/app/tree/main", "https://gitlab.com/group/app", False),
        ("https://gitlab.com/group/-/sub/-/tree/main", "https://gitlab.com/group", False),
        ("https://gitlab.com/group/-/sub/-/tree/main", "https://gitlab.com/group/-/sub", False),
        ("https://acme.ghe.com/team/app/tree/main", "https://acme.ghe.com/Team/app", True),
        ("git@git.corp.example:team/app.git", "https://git.corp.example/team/app", True),
        ("git@git.corp.example:team/app.git", "https://git.corp.example/Team/app", False),
        ("git@git.corp.example:team/app.git", "ssh://git.corp.example/team/app", True),
        ("git@git.corp.example:team/app.git", "http://git.corp.example/team/app", False),
        ("git@git.corp.example:team/app.git", "https://git.corp.example:8443/team/app", False),
        ("https://git.corp.example/team/app/tree/main", "https://git.corp.example/team/app", False),
        ("https://git.corp.example/team/app/tree/main", "https://git.corp.example/team/app/tree/main", True),
        ("https://git.corp.example/team/app/-/tree/main", "https://git.corp.example/team/app", False),
        # No repository of GitHub has one segment or three, so this is no page of one.
        ("https://github.com/a/b/c/tree/main", "https://github.com/a/b/c", False),
        ("https://github.com/a/tree/main", "https://github.com/a", False),
        (REPOSITORY, "git@github.com:example/source-demo.git", False),
        (REPOSITORY, "", False),
    ],
)
def test_other_hosts(label: str, repository: str, same: bool) -> None:
    assert names_repository(label, repository) is same


HOSTS = st.sampled_from(["github.com", "gitlab.com", "a.ghe.com", "git.example", "GitHub.com"])
WORDS = st.sampled_from(
    ["a", "A", "b", "tree", "blob", "-", "a.git", "commit", "main", "..", "-/tree/x", "tree/x"]
)
PATHS = st.lists(WORDS, min_size=1, max_size=5).map("/".join)
LABELS = st.builds(
    lambda form, host, path: form.format(host=host, path=path),
    st.sampled_from(
        ["https://{host}/{path}", "git@{host}:{path}", "ssh://git@{host}/{path}", "git+https://{host}/{path}"]
    ),
    HOSTS,
    PATHS,
)
REPOSITORIES = st.builds("https://{}/{}".format, HOSTS, PATHS)


@given(LABELS, REPOSITORIES, REPOSITORIES)
def test_no_label_names_two_repositories(label: str, one: str, other: str) -> None:
    from slsa_verifier_plugin.model.source_uri import same_repository

    if names_repository(label, one) and names_repository(label, other):
        assert same_repository(one, other)
