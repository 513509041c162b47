"""Reads the policies that a provider decides by: Verifier, Policy and Store resources in files, by namespace.

Namespaces are as in Ratify v1.4.4 (``pkg/customresources``): a NamespacedVerifier, NamespacedPolicy or NamespacedStore is for its
``metadata.namespace``, and what a namespace has none of is the cluster's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from slsa_verifier_plugin.checking.decider import Decider, ready_verifiers
from slsa_verifier_plugin.errors import ContractError, RegistryError, TrustRootError, UsageError
from slsa_verifier_plugin.members import object_at
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
_NAMESPACED_KINDS = tuple(f"Namespaced{kind}" for kind in KINDS[:3])
# Numbers tell what was loaded from what was loaded before, and numbers are many.
_GENERATIONS = count(1)
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


def load_policies(paths: Sequence[str], namespaced: bool, service: Service) -> PolicySet:
    """Return the policies in files and folders.

    Args:
        paths: files and folders.
        namespaced: whether namespaces may have policies of their own.
        service: makes policies and stores.

    Raises:
        UsageError: a file cannot be read, or what it says is not valid or not clear.
    """
    files = files_in(paths)
    if not files:
        raise UsageError(
            f"{', '.join(map(quoted, paths))} has no file that ends with {', '.join(ENDINGS)}; expected Verifier resources"
        )
    resources: list[Resource] = []
    verifiers: dict[str, list[VerifierResource]] = {}
    others: set[str] = set()
    remarks: list[str] = []
    # All files first: what decides for a namespace may stand in several of them.
    for file in files:
        found, folder = read_resources(file)
        resources += found
        for resource in found:
            _check_known(resource)
            _check_namespace(resource, namespaced)
            if resource.is_ratify(VERIFIER_KINDS):
                verifier = verifier_of(resource, folder)
                # Others have parameters of their own, which cannot be judged here.
                if verifier.type in PLUGIN_TYPES:
                    verifiers.setdefault(_scope_of(resource), []).append(verifier)
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
    generation = next(_GENERATIONS)
    policies, stores = _one_each(resources, POLICY_KINDS), _one_each(resources, STORE_KINDS)
    scopes: dict[str, PolicyScope] = {}
    # One scope for each namespace that has something of its own, and one for the cluster.
    for name in sorted({CLUSTER, *verifiers, *policies, *stores}):
        # Each kind by itself, as in Ratify: a namespace may have Verifiers of its own and the cluster's Policy.
        own = verifiers.get(name) or verifiers.get(CLUSTER)
        policy, store = (kind.get(name) or kind.get(CLUSTER) for kind in (policies, stores))
        # A namespace with a Policy and no Verifier anywhere has nothing that could decide.
        if own:
            checker, keep_seconds = _decider(own, policy, store, service)
            # It stands in every line of the log, and is a label of the metrics.
            shown = ",".join(verifier.shown() for verifier in own)[:200]
            scopes[name] = PolicyScope(generation, name, shown, checker, keep_seconds)
            remarks += _unmet(checker)
    # The cluster's own Verifiers of other types change nothing: every namespace may still be answered by those that are
    # evaluated.
    return PolicySet(scopes, tuple(remarks), frozenset(others - {CLUSTER, *verifiers}))


def _decider(
    verifiers: Sequence[VerifierResource], policy: Resource | None, store: Resource | None, service: Service
) -> tuple[Decider, float]:
    """Return what decides for one namespace, and the seconds for which what it decided counts again."""
    # As ``verify`` reads them; a Policy in Rego has no rules that are known here.
    rules = rules_of([policy]) if policy is not None else {}
    if policy is not None and "rego" in str(policy.spec.get("type") or policy.spec.get("name")):
        raise UsageError(
            f"{policy.position('spec')}: a Policy in Rego cannot be evaluated here; expected type config-policy"
        )
    settings = object_at(store.spec, "parameters") if store is not None else {}
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
    return checker, max(0.0, min(keep, MOST_SECONDS))


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


def _check_namespace(resource: Resource, namespaced: bool) -> None:
    """Refuse what is for a namespace where none may have its own, or names none.

    Raises:
        UsageError: says which.
    """
    if not resource.is_ratify(_NAMESPACED_KINDS):
        return
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


def _unmet(checker: Decider) -> list[str]:
    """Return a remark for each artifact type that a Policy requires and no verifier here is for: nothing is admitted then."""
    return [
        f"the Policy requires {quoted(kind, 80)}, which no Verifier here is for: no image will be admitted"
        for kind in checker.rules
        if kind != "default" and not any(check.is_for(kind) for check in checker.verifiers)
    ]
