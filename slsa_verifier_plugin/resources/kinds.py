"""The kinds of resources that ``policy check`` looks at: their API groups, the names of their fields, and fixed values.

The API server drops a field that it does not know, with a warning that few see: a misspelt ``namespaces`` in a match makes a
constraint apply to the whole cluster, and a misspelt ``excludedNamespaces`` to what should have been left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from slsa_verifier_plugin.policy.carried import carried
from slsa_verifier_plugin.resources.ratify_resources import (
    GROUP,
    POLICY_KINDS,
    STORE_KINDS,
    VERIFIER_KINDS,
    VERSIONS,
    Resource,
)

Names = tuple[str, ...]

# Our own file, so the lenient parser does. Names have blanks between them.
_TOLD = json.loads(carried("slsa_verifier_plugin.resources", "kinds.json"))


def _of_groups(what: str) -> dict[str, Names]:
    return {group: tuple(told.get(what, "").split()) for group, told in _TOLD["groups"].items()}


GROUPS = {**_of_groups("kinds"), GROUP: (*VERIFIER_KINDS, *STORE_KINDS, *POLICY_KINDS)}
"""The kinds that are looked at, by API group; of constraints' group none is written down, for templates name them."""
SERVED = {**_of_groups("served"), GROUP: VERSIONS}
"""The versions that are served, by group; the first is the one to write."""
PASSED_BY = _of_groups("passedBy")
"""Kinds of these groups that exist and that are not looked at."""

MUTATION_GROUP = "mutations.gatekeeper.sh"
CONSTRAINT_GROUP = "constraints.gatekeeper.sh"
KYVERNO_GROUP = "policies.kyverno.io"
# The first two may ask a provider (``externalData``), the others may not.
MUTATOR_KINDS = GROUPS[MUTATION_GROUP]
# The first validates, the second mutates.
WEBHOOK_KINDS = GROUPS["admissionregistration.k8s.io"]
# Of Kyverno's kinds those that ``deploy/kyverno`` has; only they may deny what an answer over HTTP says nothing of.
KYVERNO_KINDS = GROUPS[KYVERNO_GROUP]
CONSTRAINT = "constraint"
"""Stands for every kind of the group ``CONSTRAINT_GROUP``: templates name them."""
AT_ADMISSION: Names = ("validation.gatekeeper.sh", "*")
"""The points of enforcement at which a constraint can keep a Pod out (Gatekeeper 3.17, "scoped")."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What may stand in a kind of resource. ``*`` in a way stands for every item of a list.

    Args:
        fields: the names that an object at a way may have.
        values: the texts that may stand at a way.
        checked_for: what the kind is checked for, beside the names of its fields.
    """

    fields: Mapping[Names, Names]
    values: Mapping[Names, Names]
    checked_for: str


@cache
def shape_of(kind: str) -> Shape:
    """Return what may stand in a kind of resource, or in a part of ``kinds.json`` that several have; nothing for others.

    Args:
        kind: as ``kind_of`` returns it.
    """
    told = _TOLD["kinds"].get(kind, {})
    shape = Shape(_ways(told.get("fields", {})), _ways(told.get("values", {})), told.get("checkedFor", ""))
    for like in map(shape_of, told.get("like", "").split()):
        # What the kind says itself goes before what it is like.
        fields, values = {**like.fields, **shape.fields}, {**like.values, **shape.values}
        shape = Shape(fields, values, shape.checked_for or like.checked_for)
    return shape


def _ways(told: Mapping[str, str]) -> Mapping[Names, Names]:
    # A way has dots in it.
    return {tuple(filter(None, way.split("."))): tuple(names.split()) for way, names in told.items()}


def kind_of(resource: Resource) -> str:
    """Return the kind that a resource is looked at as, empty for one that is not.

    Args:
        resource: of whatever kind. One of Ratify's kinds in another group (or none) still counts: its group is the mistake.
    """
    group = resource.api_version.partition("/")[0]
    # Templates name constraints' kinds, so any kind of this group is one.
    if group == CONSTRAINT_GROUP:
        return CONSTRAINT
    if resource.kind in GROUPS.get(group, ()):
        return resource.kind
    # Other projects have a Policy, Store or Provider too; nobody else has these names.
    unmistakable = (*VERIFIER_KINDS, *MUTATOR_KINDS[:2], "ConstraintTemplate")
    return resource.kind if resource.kind in unmistakable else ""


def group_of(kind: str) -> str:
    """Return the API group of a kind that ``GROUPS`` has, empty for others."""
    return next((group for group, kinds in GROUPS.items() if kind in kinds), "")
