"""Resident verifiers for the tests of a folder, each pair of a service and its callers in a world of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.resident import World


@pytest.fixture
def world() -> Iterator[World]:
    with World() as world:
        yield world


@pytest.fixture
def hasty() -> Iterator[World]:
    """A world whose callers wait exactly as long as the product's."""
    with World(patient=False) as world:
        yield world
