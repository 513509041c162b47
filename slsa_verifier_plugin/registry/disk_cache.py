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
from slsa_verifier_plugin.registry import arrival
from slsa_verifier_plugin.registry.remarks import Remarks
from slsa_verifier_plugin.text import plain, quoted

STALE_SECONDS = 3600.0
"""Age at which a temporary file is taken for one whose writer was killed."""

_PREFIX = "slsa-verifier-"


class LayoutCache:
    """The blobs below one directory; safe for many threads and processes.

    Every failure to read or write is an absent entry and a remark: the registry has the content anyway.

    Args:
        root: the layout's directory, as in the store's ``localCachePath``. It is used if it exists; Ratify makes it.
        remarks: gets what went wrong.
    """

    def __init__(self, root: Path, remarks: Remarks) -> None:
        self._root = root
        self._remarks = remarks
        self._lock = threading.Lock()
        self._swept = False
        self._unwritable: str | None = None

    def read(self, digest: Digest, limit: int) -> bytes | None:
        """Return the content with this digest, None where there is no entry, or one that is not usable.

        Args:
            digest: of the content.
            limit: bytes that are read at most.

        Raises:
            DeadlineError: there was no room for it in time.
        """
        try:
            # By the digest's own name: ``Digest.parse`` lets no slash or dot into it.
            with open(self._path(digest), "rb", opener=_open_planted) as file:
                state = os.fstat(file.fileno())
                # A pipe would never end.
                if not stat.S_ISREG(state.st_mode):
                    self._remarks.add(
                        f"the cache entry {digest} in {self._shown} is no file; the registry is asked"
                    )
                    return None
                # More than the descriptor says: the registry will have to explain.
                if state.st_size > limit:
                    return None
                # Only for an entry that is there: asking for room may have to wait for others.
                arrival.hold(state.st_size)
                content = file.read(limit + 1)
        except (FileNotFoundError, NotADirectoryError):
            # Also where the cache's directory is none: there is no entry, and nothing to warn of.
            return None
        except (OSError, ValueError) as error:
            # ValueError: no path, such as one with a NUL.
            self._remarks.add(self._warning("read", error))
            return None
        # Ratify writes without renaming: a killed process leaves half a file.
        if len(content) > limit or not digest.matches(content):
            self._remarks.add(
                f"the cache entry {digest} in {self._shown} is corrupt; it is fetched again and replaced"
            )
            return None
        return content

    def write(self, digest: Digest, content: bytes) -> None:
        """Keep ``content``, which the caller has checked to have ``digest``.

        After a failure that lasts (no permission, a read-only file system) nothing more is written.
        """
        # A read-only file system stays one: each try would cost every call.
        if self._unwritable is not None:
            self._remarks.add(self._unwritable)
            return
        # A name of its own for each writer, and one that the sweep knows.
        temporary = f"{self._root}/ingest/{_PREFIX}{digest.hex[:16]}-{secrets.token_hex(8)}"
        try:
            # Ratify makes it; before that nothing is ours to make in somebody's home.
            if self._root.is_dir():
                self._sweep()
                self._place(temporary, self._path(digest), content)
        except (OSError, ValueError) as error:
            with contextlib.suppress(OSError, ValueError):
                # Half a file beside the blobs takes room until the sweep; it is never read.
                os.unlink(temporary)  # noqa: PTH108 (pathlib costs on this path)
            warning = self._warning("written", error)
            self._remarks.add(warning)
            if getattr(error, "errno", None) in (errno.EACCES, errno.EPERM, errno.EROFS):
                # A full disk passes, so it is tried again; these three do not.
                self._unwritable = warning

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
