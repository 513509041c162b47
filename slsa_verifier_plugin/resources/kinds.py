"""The kinds of resources that ``policy check`` looks at: their API groups, the names of their fields, and fixed values.

The API server drops a field that it does not know, with a warning that few see: a misspelt ``namespaces`` in a match makes a
constraint apply to the whole cluster, and a misspelt ``excludedNamespaces`` to what should have been left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

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
# The first two may ask a provider (``externalData``), the others may not.
MUTATOR_KINDS = ("Assign", "AssignMetadata", "ModifySet", "AssignImage")
WEBHOOK_KINDS = ("ValidatingWebhookConfiguration", "MutatingWebhookConfiguration")
CONSTRAINT = "constraint"
"""Stands for every kind of the group ``CONSTRAINT_GROUP``: templates name them."""

GROUPS: Mapping[str, tuple[str, ...]] = {
    GROUP: (*VERIFIER_KINDS, *STORE_KINDS, *POLICY_KINDS),
    MUTATION_GROUP: MUTATOR_KINDS,
    PROVIDER_GROUP: ("Provider",),
    TEMPLATE_GROUP: ("ConstraintTemplate",),
    WEBHOOK_GROUP: WEBHOOK_KINDS,
}
"""The kinds that are looked at, by API group; constraints are of a group of their own."""

SERVED: Mapping[str, tuple[str, ...]] = {
    MUTATION_GROUP: ("v1", "v1beta1", "v1alpha1"),
    PROVIDER_GROUP: ("v1beta1", "v1alpha1"),
    TEMPLATE_GROUP: ("v1", "v1beta1", "v1alpha1"),
    CONSTRAINT_GROUP: ("v1beta1", "v1alpha1"),
    WEBHOOK_GROUP: ("v1",),
}
"""The versions that Gatekeeper 3.14 and later, and Kubernetes, serve; the first is the one to write."""

PASSED_BY = {
    GROUP: ("KeyManagementProvider", "NamespacedKeyManagementProvider", "CertificateStore"),
    WEBHOOK_GROUP: ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"),
}
"""Kinds of these groups that exist and that are not looked at."""

Names = tuple[str, ...]
# The names in ``spec.match``, which Gatekeeper has alike in constraints and mutators.
_MATCH: Names = (
    "kinds", "scope", "namespaces", "excludedNamespaces", "labelSelector", "namespaceSelector", "name", "source",
)  # fmt: skip
_KINDS: Names = ("apiGroups", "kinds")
_APPLY: Names = ("groups", "versions", "kinds")
_SCOPES: Names = ("*", "Cluster", "Namespaced")
# ``Generated`` are the Pods of a Deployment and the like, which Gatekeeper expands.
_SOURCES: Names = ("All", "Generated", "Original")


@dataclass(frozen=True, slots=True)
class Shape:
    """What may stand in a kind of resource. ``*`` in a way stands for every item of a list.

    Args:
        fields: the names that an object at a way may have.
        values: the texts that may stand at a way.
    """

    fields: Mapping[Names, Names]
    values: Mapping[Names, Names] = field(default_factory=dict)


_VERIFIER = Shape(
    {
        ("spec",): (
            "name", "type", "version", "artifactTypes", "artifactType", "address", "source", "parameters",
        ),
        ("spec", "source"): ("artifact", "authProvider"),
    },
)  # fmt: skip
_MATCH_FIELDS: Mapping[Names, Names] = {
    ("spec", "match"): _MATCH,
    ("spec", "match", "kinds", "*"): _KINDS,
    ("spec", "match", "labelSelector"): ("matchLabels", "matchExpressions"),
    ("spec", "match", "namespaceSelector"): ("matchLabels", "matchExpressions"),
}
_MATCH_VALUES: Mapping[Names, Names] = {
    ("spec", "match", "scope"): _SCOPES,
    ("spec", "match", "source"): _SOURCES,
}
_EXTERNAL: Mapping[Names, Names] = {
    ("spec", "parameters", "assign"): ("value", "fromMetadata", "externalData"),
    ("spec", "parameters", "assign", "externalData"): ("provider", "dataSource", "failurePolicy", "default"),
}
_EXTERNAL_VALUES: Mapping[Names, Names] = {
    ("spec", "parameters", "assign", "externalData", "dataSource"): ("ValueAtLocation", "Username"),
    ("spec", "parameters", "assign", "externalData", "failurePolicy"): ("Fail", "Ignore", "UseDefault"),
}
# The fields of a webhook in admissionregistration.k8s.io/v1.
_WEBHOOK = Shape(
    {
        ("webhooks", "*"): (
            "name", "clientConfig", "rules", "failurePolicy", "matchPolicy", "namespaceSelector", "objectSelector",
            "sideEffects", "timeoutSeconds", "admissionReviewVersions", "matchConditions", "reinvocationPolicy",
        )
    },
    {("webhooks", "*", "failurePolicy"): ("Fail", "Ignore"), ("webhooks", "*", "matchPolicy"): ("Exact", "Equivalent")},
)  # fmt: skip

SHAPES: Mapping[str, Shape] = {
    **dict.fromkeys(VERIFIER_KINDS, _VERIFIER),
    **dict.fromkeys(
        STORE_KINDS, Shape({("spec",): ("name", "type", "version", "address", "source", "parameters")})
    ),
    **dict.fromkeys(
        POLICY_KINDS,
        Shape(
            {
                ("spec",): ("type", "parameters"),
                ("spec", "parameters"): (
                    "artifactVerificationPolicies", "passthroughEnabled", "policy", "policyPath",
                ),
            },
            {("spec", "type"): ("config-policy", "configpolicy", "rego-policy", "regopolicy")},
        ),
    ),
    "Provider": Shape({("spec",): ("url", "timeout", "caBundle")}),
    "ConstraintTemplate": Shape(
        {
            ("spec",): ("crd", "targets"),
            ("spec", "targets", "*"): ("target", "rego", "libs", "code", "operations"),
            ("spec", "targets", "*", "code", "*"): ("engine", "source"),
        },
        {
            ("spec", "targets", "*", "target"): ("admission.k8s.gatekeeper.sh",),
            ("spec", "targets", "*", "code", "*", "engine"): ("Rego", "K8sNativeValidation"),
        },
    ),
    CONSTRAINT: Shape(
        {
            ("spec",): ("match", "parameters", "enforcementAction", "scopedEnforcementActions"),
            **_MATCH_FIELDS,
            ("spec", "scopedEnforcementActions", "*"): ("action", "enforcementPoints"),
        },
        {
            **_MATCH_VALUES,
            ("spec", "enforcementAction"): ("deny", "dryrun", "warn", "scoped"),
            ("spec", "scopedEnforcementActions", "*", "action"): ("deny", "dryrun", "warn"),
        },
    ),
    "Assign": Shape(
        {
            ("spec",): ("applyTo", "match", "location", "parameters"),
            ("spec", "applyTo", "*"): _APPLY,
            ("spec", "parameters"): ("assign", "pathTests", "assignIf"),
            **_MATCH_FIELDS,
            **_EXTERNAL,
        },
        {**_MATCH_VALUES, **_EXTERNAL_VALUES},
    ),
    "AssignMetadata": Shape(
        {
            ("spec",): ("match", "location", "parameters"),
            ("spec", "parameters"): ("assign",),
            **_MATCH_FIELDS,
            **_EXTERNAL,
        },
        {**_MATCH_VALUES, **_EXTERNAL_VALUES},
    ),
    "ModifySet": Shape(
        {
            ("spec",): ("applyTo", "match", "location", "parameters"),
            ("spec", "applyTo", "*"): _APPLY,
            ("spec", "parameters"): ("operation", "values", "pathTests"),
            **_MATCH_FIELDS,
        },
        {**_MATCH_VALUES, ("spec", "parameters", "operation"): ("merge", "prune")},
    ),
    "AssignImage": Shape(
        {
            ("spec",): ("applyTo", "match", "location", "parameters"),
            ("spec", "applyTo", "*"): _APPLY,
            ("spec", "parameters"): ("assignDomain", "assignPath", "assignTag", "pathTests"),
            **_MATCH_FIELDS,
        },
        _MATCH_VALUES,
    ),
    **dict.fromkeys(WEBHOOK_KINDS, _WEBHOOK),
}  # fmt: skip


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
