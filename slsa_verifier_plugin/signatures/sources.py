"""Where the bytes of a trusted root come from. Nothing here waits for a network.

A root that TUF refreshed lies in a private cache and is verified again whenever it is read: up to the bootstrap root that the
sigstore package ships (or ``rootPath`` names), as of the time it was fetched, so that it serves on where there is no network.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from slsa_verifier_plugin.errors import TrustRootError
from slsa_verifier_plugin.policy.parameters import RootSource
from slsa_verifier_plugin.signatures.libraries import EnvelopeType, TrustedMetadataSet
from slsa_verifier_plugin.signatures.trust import (
    MAX_ROOT,
    SHIPPED,
    load_roots,
    read_root_file,
    shipped_file,
)
from slsa_verifier_plugin.signatures.wording import reason_of
from slsa_verifier_plugin.text import quoted

TARGET = "trusted_root.json"
COPY_PREFIX = "copy-"
"""How the names of the copies beside the link begin."""
_MAX_METADATA = 5 << 20
_MAX_REPLACED = 8
"""Copies that may be replaced under a reader's hands."""


@dataclass(frozen=True, slots=True)
class RootRepository:
    """A TUF repository: its URL, the root that trust begins with, and the folder of its private cache."""

    url: str
    bootstrap: bytes
    folder: Path

    @property
    def current(self) -> Path:
        """The link to the newest complete copy; replaced as a whole, so that no reader meets half of one."""
        return self.folder / "current"


@dataclass(frozen=True, slots=True)
class Copy:
    """A refreshed trusted root, verified, and until when its repository says that there is no newer one."""

    content: bytes
    expires: datetime


def repository_of(source: RootSource, environ: Mapping[str, str]) -> RootRepository | None:
    """Return the TUF repository behind ``source``, None for a plain file.

    Raises:
        TrustRootError: its bootstrap root cannot be read.
    """
    if source.kind == "path":
        return None
    if source.kind == "tuf":
        url, bootstrap = source.location, read_root_file(source.bootstrap)
    else:
        # One of Sigstore's own instances, whose first root the package carries.
        url, bootstrap = SHIPPED[source.kind], shipped_file(source.kind, "root.json")
    # The first root is part of the key: two policies with one URL and different roots trust different keys.
    key = hashlib.sha256(url.encode() + b"\0" + bootstrap).hexdigest()[:16]
    return RootRepository(url, bootstrap, cache_folder(environ) / key)


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Return the folder of all TUF caches: below ``SLSA_VERIFIER_TUF_DIR``, ``XDG_CACHE_HOME`` or ``HOME``."""
    # Where the home directory is not writable, as in most containers, this names a mounted folder.
    if own := environ.get("SLSA_VERIFIER_TUF_DIR"):
        return Path(own)
    # Without HOME there is no cache: this folder does not exist.
    base = environ.get("XDG_CACHE_HOME") or os.path.join(environ.get("HOME") or "/nonexistent", ".cache")  # noqa: PTH118
    return Path(base) / "slsa-verifier-plugin" / "tuf"


def read_root(source: RootSource, environ: Mapping[str, str]) -> tuple[bytes, str]:
    """Return the bytes of the trusted root that ``source`` names, and where they come from, for people.

    Raises:
        TrustRootError: there is none, or it does not verify.
    """
    repository = repository_of(source, environ)
    if repository is None:
        # ``service`` keeps what it reads by the file's stamp, so that a replaced ConfigMap counts at once.
        return read_root_file(source.location), source.location
    # A repository of somebody's own has no copy in the package to fall back on.
    if source.kind == "tuf":
        refreshed = read_cached(repository)
        if refreshed is None:
            raise TrustRootError(
                f"the trusted root of {quoted(source.location)} has not been fetched yet",
                "the resident verifier fetches it in the background, 'slsa-verifier-plugin trust refresh' at once",
                transient=True,
            )
        return refreshed.content, f"{source.location} (TUF)"
    shipped = shipped_file(source.kind, TARGET)
    try:
        refreshed = read_cached(repository)
    except TrustRootError:
        # The shipped copy is as good as a fresh installation; a broken cache must not deny every image.
        refreshed = None
    # The package carries a copy, so Sigstore's own instances work without any network, as old as the package at the worst.
    if refreshed is None or _is_outdated(refreshed, shipped):
        return shipped, source.kind
    return refreshed.content, f"{source.kind} (TUF)"


def _is_outdated(copy: Copy, shipped: bytes) -> bool:
    """Return True if the shipped root has parts that are newer than the copy.

    A copy that could know them and does not has had them withdrawn. Its age is told by what its repository signed, for this
    machine's clock may have been wrong when it was fetched.
    """
    # By when its newest part began, not by the package's date: a new package may carry an old root.
    newest = load_roots(shipped, "shipped").date
    return copy.expires < newest and load_roots(copy.content, "TUF").date < newest


def read_cached(repository: RootRepository) -> Copy | None:
    """Return the refreshed root in a repository's cache, verified as of when it was fetched; None where there is none.

    Raises:
        TrustRootError: what lies there is not ours alone, or does not verify.
    """
    failure: OSError | TrustRootError | None = None
    # A reader has no lock, so that no verification waits for a refresh. It looks again where the copy was replaced
    # meanwhile.
    for _ in range(_MAX_REPLACED):
        folder = _current_copy(repository)
        # Nothing was refreshed yet, which is no failure.
        if folder is None:
            return None
        try:
            # The folder that holds the link, too: whoever may write there may point the link elsewhere.
            require_private(repository.folder)
            require_private(folder)
            return verified_copy(repository, folder)
        except (OSError, TrustRootError) as error:
            failure = error
        # Nothing was replaced meanwhile, so the failure is of this copy and stays.
        if _current_copy(repository) == folder:
            break
        # A refresh put another copy in its place, and removed this one, while it was being read.
    if isinstance(failure, TrustRootError):
        raise failure
    raise _unreadable(repository, failure.strerror if failure else "it is replaced all the time") from failure


def _current_copy(repository: RootRepository) -> Path | None:
    """Return the folder that the link names, None where there is no link."""
    try:
        name = os.readlink(repository.current)  # noqa: PTH115 (a Path would have lost what a name must not hold)
    except FileNotFoundError:
        return None
    # It is no link, or this user may not read it.
    except OSError as error:
        raise _unreadable(repository, error.strerror) from error
    # A link that leads out of the folder was made by somebody else.
    if not name.startswith(COPY_PREFIX) or "/" in name:
        raise TrustRootError(
            f"the cache {quoted(str(repository.folder))} was not made by this program", "remove it"
        )
    return repository.folder / name


def _unreadable(repository: RootRepository, detail: str | None) -> TrustRootError:
    folder = quoted(str(repository.folder))
    return TrustRootError(f"the cached trusted root {folder} cannot be read: {detail}", "remove it")


def require_private(folder: Path) -> None:
    """Raise ``TrustRootError`` unless ``folder`` is a directory of this user that nobody else may write to."""
    # Not through links: whoever may replace the folder may replace the roots.
    status = folder.lstat()
    if not folder.is_dir() or status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise TrustRootError(f"the cache {quoted(str(folder))} is not this user's alone", "remove it")


def verified_copy(repository: RootRepository, folder: Path) -> Copy:
    """Return the trusted root in ``folder`` after the TUF client workflow over the copies there (TUF 1.0, 5.3 to 5.6).

    It is held against the time at which it was fetched, which is the modification time of ``timestamp.json``.

    Raises:
        TrustRootError: it does not verify.
        OSError: a file cannot be read.
    """
    fetched = datetime.fromtimestamp((folder / "timestamp.json").stat().st_mtime, tz=UTC)
    try:
        trusted = TrustedMetadataSet(repository.bootstrap, EnvelopeType.METADATA)
        # As of when it was fetched: without a network the metadata expires, and the root that it vouched for stays what it
        # was.
        trusted.reference_time = fetched
        # TUF 1.0, 5.3: from the first root on, each version is signed by the one before and by itself.
        while (following := folder / "root_history" / f"{trusted.root.version + 1}.root.json").exists():
            trusted.update_root(_bounded(following))
        # TUF 1.0, 5.4 to 5.6: timestamp, snapshot, targets, each signed by keys of the root.
        trusted.update_timestamp(_bounded(folder / "timestamp.json"))
        trusted.update_snapshot(_bounded(folder / "snapshot.json"))
        # The top-level targets alone: delegated ones are not followed (docs/limits.md).
        targets = trusted.update_delegated_targets(_bounded(folder / "targets.json"), "targets", "root")
        info = targets.targets[TARGET]
        content = _bounded(folder / TARGET, MAX_ROOT)
        # The target itself, held against the signed metadata: here the bytes become trusted.
        info.verify_length_and_hashes(content)
    # A refresh may have removed the file meanwhile: ``read_cached`` looks again.
    except OSError:
        raise
    except Exception as error:
        # python-tuf, securesystemslib and json each raise their own types on what does not verify.
        raise TrustRootError(
            f"the cached trusted root does not verify: {reason_of(error)}", f"remove {quoted(str(folder))}"
        ) from error
    return Copy(content, trusted.timestamp.expires)


def _bounded(path: Path, limit: int = _MAX_METADATA) -> bytes:
    with path.open("rb") as file:
        # Cut at the limit: what is longer then does not verify, for its hash is another.
        return file.read(limit)
