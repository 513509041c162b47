# ruff: noqa: S603 (what is run is ours)
"""The launcher with a stand-in runtime, in a directory of its own, and servers that misbehave."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

from slsa_verifier_plugin.environment import BUILD_VARIABLE
from slsa_verifier_plugin.resident import protocol
from slsa_verifier_plugin.resident.place import Place, check_directories, find_place
from tests.support.resident import World
from tools.dist import archive
from tools.dist.libraries import loader_name

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "launcher"
CALL = {
    "RATIFY_VERIFIER_COMMAND": "VERIFY",
    "RATIFY_VERIFIER_SUBJECT": "registry.example/app@sha256:0",
    "RATIFY_VERIFIER_VERSION": "1.0.0",
}
"""Ratify's variables, without which the launcher asks nobody."""
STANDIN = Path(__file__).with_name("standin.py")
LOADER = f"lib/{loader_name()}"

Completed = subprocess.CompletedProcess[bytes]


@functools.cache
def launcher(target: str = "launcher") -> Path:
    """Build one of the launcher's programs, and return its path."""
    make = ["make", "--silent", "-C", str(ROOT / "launcher"), f"BUILD={BUILD}", f"{BUILD}/{target}"]
    BUILD.mkdir(parents=True, exist_ok=True)
    with (BUILD / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests may run in several processes
        done = subprocess.run(make, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return BUILD / target


def tar(entries: dict[str, bytes]) -> bytes:
    """Return an archive with the directories that its files need; every file is executable."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as file:
        made: set[str] = set()
        for name, content in entries.items():
            for parent in reversed(Path(name).parents[:-1]):
                if str(parent) not in made:
                    made.add(str(parent))
                    info = tarfile.TarInfo(str(parent))
                    info.type, info.mode = tarfile.DIRTYPE, 0o755
                    file.addfile(info)
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o755
            file.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def standin_runtime(**more: bytes) -> bytes:
    """Return the archive of a stand-in runtime; ``more`` are further files below ``more/``."""
    script = f"#!{sys.executable} -ISB\n".encode() + STANDIN.read_bytes()
    return tar({LOADER: script, **{f"more/{name}": content for name, content in more.items()}})


class Plugin(World):
    """A one-file plugin with a stand-in runtime, in a world of its own (``tests/support/resident.py``)."""

    def __init__(self, runtime: bytes | None = None, *, program: str = "launcher") -> None:
        super().__init__(patient=False)
        self.path = self.home / "slsa"
        self.cache = self.home / "cache"
        self.environ |= {"SLSA_VERIFIER_CACHE": str(self.cache), **CALL}
        self.program = launcher(program)
        self.digest = self.write(standin_runtime() if runtime is None else runtime)

    def write(self, runtime: bytes, path: Path | None = None) -> str:
        """Write the plugin with a runtime, and return the payload's digest."""
        payload = archive.compress(runtime, 1)
        archive.write_one_file(self.program, runtime, payload, path or self.path)
        return hashlib.sha256(payload).hexdigest()

    @property
    def runtime(self) -> Path:
        """Where the runtime is unpacked."""
        return self.cache / f"runtime-{self.digest}"

    @property
    def place(self) -> Place:
        """Where Python looks for the resident verifier of this plugin."""
        return self.place_for()

    def place_for(self, **environ: str) -> Place:
        """Where Python looks for it in an environment with more variables."""
        return find_place({**self.environ, **environ, BUILD_VARIABLE: self.digest})

    def run(self, *arguments: str, stdin: bytes = b"", timeout: float = 30, **environ: str) -> Completed:
        """Run the plugin with pipes as standard files, as Ratify does, and wait for their end."""
        return self.run_in([str(self.path), *arguments], stdin=stdin, timeout=timeout, **environ)

    def run_in(
        self, command: list[str], *, stdin: bytes = b"", timeout: float = 30, **environ: str
    ) -> Completed:
        """Run a command in this world's environment."""
        settings = {**self.environ, **environ}
        return subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            env=settings,
            timeout=timeout,
            check=False,
            cwd=self.home,
        )

    @contextlib.contextmanager
    def began(self, **environ: str) -> Iterator[subprocess.Popen[bytes]]:
        """Start the plugin with an empty standard input; it is killed at the end if it still runs."""
        with subprocess.Popen(
            [str(self.path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**self.environ, **environ},
            cwd=self.home,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def unpackers(self, but: int = -1) -> list[int]:
        """Processes of this plugin's file: those that unpack, and callers except ``but``."""
        found = []
        for directory in Path("/proc").iterdir():
            try:
                is_ours = directory.name.isdigit() and (directory / "exe").readlink() == self.path
            except OSError:
                continue
            if is_ours and int(directory.name) != but:
                found.append(int(directory.name))
        return found


def told(done: Completed) -> dict[str, Any]:
    """Return what the stand-in runtime printed, verifying in the plugin's own process."""
    assert done.returncode in (3, 7), done
    value = json.loads(done.stdout)
    assert isinstance(value, dict)
    return value


def denial(done: Completed) -> dict[str, Any]:
    """Return a denial of the launcher's own: one JSON line, exit status 0, and never a success."""
    assert done.returncode == 0, done
    assert done.stdout.count(b"\n") == 1
    assert done.stdout.endswith(b"\n")
    assert b"{" not in done.stderr
    value = json.loads(done.stdout)
    assert value["isSuccess"] is False
    assert value["message"].startswith("SLSA attestation verified FAILED: ")
    assert isinstance(value, dict)
    return value


Conversation = Callable[[socket.socket, bytes], None]
"""What a server does with a connection, once it has the whole request's body."""


class Listener:
    """A server of this process at a plugin's place, which answers each connection as it is told.

    Args:
        plugin: whose place it takes.
        conversation: what to do with a request; None takes no connection at all.
        backlog: connections that the kernel keeps.
    """

    def __init__(
        self, plugin: Plugin, conversation: Conversation | None, backlog: int = 64, **environ: str
    ) -> None:
        place = plugin.place_for(**environ)
        check_directories(place, make=True)
        self.requests: list[bytes] = []
        self._conversation = conversation
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(place.socket)
        self._socket.listen(backlog)
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        if self._conversation is not None:
            self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        # Wakes the accept; closing alone would not.
        self._socket.shutdown(socket.SHUT_RDWR)
        if self._conversation is not None:
            self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        assert self._conversation is not None
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(20)
                body = _receive(connection)
                self.requests.append(body)
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    self._conversation(connection, body)


def _receive(connection: socket.socket) -> bytes:
    with connection.makefile("rb") as file:
        kind, length = protocol.parse_header(file.read(protocol.HEADER_BYTES), protocol.MAX_REQUEST)
        assert kind == protocol.VERIFY
        return file.read(length)


def until_closed(connection: socket.socket, body: bytes) -> None:
    """Say nothing, until the client has gone."""
    assert connection.recv(1) == b""


def answering(answer: protocol.Answer, seconds: float = 5.0) -> Conversation:
    """Return a conversation that accepts and answers at once."""

    def converse(connection: socket.socket, body: bytes) -> None:
        connection.sendall(protocol.encode_accepted(seconds) + protocol.encode_answer(answer))

    return converse


def saying(content: bytes) -> Conversation:
    """Return a conversation that sends some bytes and then only waits for the client to go."""

    def converse(connection: socket.socket, body: bytes) -> None:
        connection.sendall(content)
        until_closed(connection, body)

    return converse


def as_nonroot(work: Callable[[], None], uid: int = 65532) -> int:
    """Run ``work`` in a fork as another user, and return its exit status: 0 where it returned."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def can_mount() -> bool:
    """Return True where this process may mount file systems in a namespace of its own."""
    unshare = shutil.which("unshare")
    return (
        unshare is not None
        and subprocess.run([unshare, "-m", "true"], capture_output=True, check=False).returncode == 0
    )
