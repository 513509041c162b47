"""How the property tests run (bounded always; the same examples at every run where CI is set); fixtures of several modules."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from slsa_verifier_plugin.signatures.sources import repository_of
from tests.support.refreshing import FIRST
from tests.support.scene import Clock, Scene
from tests.support.tuf import TufRepository

settings.register_profile("developer", max_examples=60, deadline=None)
settings.register_profile(
    "ci",
    parent=settings.get_profile("developer"),
    derandomize=True,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("ci" if os.environ.get("CI") else "developer")


@pytest.fixture
def scene() -> Scene:
    """Return one image in a store, with a notary who signs for it."""
    return Scene()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return a clock that stands still until the test moves it."""
    return Clock(monkeypatch)


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[TufRepository]:
    """Yield a TUF repository that serves ``FIRST``."""
    with TufRepository(tmp_path) as served:
        served.publish(FIRST)
        yield served


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Return an environment whose TUF caches are the test's own."""
    return {"SLSA_VERIFIER_TUF_DIR": str(tmp_path / "cache")}


@pytest.fixture
def cache(repository: TufRepository, environ: dict[str, str]) -> Path:
    """Return the folder of the repository's cache."""
    found = repository_of(repository.source, environ)
    assert found is not None
    return found.folder
