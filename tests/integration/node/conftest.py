"""A node with the tests' policy, and a registry with two images."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command_line import ARTIFACT_TYPE, LEVEL_1, LEVEL_3, verifier, write_yaml
from tests.support.embedded_registry import EmbeddedRegistry
from tests.support.node import STORE, Images, Node, stop_residents


@pytest.fixture(scope="module")
def images() -> Iterator[Images]:
    with EmbeddedRegistry() as registry:
        made = []
        for tag, note in (("one", LEVEL_1), ("three", LEVEL_3)):
            image = registry.push_image("team/app", tag)
            registry.attach("team/app", image, ARTIFACT_TYPE, [note.read_bytes()])
            made.append(str(image.digest))
        yield Images(f"{registry.host}/team", *made)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where a module's node is: its resident verifier is known by that, and keeps nothing that a folder's files decide."""
    folder = tmp_path_factory.mktemp("node")
    yield folder
    stop_residents(folder)


@pytest.fixture
def node(home: Path) -> Node:
    """A node with the tests' policy, whose resident verifier must answer."""
    policies = home / "etc"
    if policies.is_symlink():
        policies.unlink()
    shutil.rmtree(policies, ignore_errors=True)
    return with_policy(Node(home, resident=True))


@pytest.fixture
def alone(tmp_path: Path) -> Node:
    """A node that verifies each call in a process of its own, with the tests' policy."""
    return with_policy(Node(tmp_path))


def with_policy(node: Node) -> Node:
    write_yaml(node.policies / "verifier.yaml", verifier())
    write_yaml(node.policies / "store.yaml", STORE)
    # A busy machine denies nothing.
    node.put("timeout", "30s\n")
    return node
