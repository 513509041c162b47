"""The embedded registry, spoken to as real clients speak to it (OCI distribution specification 1.1)."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from slsa_verifier_plugin.model.digest import Descriptor, Digest
from tests.support.embedded_registry import EmbeddedRegistry
from tests.support.registry_storage import INDEX_TYPE, MANIFEST_TYPE, image_manifest

CONTENT = b"some content" * 100
DIGEST = str(Digest.of(CONTENT))


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def codes(self) -> list[str]:
        return [item["code"] for item in self.json["errors"]]


class Client:
    """One connection to a registry."""

    def __init__(self, registry: EmbeddedRegistry) -> None:
        self._connection = http.client.HTTPConnection(registry.host, timeout=5)

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._connection.request(method, path, body, named, encode_chunked=not isinstance(body, bytes))
        response = self._connection.getresponse()
        return Answer(response.status, dict(response.getheaders()), response.read())

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def registry() -> Iterator[EmbeddedRegistry]:
    with EmbeddedRegistry(page_size=2) as running:
        yield running


@pytest.fixture
def ask(registry: EmbeddedRegistry) -> Iterator[Client]:
    client = Client(registry)
    yield client
    client.close()


def test_a_ping_answers(ask: Client) -> None:
    for path in ("/v2/", "/v2"):
        assert ask("GET", path).status == 200


def test_a_blob_is_pushed_at_once(ask: Client) -> None:
    pushed = ask("POST", f"/v2/a/b/blobs/uploads/?digest={DIGEST}", CONTENT)
    assert pushed.status == 201
    assert ask("GET", pushed.headers["Location"]).body == CONTENT


def test_a_blob_is_pushed_in_parts(ask: Client) -> None:
    begun = ask("POST", "/v2/a/b/blobs/uploads/")
    assert begun.status == 202
    first = ask("PATCH", begun.headers["Location"], CONTENT[:100])
    assert (first.status, first.headers["Range"]) == (202, "0-99")
    second = ask("PATCH", first.headers["Location"], iter([CONTENT[100:200], CONTENT[200:300]]))
    assert second.headers["Range"] == "0-299"
    assert ask("PUT", f"{second.headers['Location']}?digest={DIGEST}", CONTENT[300:]).status == 201
    assert ask("GET", f"/v2/a/b/blobs/{DIGEST}").body == CONTENT


def test_a_blob_is_mounted_from_another_repository(ask: Client, registry: EmbeddedRegistry) -> None:
    registry.storage.put_blob("a", CONTENT)
    assert ask("POST", f"/v2/b/blobs/uploads/?mount={DIGEST}&from=a").status == 201
    assert ask("GET", f"/v2/b/blobs/{DIGEST}").body == CONTENT
    assert ask("POST", f"/v2/b/blobs/uploads/?mount=sha256:{'0' * 64}&from=a").status == 202


def test_content_with_another_digest_is_not_taken(ask: Client) -> None:
    other = f"sha256:{'0' * 64}"
    assert ask("POST", f"/v2/a/blobs/uploads/?digest={other}", CONTENT).codes == ["DIGEST_INVALID"]
    assert ask("POST", "/v2/a/blobs/uploads/?digest=x", CONTENT).codes == ["DIGEST_INVALID"]
    assert ask("PUT", f"/v2/a/manifests/{other}", b"{}").codes == ["DIGEST_INVALID"]
    assert ask("PUT", f"/v2/a/blobs/uploads/none?digest={DIGEST}", CONTENT).codes == ["BLOB_UPLOAD_UNKNOWN"]
    assert ask("PUT", "/v2/a/manifests/v1", b"[]").codes == ["MANIFEST_INVALID"]


@pytest.mark.parametrize(
    ("wanted", "status", "part", "shown"),
    [
        ("bytes=0-", 206, CONTENT, f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}"),
        ("bytes=10-19", 206, CONTENT[10:20], f"bytes 10-19/{len(CONTENT)}"),
        ("bytes=1190-5000", 206, CONTENT[1190:], f"bytes 1190-1199/{len(CONTENT)}"),
        ("bytes=1200-", 416, b"", f"bytes */{len(CONTENT)}"),
        ("lines=1-2", 200, CONTENT, None),
    ],
)
def test_ranges(
    ask: Client, registry: EmbeddedRegistry, wanted: str, status: int, part: bytes, shown: str | None
) -> None:
    registry.storage.put_blob("a", CONTENT)
    answer = ask("GET", f"/v2/a/blobs/{DIGEST}", Range=wanted)
    assert (answer.status, answer.body, answer.headers.get("Content-Range")) == (status, part, shown)


def test_a_manifest_is_pushed_and_found_by_tag_and_digest(ask: Client) -> None:
    empty = Descriptor("application/vnd.oci.empty.v1+json", Digest.of(b"{}"), 2)
    content = image_manifest(empty, [empty])
    pushed = ask("PUT", "/v2/a/manifests/v1", content, Content_Type=MANIFEST_TYPE)
    assert (pushed.status, pushed.headers["Docker-Content-Digest"]) == (201, str(Digest.of(content)))
    for path in ("/v2/a/manifests/v1", pushed.headers["Location"]):
        answer = ask("GET", path)
        assert (answer.body, answer.headers["Content-Type"]) == (content, MANIFEST_TYPE)
        head = ask("HEAD", path)
        assert (head.body, head.headers["Content-Length"]) == (b"", str(len(content)))


def test_what_is_not_there(ask: Client, registry: EmbeddedRegistry) -> None:
    assert ask("GET", "/v2/none/manifests/v1").codes == ["NAME_UNKNOWN"]
    registry.push_image("some", "v1")
    assert ask("GET", "/v2/some/manifests/v2").codes == ["MANIFEST_UNKNOWN"]
    assert ask("GET", f"/v2/some/blobs/{DIGEST}").codes == ["BLOB_UNKNOWN"]
    assert ask("GET", "/v2/none/tags/list").codes == ["NAME_UNKNOWN"]
    assert ask("PATCH", "/v2/some/manifests/v1", b"").status == 405
    assert ask("GET", "/v3/").status == 404


def test_referrers_are_filtered_and_paged(ask: Client, registry: EmbeddedRegistry) -> None:
    image = registry.push_image("a", "v1")
    for number in range(3):
        registry.attach("a", image, "application/one", [b"%d" % number], annotations={"n": str(number)})
    registry.attach("a", image, "application/two", [b"x"])
    first = ask("GET", f"/v2/a/referrers/{image.digest}?artifactType=application%2Fone")
    assert first.headers["Content-Type"] == INDEX_TYPE
    assert first.headers["OCI-Filters-Applied"] == "artifactType"
    second = ask("GET", first.headers["Link"].partition(">")[0].removeprefix("<"))
    assert "Link" not in second.headers
    entries = first.json["manifests"] + second.json["manifests"]
    assert [entry["annotations"]["n"] for entry in entries] == ["0", "1", "2"]
    assert {entry["artifactType"] for entry in entries} == {"application/one"}
    everything = ask("GET", f"/v2/a/referrers/{image.digest}")
    assert "OCI-Filters-Applied" not in everything.headers
    assert ask("GET", f"/v2/a/referrers/sha256:{'0' * 64}").json["manifests"] == []
    assert ask("GET", "/v2/a/referrers/x").codes == ["DIGEST_INVALID"]


def test_a_push_with_a_subject_is_acknowledged_where_there_is_the_api() -> None:
    empty = Descriptor("application/vnd.oci.empty.v1+json", Digest.of(b"{}"), 2)
    subject = Descriptor(MANIFEST_TYPE, Digest.of(b"subject"), 7)
    content = image_manifest(empty, [], subject=subject, artifact_type="application/one")
    for api in (True, False):
        with EmbeddedRegistry(referrers_api=api) as registry:
            ask = Client(registry)
            pushed = ask("PUT", f"/v2/a/manifests/{Digest.of(content)}", content, Content_Type=MANIFEST_TYPE)
            assert (pushed.headers.get("OCI-Subject") == str(subject.digest)) is api
            listed = ask("GET", f"/v2/a/referrers/{subject.digest}")
            assert listed.status == (200 if api else 404)
            ask.close()


def test_closing_ends_open_connections_and_frees_the_port() -> None:
    with EmbeddedRegistry() as registry:
        ask = Client(registry)
        assert ask("GET", "/v2/").status == 200
    late = Client(registry)
    with pytest.raises(ConnectionRefusedError):
        late("GET", "/v2/")
    ask.close()
