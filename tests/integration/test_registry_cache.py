"""Ratify's cache on disk as the store uses it: shared, broken, planted, closed, full."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.model.digest import Digest
from slsa_verifier_plugin.registry.remarks import Remarks
from slsa_verifier_plugin.registry.settings import StoreSettings
from slsa_verifier_plugin.registry.store import RegistryStore
from tests.support.content import NOTE, push
from tests.support.embedded_registry import EmbeddedRegistry
from tests.support.registries import RecordingRegistry

pytestmark = pytest.mark.server("embedded registry")

HTTP = StoreSettings(use_http=True)


def layout(path: Path) -> Path:
    """Make a directory as Ratify makes its cache."""
    (path / "blobs" / "sha256").mkdir(parents=True)
    (path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (path / "index.json").write_text('{"schemaVersion":2,"manifests":[]}')
    return path


def entry(cache: Path, digest: Digest) -> Path:
    return cache / "blobs" / digest.algorithm / digest.hex


def test_ratifys_cache_is_read_and_filled(tmp_path: Path) -> None:
    cache = layout(tmp_path / "cache")
    settings = StoreSettings(use_http=True, local_cache_path=str(cache))
    before = (cache / "index.json").read_bytes()
    with RecordingRegistry() as registry:
        pushed = push(registry)
        for _ in range(2):
            with RegistryStore(settings, None, {}) as store:
                assert store.manifest(pushed.image, pushed.artifact, Deadline(5))
                assert store.blob(pushed.image, pushed.blob, len(NOTE), Deadline(5)) == NOTE
                assert store.remarks.all() == ()
        assert len(registry.seen) == 2
    stored = entry(cache, pushed.blob.digest)
    assert stored.read_bytes() == NOTE
    assert stat.S_IMODE(stored.stat().st_mode) & 0o222 == 0
    assert (cache / "index.json").read_bytes() == before
    assert list((cache / "ingest").iterdir()) == []


def test_an_empty_cache_gets_the_directories_that_it_lacks(tmp_path: Path) -> None:
    settings = StoreSettings(use_http=True, local_cache_path=str(tmp_path))
    with EmbeddedRegistry() as registry, RegistryStore(settings, None, {}) as store:
        pushed = push(registry)
        assert store.manifest(pushed.image, pushed.artifact, Deadline(5))
        assert store.blob(pushed.image, pushed.blob, len(NOTE), Deadline(5)) == NOTE
        assert store.remarks.all() == ()
    assert entry(tmp_path, pushed.blob.digest).read_bytes() == NOTE
    assert sorted(path.name for path in tmp_path.iterdir()) == ["blobs", "ingest"]
    assert list((tmp_path / "ingest").iterdir()) == []


def test_the_default_cache_is_below_the_home_directory(tmp_path: Path) -> None:
    cache = layout(tmp_path / ".ratify" / "local_oras_cache")
    with EmbeddedRegistry() as registry, RegistryStore(HTTP, None, {"HOME": str(tmp_path)}) as store:
        pushed = push(registry)
        store.blob(pushed.image, pushed.blob, len(NOTE), Deadline(5))
    assert entry(cache, pushed.blob.digest).exists()


def test_a_cache_that_does_not_exist_is_not_made(tmp_path: Path) -> None:
    with EmbeddedRegistry() as registry, RegistryStore(HTTP, None, {"HOME": str(tmp_path)}) as store:
        pushed = push(registry)
        store.blob(pushed.image, pushed.blob, len(NOTE), Deadline(5))
        assert store.remarks.all() == ()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("planted", [b"", b"x", NOTE[:-1] + b"!", NOTE + b"more"])
def test_a_corrupt_entry_is_fetched_again_and_replaced(tmp_path: Path, planted: bytes) -> None:
    cache = layout(tmp_path)
    settings = StoreSettings(use_http=True, local_cache_path=str(cache))
    with RecordingRegistry() as registry, RegistryStore(settings, None, {}) as store:
        pushed = push(registry)
        path = entry(cache, pushed.blob.digest)
        path.write_bytes(planted)
        path.chmod(0o444)
        assert store.blob(pushed.image, pushed.blob, len(NOTE), Deadline(5)) == NOTE
        assert len(registry.seen) == 1
    assert path.read_bytes() == NOTE


@pytest.mark.parametrize("kind", ["link", "pipe", "directory"])
def test_an_entry_that_is_no_file_is_passed_over(tmp_path: Path, kind: str) -> None:
    cache = layout(tmp_path / "cache")
    settings = StoreSettings(use_http=True, local_cache_path=str(cache))
    with EmbeddedRegistry() as registry, RegistryStore(settings, None, {}) as store:
        pushed = push(registry)
        path = entry(cache, pushed.blob.digest)
        if kind == "link":
            (tmp_path / "target").write_bytes(NOTE)
            path.symlink_to(tmp_path / "target")
        elif kind == "pipe":
            os.mkfifo(path)
        else:
            path.mkdir()
        begin = time.monotonic()
        assert store.blob(pushed.image, pushed.blob, len(NOTE), Deadline(60)) == NOTE
        assert time.monotonic() - begin < 30, "nobody ever writes into the pipe"
        assert store.remarks.all()
        assert (tmp_path / "target").exists() == (kind == "link")


def test_a_full_or_broken_cache_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from slsa_verifier_plugin.registry.disk_cache import LayoutCache

    def full(path: str, content: bytes) -> None:
        Path(path).write_bytes(content[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(LayoutCache, "_fill", staticmethod(full))
    cache = layout(tmp_path)
    settings = StoreSettings(use_http=True, local_cache_path=str(cache))
    with EmbeddedRegistry() as registry, RegistryStore(settings, None, {}) as store:
        pushed = push(registry)
        assert store.blob(pushed.image, pushed.blob, len(NOTE), Deadline(5)) == NOTE
        assert "No space left on device" in store.remarks.all()[0]
    assert list((cache / "ingest").iterdir()) == []
    assert not entry(cache, pushed.blob.digest).exists()


def test_a_cache_path_that_is_a_file_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    settings = StoreSettings(use_http=True, local_cache_path=str(tmp_path / "cache"))
    with EmbeddedRegistry() as registry, RegistryStore(settings, None, {}) as store:
        pushed = push(registry)
        assert store.blob(pushed.image, pushed.blob, len(NOTE), Deadline(5)) == NOTE


@pytest.mark.parametrize("path", ["/" + "x" * 300, "/a\0b"])
def test_a_cache_path_that_no_file_can_have_is_a_warning(path: str) -> None:
    settings = StoreSettings(use_http=True, local_cache_path=path)
    with EmbeddedRegistry() as registry, RegistryStore(settings, None, {}) as store:
        pushed = push(registry)
        assert store.blob(pushed.image, pushed.blob, len(NOTE), Deadline(5)) == NOTE
        assert "going on without it" in store.remarks.all()[0]


def test_a_cache_behind_a_closed_directory_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(self: Path) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "is_dir", closed)  # as for a HOME that only its owner may search
    with EmbeddedRegistry() as registry, RegistryStore(HTTP, None, {"HOME": str(tmp_path)}) as store:
        pushed = push(registry)
        assert store.blob(pushed.image, pushed.blob, len(NOTE), Deadline(5)) == NOTE
        assert "Permission denied" in store.remarks.all()[0]


READER = """
import sys
from pathlib import Path
from slsa_verifier_plugin.model.digest import Digest
from slsa_verifier_plugin.registry.disk_cache import LayoutCache
from slsa_verifier_plugin.registry.remarks import Remarks
remarks = Remarks()
cache = LayoutCache(Path(sys.argv[1]), remarks)
for number in range(150):
    content = (b"%d" % (number % 5)) * 50_000
    digest = Digest.of(content)
    assert cache.read(digest, len(content)) in (None, content)
    cache.write(digest, content)
assert remarks.all() == (), remarks.all()
"""


def test_many_processes_share_a_cache(tmp_path: Path) -> None:
    cache = layout(tmp_path)
    command = [sys.executable, "-c", READER, str(cache)]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(6)]
    for process in running:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors.decode()
    assert len(list((cache / "blobs" / "sha256").iterdir())) == 5
    assert list((cache / "ingest").iterdir()) == []


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    from slsa_verifier_plugin.registry.disk_cache import STALE_SECONDS, LayoutCache

    cache = layout(tmp_path)
    (cache / "ingest").mkdir()
    for name, age in (("slsa-verifier-old", STALE_SECONDS + 60), ("slsa-verifier-new", 0), ("ratify", 1e6)):
        path = cache / "ingest" / name
        path.write_bytes(b"")
        os.utime(path, (time.time() - age, time.time() - age))
    remarks = Remarks()
    LayoutCache(cache, remarks).write(Digest.of(b"x"), b"x")
    assert remarks.all() == ()
    assert sorted(path.name for path in (cache / "ingest").iterdir()) == ["ratify", "slsa-verifier-new"]
