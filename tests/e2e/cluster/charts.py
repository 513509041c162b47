"""Renders the charts as ``helm install`` would, against the real API server."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.cluster.kube import Object, read_objects

NAMESPACE = "gatekeeper-system"


class ChartError(RuntimeError):
    """helm could not render a chart, or a chart lacks an object that was asked for."""


def render(
    helm: Path,
    chart: Path,
    release: str,
    values: Iterable[Path],
    settings: Mapping[str, Any],
    kubeconfig: Path,
) -> list[Object]:
    """Return the objects of the chart, definitions first, hooks' objects included.

    Args:
        values: files of values, the later ones over the earlier.
        settings: values over those of the files.
        kubeconfig: of the API server that the chart's ``lookup`` asks.

    Raises:
        ChartError: helm refused.
    """
    with tempfile.TemporaryDirectory() as folder:
        over = Path(folder) / "settings.yaml"
        over.write_text(yaml.safe_dump(dict(settings)))
        command = [str(helm), "template", release, str(chart), "--namespace", NAMESPACE]
        command += ["--include-crds", "--skip-tests", "--dry-run=server", "--kubeconfig", str(kubeconfig)]
        for file in (*values, over):
            command += ["--values", str(file)]
        home = dict.fromkeys(("HOME", "HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"), folder)
        done = subprocess.run(command, env=home, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise ChartError(f"{' '.join(command)}: {done.stderr}")
    return sorted(read_objects(done.stdout), key=lambda thing: _ORDER.get(thing["kind"], 9))


_ORDER = {"Namespace": 0, "CustomResourceDefinition": 1, "ServiceAccount": 2, "Secret": 3, "ConfigMap": 3}


def find(objects: Iterable[Object], kind: str, name: str) -> Object:
    """Return the one object of that kind and name.

    Raises:
        ChartError: there is none.
    """
    for thing in objects:
        if thing["kind"] == kind and thing["metadata"]["name"] == name:
            return thing
    raise ChartError(f"the chart has no {kind} {name}")


def without(objects: Iterable[Object], *kinds: str) -> list[Object]:
    """Return the objects that are of none of the kinds."""
    return [thing for thing in objects if thing["kind"] not in kinds]


def container(deployment: Object) -> Object:
    """Return the one container of a Deployment's Pods.

    Raises:
        ChartError: there is more than one.
    """
    containers: list[Object] = deployment["spec"]["template"]["spec"]["containers"]
    if len(containers) != 1:
        raise ChartError(f"{deployment['metadata']['name']} has {len(containers)} containers")
    return containers[0]
