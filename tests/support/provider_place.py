"""A provider with a registry of three images: at level 1, at level 3, and one without an attestation."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.command_line import ARTIFACT_TYPE, LEVEL_1, LEVEL_3, verifier, write_yaml
from tests.support.embedded_registry import EmbeddedRegistry
from tests.support.provider import ASK_SECONDS, STORE, Running, policy_resource, provider, said
from tests.support.registries import RecordingRegistry, Seen
from tests.support.registry_handler import RegistryHandler

REPOSITORY = "team/app"
MEMORY_MIB = 150
"""That all of the provider's processes may have for themselves (issue J)."""
DROP_SECONDS = 60
"""That a connection over a limit of 5 or 10 s is waited for, on however busy a machine."""


@dataclass(frozen=True)
class Place:
    """A registry with two images, and a provider for it."""

    registry: EmbeddedRegistry
    running: Running
    level_1: str
    level_3: str
    bare: str


def push(registry: EmbeddedRegistry, tag: str, *notes: Path) -> str:
    """Push an image with attestations and return its reference with the digest."""
    image = registry.push_image(REPOSITORY, tag)
    for number, note in enumerate(notes):
        # The same bytes twice would be one artifact: each has as many empty lines at its end as others came before.
        registry.attach(REPOSITORY, image, ARTIFACT_TYPE, [note.read_bytes() + b"\n" * number])
    return f"{registry.host}/{REPOSITORY}@{image.digest}"


@contextlib.contextmanager
def place_of_three(folder: Path) -> Iterator[Place]:
    """Run a registry with the three images, and a provider for it with its files in ``folder``."""
    policies = write_yaml(folder / "policies.yaml", verifier(), STORE, policy_resource(slsla="any"))
    with EmbeddedRegistry() as registry, provider(folder, [policies]) as running:
        images = (
            push(registry, "level-1", LEVEL_1),
            push(registry, "level-3", LEVEL_3),
            push(registry, "bare"),
        )
        yield Place(registry, running, *images)


class CountingRegistry(RecordingRegistry):
    """Counts the lists of referrers that it is asked for, and holds them back where told to."""

    def __init__(self) -> None:
        super().__init__()
        self.open = threading.Event()
        self.open.set()

    def respond(self, handler: RegistryHandler, seen: Seen) -> bool:
        if "/referrers/" in seen.path:
            self.open.wait(20)
        return False

    @property
    def lists(self) -> int:
        return sum("/referrers/" in path for path in self.paths())


def namespaced(kind: str, namespace: str, resource: dict[str, Any]) -> dict[str, Any]:
    """Return a resource as the namespaced kind of its own."""
    metadata = {"name": "own", "namespace": namespace}
    return {**resource, "kind": kind, "metadata": metadata}


def tcp(place: Place) -> socket.socket:
    """Return a connection to the provider's port, before any TLS."""
    return socket.create_connection(place.running.place, timeout=ASK_SECONDS)


def tls(place: Place, context: ssl.SSLContext | None = None) -> ssl.SSLSocket:
    """Return a connection whose handshake is done."""
    chosen = context or place.running.context()
    return chosen.wrap_socket(tcp(place), server_hostname="127.0.0.1")


def assert_still_well(place: Place) -> None:
    """Fail unless honest requests are answered, and the provider's memory is what it may be."""
    assert said(place.running.ask(place.level_3).items[0]) == "admitted"
    assert said(place.running.ask(place.level_1).items[0]) == "denied LEVEL_TOO_LOW"
    assert place.running.get("/healthz")[0] == 200
    assert place.running.memory() < MEMORY_MIB << 20
