"""Where a Kubernetes object names images: lists of containers, and the well-known places of other projects' kinds. Pure."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping
from itertools import pairwise
from typing import Any

from slsa_verifier_plugin.errors import ArtifactError
from slsa_verifier_plugin.members import everything_in, list_at, objects_at, text_at, texts_below
from slsa_verifier_plugin.problem import Key
from slsa_verifier_plugin.registry.reference import Reference

CONTAINER_KEYS = ("containers", "initContainers", "ephemeralContainers", "extraContainers")
"""Lists of containers; the last is of kagent's Agents. ``deploy/gatekeeper/template`` looks at the same ones."""

KNOWN_KINDS: Mapping[str, str] = {
    # Steps, sidecars, the steps' template, and a StepAction's own image (Tekton Pipelines v1).
    "tekton.dev": "Task ClusterTask TaskRun Pipeline PipelineRun StepAction CustomRun",
    # Containers, scripts, sets of containers, sidecars and plugins of templates (Argo Workflows v3), and Rollouts.
    "argoproj.io": "Workflow WorkflowTemplate ClusterWorkflowTemplate CronWorkflow WorkflowEventBinding Rollout "
    "AnalysisTemplate ClusterAnalysisTemplate Sensor EventSource",
    "serving.knative.dev": "Service Configuration Revision",
    # A predictor's model server has an image of its own beside containers.
    "serving.kserve.io": "InferenceService InferenceGraph ServingRuntime ClusterServingRuntime ClusterStorageContainer",
    "sparkoperator.k8s.io": "SparkApplication ScheduledSparkApplication",
    "kubevirt.io": "VirtualMachine VirtualMachineInstance VirtualMachineInstanceReplicaSet",
    "monitoring.coreos.com": "Prometheus PrometheusAgent Alertmanager ThanosRuler",
    "operators.coreos.com": "CatalogSource ClusterServiceVersion",
    "actions.github.com": "AutoscalingRunnerSet EphemeralRunnerSet EphemeralRunner",
    "jenkins.io": "Jenkins",
}
"""Kinds, by group, of which every key ``image`` with a text below ``spec`` names an image that runs."""

_SECRET = re.compile("pass|pwd|secret|token|auth|cred|key|login", re.IGNORECASE)
"""What names of variables and options have whose values are shown to nobody."""
_PARAMETERS = ("{{", "$(", "${")
"""How Argo and Tekton begin a parameter: the image is known only when it runs."""
_MODEL_SCHEME = "oci://"
"""How KServe names a model that is an image (``storageUri``, "modelcars")."""

Path = tuple[Key, ...]


def images_in(value: Mapping[str, Any]) -> dict[Path, str]:
    """Return the images that an object names, by the path to each.

    Args:
        value: a Kubernetes object of whatever kind.
    """
    found = dict(_containers(value))
    # In other kinds a key "image" may be anything; a list of containers names images in every kind.
    if not _is_known(value):
        return found
    # Below spec alone: status tells of the same images once more.
    found.update(_texts_at_image(value.get("spec")))
    # A parameter is no image's name; ``names_more`` reports it.
    return {path: image for path, image in found.items() if not _is_parameter(image)}


def names_more(value: Mapping[str, Any], found: Container[Path]) -> bool:
    """Return True if an object names images in places other than those in ``found``.

    Args:
        value: the object.
        found: paths that ``images_in`` returned.
    """
    # All places of Kubernetes' own kinds are read; a key "image" elsewhere in them is data.
    if _is_kubernetes(value) and not _is_known(value):
        return False
    # Of these kinds each place below spec is known, so a text at "image" that was not taken is a parameter.
    if _is_known(value):
        places = texts_below(value.get("spec"), ("spec",))
        return any(_is_parameter_at(path, text, found) for path, text in places)
    return any(
        path[-1:] == ("image",) and item and not _is_read(path, found) for path, item in everything_in(value)
    )


def mentioned_in(value: Any) -> Iterator[str]:
    """Yield the images that a container's environment and arguments name, or those of any object below ``value``.

    An operator is told so what to run. No container runs them here; a report says that they were not looked at.

    Args:
        value: a container, or a Kubernetes object of whatever kind.
    """
    for _, item in everything_in(value):
        named = [(text_at(one, "name"), text_at(one, "value")) for one in objects_at(item, "env")]
        # Cut at blanks: one argument may be a shell's whole line.
        lines = (text for key in ("command", "args") for text in list_at(item, key) if isinstance(text, str))
        words = [word for line in lines for word in line.split()]
        # "--image=NAME", and "--image NAME".
        named += [(name, text) for name, _, text in (word.partition("=") for word in words)]
        named += pairwise(["", *words])
        yield from (text for name, text in named if _is_image(name, text))


def _is_image(name: str, text: str) -> bool:
    """Return True for a text that reads as an image where ``name`` is that of its variable or option."""
    # "IMAGE_REGISTRY_AUTH=me:hunter2" reads as an image with a tag, and a report shows what it names.
    if _SECRET.search(name):
        return False
    try:
        found = Reference.parse(text)
    except ArtifactError:
        return False
    # Any word can be read as an image of Docker's, and any address as a name with a tag: of three signs two must be there.
    signs = "image" in name.lower(), found.tag is not None, text.startswith(f"{found.registry}/")
    return found.digest is not None or sum(signs) > 1


def _is_known(value: Mapping[str, Any]) -> bool:
    group = str(value.get("apiVersion", "")).rpartition("/")[0]
    return str(value.get("kind", "")) in KNOWN_KINDS.get(group, "").split()


def _is_kubernetes(value: Mapping[str, Any]) -> bool:
    """Return True for a kind of Kubernetes's own, whose images all stand where they are looked for.

    A ConfigMap may have a key ``image``, and a CustomResourceDefinition describes one.
    """
    group, slash, _ = str(value.get("apiVersion", "")).rpartition("/")
    # "apps/v1" and "v1" have no dot; groups of others are domains (Kubernetes API conventions).
    return not slash or "." not in group or group.endswith(".k8s.io")


def _is_parameter(image: str) -> bool:
    return any(sign in image for sign in _PARAMETERS)


def _texts_at_image(spec: Any) -> Iterator[tuple[Path, str]]:
    """Yield every text at a key ``image`` below ``spec``, and models that are images."""
    for path, text in texts_below(spec, ("spec",)):
        if path[-1] == "image" and text:
            yield path, text
        # KServe pulls such a model as an image and mounts it: it runs in the Pod as any other.
        elif path[-1] == "storageUri" and text.startswith(_MODEL_SCHEME):
            yield path, text.removeprefix(_MODEL_SCHEME)


def _is_parameter_at(path: Path, text: str, found: Container[Path]) -> bool:
    """Return True where a text in an object of a known kind names an image, or may, that is not among ``found``."""
    # Argo creates an object from such a text, with parameters in it, so it cannot be read as YAML here.
    if path[-1] == "manifest":
        return "image" in text
    # An object at ``image`` is the schema of a parameter (Tekton), not an image.
    return path[-1] == "image" and bool(text) and not _is_read(path, found)


def _is_read(path: Path, found: Container[Path]) -> bool:
    """Return True if the image at ``path``, or the volume's image whose reference stands below it, was found."""
    return path in found or (*path, "reference") in found


def _containers(value: Any) -> Iterator[tuple[Path, str]]:
    """Yield the path and name of every image that containers and volumes below ``value`` have."""
    for path, item in everything_in(value):
        # What stands inside a container (its env, its args) names no further containers.
        if any(key in CONTAINER_KEYS for key in path[:-1]):
            continue
        for place in _image_places(path, item):
            if image := text_at(item, *place):
                yield (*path, *place), image


def _image_places(path: Path, item: Any) -> Iterator[Path]:
    """Yield where in ``item``, which stands at ``path``, an image may be named, as admission's template looks for it."""
    key = path[-1] if path else ""
    if isinstance(item, list):
        if key in CONTAINER_KEYS:
            # Pods, their templates, and whatever embeds them (spec.template, spec.jobTemplate and so on).
            yield from ((index, "image") for index in range(len(item)))
        elif key == "volumes":
            # An image as a volume (Kubernetes 1.31, "Image Volumes"): its files are mounted, so it is pulled.
            yield from ((index, "image", "reference") for index in range(len(item)))
        elif path[-3:] == ("spec", "skills", "refs"):
            # kagent's Agents name images of skills in a list of plain texts.
            yield from ((index,) for index in range(len(item)))
    elif key == "byo":
        # kagent's own agents ("bring your own") name the image of their Deployment.
        yield ("deployment", "image")
