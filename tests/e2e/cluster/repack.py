"""Makes a newer build of the one-file plugin: the same runtime in another payload, hence another identity."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tools.dist import archive


def repacked(plugin: Path, target: Path) -> Path:
    """Write ``plugin`` with its payload compressed differently to ``target``.

    A build is told from another by its payload's digest, so neither's unpacked files nor its resident verifier
    serve the other.
    """
    whole = plugin.read_bytes()
    end = len(whole) - archive.TRAILER.size
    magic, size, unpacked, _, _ = archive.TRAILER.unpack(whole[end:])
    assert magic == archive.MAGIC
    unzip = ["zstd", "--decompress", "--stdout", "--quiet", "-"]
    runtime = subprocess.run(unzip, input=whole[end - size : end], check=True, capture_output=True).stdout
    assert len(runtime) == unpacked
    launcher = target.with_suffix(".launcher")
    launcher.write_bytes(whole[: end - size])
    payload = archive.compress(runtime, level=1)
    assert payload != whole[end - size : end]
    archive.write_one_file(launcher, runtime, payload, target)
    return target
