"""A fork of the resident verifier that does one kind of work for it, so that a second processor is of use.

An interpreter runs one thread at a time. The fork is there for speed alone: whatever becomes of it, ``ask`` returns None and
the caller does the work itself.
"""

from __future__ import annotations

import contextlib
import gc
import os
import queue
import select
import signal
import socket
import threading
import warnings
from collections.abc import Callable, Sequence
from typing import NoReturn

from slsa_verifier_plugin.resident.isolate import end_child
from slsa_verifier_plugin.resident.spawn import close_from, detach_standard_files

MAX_REQUEST = 128 << 10
"""Bytes of a request; what is larger is done by whoever asks."""
MAX_REPLY = 64 << 10
# Measured: on busy processors one second was too short.
ASK_SECONDS = 2.0
"""How long a reply is waited for; a fork that is later than this is ended."""
READY_SECONDS = 2.0
"""How long a new fork has to close what it inherited; one that takes longer is ended."""
WORK_SECONDS = 10
"""Seconds of one piece of work after which the kernel ends the fork, should nobody be left to do it."""
_FAILED = b"-"

Work = Callable[[bytes], bytes]


class Fork:
    """Does work in a fork of this process. Its methods may be called from several threads at once.

    Args:
        prepare: called in the fork, returns what does the work: a request to a reply, neither of them empty; what that
            raises is no answer.
        lanes: requests that can be under way at once.
    """

    def __init__(self, prepare: Callable[[], Work], lanes: int) -> None:
        self._prepare = prepare
        self._lanes = lanes
        self._free: queue.SimpleQueue[socket.socket] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._process = 0
        self.state = "not started"
        """What there is to tell of the forked process."""

    def start(self) -> None:
        """Fork, where the system allows it.

        For a moment at which no other thread does anything that the work needs: it might hold a lock, and would hold it for
        ever in the fork. What is loaded by then is shared. It returns once the fork has closed what it inherited: one that is
        stopped before would keep the listening socket and its claim from the next verifier.
        """
        pairs: list[tuple[socket.socket, socket.socket]] = []
        try:
            # SEQPACKET keeps messages apart, so neither side needs frames.
            for _ in range(self._lanes):
                pairs.append(socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
            # A look at every object would make it a page of its own in each process.
            gc.freeze()
            with warnings.catch_warnings():
                # Python 3.12 warns of forks under threads: see above.
                warnings.simplefilter("ignore", DeprecationWarning)
                child = os.fork()
        except OSError as error:
            self.state = f"not started: {error.strerror}"
            for pair in pairs:
                for end in pair:
                    end.close()
            return
        # The fork never returns from here: it serves until its parent has ended.
        if child == 0:
            _serve(self._prepare, [theirs for _, theirs in pairs])
        for _, theirs in pairs:
            theirs.close()
        # Until here it holds the listening socket and the claim, which the next verifier would wait for in vain.
        if not _is_ready(pairs[0][0]):
            _end(child)
            self.state = f"ended: process {child} did not begin"
            for ours, _ in pairs:
                ours.close()
            return
        self._process, self.state = child, f"process {child}"
        # With a time limit, so that every ask ends: a reply that is late is of no use.
        for ours, _ in pairs:
            ours.settimeout(ASK_SECONDS)
            self._free.put(ours)

    def ask(self, request: bytes) -> bytes | None:
        """Return the reply to a request; None for one that is too large, or if none came."""
        # Few bundles are larger, and what does not fit into the socket's buffer would block the sender.
        if len(request) > MAX_REQUEST:
            return None
        # Never waited for: while all lanes are in use, a second processor is as well, and the caller had better work itself.
        try:
            lane = self._free.get_nowait()
        except queue.Empty:
            return None
        try:
            lane.send(request)
            reply = lane.recv(MAX_REPLY)
        except OSError:
            reply = b""
        if not reply:
            # Killed, or stuck: a reply that comes after all must not be taken for another's.
            lane.close()
            self.end()
            return None
        self._free.put(lane)
        return None if reply == _FAILED else reply

    def end(self) -> None:
        """End the forked process."""
        # Several callers may find out at once; the number is let go of before it can become another process's.
        with self._lock:
            if self._process:
                _end(self._process)
                self._process, self.state = 0, f"ended: no answer of process {self._process}"
        while True:
            try:
                self._free.get_nowait().close()
            except queue.Empty:
                return


def _end(child: int) -> None:
    # This process lives on, and would keep one that is slow to die as a zombie.
    if not end_child(child):
        # Without threads to be had the zombie stays, and nothing else.
        with contextlib.suppress(RuntimeError):
            threading.Thread(target=os.waitpid, args=(child, 0), name="reaper", daemon=True).start()


def _is_ready(lane: socket.socket) -> bool:
    """Return True once the fork has closed what it inherited; False where it ends or takes too long."""
    lane.settimeout(READY_SECONDS)
    try:
        return bool(lane.recv(1))
    except OSError:
        return False


def _serve(prepare: Callable[[], Work], lanes: Sequence[socket.socket]) -> NoReturn:
    """Answer requests until the other ends are closed, as they are once the parent has ended.

    Args:
        prepare: returns what does the work.
        lanes: the fork's ends; on the first it says that it is ready.
    """
    try:
        # A group of its own, but in the parent's session: when the parent ends, the kernel then sends a stopped process
        # SIGHUP and SIGCONT (POSIX, "orphaned process group"), and it ends too.
        os.setpgid(0, 0)
        # The parent's handlers would write into the parent's waker.
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        # The listener, its claim and the log are the parent's alone.
        close_from(3, *(end.fileno() for end in lanes))
        detach_standard_files()
        lanes[0].send(b"r")
        # After the sign: the parent does not wait for what this loads.
        work = prepare()
        by_descriptor = {lane.fileno(): lane for lane in lanes}
        poller = select.poll()
        for descriptor in by_descriptor:
            poller.register(descriptor, select.POLLIN)
        while True:
            for descriptor, _ in poller.poll():
                request = by_descriptor[descriptor].recv(MAX_REQUEST)
                # Of a socket of whole messages nothing is the end: the parent has closed its side, or is gone.
                if not request:
                    os._exit(0)
                # With the default action, which ends the process even within C code.
                signal.alarm(WORK_SECONDS)
                by_descriptor[descriptor].send(_worked(work, request))
                signal.alarm(0)
    # Whoever asks sees the end of the connection, and does the work itself.
    finally:
        os._exit(1)


def _worked(work: Work, request: bytes) -> bytes:
    try:
        reply = work(request)
    except Exception:  # noqa: BLE001 (whoever asked does it again, and sees what is wrong)
        return _FAILED
    # Nothing would mean the end of the connection to whoever asked.
    return reply if 0 < len(reply) <= MAX_REPLY else _FAILED
