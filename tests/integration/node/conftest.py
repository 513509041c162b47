"""A node with the tests' policy, and a registry with two images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command_line import ARTIFACT_TYPE, LEVEL_1, LEVEL_3, verifier, write_yaml
from tests.support.embedded_registry import EmbeddedRegistry
from tests.support.node import STORE, Images, Node


@pytest.fixture(scope="module")
def images() -> Iterator[Images]:
    with EmbeddedRegistry() as registry:
        made = []
        for tag, note in (("one", LEVEL_1), ("three", LEVEL_3)):
            image = registry.push_image("team/app", tag)
            registry.attach("team/app", image, ARTIFACT_TYPE, [note.read_bytes()])
            made.append(str(image.digest))
        yield Images(f"{registry.host}/team", *made)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """A node that verifies each call in a process of its own, with the tests' policy."""
    made = Node(tmp_path)
    write_yaml(made.policies / "verifier.yaml", verifier())
    write_yaml(made.policies / "store.yaml", STORE)
    return made


@pytest.fixture
def resident(node: Node) -> Iterator[Node]:
    """The same with the resident verifier, which must answer."""
    node.resident = True
    yield node
    node.stop()
