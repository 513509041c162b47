"""A registry that is waited for holds up its own calls only: large content, and one process for all callers."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slsa_verifier_plugin import ratify
from slsa_verifier_plugin.service.service import Service
from slsa_verifier_plugin.verification.capacity import MEDIUM_BYTES, SMALL_BYTES
from tests.support.command_line import ARTIFACT_TYPE, LEVEL_3, parameters
from tests.support.embedded_registry import EmbeddedRegistry
from tests.support.registry_handler import RegistryHandler

pytestmark = pytest.mark.server("a registry that is slow with large content, and another")

CALLS = 12


class Hanging(EmbeddedRegistry):
    """Begins to answer for blobs, and goes on once it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Semaphore(0)
        self.go_on = threading.Event()

    def intercept(self, handler: RegistryHandler) -> bool:
        if "/blobs/" in handler.path:
            self.begun.release()
            self.go_on.wait(60)
        return False


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    with Hanging() as registry:
        yield registry
        registry.go_on.set()


def ask(service: Service, registry: EmbeddedRegistry, size: int, note: str) -> dict[str, Any]:
    """Return the plugin's answer about an image whose attestation has more than ``size`` bytes, most of them other lines."""
    junk = json.dumps({"note": note, "rest": "x" * 1000}).encode() + b"\n"
    content = LEVEL_3.read_bytes().rstrip(b"\n") + b"\n" + junk * (size // len(junk) + 1)
    image = registry.push_image("team/app", "v1")
    artifact = registry.attach("team/app", image, ARTIFACT_TYPE, [content])
    told = {"mediaType": artifact.media_type, "digest": str(artifact.digest), "size": artifact.size}
    stdin = {
        "config": {"name": "slsla", "type": "slsla", **parameters(2, timeout="60s")},
        "storeConfig": {"version": "1.0.0", "store": {"name": "oras", "useHttp": True}},
        "referenceDesc": told,
    }
    environment = {
        ratify.COMMAND: "VERIFY",
        ratify.SUBJECT: f"{registry.host}/team/app@{image.digest}",
        ratify.VERSION: "1.0.0",
    }
    answer: dict[str, Any] = json.loads(service.respond(environment, json.dumps(stdin).encode()).stdout)
    return answer


@pytest.mark.parametrize("size", [SMALL_BYTES, MEDIUM_BYTES])
def test_another_registrys_large_content_is_read_while_a_slow_one_is_waited_for(
    hanging: Hanging, size: int, tmp_path: Path
) -> None:
    service = Service({"HOME": str(tmp_path)})
    answers: list[dict[str, Any]] = []
    threads = [
        threading.Thread(
            target=lambda number=number: answers.append(ask(service, hanging, size, f"slow {number}"))
        )
        for number in range(CALLS)
    ]
    for thread in threads:
        thread.start()
    assert hanging.begun.acquire(timeout=60)
    with EmbeddedRegistry() as registry:
        # The slow registry answers nobody until this is done.
        assert ask(service, registry, size, "other")["isSuccess"]
    assert not answers
    hanging.go_on.set()
    for thread in threads:
        thread.join(60)
    assert [answer["isSuccess"] for answer in answers] == [True] * CALLS
