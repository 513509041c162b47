"""SLSA build provenance (SLSA v1.x ``provenance/v1``, v0.2), as far as it binds an image to its source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from slsa_verifier_plugin.errors import StatementError
from slsa_verifier_plugin.model.source_uri import SourceUri
from slsa_verifier_plugin.model.statement import Statement
from slsa_verifier_plugin.model.vsa import is_commit
from slsa_verifier_plugin.text import quoted

PREDICATE_V1 = "https://slsa.dev/provenance/v1"
PREDICATE_V02 = "https://slsa.dev/provenance/v0.2"
PREDICATE_TYPES = (PREDICATE_V1, PREDICATE_V02)
MAX_MATERIALS = 65536


@dataclass(frozen=True, slots=True)
class Material:
    """A repository at a commit that went into a build."""

    repository: SourceUri
    commit: str


@dataclass(frozen=True, slots=True)
class Provenance:
    """Who built, what came out (digests written ``algorithm:hex``), and which commits went in."""

    builder_id: str
    digests: frozenset[str]
    materials: tuple[Material, ...]


def parse_provenance(statement: Statement) -> Provenance:
    """Return the provenance in ``statement``; materials that are no git commits are left out.

    Raises:
        StatementError: another predicate type, or a malformed predicate.
    """
    predicate = statement.predicate
    if statement.predicate_type == PREDICATE_V1:
        builder = _object(_object(predicate, "runDetails"), "builder").get("id")
        dependencies = _object(predicate, "buildDefinition").get("resolvedDependencies", [])
    elif statement.predicate_type == PREDICATE_V02:
        builder = _object(predicate, "builder").get("id")
        dependencies = predicate.get("materials", [])
    else:
        raise StatementError(
            f"the predicate type is {quoted(statement.predicate_type)}, expected one of {', '.join(PREDICATE_TYPES)}"
        )
    if not isinstance(builder, str) or not builder:
        raise StatementError("the provenance names no builder")
    if not isinstance(dependencies, list) or len(dependencies) > MAX_MATERIALS:
        raise StatementError("the provenance's dependencies are no list, or too many")
    return Provenance(
        builder,
        frozenset(
            f"{name}:{text}"
            for subject in statement.subjects
            for name, text in subject.digests.items()
            if name in ("sha256", "sha512")
        ),
        tuple(material for item in dependencies if (material := _material(item))),
    )


def _material(item: Any) -> Material | None:
    if not isinstance(item, Mapping) or not isinstance(item.get("digest"), Mapping):
        return None
    repository = SourceUri.parse(item.get("uri"))
    # v0.2 calls a git commit sha1 (SLSA v0.2 provenance, "materials").
    commit = item["digest"].get("gitCommit", item["digest"].get("sha1"))
    return Material(repository, commit) if repository and is_commit(commit) else None


def _object(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = value.get(name)
    if not isinstance(found, Mapping):
        raise StatementError(f"the provenance has no {name} object")
    return found
