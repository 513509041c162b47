"""Real containerd in a mount namespace of its own: this machine's /etc, /run, /var/cache and /opt stay as they are."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.peers import peer

START_SECONDS = 60
_SECONDS = 120
BIN_DIR = Path("/opt/containerd/image-verifier/bin")
POLICIES = Path("/etc/slsa-verifier-plugin")

CONFIG = """\
version = 3
root = "{root}"
state = "{state}"
disabled_plugins = [{disabled}]

[grpc]
address = "{address}"

[debug]
level = "debug"

[[plugins."io.containerd.transfer.v1.local".unpack_config]]
platform = "linux"
snapshotter = "native"

[plugins."io.containerd.cri.v1.images"]
snapshotter = "native"
"""
_CRI = (
    "io.containerd.grpc.v1.cri",
    "io.containerd.cri.v1.runtime",
    "io.containerd.cri.v1.images",
    "io.containerd.nri.v1.nri",
)
_OTHERS = (
    "io.containerd.snapshotter.v1.overlayfs",
    "io.containerd.snapshotter.v1.erofs",
    "io.containerd.snapshotter.v1.blockfile",
)


@dataclass
class NodeFiles:
    """What lies on the node; each folder is mounted over this machine's in containerd's namespace."""

    home: Path

    def __post_init__(self) -> None:
        for name in ("etc", "run", "cache", "opt", "tmp"):
            (self.home / name).mkdir()
            (self.home / name).chmod(0o755)
        for name in ("hosts", "resolv.conf", "passwd", "group", "nsswitch.conf"):
            if Path("/etc", name).exists():
                shutil.copy(Path("/etc", name), self.home / "etc" / name)
        self.bin_dir.mkdir(parents=True)

    @property
    def policies(self) -> Path:
        return self.home / "etc" / POLICIES.name

    @property
    def bin_dir(self) -> Path:
        return self.home / "opt" / BIN_DIR.relative_to("/opt")

    def command(self, arguments: list[str]) -> list[str]:
        """Return the command that runs ``arguments`` on the node: as root, of a user namespace where this user is not."""
        mounts = {"etc": "/etc", "run": "/run", "cache": "/var/cache", "opt": "/opt"}
        script = "set -e; " + "".join(
            f"mount --bind {shlex.quote(str(self.home / name))} {where}; " for name, where in mounts.items()
        )
        namespaces = ["--mount", "--propagation", "private"] + (
            [] if os.geteuid() == 0 else ["--map-root-user"]
        )
        return ["unshare", *namespaces, "sh", "-c", f'{script} exec "$@"', "sh", *arguments]

    def run(
        self, *arguments: str | Path, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on the node."""
        return subprocess.run(
            self.command([str(argument) for argument in arguments]),
            env=dict(environment or {"PATH": os.defpath}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )


@dataclass
class Containerd:
    """A running containerd."""

    files: NodeFiles
    process: subprocess.Popen[bytes]
    address: str
    log: Path
    pulled: list[str] = field(default_factory=list)

    def ctr(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ``ctr``."""
        return subprocess.run(
            [str(peer("ctr")), "--address", self.address, *arguments],
            env={"PATH": os.defpath},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )

    def pull(self, image: str, *options: str) -> subprocess.CompletedProcess[str]:
        """Pull an image through the transfer service, from a registry of plain HTTP."""
        return self.ctr("images", "pull", "--plain-http", *options, image)

    def images(self) -> list[str]:
        """Return the names of the images that it has."""
        return self.ctr("images", "ls", "-q").stdout.split()


@contextmanager
def containerd(
    files: NodeFiles, config: str = "", environment: Mapping[str, str] | None = None
) -> Iterator[Containerd]:
    """Run containerd with ``config`` behind its usual configuration, in an empty environment unless one is given."""
    address, log = str(files.home / "containerd.sock"), files.home / "containerd.log"
    disabled = ", ".join(f'"{name}"' for name in (*_CRI, *_OTHERS))
    text = CONFIG.format(
        root=files.home / "root", state=files.home / "state", address=address, disabled=disabled
    )
    file = files.home / "config.toml"
    file.write_text(text + config)
    command = files.command([str(peer("containerd")), "--config", str(file)])
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            env=dict(environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    running = Containerd(files, process, address, log)
    try:
        end = time.monotonic() + START_SECONDS
        while running.ctr("version").returncode != 0:
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"containerd does not run: {log.read_text()[-3000:]}")
            time.sleep(0.1)
        yield running
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
