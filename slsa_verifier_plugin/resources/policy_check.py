"""What is wrong with the files of an admission set-up, before a cluster tells it by admitting too much or nothing.

Ratify's Verifiers, Stores and Policies here; Gatekeeper's side in ``policy_check_gatekeeper``. Each alone, and together.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from slsa_verifier_plugin.errors import UsageError
from slsa_verifier_plugin.policy.parameters import DEFAULT_TIMEOUT, ParameterError, Policy, parse_policy
from slsa_verifier_plugin.resources.documents import Position
from slsa_verifier_plugin.resources.policy_check_gatekeeper import (
    GATEKEEPER_KINDS,
    check_gatekeeper,
    is_constraint,
)
from slsa_verifier_plugin.resources.policy_check_roots import check_roots
from slsa_verifier_plugin.resources.policy_check_values import unmatchable
from slsa_verifier_plugin.resources.problems import ERROR, WARNING, Problem, Problems, at
from slsa_verifier_plugin.resources.ratify_resources import (
    GROUP,
    PLUGIN_TYPES,
    POLICY_KINDS,
    RULES,
    STORE_KINDS,
    VERIFIER_KINDS,
    VERSIONS,
    Resource,
    VerifierResource,
    verifier_of,
)
from slsa_verifier_plugin.text import quoted

ARTIFACT_TYPE = "slsla/attestation"
"""What the demo and Ratify's own SLSA plugin attach; ``slsa/attestation`` is the usual slip."""
RATIFY_SECONDS = 5.0
"""Ratify's own time limit for a validation (v1.4.4, chart default)."""


def check(resources: Sequence[Resource], plugins: Path | None = None) -> list[Problem]:
    """Return what is wrong with ``resources``, in the order of the files.

    Args:
        resources: of all files that are meant for one cluster.
        plugins: Ratify's plugin directory, to look into; None not to.
    """
    found = _Checker(resources, plugins).problems()
    order = {source: number for number, source in enumerate(dict.fromkeys(p.position.source for p in found))}
    return sorted(found, key=lambda p: (order[p.position.source], p.position.line, p.position.column))


class _Checker:
    """Collects problems. Each check looks at one kind of resource, or at two together."""

    def __init__(self, resources: Sequence[Resource], plugins: Path | None) -> None:
        self._resources = resources
        self._plugins = plugins
        self._problems = Problems()
        self._verifiers: list[VerifierResource] = []
        self._timeout = DEFAULT_TIMEOUT

    def problems(self) -> list[Problem]:
        checks: Iterable[Callable[[Resource], None]] = (
            self._api_version,
            self._verifier,
            self._store,
            self._policy,
        )
        for one in checks:
            for resource in self._resources:
                one(resource)
        self._same_types()
        self._nothing_known()
        return [*self._problems.found, *check_gatekeeper(self._resources, self._timeout)]

    def _api_version(self, resource: Resource) -> None:
        kinds = (*VERIFIER_KINDS, *STORE_KINDS, *POLICY_KINDS)
        group, _, version = resource.api_version.partition("/")
        if resource.kind in VERIFIER_KINDS and group != GROUP:
            self._problems.add(
                resource,
                ["apiVersion"],
                ERROR,
                f"apiVersion {quoted(resource.api_version)} is not Ratify v1's",
                f"write {GROUP}/{VERSIONS[0]}",
            )
        elif resource.kind in kinds and group == GROUP and version not in VERSIONS:
            self._problems.add(
                resource,
                ["apiVersion"],
                ERROR,
                f"Ratify v1 knows no {quoted(version)} of {resource.kind}",
                f"write {GROUP}/{VERSIONS[0]}",
            )
        elif resource.kind in kinds and group == GROUP and version != VERSIONS[0]:
            self._problems.add(
                resource, ["apiVersion"], WARNING, f"{version} is deprecated", f"write {GROUP}/{VERSIONS[0]}"
            )

    def _verifier(self, resource: Resource) -> None:
        if not resource.is_ratify(VERIFIER_KINDS):
            return
        try:
            # Paths stay as they are: in the cluster there is no folder that they could be relative to.
            verifier = verifier_of(resource, None)
        except UsageError as error:
            source = resource.document.source
            # The path itself may have colons and blanks.
            place, _, message = str(error).removeprefix(f"{source}:").partition(": ")
            line, column = (int(part) for part in place.split(":"))
            position = Position(source, line, column)
            self._problems.found.append(Problem(position, ERROR, message, "Ratify cannot use it without"))
            return
        if not self._is_ours(verifier):
            return
        self._verifiers.append(verifier)
        self._type(resource, verifier)
        self._artifact_types(resource, verifier)
        policy = self._parameters(resource, verifier)
        for where, said, remedy in unmatchable(verifier.config):
            self._problems.add(resource, ["spec", "parameters", *where], WARNING, said, remedy)
        if policy is not None:
            self._timeout = max(self._timeout, policy.timeout)
            self._limits(resource, policy)
            check_roots(resource, policy, self._problems)

    def _is_ours(self, verifier: VerifierResource) -> bool:
        if verifier.type in PLUGIN_TYPES:
            return True
        near = difflib.get_close_matches(verifier.type.lower(), PLUGIN_TYPES, 1, 0.6)
        return bool(near) or "expectedVerifiedLevels" in verifier.config

    def _type(self, resource: Resource, verifier: VerifierResource) -> None:
        path = ["spec", "type" if resource.spec.get("type") else "name"]
        if self._plugins is not None:
            if not os.access(self._plugins / verifier.type, os.X_OK):
                self._problems.add(
                    resource,
                    path,
                    ERROR,
                    f"the plugin directory {quoted(str(self._plugins))} has no executable {quoted(verifier.type)}",
                    "install the plugin there ('slsa-verifier-plugin install'), or correct the type",
                )
        elif verifier.type not in PLUGIN_TYPES:
            self._problems.add(
                resource,
                path,
                ERROR,
                f"the type {quoted(verifier.type)} is no name that this plugin is installed under",
                f"write {' or '.join(PLUGIN_TYPES)}",
            )

    def _artifact_types(self, resource: Resource, verifier: VerifierResource) -> None:
        path = ["spec", "artifactTypes"]
        for kind in verifier.artifact_types:
            if kind != kind.strip():
                self._problems.add(
                    resource,
                    path,
                    ERROR,
                    f"{quoted(kind)} has blanks, which Ratify does not take away: it never matches",
                    "write types with commas and no blanks",
                )
            elif kind == "*":
                self._problems.add(
                    resource,
                    path,
                    WARNING,
                    "* hands every artifact to this verifier, also signatures and bills of materials, and denies for them",
                    f"write {ARTIFACT_TYPE}",
                )
            elif kind != ARTIFACT_TYPE and difflib.SequenceMatcher(None, kind, ARTIFACT_TYPE).ratio() > 0.8:
                self._problems.add(
                    resource,
                    path,
                    WARNING,
                    f"{quoted(kind)} is not {ARTIFACT_TYPE}, which the guides attach; Ratify compares them exactly",
                    "write the type that your attestations have; 'slsa-verifier-plugin inspect IMAGE' shows it",
                )

    def _parameters(self, resource: Resource, verifier: VerifierResource) -> Policy | None:
        try:
            return parse_policy(verifier.config)
        except ParameterError as error:
            for violation in error.violations:
                self._problems.add(
                    resource,
                    ["spec", "parameters", *violation.where],
                    ERROR,
                    str(violation),
                    "docs/parameters.md lists all parameters",
                )
            return None

    def _limits(self, resource: Resource, policy: Policy) -> None:
        if policy.timeout >= RATIFY_SECONDS:
            self._problems.add(
                resource,
                ["spec", "parameters", "timeout"],
                WARNING,
                f"the time limit of {policy.timeout:g} s is not below Ratify's own {RATIFY_SECONDS:g} s: a slow registry ends in "
                "Ratify's error instead of a reason",
                "lower it, or raise Ratify's provider.timeout.validationTimeoutSeconds",
            )
        if policy.source_binding == "none":
            self._problems.add(
                resource,
                ["spec", "parameters"],
                WARNING,
                "sourceBinding is none: whoever may push to the repository can attach another commit's attestation to any image",
                "set sourceBinding: provenance, or annotation",
            )

    def _nothing_known(self) -> None:
        """Say so where nothing here is of a kind that is looked at: silence would pass for approval."""
        kinds = [*VERIFIER_KINDS, *STORE_KINDS, *POLICY_KINDS, *GATEKEEPER_KINDS]
        unknown = [item for item in self._resources if not (item.kind in kinds or is_constraint(item))]
        nothing = len(unknown) == len(self._resources)
        for number, resource in enumerate(unknown):
            near = difflib.get_close_matches(resource.kind, kinds, 1, 0.8)
            is_ratifys = resource.api_version.partition("/")[0] == GROUP
            if (near and is_ratifys) or (nothing and number == 0):
                self._problems.add(
                    resource,
                    ["kind"],
                    ERROR,
                    f"the kind {quoted(resource.kind)} is none that is known here: nothing of it is checked",
                    f"write {near[0]}"
                    if near
                    else f"give a file with a {VERIFIER_KINDS[0]}, or what surrounds one",
                )

    def _same_types(self) -> None:
        for index, verifier in enumerate(self._verifiers):
            for other in self._verifiers[:index]:
                shared = set(verifier.artifact_types) & set(other.artifact_types)
                if shared and verifier.namespace == other.namespace and verifier.resource is not None:
                    self._problems.add(
                        verifier.resource,
                        ["spec", "artifactTypes"],
                        ERROR,
                        f"{verifier.name} and {other.name} are both for {', '.join(sorted(shared))}; Ratify runs one of them",
                        "give each a type of its own, or keep one",
                    )

    def _store(self, resource: Resource) -> None:
        if resource.is_ratify(STORE_KINDS) and at(resource.spec, "parameters", "useHttp") is True:
            self._problems.add(
                resource,
                ["spec", "parameters", "useHttp"],
                WARNING,
                "useHttp: attestations and credentials travel unencrypted",
                "leave it out unless the registry is a test's",
            )

    def _policy(self, resource: Resource) -> None:
        rules = at(resource.spec, "parameters", "artifactVerificationPolicies")
        if not resource.is_ratify(POLICY_KINDS) or not isinstance(rules, dict):
            return
        path = ["spec", "parameters", "artifactVerificationPolicies"]
        handled = {kind for verifier in self._verifiers for kind in verifier.artifact_types}
        for name, rule in rules.items():
            if rule not in RULES:
                self._problems.add(
                    resource,
                    [*path, name],
                    ERROR,
                    f"found {quoted(rule)}, expected any or all",
                    "write any or all",
                )
            near = difflib.get_close_matches(name, handled, 1, 0.8)
            if name not in ("default", *handled) and near:
                self._problems.add(
                    resource,
                    [*path, name],
                    ERROR,
                    f"no Verifier here is for {quoted(name)}: the rule can never be met, and every image is denied",
                    f"write {near[0]}",
                )
            if name in handled and rule == "all":
                self._problems.add(
                    resource,
                    [*path, name],
                    WARNING,
                    "all: one bad attestation, which anybody who may push can attach, takes the image down",
                    "write any: one that passes is enough",
                )
        for kind in sorted(handled - set(rules) - {"*"}):
            self._problems.add(
                resource,
                path,
                ERROR,
                f"{kind} is not named: an image without such an attestation is admitted if something else on it passes",
                f"add {kind}: any",
            )
