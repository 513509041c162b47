"""Builds the programs of the cluster once and keeps them beside the other peers, by name, version and flags."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.peers import PEERS, PeerError, cache_root, peer
from tests.e2e.shared import REPOSITORY

SOURCES = Path(__file__).resolve().parent / "sources"
BUILD_SECONDS = 1800
"""Seconds that one program may take; kube-apiserver takes 5 minutes on two idle cores."""
PLUGIN = "SLSA_E2E_PLUGIN"
"""The variable that names another one-file plugin to check."""
_GO_FLAGS = "-buildvcs=false -trimpath"
_UNTRUSTED_SETTINGS = ("GOFLAGS", "GONOSUMDB", "GONOSUMCHECK", "GOPRIVATE", "GOINSECURE", "GOWORK")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Module:
    """A Go module at a version, with the ``h1:`` sum its content must have."""

    path: str
    version: str
    checksum: str


KUBERNETES = Module("k8s.io/kubernetes", "v1.36.3", "h1:qDQdoMiluAE2Eab6Fa52YV+WjiGz9mZFFoagEA6cI+o=")
GATEKEEPER = Module(
    "github.com/open-policy-agent/gatekeeper/v3",
    "v3.23.1",
    "h1:njHTm0SJ6ZEhhEgmQTpJKTGQbc99fSs4hGiEp1OIKck=",
)
KYVERNO = Module("github.com/kyverno/kyverno", "v1.19.1", "h1:/MkgFii3/VlQfKR1JpC9tVwNNVNQTt2S4U6qCsafsTU=")
CERT_MANAGER = Module(
    "github.com/cert-manager/cert-manager", "v1.19.1", "h1:Txh8L/nLWTDcb7ZnXuXbTe15BxQnLbLirXmbNk0fGgY="
)
HELM = Module("helm.sh/helm/v3", "v3.22.0", "h1:n1if5iQgHYsujPAcO5oonH/KiSNUmqmUF0iGVjSF3AU=")


@dataclass(frozen=True)
class Program:
    """One executable of the cluster.

    Attributes:
        name: the executable's file name.
        version: what the cache files it under.
        command: the build, less ``-o FILE`` which is put before its last word.
        module: where its source comes from; None for a folder of ``SOURCES`` called as the program.
        prepare: run once in the writable copy of the source before the build.
    """

    name: str
    version: str
    command: tuple[str, ...]
    module: Module | None = None
    prepare: Callable[[Path], None] | None = None


def _go(package: str, ldflags: str, *, mode: str = "-mod=readonly") -> tuple[str, ...]:
    return ("go", "build", "-p", "2", mode, "-ldflags", f"-s -w {ldflags}".strip(), package)


def _unhook_staging(source: Path) -> None:
    """Point kubernetes' go.mod at its published staging modules.

    The module's zip has no ``staging/`` folder, to which its own go.mod redirects them; they are published
    as v0.X.Y for v1.X.Y, and every sum that this adds to go.sum is checked against the checksum database.
    """
    for file in ("go.work", "go.work.sum"):
        (source / file).unlink(missing_ok=True)
    stated = json.loads(_run(["go", "mod", "edit", "-json"], "go.mod of kubernetes", folder=source))
    published = KUBERNETES.version.replace("v1.", "v0.", 1)
    edits = [
        f"-dropreplace={entry['Old']['Path']}"
        for entry in stated.get("Replace") or ()
        if entry["New"]["Path"].startswith("./staging/")
    ]
    edits += [
        f"-require={entry['Path']}@{published}" for entry in stated["Require"] if entry["Version"] == "v0.0.0"
    ]
    _run(["go", "mod", "edit", *edits], "go.mod of kubernetes", folder=source)
    packages = [
        *("./cmd/kube-apiserver", "./cmd/kube-controller-manager", "./cmd/kubectl"),
        "go.etcd.io/etcd/server/v3",
    ]
    _run(["go", "list", "-mod=mod", "-deps", *packages], "go.sum of kubernetes", folder=source)


_KUBERNETES_VERSION = (
    f"-X k8s.io/component-base/version.gitVersion={KUBERNETES.version}"
    " -X k8s.io/component-base/version.gitMajor=1"
    f" -X k8s.io/component-base/version.gitMinor={KUBERNETES.version.split('.')[1]}"
    " -X k8s.io/component-base/version.gitTreeState=archive"
)
_GATEKEEPER_VERSION = f"-X {GATEKEEPER.path}/pkg/version.Version={GATEKEEPER.version}"


def _kubernetes(name: str, package: str, ldflags: str = _KUBERNETES_VERSION) -> Program:
    command = _go(package, ldflags, mode="-mod=mod")
    return Program(name, KUBERNETES.version, command, KUBERNETES, _unhook_staging)


_LISTED = (
    Program("staticplugin", "1", ("cc", "-static", "-O2", "-Wall", "-Wextra", "-Werror", "main.c")),
    Program("notationsign", "v1.3.2", _go(".", "")),
    Program("yesprovider", "1", _go(".", "")),
    _kubernetes("etcd", "go.etcd.io/etcd/server/v3", ""),  # the very version that kubernetes' go.sum names
    _kubernetes("kube-apiserver", "./cmd/kube-apiserver"),
    _kubernetes("kube-controller-manager", "./cmd/kube-controller-manager"),
    Program("gatekeeper", GATEKEEPER.version, _go(".", _GATEKEEPER_VERSION), GATEKEEPER),
    Program("gator", GATEKEEPER.version, _go("./cmd/gator", _GATEKEEPER_VERSION), GATEKEEPER),
    Program("helm", HELM.version, _go("./cmd/helm", ""), HELM),
)
_OPTIONAL = (
    _kubernetes("kubectl", "./cmd/kubectl"),  # where the machine has none
    Program("kyverno", KYVERNO.version, _go("./cmd/cli/kubectl-kyverno", ""), KYVERNO),
)
PROGRAMS = tuple(listed.name for listed in _LISTED)
"""The cluster's own programs, in the order in which they are built."""
_BY_NAME: Mapping[str, Program] = {listed.name: listed for listed in (*_LISTED, *_OPTIONAL)}
SHARED = ("ratify", "oras", "crane", "ociregistry", "docker-registry")
"""Programs that the other end-to-end tests use as well; they are built by ``tests.e2e.peers``."""


def program(name: str) -> Path:
    """Return the executable called ``name``, built first where the cache has none.

    Raises:
        PeerError: a source could not be fetched, has another checksum, or does not build.
    """
    if name in SHARED:
        return peer(name)
    listed = _BY_NAME[name]
    executable = cache_root() / f"{name}-{listed.version}-{_key(listed)}" / name
    if not executable.is_file():
        with _locked(listed.module.path.replace("/", "_") if listed.module else name):
            if not executable.is_file():  # another process may have built it while this one waited
                _build(listed, executable)
    return executable


def everything(*optional: str) -> Path:
    """Build all that the cache has not, two modules at a time, the largest first; returns the one-file plugin.

    Linking and fetching leave a processor idle. Programs of one module share its prepared source, and most of what
    they compile, so they are built one after the other.

    Args:
        optional: programs to build beside those of ``SHARED`` and ``PROGRAMS``.

    Raises:
        PeerError: something could not be fetched or does not build.
    """
    listed = [_BY_NAME[name] for name in (*PROGRAMS, *optional)]
    groups = [
        [one.name for one in listed if one.module is module]
        for module in (KUBERNETES, GATEKEEPER, HELM, KYVERNO)
    ]
    groups += [[name] for name in (*SHARED, *(one.name for one in listed if one.module is None))]

    def build(names: list[str]) -> None:
        for name in names:
            program(name)

    with ThreadPoolExecutor(2) as pool:
        plugin = pool.submit(plugin_artifact)
        building = [pool.submit(build, names) for names in groups]
        try:
            for one in building:
                one.result()
            return plugin.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def plugin_artifact() -> Path:
    """Return the one-file plugin: what the variable names, else dist/slsa, built where it is missing or old.

    Raises:
        PeerError: it does not build.
    """
    if named := os.environ.get(PLUGIN):
        return Path(named).resolve(strict=True)
    plugin = REPOSITORY / "dist" / "slsa"
    sources = (
        file
        for folder in ("slsa_verifier_plugin", "launcher/src", "tools/dist", "requirements")
        for file in (REPOSITORY / folder).rglob("*")
        if file.is_file() and file.suffix != ".pyc"
    )
    if not plugin.is_file() or plugin.stat().st_mtime < max(file.stat().st_mtime for file in sources):
        kept = ["--cache", str(cache_root().with_name("dist"))]  # outside the tree, as the programs are
        if subprocess.run(
            [sys.executable, "-m", "tools.dist", *kept], cwd=REPOSITORY, check=False
        ).returncode:
            raise PeerError("the one-file plugin does not build")
    return plugin


def charts() -> dict[str, Path]:
    """Return the folders of the Helm charts of Ratify and Gatekeeper, out of their verified modules."""
    ratify = PEERS["ratify"]
    if ratify.module is None or ratify.checksum is None:
        raise PeerError("the catalogue of peers does not say where Ratify comes from")
    return {
        "ratify": _download(Module(ratify.module, ratify.version, ratify.checksum)) / "charts" / "ratify",
        "gatekeeper": _download(GATEKEEPER) / "charts" / "gatekeeper",
    }


def definitions() -> list[Path]:
    """Return the files of Kyverno's definitions of policies and of cert-manager's, out of their verified modules."""
    kyverno = _download(KYVERNO) / "config" / "crds" / "policies.kyverno.io"
    cert_manager = _download(CERT_MANAGER) / "deploy" / "crds"
    return [
        kyverno / "policies.kyverno.io_validatingpolicies.yaml",
        *(cert_manager / f"cert-manager.io_{kind}.yaml" for kind in ("certificates", "issuers")),
    ]


def _key(listed: Program) -> str:
    facts = [listed.name, listed.version, *listed.command, _GO_FLAGS, repr(listed.module)]
    facts.append(_run(["go", "env", "GOVERSION", "GOOS", "GOARCH"], "go").strip())
    digest = hashlib.sha256("\0".join(facts).encode())
    if listed.module is None:
        for source in sorted((SOURCES / listed.name).iterdir()):
            digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


@contextmanager
def _locked(name: str) -> Iterator[None]:
    with (cache_root() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(listed: Program, executable: Path) -> None:
    started = time.monotonic()
    source = SOURCES / listed.name if listed.module is None else _prepared(listed.module, listed.prepare)
    with tempfile.TemporaryDirectory(prefix=f".{listed.name}-", dir=cache_root()) as work:
        built = Path(work) / "built"
        built.mkdir(mode=0o755)
        command = ["nice", "-n", "15", *listed.command[:-1], "-o", str(built / listed.name)]
        command.append(listed.command[-1])
        _log.warning("building %s %s", listed.name, listed.version)
        _run(command, f"the build of {listed.name}", folder=source)
        shutil.rmtree(executable.parent, ignore_errors=True)
        built.rename(executable.parent)
    _log.warning("built %s in %.0f s", listed.name, time.monotonic() - started)


def _prepared(module: Module, prepare: Callable[[Path], None] | None) -> Path:
    """Return a writable copy of the module, prepared; kept for the next program that comes from it."""
    name = module.path.replace("/", "_")
    kept = cache_root() / "src" / f"{name}-{module.version}"
    if kept.is_dir():
        return kept
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=cache_root()) as work:
        copy = Path(work) / "source"
        shutil.copytree(_download(module), copy, copy_function=shutil.copyfile, symlinks=True)
        for folder, _, _ in os.walk(copy):  # the module cache is read-only, and so are copies of its folders
            Path(folder).chmod(0o755)
        if prepare is not None:
            prepare(copy)
        kept.parent.mkdir(exist_ok=True)
        copy.rename(kept)
    return kept


def _download(module: Module) -> Path:
    """Return the folder of the module in Go's module cache, its checksum compared."""
    with tempfile.TemporaryDirectory() as outside_any_module:
        answer = _run(
            ["go", "mod", "download", "-json", f"{module.path}@{module.version}"],
            f"the download of {module.path}",
            folder=Path(outside_any_module),
        )
    found = json.loads(answer)
    if found["Sum"] != module.checksum:
        raise PeerError(f"{module.path}@{module.version} has the sum {found['Sum']}, not {module.checksum}")
    return Path(found["Dir"])


def _run(command: list[str], what: str, *, folder: Path | None = None) -> str:
    """Run a build command with Go's checksum verification on."""
    environment = {key: value for key, value in os.environ.items() if key not in _UNTRUSTED_SETTINGS}
    if environment.get("GOSUMDB") == "off":
        raise PeerError("GOSUMDB=off: the cluster is built only with Go's checksum database on")
    environment |= {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off", "GOFLAGS": _GO_FLAGS}
    try:
        done = subprocess.run(
            command,
            cwd=folder or SOURCES,
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
