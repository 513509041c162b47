"""``attach --from github``: GitHub's attestation API, and the storage that it leads to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from slsa_verifier_plugin.checking.status import Status
from slsa_verifier_plugin.registry import github as github_module
from tests.support.attach_scene import Scene
from tests.support.command_line import cli
from tests.support.http_server import AnsweringHandler, listening

TOKEN = "a-token-that-is-secret"


class GitHub:
    """GitHub's attestation API, as far as it is asked; storage in the same place without the token."""

    def __init__(self) -> None:
        self.pages: dict[str, list[Any]] = {}
        self.stored: dict[str, bytes] = {}
        self.status = 0
        self.seen: list[tuple[str, str | None]] = []

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.seen]


@pytest.fixture
def github() -> Iterator[tuple[GitHub, str]]:
    state = GitHub()

    class Handler(AnsweringHandler):
        def asked(self) -> None:
            path, _, query = self.path.partition("?")
            state.seen.append((path, self.headers.get("Authorization")))
            if state.status:
                self.answer(state.status, b"{}")
            elif path in state.stored:
                self.answer(200, state.stored[path])
            elif pages := state.pages.get(path):
                number = int(query.partition("after=")[2] or 0)
                link = f'<{address}{path}?per_page=100&after={number + 1}>; rel="next"'
                is_last = number + 1 == len(pages)
                self.answer(200, json.dumps(pages[number]).encode(), [] if is_last else [("Link", link)])
            else:
                self.answer(404, b'{"message": "Not Found"}')

    with listening(Handler) as host:
        address = f"http://{host}"
        yield state, address


def entries(*bundles: bytes) -> dict[str, Any]:
    return {"attestations": [{"bundle": json.loads(bundle), "repository_id": 1} for bundle in bundles]}


def test_github_is_asked_about_the_commit_with_the_token(scene: Scene, github: tuple[GitHub, str]) -> None:
    api, address = github
    commit = "7" * 40
    path = f"/repos/owner/app/attestations/sha1:{commit}"
    api.pages[path] = [entries(scene.bundle(commit, level=1)), entries(scene.bundle(commit))]
    image = scene.image("v1", revision=commit)
    done = scene.attach(
        image, "--from", "github:owner/app", environ={"GITHUB_API_URL": address, "GH_TOKEN": TOKEN}
    )
    assert (done.status, "2 attestations" in done.out) == (Status.ADMITTED, True), done
    assert api.seen == [(path, f"Bearer {TOKEN}")] * 2
    assert cli("verify", image, "--policy", scene.policy, "--plain-http").status == Status.ADMITTED


def test_github_is_asked_about_the_image_last(scene: Scene, github: tuple[GitHub, str]) -> None:
    api, address = github
    commit = "7" * 40
    image = scene.image("v1", revision=commit)
    digest = json.loads(cli("inspect", image, "--plain-http", "--json").out)["image"].partition("@")[2]
    api.pages[f"/repos/owner/app/attestations/{digest}"] = [entries(scene.bundle(commit))]
    done = scene.attach(image, "--from", "github:owner/app", environ={"GITHUB_API_URL": address})
    assert done.status == Status.ADMITTED, done
    assert [path.rpartition("/")[2] for path in api.paths] == [
        f"sha1:{commit}",
        f"gitCommit:{commit}",
        digest,
    ]
    assert {authorization for _, authorization in api.seen} == {None}


def stored_as_snappy(content: bytes) -> bytes:
    size, preamble = len(content), bytearray()
    while size > 127:
        preamble.append(size & 127 | 128)
        size >>= 7
    return bytes([*preamble, size, 0xF4]) + (len(content) - 1).to_bytes(2, "little") + content


def test_bundles_in_githubs_storage_are_read_without_the_token(
    scene: Scene, github: tuple[GitHub, str]
) -> None:
    api, address = github
    commit = "7" * 40
    path = f"/repos/owner/app/attestations/sha1:{commit}"
    api.pages[path] = [{"attestations": [{"bundle": None, "bundle_url": f"{address}/storage/1.sn?sig=x"}]}]
    api.stored["/storage/1.sn"] = stored_as_snappy(scene.bundle(commit))
    image = scene.image("v1", revision=commit)
    done = scene.attach(
        image, "--from", "github:owner/app", environ={"GITHUB_API_URL": address, "GH_TOKEN": TOKEN}
    )
    assert done.status == Status.ADMITTED, done
    assert api.seen == [(path, f"Bearer {TOKEN}"), ("/storage/1.sn", None)]
    for broken in (b"", b"\xff" * 9, stored_as_snappy(b"{}")[:-1], b"{"):
        api.stored["/storage/1.sn"] = broken
        done = scene.attach(image, "--from", "github:owner/app", environ={"GITHUB_API_URL": address})
        assert (done.status, "a stored bundle cannot be read" in done.err) == (Status.UNDECIDED, True), done


@pytest.mark.parametrize(
    ("page", "says"),
    [
        ([], "not a JSON object"),
        ({"attestations": {}}, "no list of attestations"),
        ({"attestations": [1]}, "neither a bundle nor an address"),
        ({"attestations": [{"bundle_url": "file:///etc/passwd"}]}, "neither a bundle nor an address"),
        ({"attestations": [{"bundle_url": "https://["}]}, "neither a bundle nor an address"),
        ({"attestations": []}, "GitHub has no attestations"),
    ],
)
def test_what_github_may_answer(scene: Scene, github: tuple[GitHub, str], page: Any, says: str) -> None:
    api, address = github
    commit = "7" * 40
    api.pages[f"/repos/owner/app/attestations/sha1:{commit}"] = [page]
    image = scene.image("v1", revision=commit)
    done = scene.attach(image, "--from", "github:owner/app", environ={"GITHUB_API_URL": address})
    assert (done.status, says in done.err, done.err.count("\n")) == (Status.UNDECIDED, True, 1), done


def test_all_bundles_together_are_bounded(
    scene: Scene, github: tuple[GitHub, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    api, address = github
    commit = "7" * 40
    bundle = scene.bundle(commit)
    page = entries(bundle, bundle, bundle)
    api.pages[f"/repos/owner/app/attestations/sha1:{commit}"] = [page]
    image = scene.image("v1", revision=commit)
    for limit, status in ((len(json.dumps(page)), Status.ADMITTED), (2 * len(bundle), Status.UNDECIDED)):
        monkeypatch.setattr(github_module, "MAX_BUNDLES_BYTES", limit)
        done = scene.attach(image, "--from", "github:owner/app", environ={"GITHUB_API_URL": address})
        assert (done.status, f"the limit is {limit}" in done.err) == (status, status != Status.ADMITTED), done


def test_an_api_address_that_is_no_url_is_told(scene: Scene) -> None:
    image = scene.image("v1", revision="7" * 40)
    for address in ("https://[", "https://user@api.example", "ftp://api.example", "http://api.example"):
        done = scene.attach(image, "--from", "github:owner/app", environ={"GITHUB_API_URL": address})
        assert (done.status, "expected an https address" in done.err) == (Status.USAGE, True), done


@pytest.mark.parametrize("status", [401, 403, 429, 500])
def test_githubs_refusals_are_told_without_the_token(
    scene: Scene, github: tuple[GitHub, str], status: int
) -> None:
    api, address = github
    api.status = status
    image = scene.image("v1", revision="7" * 40)
    done = scene.attach(
        image, "--from", "github:owner/app", environ={"GITHUB_API_URL": address, "GH_TOKEN": TOKEN}
    )
    assert (done.status, f"HTTP {status}" in done.err, TOKEN in done.err) == (
        Status.UNDECIDED,
        True,
        False,
    ), done


@pytest.mark.parametrize(
    ("origin", "api"),
    [
        ("github:", None),
        ("github", None),
        ("github:owner", None),
        ("github:owner/..", None),
        ("github:owner/app/../../x", None),
        ("github:owner/app?x", None),
        ("github:owner/app", "http://api.example"),
        ("github:owner/app", "https://user@api.example"),
        ("github:owner/app", "ftp://api.example"),
    ],
)
def test_misuse_of_github(scene: Scene, origin: str, api: str | None) -> None:
    image = scene.image("v1", revision="7" * 40)
    done = scene.attach(image, "--from", origin, environ={"GITHUB_API_URL": api or "", "GH_TOKEN": TOKEN})
    assert (done.status, done.err.count("\n"), TOKEN in done.err) == (Status.USAGE, 1, False), done
