"""Ratify as its chart's Pod would run it: the image's files, user and settings, the Pod's volumes and variables."""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import signal
import socket
import time
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.cluster import charts
from tests.e2e.cluster.control_plane import API_HOST, API_PORT, ControlPlane
from tests.e2e.cluster.images import NONROOT, Images
from tests.e2e.cluster.kube import KubectlError, Object
from tests.e2e.cluster.kubelet import (
    DEVICES,
    container_script,
    cpu_seconds,
    make_mount_points,
    memory,
    mount_namespace,
    processes_in,
)
from tests.e2e.cluster.processes import Processes

NAME = "ratify"
_ACCOUNT = "var/run/secrets/kubernetes.io/serviceaccount"
GROUP = "config.ratify.deislabs.io"
KINDS = ("verifiers", "stores", "policies")
_SETTLE_SECONDS = 30.0
_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Setting:
    """What a Pod of Ratify is started with.

    Attributes:
        image: its digest reference.
        variables: over those of the chart and the image.
        arguments: behind those of the chart; the last of two equal flags counts.
    """

    image: str
    variables: Mapping[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()


@dataclass
class Ratify:
    """Ratify's Deployment and the one Pod of it that runs.

    Attributes:
        rootfs: the Pod's files; changes stay in it until ``start`` lays out the image anew.
        setting: what the Pod was started with; None before the first.
    """

    plane: ControlPlane
    processes: Processes
    objects: list[Object]
    images: Images
    folder: Path
    client_authority: str
    rootfs: Path = Path("/nonexistent")
    setting: Setting | None = None
    name: str = "ratify"
    demo: str = "gatekeeper/install"
    _namespace: str = ""

    @property
    def plugins(self) -> Path:
        """The plugin directory of the running Pod."""
        return self.rootfs / ".ratify" / "plugins"

    def start(self, setting: Setting) -> None:
        """Start a Pod in place of any that runs.

        Raises:
            ProcessDiedError: it did not become ready.
        """
        self.stop()
        self.rootfs = self.images.copy(setting.image, self.folder / "rootfs")
        self.setting = setting
        self.resume()

    def resume(self) -> None:
        """Start the container again over the files it left, as the kubelet restarts one that ended.

        Raises:
            ProcessDiedError: it did not become ready.
        """
        assert self.setting is not None, "resume() is for what start() has started"
        volumes = self._volumes()
        make_mount_points(self.rootfs, volumes)
        shown = self._container()
        command = [*shown["command"], *shown["args"], *self.setting.arguments]
        script = container_script(self.rootfs, volumes, command)
        environment = self._environment(self.images.crane.config(self.setting.image)) | dict(
            self.setting.variables
        )
        self.processes.start(NAME, ["unshare", "--mount", "sh", "-c", script], environment)
        self.processes.wait_until(_is_ready, NAME, "it is ready")
        self.processes.wait_until(_serves, NAME, "it serves")
        self._namespace = mount_namespace(Path("/proc") / str(self.processes.process_id(NAME)))

    def pause(self) -> None:
        """End the container, and whatever it left running, at once."""
        if self.processes.is_alive(NAME):
            self.processes.kill(NAME)
        for process in self.container():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(process.name), signal.SIGKILL)
        self._namespace = ""  # its number goes to the next container that starts

    def stop(self) -> None:
        """End the Pod and forget its files."""
        self.pause()
        if self.rootfs.exists():
            shutil.rmtree(self.rootfs)

    def memory(self) -> tuple[int, int]:
        """Return the MiB of Ratify and of everything else that the Pod runs, shared pages divided (PSS)."""
        own = others = 0
        for process in self.container():
            with contextlib.suppress(OSError):
                if (process / "comm").read_text().strip() == NAME:
                    own += memory(process)
                else:
                    others += memory(process)
        return own >> 20, others >> 20

    def usage(self) -> tuple[float, int]:
        """Return the CPU seconds of the Pod's processes so far, ended plugins included, and the bytes they take (PSS)."""
        found = list(self.container())
        return sum(map(cpu_seconds, found)), sum(map(memory, found))

    def container(self) -> Iterator[Path]:
        """Yield the /proc folders of all that the Pod runs; the resident verifier has left Ratify's session."""
        if self._namespace:
            yield from processes_in(self._namespace)

    def is_alive(self) -> bool:
        """Tell whether Ratify runs."""
        return self.processes.is_alive(NAME)

    def specs(self) -> dict[tuple[str, str], object]:
        """Return the specifications of all of Ratify's resources in the cluster, by kind and name."""
        return {(thing["kind"], thing["metadata"]["name"]): thing["spec"] for thing in self._found()}

    def take(self, objects: Iterable[Object]) -> None:
        """Apply Ratify's resources, and wait until it says that it has taken them in.

        What it has read in another form is deleted first: its status would not tell when it has read the new one.

        Raises:
            KubectlError: it was not in time.
        """
        specs = {_resource(thing): thing["spec"] for thing in objects}
        kubectl = self.plane.kubectl
        found = {_resource(thing): thing["spec"] for thing in self._found()}
        if stale := [name for name, spec in found.items() if specs.get(name, spec) != spec]:
            kubectl.run("delete", *stale)
        kubectl.apply(objects)
        waiting, end = list(specs), time.monotonic() + _SETTLE_SECONDS
        while waiting:
            # one is printed as it is, several as a List
            got = kubectl.get(*waiting)
            states = got["items"] if got["kind"] == "List" else [got]
            waiting = [
                _resource(one) for one in states if (one.get("status") or {}).get("issuccess") is not True
            ]
            if waiting and time.monotonic() > end:
                raise KubectlError(f"not taken in after {_SETTLE_SECONDS:.0f} s: {', '.join(waiting)}")
            time.sleep(_POLL_SECONDS if waiting else 0)

    def place(self, name: str, content: bytes) -> str:
        """Put a file into the Pod; return its path for a Verifier."""
        file = self.rootfs / "home" / "nonroot" / name
        file.write_bytes(content)
        file.chmod(0o644)
        return f"/home/nonroot/{name}"

    def _found(self) -> list[Object]:
        found: list[Object] = self.plane.kubectl.get(",".join(f"{kind}.{GROUP}" for kind in KINDS))["items"]
        return found

    def _container(self) -> Object:
        return charts.container(charts.find(self.objects, "Deployment", NAME))

    def _volumes(self) -> dict[str, Path]:
        """Write out what the Pod's volumes hold; paths in the image to files and folders here."""
        volumes = self.folder / "volumes"
        shutil.rmtree(volumes, ignore_errors=True)
        for name in ("config", "tls", "client-ca", "account", "cache"):
            (volumes / name).mkdir(parents=True)
        config = charts.find(self.objects, "ConfigMap", "ratify-configuration")
        for name, text in config["data"].items():
            (volumes / "config" / name).write_text(text)
        secret = charts.find(self.objects, "Secret", "ratify-tls")
        for name, encoded in secret["data"].items():
            (volumes / "tls" / name).write_bytes(base64.b64decode(encoded))
        (volumes / "tls" / "client-ca").mkdir()
        (volumes / "client-ca" / "ca.crt").write_text(self.client_authority)
        token = self.plane.kubectl.run("create", "token", "ratify-admin", "-n", charts.NAMESPACE)
        (volumes / "account" / "token").write_text(token)
        (volumes / "account" / "ca.crt").write_text(self.plane.authority.certificate)
        (volumes / "account" / "namespace").write_text(charts.NAMESPACE)
        os.chown(volumes / "cache", NONROOT, NONROOT)
        return {
            "usr/local/ratify": volumes / "config",
            "usr/local/tls": volumes / "tls",
            "usr/local/tls/client-ca": volumes / "client-ca",
            _ACCOUNT: volumes / "account",
            ".ratify/local_oras_cache": volumes / "cache",
            "etc/hosts": Path("/etc/hosts"),
            **{f"dev/{device}": Path("/dev") / device for device in DEVICES},
        }

    def _environment(self, image: Mapping[str, object]) -> dict[str, str]:
        """Return the image's variables, then the kubelet's, then the chart's."""
        environment = {"HOME": "/home/nonroot", "HOSTNAME": "ratify-0"}
        stated = image.get("Env")
        assert isinstance(stated, list)
        environment |= dict(entry.split("=", 1) for entry in stated)
        environment |= {"KUBERNETES_SERVICE_HOST": API_HOST, "KUBERNETES_SERVICE_PORT": str(API_PORT)}
        for entry in self._container()["env"]:
            # the one field that the chart refers to is the Pod's namespace
            environment[entry["name"]] = str(entry.get("value", charts.NAMESPACE))
        return environment


def _is_ready() -> bool:
    with urllib.request.urlopen("http://127.0.0.1:9099/readyz", timeout=5) as answer:
        return bool(answer.status == 200)


def _serves() -> bool:
    socket.create_connection(("127.0.0.1", 6001), timeout=1).close()
    return True


def _resource(thing: Object) -> str:
    """Return how kubectl names one of Ratify's resources."""
    return f"{thing['kind'].lower()}.{GROUP}/{thing['metadata']['name']}"
