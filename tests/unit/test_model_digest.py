"""Digests and descriptors: the nearest right and wrong ones."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from slsa_verifier_plugin.errors import ArtifactError, Reason
from slsa_verifier_plugin.model.digest import Descriptor, Digest

SHA256 = "sha256:" + "ab" * 32
GOOD: dict[str, Any] = {"mediaType": "a/b", "digest": SHA256, "size": 3}


@pytest.mark.parametrize("text", [SHA256, "sha512:" + "0f" * 64])
def test_a_digest_is_read_and_written_alike(text: str) -> None:
    assert str(Digest.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ab" * 32,
        "sha256:",
        "sha256:" + "ab" * 31,
        "sha256:" + "ab" * 33,
        "sha256:" + "ab" * 64,
        "sha512:" + "ab" * 32,
        "sha384:" + "ab" * 48,
        "md5:" + "ab" * 16,
        "SHA256:" + "ab" * 32,
        "sha256:" + "AB" * 32,
        "sha256:" + "ag" * 32,
        "sha256:" + "ab" * 32 + "\n",
        " sha256:" + "ab" * 32,
        "sha256:" + "\u0661\u0662" * 32,
        None,
        7,
        ["sha256:" + "ab" * 32],
    ],
)
def test_what_is_no_digest_is_refused(text: object) -> None:
    with pytest.raises(ArtifactError, match="is not a sha256 or sha512 digest") as caught:
        Digest.parse(text)
    assert caught.value.reason is Reason.ARTIFACT_INVALID


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_a_digest_matches_its_content_alone(algorithm: str) -> None:
    digest = Digest.of(b"content", algorithm)
    assert digest.hex == hashlib.new(algorithm, b"content").hexdigest()
    assert digest.matches(b"content")
    assert not digest.matches(b"content ")
    assert not digest.matches(b"")


def test_a_descriptor_is_read() -> None:
    assert Descriptor.parse(GOOD) == Descriptor("a/b", Digest.parse(SHA256), 3)
    everything = {
        **GOOD,
        "artifactType": "c/d",
        "annotations": {"key": "value"},
        "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"},
        "urls": ["https://elsewhere.example/"],
    }
    read = Descriptor.parse(everything)
    assert (read.artifact_type, read.annotations, read.platform) == ("c/d", {"key": "value"}, "linux/arm64")


@pytest.mark.parametrize(
    "harmless", [{"artifactType": ""}, {"annotations": None}, {"platform": "linux"}, {"artifactType": None}]
)
def test_what_is_empty_says_nothing(harmless: dict[str, Any]) -> None:
    assert Descriptor.parse({**GOOD, **harmless}) == Descriptor.parse(GOOD)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"mediaType": None}, "no mediaType"),
        ({"mediaType": 1}, "no mediaType"),
        ({"size": None}, "not a count of bytes"),
        ({"size": "3"}, "not a count of bytes"),
        ({"size": 3.0}, "not a count of bytes"),
        ({"size": True}, "not a count of bytes"),
        ({"size": -1}, "not a count of bytes"),
        ({"digest": None}, "is not a sha256 or sha512 digest"),
        ({"digest": "sha256:00"}, "is not a sha256 or sha512 digest"),
        ({"artifactType": 1}, "artifactType is not a string"),
        ({"annotations": ["a"]}, "annotations are not an object of strings"),
        ({"annotations": {"a": 1}}, "annotations are not an object of strings"),
    ],
)
def test_a_malformed_descriptor_is_refused(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(ArtifactError, match=problem):
        Descriptor.parse({**GOOD, **change})


@pytest.mark.parametrize("value", [None, [], "x", 1, [GOOD]])
def test_what_is_no_object_is_no_descriptor(value: object) -> None:
    with pytest.raises(ArtifactError, match="not a JSON object"):
        Descriptor.parse(value)


def test_size_zero_is_a_size() -> None:
    assert Descriptor.parse({**GOOD, "size": 0}).size == 0


@pytest.mark.parametrize(
    "fields",
    [
        GOOD,
        {**GOOD, "artifactType": "a/b"},
        {**GOOD, "annotations": {"k": "v"}},
        {**GOOD, "artifactType": "a/b", "annotations": {"k": "v"}},
    ],
)
def test_a_descriptor_is_written_as_it_was_read(fields: dict[str, Any]) -> None:
    written = Descriptor.parse(fields).to_json()
    assert Descriptor.parse(written) == Descriptor.parse(fields)
    assert set(written) <= {"mediaType", "digest", "size", "artifactType", "annotations"}
    assert ("artifactType" in written, "annotations" in written) == (
        bool(fields.get("artifactType")),
        bool(fields.get("annotations")),
    )
