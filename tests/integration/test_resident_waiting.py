"""Many calls at once on one real resident verifier: waiting for registries costs no other call anything."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

from slsa_verifier_plugin.resident.client import manage
from slsa_verifier_plugin.resident.protocol import Request
from tests.support.command_line import ROOT
from tests.support.content import Pushed, push
from tests.support.crowd import Caller, ask_at_once
from tests.support.embedded_registry import EmbeddedRegistry
from tests.support.processes import wait_until
from tests.support.registry_handler import RegistryHandler
from tests.support.sigstore import Lab, github_source_actions, vsa
from tests.support.sigstore.envelope import payload_bytes

MOST_MIB = 300


class LateRegistry(EmbeddedRegistry):
    """Answers the first of its requests once ``crowd`` of them wait for that, and each after ``delay`` seconds."""

    delay = 0.0
    crowd = 0

    def __init__(self) -> None:
        super().__init__()
        self._go_on = threading.Event()
        self._lock = threading.Lock()
        self._arrived = 0

    def intercept(self, handler: RegistryHandler) -> bool:
        with self._lock:
            self._arrived += 1
            if self._arrived >= self.crowd:
                self._go_on.set()
        self._go_on.wait(60)
        time.sleep(self.delay)
        return super().intercept(handler)


class Server:
    """A resident verifier in the foreground, and requests for it."""

    def __init__(self, folder: Path) -> None:
        self._root = folder / "trusted_root.json"
        self._root.write_bytes(Lab().trusted_root())
        self._commits = 0
        environ = {
            **os.environ,
            "SLSA_VERIFIER_DIR": f"{folder}/d",
            "HOME": str(folder),
            "SLSA_VERIFIER_REFRESH_HOURS": "0",
            "PYTHONPATH": str(ROOT),
        }
        command = [sys.executable, "-m", "slsa_verifier_plugin", "resident", "serve"]
        self.process = subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL)
        wait_until(lambda: bool((manage.status(environ).report or {}).get("warm")))
        report = manage.status(environ).report
        assert report is not None
        self.socket = str(report["socket"])

    def attested(self, registry: EmbeddedRegistry, level: int) -> Pushed:
        """Push an image and an attestation that nobody has seen."""
        self._commits += 1
        commit = f"{self._commits:040x}"
        payload = payload_bytes(vsa(commit, levels=[f"SLSA_SOURCE_LEVEL_{level}"]))
        return push(registry, content=Lab().sign(payload, github_source_actions(commit=commit)))

    def request(self, pushed: Pushed, image: str = "", timeout: str = "4s") -> Request:
        """Return the request of a call about it; ``image`` in its place where given."""
        stdin = {
            "config": {
                "name": "slsla",
                "expectedVerifiedLevels": ["SLSA_SOURCE_LEVEL_2"],
                "expectedResourceUri": "git+https://github.com/example/source-demo",
                "trustedRoot": {"path": str(self._root)},
                "timeout": timeout,
            },
            "storeConfig": {"version": "1.0.0", "store": {"name": "oras", "useHttp": True}},
            "referenceDesc": {
                "mediaType": pushed.artifact.media_type,
                "digest": str(pushed.artifact.digest),
                "size": pushed.artifact.size,
            },
        }
        subject = (image or str(pushed.image)).encode()
        return 0.0, b"VERIFY", subject, b"1.0.0", json.dumps(stdin).encode()

    @contextmanager
    def peak(self) -> Iterator[list[int]]:
        """Watch the memory of the verifier's processes (PSS); the list's last item is the most, in bytes."""
        seen, over = [0], threading.Event()
        parent = psutil.Process(self.process.pid)

        def watch() -> None:
            while not over.wait(0.05):
                processes = [parent, *parent.children(recursive=True)]
                seen.append(max(seen[-1], sum(_pss(process) for process in processes)))

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            yield seen
        finally:
            over.set()
            watcher.join()


def _pss(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.Error:
        return 0


@pytest.fixture
def server() -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="w-") as folder:
        made = Server(Path(folder))
        try:
            yield made
        finally:
            made.process.kill()
            made.process.wait()


def verdicts(callers: list[Caller]) -> list[str]:
    """Return what each caller was told: "yes", or the reason."""
    told = []
    for caller in callers:
        if caller.answer is None:
            told.append("busy" if caller.busy else "nothing")
            continue
        result = json.loads(caller.answer[1])
        told.append("yes" if result["isSuccess"] else result["extensions"]["reason"])
    return told


def test_each_of_many_calls_to_a_late_registry_is_answered(server: Server) -> None:
    with LateRegistry() as registry:
        levels = [3 if number % 4 else 1 for number in range(64)]
        requests = [server.request(server.attested(registry, level), timeout="20s") for level in levels]
        # Answers are later than the half of a second that counts as working, and none comes before all of them wait for it:
        # by eight, or one after another, no call would ever be answered.
        registry.delay, registry.crowd = 0.6, len(levels)
        told = verdicts(ask_at_once(server.socket, requests, 60))
        assert told == ["yes" if level > 1 else "LEVEL_TOO_LOW" for level in levels]


def test_hundreds_that_wait_for_a_dead_registry_hold_up_nobody_and_take_little(server: Server) -> None:
    with ExitStack() as stack:
        registry = stack.enter_context(LateRegistry())
        dead = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=1))
        known = server.attested(registry, 3)
        image = f"127.0.0.1:{dead.getsockname()[1]}/team/app@sha256:"
        lost = [server.request(known, f"{image}{number:064x}", "6s") for number in range(300)]
        good = [server.request(server.attested(registry, 3), timeout="6s") for _ in range(24)]
        peak = stack.enter_context(server.peak())
        callers = ask_at_once(server.socket, [*lost, *good], 30)
    assert set(verdicts(callers[:300])) <= {"DEADLINE_EXCEEDED", "REGISTRY_UNREACHABLE"}
    assert verdicts(callers[300:]) == ["yes"] * 24
    assert peak[-1] < MOST_MIB << 20
    late = max(caller.answered for caller in callers[300:] if caller.answered is not None)
    first_lost = min(caller.answered for caller in callers[:300] if caller.answered is not None)
    assert late < first_lost, "none of them waited for one that waits"
