"""Real containerd in a mount namespace of its own: this machine's /etc, /run and /var/cache stay as they are.

It takes root: everything on the node belongs to root, and that is what the verifier looks at.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from slsa_verifier_plugin.resident import protocol
from tests.e2e.peers import peer

START_SECONDS = 60
_SECONDS = 120
POLICIES = Path("/etc/slsa-verifier-plugin")

CONFIG = """\
version = 3
root = "{home}/root"
state = "{home}/state"
imports = ["{home}/conf.d/*.toml"]
disabled_plugins = [{disabled}]

[grpc]
address = "{home}/containerd.sock"

[debug]
level = "debug"

[[plugins."io.containerd.transfer.v1.local".unpack_config]]
platform = "linux"
snapshotter = "native"

[plugins."io.containerd.cri.v1.images"]
snapshotter = "native"

[plugins."io.containerd.cri.v1.runtime".cni]
conf_dir = "{home}/cni"
"""
_DISABLED = (
    "io.containerd.nri.v1.nri",
    "io.containerd.snapshotter.v1.overlayfs",
    "io.containerd.snapshotter.v1.erofs",
    "io.containerd.snapshotter.v1.blockfile",
)
"""Of no use here, and not every kernel has what they need."""


@dataclass
class NodeFiles:
    """What lies on a node: copies of some folders, mounted over this machine's in the node's namespace."""

    home: Path

    def __post_init__(self) -> None:
        for name in ("run", "cache", "conf.d"):
            (self.home / name).mkdir(parents=True)
            (self.home / name).chmod(0o755)
        self.home.chmod(0o755)
        shutil.copytree("/etc", self.home / "etc", symlinks=True)
        (self.home / "config.toml").write_text(
            CONFIG.format(home=self.home, disabled=", ".join(f'"{name}"' for name in _DISABLED))
        )
        self.configure(
            f'version = 3\n[plugins."io.containerd.image-verifier.v1.bindir"]\nbin_dir = "{self.bin_dir}"\n'
        )

    @property
    def policies(self) -> Path:
        return self.home / "etc" / POLICIES.name

    @property
    def bin_dir(self) -> Path:
        return self.home / "image-verifier" / "bin"

    @property
    def config(self) -> Path:
        return self.home / "config.toml"

    def configure(self, text: str, name: str = "10-verifier.toml") -> None:
        """Write a file that the configuration imports."""
        (self.home / "conf.d" / name).write_text(text)

    def put(self, name: str, content: str | bytes) -> None:
        """Write a file of the policy folder."""
        self.policies.mkdir(mode=0o755, exist_ok=True)
        file = self.policies / name
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        file.chmod(0o644)

    def command(self, arguments: list[str]) -> list[str]:
        """Return the command that runs ``arguments`` on the node."""
        mounts = {"etc": "/etc", "run": "/run", "cache": "/var/cache"}
        script = "set -e; " + "".join(
            f"mount --bind {shlex.quote(str(self.home / name))} {where}; " for name, where in mounts.items()
        )
        return [
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            f'{script} exec "$@"',
            "sh",
            *arguments,
        ]

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a command on the node."""
        return subprocess.run(
            self.command([str(argument) for argument in arguments]),
            env={"PATH": os.defpath},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )

    def stop_residents(self) -> None:
        """Stop the resident verifiers that the node's calls have started."""
        for path in (self.home / "run" / "slsa-verifier-plugin").glob("*/socket"):
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(20)
                connection.connect(str(path))
                connection.sendall(protocol.frame(protocol.STOP))
                connection.recv(100)


@dataclass
class Containerd:
    """A running containerd."""

    files: NodeFiles
    log: Path

    @property
    def address(self) -> str:
        return str(self.files.home / "containerd.sock")

    def ctr(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ``ctr``."""
        return _run([str(peer("ctr")), "--address", self.address, *arguments])

    def pull(self, image: str) -> subprocess.CompletedProcess[str]:
        """Pull an image through the transfer service, from a registry of plain HTTP."""
        return self.ctr("images", "pull", "--plain-http", image)

    def cri_pull(self, image: str) -> subprocess.CompletedProcess[str]:
        """Pull an image as the kubelet does, through the CRI; registries on loopback are asked in plain HTTP."""
        endpoint = f"unix://{self.address}"
        return _run(
            [str(peer("crictl")), "--runtime-endpoint", endpoint, "--image-endpoint", endpoint, "pull", image]
        )

    def names(self, namespace: str = "default") -> list[str]:
        """Return the names of the images that it has."""
        return self.ctr("--namespace", namespace, "images", "ls", "-q").stdout.split()


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        env={"PATH": os.defpath},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )


@contextmanager
def containerd(files: NodeFiles, environment: Mapping[str, str] | None = None) -> Iterator[Containerd]:
    """Run containerd on a node, in an empty environment unless one is given."""
    log = files.home / "containerd.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            files.command([str(peer("containerd")), "--config", str(files.config)]),
            env=dict(environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    running = Containerd(files, log)
    try:
        end = time.monotonic() + START_SECONDS
        while running.ctr("version").returncode != 0:
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"containerd does not run: {log.read_text()[-3000:]}")
            time.sleep(0.05)
        yield running
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
