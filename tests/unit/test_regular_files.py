"""Files that a policy names: mounted ones are read; pipes and devices hold nobody up."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from slsa_verifier_plugin.errors import TrustRootError
from slsa_verifier_plugin.regular_files import read_regular
from slsa_verifier_plugin.signatures.keys import load_key
from slsa_verifier_plugin.signatures.trust import read_root_file
from tests.support.sigstore import derive_key


def mount(folder: Path, name: str, content: bytes) -> Path:
    """Write a file as a kubelet mounts a ConfigMap: a link to a file below a link to a folder."""
    (folder / "..2026_01_01").mkdir()
    (folder / "..2026_01_01" / name).write_bytes(content)
    (folder / "..data").symlink_to("..2026_01_01")
    (folder / name).symlink_to(f"..data/{name}")
    return folder / name


def test_a_mounted_file_is_read(tmp_path: Path) -> None:
    assert read_regular(str(mount(tmp_path, "root.json", b"content")), 100) == b"content"
    assert read_regular(str(tmp_path / "root.json"), 3) == b"con"
    assert read_root_file(str(tmp_path / "root.json")) == b"content"


def test_a_mounted_key_is_read(tmp_path: Path) -> None:
    key = derive_key("ours", "key")
    assert load_key(str(mount(tmp_path, "key.pem", key.pem))) == load_key(key.pem.decode())


def pipe(path: Path) -> None:
    os.mkfifo(path)


def link_to_a_pipe(path: Path) -> None:
    os.mkfifo(path.with_name("pipe"))
    path.symlink_to("pipe")


def link_to_a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [pipe, link_to_a_pipe, link_to_a_device, Path.mkdir])
@pytest.mark.parametrize("read", [read_root_file, load_key])
def test_what_is_no_regular_file_is_refused_at_once(
    tmp_path: Path, read: Callable[[str], object], make: Callable[[Path], None]
) -> None:
    make(tmp_path / "it")
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(TrustRootError, match=r"cannot be read: not a regular file; mount .* or correct"):
        read(str(tmp_path / "it"))
    assert len(list(Path("/proc/self/fd").iterdir())) == before
