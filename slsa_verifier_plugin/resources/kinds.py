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
    Resource,
)

# Gatekeeper's four groups, and one of Kubernetes' own.
MUTATION_GROUP = "mutations.gatekeeper.sh"
PROVIDER_GROUP = "externaldata.gatekeeper.sh"
TEMPLATE_GROUP = "templates.gatekeeper.sh"
CONSTRAINT_GROUP = "constraints.gatekeeper.sh"
WEBHOOK_GROUP = "admissionregistration.k8s.io"
KYVERNO_GROUP = "policies.kyverno.io"
# The first two may ask a provider (``externalData``), the others may not.
MUTATOR_KINDS = ("Assign", "AssignMetadata", "ModifySet", "AssignImage")
WEBHOOK_KINDS = ("ValidatingWebhookConfiguration", "MutatingWebhookConfiguration")
# Of Kyverno's kinds those that ``deploy/kyverno`` has; only they may deny what an answer over HTTP says nothing of.
KYVERNO_KINDS = ("ValidatingPolicy", "NamespacedValidatingPolicy")
CONSTRAINT = "constraint"
"""Stands for every kind of the group ``CONSTRAINT_GROUP``: templates name them."""

GROUPS: Mapping[str, tuple[str, ...]] = {
    GROUP: (*VERIFIER_KINDS, *STORE_KINDS, *POLICY_KINDS),
    MUTATION_GROUP: MUTATOR_KINDS,
    PROVIDER_GROUP: ("Provider",),
    TEMPLATE_GROUP: ("ConstraintTemplate",),
    WEBHOOK_GROUP: WEBHOOK_KINDS,
    KYVERNO_GROUP: KYVERNO_KINDS,
}
"""The kinds that are looked at, by API group; constraints are of a group of their own."""

SERVED: Mapping[str, tuple[str, ...]] = {
    MUTATION_GROUP: ("v1", "v1beta1", "v1alpha1"),
    PROVIDER_GROUP: ("v1beta1", "v1alpha1"),
    TEMPLATE_GROUP: ("v1", "v1beta1", "v1alpha1"),
    CONSTRAINT_GROUP: ("v1beta1", "v1alpha1"),
    WEBHOOK_GROUP: ("v1",),
    KYVERNO_GROUP: ("v1", "v1beta1", "v1alpha1"),
}
"""The versions that Gatekeeper 3.14 and later, and Kubernetes, serve; the first is the one to write."""

PASSED_BY = {
    GROUP: ("KeyManagementProvider", "NamespacedKeyManagementProvider", "CertificateStore"),
    WEBHOOK_GROUP: ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"),
    KYVERNO_GROUP: (
        "ImageValidatingPolicy",
        "NamespacedImageValidatingPolicy",
        "MutatingPolicy",
        "NamespacedMutatingPolicy",
        "GeneratingPolicy",
        "NamespacedGeneratingPolicy",
        "DeletingPolicy",
        "NamespacedDeletingPolicy",
        "PolicyException",
    ),
}
"""Kinds of these groups that exist and that are not looked at."""

Names = tuple[str, ...]
AT_ADMISSION: Names = ("validation.gatekeeper.sh", "*")
"""The points of enforcement at which a constraint can keep a Pod out (Gatekeeper 3.17, "scoped")."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What may stand in a kind of resource. ``*`` in a way stands for every item of a list.

    Args:
        fields: the names that an object at a way may have.
        values: the texts that may stand at a way.
    """

    fields: Mapping[Names, Names]
    values: Mapping[Names, Names]


@cache
def shape_of(kind: str) -> Shape | None:
    """Return what may stand in a kind of resource, or in one of the parts that ``shapes.json`` has for several; None for others.

    Args:
        kind: as ``kind_of`` returns it.
    """
    # Our own file, so the lenient parser does. A way has dots in it, and names have blanks between them.
    told = json.loads(carried("slsa_verifier_plugin.resources", "shapes.json")).get(kind)
    if told is None:
        return None
    shape = Shape({}, {})
    for part in told.get("like", "").split():
        if like := shape_of(part):
            shape = Shape({**shape.fields, **like.fields}, {**shape.values, **like.values})
    return Shape(
        {**shape.fields, **_ways(told.get("fields", {}))}, {**shape.values, **_ways(told.get("values", {}))}
    )


def _ways(told: Mapping[str, str]) -> Mapping[Names, Names]:
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
