"""Calls the image verifier as containerd does, with a folder of policies and places of the test's own."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slsa_verifier_plugin.node.call_arguments import DESCRIPTOR, PROGRAM
from slsa_verifier_plugin.policy.verdict import FAILURE_PREFIX
from slsa_verifier_plugin.resident import protocol

STORE = {
    "apiVersion": "config.ratify.deislabs.io/v1beta1",
    "kind": "Store",
    "metadata": {"name": "store-oras"},
    "spec": {"name": "oras", "parameters": {"useHttp": True}},
}
DIGEST = "sha256:" + "0" * 64

INDEX = "application/vnd.oci.image.index.v1+json"
_CALL = (
    "import sys\n"
    "from slsa_verifier_plugin.node import surroundings\n"
    "surroundings.RUN, surroundings.CACHE = sys.argv[1:3]\n"
    "from slsa_verifier_plugin.node.call import main\n"
    "main(sys.argv[4], sys.argv[5:], base=sys.argv[3])\n"
)


@dataclass(frozen=True)
class Pulled:
    """What became of one call: the exit status, what it said, and the seconds it took."""

    status: int
    stdout: str
    stderr: str
    seconds: float

    @property
    def is_allowed(self) -> bool:
        return self.status == 0


@dataclass
class Node:
    """A node with a folder of policies.

    Attributes:
        home: everything of the node lies below it.
        environ: what containerd runs with: nothing, unless a test says so.
        resident: True where the resident verifier must answer; else each call has a process of its own.
    """

    home: Path
    environ: dict[str, str] = field(default_factory=dict)
    resident: bool = False

    def __post_init__(self) -> None:
        self.policies.mkdir(mode=0o755)

    @property
    def policies(self) -> Path:
        return self.home / "etc"

    def settings(self) -> dict[str, str]:
        return {"SLSA_VERIFIER_RESIDENT": "require" if self.resident else "off", **self.environ}

    def put(self, name: str, content: str) -> Path:
        """Write a file of the policy folder."""
        file = self.policies / name
        file.write_text(content)
        file.chmod(0o644)
        return file

    def pull(self, name: str, digest: str, program: str = f"/opt/bin/{PROGRAM}") -> Pulled:
        """Ask as containerd does before it pulls ``name``, which stands for ``digest``."""
        return self.run(arguments(name, digest), descriptor(digest), program)

    def run(
        self, arguments: Sequence[str | bytes], stdin: bytes | int, program: str = f"/opt/bin/{PROGRAM}"
    ) -> Pulled:
        """Run the verifier with any arguments; ``stdin`` is its content or an open descriptor."""
        own = [str(self.home / "run"), str(self.home / "tuf"), str(self.policies), program]
        given: dict[str, Any] = {"input": stdin} if isinstance(stdin, bytes) else {"stdin": stdin}
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", _CALL, *own, *arguments],
            env=self.settings(),
            capture_output=True,
            timeout=60,
            check=False,
            **given,
        )
        seconds = time.monotonic() - started
        return Pulled(done.returncode, done.stdout.decode(), done.stderr.decode(), seconds)


def stop_residents(home: Path) -> None:
    """Stop the resident verifiers of all calls of a node so far: they know each other by nothing but their place."""
    for folder in (home / "run").glob("*/socket"):
        connection = socket.socket(socket.AF_UNIX)
        with connection:
            connection.settimeout(60)
            connection.connect(str(folder))
            connection.sendall(protocol.frame(protocol.STOP))
            connection.recv(100)


def arguments(name: str, digest: str) -> list[str]:
    """Return containerd's arguments for an image."""
    return ["-name", name, "-digest", digest, "-stdin-media-type", DESCRIPTOR]


def descriptor(digest: str, **more: object) -> bytes:
    """Return what containerd writes to standard input."""
    return json.dumps({"mediaType": INDEX, "digest": digest, "size": 856, **more}).encode() + b"\n"


@dataclass(frozen=True)
class Images:
    """Two images, and the folder on the registry that both lie in."""

    repository: str
    level_1: str
    level_3: str

    @property
    def name(self) -> str:
        return f"{self.repository}/app:v1"


def assert_blocked(pulled: Pulled, *says: str) -> None:
    """Fail unless the pull was blocked, with a reason that is fit for a log and says all of ``says``."""
    assert pulled.status == 1, pulled
    assert pulled.stdout.startswith(FAILURE_PREFIX), pulled
    assert pulled.stdout.endswith("\n")
    assert all(line.isprintable() for line in pulled.stdout.splitlines())
    assert len(pulled.stdout) < 32 << 10
    assert "Traceback" not in pulled.stdout + pulled.stderr
    for text in says:
        assert text in pulled.stdout, pulled
