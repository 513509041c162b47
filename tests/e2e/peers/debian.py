"""Debian's docker-registry, unpacked but not installed: no service is set up or started."""

from __future__ import annotations

import logging
import os
import subprocess
import tempfile
from pathlib import Path

from tests.e2e.peers.error import PeerError

_NAME = "docker-registry"
_SECONDS = 600

_log = logging.getLogger(__name__)


def docker_registry(cache: Path) -> Path:
    """Return the executable, from ``cache`` or freshly unpacked there; the caller holds the lock.

    Raises:
        PeerError: the package lists know no such package and cannot be refreshed, or it does not unpack.
    """
    cached = sorted(cache.glob(f"{_NAME}-[0-9]*/usr/bin/{_NAME}"))
    if cached:
        return cached[-1]
    with tempfile.TemporaryDirectory(prefix=f".{_NAME}-", dir=cache) as work:
        package = _download(Path(work))
        version = _run(["dpkg-deb", "--field", str(package), "Version"], work).strip()
        unpacked = Path(work) / "unpacked"
        _run(["dpkg-deb", "--extract", str(package), str(unpacked)], work)
        kept = cache / f"{_NAME}-{version.replace(':', '_')}"
        unpacked.rename(kept)
    _log.warning("unpacked %s", kept)
    return kept / "usr" / "bin" / _NAME


def _download(folder: Path) -> Path:
    """Download the package; refreshes the package lists, which takes root, only where that is needed."""
    try:
        _run(["apt-get", "download", _NAME], str(folder))
    except PeerError:
        if os.geteuid() != 0:
            raise PeerError(f"apt-get cannot find {_NAME}: run 'apt-get update' as root first") from None
        _run(["apt-get", "-qq", "update"], str(folder))
        _run(["apt-get", "download", _NAME], str(folder))
    return next(folder.glob("*.deb"))


def _run(command: list[str], folder: str) -> str:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=_SECONDS, check=True
        )
    except FileNotFoundError as error:
        raise PeerError(f"{command[0]} is not installed: {_NAME} comes from Debian's packages") from error
    except subprocess.TimeoutExpired as error:
        raise PeerError(f"{command[0]} took more than {_SECONDS} s") from error
    except subprocess.CalledProcessError as error:
        raise PeerError(f"{' '.join(command)} failed: {error.stderr[-2000:]}") from error
    return done.stdout
