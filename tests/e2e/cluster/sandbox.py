"""Namespaces of the cluster's own, in which loopback is the only network and nothing outlives the run.

Some of the programs listen on every address and on fixed ports (Ratify's manager on :8080, Gatekeeper's metrics),
and the manifests under test name in-cluster hosts. In a network namespace nobody else can reach the first, and with
a hosts file of our own the second resolve, so that neither has to be changed for the test.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from tests.e2e.peers import PeerError

_SIOCSIFFLAGS = 0x8914
_IFF_UP = 0x1
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
INSIDE = "SLSA_E2E_CLUSTER"
"""Set in the environment of what runs inside; the checks are collected only there."""


def enter(arguments: list[str]) -> NoReturn:
    """Replace this process by ``python ARGUMENTS`` in fresh mount, network and process namespaces.

    Every process of the cluster ends with that one, however it ends.

    Raises:
        PeerError: not root, or ``unshare`` is missing.
    """
    if os.geteuid() != 0:
        raise PeerError("the cluster's namespaces take root: run this as root, or with sudo -E")
    unshare = shutil.which("unshare")
    if unshare is None:
        raise PeerError("unshare is not installed (Debian: util-linux)")
    environment = {key: value for key, value in os.environ.items() if key.upper() not in _PROXIES}
    environment[INSIDE] = "1"
    options = ["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    os.execve(unshare, [unshare, *options, sys.executable, *arguments], environment)


def raise_loopback() -> None:
    """Bring up the namespace's loopback interface, and let any user listen on any of its ports."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh", b"lo", _IFF_UP))
    Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").write_text("0")


@contextmanager
def in_memory(folder: Path) -> Iterator[None]:
    """Have ``folder`` in memory, seen in this namespace alone: a disk's pauses are no part of what is tested."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", str(folder)], check=True)
    yield
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


class Hosts:
    """The hosts file of the namespace: names of Services and registries."""

    def __init__(self, file: Path, *local: str) -> None:
        """Mount ``file`` over /etc/hosts, for this namespace alone, with the names of all that will listen here.

        Go programs look at the file again after five seconds at the earliest (``cacheMaxAge`` of its net package):
        a name that comes while they run is unknown to them for as long.
        """
        self.file = file
        self._lines = [f"127.0.0.1 {' '.join(('localhost', *local))}"]
        self._write()
        subprocess.run(["mount", "--bind", str(file), "/etc/hosts"], check=True)

    def add(self, address: str, *names: str) -> None:
        """Let ``names`` resolve to ``address``."""
        self._lines.append(f"{address} {' '.join(names)}")
        self._write()

    def remove(self, address: str) -> None:
        """Let no name resolve to ``address`` any more."""
        self._lines = [line for line in self._lines if line.split()[0] != address]
        self._write()

    def _write(self) -> None:
        self.file.write_text("\n".join(self._lines) + "\n")
