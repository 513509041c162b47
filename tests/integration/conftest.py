"""What the tests of this folder run against: resident verifiers, each with its callers in a world of its own, and a provider."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from slsa_verifier_plugin.registry import tag_index
from tests.support.provider_place import Place, assert_still_well, place_of_three
from tests.support.resident import World


@pytest.fixture
def soon_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fallback tag needs to stay unchanged for a moment alone, for nobody else writes to the registry."""
    monkeypatch.setattr(tag_index, "QUIET_SECONDS", 0.05)


@pytest.fixture
def world() -> Iterator[World]:
    with World() as world:
        yield world


@pytest.fixture
def hasty() -> Iterator[World]:
    """A world whose callers wait exactly as long as the product's."""
    with World(patient=False) as world:
        yield world


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A provider with its registry, for the tests of one module."""
    with place_of_three(tmp_path_factory.mktemp("provider")) as running:
        yield running


@pytest.fixture
def still_well(place: Place) -> Iterator[None]:
    """After each attack an honest request is answered, and memory is what it may be."""
    yield
    assert_still_well(place)
