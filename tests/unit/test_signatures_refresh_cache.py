"""The cache of trusted roots: spoilt, open to others, on a full disk, and under sixteen processes at once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from slsa_verifier_plugin.errors import TrustRootError
from slsa_verifier_plugin.policy.parameters import RootSource
from slsa_verifier_plugin.signatures import sources
from slsa_verifier_plugin.signatures.refresh import Refreshed, refresh
from slsa_verifier_plugin.signatures.sources import (
    TARGET,
    RootRepository,
    read_cached,
    read_root,
    repository_of,
    require_private,
)
from tests.support.refreshing import FIRST, ROOT, SECOND, current, digest
from tests.support.tuf import TufRepository, crowd


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize(
    "name", ["timestamp.json", "snapshot.json", "targets.json", "root_history/2.root.json", TARGET]
)
@pytest.mark.parametrize("spoil", [truncate, empty, Path.unlink])
def test_a_spoilt_copy_is_not_read_and_the_next_refresh_mends_it(
    repository: TufRepository,
    environ: dict[str, str],
    cache: Path,
    name: str,
    spoil: Callable[[Path], object],
) -> None:
    repository.rotate("timestamp")  # so that a chain of roots is part of the copy
    repository.publish(FIRST)
    refresh(repository.source, environ)
    spoil(current(cache) / name)
    with pytest.raises(TrustRootError, match=r"cannot be read|does not verify"):
        read_root(repository.source, environ)
    assert refresh(repository.source, environ) == Refreshed(
        repository.source.location, digest(FIRST), changed=True
    )
    assert read_root(repository.source, environ)[0] == FIRST


def test_a_swapped_root_in_the_cache_is_not_read(
    repository: TufRepository, environ: dict[str, str], cache: Path
) -> None:
    refresh(repository.source, environ)
    (current(cache) / TARGET).write_bytes(SECOND)
    with pytest.raises(TrustRootError, match="does not verify"):
        read_root(repository.source, environ)


def test_the_cache_of_one_bootstrap_root_is_not_anothers(
    repository: TufRepository, environ: dict[str, str], tmp_path: Path
) -> None:
    refresh(repository.source, environ)
    other = tmp_path / "other"
    other.mkdir()
    with TufRepository(other) as stranger:
        source = RootSource("tuf", repository.source.location, stranger.source.bootstrap)
        with pytest.raises(TrustRootError, match="has not been fetched yet"):
            read_root(source, environ)
        with pytest.raises(TrustRootError, match="could not be refreshed"):
            refresh(source, environ)


@pytest.mark.parametrize("where", ["folder", "copy"])
@pytest.mark.parametrize("mode", [0o720, 0o702])
def test_a_folder_that_others_may_write_to_is_not_used(
    repository: TufRepository, environ: dict[str, str], cache: Path, where: str, mode: int
) -> None:
    refresh(repository.source, environ)
    (cache if where == "folder" else current(cache)).chmod(mode)
    with pytest.raises(TrustRootError, match="not this user's alone"):
        read_root(repository.source, environ)
    if where == "folder":
        with pytest.raises(TrustRootError, match="not this user's alone"):
            refresh(repository.source, environ)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_another_users_folder_is_not_used(
    repository: TufRepository, environ: dict[str, str], cache: Path
) -> None:
    refresh(repository.source, environ)
    os.chown(cache, 65532, 65532)
    with pytest.raises(TrustRootError, match="not this user's alone"):
        read_root(repository.source, environ)


def to_elsewhere(cache: Path) -> None:
    shutil.copytree(current(cache), cache.parent / "copy-elsewhere")
    (cache / "current").unlink()
    (cache / "current").symlink_to("../copy-elsewhere")


def to_elsewhere_by_way_of_a_copy(cache: Path) -> None:
    to_elsewhere(cache)
    (cache / "copy-x").mkdir()
    (cache / "current").unlink()
    (cache / "current").symlink_to("copy-x/../../copy-elsewhere")


def to_another_name(cache: Path) -> None:
    current(cache).rename(cache / "elsewhere")
    (cache / "current").unlink()
    (cache / "current").symlink_to("elsewhere")


def no_link(cache: Path) -> None:
    (cache / "current").unlink()
    (cache / "current").write_bytes(b"")


@pytest.mark.parametrize("point", [to_elsewhere, to_elsewhere_by_way_of_a_copy, to_another_name, no_link])
def test_a_link_that_this_program_did_not_make_is_not_followed(
    repository: TufRepository, environ: dict[str, str], cache: Path, point: Callable[[Path], None]
) -> None:
    refresh(repository.source, environ)
    point(cache)
    with pytest.raises(TrustRootError, match=r"not made by this program|cannot be read"):
        read_root(repository.source, environ)
    refresh(repository.source, environ)
    assert read_root(repository.source, environ)[0] == FIRST


def test_only_a_folder_is_private(tmp_path: Path) -> None:
    (tmp_path / "file").touch(0o600)
    (tmp_path / "folder").mkdir(0o700)
    (tmp_path / "link").symlink_to("folder")
    require_private(tmp_path / "folder")
    for name in ("file", "link"):
        with pytest.raises(TrustRootError, match="not this user's alone"):
            require_private(tmp_path / name)


def test_a_spoilt_copy_is_read_once_and_a_replaced_one_again(
    repository: TufRepository, environ: dict[str, str], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refresh(repository.source, environ)
    found = repository_of(repository.source, environ)
    assert found is not None
    reads: list[Path] = []

    def torn(_: RootRepository, folder: Path) -> bytes:
        reads.append(folder)
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(sources, "verified_copy", torn)
    with pytest.raises(TrustRootError, match="cannot be read: No such file"):
        read_cached(found)
    assert len(reads) == 1

    def replaced(_: RootRepository, folder: Path) -> bytes:
        reads.append(folder)
        (cache / "next").symlink_to("copy-b" if folder.name == "copy-a" else "copy-a")
        (cache / "next").replace(cache / "current")
        raise FileNotFoundError(2, "No such file or directory")

    for name in ("copy-a", "copy-b"):
        (cache / name).mkdir(0o700)
    reads.clear()
    monkeypatch.setattr(sources, "verified_copy", replaced)
    with pytest.raises(TrustRootError, match="cannot be read"):
        read_cached(found)
    assert len(reads) == 8


def test_what_a_killed_refresh_left_is_removed(
    repository: TufRepository, environ: dict[str, str], cache: Path
) -> None:
    refresh(repository.source, environ)
    (cache / "copy-killed").mkdir()
    (cache / "copy-killed" / "timestamp.json").write_bytes(b"{")
    (cache / "copy-killed.link").symlink_to("copy-killed")
    assert read_root(repository.source, environ)[0] == FIRST
    refresh(repository.source, environ)
    assert sorted(item.name for item in cache.iterdir()) == sorted(["lock", "current", current(cache).name])


FULL_DISK = """
import os, resource, sys
from slsa_verifier_plugin.errors import TrustRootError
from slsa_verifier_plugin.policy.parameters import RootSource
from slsa_verifier_plugin.signatures.refresh import refresh
source = RootSource("tuf", *sys.argv[1:3])
for limit in map(int, sys.argv[3:]):
    if os.fork() == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        try:
            refresh(source, os.environ)
        except TrustRootError as error:
            os.write(1, f"{error.message}\\n".encode())
        os._exit(0)
    os.wait()
"""
"""A file size limit fails writes as a full disk does: at the first byte, or in the middle of any file."""


@pytest.mark.parametrize("is_first", [True, False], ids=["nothing-cached", "cached"])
def test_a_full_disk_leaves_the_copy_before(
    repository: TufRepository, environ: dict[str, str], cache: Path, is_first: bool
) -> None:
    if not is_first:
        refresh(repository.source, environ)
    repository.publish(SECOND)
    source = repository.source
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, source.location, source.bootstrap, "0", "100", "3000"],
        env={**os.environ, **environ},
        cwd=ROOT,
        capture_output=True,
        timeout=60,
        check=True,
    )
    reason = b"File too large" if is_first else b"its files cannot be copied"
    assert done.stdout.count(b" cannot be written: " + reason) == 3
    assert done.stderr == b""
    assert len(list(cache.glob("copy-*"))) == (0 if is_first else 1)
    if not is_first:
        assert read_root(source, environ)[0] == FIRST
    refresh(source, environ)
    assert read_root(source, environ)[0] == SECOND


def test_a_folder_that_cannot_be_made_is_said(repository: TufRepository, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(TrustRootError, match="cannot be written") as caught:
        refresh(repository.source, {"SLSA_VERIFIER_TUF_DIR": str(tmp_path / "file")})
    assert caught.value.transient


def test_sixteen_processes_refresh_at_once_while_others_read(
    repository: TufRepository, environ: dict[str, str], cache: Path
) -> None:
    refresh(repository.source, environ)
    outcomes = crowd(repository.source, Path(environ["SLSA_VERIFIER_TUF_DIR"]), 16, 4, 1.0)
    assert outcomes["refreshed"] >= 16
    assert outcomes[f"read {digest(FIRST)}"] >= 16
    assert set(outcomes) == {"refreshed", f"read {digest(FIRST)}"}
    assert sorted(item.name for item in cache.iterdir()) == sorted(["lock", "current", current(cache).name])
