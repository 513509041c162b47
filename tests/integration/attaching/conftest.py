"""A home of the test's own, a registry with an image, and the scene of ``attach --from``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.attach_scene import REPOSITORY, Scene
from tests.support.command_line import parameters, verifier, write_yaml
from tests.support.embedded_registry import EmbeddedRegistry
from tests.support.git_repository import GitRepository, served
from tests.support.sigstore import Lab


@pytest.fixture(autouse=True)
def _own_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("DOCKER_CONFIG", raising=False)


@pytest.fixture(params=[True, False], ids=["referrers-api", "tag-fallback"])
def registry(request: pytest.FixtureRequest, soon_quiet: None) -> Iterator[EmbeddedRegistry]:
    with EmbeddedRegistry(referrers_api=request.param) as running:
        running.push_image(REPOSITORY, "v1")
        yield running


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    for name in [name for name in os.environ if name.startswith(("GIT_", "GITHUB_", "GH_"))]:
        monkeypatch.delenv(name)
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.chdir(tmp_path)
    lab = Lab()
    (tmp_path / "root.json").write_bytes(lab.trusted_root())
    demands = parameters(2, trustedRoot={"path": "root.json"})
    policy = write_yaml(tmp_path / "v.yaml", verifier(spec={"parameters": demands}))
    repository = GitRepository.new(tmp_path / "served" / "source")
    with EmbeddedRegistry() as registry, served(repository) as server:
        yield Scene(registry, repository, server, policy, lab, tmp_path)
