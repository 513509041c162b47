"""Images of running Pods, as ``kubectl get pods -A -o json`` prints them, and the workloads that they belong to."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from slsa_verifier_plugin.audit.image_sources import Use
from slsa_verifier_plugin.audit.manifest_images import CONTAINER_KEYS, mentioned_in
from slsa_verifier_plugin.errors import ArtifactError, UsageError
from slsa_verifier_plugin.members import at, list_at, object_at, objects_at, text_at
from slsa_verifier_plugin.registry.reference import Reference
from slsa_verifier_plugin.resources.documents import parse_documents
from slsa_verifier_plugin.resources.kubectl import KubectlError, run_kubectl
from slsa_verifier_plugin.resources.named_files import MAX_FILE, read_file
from slsa_verifier_plugin.text import quoted

STATUS_KEYS = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
KUBECTL_SECONDS = 300.0
"""For all Pods of a cluster; kubectl asks for 500 at a time."""
CONTEXT_SECONDS = 30.0
"""For reading a kubeconfig; nothing is asked of the network."""
MAX_PODS = 1 << 30
"""Bytes of a cluster's Pods; one has about 10 kB."""
OWNING = ("ReplicaSet", "Job")
"""Kinds that a list may hold beside Pods: who owns a Pod's owner is read from them."""
TEMPLATE_HASHES = {"pod-template-hash": "Deployment", "rollouts-pod-template-hash": "Rollout"}
"""Labels that a controller gives the ReplicaSets which it makes, and their Pods (Kubernetes' and Argo Rollouts')."""

Owner = tuple[str, str]
"""Kind and name."""
Owners = Mapping[tuple[str, str, str], Owner]
"""Who controls what: namespace, kind and name to the owner."""


def from_pods(path: str) -> Iterator[Use]:
    """Yield the images of running Pods, each with its Deployment, CronJob or other owner as far as that is known.

    Where a Pod's status says which digest runs, that is the image, whatever its tag means today.

    Raises:
        UsageError: it cannot be read, or is no list of Pods (``OWNING`` may be among them).
    """
    content, source, _ = read_file(path, MAX_PODS)
    yield from pods_in(content, source)


def current_context(environ: Mapping[str, str]) -> str:
    """Return the name of kubectl's current context, so that a report names the cluster; empty where there is none.

    Whoever asks by this name asks one cluster, even if somebody switches the context meanwhile.
    """
    try:
        # Asked once at the start: the context may be switched in another shell while the Pods are listed.
        name = run_kubectl(["config", "current-context"], environ, CONTEXT_SECONDS).decode("utf-8", "replace")
    except KubectlError:
        # In a Pod there is no kubeconfig, and kubectl goes by its service account.
        return ""
    return name.strip()


def from_cluster(cluster: Cluster, environ: Mapping[str, str]) -> Iterator[Use]:
    """Yield the images of the Pods that run in a cluster, which kubectl is asked for.

    Raises:
        UsageError: kubectl is not there or fails, or prints something else than Pods.
    """
    # JSON, for kubectl's YAML of a large cluster takes minutes to read.
    options = ["-o", "json", *cluster.options()]
    try:
        content = run_kubectl(["get", "pods,replicasets.apps,jobs.batch", *options], environ, KUBECTL_SECONDS)
    except KubectlError:
        # Who may list Pods alone still gets their images, under the name of the ReplicaSet or Job.
        content = run_kubectl(["get", "pods", *options], environ, KUBECTL_SECONDS)
    yield from pods_in(content, str(cluster))


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster as kubectl is told of it: a context of the kubeconfig (the current one by default), one namespace or all."""

    context: str = ""
    namespace: str = ""

    def options(self) -> list[str]:
        """Return kubectl's options."""
        namespace = ["-n", self.namespace] if self.namespace else ["-A"]
        return [*namespace, *(["--context", self.context] if self.context else [])]

    def __str__(self) -> str:
        context = f"context {self.context}" if self.context else "the current context"
        return f"cluster ({context}{f', namespace {self.namespace}' if self.namespace else ''})"


def pods_in(content: bytes, source: str) -> Iterator[Use]:
    """Yield the images of the Pods in what kubectl prints.

    Args:
        content: a Pod or list in JSON, or some in YAML.
        source: where it is from, for people.

    Raises:
        UsageError: it is no list of Pods.
    """
    # Several where a shell asked for one namespace after the other.
    listed: list[Any] = []
    for value in _json_or_yaml(content, source):
        items = at(value, "items")
        # Only in a list may the kind be left out: a document without one is something else.
        alone = [value] if text_at(value, "kind") else [None]
        listed += items if isinstance(items, list) else alone
    for item in listed:
        # kubectl leaves the kind out of the items of a PodList that an API server wrote.
        if not isinstance(item, dict) or item.get("kind", "Pod") not in ("Pod", *OWNING):
            found = quoted(item.get("kind")) if isinstance(item, dict) else "something else"
            raise UsageError(f"{source}: found {found}, expected Pods; use 'kubectl get pods -A -o json'")
    # Read before the Pods: a list names its kinds in any order.
    owners = dict(_owners(item for item in listed if item.get("kind") in OWNING))
    for item in listed:
        if item.get("kind", "Pod") == "Pod":
            yield from _pod(item, owners, source)


def _owners(items: Iterator[Mapping[str, Any]]) -> Iterator[tuple[tuple[str, str, str], Owner]]:
    for item in items:
        metadata = object_at(item, "metadata")
        owner = _controller(metadata)
        # A ReplicaSet that nobody made is the workload itself.
        if owner is not None:
            where = (metadata.get("namespace", ""), item["kind"], metadata.get("name", ""))
            yield (str(where[0]), str(where[1]), str(where[2])), owner


def _pod(pod: Mapping[str, Any], owners: Owners, source: str) -> Iterator[Use]:
    metadata, spec, status = (object_at(pod, key) for key in ("metadata", "spec", "status"))
    # By container name: the status lists containers in an order of its own.
    digests = {
        str(item.get("name")): str(item.get("imageID", ""))
        for key in STATUS_KEYS
        for item in objects_at(status, key)
    }
    namespace, workload = str(metadata.get("namespace", "")), "/".join(_workload(metadata, owners))
    for key in CONTAINER_KEYS:
        for container in objects_at(spec, key):
            if image := text_at(container, "image"):
                # A container that has not started has no digest yet: then the name in the spec counts.
                running = _running(image, digests.get(str(container.get("name")), ""))
                yield Use(running, namespace, workload, source)
            # By list and not whole: the reader of JSON takes deeper structures than can be gone through like this.
            lists = {key: list_at(container, key) for key in ("env", "command", "args")}
            yield from (Use(text, runs=False) for text in mentioned_in(lists))
    # Container statuses say nothing of volumes, so the name in the spec counts.
    for volume in objects_at(spec, "volumes"):
        if image := text_at(volume, "image", "reference"):
            yield Use(image, namespace, workload, source)


def _workload(metadata: Mapping[str, Any], owners: Owners) -> Owner:
    """Return the kind and name of what a person would change to change this Pod.

    A Pod names its ReplicaSet, a ReplicaSet its Deployment. Where only Pods were listed, the ReplicaSet's name tells: it is
    the Deployment's, a dash, and the hash that stands in the Pod's own label (Kubernetes, ``deployment/sync.go``). Nothing is
    guessed beyond that: a Job's name need not come from a CronJob, for people make Jobs of the same form.
    """
    owner = _controller(metadata)
    # No controller made this Pod, so the Pod itself is what to change.
    if owner is None:
        return "Pod", str(metadata.get("name", ""))
    # In the same namespace: an owner cannot be in another (Kubernetes, "Owners and Dependents").
    above = owners.get((str(metadata.get("namespace", "")), *owner))
    if above is not None:
        return above
    # Nothing above is listed: whoever may not list ReplicaSets gets the next best name.
    kind, name = owner
    for label, maker in TEMPLATE_HASHES.items():
        ending = f"-{text_at(metadata, 'labels', label)}"
        # An empty label would end with the dash alone, and every name ends with nothing.
        if kind == "ReplicaSet" and len(ending) > 1 and name.endswith(ending) and name != ending:
            return maker, name.removesuffix(ending)
    return owner


def _controller(metadata: Mapping[str, Any]) -> Owner | None:
    """Return the owner that manages an object; of several owners at most one is its controller."""
    references = objects_at(metadata, "ownerReferences")
    # Manifests written by hand leave "controller" out; then the first owner is all there is.
    managing = [item for item in references if item.get("controller") is True] or references
    return (str(managing[0].get("kind", "")), str(managing[0].get("name", ""))) if managing else None


def _running(image: str, image_id: str) -> str:
    """Return the image pinned to the digest that runs, where the status tells one of the same repository."""
    # Docker as a runtime says that the digest is one to pull by; containerd and CRI-O say the reference alone.
    identity = image_id.removeprefix("docker-pullable://")
    try:
        named, runs = Reference.parse(image), Reference.parse(identity)
    except ArtifactError:
        # A status names an image without a registry where it was loaded and not pulled.
        return image
    # Another repository's digest is a mirror's or a pull-through cache's: the attestation hangs at the name in the
    # spec.
    if named.digest is None and runs.digest is not None and runs.name == named.name:
        return str(named.with_digest(runs.digest))
    return image


def _json_or_yaml(content: bytes, source: str) -> list[Any]:
    """Return the values of its documents; JSON by its own parser, for a cluster's Pods are many megabytes."""
    # The reader of YAML takes JSON too, but notes the place of each value, which takes far longer.
    if content.lstrip()[:1] == b"{":
        try:
            return [json.loads(content)]
        except ValueError as error:
            where = f":{error.lineno}:{error.colno}" if isinstance(error, json.JSONDecodeError) else ""
            raise UsageError(
                f"{source}{where}: not one JSON document from here on; expected what 'kubectl get pods -A -o json' prints"
            ) from error
        # Python's parser of JSON recurses; a hostile file must not end the program with a traceback.
        except RecursionError as error:
            raise UsageError(f"{source}: too deeply nested a structure to be a list of Pods") from error
    if not content.strip():
        raise UsageError(f"{source} is empty, expected Pods; did 'kubectl get pods -A -o json' fail?")
    # Told here, where a way out is known: JSON may have MAX_PODS.
    if len(content) > MAX_FILE:
        raise UsageError(
            f"{source} has more than {MAX_FILE >> 20} MiB of YAML; give it as JSON ('kubectl get pods -A -o json', or yq -o json)"
        )
    documents = parse_documents(content, source)
    if not documents:
        raise UsageError(f"{source}: expected a list of Pods; use 'kubectl get pods -A -o json'")
    return [document.value for document in documents]
