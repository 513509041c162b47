"""Ratify as its chart's Pod would run it: the image's files, user and settings, the Pod's volumes and variables."""

from __future__ import annotations

import base64
import contextlib
import os
import shlex
import shutil
import signal
import socket
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.cluster import charts
from tests.e2e.cluster.control_plane import API_HOST, API_PORT, ControlPlane
from tests.e2e.cluster.images import NONROOT, Images
from tests.e2e.cluster.kube import Object
from tests.e2e.cluster.processes import Processes

NAME = "ratify"
_ACCOUNT = "var/run/secrets/kubernetes.io/serviceaccount"
_DEVICES = ("null", "zero", "random", "urandom")


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
        for path, source in volumes.items():
            target = self.rootfs / path
            if source.is_dir():
                target.mkdir(parents=True, exist_ok=True)
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.touch()
        (self.rootfs / "proc").mkdir(exist_ok=True)
        shown = self._container()
        command = [*shown["command"], *shown["args"], *self.setting.arguments]
        script = container_script(self.rootfs, volumes, command)
        environment = self._environment(self.images.crane.config(self.setting.image)) | dict(
            self.setting.variables
        )
        self.processes.start(NAME, ["unshare", "--mount", "sh", "-c", script], environment)
        self.processes.wait_until(_is_ready, NAME, "it is ready")
        self.processes.wait_until(_serves, NAME, "it serves")

    def pause(self) -> None:
        """End the container, and whatever it left running, at once."""
        if self.processes.is_alive(NAME):
            self.processes.kill(NAME)
        _end_all(NONROOT)

    def stop(self) -> None:
        """End the Pod and forget its files."""
        self.pause()
        if self.rootfs.exists():
            shutil.rmtree(self.rootfs)

    def memory(self) -> tuple[int, int]:
        """Return the MiB of Ratify and of everything else that the Pod runs, shared pages divided (PSS)."""
        own = others = 0
        for process in processes_of(NONROOT):
            with contextlib.suppress(OSError):
                rollup = (process / "smaps_rollup").read_text()
                pss = next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
                if (process / "comm").read_text().strip() == NAME:
                    own += pss
                else:
                    others += pss
        return own // 1024, others // 1024

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
            **{f"dev/{device}": Path("/dev") / device for device in _DEVICES},
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


def container_script(rootfs: Path, volumes: Mapping[str, Path], command: list[str]) -> str:
    """Return the shell script that enters the container: its mounts, its root, its user, its program."""
    root = shlex.quote(str(rootfs))
    lines = ["set -e", f"mount --bind {root} {root}", f"mount -t proc proc {root}/proc"]
    lines += [f"mount --bind {shlex.quote(str(source))} {root}/{path}" for path, source in volumes.items()]
    user = f"--userspec={NONROOT}:{NONROOT} --groups={NONROOT}"
    lines.append(f"exec {shutil.which('chroot')} {user} {root} {shlex.join(command)}")  # PATH is the image's
    return "\n".join(lines)


def _is_ready() -> bool:
    with urllib.request.urlopen("http://127.0.0.1:9099/readyz", timeout=5) as answer:
        return bool(answer.status == 200)


def _serves() -> bool:
    socket.create_connection(("127.0.0.1", 6001), timeout=1).close()
    return True


def processes_of(user: int) -> Iterator[Path]:
    """Yield the /proc folder of every process of ``user``."""
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and entry.stat().st_uid == user:
                yield entry


def _end_all(user: int) -> None:
    for process in processes_of(user):
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(process.name), signal.SIGKILL)
