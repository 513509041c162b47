"""Starts, stops and asks a resident verifier, for the command line."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from slsa_verifier_plugin.errors import UsageError
from slsa_verifier_plugin.resident import protocol, spawn
from slsa_verifier_plugin.resident.channel import Channel, ClosedError, open_channel
from slsa_verifier_plugin.resident.client.held_process import HeldProcess
from slsa_verifier_plugin.resident.place import NobodyListensError, Place, PlaceError, find_place, peer_of
from slsa_verifier_plugin.resident.usage import usage_errors
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
    with usage_errors("start the resident verifier"):
        place = find_place(environ)
    now = _status_at(place, ASK_SECONDS)
    # Who listens and does not answer counts as not running: the report is what a person waits for.
    was_running = now.report is not None
    if not now.listens:
        with usage_errors("start the resident verifier"):
            connection = spawn.await_listener(place, command, environ, end)
        if connection is None:
            raise UsageError(
                "the resident verifier does not start; 'slsa-verifier-plugin resident serve' shows why"
            )
        # It was only to see that somebody listens; the status has a connection of its own.
        connection.close()
        now = _status_at(place, ASK_SECONDS)
    # It listens before it is warm; a person who starts it wants the next call to be quick.
    while now.report is not None and not now.report.get("warm") and time.monotonic() < end:
        time.sleep(_PAUSE)
        now = _status_at(place, ASK_SECONDS)
    # It listens and does not answer: while it keeps the place no other one can serve there.
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
    try:
        with usage_errors("reach the resident verifier"):
            channel = open_channel(find_place(environ), time.monotonic() + ASK_SECONDS)
    except NobodyListensError:
        return Stopped(None)
    with closing(channel):
        pid = peer_of(channel.connection)[0]
        if pid <= 1:
            # The kernel names a peer of another namespace 0; 1 is a container's own init, which nothing here starts.
            raise UsageError("the resident verifier runs in another process namespace; stop it there")
        with usage_errors(f"watch process {pid}"):
            try:
                # Held before it is told to stop: once it has ended, its number may be another process's.
                process = HeldProcess(pid)
            except ProcessLookupError:
                return Stopped(pid)
        with closing(process):
            return Stopped(pid, killed=not _stop(channel, process, end))


def _stop(channel: Channel, process: HeldProcess, end: float) -> bool:
    """Make a process end; return True if it did of itself."""
    try:
        channel.send(protocol.frame(protocol.STOP), time.monotonic() + ASK_SECONDS)
        answered = channel.receive(time.monotonic() + ASK_SECONDS)[0] == protocol.ANSWER
    # It hangs, or is of another version: no answer will come.
    except (TimeoutError, ClosedError, protocol.FrameError):
        answered = False
    # One that has answered finishes its calls first; one that has not is not waited for.
    if process.has_ended(end - time.monotonic() if answered else 0.0):
        return True
    # SIGKILL ends a stopped process too. What remains is one within a call of the kernel, or a frozen one.
    process.kill()
    if not process.has_ended(ASK_SECONDS):
        raise UsageError(f"process {process.pid} cannot be killed")
    return False


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
    with closing(channel):
        pid = peer_of(channel.connection)[0]
        # Whatever goes wrong from here on, there is a process, and its number helps a person.
        try:
            channel.send(protocol.frame(protocol.STATUS), end)
            kind, body = channel.receive(end)
            report = loads(body) if kind == protocol.STATUS_REPLY else None
        except (TimeoutError, ClosedError, protocol.FrameError, JsonError):
            report = None
    # Any process of this user may listen there.
    if not isinstance(report, dict):
        return ResidentStatus(directory, True, pid, problem="a process listens, but does not answer")
    return ResidentStatus(directory, True, pid, report)
