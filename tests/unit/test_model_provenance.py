"""Build provenance of both versions, as far as it binds an image to its source."""

from __future__ import annotations

import json
from typing import Any

import pytest

from slsa_verifier_plugin.errors import StatementError
from slsa_verifier_plugin.model.provenance import MAX_MATERIALS, Material, Provenance, parse_provenance
from slsa_verifier_plugin.model.source_uri import SourceUri
from slsa_verifier_plugin.model.statement import PAYLOAD_TYPE, parse_statement
from tests.support.sigstore import (
    COMMIT,
    IMAGE_DIGEST,
    MAIN,
    REMOVED,
    changed,
    provenance_v02,
    provenance_v1,
    vsa,
)

REPOSITORY = SourceUri("https", "github.com", "example/source-demo", MAIN)
V1_DEPENDENCIES = "predicate.buildDefinition.resolvedDependencies"


def parse(statement: Any) -> Provenance:
    return parse_provenance(parse_statement(PAYLOAD_TYPE, json.dumps(statement).encode()))


def test_provenance_v1_is_read() -> None:
    assert parse(provenance_v1(builder_id="https://builder.example")) == Provenance(
        "https://builder.example", frozenset({f"sha256:{IMAGE_DIGEST}"}), (Material(REPOSITORY, COMMIT),)
    )


def test_provenance_v02_is_read() -> None:
    assert parse(provenance_v02(builder_id="https://builder.example")) == Provenance(
        "https://builder.example", frozenset({f"sha256:{IMAGE_DIGEST}"}), (Material(REPOSITORY, COMMIT),)
    )


def test_all_digests_of_all_subjects_count() -> None:
    subjects = [
        {"name": "a", "digest": {"sha256": "aa", "sha1": "bb"}},
        {"name": "b", "digest": {"sha512": "cc"}},
    ]
    assert parse(provenance_v1(changes={"subject": subjects})).digests == {"sha256:aa", "sha512:cc"}


@pytest.mark.parametrize(
    ("dependency", "is_material"),
    [
        ({"uri": "git+https://github.com/a/b@refs/heads/main", "digest": {"gitCommit": COMMIT}}, True),
        ({"uri": "https://github.com/a/b.git", "digest": {"gitCommit": COMMIT}}, True),
        ({"uri": "https://github.com/a/b", "digest": {"sha1": COMMIT}}, True),
        ({"uri": "https://github.com/a/b", "digest": {"gitCommit": "short", "sha1": COMMIT}}, False),
        ({"uri": "https://github.com/a/b", "digest": {"gitCommit": None}}, False),
        ({"uri": "https://github.com/a/b", "digest": {"sha256": "ab" * 32}}, False),
        ({"uri": "https://github.com/a/b", "digest": {}}, False),
        ({"uri": "https://github.com/a/b", "digest": "x"}, False),
        ({"uri": "https://github.com/a/b"}, False),
        ({"uri": "pkg:docker/debian", "digest": {"gitCommit": COMMIT}}, False),
        ({"uri": None, "digest": {"gitCommit": COMMIT}}, False),
        ({"digest": {"gitCommit": COMMIT}}, False),
        (None, False),
        ("x", False),
    ],
)
def test_dependencies_that_are_commits_are_materials(dependency: object, is_material: bool) -> None:
    for statement in (
        provenance_v1(changes={V1_DEPENDENCIES: [dependency]}),
        provenance_v02(changes={"predicate.materials": [dependency]}),
    ):
        materials = parse(statement).materials
        expected = (Material(materials[0].repository, COMMIT),) if is_material else ()
        assert materials == expected


@pytest.mark.parametrize("statement", [provenance_v1(), provenance_v02()], ids=["v1", "v0.2"])
def test_no_dependencies_are_no_materials(statement: dict[str, Any]) -> None:
    path = V1_DEPENDENCIES if statement["predicateType"].endswith("v1") else "predicate.materials"
    assert parse(changed(statement, {path: REMOVED})).materials == ()
    assert parse(changed(statement, {path: []})).materials == ()


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        (vsa(), "the predicate type is"),
        (provenance_v1(changes={"predicateType": "https://slsa.dev/provenance/v2"}), "the predicate type is"),
        (provenance_v1(changes={"predicateType": "https://slsa.dev/provenance/v0.2"}), "no builder object"),
        (provenance_v02(changes={"predicateType": "https://slsa.dev/provenance/v1"}), "no runDetails object"),
        (provenance_v1(changes={"predicate.runDetails": REMOVED}), "no runDetails object"),
        (provenance_v1(changes={"predicate.runDetails.builder": "x"}), "no builder object"),
        (provenance_v1(changes={"predicate.runDetails.builder": {}}), "names no builder"),
        (provenance_v1(changes={"predicate.runDetails.builder.id": ""}), "names no builder"),
        (provenance_v1(changes={"predicate.runDetails.builder.id": 1}), "names no builder"),
        (provenance_v1(changes={"predicate.buildDefinition": REMOVED}), "no buildDefinition object"),
        (provenance_v1(changes={V1_DEPENDENCIES: {}}), "no list, or too many"),
        (provenance_v1(changes={V1_DEPENDENCIES: None}), "no list, or too many"),
        (provenance_v1(changes={V1_DEPENDENCIES: [0] * (MAX_MATERIALS + 1)}), "no list, or too many"),
        (provenance_v02(changes={"predicate.builder": REMOVED}), "no builder object"),
        (provenance_v02(changes={"predicate.materials": "x"}), "no list, or too many"),
    ],
)
def test_malformed_provenance_is_refused(statement: dict[str, Any], problem: str) -> None:
    with pytest.raises(StatementError, match=problem):
        parse(statement)


def test_as_many_dependencies_as_allowed_are_read() -> None:
    statement = provenance_v1(changes={V1_DEPENDENCIES: [0] * MAX_MATERIALS})
    assert parse(statement).materials == ()
