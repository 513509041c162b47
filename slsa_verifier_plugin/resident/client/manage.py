"""Starting, stopping and asking a resident verifier, for the command line."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from slsa_verifier_plugin.errors import UsageError
from slsa_verifier_plugin.resident import protocol, spawn
from slsa_verifier_plugin.resident.channel import Channel, ClosedError, open_channel
from slsa_verifier_plugin.resident.place import NobodyListensError, Place, PlaceError, find_place, peer_of
from slsa_verifier_plugin.strict_json import JsonError, loads
from slsa_verifier_plugin.text import plain, quoted

ASK_SECONDS = 2.0
_PAUSE = 0.02


@dataclass(frozen=True, slots=True)
class ResidentStatus:
    """What there is to know about the resident verifier of this user, build and environment.

    Attributes:
        directory: its directory; may be missing.
        listens: True if a process accepts connections.
        pid: that process, None for none.
        report: what it says about itself (``report.report``); None if it does not answer.
        problem: why it does not listen or answer, or why there cannot be one; empty where all is well.
    """

    directory: str
    listens: bool = False
    pid: int | None = None
    report: Mapping[str, Any] | None = field(default=None)
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Started:
    """Outcome of ``start``.

    Attributes:
        was_running: True if there was nothing to start.
        status: how it stands now; its report is never None.
    """

    was_running: bool
    status: ResidentStatus


@dataclass(frozen=True, slots=True)
class Stopped:
    """Outcome of ``stop``.

    Attributes:
        pid: the process that has ended; None if nobody listened.
        killed: True if it did not answer, or not end in time, and was killed.
    """

    pid: int | None
    killed: bool = False


def status(environ: Mapping[str, str], seconds: float = ASK_SECONDS) -> ResidentStatus:
    """Return the state of the resident verifier that callers with this environment would use.

    Args:
        environ: a caller's environment.
        seconds: how long an answer is waited for.
    """
    try:
        place = find_place(environ)
    except PlaceError as error:
        return ResidentStatus(plain(error.path), problem=error.problem)
    return _status_at(place, seconds)


def start(environ: Mapping[str, str], command: Sequence[str], seconds: float = 10.0) -> Started:
    """Start the resident verifier unless it runs, and wait until it is warm.

    Args:
        environ: its environment.
        command: runs it in the foreground; an absolute path and arguments.
        seconds: how long that may take.

    Raises:
        UsageError: it does not listen, answer or become warm in time.
    """
    end = time.monotonic() + seconds
    place = _place(environ)
    now = _status_at(place, ASK_SECONDS)
    was_running = now.report is not None
    if not now.listens:
        try:
            connection = spawn.await_listener(place, command, environ, end)
        except PlaceError as error:
            raise UsageError(f"{error.problem}: {quoted(error.path)}") from error
        except OSError as error:
            raise UsageError(f"cannot start the resident verifier: {plain(error.strerror)}") from error
        if connection is None:
            raise UsageError(
                "the resident verifier does not start; 'slsa-verifier-plugin resident serve' shows why"
            )
        connection.close()
        now = _status_at(place, ASK_SECONDS)
    while now.report is not None and not now.report.get("warm") and time.monotonic() < end:
        time.sleep(_PAUSE)
        now = _status_at(place, ASK_SECONDS)
    if now.report is None:
        raise UsageError(f"{now.problem}; stop it first")
    if not now.report.get("warm"):
        raise UsageError(f"the resident verifier is not ready after {seconds:g} s; look at its status")
    return Started(was_running, now)


def stop(environ: Mapping[str, str], seconds: float = 10.0) -> Stopped:
    """Stop the resident verifier after the calls that it has accepted; kill it if it does not answer or end.

    Args:
        environ: a caller's environment.
        seconds: how long it may take to end.

    Raises:
        UsageError: the place must not be used, or the process cannot be ended.
    """
    end = time.monotonic() + seconds
    place = _place(environ)
    try:
        channel = open_channel(place, time.monotonic() + ASK_SECONDS)
    except NobodyListensError:
        return Stopped(None)
    except PlaceError as error:
        raise UsageError(f"{error.problem}: {quoted(error.path)}") from error
    except OSError as error:
        raise UsageError(f"cannot reach the resident verifier: {plain(error)}") from error
    try:
        process = ProcessHandle(peer_of(channel.connection)[0])
        try:
            return Stopped(process.pid, killed=not _stop(channel, process, end))
        finally:
            process.close()
    finally:
        channel.close()


class ProcessHandle:
    """Another process, held by a descriptor so that its number can never mean a later one."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        if pid <= 1:
            raise UsageError("the resident verifier runs in another process namespace; stop it there")
        try:
            self._descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            self._descriptor = -1
        except OSError as error:
            raise UsageError(f"cannot watch process {pid}: {plain(error.strerror)}") from error

    def has_ended(self, seconds: float) -> bool:
        """Wait for its end; return whether it came."""
        if self._descriptor < 0:
            return True
        waiter = select.poll()
        waiter.register(self._descriptor, select.POLLIN)
        return bool(waiter.poll(max(seconds, 0.0) * 1000))

    def kill(self) -> None:
        """Kill it, unless it has ended."""
        try:
            signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)
        except ProcessLookupError:
            return

    def close(self) -> None:
        """Let go of it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)


def _stop(channel: Channel, process: ProcessHandle, end: float) -> bool:
    """Make a process end; return True if it did of itself."""
    try:
        channel.send(protocol.frame(protocol.STOP), time.monotonic() + ASK_SECONDS)
        answered = channel.receive(time.monotonic() + ASK_SECONDS)[0] == protocol.ANSWER
    except (TimeoutError, ClosedError, protocol.FrameError):
        answered = False
    if process.has_ended(end - time.monotonic() if answered else 0.0):
        return True
    process.kill()
    if not process.has_ended(ASK_SECONDS):
        raise UsageError(f"process {process.pid} cannot be killed")
    return False


def _place(environ: Mapping[str, str]) -> Place:
    try:
        return find_place(environ)
    except PlaceError as error:
        raise UsageError(f"{error.problem}: {quoted(error.path)}") from error


def _status_at(place: Place, seconds: float) -> ResidentStatus:
    directory = plain(place.directory)
    end = time.monotonic() + seconds
    try:
        channel = open_channel(place, end)
    except NobodyListensError:
        return ResidentStatus(directory, problem="no resident verifier runs")
    except PlaceError as error:
        return ResidentStatus(directory, problem=f"{error.problem}: {quoted(error.path)}")
    except OSError as error:
        return ResidentStatus(directory, problem=f"the resident verifier cannot be reached: {plain(error)}")
    try:
        pid = peer_of(channel.connection)[0]
        try:
            channel.send(protocol.frame(protocol.STATUS), end)
            kind, body = channel.receive(end)
            report = loads(body) if kind == protocol.STATUS_REPLY else None
        except (TimeoutError, ClosedError, protocol.FrameError, JsonError):
            report = None
        if not isinstance(report, dict):
            return ResidentStatus(directory, True, pid, problem="a process listens, but does not answer")
        return ResidentStatus(directory, True, pid, report)
    finally:
        channel.close()
