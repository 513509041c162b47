"""The process that verifies signatures beside a real resident verifier: used, lost, stuck, and gone with its parent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from slsa_verifier_plugin.resident.client import client, manage
from tests.support.command_line import ROOT, process
from tests.support.content import push
from tests.support.embedded_registry import EmbeddedRegistry
from tests.support.processes import children, is_there, open_files, wait_until
from tests.support.resident import OWN, piped
from tests.support.sigstore import TAMPERINGS, Lab, github_source_actions, vsa
from tests.support.sigstore.envelope import payload_bytes
from tests.support.waiting import at_once

SERVE = (
    "from slsa_verifier_plugin.service import resident_service\n"
    "resident_service.usable_processors = lambda: {processors}\n"
    "from slsa_verifier_plugin.entry import main\n"
    "main()\n"
)


class Cluster:
    """A registry, a resident verifier in the foreground, and calls of the plugin that it must answer."""

    def __init__(self, folder: Path, registry: EmbeddedRegistry, processors: int) -> None:
        self.environ = {
            "SLSA_VERIFIER_DIR": f"{folder}/d",
            "HOME": str(folder),
            "SLSA_VERIFIER_REFRESH_HOURS": "0",
            "SLSA_VERIFIER_RESIDENT": "require",
            "PYTHONPATH": str(ROOT),
        }
        self._registry = registry
        self._root = folder / "trusted_root.json"
        self._root.write_bytes(Lab().trusted_root())
        self._processors = processors
        self._commits = 0
        self.server = self.serve()

    def serve(self) -> subprocess.Popen[bytes]:
        """Start a resident verifier and wait until it is warm."""
        server = subprocess.Popen(
            [sys.executable, "-c", SERVE.format(processors=self._processors), "resident", "serve"],
            env={**os.environ, **self.environ},
            stderr=subprocess.DEVNULL,
        )
        wait_until(lambda: bool((self.report() or {}).get("warm")))
        return server

    def report(self) -> dict[str, Any] | None:
        report = manage.status({**os.environ, **self.environ}).report
        return dict(report) if report is not None else None

    def signatures(self) -> str:
        report = self.report()
        assert report is not None
        return str(report["service"]["signatureProcess"])

    def fork(self) -> int:
        word, _, pid = self.signatures().partition(" ")
        assert word == "process", self.signatures()
        return int(pid)

    def call(self, level: int = 3, tampering: str = "") -> dict[str, Any]:
        """Have the plugin judge an image and an attestation that nobody has seen."""
        self._commits += 1
        commit = f"{self._commits:040x}"
        payload = payload_bytes(vsa(commit, levels=[f"SLSA_SOURCE_LEVEL_{level}"]))
        signed = (
            TAMPERINGS[tampering](Lab(), payload)
            if tampering
            else Lab().sign(payload, github_source_actions(commit=commit))
        )
        pushed = push(self._registry, content=signed)
        stdin = {
            "config": {
                "name": "slsla",
                "expectedVerifiedLevels": ["SLSA_SOURCE_LEVEL_2"],
                "expectedResourceUri": "git+https://github.com/example/source-demo",
                "trustedRoot": {"path": str(self._root)},
                "timeout": "30s",
            },
            "storeConfig": {"version": "1.0.0", "store": {"name": "oras", "useHttp": True}},
            "referenceDesc": {
                "mediaType": pushed.artifact.media_type,
                "digest": str(pushed.artifact.digest),
                "size": pushed.artifact.size,
            },
        }
        environ = {
            **os.environ,
            **self.environ,
            "RATIFY_VERIFIER_COMMAND": "VERIFY",
            "RATIFY_VERIFIER_SUBJECT": str(pushed.image),
            "RATIFY_VERIFIER_VERSION": "1.0.0",
        }
        with piped(json.dumps(stdin).encode()) as descriptor:
            # As the plugin does it, without an interpreter for each; with "require" it is the resident verifier's answer.
            status, stdout, _ = client.call(environ, descriptor, lambda *_: OWN, ["/nonexistent/python"])
        assert status == 0, stdout
        result: dict[str, Any] = json.loads(stdout)
        return result


@contextmanager
def cluster(processors: int) -> Iterator[Cluster]:
    with tempfile.TemporaryDirectory(prefix="r-") as folder, EmbeddedRegistry() as registry:
        made = Cluster(Path(folder), registry, processors)
        try:
            yield made
        finally:
            made.server.kill()
            made.server.wait()


@pytest.fixture(scope="module")
def steady() -> Iterator[Cluster]:
    """One for the tests that leave it as it was."""
    with cluster(2) as made:
        yield made


@pytest.fixture
def two() -> Iterator[Cluster]:
    with cluster(2) as made:
        yield made


def assert_right(cluster: Cluster) -> None:
    """See one image of each kind judged as it must be."""
    assert cluster.call()["isSuccess"] is True
    low = cluster.call(level=1)
    assert (low["isSuccess"], low["extensions"]["reason"]) == (False, "LEVEL_TOO_LOW")
    forged = cluster.call(tampering="signature-flipped")
    assert (forged["isSuccess"], forged["extensions"]["reason"]) == (False, "SIGNATURE_INVALID")


def assert_right_at_once(cluster: Cluster, until: Callable[[], bool]) -> None:
    """See images judged as they must be, twelve at a time, which is when the fork has something to do."""
    levels = [1 + number % 3 for number in range(12)]
    for _ in range(9):
        verdicts = at_once(12, lambda number: cluster.call(level=levels[number])["isSuccess"])
        assert verdicts == [level > 1 for level in levels]
        if until():
            return
    pytest.fail("the fork was never asked")


def cpu(pid: int) -> int:
    """Return the ticks of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_signatures_are_verified_there_and_the_verdicts_are_the_same(steady: Cluster) -> None:
    fork = steady.fork()
    before = cpu(fork)
    assert_right_at_once(steady, until=lambda: cpu(fork) > before)
    assert steady.fork() == fork


def test_a_call_that_is_alone_is_not_sent_round(steady: Cluster) -> None:
    before = cpu(steady.fork())
    for _ in range(4):
        assert_right(steady)
    assert cpu(steady.fork()) == before


def test_with_one_processor_there_is_none() -> None:
    with cluster(1) as one:
        assert_right(one)
        assert one.signatures() == "none, for one processor or worker"
        assert children(one.server.pid) == set()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM])
def test_verdicts_stay_right_when_it_is_lost(two: Cluster, number: signal.Signals) -> None:
    fork = two.fork()
    os.kill(fork, number)
    ended = f"ended: no answer of process {fork}"
    assert_right_at_once(two, until=lambda: two.signatures() == ended)
    wait_until(lambda: not is_there(fork))
    assert_right(two)
    assert_right_at_once(two, until=lambda: two.signatures() == ended)


def test_verdicts_stay_right_when_it_is_lost_under_load(two: Cluster) -> None:
    fork = two.fork()

    def call(number: int) -> bool:
        if number == 5:
            os.kill(fork, signal.SIGKILL)
        return two.call(level=3 if number % 2 else 1)["isSuccess"] is bool(number % 2)

    assert at_once(12, call) == [True] * 12


def test_it_goes_with_its_parent_and_keeps_nothing_from_the_next(two: Cluster) -> None:
    fork = two.fork()
    os.kill(fork, signal.SIGSTOP)  # even one that cannot notice must not hold the claim or the socket
    two.server.kill()
    two.server.wait()
    two.server = two.serve()
    assert two.fork() != fork
    with suppress(ProcessLookupError):  # where the kernel has not ended it with its parent
        os.kill(fork, signal.SIGCONT)
    wait_until(lambda: not is_there(fork))
    assert_right(two)


def test_it_has_nothing_of_its_parents_but_the_lanes(steady: Cluster) -> None:
    files = list(open_files(steady.fork()).values())
    assert sorted(files)[:3] == ["/dev/null"] * 3
    assert len(files) == 3 + 4
    assert all(name.startswith("socket:") for name in sorted(files)[3:])


def test_when_its_parent_has_been_stopped_it_is_gone(two: Cluster) -> None:
    fork = two.fork()
    assert process("resident", "stop", environ=two.environ).status == 0
    assert two.server.wait(60) == 0
    assert not is_there(fork)
