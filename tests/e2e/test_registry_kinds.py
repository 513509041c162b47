"""GitLab's and GHCR's ways to answer, before real registries: all ways in agree on what is attached."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from slsa_verifier_plugin.checking.status import Status
from tests.e2e.test_registry_real import copied, docker_registry, in_memory
from tests.support.agreement import said_of
from tests.support.command_line import LEVEL_3, verifier, write_yaml
from tests.support.fronts import Front, Manner, ghcr_empty, ghcr_missing, gitlab, retyped

REGISTRIES = ["docker-registry", "ociregistry", "ggcr"]


@contextlib.contextmanager
def fronted(name: str, folder: Path, manner: Manner) -> Iterator[tuple[Front, str]]:
    """Yield a front before a real registry that has an attested image, and the image's reference there."""
    with docker_registry(folder, {}) if name == "docker-registry" else in_memory(name) as host:
        # Pushed as to a registry without the API: with the index under the fallback tag.
        served = copied(host, content=LEVEL_3.read_bytes())
        with Front(host, manner) as front:
            yield front, f"{front.host}/team/app@{served.pushed.image.digest}"


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    return write_yaml(tmp_path / "verifier.yaml", verifier())


@pytest.mark.parametrize("name", REGISTRIES)
@pytest.mark.parametrize("manner", [ghcr_empty, ghcr_missing])
@pytest.mark.server("real registries with GHCR's ways before them")
def test_ghcr_lists_by_the_tag(name: str, manner: Manner, tmp_path: Path, policy: Path) -> None:
    with fronted(name, tmp_path, manner) as (_, image):
        said = said_of(image, policy, tmp_path)
    assert (said.verify, said.reason, said.audit, said.init) == (
        Status.ADMITTED,
        "VERIFIED",
        "admitted",
        Status.ADMITTED,
    )
    assert "SLSA_SOURCE_LEVEL_3" in said.inspect
    assert (said.plugin, said.bound) == ([True], "SOURCE_NOT_BOUND")


@pytest.mark.parametrize("name", REGISTRIES)
@pytest.mark.server("real registries with GitLab's ways before them")
def test_gitlab_serves_the_image_under_the_tag(name: str, tmp_path: Path, policy: Path) -> None:
    with fronted(name, tmp_path, gitlab) as (_, image):
        said = said_of(image, policy, tmp_path)
    assert (said.verify, said.reason, said.audit, said.init) == (
        Status.DENIED,
        "NO_ATTESTATION",
        "denied",
        Status.DENIED,
    )
    assert "nothing is attached" in said.inspect
    assert said.plugin == []


@pytest.mark.parametrize("name", REGISTRIES)
@pytest.mark.parametrize("artifact_type", [None, "application/vnd.oci.empty.v1+json"])
@pytest.mark.server("real registries with an index of wrong types")
def test_wrong_types_in_the_index_are_the_clients(
    name: str, artifact_type: str | None, tmp_path: Path, policy: Path
) -> None:
    with fronted(name, tmp_path, retyped(artifact_type)) as (_, image):
        said = said_of(image, policy, tmp_path)
    assert (said.verify, said.reason, said.audit) == (Status.DENIED, "NO_ATTESTATION", "denied")
    assert "attach it again" in said.message
    assert "attach it again" in said.inspect
    assert said.plugin == []
