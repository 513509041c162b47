"""The whole admission path, up and running, and what the checks do with it."""

from __future__ import annotations

import copy
import itertools
import json
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import yaml

from tests.e2e.cluster import charts
from tests.e2e.cluster.control_plane import ControlPlane
from tests.e2e.cluster.gatekeeper import Gatekeeper
from tests.e2e.cluster.images import Crane
from tests.e2e.cluster.kube import Client, Kubectl, KubectlError, Object, Outcome, read_objects
from tests.e2e.cluster.pki import SERVER, Authority, Pair
from tests.e2e.cluster.processes import Processes
from tests.e2e.cluster.provider import NAME, Provider
from tests.e2e.cluster.ratify import GROUP, Ratify, Setting
from tests.e2e.oras import Oras

REGISTRY_HOST = "registry.example"
"""The registry that the manifests of deploy/ name; here it has a port as well."""
SECOND_REGISTRY_HOST = "down.example"
"""Of a registry that a test starts, and stops again."""
TLS_REGISTRY_HOST = "plugins.example"
"""Of the registry that Ratify downloads the plugin from."""
CONSTRAINT = "ratifyverification.constraints.gatekeeper.sh"
DEMO = ("ratify/demo", "gatekeeper/mutation", "gatekeeper/demo")
"""Folders of deploy/: the demo's Verifier, Store and Policy, its mutation and its Constraint."""
_FIRST_YES_SECONDS = 30.0
_SETTLE_SECONDS = 30.0
_POLL_SECONDS = 0.1
_GATEKEEPER_KINDS = ("RatifyVerification", "Assign", "Provider")
"""Of which both of Gatekeeper's programs report the generation that they have taken in."""
_DECIDING = ("ratifyverification", "assign")
_DECIDING_KINDS = {"Verifier", "Store", "Policy", "RatifyVerification", "Assign"}


class Door(Protocol):
    """What Gatekeeper asks: Ratify with the plugin, or the provider.

    Attributes:
        name: for people.
        demo: the folder of deploy/ with its Providers, the mutation and the template.
    """

    name: str
    demo: str

    def resume(self) -> None:
        """Start what was started before over the files it left."""

    def pause(self) -> None:
        """End all of it at once."""

    def is_alive(self) -> bool:
        """Tell whether it runs."""

    def specs(self) -> dict[tuple[str, str], object]:
        """Return the specifications of the Verifiers, Stores and Policies that it decides by, by kind and name."""

    def take(self, objects: Iterable[Object]) -> None:
        """Decide by these, in place of those of their names, from the return on."""

    def place(self, name: str, content: bytes) -> str:
        """Put a file where it can read it; return its path for a Verifier."""

    def usage(self) -> tuple[float, int]:
        """Return the CPU seconds used so far, and the bytes of memory now."""


@dataclass
class Lab:
    """What runs, and where it keeps its files.

    Attributes:
        manifests: a copy of deploy/ whose images and certificates are those of this run.
        registry: host and port of the registry.
        developer: kubectl without rights over the cluster.
        base_image: laid out as Ratify's own; its digest reference.
        ratify_image: the project's image, built on it by its own script; its digest reference.
        first_yes: seconds from a door's readiness to the first Pod that it admitted, by its name.
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
    base_image: str
    ratify_image: str
    provider: Provider
    first_yes: dict[str, float] = field(default_factory=dict)
    door: Door = field(init=False)
    _words: dict[str, str] = field(default_factory=dict)
    _kustomized: dict[str, list[Object]] = field(default_factory=dict)
    _names: itertools.count[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.door = self.ratify

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
            objects = read_objects(self.kubectl.run("kustomize", str(self.manifests / folder)))
            for thing in objects:
                if thing["kind"] == "Store":
                    thing["spec"]["parameters"]["useHttp"] = (
                        True  # the registry of the test speaks plain HTTP
                    )
            self._kustomized[folder] = objects
        return copy.deepcopy(self._kustomized[folder])

    def check_words(self, what: str, words: str) -> None:
        """Assert that a denial has the same words through each door that it was met at.

        Args:
            what: what was denied.
            words: what the verifier said, without anything that is new in each run of a check.
        """
        assert self._words.setdefault(what, words) == words, f"another door said {self._words[what]!r}"

    def forget(self, folder: str) -> None:
        """Render a folder of the manifests anew when it is asked for: a script has written into it."""
        self._kustomized.pop(folder, None)

    def ask_provider(self, image: str, user: Pair | None) -> str:
        """Ask the provider about an image as Gatekeeper does; returns its answer, or "refused" and why.

        Args:
            image: the key.
            user: the client certificate that is shown, if any.
        """
        key = {"apiVersion": "externaldata.gatekeeper.sh/v1beta1", "kind": "ProviderRequest"}
        body = json.dumps({**key, "request": {"keys": [image]}})
        authority = (self.manifests / "provider" / "gatekeeper" / "ca.crt").read_text()
        client = Client(f"{NAME}.{charts.NAMESPACE}", 443, authority, user)
        try:
            return client.post("/ratify/gatekeeper/v1/verify", body)
        except OSError as error:
            return f"refused: {error}"
        finally:
            client.close()

    def holds(self, *folders: str) -> bool:
        """Tell whether the objects of the folders, and no others that decide, are in the cluster as they are there."""
        wanted = {_key(thing): thing["spec"] for folder in folders for thing in self.kustomize(folder)}
        found = {_key(thing): thing["spec"] for thing in self.kubectl.get(",".join(_DECIDING))["items"]}
        found |= self.door.specs()
        return found == {
            key: spec for key, spec in wanted.items() if key in found or key[0] in _DECIDING_KINDS
        }

    def apply(self, *folders: str, change: Callable[[Object], None] | None = None) -> list[Object]:
        """Apply folders of the manifests, each object after ``change``, and wait until they are in force."""
        objects = [thing for folder in folders for thing in self.kustomize(folder)]
        for thing in objects:
            if change is not None:
                change(thing)
        if rules := [thing for thing in objects if _is_ratifys(thing)]:
            self.door.take(rules)
        others = [thing for thing in objects if not _is_ratifys(thing)]
        # Templates first: kubectl knows a constraint's kind only once the API server serves it.
        for is_template in (True, False):
            if part := [one for one in others if (one["kind"] == "ConstraintTemplate") is is_template]:
                self.kubectl.apply(part)
                self._settle(part)
        return objects

    def _settle(self, objects: list[Object]) -> None:
        """Wait until all of Gatekeeper's programs have taken in the objects as they are now."""
        if any(thing["kind"] == "ConstraintTemplate" for thing in objects):
            self.kubectl.wait_for_definitions(CONSTRAINT)
        waiting = [_resource(thing) for thing in objects if thing["kind"] in _GATEKEEPER_KINDS]
        end = time.monotonic() + _SETTLE_SECONDS
        while waiting:
            found = self.kubectl.get(*waiting)
            states = found["items"] if found["kind"] == "List" else [found]
            waiting = [_resource(state) for state in states if not _is_settled(state)]
            if waiting and time.monotonic() > end:
                raise KubectlError(f"not taken in after {_SETTLE_SECONDS:.0f} s: {', '.join(waiting)}")
            time.sleep(_POLL_SECONDS if waiting else 0)

    def prepare(self, door: Door, attestation: bytes, setting: Setting | None = None) -> None:
        """Have a door decide by the demo's manifests; what is so already is left alone.

        Args:
            door: ``ratify`` or ``provider``; it is installed and started where it never was.
            attestation: one that the demo's Verifier accepts.
            setting: of Ratify.
        """
        changed = self.door is not door or door.name not in self.first_yes
        if changed:
            self.door.pause()
            self.door = door
        started = False
        if isinstance(door, Ratify) and door.setting != setting:
            assert setting is not None, "Ratify is started with a setting"
            door.start(setting)
            started = True
        elif isinstance(door, Provider) and not door.is_installed:
            install_provider(self)
        elif changed and not door.is_alive():
            door.resume()
        assert door.is_alive(), f"a check before this one has left the {door.name} stopped"
        if changed:
            self.apply("ratify/demo", door.demo, "gatekeeper/demo")  # as the README has it
        elif not self.holds(*DEMO):
            self.apply(*DEMO)
        # Ratify reads its resources; the plugin unpacks itself and starts its resident verifier
        if started or changed:
            self.first_yes.setdefault(door.name, self.wait_for_a_yes(attestation))

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


def install_provider(lab: Lab) -> list[str]:
    """Install the provider into a cluster that has Gatekeeper, by the commands of docs/operations/install.md.

    Returns:
        What each printed.
    """
    printed = [lab.kubectl.run("apply", "-k", str(lab.manifests / "provider"))]
    script = str(lab.manifests / "provider" / "certificates.sh")
    with ThreadPoolExecutor(1) as aside:
        constraint = str(lab.manifests / "gatekeeper" / "demo")
        running = aside.submit(lab.kubectl.script, script, constraint)
        lab.provider.await_secret()
        lab.provider.start()
        printed.append(running.result())
    return printed


def _key(thing: Object) -> tuple[str, str]:
    return thing["kind"], thing["metadata"]["name"]


def _is_ratifys(thing: Object) -> bool:
    return str(thing["apiVersion"]).startswith(GROUP)


def _resource(thing: Object) -> str:
    """Return how kubectl names the object."""
    group = thing["apiVersion"].partition("/")[0]
    return f"{thing['kind'].lower()}.{group}/{thing['metadata']['name']}"


def _is_settled(state: Object) -> bool:
    """Tell whether whoever acts on the object says that it has taken in the object's present form."""
    status = state.get("status") or {}
    seen = [entry.get("observedGeneration") for entry in status.get("byPod") or ()]
    return seen == [state["metadata"]["generation"]] * 2
