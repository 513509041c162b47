"""Runs the resident verifier: claims its place, listens there, and serves until there is a reason to end.

One thread accepts, reads and keeps house (``loop``, ``watchdog``); workers verify (``pool``). See ``docs/resident-protocol.md``,
"The server".
"""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import socket
import stat
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

from slsa_verifier_plugin.errors import UsageError
from slsa_verifier_plugin.locks import move_aside, named_in, try_lock, write_word
from slsa_verifier_plugin.resident.channel import HUNG_SECONDS, ProcessWatch
from slsa_verifier_plugin.resident.client.end_hung import end_claimant
from slsa_verifier_plugin.resident.place import (
    NobodyListensError,
    Place,
    PlaceError,
    check_directories,
    connect,
    find_place,
)
from slsa_verifier_plugin.resident.server.errorlog import ErrorLog
from slsa_verifier_plugin.resident.server.handler import CallHandler
from slsa_verifier_plugin.resident.server.housekeeping import MOST_DESCRIPTORS, widen_descriptor_table
from slsa_verifier_plugin.resident.server.loop import Loop
from slsa_verifier_plugin.resident.server.server_settings import ServerSettings, read_settings
from slsa_verifier_plugin.resident.usage import usage_errors
from slsa_verifier_plugin.text import plain, quoted

CLAIM_SECONDS = 3.0
"""How long a new verifier waits for one that is ending to give up its claim."""
BACKLOG = 1024
_CLAIM_PAUSE = 0.02
_FRESH_NAME = "socket.new"
STACK_BYTES = 1 << 20
"""Of each thread's stack: there may be hundreds, and 8 MiB each are more than a limit on addresses may allow."""
SWITCH_SECONDS = 0.001
"""How long a thread keeps the interpreter that others want. The one that accepts calls wants it a few times for each, and with
the interpreter's own five milliseconds it may wait for seconds where many call at once."""
LIMITS = (
    (resource.RLIMIT_NOFILE, 64, MOST_DESCRIPTORS, "open files (nofile)"),
    # A few hundred threads have a megabyte of stack each.
    (resource.RLIMIT_AS, 512 << 20, 1 << 30, "bytes of addresses (as)"),
    (resource.RLIMIT_DATA, 512 << 20, 1 << 30, "bytes of data (data)"),
    # It would be killed among the calls of others, again and again.
    (resource.RLIMIT_CPU, 3600, 1 << 30, "seconds of a processor (cpu)"),
)
"""Limits that this process has from its starter, the least that will do, and what it may want."""


def serve(
    service: CallHandler,
    environ: Mapping[str, str],
    settings: ServerSettings | None = None,
    echo: Callable[[str], None] | None = None,
) -> str:
    """Serve calls until there is a reason to end, and return it; only for the main thread of a process.

    The caller ends the process with ``os._exit`` right after: a worker that loops must not keep it alive.

    Args:
        service: does the work.
        environ: the process's environment; decides the socket's place.
        settings: limits; those of the environment if None.
        echo: gets a line for each event worth a person's attention, for a verifier in the foreground.

    Raises:
        UsageError: the directories are not private to this user or cannot be made, the socket cannot be made, or
            another resident verifier serves here.
    """
    configured, problems = read_settings(environ)
    _take_limits()
    widen_descriptor_table()
    # Undone in the opposite order: the claim is given up last, when nothing of this verifier is there any more.
    with ExitStack() as undo:
        with usage_errors("use the resident verifier's directory"):
            place = find_place(environ)
            check_directories(place, make=True)
            claim = _claim(place)
            undo.callback(os.close, claim)
        # Before anything heavy is imported: the first callers wait on the socket, and not on the lock.
        with usage_errors(f"make the socket {quoted(place.socket)}"):
            listener = listen(place)
        log = undo.enter_context(closing(ErrorLog(place.log, echo)))
        # Only now is there a log to say it in.
        for problem in problems:
            log.add(problem)
        if echo is not None:
            echo(f"listening on {plain(place.socket)}")
        release = partial(fcntl.flock, claim, fcntl.LOCK_UN)
        loop = Loop(service, settings or configured, place.socket, listener, log, release)
        undo.callback(threading.stack_size, threading.stack_size(STACK_BYTES))
        # Whoever starts it may have blocked signals, which is inherited: SIGTERM must end it, and reach what it starts.
        undo.callback(
            signal.pthread_sigmask, signal.SIG_SETMASK, signal.pthread_sigmask(signal.SIG_SETMASK, ())
        )
        undo.callback(sys.setswitchinterval, sys.getswitchinterval())
        sys.setswitchinterval(SWITCH_SECONDS)
        # A signal writes into the loop's waker: else the loop would see it only with the next connection.
        undo.callback(
            signal.set_wakeup_fd, signal.set_wakeup_fd(loop.waker.fileno(), warn_on_full_buffer=False)
        )
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            handler = signal.signal(number, lambda received, _: loop.end(signal.Signals(received).name))
            undo.callback(signal.signal, number, handler)
        reason = loop.run()
    if echo is not None:
        echo(f"ended: {reason}")
    return reason


def listen(place: Place) -> socket.socket:
    """Return a listening socket at a place, after replacing whatever was there.

    It appears under its name only once it listens, so no caller ever finds one that refuses it.

    Raises:
        OSError: it cannot be made there.
    """
    # The directory is changed for a moment; the descriptor finds the way back even where the path is gone.
    before = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        # A relative name: the longer one of the fresh socket might not fit where the final one does.
        os.chdir(place.directory)
        try:
            for name in (_FRESH_NAME, "socket"):
                # The rename below replaces anything else.
                if stat.S_ISDIR(_mode_of(name)):
                    move_aside(name)
            # Left by a verifier that was killed between bind and rename.
            Path(_FRESH_NAME).unlink(missing_ok=True)
            listener.bind(_FRESH_NAME)
            # bind() uses the umask, which a person who runs it in the foreground chose.
            os.chmod(_FRESH_NAME, stat.S_IRUSR | stat.S_IWUSR)  # noqa: PTH101 (relative to this directory)
            listener.listen(BACKLOG)
            os.rename(_FRESH_NAME, "socket")  # noqa: PTH104
        finally:
            os.fchdir(before)
    except BaseException:
        listener.close()
        raise
    finally:
        os.close(before)
    listener.setblocking(False)
    return listener


def _mode_of(name: str) -> int:
    """Return the mode of what has a name, 0 for nothing."""
    try:
        return os.lstat(name).st_mode
    except FileNotFoundError:
        return 0


def _claim(place: Place) -> int:
    """Return a descriptor that holds the claim to a place: one verifier at a time serves there.

    Raises:
        UsageError: another one holds it.
        OSError: the file cannot be made.
    """
    end = time.monotonic() + CLAIM_SECONDS
    watch = ProcessWatch()
    while True:
        # Opened anew each time: the file of a frozen verifier, which cannot give it up, is removed by whoever ends it.
        claim = try_lock(place.claim)
        if claim is not None:
            # Between open and flock the file may have been removed: then it is a lock that nobody else will ever ask for.
            if _is_there(claim, place.claim):
                # Only who has signed its claim is ever ended by callers (``end_hung``).
                write_word(claim, b"%d" % os.getpid())
                return claim
            os.close(claim)
        # One that listens will not end for this one; one that does not may be about to end.
        if _listens(place) or time.monotonic() >= end:
            raise UsageError(
                "another resident verifier serves here; see 'slsa-verifier-plugin resident status', or stop it first"
            )
        # Callers watch the one that listens. One that was stopped before it does, or after, would keep its claim for ever.
        process = named_in(place.claim)
        if watch.looks_hung(process, HUNG_SECONDS, gone_is_still=True):
            try:
                if watch.used is None:
                    # Held by who is no verifier: each writes its number. A server that serves ends where its claim is gone.
                    os.unlink(place.claim)  # noqa: PTH108
                elif _has_open(process, place.claim):
                    end_claimant(watch, place)
            except OSError:
                watch = ProcessWatch()  # it has ended, or is not to be ended
        time.sleep(_CLAIM_PAUSE)


def _has_open(process: int, path: str) -> bool:
    """Return True where a process has a file open: its number in the claim may be one of another namespace of processes."""
    try:
        file = Path(path).stat()
        return any(os.path.samestat(file, opened.stat()) for opened in Path(f"/proc/{process}/fd").iterdir())
    except OSError:
        return False


def _is_there(claim: int, path: str) -> bool:
    """Return True while an open file is the one at its path."""
    try:
        return os.path.samestat(os.fstat(claim), Path(path).stat())
    # Whoever ended a frozen verifier has removed its file.
    except FileNotFoundError:
        return False


def _listens(place: Place) -> bool:
    try:
        connect(place, 0.25).close()
    # Whatever the reason, no caller could reach one here.
    except (NobodyListensError, PlaceError, OSError):
        return False
    return True


def _take_limits() -> None:
    """Allow this process what it may want, up to what it may allow itself.

    Raises:
        UsageError: that is too little to serve others. Their limits may be wider, and each of them would be denied.
    """
    for number, least, most, what in LIMITS:
        soft, hard = resource.getrlimit(number)
        wanted = most if hard == resource.RLIM_INFINITY else min(most, hard)
        if wanted < least:
            raise UsageError(
                f"a resident verifier may have {hard} {what} here, expected {least} at least; raise the limit (ulimit), or leave "
                "each call to a process of its own"
            )
        # The soft limit is often 1024 files for the sake of select(2), which nothing here uses.
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(number, (wanted, hard))
