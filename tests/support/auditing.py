"""A registry with images to audit, and the command that audits them."""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path
from typing import Any

from slsa_verifier_plugin.checking.status import Status
from tests.support.command_line import (
    ARTIFACT_TYPE,
    Done,
    cli,
)
from tests.support.embedded_registry import EmbeddedRegistry
from tests.support.registry_handler import RegistryHandler

PROGRAM = (sys.executable, "-m", "slsa_verifier_plugin")
LEVELS = [f"SLSA_SOURCE_LEVEL_{number}" for number in range(1, 5)]


class SlowRegistry(EmbeddedRegistry):
    """Answers manifests of ``slow/`` only once it is told to; counts what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.broken = False
        self.go_on = threading.Event()
        self.go_on.set()

    def intercept(self, handler: RegistryHandler) -> bool:
        self.asked.append(handler.path)
        if "/slow/" in handler.path:
            self.go_on.wait(30)
        if self.broken and "/flaky/" in handler.path:
            handler.send_error(503)
            return True
        return False


def push(registry: EmbeddedRegistry, repository: str, tag: str, *notes: Path) -> str:
    image = registry.push_image(repository, tag)
    for note in notes:
        registry.attach(repository, image, ARTIFACT_TYPE, [note.read_bytes()])
    return f"{registry.host}/{repository}:{tag}"


def audit(policy: Path, *arguments: str | Path, stdin: bytes = b"") -> Done:
    return cli("audit", "--policy", policy, "--plain-http", *arguments, stdin=stdin)


def as_json(policy: Path, *arguments: str | Path, stdin: bytes = b"") -> dict[str, Any]:
    done = audit(policy, *arguments, "--json", stdin=stdin)
    assert (done.status, done.err) == (Status.ADMITTED, "")
    document: dict[str, Any] = json.loads(done.out)
    return document


APP = {
    "apiVersion": "example.com/v1", "kind": "App", "metadata": {"name": "t"},
    "spec": {"steps": [{"name": "s", "image": "registry.example/unread:1"}]},
}  # fmt: skip
"""A kind of somebody's own, which is not looked at."""
