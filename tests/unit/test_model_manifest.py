"""Manifests: one kind each, whose type and content agree."""

from __future__ import annotations

import json
from typing import Any

import pytest

from slsa_verifier_plugin.errors import ArtifactError, Reason
from slsa_verifier_plugin.model.digest import Descriptor
from slsa_verifier_plugin.model.manifest import (
    ARTIFACT_TYPES,
    IMAGE_TYPES,
    INDEX_TYPES,
    MAX_BLOBS,
    MAX_MANIFESTS,
    Manifest,
    parse_manifest,
)

OCI_IMAGE, OCI_INDEX, OCI_ARTIFACT = IMAGE_TYPES[0], INDEX_TYPES[0], ARTIFACT_TYPES[0]
ONE: dict[str, Any] = {"mediaType": "a/b", "digest": "sha256:" + "ab" * 32, "size": 3}
TWO: dict[str, Any] = {"mediaType": "c/d", "digest": "sha256:" + "cd" * 32, "size": 4}
IMAGE: dict[str, Any] = {"schemaVersion": 2, "mediaType": OCI_IMAGE, "config": ONE, "layers": [TWO]}
INDEX: dict[str, Any] = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [ONE]}
ARTIFACT: dict[str, Any] = {"mediaType": OCI_ARTIFACT, "artifactType": "x/y", "blobs": [ONE]}


def parse(value: object, media_type: str = OCI_IMAGE) -> Manifest:
    return parse_manifest(json.dumps(value).encode(), media_type)


@pytest.mark.parametrize("media_type", IMAGE_TYPES)
def test_an_image_manifest_is_read(media_type: str) -> None:
    manifest = parse(
        {**IMAGE, "mediaType": media_type, "subject": TWO, "annotations": {"k": "v"}}, media_type
    )
    assert manifest.kind == "image"
    assert manifest.config == Descriptor.parse(ONE)
    assert manifest.blobs == (Descriptor.parse(TWO),)
    assert manifest.subject == Descriptor.parse(TWO)
    assert manifest.manifests == ()
    assert manifest.annotations == {"k": "v"}


@pytest.mark.parametrize("media_type", INDEX_TYPES)
def test_an_index_is_read(media_type: str) -> None:
    manifest = parse({**INDEX, "mediaType": media_type}, media_type)
    assert (manifest.kind, manifest.manifests, manifest.blobs) == ("index", (Descriptor.parse(ONE),), ())
    assert manifest.config is None
    assert manifest.subject is None


@pytest.mark.parametrize("media_type", ARTIFACT_TYPES)
def test_an_artifact_manifest_is_read(media_type: str) -> None:
    manifest = parse({**ARTIFACT, "mediaType": media_type}, media_type)
    assert (manifest.kind, manifest.artifact_type, manifest.blobs) == (
        "artifact",
        "x/y",
        (Descriptor.parse(ONE),),
    )


@pytest.mark.parametrize(
    ("change", "artifact_type"),
    [
        ({}, "a/b"),
        ({"artifactType": "x/y"}, "x/y"),
        ({"artifactType": ""}, "a/b"),
        ({"artifactType": 1}, "a/b"),
    ],
)
def test_the_artifact_type_is_its_own_or_else_the_configs(change: dict[str, Any], artifact_type: str) -> None:
    assert parse({**IMAGE, **change}).artifact_type == artifact_type


def test_a_manifest_need_not_name_its_type_nor_hold_anything() -> None:
    manifest = parse({"schemaVersion": 2})
    assert (manifest.blobs, manifest.config, manifest.subject, manifest.artifact_type) == ((), None, None, "")
    assert parse({**IMAGE, "subject": None, "annotations": None}).subject is None


@pytest.mark.parametrize(
    ("value", "media_type", "problem"),
    [
        (IMAGE, OCI_INDEX, "calls itself"),
        ({**IMAGE, "mediaType": None}, OCI_IMAGE, "calls itself"),
        ({**IMAGE, "mediaType": "text/plain"}, "text/plain", "not a manifest type"),
        ({**IMAGE, "schemaVersion": 1}, OCI_IMAGE, "schemaVersion"),
        ({**IMAGE, "schemaVersion": "2"}, OCI_IMAGE, "schemaVersion"),
        ({**INDEX, "schemaVersion": None}, OCI_INDEX, "schemaVersion"),
        ({**IMAGE, "manifests": []}, OCI_IMAGE, "also has manifests"),
        ({**IMAGE, "blobs": []}, OCI_IMAGE, "also has blobs"),
        ({**INDEX, "layers": []}, OCI_INDEX, "also has layers"),
        ({**INDEX, "config": ONE}, OCI_INDEX, "also has config"),
        ({**INDEX, "blobs": [ONE]}, OCI_INDEX, "also has blobs"),
        ({**ARTIFACT, "layers": [ONE]}, OCI_ARTIFACT, "also has layers"),
        ({**ARTIFACT, "manifests": [ONE]}, OCI_ARTIFACT, "also has manifests"),
        ({**ARTIFACT, "config": ONE}, OCI_ARTIFACT, "also has config"),
        ({**IMAGE, "layers": {}}, OCI_IMAGE, "layers is not a list"),
        ({**IMAGE, "layers": None}, OCI_IMAGE, "layers is not a list"),
        ({**IMAGE, "layers": [None]}, OCI_IMAGE, "not a JSON object"),
        ({**IMAGE, "config": None}, OCI_IMAGE, "not a JSON object"),
        ({**IMAGE, "subject": "x"}, OCI_IMAGE, "not a JSON object"),
        ({**IMAGE, "subject": {}}, OCI_IMAGE, "no mediaType"),
        ({**IMAGE, "subject": False}, OCI_IMAGE, "not a JSON object"),
        ({**IMAGE, "annotations": ["x"]}, OCI_IMAGE, "annotations are not"),
        ({**IMAGE, "annotations": {"a": 1}}, OCI_IMAGE, "annotations are not"),
        ([IMAGE], OCI_IMAGE, "not a JSON object"),
        (None, OCI_IMAGE, "not a JSON object"),
    ],
)
def test_a_malformed_manifest_is_refused(value: object, media_type: str, problem: str) -> None:
    with pytest.raises(ArtifactError, match=problem) as caught:
        parse(value, media_type)
    assert caught.value.reason is Reason.ARTIFACT_INVALID


@pytest.mark.parametrize("content", [b"", b"{", b'{"schemaVersion":2,"schemaVersion":2}', b"\xff"])
def test_what_is_no_json_is_no_manifest(content: bytes) -> None:
    with pytest.raises(ArtifactError, match="not JSON with one meaning"):
        parse_manifest(content, OCI_IMAGE)


@pytest.mark.parametrize(
    ("value", "key", "media_type", "most"),
    [
        (IMAGE, "layers", OCI_IMAGE, MAX_BLOBS),
        (ARTIFACT, "blobs", OCI_ARTIFACT, MAX_BLOBS),
        (INDEX, "manifests", OCI_INDEX, MAX_MANIFESTS),
    ],
)
def test_the_number_of_parts_is_bounded(value: dict[str, Any], key: str, media_type: str, most: int) -> None:
    parse({**value, key: [ONE] * most}, media_type)
    with pytest.raises(ArtifactError, match=f"more than {most}") as caught:
        parse({**value, key: [ONE] * (most + 1)}, media_type)
    assert caught.value.reason is Reason.LIMIT_EXCEEDED
