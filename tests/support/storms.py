"""The worst days of a plugin: each calls it many times under one fault, and says what came of it (``docs/life-of-a-call.md``)."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.embedded_registry import EmbeddedRegistry
from tests.support.load import CONTROLLERS, PROMISE, Crowd, Done, Group, Images, Outcome, Sampler
from tests.support.processes import kill, wait_until
from tests.support.resident import ROOT

MIB = 1 << 20
CALLERS = 32
POD = 512 * MIB
"""Bytes of the Pod that runs the plugin (``docs/operations/sizing.md``)."""


@dataclass
class Storm:
    """One plugin, on some processors, with a registry of good images.

    Attributes:
        group: where all of it runs.
        images: good ones.
        crowd: its callers.
    """

    group: Group
    images: Images
    crowd: Crowd

    def servers(self) -> list[int]:
        """Return the resident verifiers that run, each before the process that verifies signatures for it."""
        found = []
        for pid in self.group.pids():
            with contextlib.suppress(OSError):
                if b"\0serve\0" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(pid)
        return sorted(found)

    def warm(self) -> None:
        """Have a resident verifier that has answered, and does nothing at the moment."""
        end = time.monotonic() + 60
        while not self.crowd.call_at_once(self.images.unseen(1)).right:
            assert time.monotonic() < end, "no call is answered"
        time.sleep(0.3)

    def first(self, count: int = CALLERS) -> Outcome:
        """The first calls ever."""
        return self.crowd.call_at_once(self.images.unseen(count))

    def warm_and(self, count: int) -> Outcome:
        """So many calls at once, where a resident verifier has answered before."""
        self.warm()
        return self.first(count)

    def stopped(self, count: int = CALLERS) -> Outcome:
        """The resident verifier was stopped just before."""
        self.warm()
        [server] = self.servers()[:1]
        os.kill(server, signal.SIGSTOP)
        outcome = self.crowd.call_at_once(self.images.unseen(count))
        assert server not in self.servers(), "the stopped one is still there"
        return outcome

    def frozen(self, count: int = CALLERS) -> Outcome:
        """The resident verifier's control group was frozen just before, and stays so."""
        self.warm()
        before = self.servers()
        with freezer() as freeze:
            freeze(before)
            outcome = self.crowd.call_at_once(self.images.unseen(count))
        # What was frozen could not end before.
        wait_until(lambda: not set(before) & set(self.servers()))
        return outcome

    def killed(self, every: float, seconds: float, callers: int = 16) -> Outcome:
        """Callers that call again and again while every resident verifier is killed now and then."""
        self.warm()
        over = threading.Event()

        def kill() -> None:
            while not over.wait(every):
                for pid in self.servers():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)

        def call(number: int) -> list[Done]:
            folder = self.crowd.folder / f"caller-{number}"
            folder.mkdir()
            crowd = Crowd(self.group, self.crowd.command, self.crowd.environ, folder)
            found = []
            while time.monotonic() < end:
                found += crowd.call(self.images.unseen(1), sampler)
            return found

        end = time.monotonic() + seconds
        killer = threading.Thread(target=kill)
        killer.start()
        try:
            with Sampler(self.group) as sampler, ThreadPoolExecutor(callers) as pool:
                calls = [done for some in pool.map(call, range(callers)) for done in some]
        finally:
            over.set()
            killer.join()
        return Outcome(calls, sampler.peak_bytes, sampler.peak_beside)

    def end_servers(self) -> None:
        """Kill the resident verifiers."""
        for pid in self.servers():
            kill(pid)

    def bare(self, interpreter: str, count: int) -> float:
        """Return the seconds for which as many bare interpreters, started at once, keep the storm's processors busy."""
        crowd = Crowd(self.group, [interpreter, "-c", "pass"], self.crowd.environ, self.crowd.folder)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        with Sampler(self.group) as sampler:
            crowd.call(self.images.unseen(1) * count, sampler)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
        return used / self.group.processors

    def lacking(self, lack: str, mode: str) -> Done:
        """Call once where the caller, and what it starts, may have hardly any of something."""
        [request] = self.images.unseen(1)
        environ = {**self.crowd.environ, **request.environ, "SLSA_VERIFIER_RESIDENT": mode}
        with contextlib.ExitStack() as stack:
            enter = stack.enter_context(few_processes()) if lack == "pids" else LIMITS[lack]
            begun = time.monotonic()
            with request.stdin.open("rb") as stdin:
                done = subprocess.run(
                    self.crowd.command,
                    stdin=stdin,
                    env=environ,
                    capture_output=True,
                    preexec_fn=enter,
                    timeout=60,
                    check=False,
                )
            return Done(time.monotonic() - begun, done.returncode, done.stdout, done.stderr)

    def dead_registry(self, good: int, dead: int) -> Outcome:
        """As many calls for good images as for those of a registry that takes connections and says nothing."""
        self.warm()
        with socket.socket() as registry:
            registry.bind(("127.0.0.1", 0))
            registry.listen(2048)
            host = f"127.0.0.1:{registry.getsockname()[1]}"
            lost = [self.images.unreachable(host) for _ in range(dead)]
            mixed = [
                request for pair in zip(self.images.unseen(good), lost, strict=False) for request in pair
            ]
            return self.crowd.call_at_once(mixed)


@dataclass(frozen=True)
class Promise:
    """A row of the page.

    Attributes:
        seconds: within which every call is answered.
        is_honest: True where a denial that may be otherwise later is as good as a success.
        launcher_mib: most memory of all processes with the launcher.
        python_mib: the same with the client in Python.
        is_beside: True where the callers in Python do not count, neither their memory nor what it takes to start them.
    """

    seconds: float
    is_honest: bool
    launcher_mib: int
    python_mib: int
    is_beside: bool


def _promises() -> dict[str, Promise]:
    page = (ROOT / "docs" / "life-of-a-call.md").read_text("utf-8")
    row = r"^\| ([^|]+) \| ([0-9.]+) s \| (all|honest) \| (\d+) MiB \| (\d+) MiB( beside the callers)? \|$"
    return {
        when: Promise(float(seconds), right == "honest", int(launcher), int(python), bool(beside))
        for when, seconds, right, launcher, python, beside in re.findall(row, page, re.MULTILINE)
    }


PROMISES = _promises()
"""The rows of the page's last table."""
ROWS: dict[str, Callable[[Storm], Outcome]] = {
    "32 first calls ever": lambda storm: storm.first(),
    "the resident verifier stopped, 32 calls": lambda storm: storm.stopped(),
    "the resident verifier stopped, 64 calls in 512 MiB": lambda storm: storm.stopped(64),
    "the resident verifier frozen, 32 calls": lambda storm: storm.frozen(),
    "the resident verifier killed every 3 s, 16 callers": lambda storm: storm.killed(3, 10),
    "the resident verifier killed every 0.5 s, 16 callers": lambda storm: storm.killed(0.5, 8),
    "600 calls at once, two processors": lambda storm: storm.warm_and(600),
    "600 calls at once, 300 of them to a dead registry, two processors": lambda storm: storm.dead_registry(
        300, 300
    ),
}
"""What is done for each of them."""


def processors_of(row: str) -> int:
    """Return how many processors a row is about."""
    return 2 if "two processors" in row else 1


def limit_of(row: str) -> int:
    """Return the bytes of memory that a row is about; 0 for no limit."""
    return POD if "512 MiB" in row else 0


def hold(promise: Promise, outcome: Outcome, memory: int, mib: int, bare: float = 0.0) -> None:
    """Fail unless a promise was kept.

    Args:
        promise: the row.
        outcome: what came of it.
        memory: bytes that were taken at most; 0 where that was not measured.
        mib: that may be.
        bare: seconds for which the callers' own interpreters keep the processors busy before any of them has run a line of ours.
    """
    right = all(done.is_honest if promise.is_honest else done.is_right for done in outcome.calls)
    assert right, outcome
    assert outcome.slowest <= promise.seconds + bare, outcome
    assert memory <= mib * MIB, outcome


LIMITS: Mapping[str, Callable[[], None]] = {
    "fsize": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)),
    "nofile": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (10, 10)),
}
LACKS = (*LIMITS, "pids")
"""What a caller may lack: room in files, descriptors (10), processes (2)."""
_NAMED = {"nofile": "descriptors", "pids": "processes"}


def expect_honest(done: Done, lack: str) -> None:
    """Fail unless a call under a lack was answered well and in time."""
    assert done.seconds < PROMISE
    if lack == "fsize" or done.is_right:
        assert done.is_right, done
        return
    assert done.verdict["extensions"]["transient"] is True, done
    assert _NAMED[lack] in done.verdict["message"], done


@contextlib.contextmanager
def few_processes() -> Iterator[Callable[[], None]]:
    """Provide what lets a process, and all that it starts, be two at most."""
    path = CONTROLLERS / "pids" / f"slsa-test-{os.getpid()}"
    try:
        path.mkdir()
        (path / "pids.max").write_text("2")
    except OSError:
        pytest.skip("this machine lets no test limit processes")

    def enter() -> None:
        (path / "cgroup.procs").write_text(str(os.getpid()))

    try:
        yield enter
    finally:
        for pid in (path / "cgroup.procs").read_text().split():
            kill(int(pid))
        wait_until(lambda: not (path / "cgroup.procs").read_text().split())
        path.rmdir()


@contextlib.contextmanager
def storm(command: Sequence[str], processors: int = 1, limit: int = 0, **environ: str) -> Iterator[Storm]:
    """Provide a storm; whatever runs in it is killed at the end.

    Args:
        command: the plugin.
        processors: that all of it may use; 0 for all of the machine's.
        limit: bytes of memory that all of it may use, where this machine lets a test make a control group; 0 for any.
        environ: more variables.
    """
    with tempfile.TemporaryDirectory(prefix="ld") as name, Group(processors, limit) as group:
        folder = Path(name)
        variables = {
            "HOME": name,
            "PATH": os.environ["PATH"],
            "SLSA_VERIFIER_DIR": f"{name}/d",
            "SLSA_VERIFIER_REFRESH_HOURS": "0",
            **environ,
        }
        with EmbeddedRegistry() as registry:
            yield Storm(group, Images(folder, registry), Crowd(group, command, variables, folder))


def can_freeze() -> bool:
    """Return True where this machine lets a test freeze processes."""
    try:
        with freezer():
            return True
    except OSError:
        return False


@contextlib.contextmanager
def freezer() -> Iterator[Callable[[Sequence[int]], None]]:
    """Provide what freezes processes until the end."""
    path = CONTROLLERS / "freezer" / f"slsa-test-{os.getpid()}"
    path.mkdir()

    def freeze(pids: Sequence[int]) -> None:
        for pid in pids:
            (path / "cgroup.procs").write_text(str(pid))
        (path / "freezer.state").write_text("FROZEN")

    try:
        yield freeze
    finally:
        (path / "freezer.state").write_text("THAWED")
        wait_until(lambda: not (path / "cgroup.procs").read_text().split() or _moved(path))
        path.rmdir()


def _moved(path: Path) -> bool:
    """Move what is left to the group above, and return True once nothing is."""
    for pid in (path / "cgroup.procs").read_text().split():
        with contextlib.suppress(OSError):
            (path.parent / "cgroup.procs").write_text(pid)
    return not (path / "cgroup.procs").read_text().split()
