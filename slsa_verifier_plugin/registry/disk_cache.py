"""Ratify's cache on disk: the blobs of an OCI image layout (image specification 1.1, "OCI Image Layout").

Only ``blobs/ALGORITHM/HEX`` is read and written. ``index.json`` is left alone: Ratify and its other plugins rewrite
it without a lock, and reading it is what fails there. What is read is checked against its digest, so neither a
broken nor a planted file is ever used; what is written appears whole, by rename.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import threading
import time
from pathlib import Path

from slsa_verifier_plugin.model.digest import Digest
from slsa_verifier_plugin.text import plain, quoted

STALE_SECONDS = 3600.0
"""Age at which a temporary file is taken for one whose writer was killed."""

_PREFIX = "slsa-verifier-"


class LayoutCache:
    """The blobs below one directory; safe for many threads and processes.

    Every failure to read or write is an absent entry or a warning: the registry has the content anyway.

    Args:
        root: the layout's directory, as in the store's ``localCachePath``. It is used if it exists; Ratify makes it.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._swept = False
        self._unwritable: str | None = None

    def has(self, digest: Digest) -> bool:
        """Return True where there is an entry of this digest, usable or not."""
        try:
            # A link that leads nowhere is an entry as well: ``read`` says what is wrong with it.
            return os.path.lexists(self._path(digest))
        except ValueError:  # no path, such as one with a NUL
            return False

    def read(self, digest: Digest, limit: int) -> tuple[bytes | None, str | None]:
        """Return the content with this digest, or None, and a warning if there was an entry that is not usable.

        Args:
            digest: of the content.
            limit: bytes that are read at most.
        """
        try:
            # By the digest's own name: ``Digest.parse`` lets no slash or dot into it.
            with open(self._path(digest), "rb", opener=_open_planted) as file:
                state = os.fstat(file.fileno())
                # A pipe would never end.
                if not stat.S_ISREG(state.st_mode):
                    return (
                        None,
                        f"the cache entry {digest} in {self._shown} is no file; the registry is asked",
                    )
                # More than the descriptor says: the registry will have to explain.
                if state.st_size > limit:
                    return None, None
                content = file.read(limit + 1)
        except (FileNotFoundError, NotADirectoryError):
            # Also where the cache's directory is none: there is no entry, and nothing to warn of.
            return None, None
        except (OSError, ValueError) as error:
            # ValueError: no path, such as one with a NUL.
            return None, self._warning("read", error)
        # Ratify writes without renaming: a killed process leaves half a file.
        if len(content) > limit or not digest.matches(content):
            warning = (
                f"the cache entry {digest} in {self._shown} is corrupt; it is fetched again and replaced"
            )
            return None, warning
        return content, None

    def write(self, digest: Digest, content: bytes) -> str | None:
        """Keep ``content``, which the caller has checked to have ``digest``; return a warning if that failed.

        After a failure that lasts (no permission, a read-only file system) nothing more is written.
        """
        # A read-only file system stays one: each try would cost every call.
        if self._unwritable is not None:
            return self._unwritable
        # A name of its own for each writer, and one that the sweep knows.
        temporary = f"{self._root}/ingest/{_PREFIX}{digest.hex[:16]}-{secrets.token_hex(8)}"
        try:
            # Ratify makes it; before that nothing is ours to make in somebody's home.
            if not self._root.is_dir():
                return None
            self._sweep()
            self._place(temporary, self._path(digest), content)
        except (OSError, ValueError) as error:
            with contextlib.suppress(OSError, ValueError):
                # Half a file beside the blobs takes room until the sweep; it is never read.
                os.unlink(temporary)  # noqa: PTH108 (pathlib costs on this path)
            warning = self._warning("written", error)
            if getattr(error, "errno", None) in (errno.EACCES, errno.EPERM, errno.EROFS):
                # A full disk passes, so it is tried again; these three do not.
                self._unwritable = warning
            return warning
        return None

    def _place(self, temporary: str, path: str, content: bytes) -> None:
        """Write ``content`` and give it its name. The directories are made where they turn out to be missing."""
        try:
            self._fill(temporary, content)
        except FileNotFoundError:
            # Only now: usually it is there, and a look at it would cost each write.
            (self._root / "ingest").mkdir(exist_ok=True)
            self._fill(temporary, content)
        try:
            # Whole or not at all: readers of other processes never see a part.
            os.replace(temporary, path)  # noqa: PTH105 (pathlib costs on this path)
        except FileNotFoundError:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            os.replace(temporary, path)  # noqa: PTH105 (as above)

    @staticmethod
    def _fill(path: str, content: bytes) -> None:
        # "x": a name that somebody planted is not written to. Nobody changes it afterwards, so nobody may.
        with open(path, "xb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW, 0o444)) as file:
            file.write(content)

    def _sweep(self) -> None:
        """Once a process: remove temporary files of ours whose writers were killed."""
        with self._lock:
            # Once a process: listing a directory of thousands costs milliseconds.
            if self._swept:
                return
            self._swept = True
        before = time.time() - STALE_SECONDS
        for path in (self._root / "ingest").glob(f"{_PREFIX}*"):
            with contextlib.suppress(OSError):
                # Younger ones may be another process's, at work now.
                if path.lstat().st_mtime < before:
                    path.unlink()

    def _path(self, digest: Digest) -> str:
        return f"{self._root}/blobs/{digest.algorithm}/{digest.hex}"

    @property
    def _shown(self) -> str:
        return quoted(str(self._root))

    def _warning(self, done: str, error: OSError | ValueError) -> str:
        why = plain(getattr(error, "strerror", None) or "no usable path")
        return f"the cache in {self._shown} cannot be {done} ({why}); going on without it"


def _open_planted(path: str, flags: int) -> int:
    """Open what somebody may have planted: a link must not lead away, a pipe must not hold us."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
