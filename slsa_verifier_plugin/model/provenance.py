"""SLSA build provenance (SLSA v1.x ``provenance/v1``, v0.2), as far as it binds an image to its source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from slsa_verifier_plugin.errors import StatementError
from slsa_verifier_plugin.members import object_at, text_at
from slsa_verifier_plugin.model.built import Material, built_v02, built_v1, git_materials
from slsa_verifier_plugin.model.statement import Statement
from slsa_verifier_plugin.text import quoted

PREDICATE_V1 = "https://slsa.dev/provenance/v1"
PREDICATE_V02 = "https://slsa.dev/provenance/v0.2"
PREDICATE_TYPES = (PREDICATE_V1, PREDICATE_V02)
MAX_MATERIALS = 65536


@dataclass(frozen=True, slots=True)
class Provenance:
    """Who built, what came out (digests written ``algorithm:hex``), and what went in.

    ``built`` is the repository and commit that were built: none where that is not said, several where it is not clear which.
    ``dependencies`` are all that went in, as written.
    """

    builder_id: str
    digests: frozenset[str]
    built: tuple[Material, ...]
    dependencies: Sequence[Any] = field(default=(), compare=False, repr=False)

    @property
    def materials(self) -> tuple[Material, ...]:
        """All commits that went in, for people alone."""
        return tuple(git_materials(self.dependencies))


def parse_provenance(statement: Statement) -> Provenance:
    """Return the provenance in ``statement``.

    Raises:
        StatementError: another predicate type, or a malformed predicate.
    """
    predicate = statement.predicate
    if statement.predicate_type == PREDICATE_V1:
        # SLSA v1.x, "Provenance": ``runDetails.builder.id`` and ``buildDefinition``.
        builder = _object(_object(predicate, "runDetails"), "builder").get("id")
        definition = _object(predicate, "buildDefinition")
        dependencies = _list(definition.get("resolvedDependencies"))
        external = object_at(definition, "externalParameters")
        # Without a build type nothing is documented: then a source is taken only where there is one alone.
        built = built_v1(text_at(definition, "buildType"), external, dependencies)
    elif statement.predicate_type == PREDICATE_V02:
        # SLSA v0.2, "Provenance": ``builder.id``, ``invocation`` and ``materials``.
        builder = _object(predicate, "builder").get("id")
        dependencies = _list(predicate.get("materials"))
        built = built_v02(text_at(predicate, "buildType"), object_at(predicate, "invocation"), dependencies)
    else:
        raise StatementError(
            f"the predicate type is {quoted(statement.predicate_type)}, expected one of {', '.join(PREDICATE_TYPES)}"
        )
    # SLSA v1.x "builder.id" is required: without it nobody answers for what is said.
    if not isinstance(builder, str) or not builder:
        raise StatementError("the provenance names no builder")
    return Provenance(builder, statement.digests, built, dependencies)


def _list(value: object) -> list[Any]:
    # Optional; Go writes null for an empty list.
    if value is None:
        return []
    # A large build has some thousands; each is compared once.
    if not isinstance(value, list) or len(value) > MAX_MATERIALS:
        raise StatementError("the provenance's dependencies are no list, or too many")
    return value


def _object(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = value.get(name)
    if not isinstance(found, Mapping):
        raise StatementError(f"the provenance has no {name} object")
    return found
