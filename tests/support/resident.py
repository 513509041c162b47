"""A resident verifier with a service that does what it is told, and callers of it.

Run as a program (``python -m tests.support.resident serve`` or ``call``) it is the verifier or one caller in a process of its
own. What the service does is in standard input: words of the form ``key=value``.
"""

from __future__ import annotations

import collections
import itertools
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

from slsa_verifier_plugin.environment import PASS_VARIABLE
from slsa_verifier_plugin.errors import UsageError
from slsa_verifier_plugin.permit import aside
from slsa_verifier_plugin.resident import protocol
from slsa_verifier_plugin.resident.client import client, manage
from slsa_verifier_plugin.resident.place import Place, find_place
from slsa_verifier_plugin.resident.protocol import Answer, Request
from slsa_verifier_plugin.resident.server.server import serve
from slsa_verifier_plugin.resident.server.server_settings import read_settings
from tests.support.processes import kill, wait_until

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = "TEST_RESIDENT_SETTINGS"
"""Variable with settings for the server, as JSON."""
START_DELAY = "TEST_RESIDENT_START_DELAY"
"""Variable with the seconds that the server lets pass before it listens."""
PIDS = "TEST_RESIDENT_PIDS"
"""Variable with the path of the file in which every server writes its process id, before anything else."""
PATIENT = "TEST_RESIDENT_PATIENT"
"""Variable that makes callers wait for longer than the product's, so that a loaded machine changes no outcome."""
WARM_SECONDS, WARM_FAILS = "TEST_RESIDENT_WARM_SECONDS", "TEST_RESIDENT_WARM_FAILS"
"""Variables that make warming up last for some seconds, or fail."""
SERVER_ENDS = "TEST_LAUNCHER_SERVER_ENDS"
"""Variable of ``launcher/tests/standin.py``."""
OWN = (0, b"own\n", b"")
"""Answer of a verification in the caller's own process."""
START = [sys.executable, "-m", "tests.support.resident", "serve"]


class ObedientService:
    """Does what standard input says: ``sleep=S``, ``until=PATH`` (works until that file is there), ``wait=S`` (as for a
    registry), ``budget=S``, ``raise=TEXT``, ``exit=N``,
    ``loop=1`` (Python code),
    ``hold=1`` (C code that keeps the interpreter lock), ``die=1`` (the whole process),
    ``leak=MIB``, ``cache=MIB``, ``size=BYTES``, ``junk=1``, ``echo=1``."""

    def __init__(self, warm_seconds: float = 0.0, warm_fails: bool = False) -> None:
        self.leaked: list[bytearray] = []
        self.cached: list[bytearray] = []
        self.registry = threading.Event()
        """Set to let whoever waits as for a registry go on."""
        self.trims = 0
        self._warm_seconds = warm_seconds
        self._warm_fails = warm_fails

    def handle(self, kind: int, request: Request, elapsed: float) -> Answer:
        return self._verify(request, elapsed) if kind == protocol.VERIFY else self._check(request)

    def _verify(self, request: Request, elapsed: float) -> Answer:
        _, command, subject, version, stdin = request
        orders = _orders(stdin)
        time.sleep(float(orders.get("sleep", "0")))
        if "until" in orders:
            wait_until(Path(orders["until"]).exists, 60)
        if "wait" in orders:
            with aside():
                self.registry.wait(float(orders["wait"]))
        if "raise" in orders:
            raise ValueError(orders["raise"])
        if "exit" in orders:
            sys.exit(int(orders["exit"]))
        if "die" in orders:
            os.kill(os.getpid(), signal.SIGKILL)
        while "loop" in orders:
            pass
        if "hold" in orders:
            collections.deque(itertools.repeat(0), maxlen=0)
        for name, kept in (("leak", self.leaked), ("cache", self.cached)):
            for _ in range(int(orders.get(name, "0"))):
                kept.append(bytearray(b"x" * (1 << 20)))
        if "junk" in orders:
            return None  # type: ignore[return-value]
        if "echo" in orders:
            return 3, repr((command, subject, version, stdin, elapsed)).encode(), b"warn: echoed\n"
        return 0, b"resident %d\n" % os.getpid() + b"x" * int(orders.get("size", "0")), b""

    def _check(self, request: Request) -> Answer:
        """Say what was asked; a name that begins with ``raise`` fails."""
        if (request[2] or b"").startswith(b"raise"):
            raise ValueError("secret")
        return 0, repr(request).encode(), b""

    def budget(self, stdin: bytes) -> float:
        return float(_orders(stdin).get("budget", "4"))

    def warm_up(self) -> None:
        time.sleep(self._warm_seconds)
        if self._warm_fails:
            raise RuntimeError("secret")

    def trim(self) -> None:
        self.trims += 1
        self.cached.clear()

    def status(self) -> Mapping[str, object]:
        return {"trims": self.trims}


def _orders(stdin: bytes) -> dict[str, str]:
    words = stdin.decode("latin-1").split()
    return dict(word.split("=", 1) for word in words if "=" in word)


class World:
    """A directory, an environment, and every server that is started in it; they are killed at the end.

    Args:
        settings: settings of the servers.
        patient: False for callers that wait exactly as long as the product's.
        environ: more variables.
    """

    def __init__(
        self, settings: Mapping[str, Any] | None = None, *, patient: bool = True, **environ: str
    ) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="rv"))
        self.home.chmod(0o755)
        self.base = self.home / "d"
        self.start = START
        self.pids_file = self.home / "pids"
        self.pids_file.touch(0o666)
        self.pids_file.chmod(0o666)
        # Others may work in this checkout while the tests run; the test of that look sets its own.
        settings = {"source_seconds": 3600.0, "tick_seconds": 0.1, **(settings or {})}
        self.environ = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "SLSA_VERIFIER_DIR": str(self.base),
            PIDS: str(self.pids_file),
            SETTINGS: json.dumps(settings),
            PASS_VARIABLE: ",".join(
                (PIDS, SETTINGS, START_DELAY, PATIENT, WARM_SECONDS, WARM_FAILS, SERVER_ENDS)
            ),
            **environ,
        }
        if patient:
            self.environ[PATIENT] = "1"

    def __enter__(self) -> Self:
        self._before = protocol.ACCEPT_SECONDS, protocol.START_SECONDS, client.CALL_SECONDS
        be_patient(self.environ)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        protocol.ACCEPT_SECONDS, protocol.START_SECONDS, client.CALL_SECONDS = self._before
        for pid in self.pids():
            kill(pid)
        shutil.rmtree(self.home)

    @property
    def place(self) -> Place:
        return find_place(self.environ)

    def pids(self) -> list[int]:
        """Every server that was started, dead or alive."""
        return [int(line) for line in self.pids_file.read_text().split()]

    def call(self, stdin: bytes = b"", /, **environ: str) -> Answer:
        """Make one call in this process."""
        with piped(stdin) as descriptor:
            return client.call(
                {**self.environ, **environ},
                descriptor,
                lambda content, started, turn: OWN,
                self.start,
            )

    def begin(self, stdin: bytes = b"", /, **environ: str) -> Caller:
        """Make one call in a fork of this process."""
        return Caller(lambda: self.call(stdin, **environ))

    @property
    def signal(self) -> Path:
        """The file that calls with ``until`` wait for: what a test looks at meanwhile is so however busy the machine is."""
        return self.home / "signal"

    def begin_held(self, orders: bytes = b"") -> Caller:
        """Make one call in a fork of this process, which is worked on until ``signal`` is there."""
        return self.begin(b"until=%b " % os.fsencode(self.signal) + orders)

    def status(self) -> manage.ResidentStatus:
        return manage.status(self.environ)

    def report(self) -> Mapping[str, Any]:
        report = self.status().report
        assert report is not None
        return report

    def server(self) -> int:
        """Process id of the server that answers, which is started where there is none."""
        answer = self.call()
        assert answer[1].startswith(b"resident "), answer
        return int(answer[1].split()[1])


def be_patient(environ: Mapping[str, str]) -> None:
    """Lengthen the waits of callers in this process, if the environment says so."""
    if PATIENT in environ:
        protocol.ACCEPT_SECONDS = 10.0
        protocol.START_SECONDS = 20.0
        client.CALL_SECONDS = 60.0


class Caller:
    """A caller in a fork, that hands its answer back."""

    def __init__(self, work: Callable[[], object]) -> None:
        reader, writer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(reader)
                os.write(writer, repr(work()).encode())
            finally:
                os._exit(0)
        os.close(writer)
        self._reader = reader

    def result(self, seconds: float = 30.0) -> Any:
        """Return what the work returned; fails if it returned nothing in time."""
        import ast

        content = b""
        try:
            while True:
                ready, _, _ = select.select([self._reader], [], [], seconds)
                assert ready, "no answer in time"
                data = os.read(self._reader, 65536)
                if not data:
                    break
                content += data
        finally:
            os.close(self._reader)
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        assert content, "the caller ended without an answer"
        return ast.literal_eval(content.decode())


class piped:  # noqa: N801 (used like a function)
    """Standard input with some content, as a descriptor."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __enter__(self) -> int:
        self._reader, writer = os.pipe()
        self._thread = threading.Thread(target=self._write, args=(writer,))
        # A thread only where it must be: callers fork.
        if len(self._content) <= 4096:
            self._write(writer)
        else:
            self._thread.start()
        return self._reader

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._reader)
        if self._thread.ident is not None:
            self._thread.join()

    def _write(self, writer: int) -> None:
        content = self._content
        try:
            while content:
                content = content[os.write(writer, content) :]
        except BrokenPipeError:
            pass
        finally:
            os.close(writer)


def run_caller(world: World, stdin: bytes, **environ: str) -> subprocess.CompletedProcess[bytes]:
    """Make one call in a new interpreter with pipes as standard files, as Ratify does, and wait for their end."""
    command = [sys.executable, "-m", "tests.support.resident", "call"]
    # Not in the checkout, which "-m" would put before PYTHONPATH.
    return subprocess.run(
        command,
        input=stdin,
        capture_output=True,
        cwd=world.home,
        env={**world.environ, **environ},
        timeout=30,
        check=False,
    )


def main() -> NoReturn:
    if sys.argv[1] == "call":
        be_patient(os.environ)
        status, stdout, stderr = client.call(os.environ, 0, lambda content, started, turn: OWN, START)
        os.write(2, stderr)
        os.write(1, stdout)
        os._exit(status)
    with Path(os.environ[PIDS]).open("a") as file:
        file.write(f"{os.getpid()}\n")
    time.sleep(float(os.environ.get(START_DELAY, "0")))
    settings = replace(read_settings(os.environ)[0], **json.loads(os.environ.get(SETTINGS, "{}")))
    service = ObedientService(float(os.environ.get(WARM_SECONDS, "0")), WARM_FAILS in os.environ)
    try:
        serve(service, os.environ, settings)
    except UsageError as error:
        os.write(2, f"{error}\n".encode())
        os._exit(2)
    os._exit(0)


if __name__ == "__main__":
    main()
