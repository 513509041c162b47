"""Reads Ratify's resources from files, and builds from a Verifier, a Store and a Policy what Ratify hands to the plugin.

Built as Ratify v1.4.4 builds it (``pkg/controllers/utils/verifier.go``): ``name`` is the resource's own, ``type`` is
``spec.type`` or else ``spec.name``, and ``spec.parameters`` lies beside them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slsa_verifier_plugin.errors import UsageError
from slsa_verifier_plugin.members import at, object_at, text_at
from slsa_verifier_plugin.model.forms import RESOURCE, name_of
from slsa_verifier_plugin.problem import Key, Problem
from slsa_verifier_plugin.resources.documents import (
    Document,
    Position,
    objects_in,
    parse_documents,
)
from slsa_verifier_plugin.resources.named_files import Read, read_file
from slsa_verifier_plugin.text import quoted

GROUP = "config.ratify.deislabs.io"
VERSIONS = ("v1beta1", "v1alpha1")
VERIFIER_KINDS = ("Verifier", "NamespacedVerifier")
STORE_KINDS = ("Store", "NamespacedStore")
POLICY_KINDS = ("Policy", "NamespacedPolicy")
PLUGIN_TYPES = ("slsa", "slsla")
"""The names that this plugin is installed under."""
RULES = ("any", "all")
_PATHS = {
    "trustedRoot": ("path", "rootPath"),
    "trustedVerifiers": ("publicKey",),
    "trustedBuilders": ("publicKey",),
}
"""The parameters that hold paths of files, and the members that are these paths."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One Kubernetes resource in a file. ``path`` leads to it within its document, for items of a List."""

    document: Document
    path: tuple[Key, ...]
    value: Mapping[str, Any] = field(repr=False)

    @property
    def kind(self) -> str:
        """Its kind, empty where it has none."""
        return text_at(self.value, "kind")

    @property
    def api_version(self) -> str:
        """Its apiVersion, empty where it has none."""
        return text_at(self.value, "apiVersion")

    @property
    def name(self) -> str:
        """Its ``metadata.name``."""
        return text_at(self.value, "metadata", "name")

    @property
    def namespace(self) -> str:
        """Its ``metadata.namespace``, empty for a resource of the cluster."""
        return text_at(self.value, "metadata", "namespace")

    @property
    def spec(self) -> Mapping[str, Any]:
        """Its ``spec``, empty where it has none."""
        return object_at(self.value, "spec")

    def is_ratify(self, kinds: Iterable[str]) -> bool:
        """Return True for one of Ratify's ``kinds`` in a version that is known."""
        # By version, too: what this version does not serve Ratify never sees.
        group, _, version = self.api_version.partition("/")
        return self.kind in kinds and group == GROUP and version in VERSIONS

    def position(self, *path: Key) -> Position:
        """Return where an entry of it stands."""
        return self.document.position((*self.path, *path))


class MalformedResourceError(UsageError):
    """A resource that Ratify could not use, with the place and the problem as values.

    Args:
        resource: the resource.
        problem: what is wrong; its ``where`` is the way within the resource.
    """

    def __init__(self, resource: Resource, problem: Problem) -> None:
        self.position = resource.position(*problem.where)
        self.problem = problem
        super().__init__(f"{self.position}: {problem.what}")


@dataclass(frozen=True, slots=True)
class VerifierResource:
    """A Verifier: what Ratify would hand to the plugin as ``config``, and the artifact types it is asked for."""

    name: str
    type: str
    namespace: str
    artifact_types: tuple[str, ...]
    config: Mapping[str, Any]
    resource: Resource | None = None

    def shown(self) -> str:
        """Return its name, with the namespace where it has one."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


@dataclass(frozen=True, slots=True)
class Setup:
    """What a file of resources sets up: verifiers of this plugin, the store's settings, and any or all by artifact type."""

    verifiers: tuple[VerifierResource, ...]
    store: Mapping[str, Any] = field(default_factory=dict, repr=False)
    rules: Mapping[str, str] = field(default_factory=dict)


def read_resources(path: str, read: Read = read_file) -> tuple[list[Resource], Path]:
    """Return the resources in a file (``-`` for standard input), items of Lists one by one, and its folder.

    Args:
        path: the file.
        read: reads it.

    Raises:
        UsageError: it cannot be read, or is no YAML of Kubernetes resources.
    """
    content, source, folder = read(path)
    documents = parse_documents(content, source)
    # One bundle, or a trusted root, is YAML as well, as all JSON is. A resource of somebody's own may have such a field.
    others = [each for each in documents if not text_at(each.value, "kind")]
    if any(text_at(each.value, "mediaType") for each in others) and (name := name_of(content, RESOURCE)):
        raise UsageError(f"{source} is {name}")
    found = list(flattened(documents))
    if not found:
        raise UsageError(f"{source} is empty; expected a Verifier resource ({GROUP}/{VERSIONS[0]})")
    return found, folder


def flattened(documents: Iterable[Document]) -> Iterator[Resource]:
    """Yield every resource of ``documents``; what ``kubectl get -o yaml`` wraps in a List is unwrapped.

    Raises:
        UsageError: a document is no object with a kind.
    """
    for document in documents:
        if not isinstance(at(document.value, "kind"), str):
            raise UsageError(
                f"{document.position()}: not a Kubernetes resource; expected an object with apiVersion and kind"
            )
        yield from (Resource(document, path, value) for path, value in objects_in(document))


def read_setup(path: str, wanted: str | None = None, read: Read = read_file) -> Setup:
    """Return what the file at ``path`` sets up for this plugin.

    Args:
        path: a file, or ``-`` for standard input.
        wanted: the name (or ``namespace/name``) of the one Verifier to take; it may then be of any type.
        read: reads the file.

    Raises:
        UsageError: there is no such Verifier, or one is malformed.
    """
    resources, folder = read_resources(path, read)
    verifiers = [verifier_of(item, folder) for item in resources if item.is_ratify(VERIFIER_KINDS)]
    # Without a name only those of this plugin: others would be judged by parameters that are not theirs.
    if wanted is None:
        chosen = [item for item in verifiers if item.type in PLUGIN_TYPES]
    else:
        # By the short or the long name: two namespaces may have Verifiers of one name.
        chosen = [item for item in verifiers if wanted in (item.name, item.shown())]
    if not chosen:
        raise UsageError(_nothing(path, resources, verifiers, wanted))
    # One registry is asked here, by one Store's settings; of several Stores the first in the file counts.
    store = next((item.spec for item in resources if item.is_ratify(STORE_KINDS)), {})
    return Setup(tuple(chosen), object_at(store, "parameters"), rules_of(resources))


def verifier_of(resource: Resource, folder: Path | None) -> VerifierResource:
    """Return the Verifier in ``resource``.

    Args:
        resource: a Verifier or NamespacedVerifier.
        folder: relative paths in its parameters become paths below it; None to leave them.

    Raises:
        MalformedResourceError: a field that Ratify needs is missing or of a wrong type.
    """
    spec = resource.spec
    name, kind = resource.name, text_at(spec, "type") or text_at(spec, "name")
    artifact_types = spec.get("artifactTypes", spec.get("artifactType"))
    parameters = spec.get("parameters", {})
    # metadata.name becomes the name in every report.
    if not name:
        raise _malformed(resource, ("metadata",), f"the {resource.kind} has no metadata.name")
    if not kind:
        raise _malformed(resource, ("spec",), f"the {resource.kind} has neither spec.name nor spec.type")
    # Ratify v1.4.4 takes one text with commas; a list is refused by its CRD.
    if not isinstance(artifact_types, str) or not artifact_types.strip():
        found = "spec.artifactTypes is not text such as slsla/attestation"
        raise _malformed(resource, ("spec", "artifactTypes"), found)
    if not isinstance(parameters, dict):
        raise _malformed(resource, ("spec", "parameters"), "spec.parameters is not an object")
    # Last, so that a parameter of one of these names cannot take their place.
    config = {
        **(parameters if folder is None else absolute_paths(parameters, folder)),
        "name": name,
        "type": kind,
        "artifactTypes": artifact_types,
    }
    # Ratify splits at commas and trims nothing, so that "a, b" never matches "b".
    return VerifierResource(
        name, kind, resource.namespace, tuple(artifact_types.split(",")), config, resource
    )


def _malformed(resource: Resource, where: tuple[Key, ...], found: str) -> MalformedResourceError:
    return MalformedResourceError(resource, Problem(where, found, remedy="Ratify cannot use it without"))


def absolute_paths(parameters: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return ``parameters`` with relative file paths made absolute, so that a policy and its keys can travel together."""
    changed = dict(parameters)
    for name, keys in _PATHS.items():
        value = parameters.get(name)
        # One root, or a list of them for the time of a move; signers are always a list.
        if isinstance(value, list):
            changed[name] = [_absolute(item, keys, folder) for item in value]
        elif value is not None:
            changed[name] = _absolute(value, keys, folder)
    return changed


def _absolute(value: Any, keys: Iterable[str], folder: Path) -> Any:
    # The name of a root such as public-good, or something that the parser of parameters will refuse.
    if not isinstance(value, dict):
        return value
    changed = dict(value)
    for key in keys:
        path = changed.get(key)
        # A PEM block is the key itself, not where it lies.
        if isinstance(path, str) and path and "-----BEGIN" not in path:
            changed[key] = str(folder / path)
    return changed


def rules_of(resources: Iterable[Resource]) -> dict[str, str]:
    """Return any or all by artifact type, from Ratify's config policy; empty where there is none.

    Raises:
        UsageError: a rule is neither any nor all.
    """
    for resource in resources:
        # The first one counts: a cluster holds one Policy of the name that Ratify reads.
        if resource.is_ratify(POLICY_KINDS):
            rules = object_at(resource.spec, "parameters", "artifactVerificationPolicies")
            for name, rule in rules.items():
                if rule not in RULES:
                    place = resource.position("spec", "parameters", "artifactVerificationPolicies", name)
                    raise UsageError(f"{place}: found {quoted(rule)}, expected any or all")
            return dict(rules)
    return {}


def _nothing(
    path: str, resources: list[Resource], verifiers: list[VerifierResource], wanted: str | None
) -> str:
    if verifiers:
        known = ", ".join(f"{item.shown()} of type {item.type}" for item in verifiers[:8])
        if wanted is not None:
            return f"{quoted(path)} has no Verifier named {quoted(wanted)}; it has {known}"
        return (
            f"{quoted(path)} has no Verifier of type {' or '.join(PLUGIN_TYPES)}; it has {known}; "
            "correct spec.type, or choose one with --verifier"
        )
    # What is in the file instead tells most people that it is the wrong one.
    kinds = sorted({f"{item.api_version} {item.kind}" for item in resources})
    return (
        f"{resources[0].position()}: no Verifier here, but {', '.join(quoted(kind, 80) for kind in kinds[:4])}; expected "
        f"apiVersion {GROUP}/{VERSIONS[0]}, kind {VERIFIER_KINDS[0]}"
    )
