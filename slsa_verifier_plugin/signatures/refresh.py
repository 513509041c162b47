"""Refreshes trusted roots through TUF. Runs in the background or when asked for, never while a verification waits.

A refresh works in a copy of its own beside the current one, which is then replaced by renaming a link: safe under many processes
and a full disk, for whatever breaks leaves the current copy as it is.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import DeadlineError, RegistryError, TrustRootError
from slsa_verifier_plugin.locks import try_lock
from slsa_verifier_plugin.network.dialing import Resolver
from slsa_verifier_plugin.network.redirects import HttpClient
from slsa_verifier_plugin.network.transport import HttpRequest
from slsa_verifier_plugin.policy.parameters import RootSource
from slsa_verifier_plugin.signatures.libraries import (
    DownloadError,
    DownloadHTTPError,
    FetcherInterface,
    RepositoryError,
    Updater,
)
from slsa_verifier_plugin.signatures.sources import (
    COPY_PREFIX,
    TARGET,
    RootRepository,
    read_cached,
    repository_of,
    require_private,
    verified_copy,
)
from slsa_verifier_plugin.signatures.trust import MAX_ROOT, load_roots
from slsa_verifier_plugin.signatures.wording import reason_of
from slsa_verifier_plugin.text import quoted

TOTAL_SECONDS = 120.0
"""Seconds after which a refresh is given up, however steadily its bytes trickle in."""
LOCK_SECONDS = 180.0
"""Seconds to wait for another refresh of the same cache: longer than one takes."""
_LOCK_PAUSE = 0.02
FILE_SECONDS = 60.0
"""Seconds for one file, within the limit for all of them, so that a silent mirror leaves time to say so."""


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What a refresh brought: where from, the root's SHA-256, and whether it differs from the one before."""

    url: str
    digest: str
    changed: bool


def refresh(source: RootSource, environ: Mapping[str, str]) -> Refreshed | None:
    """Fetch the newest trusted root of ``source`` into its cache; None for a plain file, which has no repository.

    Raises:
        TrustRootError: the repository is away or does not verify, or the cache cannot be written. The copy before stays.
    """
    repository = repository_of(source, environ)
    # A plain file: whoever mounted it replaces it.
    if repository is None:
        return None
    try:
        # Nobody else may read or replace it: what lies there is trusted by this user's verifications.
        repository.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Looked at before anything is put there, for ``mkdir`` leaves an existing folder as it is.
        require_private(repository.folder)
        with _locked(repository.folder / "lock"):
            return _refresh(repository, environ)
    except OSError as error:
        # What copying a folder raises has no text of the system's.
        detail = error.strerror or "its files cannot be copied"
        raise TrustRootError(
            f"the trusted root's cache {quoted(str(repository.folder))} cannot be written: {detail}",
            transient=True,
        ) from error


def _refresh(repository: RootRepository, environ: Mapping[str, str]) -> Refreshed:
    before = None
    with suppress(TrustRootError):
        # A copy that does not verify is not built upon.
        before = read_cached(repository)
    # In the same folder, so that the link is replaced within one file system, as a whole.
    work = Path(tempfile.mkdtemp(prefix=COPY_PREFIX, dir=repository.folder))
    try:
        # python-tuf goes on from the copy there is: versions must not go back (TUF 1.0, 5.4.3).
        if before is not None:
            shutil.copytree(repository.current.resolve(strict=True), work, dirs_exist_ok=True)
        # What was downloaded is verified twice: by python-tuf here, and as a reader will do it.
        _download(repository, work, environ)
        content = verified_copy(repository, work).content
        # A root that is signed and cannot be used is no better than none; the copy before stays.
        load_roots(content, repository.url)
        # The last step: until here every reader sees the copy before. A link cannot be overwritten, but renamed over another
        # one: readers see the old copy or the new one.
        link = work.with_name(f"{work.name}.link")
        # Relative, so the cache may be moved or mounted elsewhere.
        link.symlink_to(work.name)
        link.replace(repository.current)
    except BaseException:
        # Half a copy must not stay: it has the newest name, and would be in the way of a full disk's next try.
        shutil.rmtree(work, ignore_errors=True)
        raise
    # A reader that is in the middle of one of them looks again (``sources.read_cached``).
    _remove_others(repository, work)
    return Refreshed(
        repository.url, hashlib.sha256(content).hexdigest(), before is None or content != before.content
    )


def _download(repository: RootRepository, work: Path, environ: Mapping[str, str]) -> None:
    try:
        updater = Updater(
            str(work),
            repository.url,
            str(work),
            f"{repository.url}/targets",
            fetcher=Fetcher(environ),
            # Trust begins with this root, whatever lies in the folder.
            bootstrap=repository.bootstrap,
        )
        updater.refresh()
        # The length is signed, so that an endless download is refused before it begins.
        info = updater.get_targetinfo(TARGET)
        if info is None or info.length > MAX_ROOT:
            raise TrustRootError(f"{quoted(repository.url)} serves no {TARGET} of at most {MAX_ROOT} bytes")
        updater.download_target(info)
    except (DownloadError, RepositoryError, ValueError) as error:
        raise TrustRootError(
            f"the trusted root of {quoted(repository.url)} could not be refreshed: {reason_of(error)}",
            transient=True,
        ) from error
    # Its modification time is when it was fetched, also where its content is as before (``verified_copy``).
    os.utime(work / "timestamp.json")


class Fetcher(FetcherInterface):
    """python-tuf's way to the network: ours, where every wait ends.

    Args:
        environ: proxies and places of certificates.
        resolver: finds addresses; tests replace it.
    """

    def __init__(self, environ: Mapping[str, str], resolver: Resolver | None = None) -> None:
        self._http = HttpClient(environ, resolver=resolver)
        self._deadline = Deadline(TOTAL_SECONDS)

    def _fetch(self, url: str) -> Iterator[bytes]:
        request = HttpRequest("fetching a file of the repository", url)
        deadline = self._deadline.within(FILE_SECONDS)
        try:
            # A redirect leads only where the repository itself could reach us from: whoever controls a mirror must not have us
            # ask this machine, its link or a private network.
            with closing(self._http.follow(request, deadline, url)) as reply:
                # What is not followed by now is no file of the repository. A 404 is how a client learns that a root is the newest
                # (TUF 1.0, 5.3.3), so python-tuf must get the number.
                if reply.status >= 300:
                    raise DownloadHTTPError(f"HTTP error {reply.status}", reply.status)
                # python-tuf knows the length that each file may have.
                yield from reply.chunks(sys.maxsize)
        # python-tuf takes nothing but its own type for "not available", and goes on to the next step or gives up by it.
        except DeadlineError:
            seconds = TOTAL_SECONDS if self._deadline.expired() else FILE_SECONDS
            remedy = "try again, or look at the network or proxy between"
            late = TrustRootError(f"not complete after {seconds:g} s", remedy, transient=True)
            raise DownloadError(late.message) from late
        except RegistryError as error:
            raise DownloadError(error.message) from error


def _remove_others(repository: RootRepository, keep: Path) -> None:
    for other in repository.folder.glob(f"{COPY_PREFIX}*"):
        if other.is_symlink():  # left behind by a refresh that was killed
            other.unlink(missing_ok=True)
        elif other != keep:
            shutil.rmtree(other, ignore_errors=True)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock, so that two refreshes do not remove each other's copies."""
    # Tried again and again: flock cannot wait for a limited time, and a signal to end its wait would hit the whole process.
    for _ in range(round(LOCK_SECONDS / _LOCK_PAUSE)):
        lock = try_lock(str(path))
        if lock is not None:
            break
        time.sleep(_LOCK_PAUSE)
    else:
        raise TrustRootError(
            f"another refresh has held {quoted(str(path))} for {LOCK_SECONDS:g} s",
            "try again, or end its process",
            transient=True,
        )
    try:
        yield
    finally:
        os.close(lock)
