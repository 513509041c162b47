"""The whole admission path, up and running, and what the checks do with it."""

from __future__ import annotations

import base64
import copy
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from tests.e2e.cluster import charts, control_plane, gatekeeper
from tests.e2e.cluster.control_plane import ControlPlane
from tests.e2e.cluster.gatekeeper import Gatekeeper
from tests.e2e.cluster.images import Crane
from tests.e2e.cluster.kube import Kubectl, KubectlError, Object, Outcome
from tests.e2e.cluster.pki import SERVER, Authority
from tests.e2e.cluster.processes import Processes
from tests.e2e.cluster.ratify import Ratify
from tests.e2e.cluster.sandbox import Hosts
from tests.e2e.oras import Oras
from tests.e2e.servers import in_memory_registry
from tests.e2e.shared import REPOSITORY

REGISTRY_HOST = "registry.example"
"""The registry that the manifests of deploy/ name; here it has a port as well."""
SECOND_REGISTRY_HOST = "down.example"
"""Of a registry that a test starts, and stops again."""
TLS_REGISTRY_HOST = "plugins.example"
"""Of the registry that Ratify downloads the plugin from."""
CONSTRAINT = "ratifyverification.constraints.gatekeeper.sh"
PLUGIN = "SLSA_E2E_PLUGIN"
"""The variable that names another one-file plugin to check."""
_FIRST_YES_SECONDS = 30.0
_RATIFY_GROUP = "config.ratify.deislabs.io"
_DECIDING = (
    *(f"{kind}.{_RATIFY_GROUP}" for kind in ("verifiers", "stores", "policies")),
    "ratifyverification",
    "assign",
)
_DECIDING_KINDS = {"Verifier", "Store", "Policy", "RatifyVerification", "Assign"}


@dataclass
class Lab:
    """What runs, and where it keeps its files.

    Attributes:
        manifests: a copy of deploy/ whose images and certificates are those of this run.
        registry: host and port of the registry.
        developer: kubectl without rights over the cluster.
        first_yes: seconds from Ratify's readiness to the first Pod that it admitted.
    """

    work: Path
    programs: Mapping[str, Path]
    processes: Processes
    plane: ControlPlane
    gatekeeper: Gatekeeper
    ratify: Ratify
    crane: Crane
    oras: Oras
    registry: str
    manifests: Path
    developer: Kubectl
    stack: ExitStack
    first_yes: float = 0.0
    _kustomized: dict[str, list[Object]] = field(default_factory=dict)
    _names: itertools.count[int] = field(default_factory=itertools.count)

    @property
    def kubectl(self) -> Kubectl:
        """kubectl as the cluster's administrator."""
        return self.plane.kubectl

    def unique(self, prefix: str) -> str:
        """Return a name that nothing has yet."""
        return f"{prefix}-{next(self._names)}"

    def image(self, prefix: str, *attestations: bytes, annotations: Mapping[str, str] | None = None) -> str:
        """Push a new image with those attestations attached; return its digest reference."""
        name = self.unique(prefix)
        image = self.oras.push_image(f"{self.registry}/{name}", annotations=annotations)
        for attestation in attestations:
            self.oras.attach(image, attestation)
        return image

    def kustomize(self, folder: str) -> list[Object]:
        """Return what ``kubectl kustomize`` makes of a folder of the manifests; made once."""
        if folder not in self._kustomized:
            text = self.kubectl.run("kustomize", str(self.manifests / folder))
            objects = [document for document in yaml.safe_load_all(text) if document]
            for thing in objects:
                if thing["kind"] == "Store":
                    thing["spec"]["parameters"]["useHttp"] = (
                        True  # the registry of the test speaks plain HTTP
                    )
            self._kustomized[folder] = objects
        return copy.deepcopy(self._kustomized[folder])

    def holds(self, *folders: str) -> bool:
        """Tell whether the objects of the folders, and no others that decide, are in the cluster as they are there."""
        wanted = {_key(thing): thing["spec"] for folder in folders for thing in self.kustomize(folder)}
        found = {_key(thing): thing["spec"] for thing in self.kubectl.get(",".join(_DECIDING))["items"]}
        return found == {
            key: spec for key, spec in wanted.items() if key in found or key[0] in _DECIDING_KINDS
        }

    def apply(self, *folders: str, change: Callable[[Object], None] | None = None) -> list[Object]:
        """Apply folders of the manifests, each object after ``change``, and wait until they are in force."""
        objects = [thing for folder in folders for thing in self.kustomize(folder)]
        for thing in objects:
            if change is not None:
                change(thing)
            self._make_way(thing)
        self.kubectl.apply(objects)
        for thing in objects:
            self._settle(thing)
        return objects

    def _make_way(self, thing: Object) -> None:
        """Delete what Ratify has read in another form: its status would not tell when it has read the new one."""
        if not thing["apiVersion"].startswith(_RATIFY_GROUP):
            return
        resource = f"{thing['kind'].lower()}.{_RATIFY_GROUP}/{thing['metadata']['name']}"
        found = self.kubectl.attempt("get", resource, "-o", "json")
        if found.admitted and json.loads(found.text)["spec"] != thing["spec"]:
            self.kubectl.run("delete", resource)

    def _settle(self, thing: Object) -> None:
        """Wait until all of Gatekeeper's and Ratify's programs have taken in the object as it is now."""
        kind, name = thing["kind"], thing["metadata"]["name"]
        if kind == "ConstraintTemplate":
            self.wait_for_definition(CONSTRAINT)
        elif kind in ("RatifyVerification", "Assign", "Provider"):
            resource = f"{kind.lower()}/{name}"
            generation = self.kubectl.run("get", resource, "-o", "jsonpath={.metadata.generation}")
            programs = 1 if kind == "Provider" else 2
            wanted = " ".join([generation] * programs)
            self.kubectl.until(
                wanted, "get", resource, "-o", "jsonpath={.status.byPod[*].observedGeneration}"
            )
        elif thing["apiVersion"].startswith(_RATIFY_GROUP):
            resource = f"{kind.lower()}.{_RATIFY_GROUP}/{name}"
            self.kubectl.until("true", "get", resource, "-o", "jsonpath={.status.issuccess}")

    def wait_for_definition(self, name: str) -> None:
        """Wait until the API server serves a CustomResourceDefinition."""
        condition = 'jsonpath={.status.conditions[?(@.type=="Established")].status}'
        self.kubectl.until("True", "get", "crd", name, "--ignore-not-found", "-o", condition)

    def start_ratify(self, image: str, attestation: bytes) -> float:
        """Start Ratify in place of any that runs, and wait until it admits.

        Args:
            attestation: one that the Verifier in force accepts.

        Returns:
            Seconds from Ratify's readiness to its first yes: its manager reads its resources, and the plugin
            unpacks itself and starts its resident verifier.
        """
        self.ratify.start(image)
        return self.wait_for_a_yes(attestation)

    def wait_for_a_yes(self, attestation: bytes) -> float:
        """Create Pods of new images until one is admitted; returns the seconds that took.

        Raises:
            KubectlError: none was in time.
        """
        started = time.monotonic()
        while True:
            outcome = self.run(self.image("warm", attestation))
            waited = time.monotonic() - started
            if outcome.admitted:
                return waited
            if waited > _FIRST_YES_SECONDS:
                raise KubectlError(f"no Pod was admitted for {waited:.0f} s: {outcome.text}")

    def pod(self, image: str, name: str | None = None, **spec: object) -> Object:
        """Return a Pod of one container; ``spec`` goes into its specification."""
        containers = [{"name": "main", "image": image}]
        metadata = {"name": name or self.unique("pod")}
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": metadata,
            "spec": {"containers": containers, **spec},
        }

    def create(self, thing: Object, namespace: str = "default") -> Outcome:
        """Create an object as a developer does, with ``kubectl create -f``."""
        return self.developer.attempt("create", "-n", namespace, "-f", "-", given=yaml.safe_dump(thing))

    def start_tls_registry(self, authority: Authority) -> str:
        """Start Debian's docker-registry over TLS, on the port that needs no mention; return its host."""
        folder = self.work / "plugin-registry"
        folder.mkdir()
        pair = authority.issue(TLS_REGISTRY_HOST, SERVER, names=(TLS_REGISTRY_HOST,))
        for name, text in {
            "ca.crt": authority.certificate,
            "tls.crt": pair.certificate,
            "tls.key": pair.key,
            "config.yaml": yaml.safe_dump(
                {
                    "version": "0.1",
                    "storage": {"inmemory": {}},
                    "http": {
                        "addr": "127.0.0.1:443",
                        "tls": {
                            "certificate": str(folder / "tls.crt"),
                            "key": str(folder / "tls.key"),
                        },
                    },
                }
            ),
        }.items():
            (folder / name).write_text(text)
        program = self.programs["docker-registry"]
        self.processes.start("docker-registry", [program, "serve", folder / "config.yaml"])
        self.processes.wait_until(
            lambda: "listening on" in self.processes.log("docker-registry").read_text(),
            "docker-registry",
            "it listens",
        )
        return TLS_REGISTRY_HOST

    def run(self, image: str, namespace: str = "default") -> Outcome:
        """Create a Pod of the image, as ``kubectl run`` does."""
        return self.create(self.pod(image), namespace)


def _key(thing: Object) -> tuple[str, str]:
    return thing["kind"], thing["metadata"]["name"]


def start(work: Path, programs: Mapping[str, Path], chart: Mapping[str, Path], stack: ExitStack) -> Lab:
    """Bring up the control plane, a registry, Gatekeeper and Ratify's objects, in this order.

    Ratify itself is started by the checks, with the image they are about.
    """
    processes = Processes(work / "logs")
    stack.callback(processes.stop_all)
    hosts = Hosts(work / "hosts", REGISTRY_HOST, SECOND_REGISTRY_HOST, TLS_REGISTRY_HOST)
    plane = control_plane.start(work / "control-plane", processes, programs)
    folder = work / "registry"
    folder.mkdir()
    running = stack.enter_context(in_memory_registry("ociregistry", folder))
    registry = f"{REGISTRY_HOST}:{running.address.rpartition(':')[2]}"
    home = work / "home"
    home.mkdir()
    crane = Crane(programs["crane"], home)
    manifests = work / "deploy"
    shutil.copytree(REPOSITORY / "deploy", manifests, symlinks=True)
    for file in manifests.rglob("*.yaml"):
        file.write_text(file.read_text().replace(f"{REGISTRY_HOST}/", f"{registry}/"))
    keeper = gatekeeper.install(
        plane,
        processes,
        programs,
        chart["gatekeeper"],
        manifests / "gatekeeper" / "values.yaml",
        work / "gatekeeper-certificates",
    )
    ratify = _install_ratify(work, plane, processes, programs, chart["ratify"], manifests, keeper, crane)
    services = plane.kubectl.get("service", "ratify", "-n", charts.NAMESPACE)
    hosts.add(services["spec"]["clusterIP"], f"ratify.{charts.NAMESPACE}")
    keeper.register_webhooks()
    plane.kubectl.run(
        "create", "rolebinding", "dev", "-n", "default", "--clusterrole=edit", "--group=developers"
    )
    oras = Oras(home, {"HOME": str(home), "PATH": "/usr/bin:/bin"})
    return Lab(
        work,
        programs,
        processes,
        plane,
        keeper,
        ratify,
        crane,
        oras,
        registry,
        manifests,
        plane.developer(),
        stack,
    )


def _install_ratify(
    work: Path,
    plane: ControlPlane,
    processes: Processes,
    programs: Mapping[str, Path],
    chart: Path,
    manifests: Path,
    keeper: Gatekeeper,
    crane: Crane,
) -> Ratify:
    """Put the objects of Ratify's chart into the cluster, with the certificates of an authority of ours."""
    authority = Authority("ratify-ca")
    name = f"ratify.{charts.NAMESPACE}"
    serving = authority.issue(name, SERVER, names=(name,))
    (manifests / "gatekeeper" / "provider" / "ca.crt").write_text(authority.certificate)
    tls = {
        "crt": serving.certificate,
        "key": serving.key,
        "caCert": authority.certificate,
        "caKey": authority.key,
        "cabundle": base64.b64encode(authority.certificate.encode()).decode(),
    }
    settings = {
        "provider": {"tls": tls},
        "featureFlags": {"RATIFY_CERT_ROTATION": False},  # its Secret would have to be mounted by a kubelet
        "upgradeCRDs": {"enabled": False},  # a hook that runs in a Pod
        "replicaCount": 1,
    }
    values = manifests / "ratify" / "values-image.yaml"
    config = plane.folder / "admin.kubeconfig"
    objects = charts.render(programs["helm"], chart, "ratify", [values], settings, config)
    definitions = [thing for thing in objects if thing["kind"] == "CustomResourceDefinition"]
    plane.kubectl.apply(definitions)
    plane.kubectl.run("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
    plane.kubectl.apply(charts.without(objects, "CustomResourceDefinition"), "-n", charts.NAMESPACE)
    folder = work / "ratify"
    folder.mkdir()
    return Ratify(plane, processes, objects, crane, folder, keeper.authority.certificate)


def plugin_artifact() -> Path:
    """Return the one-file plugin: what the variable names, else dist/slsa, built where it is missing or old.

    Raises:
        subprocess.CalledProcessError: it does not build.
    """
    if named := os.environ.get(PLUGIN):
        return Path(named).resolve(strict=True)
    plugin = REPOSITORY / "dist" / "slsa"
    sources = (
        file
        for folder in ("slsa_verifier_plugin", "launcher/src", "tools/dist", "requirements")
        for file in (REPOSITORY / folder).rglob("*")
        if file.is_file() and file.suffix != ".pyc"
    )
    if not plugin.is_file() or plugin.stat().st_mtime < max(file.stat().st_mtime for file in sources):
        subprocess.run([sys.executable, "-m", "tools.dist"], cwd=REPOSITORY, check=True)
    return plugin
