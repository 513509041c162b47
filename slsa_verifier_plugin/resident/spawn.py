"""Starting a resident verifier, so that of many first callers one starts it and nobody ever waits for its end.

Loaded only when nobody listens; still nothing heavy, for the caller may be one of many on one CPU.
"""

import fcntl
import os
import time

from slsa_verifier_plugin.environment import BUILD_VARIABLE, LOADER, passed_on
from slsa_verifier_plugin.resident.lifecycle import (
    NobodyListensError,
    Place,
    check_directories,
    connect,
    pause,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Mapping, Sequence

START_SECONDS = 2.0
"""How long a caller waits for a verifier that is being started to listen."""
CONNECT_SECONDS = 0.25
"""How long one attempt to connect may take."""
MAX_DESCRIPTOR = 65536
_FAILED = 1
"""Size of the lock file whose last holder's verifier ended without listening; else the file is empty."""


def await_listener(
    place: Place, command: "Sequence[str]", environ: "Mapping[str, str]", end: float
) -> "_socket.socket | None":
    """Return a connection to a verifier, after starting one if need be; None where there will be none in time.

    One caller at a time holds the lock and starts it; the others wait for what comes of it. A caller that was killed
    while it held the lock is followed by another; one whose verifier ended at once says so to those who wait.

    Args:
        place: where it must listen; the directories are made where they are missing.
        command: starts a verifier in the foreground; an absolute path and arguments.
        environ: the verifier's environment.
        end: when to give up, by ``time.monotonic``.

    Raises:
        PlaceError: the directories cannot be made, or are not private, or another user listens.
        OSError: the lock cannot be opened, no process can be started, or connecting failed.
    """
    check_directories(place, make=True)
    lock = os.open(place.lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    begun = time.monotonic()
    try:
        child, waited = 0, False
        while True:
            ended = child != 0 and _has_ended(child)
            connection = _try_connect(place)
            if connection is not None:
                return connection
            if ended:
                os.ftruncate(lock, _FAILED)
                return None
            if time.monotonic() >= end:
                return None
            if child == 0 and _try_lock(lock):
                if waited and os.fstat(lock).st_size == _FAILED:
                    return None
                # The previous holder's verifier may have come to listen since the attempt above.
                connection = _try_connect(place)
                if connection is not None:
                    return connection
                os.ftruncate(lock, 0)
                child = start_detached(command, environ)
            waited = True
            pause(begun, end)
    finally:
        os.close(lock)


def server_environment(environ: "Mapping[str, str]") -> dict[str, str]:
    """Return the environment of the resident verifier that a caller with ``environ`` starts: nothing but what keys it."""
    identity = {name: environ[name] for name in (BUILD_VARIABLE, *LOADER) if name in environ}
    # glibc gives every thread an arena of its own otherwise, and none of them shrinks.
    return {**passed_on(environ), **identity, "MALLOC_ARENA_MAX": "2"}


def start_detached(command: "Sequence[str]", environ: "Mapping[str, str]") -> int:
    """Start a process that nobody waits for: own session, ``/`` as directory, no file of its parent's; return its id.

    Raises:
        OSError: no process can be made.
    """
    settings = server_environment(environ)
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            os.chdir("/")
            os.umask(0o077)
            detach_standard_files()
            close_from(3)
            os.execve(command[0], list(command), settings)  # noqa: S606 (no shell, by intent)
        finally:
            os._exit(127)
    return child


def detach_standard_files() -> None:
    """Put standard input, output and error on ``/dev/null``.

    Where a container has none, they are a sealed file in memory, empty and without room.
    """
    try:
        nothing = os.open("/dev/null", os.O_RDWR)
    except OSError:
        nothing = os.memfd_create("nothing", os.MFD_ALLOW_SEALING)
        fcntl.fcntl(nothing, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_WRITE)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
        os.set_inheritable(descriptor, True)  # dup2 leaves close-on-exec where both are the same
    if nothing > 2:
        os.close(nothing)


def close_from(first: int, *kept: int) -> None:
    """Close every descriptor from ``first`` on, but those that are ``kept``."""
    for descriptor in sorted(kept):
        os.closerange(first, descriptor)
        first = max(first, descriptor + 1)
    os.closerange(first, min(os.sysconf("SC_OPEN_MAX"), MAX_DESCRIPTOR))


def _try_connect(place: Place) -> "_socket.socket | None":
    try:
        return connect(place, CONNECT_SECONDS)
    except (NobodyListensError, BlockingIOError, TimeoutError):
        return None


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _has_ended(child: int) -> bool:
    """Return True once a child has ended, and reap it."""
    try:
        return os.waitpid(child, os.WNOHANG)[0] != 0
    except ChildProcessError:  # the caller's parent ignores SIGCHLD, so the kernel reaped it
        return True
