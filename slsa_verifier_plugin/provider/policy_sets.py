"""Reads the policies that a provider decides by: Verifier, Policy and Store resources in files, by namespace.

Namespaces are as in Ratify v1.4.4 (``pkg/customresources``): a NamespacedVerifier, NamespacedPolicy or NamespacedStore is for its
``metadata.namespace``, and what a namespace has none of is the cluster's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from slsa_verifier_plugin.checking.decider import Decider, ready_verifiers
from slsa_verifier_plugin.errors import ContractError, RegistryError, TrustRootError, UsageError
from slsa_verifier_plugin.provider.external_data import is_namespace
from slsa_verifier_plugin.registry.settings import StoreSettings
from slsa_verifier_plugin.resources.ratify_resources import (
    GROUP,
    PLUGIN_TYPES,
    POLICY_KINDS,
    STORE_KINDS,
    VERIFIER_KINDS,
    VERSIONS,
    Resource,
    VerifierResource,
    read_resources,
    rules_of,
    verifier_of,
)
from slsa_verifier_plugin.service.service import Service
from slsa_verifier_plugin.text import quoted

ENDINGS = (".yaml", ".yml", ".json")
"""Files of a folder that hold resources; a mounted ConfigMap has links beside them whose names begin with dots."""
MAX_FILES = 1000
KINDS = ("Verifier", "Policy", "Store", "CertificateStore", "KeyManagementProvider")
"""Kinds that Ratify v1 has, each also with ``Namespaced`` in front; the last two are for other verifiers."""
CLUSTER = ""
"""The scope of what has no namespace."""
CHART_SECONDS = 10
"""Seconds for which Ratify's chart keeps an answer; what counts here where no Store says otherwise."""
MOST_SECONDS = 60
"""A decision is kept no longer than this, whatever a Store asks for: a trusted root or an age may change it."""


@dataclass(frozen=True, slots=True)
class PolicyScope:
    """What decides about the images of one namespace, or of the cluster.

    ``name`` is for people: the Verifiers' names. A decision counts again for ``keep_seconds``, in this ``generation`` of the
    policies.
    """

    generation: int
    namespace: str
    name: str
    checker: Decider
    keep_seconds: float


@dataclass(frozen=True, slots=True)
class PolicySet:
    """All that the files say at one moment. ``foreign``: namespaces all of whose Verifiers are for others to evaluate."""

    scopes: Mapping[str, PolicyScope]
    remarks: tuple[str, ...] = ()
    foreign: frozenset[str] = frozenset()

    def scope_of(self, namespace: str) -> PolicyScope | None:
        """Return what decides for a namespace: its own policies, or those of the cluster; None where there are neither."""
        # Ratify would ask the namespace's own verifiers alone: the cluster's do not speak for them.
        if self.is_foreign(namespace):
            return None
        return self.scopes.get(namespace) or self.scopes.get(CLUSTER)

    def is_foreign(self, namespace: str) -> bool:
        """Return True where a namespace has Verifiers of its own, and none that is evaluated here."""
        return namespace in self.foreign

    def root_problems(self) -> list[str]:
        """Return why trusted roots or keys of the policies cannot be used now; nothing where all can."""
        # A dict, for its keys keep their order: a root that many policies name is told once.
        problems: dict[str, None] = {}
        for scope in self.scopes.values():
            for check in scope.checker.verifiers:
                try:
                    scope.checker.source.verifier(check.policy)
                except TrustRootError as error:
                    problems[error.message] = None
        return list(problems)


def files_in(paths: Iterable[str]) -> list[str]:
    """Return the files that ``--policy`` names: files as they are, of folders those with resources, in their order.

    Raises:
        UsageError: a folder cannot be read, or there are too many files.
    """
    found: list[str] = []
    for path in paths:
        folder = Path(path)
        # A single file counts whatever its name ends with: somebody named it.
        if not folder.is_dir():
            found.append(path)
            continue
        try:
            names = sorted(item.name for item in folder.iterdir())
        except OSError as error:
            raise UsageError(f"{quoted(path)} cannot be read: {error.strerror}") from error
        found += [str(folder / name) for name in names if name.endswith(ENDINGS) and not name.startswith(".")]
    if len(found) > MAX_FILES:
        raise UsageError(f"--policy names {len(found)} files, at most {MAX_FILES} are read")
    return found


def load_policies(paths: Sequence[str], namespaced: bool, service: Service, generation: int) -> PolicySet:
    """Return the policies in files and folders.

    Args:
        paths: files and folders.
        namespaced: whether namespaces may have policies of their own.
        service: makes policies and stores.
        generation: tells this set from those before.

    Raises:
        UsageError: a file cannot be read, or what it says is not valid or not clear.
    """
    files = files_in(paths)
    if not files:
        raise UsageError(
            f"{', '.join(map(quoted, paths))} has no file that ends with {', '.join(ENDINGS)}; expected Verifier resources"
        )
    resources: list[Resource] = []
    verifiers: list[VerifierResource] = []
    others: set[str] = set()
    remarks: list[str] = []
    # All files first: what decides for a namespace may stand in several of them.
    for file in files:
        found, folder = read_resources(file)
        resources += found
        for resource in found:
            _check_known(resource)
            if resource.is_ratify(VERIFIER_KINDS):
                verifier = verifier_of(resource, folder)
                # Others have parameters of their own, which cannot be judged here.
                if verifier.type in PLUGIN_TYPES:
                    verifiers.append(verifier)
                else:
                    others.add(_scope_of(resource))
                    remarks.append(
                        f"the Verifier {verifier.shown()} of type {verifier.type} is left out: only {' and '.join(PLUGIN_TYPES)} "
                        "are verified here"
                    )
    # A provider without a Verifier would answer every key with an error.
    if not verifiers:
        raise UsageError(
            f"{', '.join(map(quoted, paths))} has no Verifier of type {' or '.join(PLUGIN_TYPES)}; nothing would be decided"
        )
    # One scope for each namespace that has something of its own, and one for the cluster.
    by_scope = _Grouped(resources, verifiers, namespaced)
    scopes = {name: by_scope.scope(name, service, generation) for name in by_scope.names()}
    for scope in scopes.values():
        remarks += _unmet(scope)
    # The cluster's own Verifiers of other types change nothing: every namespace may still be answered by those that are
    # evaluated.
    foreign = others - {CLUSTER} - by_scope.decided()
    return PolicySet(
        {name: scope for name, scope in scopes.items() if scope}, tuple(remarks), frozenset(foreign)
    )


class _Grouped:
    """Resources by the namespace that they are for.

    Raises:
        UsageError: one is for a namespace where none may have its own, or names none.
    """

    def __init__(
        self, resources: Sequence[Resource], verifiers: Sequence[VerifierResource], namespaced: bool
    ) -> None:
        kinds = (*VERIFIER_KINDS, *POLICY_KINDS, *STORE_KINDS)
        for resource in resources:
            if resource.is_ratify(kinds) and resource.kind.startswith("Namespaced"):
                place = resource.position("metadata")
                # Passed over, the namespace's owner would believe that it counts.
                if not namespaced:
                    raise UsageError(
                        f"{place}: a {resource.kind} counts for one namespace, which only 'serve --namespaced' is told; expected "
                        f"a {resource.kind.removeprefix('Namespaced')}"
                    )
                # Ratify takes the namespace of the request; a file has none but this.
                if not resource.namespace:
                    raise UsageError(f"{place}: the {resource.kind} has no metadata.namespace")
                # No key would ever ask for it, and the cluster's policies would decide in its place.
                if not is_namespace(resource.namespace):
                    raise UsageError(f"{place}: {quoted(resource.namespace, 80)} is no name of a namespace")
        self._verifiers: dict[str, list[VerifierResource]] = {}
        for verifier in verifiers:
            assert verifier.resource is not None
            self._verifiers.setdefault(_scope_of(verifier.resource), []).append(verifier)
        self._policies = _one_each(resources, POLICY_KINDS)
        self._stores = _one_each(resources, STORE_KINDS)

    def decided(self) -> set[str]:
        """Return every namespace that has a Verifier of its own."""
        return set(self._verifiers)

    def names(self) -> list[str]:
        """Return every namespace that has something of its own, and that of the cluster."""
        return sorted({CLUSTER, *self._verifiers, *self._policies, *self._stores})

    def scope(self, name: str, service: Service, generation: int) -> PolicyScope | None:
        """Return what decides for one namespace; None where not even the cluster has a verifier."""
        verifiers = self._verifiers.get(name) or self._verifiers.get(CLUSTER)
        if not verifiers:
            return None
        # Each kind by itself, as in Ratify: a namespace may have Verifiers of its own and the cluster's Policy.
        policy = self._policies.get(name) or self._policies.get(CLUSTER)
        store = self._stores.get(name) or self._stores.get(CLUSTER)
        # As ``verify`` reads them; a Policy in Rego has no rules that are known here.
        rules = rules_of([policy]) if policy is not None else {}
        if policy is not None and "rego" in str(policy.spec.get("type") or policy.spec.get("name")):
            raise UsageError(
                f"{policy.position('spec')}: a Policy in Rego cannot be evaluated here; expected type config-policy"
            )
        parameters = store.spec.get("parameters") if store is not None else None
        settings = {"name": "oras", **(parameters if isinstance(parameters, dict) else {})}
        try:
            parsed = StoreSettings.parse(settings)
            used = service.store(settings)
        except ContractError as error:
            raise UsageError(f"{error.message}: {error.details}") from error
        except RegistryError as error:
            # A provider of credentials that is unknown or not installed: every image would be undecided.
            raise UsageError(error.message) from error
        # Ratify's own cache settings say for how long an answer counts again.
        asked_for = parsed.cache_ttl if parsed.cache_enabled else 0
        keep = float(CHART_SECONDS if store is None else asked_for)
        # brief: an API server waits, so one passing attestation ends the search where the rule is any.
        checker = Decider(ready_verifiers(verifiers, service), service, used, rules, brief=True)
        # It stands in every line of the log, and is a label of the metrics.
        shown = ",".join(verifier.shown() for verifier in verifiers)
        return PolicyScope(generation, name, shown[:200], checker, max(0.0, min(keep, MOST_SECONDS)))


def _check_known(resource: Resource) -> None:
    """Refuse what looks like a policy, and would count for nothing.

    Raises:
        UsageError: it is of Ratify's group, in a version or of a kind that Ratify v1 does not have.
    """
    group, _, version = resource.api_version.partition("/")
    # What is of another group (a ConfigMap in the same file) does not look like a policy.
    if group == GROUP and (version not in VERSIONS or resource.kind.removeprefix("Namespaced") not in KINDS):
        raise UsageError(
            f"{resource.position('kind')}: {quoted(resource.api_version, 80)} {quoted(resource.kind, 80)} is not known; expected "
            f"a {', '.join(KINDS[:3])} of {GROUP}/{VERSIONS[0]}"
        )


def _scope_of(resource: Resource) -> str:
    return resource.namespace if resource.kind.startswith("Namespaced") else CLUSTER


def _one_each(resources: Iterable[Resource], kinds: tuple[str, ...]) -> dict[str, Resource]:
    """Return the one resource of ``kinds`` that each namespace has.

    Raises:
        UsageError: one has two, and which of them counts would be chance.
    """
    found: dict[str, Resource] = {}
    for resource in resources:
        if resource.is_ratify(kinds):
            earlier = found.setdefault(_scope_of(resource), resource)
            if earlier is not resource:
                raise UsageError(
                    f"{resource.position()}: a second {resource.kind} beside {quoted(earlier.name)} ({earlier.position()}); "
                    "expected one"
                )
    return found


def _unmet(scope: PolicyScope | None) -> list[str]:
    """Return a remark for each artifact type that a Policy requires and no verifier here is for: nothing is admitted then."""
    # A namespace with a Policy and no Verifier anywhere.
    if scope is None:
        return []
    return [
        f"the Policy requires {quoted(kind, 80)}, which no Verifier here is for: no image will be admitted"
        for kind in scope.checker.rules
        if kind != "default" and not any(check.is_for(kind) for check in scope.checker.verifiers)
    ]
