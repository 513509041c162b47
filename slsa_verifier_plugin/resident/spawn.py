"""Starts a resident verifier. Of many first callers one starts it; none of them waits for its end.

Loaded only when nobody listens; still nothing heavy, for the caller may be one of many on one CPU.
"""

import fcntl
import os
import time

from slsa_verifier_plugin.environment import BUILD_VARIABLE, LOADER, passed_on
from slsa_verifier_plugin.locks import named_in, try_lock, write_word
from slsa_verifier_plugin.resident.channel import HUNG_SECONDS, ProcessWatch
from slsa_verifier_plugin.resident.place import NobodyListensError, Place, check_directories, connect, pause

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Mapping, Sequence

CONNECT_SECONDS = 0.25
"""How long one attempt to connect may take."""
MAX_DESCRIPTOR = 65536
MAX_KILLED = 3
"""Verifiers that may be killed while they start, of one caller's."""
_FAILED = b"failed"
"""What the lock file says after a holder whose verifier ended without listening; else the number of the last holder."""


class NotStartedError(Exception):
    """A verifier cannot be started here: one ended by itself without listening, so the next one would too."""


class Starter:
    """One caller's part in starting a verifier. Whoever gets the lock starts one; the others look until it listens.

    Where the holder's verifier ends by itself, the holder writes so into the lock file and goes away, and those who waited need
    not try the same. Where the holder itself is killed, the next one to get the lock starts another; where it is stopped or
    frozen, those who wait remove its lock file. It is not ended: it may go on, and finds then that somebody listens.

    Args:
        place: where it must listen; the directories are made where they are missing.
        command: starts a verifier in the foreground; an absolute path and arguments.
        environ: the verifier's environment.

    Raises:
        PlaceError: the directories cannot be made, or are not private.
    """

    def __init__(self, place: Place, command: "Sequence[str]", environ: "Mapping[str, str]") -> None:
        check_directories(place, make=True)
        self._place = place
        self._command = command
        self._environ = environ
        self._lock: int | None = None
        self._has_waited = False
        self._holder = ProcessWatch()
        self._child = 0
        self._killed = 0

    def look(self) -> "_socket.socket | None":
        """Start a verifier where nobody else does, after nobody listened; return a connection where one listens after all.

        Raises:
            NotStartedError: the one that was started ended without listening; no use to try again.
            PlaceError: another user listens.
            OSError: the lock cannot be opened, no process can be started, or connecting failed.
        """
        # Before the attempt to connect: a verifier that ends because another one serves here has not failed.
        ended = _how_ended(self._child) if self._child else None
        connection = _try_connect(self._place)
        # Somebody listens, or this caller's verifier is on its way: there is nothing more to do at this look.
        if connection is not None or (self._child and ended is None):
            return connection
        if self._child:
            self._child = 0
            self._killed += 1
            # One that was killed, by a limit of memory or a person, says nothing about the next one.
            if not ended or self._killed == MAX_KILLED:
                assert self._lock is not None
                # Else others only try in vain.
                write_word(self._lock, _FAILED)
                raise NotStartedError
        # Nobody listens, and this caller has no verifier on its way.
        if self._lock is None:
            self._lock = try_lock(self._place.lock)
            if self._lock is None:
                self._has_waited = True
                self._pass_over_stopped()
                return None
            # The previous holder's verifier ended by itself; another one would do the same.
            if self._has_waited and os.pread(self._lock, len(_FAILED), 0) == _FAILED:
                raise NotStartedError
            # Whatever it said was about another verifier.
            write_word(self._lock, b"%d" % os.getpid())
            # The previous holder's verifier may have come to listen since the attempt above.
            connection = _try_connect(self._place)
            if connection is not None:
                return connection
        self._child = start_detached(self._command, self._environ)
        return None

    def release(self) -> None:
        """Give the lock up: a verifier listens."""
        self._child = 0
        self.close()

    def close(self) -> None:
        """Give the lock up, unless this caller's verifier is on its way: there need not be one more."""
        if self._lock is not None and (not self._child or _how_ended(self._child) is not None):
            os.close(self._lock)
            self._lock = None

    def _pass_over_stopped(self) -> None:
        """Remove the lock file of a holder that starts nothing, so that the next look makes another."""
        # Two that remove it at the same time may start two verifiers: one of them finds the place claimed, and ends.
        if self._holder.looks_hung(named_in(self._place.lock), HUNG_SECONDS, gone_is_still=True):
            try:
                os.unlink(self._place.lock)  # noqa: PTH108 (pathlib is slow to import)
            except FileNotFoundError:
                return


def await_listener(
    place: Place, command: "Sequence[str]", environ: "Mapping[str, str]", end: float
) -> "_socket.socket | None":
    """Return a connection to a verifier, after starting one if need be; None where there will be none in time.

    Args:
        place: where it must listen; see ``Starter``.
        command: the same.
        environ: the same.
        end: when to give up, by ``time.monotonic``; one look is taken in any case.

    Raises:
        PlaceError: the directories cannot be made, or are not private, or another user listens.
        OSError: the lock cannot be opened, no process can be started, or connecting failed.
    """
    begun = time.monotonic()
    starter = Starter(place, command, environ)
    try:
        while True:
            connection = starter.look()
            if connection is not None or time.monotonic() >= end:
                return connection
            pause(begun, end)
    except NotStartedError:
        return None
    finally:
        starter.release()


def server_environment(environ: "Mapping[str, str]") -> dict[str, str]:
    """Return the environment of the resident verifier that a caller with ``environ`` starts: nothing but what keys it."""
    identity = {name: environ[name] for name in (BUILD_VARIABLE, *LOADER) if name in environ}
    # Nothing else of the caller's environment: the verifier answers other callers too.
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
            # A terminal's Ctrl-C, and the end of Ratify's process group, must not reach it.
            os.setsid()
            # It may outlive a directory that somebody wants to unmount.
            os.chdir("/")
            os.umask(0o077)
            # Ratify waits until all copies of its pipes are closed, not for the end of the process alone.
            detach_standard_files()
            close_from(3)
            os.execve(command[0], list(command), settings)  # noqa: S606 (no shell, by intent)
        finally:
            # As a shell says of what it cannot run. Never back into the caller's code, which goes on in the parent.
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
    # Not closed: the next file that is opened would get number 1, and a library's print would go into it.
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
        os.set_inheritable(descriptor, True)  # dup2 leaves close-on-exec where both are the same
    if nothing > 2:
        os.close(nothing)


def close_from(first: int, *kept: int) -> None:
    """Close every descriptor from ``first`` on, but those that are ``kept``."""
    # The ranges between those that are kept: closing one by one would be a system call for each.
    for descriptor in sorted(kept):
        os.closerange(first, descriptor)
        first = max(first, descriptor + 1)
    # The limit may be a billion, as in a container of Docker's, and older kernels lack close_range.
    os.closerange(first, min(os.sysconf("SC_OPEN_MAX"), MAX_DESCRIPTOR))


def _try_connect(place: Place) -> "_socket.socket | None":
    # A full backlog, or no answer in time: there is one that listens, and the next look may reach it.
    try:
        return connect(place, CONNECT_SECONDS)
    except (NobodyListensError, BlockingIOError, TimeoutError):
        return None


def _how_ended(child: int) -> bool | None:
    """Return None while a child runs; then reap it, and return True for one that was killed."""
    # WNOHANG: this is asked between two attempts to connect, and must not wait.
    try:
        ended, status = os.waitpid(child, os.WNOHANG)
    except ChildProcessError:  # the caller's parent ignores SIGCHLD, so the kernel reaped it
        return False
    # A number of 0 means that the child still runs.
    return os.WIFSIGNALED(status) if ended else None
