"""Packs the runtime into the payload, and the payload behind the launcher (``launcher/src/payload.h``)."""

from __future__ import annotations

import hashlib
import io
import shutil
import struct
import subprocess
import tarfile
from pathlib import Path

from tools.dist.errors import BuildError

MAGIC = b"SLSAPAY1"
TRAILER = struct.Struct(">8sQQQ32s")
"""Magic, compressed bytes, unpacked bytes, zero, SHA-256 of the compressed bytes."""
LEVEL = 19
WINDOW_LOG = 23
"""zstd's window: 8 MiB of memory while unpacking. 128 MiB would save 6 % of the file (docs/one-file.md)."""


def pack_tree(root: Path) -> bytes:
    """Return a ustar archive of a tree that depends on names, content and executable bits alone.

    Raises:
        BuildError: it holds something but files and directories, or a path that ustar has no room for.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path in sorted(root.rglob("*")):
            info = tarfile.TarInfo(path.relative_to(root).as_posix())
            if path.is_symlink() or not (path.is_dir() or path.is_file()):
                raise BuildError(f"{info.name} is neither a file nor a directory")
            info.mtime = info.uid = info.gid = 0
            info.mode = 0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644
            try:
                if path.is_dir():
                    info.type = tarfile.DIRTYPE
                    tar.addfile(info)
                else:
                    content = path.read_bytes()
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
            except ValueError as error:
                raise BuildError(f"{info.name} does not fit into a ustar header: {error}") from error
    return buffer.getvalue()


def compress(archive: bytes, level: int = LEVEL) -> bytes:
    """Return one zstd frame with a checksum and the content's size.

    Raises:
        BuildError: zstd is missing or fails.
    """
    program = shutil.which("zstd")
    if program is None:
        raise BuildError("zstd is not on this machine; install it")
    size = f"--stream-size={len(archive)}"
    # One thread: with more, the bytes would depend on how the input is cut among them.
    command = [
        program,
        f"-{level}",
        f"--long={WINDOW_LOG}",
        "--single-thread",
        "--check",
        size,
        "--stdout",
        "--quiet",
        "-",
    ]
    done = subprocess.run(command, input=archive, check=False, capture_output=True)
    if done.returncode != 0:
        raise BuildError(f"zstd failed: {done.stderr.decode(errors='replace')[-500:]}")
    return done.stdout


def trailer(payload: bytes, unpacked: int) -> bytes:
    """Return the trailer for a payload of ``unpacked`` bytes."""
    return TRAILER.pack(MAGIC, len(payload), unpacked, 0, hashlib.sha256(payload).digest())


def write_one_file(launcher: Path, archive: bytes, payload: bytes, target: Path) -> None:
    """Write launcher, payload and trailer as one executable file, which takes the name ``target`` when it is whole."""
    part = target.with_name(target.name + ".part")
    part.write_bytes(launcher.read_bytes() + payload + trailer(payload, len(archive)))
    part.chmod(0o755)
    part.replace(target)
