"""What is wrong with the files of an admission set-up, before a cluster tells it by admitting too much or nothing.

Ratify's Verifiers, Stores and Policies here; Gatekeeper's side in ``lint_gatekeeper``. Each alone, and together.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

from slsa_verifier_plugin.members import at
from slsa_verifier_plugin.policy.parameters import DEFAULT_TIMEOUT, ParameterError, Policy, parse_policy
from slsa_verifier_plugin.problem import Key
from slsa_verifier_plugin.resources.kinds import (
    CONSTRAINT_GROUP,
    GROUPS,
    KYVERNO_KINDS,
    PASSED_BY,
    SERVED,
    group_of,
    kind_of,
)
from slsa_verifier_plugin.resources.lint_fields import lint_fields
from slsa_verifier_plugin.resources.lint_gatekeeper import GatekeeperSide
from slsa_verifier_plugin.resources.lint_kyverno import asks_verifier
from slsa_verifier_plugin.resources.lint_roots import lint_roots
from slsa_verifier_plugin.resources.lint_stores import lint_store
from slsa_verifier_plugin.resources.lint_values import type_slips, unmatchable, zero_digests
from slsa_verifier_plugin.resources.problems import ERROR, Remark, ResourceProblem, error, warning
from slsa_verifier_plugin.resources.ratify_resources import (
    GROUP,
    PLUGIN_TYPES,
    POLICY_KINDS,
    RULES,
    VERIFIER_KINDS,
    MalformedResourceError,
    Resource,
    VerifierResource,
    verifier_of,
)
from slsa_verifier_plugin.text import nearest, plain, quoted, some_of

POLICY_NAME = "ratify-policy"
"""Ratify v1.4.4 takes a Policy of no other name."""
RATIFY_SECONDS = 5.0
"""Ratify's own time limit for a validation (v1.4.4, chart default)."""


@dataclass(frozen=True, slots=True)
class PolicyFindings:
    """What came of a check.

    Args:
        problems: what is wrong, in the order of the files.
        checked: resources that were looked at, by kind.
        not_looked_at: the others, by kind.
        not_checked: what would have needed something that is not here, for people.
    """

    problems: Sequence[ResourceProblem]
    checked: Mapping[str, int]
    not_looked_at: Mapping[str, int]
    not_checked: Sequence[str]


def lint(
    resources: Sequence[Resource],
    plugins: Path | None = None,
    filled: Mapping[str, frozenset[str]] | None = None,
    allow_empty: bool = False,
) -> PolicyFindings:
    """Return what is wrong with ``resources``, and what of them was looked at.

    Args:
        resources: of all files that are meant for one cluster. Of two with one kind and name the cluster will hold one: they are
            alternatives, each checked with the others.
        plugins: Ratify's plugin directory, to look into; None not to.
        filled: by file, the paths of fields that a kustomization beside it fills in.
        allow_empty: whether it is right that nothing here is of a kind that is looked at.
    """
    return _PolicyReview(resources, plugins, filled or {}, allow_empty).findings()


@dataclass(slots=True)
class _PolicyReview:
    """Looks at resources. Each method looks at one kind of them, or at all together."""

    _resources: Sequence[Resource]
    _plugins: Path | None
    _filled: Mapping[str, frozenset[str]]
    _is_empty_right: bool
    _verifiers: list[VerifierResource] = field(default_factory=list)
    _timeout: float = DEFAULT_TIMEOUT
    _checked: Counter[str] = field(default_factory=Counter)
    _not_looked_at: Counter[str] = field(default_factory=Counter)

    def findings(self) -> PolicyFindings:
        for resource in self._resources:
            self._count(resource)
        looks = (
            self._api_version,
            self._fields,
            zero_digests,
            self._verifier,
            lint_store,
            self._policy,
        )
        # One look after the other: rules of a Policy are compared with all Verifiers.
        found = [problem for look in looks for problem in self._noted(look)]
        # These two ask about all resources together, so each of them has been looked at before.
        found += [_problem(*remark) for remark in self._same_types()]
        # One by one: the last of them looks at what has been found.
        for resource, remark in self._nothing_known(found):
            found.append(_problem(resource, remark))
        # Made now: the time limits of the Verifiers are known.
        gatekeeper = GatekeeperSide.of(self._resources, self._timeout, self._filled)
        found += self._noted(gatekeeper.remarks)
        not_checked = (what for resource in self._resources for what in gatekeeper.not_checked(resource))
        # The problems of a file stay together and go by line; files are in the order in which each had its first one.
        order = {
            source: number for number, source in enumerate(dict.fromkeys(p.position.source for p in found))
        }
        found.sort(key=lambda p: (order[p.position.source], p.position.line, p.position.column))
        # Each sentence is told once.
        return PolicyFindings(found, self._checked, self._not_looked_at, list(dict.fromkeys(not_checked)))

    def _noted(self, look: Callable[[Resource], Iterator[Remark]]) -> Iterator[ResourceProblem]:
        for resource in self._resources:
            yield from (_problem(resource, remark) for remark in look(resource))

    def _count(self, resource: Resource) -> None:
        kind = kind_of(resource)
        # Reported by kind, so that nobody takes the file for checked as a whole.
        if not kind:
            self._not_looked_at[resource.kind or "object without a kind"] += 1
        # Counted apart, so that nobody takes another plugin's parameters for checked.
        elif kind in VERIFIER_KINDS and not self._may_be_ours(resource):
            self._not_looked_at[f"{kind} of another plugin"] += 1
        elif kind in KYVERNO_KINDS and not asks_verifier(resource):
            self._not_looked_at[f"{kind} without a question to a verifier"] += 1
        else:
            self._checked[kind] += 1

    def _fields(self, resource: Resource) -> Iterator[Remark]:
        # Whose policy asks somebody else may be of any version of Kyverno.
        if resource.kind not in KYVERNO_KINDS or asks_verifier(resource):
            yield from lint_fields(resource)

    def _may_be_ours(self, resource: Resource) -> bool:
        try:
            return self._is_ours(verifier_of(resource, None))
        except MalformedResourceError:
            # Looked at: that it is malformed is what is found.
            return True

    def _api_version(self, resource: Resource) -> Iterator[Remark]:
        kind, (group, _, version) = kind_of(resource), resource.api_version.partition("/")
        if not kind:
            return
        # A constraint is known by its group alone, for templates name the kinds: its group cannot be wrong here.
        expected = group_of(kind) or group
        newest, *older = SERVED[expected]
        # In another group it is another kind, which Ratify and Gatekeeper never see.
        if group != expected:
            whose = "Ratify v1's" if expected == GROUP else f"that of kind {kind}"
            found = f"apiVersion {quoted(resource.api_version)} is not {whose}"
            yield error(["apiVersion"], found, f"write {expected}/{newest}")
        # The API server refuses an object of a version that is not served.
        elif version not in (newest, *older):
            served = " or ".join((newest, *older))
            what = f"{quoted(resource.api_version)} is served by nobody, expected {group}/{served}"
            yield error(["apiVersion"], what, f"write {group}/{newest}")
        elif group == GROUP and version in older:
            yield warning(["apiVersion"], f"{version} is deprecated", f"write {group}/{newest}")

    def _verifier(self, resource: Resource) -> Iterator[Remark]:
        if not resource.is_ratify(VERIFIER_KINDS):
            return
        try:
            # Paths stay as they are: in the cluster there is no folder that they could be relative to.
            verifier = verifier_of(resource, None)
        except MalformedResourceError as malformed:
            yield Remark(ERROR, malformed.problem)
            return
        # Parameters of other plugins have shapes of their own.
        if not self._is_ours(verifier):
            return
        self._verifiers.append(verifier)
        yield from self._type(resource, verifier)
        for remark in type_slips(verifier.artifact_types):
            yield remark.below("spec", "artifactTypes")
        for remark in self._parameters(verifier):
            yield remark.below("spec", "parameters")

    def _is_ours(self, verifier: VerifierResource) -> bool:
        if verifier.type in PLUGIN_TYPES:
            return True
        # A misspelt type is a mistake to report, and the parameter is one that this plugin demands.
        return bool(nearest(verifier.type, PLUGIN_TYPES)) or "expectedVerifiedLevels" in verifier.config

    def _type(self, resource: Resource, verifier: VerifierResource) -> Iterator[Remark]:
        # Where the type was taken from: Ratify takes spec.name where there is no spec.type.
        path = ["spec", "type" if resource.spec.get("type") else "name"]
        # The directory decides: a plugin may be installed there under any name.
        if self._plugins is not None:
            if not os.access(self._plugins / verifier.type, os.X_OK):
                what = f"the plugin directory {quoted(str(self._plugins))} has no executable {quoted(verifier.type)}"
                remedy = "install the plugin there ('slsa-verifier-plugin install'), or correct the type"
                yield error(path, what, remedy)
        elif verifier.type not in PLUGIN_TYPES:
            what = f"the type {quoted(verifier.type)} is no name that this plugin is installed under"
            yield error(path, what, f"write {' or '.join(PLUGIN_TYPES)}")

    def _parameters(self, verifier: VerifierResource) -> Iterator[Remark]:
        """Yield what is wrong with the parameters of a Verifier; the longest time limit is kept."""
        refused: set[tuple[Key, ...]] = set()
        policy: Policy | None = None
        try:
            policy = parse_policy(verifier.config)
        except ParameterError as invalid:
            for violation in invalid.violations:
                refused.add(violation.where)
                what = f"{violation.place}: {violation.what}" if violation.where else violation.what
                yield error(
                    violation.where, what, violation.remedy or "docs/parameters.md lists all parameters"
                )
        # What the schema refuses is told with what is meant.
        yield from (remark for remark in unmatchable(verifier.config) if remark.problem.where not in refused)
        # Of parameters that are not valid no time limit is known; the default stands in.
        if policy is not None:
            self._timeout = max(self._timeout, policy.timeout)
            yield from _limits(policy)
            yield from lint_roots(policy)

    def _nothing_known(self, found: Sequence[ResourceProblem]) -> Iterator[tuple[Resource, Remark]]:
        """Say so where nothing here is of a kind that is looked at: silence would pass for approval."""
        unknown = [item for item in self._resources if not kind_of(item)]
        for resource in unknown:
            group = resource.api_version.partition("/")[0]
            meant = group if group in GROUPS else nearest(group, GROUPS, 0.85)
            known = (*GROUPS.get(meant, ()), *PASSED_BY.get(meant, ()))
            # A kind that exists in the group and is not looked at is no slip. Templates name the kinds of constraints.
            near = resource.kind if meant == CONSTRAINT_GROUP else nearest(resource.kind, known, 0.8)
            if near and (near, meant) != (resource.kind, group):
                # The right kind in a group that is nearly the right one.
                place: Key = "apiVersion" if near == resource.kind else "kind"
                named = quoted(resource.api_version if place == "apiVersion" else resource.kind)
                remedy = f"write {near}" if place == "kind" else f"write the group {meant}"
                what = f"the {place} {named} is none that is known here: nothing of it is checked"
                yield resource, error([place], what, remedy)
        is_told = any(problem.severity == ERROR for problem in found)
        if self._resources and not (self._checked or is_told or self._is_empty_right):
            only = plain(some_of(sorted(self._not_looked_at), 4), 512)
            what = f"nothing here is looked at, for there is only {only}"
            remedy = f"give a file with a {VERIFIER_KINDS[0]} of this plugin, or what surrounds one"
            yield self._resources[0], error(["kind"], what, remedy)

    def _same_types(self) -> Iterator[tuple[Resource, Remark]]:
        for other, verifier in combinations(self._verifiers, 2):
            shared = set(verifier.artifact_types) & set(other.artifact_types)
            # Of one name the cluster holds one: a folder may have a variant of it for each environment.
            if verifier.shown() == other.shown():
                continue
            # Ratify keeps Verifiers by namespace, so two in different ones never meet.
            if shared and verifier.namespace == other.namespace and verifier.resource is not None:
                both = f"{verifier.name} and {other.name} are both for {', '.join(sorted(shared))}"
                what = f"{both}; Ratify runs one of them"
                remedy = "give each a type of its own, or keep one"
                yield verifier.resource, error(["spec", "artifactTypes"], what, remedy)

    def _policy(self, resource: Resource) -> Iterator[Remark]:
        rules = at(resource.spec, "parameters", "artifactVerificationPolicies")
        if not resource.is_ratify(POLICY_KINDS):
            return
        if resource.name != POLICY_NAME:
            what = f"the {resource.kind} is named {quoted(resource.name)}: Ratify reads the one named {POLICY_NAME} alone"
            yield error(["metadata", "name"], what, f"write {POLICY_NAME}")
        # A Policy of Rego has no rules by artifact type.
        if not isinstance(rules, dict):
            return
        path = ["spec", "parameters", "artifactVerificationPolicies"]
        handled = {kind for verifier in self._verifiers for kind in verifier.artifact_types}
        for name, rule in rules.items():
            if rule not in RULES:
                what = f"found {quoted(rule)}, expected any or all"
                yield error([*path, name], what, "write any or all")
            near = nearest(name, handled, 0.8)
            # ``default`` is Ratify's name for all types without a rule of their own.
            if name not in ("default", *handled) and near:
                what = f"no Verifier here is for {quoted(name)}: the rule can never be met, and every image is denied"
                yield error([*path, name], what, f"write {near}")
            # Whoever may push could deny an image by attaching rubbish to it.
            if name in handled and rule == "all":
                what = "all: one bad attestation, which anybody who may push can attach, takes the image down"
                yield warning([*path, name], what, "write any: one that passes is enough")
        # Ratify requires what its Policy names, and nothing else (v1.4.4, configpolicy.go).
        for kind in sorted(handled - set(rules) - {"*"}):
            then = "an image without such an attestation is admitted if something else on it passes"
            yield error(path, f"{kind} is not named: {then}", f"add {kind}: any")


def _limits(policy: Policy) -> Iterator[Remark]:
    # Ratify ends the call first, and its error has no reason in it.
    if policy.timeout >= RATIFY_SECONDS:
        limit = f"the time limit of {policy.timeout:g} s is not below Ratify's own {RATIFY_SECONDS:g} s"
        what = f"{limit}: a slow registry ends in Ratify's error instead of a reason"
        remedy = "lower it, or raise Ratify's provider.timeout.validationTimeoutSeconds"
        yield warning(["timeout"], what, remedy)
    if policy.source_binding == "none":
        who = "whoever may push to the repository can attach another commit's attestation to any image"
        what, remedy = f"sourceBinding is none: {who}", "set sourceBinding: provenance, or annotation"
        yield warning((), what, remedy)


def _problem(resource: Resource, remark: Remark) -> ResourceProblem:
    problem = remark.problem
    return ResourceProblem(resource.position(*problem.where), remark.severity, problem.what, problem.remedy)
