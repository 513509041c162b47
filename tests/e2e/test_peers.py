"""The peers are what they are taken for, and are fetched and kept safely."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.peers import PEERS, PeerError, build, cache_root, peer

VERSIONS = {
    "ratify": (["version"], "v1.4.4"),
    "oras": (["version"], "1.3.0"),
    "cosign": (["version"], "v3.1.3"),
    "crane": (["version"], "v0.22.1"),
    "docker-registry": (["--version"], "2.8"),
}


@pytest.mark.parametrize("name", VERSIONS)
def test_version(name: str, tmp_path: Path) -> None:
    arguments, version = VERSIONS[name]
    environment = {"HOME": str(tmp_path), "PATH": os.defpath}
    done = subprocess.run(
        [peer(name), *arguments], env=environment, capture_output=True, text=True, check=True, timeout=30
    )
    assert version in done.stdout + done.stderr


def test_nothing_is_built_twice() -> None:
    before = {name: peer(name).stat().st_mtime_ns for name in ("ratify", "docker-registry")}
    started = time.monotonic()
    assert {name: peer(name).stat().st_mtime_ns for name in before} == before
    assert time.monotonic() - started < 5


def test_content_with_another_checksum_is_refused() -> None:
    with pytest.raises(PeerError, match="has the sum h1:"):
        build.source(replace(PEERS["oras"], checksum="h1:" + "A" * 43 + "="))


def test_checksum_database_stays_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOSUMDB", "off")
    with pytest.raises(PeerError, match="checksum database"):
        build.source(PEERS["oras"])


def test_unknown_peer() -> None:
    with pytest.raises(PeerError, match="no peer is called"):
        peer("zot")


def test_failed_build_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PEERS, "ggcr", replace(PEERS["ggcr"], package="./absent"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("GOCACHE", subprocess.check_output(["go", "env", "GOCACHE"], text=True).strip())
    with pytest.raises(PeerError, match="the build of ggcr failed"):
        peer("ggcr")
    assert [entry.name for entry in cache_root().iterdir()] == ["ggcr.lock"]
