"""A runner's machine, a plugin that trusts the tests' Sigstore, a registry and a repository with notes."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command_line import ROOT, TRUSTED_ROOT
from tests.support.embedded_registry import EmbeddedRegistry
from tests.support.git_repository import GitRepository, GitServer, served
from tests.support.workflow_runner import Runner


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    workspace, folder = tmp_path / "workspace", tmp_path / "runner"
    workspace.mkdir()
    folder.mkdir()
    return Runner(folder, {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}, workspace)


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    """The interpreter with the program, which trusts the tests' Sigstore and talks to registries without TLS."""
    options = shlex.join(["--plain-http", "--trusted-root", str(TRUSTED_ROOT)])
    file = tmp_path / "python"
    start = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from slsa_verifier_plugin.cli.main import run; "
        "sys.exit(run(sys.argv[1:]))"
    )
    file.write_text(
        f'#!/bin/sh\n[ "$1 $2 $3 $4" = "-I -m slsa_verifier_plugin attach" ] || exit 99\nshift 4\n'
        f'exec {shlex.quote(sys.executable)} -I -c {shlex.quote(start)} attach {options} "$@"\n'
    )
    file.chmod(0o755)
    return file


@pytest.fixture
def registry() -> Iterator[EmbeddedRegistry]:
    with EmbeddedRegistry() as running:
        yield running


@pytest.fixture
def source(tmp_path: Path) -> Iterator[tuple[GitRepository, GitServer]]:
    repository = GitRepository.new(tmp_path / "served" / "app")
    with served(repository) as server:
        yield repository, server
