"""``slsa-verifier-plugin serve`` as the Deployment of ``deploy/provider`` has it: image, user, arguments, volumes."""

from __future__ import annotations

import shutil
import time
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from tests.e2e.cluster import charts
from tests.e2e.cluster.control_plane import ControlPlane
from tests.e2e.cluster.images import Images
from tests.e2e.cluster.kube import Object
from tests.e2e.cluster.kubelet import (
    DEVICES,
    Volumes,
    container_script,
    cpu_seconds,
    make_mount_points,
    memory,
    mount_namespace,
    processes_in,
)
from tests.e2e.cluster.processes import ProcessDiedError, Processes
from tests.e2e.cluster.sandbox import Hosts

NAME = "slsa-verifier"
ADDRESSES = ("127.96.0.10", "127.96.0.11")
"""The Service's cluster address, on which its first replica listens, and that of its second one.

Among the first 16 of the range, which no Service gets by chance (Kubernetes, "Service ClusterIP allocation").

Nothing here plays kube-proxy: the name of the Service has both addresses, and who connects takes the first that answers.
"""
SELECTOR = f"app.kubernetes.io/name={NAME}"
_CONFIG = "slsa-verifier-policy"
_PORT, _HEALTH = 443, 9440
_RELOAD_SECONDS = 30.0
_CACHED_SECONDS = 5.5


@dataclass
class Provider:
    """The Deployment and its replicas that run here.

    Attributes:
        image: what they run; its digest reference.
        folder: a new one.
        objects: what their policy files hold, by kind and name.
        arguments: in place of those of the Deployment.
    """

    plane: ControlPlane
    processes: Processes
    images: Images
    image: str
    folder: Path
    hosts: Hosts
    name: str = "provider"
    demo: str = "provider/gatekeeper"
    objects: dict[tuple[str, str], Object] = field(default_factory=dict)
    arguments: list[str] | None = None
    _volumes: dict[int, Volumes] = field(default_factory=dict)
    _namespaces: dict[int, str] = field(default_factory=dict)
    _files: dict[str, str] = field(default_factory=dict)

    def start(self, replica: int = 0) -> None:
        """Start one replica from nothing, and have its Pod ready as a kubelet would.

        Raises:
            ProcessDiedError: it did not become ready.
        """
        rootfs = self.folder / f"rootfs-{replica}"
        shutil.rmtree(rootfs, ignore_errors=True)
        shutil.rmtree(self.folder / f"volumes-{replica}", ignore_errors=True)
        self.images.copy(self.image, rootfs)
        spec = self.deployment()["spec"]["template"]["spec"]
        self._volumes[replica] = Volumes(
            self.plane.kubectl, charts.NAMESPACE, spec, self.folder / f"volumes-{replica}"
        )
        self.resume(replica)
        self.mark_ready()

    def resume(self, replica: int = 0) -> None:
        """Start the container again over its volumes, as the kubelet restarts one that ended.

        Raises:
            ProcessDiedError: it did not become ready.
        """
        rootfs = self.folder / f"rootfs-{replica}"
        mounts = self._volumes[replica].mounts()
        mounts |= {"etc/hosts": Path("/etc/hosts")}
        mounts |= {f"dev/{device}": Path("/dev") / device for device in DEVICES}
        make_mount_points(rootfs, mounts)
        shown = charts.container(self.deployment())
        # in a Pod every address is its own; here each replica has one
        own = {
            "--listen": f"{ADDRESSES[replica]}:{_PORT}",
            "--health-listen": f"{ADDRESSES[replica]}:{_HEALTH}",
        }
        arguments = [one for one in self.arguments or shown["args"] if one.partition("=")[0] not in own]
        command = [*shown["command"], *arguments, *(f"{key}={value}" for key, value in own.items())]
        assert shown["securityContext"]["readOnlyRootFilesystem"]
        script = container_script(rootfs, mounts, command, read_only=True)
        stated = self.images.crane.config(self.image).get("Env") or []
        assert isinstance(stated, list)
        environment = {"HOSTNAME": f"{NAME}-{replica}", **dict(entry.split("=", 1) for entry in stated)}
        environment |= {entry["name"]: str(entry["value"]) for entry in shown["env"]}
        process = self.process(replica)
        self.processes.start(process, ["unshare", "--mount", "sh", "-c", script], environment)
        self.processes.wait_until(lambda: _answers(replica, "/readyz"), process, "it is ready")
        own_process = Path("/proc") / str(self.processes.process_id(process))
        self._namespaces[replica] = mount_namespace(own_process)

    def process(self, replica: int = 0) -> str:
        """Return the name of a replica among the processes, and so of its log."""
        return f"{NAME}-{replica}"

    def kill(self, replica: int = 0) -> None:
        """Kill one replica at once."""
        self._namespaces.pop(replica, None)  # its number goes to the next container that starts
        if self.processes.is_alive(self.process(replica)):
            self.processes.kill(self.process(replica))

    def replace(self, replica: int) -> None:
        """Replace one replica as a rollout does: nobody is sent there any more, it gets SIGTERM, and another one starts.

        A cluster takes an endpoint out within the 5 s for which the replica goes on to answer after SIGTERM. Here it is the
        name's address, which Gatekeeper may use for 5 s more (``sandbox.Hosts``), so it goes first.
        """
        names = f"{NAME}.{charts.NAMESPACE}"
        self.hosts.remove(ADDRESSES[replica])
        time.sleep(_CACHED_SECONDS)
        self._namespaces.pop(replica, None)
        self.processes.stop(self.process(replica))
        self.start(replica)
        self.hosts.add(ADDRESSES[replica], names)
        time.sleep(_CACHED_SECONDS)

    def pause(self) -> None:
        """Kill all replicas at once."""
        for replica in range(len(ADDRESSES)):
            self.kill(replica)

    def is_alive(self) -> bool:
        """Tell whether the first replica runs."""
        return self.processes.is_alive(self.process())

    @property
    def is_installed(self) -> bool:
        """True once a replica was started."""
        return bool(self._volumes)

    def deployment(self) -> Object:
        """Return the Deployment as the API server has it."""
        return self.plane.kubectl.get("deployment", NAME, "-n", charts.NAMESPACE)

    def specs(self) -> dict[tuple[str, str], object]:
        """Return the specifications of all resources that the policy files hold, by kind and name."""
        return {key: thing["spec"] for key, thing in self.objects.items()}

    def take(self, objects: Iterable[Object]) -> None:
        """Decide by ``objects`` from now on: put them into the ConfigMap in place of those of their names.

        Raises:
            ProcessDiedError: a replica did not take them in.
        """
        self.objects |= {(thing["kind"], thing["metadata"]["name"]): thing for thing in objects}
        self.put(yaml.safe_dump_all(self.objects.values()))

    def put(self, policy: str, outcome: str = "done") -> None:
        """Put a text into the ConfigMap's one file, and wait until every replica says that it has read it.

        Args:
            policy: the text.
            outcome: how the reading is to end.

        Raises:
            ProcessDiedError: it did not end so.
        """
        data = {"policy.yaml": policy, **self._files}
        metadata = {"name": _CONFIG, "namespace": charts.NAMESPACE}
        kubectl = self.plane.kubectl
        found = kubectl.get("configmap", _CONFIG, "-n", charts.NAMESPACE)
        if found["data"] == data:
            return
        kubectl.run("delete", "configmap", _CONFIG, "-n", charts.NAMESPACE)  # its other files, too
        kubectl.apply([{"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}])
        self.refresh("policies", outcome)

    def refresh(self, what: str, outcome: str = "done") -> None:
        """Bring the volumes of every replica that runs up to date, and wait until it has read them.

        Args:
            what: the files that have changed: policies or tls.
            outcome: how the reading is to end.

        Raises:
            ProcessDiedError: it did not end so.
        """
        running = [one for one in self._volumes if self.processes.is_alive(self.process(one))]
        before = {replica: self.reloads(replica, what, outcome) for replica in running}
        for replica in running:
            self._volumes[replica].refresh()
        for replica, count in before.items():
            self.processes.wait_until(
                lambda replica=replica, count=count: self.reloads(replica, what, outcome) > count,  # type: ignore[misc]
                self.process(replica),
                f"it has read {what} anew: {outcome}",
                _RELOAD_SECONDS,
            )

    def reloads(self, replica: int, what: str, outcome: str) -> float:
        """Return how often a replica has read files anew, with that outcome."""
        wanted = ("slsa_provider_reloads_total", f'what="{what}"', f'outcome="{outcome}"')
        lines = self.metrics(replica).splitlines()
        return sum(float(line.split()[-1]) for line in lines if all(part in line for part in wanted))

    def metrics(self, replica: int = 0) -> str:
        """Return what Prometheus would read."""
        with urllib.request.urlopen(_health(replica, "/metrics"), timeout=10) as answer:
            return str(answer.read().decode())

    def place(self, name: str, content: bytes) -> str:
        """Add a file beside the policies; return its path for a policy."""
        self._files[name] = content.decode()
        return f"/policy/{name}"

    def usage(self) -> tuple[float, int]:
        """Return the CPU seconds of all replicas so far, and the bytes that they take (PSS)."""
        found = [one for namespace in self._namespaces.values() for one in processes_in(namespace)]
        return sum(map(cpu_seconds, found)), sum(map(memory, found))

    def await_secret(self, seconds: float = 60.0) -> None:
        """Wait until the Secret that the Pods mount is there, as a kubelet does.

        Raises:
            ProcessDiedError: it did not come.
        """
        end = time.monotonic() + seconds
        while not self.plane.kubectl.exists("secret", f"{NAME}-tls", "-n", charts.NAMESPACE):
            if time.monotonic() > end:
                raise ProcessDiedError(f"no Secret {NAME}-tls after {seconds:.0f} s")
            time.sleep(0.2)

    def mark_ready(self) -> None:
        """Say of the Deployment's Pods what a kubelet says of those whose readiness probe succeeds."""
        kubectl = self.plane.kubectl
        selected = ("get", "pods", "-n", charts.NAMESPACE, "-l", SELECTOR, "-o", "name")
        kubectl.until(f"pod/{NAME}", *selected)
        status: Mapping[str, object] = {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True"}],
        }
        patch = yaml.safe_dump({"status": status})
        for pod in kubectl.run(*selected).split():
            said = kubectl.attempt(
                "patch", "-n", charts.NAMESPACE, pod, "--subresource=status", "--type=merge", "-p", patch
            )
            # A rollout takes Pods away meanwhile.
            assert said.admitted or "(NotFound)" in said.text, said.text


def _health(replica: int, path: str) -> str:
    return f"http://{ADDRESSES[replica]}:{_HEALTH}{path}"


def _answers(replica: int, path: str) -> bool:
    # an error status raises HTTPError, an OSError
    with urllib.request.urlopen(_health(replica, path), timeout=5) as answer:
        return bool(answer.status == 200)
