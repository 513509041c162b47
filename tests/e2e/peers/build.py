"""Builds a peer once and keeps it, by name, version and build flags, in a cache outside the tree."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.peers import debian
from tests.e2e.peers.catalogue import DOCKER_REGISTRY, HERE, PEERS, GoPeer
from tests.e2e.peers.error import PeerError

GO_FLAGS = "-buildvcs=false -trimpath -mod=readonly"
"""No trace of this checkout or its folders in a binary, and go.sum is never extended silently."""
BUILD_SECONDS = 1800
"""Seconds; the largest peers take 3 minutes on two idle cores."""
_UNTRUSTED_SETTINGS = ("GOFLAGS", "GONOSUMDB", "GONOSUMCHECK", "GOPRIVATE", "GOINSECURE", "GOWORK")

_log = logging.getLogger(__name__)


def cache_root() -> Path:
    """Return the folder that holds the built peers, made if need be."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    root = Path(base) / "slsa-verifier-plugin" / "peers"
    root.mkdir(parents=True, exist_ok=True)
    return root


def peer(name: str) -> Path:
    """Return the executable of the peer called ``name``; builds it where the cache has none.

    Raises:
        PeerError: it is unknown, could not be fetched, has another checksum, or does not build.
    """
    if name == DOCKER_REGISTRY:
        with _locked(name):
            return debian.docker_registry(cache_root())
    listed = PEERS.get(name)
    if listed is None:
        raise PeerError(f"no peer is called {name}; there are {', '.join([*PEERS, DOCKER_REGISTRY])}")
    executable = cache_root() / f"{name}-{listed.version}-{_key(listed)}" / name
    if not executable.is_file():
        with _locked(name):
            if not executable.is_file():  # another process may have built it while this one waited
                _build(listed, executable)
    return executable


def _key(listed: GoPeer) -> str:
    """Return what tells two builds of one version apart: sources, flags and toolchain."""
    facts = [repr(listed), GO_FLAGS, _run(["go", "env", "GOVERSION", "GOOS", "GOARCH"], "go").strip()]
    digest = hashlib.sha256("\0".join(facts).encode())
    if listed.module is None:
        for source in sorted((HERE / listed.name).iterdir()):
            digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


@contextmanager
def _locked(name: str) -> Iterator[None]:
    with (cache_root() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(listed: GoPeer, executable: Path) -> None:
    started = time.monotonic()
    for left in cache_root().glob(f".{listed.name}-*"):  # by a builder that was killed; the lock is ours
        shutil.rmtree(left)
    shutil.rmtree(executable.parent, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix=f".{listed.name}-", dir=cache_root()))
    try:
        module = work / "module"
        shutil.copytree(source(listed), module)
        for folder, _, files in os.walk(module):  # the module cache is read-only, and so is a copy of it
            for path in (folder, *(os.path.join(folder, file) for file in files)):  # noqa: PTH118
                os.chmod(path, 0o755)  # noqa: PTH101
        built = work / "built"
        built.mkdir(mode=0o755)
        command = ["nice", "-n", "15", "go", "build", "-p", "2", "-ldflags", listed.ldflags]
        command += ["-o", str(built / listed.name), listed.package]
        _log.warning("building %s %s; this takes some minutes, once", listed.name, listed.version)
        _run(command, f"the build of {listed.name}", folder=module)
        seconds = time.monotonic() - started
        facts = {"command": command[3:], "flags": GO_FLAGS, "cgo": False, "seconds": round(seconds, 1)}
        (built / "build.json").write_text(json.dumps(facts, indent=1) + "\n")
        built.rename(executable.parent)
        _log.warning("built %s in %.0f s", executable, seconds)
    finally:
        shutil.rmtree(work)


def source(listed: GoPeer) -> Path:
    """Return the folder of the peer's source, its checksum compared."""
    if listed.module is None:
        return HERE / listed.name
    unlisted = None if listed.in_sumdb else listed.module
    with tempfile.TemporaryDirectory() as outside_any_module:
        answer = _run(
            ["go", "mod", "download", "-json", f"{listed.module}@{listed.version}"],
            f"the download of {listed.module}",
            folder=Path(outside_any_module),
            unlisted=unlisted,
        )
    found = json.loads(answer)
    if found["Sum"] != listed.checksum:
        raise PeerError(f"{listed.module}@{listed.version} has the sum {found['Sum']}, not {listed.checksum}")
    return Path(found["Dir"])


def _run(command: list[str], what: str, *, folder: Path | None = None, unlisted: str | None = None) -> str:
    """Run one Go command with checksum verification on, for all but the module ``unlisted``."""
    environment = {key: value for key, value in os.environ.items() if key not in _UNTRUSTED_SETTINGS}
    environment |= {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off", "GOFLAGS": GO_FLAGS}
    if environment.get("GOSUMDB") == "off":
        raise PeerError("GOSUMDB=off: peers are built only with Go's checksum database on")
    if unlisted:
        environment["GONOSUMDB"] = unlisted
    try:
        done = subprocess.run(
            command,
            cwd=folder or HERE,
            env=environment,
            capture_output=True,
            text=True,
            timeout=BUILD_SECONDS,
            check=True,
        )
    except FileNotFoundError as error:
        raise PeerError(f"{what}: {error.filename} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise PeerError(f"{what} took more than {BUILD_SECONDS} s") from error
    except subprocess.CalledProcessError as error:
        raise PeerError(f"{what} failed: {(error.stderr or error.stdout)[-2000:]}") from error
    return done.stdout
