"""Many callers at once: what each of them got and when, and the memory of them all together.

All of the product runs on the processors that a ``Group`` names, in a memory control group of its own where this machine lets
a test make one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import select
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.embedded_registry import EmbeddedRegistry
from tests.support.resident import ROOT

PROMISE = 4.5
"""Seconds from its start within which every call prints its answer (``docs/life-of-a-call.md``)."""
TESTDATA = ROOT / "testdata"
CONTROLLERS = Path("/sys/fs/cgroup")
_SAMPLE_SECONDS = 0.02


@dataclass(frozen=True)
class Done:
    """One call: seconds from its start to its end, exit status, and what it printed."""

    seconds: float
    status: int
    stdout: bytes
    stderr: bytes

    @property
    def verdict(self) -> Mapping[str, Any]:
        """What was printed, which must be one JSON object of Ratify's contract."""
        assert self.status == 0, self
        value = json.loads(self.stdout)
        assert isinstance(value, dict), self
        assert isinstance(value["isSuccess"], bool), self
        return value

    @property
    def is_right(self) -> bool:
        """True for a success; the image is a good one."""
        return self.verdict["isSuccess"] is True

    @property
    def is_honest(self) -> bool:
        """True for a success, or a denial that says that it may be otherwise later."""
        return self.is_right or self.verdict["extensions"]["transient"] is True


@dataclass
class Outcome:
    """What became of many calls, and the most memory that all processes took meanwhile."""

    calls: list[Done]
    peak_bytes: int = 0
    peak_beside: int = 0
    """The same without the callers themselves."""

    @property
    def slowest(self) -> float:
        return max(call.seconds for call in self.calls)

    @property
    def right(self) -> int:
        return sum(call.is_right for call in self.calls)

    def __str__(self) -> str:
        sentences = sorted({call.verdict["message"][:160] for call in self.calls if not call.is_right})
        warnings = sorted({call.stderr[:100] for call in self.calls if call.stderr})
        return (
            f"{self.right} of {len(self.calls)} right, slowest {self.slowest:.2f} s, {self.peak_bytes >> 20} MiB "
            f"({self.peak_beside >> 20} beside the callers); "
            f"{sentences} {warnings}"
        )


class Group:
    """The processors and the memory of everything that is started in it.

    Other work on this machine is not what is measured: where it may, the group takes precedence over that.

    Args:
        processors: how many it may use, 0 for all.
        limit: bytes of memory, 0 for no limit.
    """

    def __init__(self, processors: int = 1, limit: int = 0) -> None:
        every = sorted(os.sched_getaffinity(0))
        self._mask = set(every[:processors]) if processors else set(every)
        self.processors = len(self._mask)
        name = f"slsa-test-{os.getpid()}-{id(self):x}"
        self._paths: dict[str, Path] = {}
        for controller in ("cpu", "memory"):
            path = CONTROLLERS / controller / name
            with contextlib.suppress(OSError):
                path.mkdir()
                self._paths[controller] = path
        if "cpu" in self._paths:
            # The test itself too: it may be the registry.
            self._test = CONTROLLERS / "cpu" / f"{name}-itself"
            self._test.mkdir()
            for path in (self._paths["cpu"], self._test):
                (path / "cpu.shares").write_text(str(1 << 18))
        if limit and self.is_limited:
            (self._paths["memory"] / "memory.limit_in_bytes").write_text(str(limit))

    @property
    def is_limited(self) -> bool:
        """False where this machine lets nobody make a memory group: nothing is measured then."""
        return "memory" in self._paths

    def __enter__(self) -> Self:
        if "cpu" in self._paths:
            (self._test / "cgroup.procs").write_text(str(os.getpid()))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if "cpu" in self._paths:
            (_home_group("cpu") / "cgroup.procs").write_text(str(os.getpid()))
            self._paths["itself"] = self._test
        for path in self._paths.values():
            end = time.monotonic() + 10
            while True:
                for pid in map(int, (path / "cgroup.procs").read_text().split()):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, 9)
                try:
                    path.rmdir()
                except OSError:
                    assert time.monotonic() < end, "the control group does not become empty"
                    time.sleep(0.02)
                else:
                    break

    def pids(self) -> list[int]:
        """What runs in it."""
        return [int(line) for line in (self._paths["memory"] / "cgroup.procs").read_text().split()]

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Let this thread, and what it starts, be in the group."""
        before = os.sched_getaffinity(0)
        thread = str(threading.get_native_id())
        for path in self._paths.values():
            (path / "tasks").write_text(thread)
        os.sched_setaffinity(0, self._mask)
        try:
            yield
        finally:
            os.sched_setaffinity(0, before)
            for controller in self._paths:
                home = self._test if controller == "cpu" else _home_group(controller)
                (home / "tasks").write_text(thread)

    def memory_bytes(self) -> int:
        """What the processes in it have of their own, and the pages of files that they have mapped."""
        if not self.is_limited:
            return 0
        lines = (line.split() for line in (self._paths["memory"] / "memory.stat").read_text().splitlines())
        stat = {name: int(value) for name, value in lines}
        return stat["rss"] + stat["mapped_file"]

    def memory_beside(self, callers: set[int]) -> int:
        """Return the memory of all processes in it but the callers: what each shares counts in part (PSS)."""
        if not self.is_limited:
            return 0
        return sum(map(proportional, set(self.pids()) - callers))


_OWN_COMMAND = Path("/proc/self/cmdline").read_bytes()


def proportional(pid: int) -> int:
    """Return a process's proportional set size in bytes; 0 where it has ended, or has not begun its own program."""
    try:
        # Until it executes, a caller that is being spawned has the memory of this process, which in a long run of tests is
        # more than all that is measured. Asked first: once it has executed, it does not go back.
        if Path(f"/proc/{pid}/cmdline").read_bytes() == _OWN_COMMAND:
            return 0
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))


_HOME_GROUPS = Path("/proc/self/cgroup").read_text() if Path("/proc/self/cgroup").exists() else ""


def _home_group(controller: str) -> Path:
    """Return the group that this process was in at first."""
    for line in _HOME_GROUPS.splitlines():
        _, names, path = line.split(":", 2)
        if controller in names.split(","):
            return CONTROLLERS / controller / path.strip("/")
    return CONTROLLERS / controller


class Sampler:
    """Measures the memory of a group, in a thread.

    Args:
        group: what is measured.
    """

    def __init__(self, group: Group) -> None:
        self.peak_bytes = self.peak_beside = 0
        self.callers: set[int] = set()
        self._group = group
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        count = 0
        while not self._over.wait(_SAMPLE_SECONDS):
            self.peak_bytes = max(self.peak_bytes, self._group.memory_bytes())
            count += 1
            if count % 5 == 0:  # this takes long
                self.peak_beside = max(self.peak_beside, self._group.memory_beside(self.callers))


@dataclass
class Crowd:
    """Callers of one plugin.

    Args:
        group: where they run, with what they start.
        command: the plugin.
        environ: their environment.
        folder: for what they print.
    """

    group: Group
    command: Sequence[str]
    environ: Mapping[str, str]
    folder: Path
    _number: int = field(default=0, init=False)

    def call_at_once(self, requests: Sequence[Request]) -> Outcome:
        """Start a caller for each request, and wait for all of them; measure memory meanwhile."""
        with Sampler(self.group) as sampler:
            calls = self.call(requests, sampler)
        return Outcome(calls, sampler.peak_bytes, sampler.peak_beside)

    def call(self, requests: Sequence[Request], sampler: Sampler) -> list[Done]:
        """Start a caller for each request, and wait for all of them."""
        ends = _Ends(len(requests))
        with self.group.entered():
            for request in requests:
                begun = time.monotonic()
                pid, out = self._start(request)
                sampler.callers.add(pid)
                ends.watch(pid, begun, out)
        return ends.collect()

    def _start(self, request: Request) -> tuple[int, Path]:
        self._number += 1
        out = self.folder / f"out-{self._number}"
        create = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, str(request.stdin), os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(out), create, 0o600),
            (os.POSIX_SPAWN_OPEN, 2, f"{out}.err", create, 0o600),
        ]
        environ = {**self.environ, **request.environ}
        return os.posix_spawn(self.command[0], list(self.command), environ, file_actions=actions), out


class _Ends:
    """Notes when each caller ends, in a thread of its own: starting many takes a while."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._poll = select.poll()
        self._waiting: dict[int, tuple[int, float, Path]] = {}
        self._done: list[Done] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def watch(self, pid: int, begun: float, out: Path) -> None:
        descriptor = os.pidfd_open(pid)
        self._waiting[descriptor] = (pid, begun, out)
        self._poll.register(descriptor, select.POLLIN)

    def collect(self) -> list[Done]:
        self._thread.join()
        assert len(self._done) == self._count, "no verdict within a minute"
        return self._done

    def _run(self) -> None:
        end = time.monotonic() + 60
        while len(self._done) < self._count and time.monotonic() < end:
            # Not for long: what is registered meanwhile is not waited for.
            for descriptor, _ in self._poll.poll(5):
                pid, begun, out = self._waiting.pop(descriptor)
                seconds = time.monotonic() - begun
                self._poll.unregister(descriptor)
                os.close(descriptor)
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                self._done.append(Done(seconds, code, out.read_bytes(), Path(f"{out}.err").read_bytes()))


@dataclass(frozen=True)
class Request:
    """What one caller is asked: a file for its standard input, and Ratify's variables."""

    stdin: Path
    environ: Mapping[str, str]


class Images:
    """A registry with good images, each in a repository of its own, so that none has been seen before.

    Args:
        folder: for the callers' standard input.
        registry: runs already.
    """

    def __init__(self, folder: Path, registry: EmbeddedRegistry) -> None:
        self._registry = registry
        self._number = 0
        self._stdin = folder / "stdin"
        value = json.loads((TESTDATA / "stdin-level-3.json").read_text())
        value["config"]["trustedRoot"]["path"] = str(TESTDATA / "trusted_root.json")
        self._stdin.write_text(json.dumps(value))

    def unseen(self, count: int) -> list[Request]:
        """Return requests for as many new images."""
        return [self._push() for _ in range(count)]

    def unreachable(self, host: str) -> Request:
        """Return a request for an image of another host."""
        self._number += 1
        digests = [
            hashlib.sha256(f"{host} {self._number} {what}".encode()).hexdigest()
            for what in ("image", "artifact")
        ]
        value = json.loads(self._stdin.read_text())
        value["referenceDesc"]["digest"] = f"sha256:{digests[1]}"
        stdin = self._stdin.with_name(f"stdin-{self._number}")
        stdin.write_text(json.dumps(value))
        return Request(stdin, _variables(f"{host}/dead@sha256:{digests[0]}"))

    def _push(self) -> Request:
        self._number += 1
        name = f"team/app-{self._number}"
        self._registry.storage.put_blob(name, b"{}")
        self._registry.storage.put_blob(name, (TESTDATA / "level-3.intoto.jsonl").read_bytes())
        image, _ = (
            self._registry.storage.put_manifest(name, (TESTDATA / f"manifest-{kind}.json").read_bytes())
            for kind in ("image-level-3", "level-3")
        )
        return Request(self._stdin, _variables(f"{self._registry.host}/{name}@{image.digest}"))


def _variables(subject: str) -> dict[str, str]:
    return {
        "RATIFY_VERIFIER_COMMAND": "VERIFY",
        "RATIFY_VERIFIER_SUBJECT": subject,
        "RATIFY_VERIFIER_VERSION": "1.0.0",
    }
