"""What a kubelet does for one container: its volumes, from the API server's objects, and the way into its root."""

from __future__ import annotations

import base64
import itertools
import os
import shlex
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.e2e.cluster.images import NONROOT
from tests.e2e.cluster.kube import Kubectl, Object

DEVICES = ("null", "zero", "random", "urandom")


def container_script(
    rootfs: Path, volumes: Mapping[str, Path], command: list[str], *, read_only: bool = False
) -> str:
    """Return the shell script that enters the container: its mounts, its root, its user, its program.

    Args:
        rootfs: the image's files.
        volumes: paths in the image, without the leading slash, to what is mounted there.
        command: the program and its arguments.
        read_only: whether the root is; volumes are as they are.
    """
    root = shlex.quote(str(rootfs))
    lines = ["set -e", f"mount --bind {root} {root}", f"mount -t proc proc {root}/proc"]
    lines += [f"mount --bind {shlex.quote(str(source))} {root}/{path}" for path, source in volumes.items()]
    if read_only:
        lines.append(f"mount -o remount,bind,ro {root}")
    user = f"--userspec={NONROOT}:{NONROOT} --groups={NONROOT}"
    lines.append(f"exec {shutil.which('chroot')} {user} {root} {shlex.join(command)}")  # PATH is the image's
    return "\n".join(lines)


def make_mount_points(rootfs: Path, volumes: Mapping[str, Path]) -> None:
    """Make in ``rootfs`` what the volumes are mounted on."""
    for path, source in volumes.items():
        target = rootfs / path
        if source.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch()
    (rootfs / "proc").mkdir(exist_ok=True)


class Volumes:
    """The volumes of a Pod's one container.

    Args:
        kubectl: reads ConfigMaps and Secrets.
        namespace: the Pod's.
        spec: the Pod's.
        folder: a new one, which holds them.
    """

    def __init__(self, kubectl: Kubectl, namespace: str, spec: Object, folder: Path) -> None:
        self._kubectl, self._namespace, self._spec, self._folder = kubectl, namespace, spec, folder
        self._versions = itertools.count()
        folder.mkdir()
        for volume in spec["volumes"]:
            own = folder / volume["name"]
            own.mkdir()
            if "emptyDir" in volume:
                own.chmod(0o2777)  # as the kubelet makes it where there is an fsGroup
            os.chown(own, 0, NONROOT)
        self.refresh()

    def mounts(self) -> dict[str, Path]:
        """Return where the container has each, without the leading slash."""
        (container,) = self._spec["containers"]
        mounted = container["volumeMounts"]
        return {one["mountPath"].strip("/"): self._folder / one["name"] for one in mounted}

    def refresh(self) -> None:
        """Bring ConfigMaps and Secrets up to date, as the kubelet does a minute after they have changed.

        All files of a volume change at once: they are links through ``..data``, which is exchanged by a rename.
        """
        for name, mode, files in self._contents():
            own = self._folder / name
            version = own / f"..{next(self._versions)}"
            version.mkdir()
            for file, content in files.items():
                (version / file).write_bytes(content)
                (version / file).chmod(mode)
                os.chown(version / file, 0, NONROOT)
                if not (own / file).is_symlink():
                    (own / file).symlink_to(f"..data/{file}")
            before = (own / "..data").resolve() if (own / "..data").is_symlink() else None
            (own / "..new").symlink_to(version.name)
            (own / "..new").rename(own / "..data")
            for link in own.iterdir():
                if not link.name.startswith("..") and link.name not in files:
                    link.unlink()
            if before is not None:
                shutil.rmtree(before)

    def _contents(self) -> Iterator[tuple[str, int, dict[str, bytes]]]:
        """Yield name, mode and files of each volume that comes from an object."""
        for volume in self._spec["volumes"]:
            if "configMap" in volume:
                source = volume["configMap"]
                found = self._kubectl.get("configmap", source["name"], "-n", self._namespace)
                files = {key: text.encode() for key, text in found["data"].items()}
            elif "secret" in volume:
                source = volume["secret"]
                wanted = ("secret", source["secretName"], "-n", self._namespace)
                if source.get("optional") and not self._kubectl.exists(*wanted):
                    continue
                found = self._kubectl.get("secret", source["secretName"], "-n", self._namespace)
                files = {key: base64.b64decode(text) for key, text in found["data"].items()}
            else:
                continue
            if "items" in source:
                files = {one["path"]: files[one["key"]] for one in source["items"]}
            yield volume["name"], source.get("defaultMode", 0o644), files


def processes_in(namespace: str) -> Iterator[Path]:
    """Yield the /proc folder of every process in a container, told by its mount namespace (``mount_namespace``)."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and mount_namespace(entry) == namespace:
            yield entry


def mount_namespace(process: Path) -> str:
    """Return the mount namespace of a process by its /proc folder; empty where it has ended."""
    try:
        return str((process / "ns" / "mnt").readlink())
    except OSError:
        return ""


def memory(process: Path) -> int:
    """Return the bytes of a process by its /proc folder, shared pages divided (PSS); 0 where it has ended."""
    try:
        rollup = (process / "smaps_rollup").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in rollup.splitlines() if line.startswith("Pss:")), 0)


def cpu_seconds(process: Path) -> float:
    """Return the CPU seconds of a process, and of its children that have ended, by its /proc folder."""
    try:
        fields = (process / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    # utime, stime, cutime and cstime, fields 14 to 17 (proc(5)); the second one, the name, may hold blanks
    return sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")
