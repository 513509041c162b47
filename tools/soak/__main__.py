"""``make soak MINUTES=5``: calls of both clients under faults, and what became of each.

Policies are mixed, artifacts seen and unseen, registries quick, slow and dead, while verifiers are killed, stopped and upgraded
in place and the Python installation's clock jumps (the launcher preloads nothing into its own). The exit status is not zero where
a decision is wrong or missing, a call is slower than 4.5 s besides what the machine itself was late (``lateness``), an
installation takes too much memory, or too many are denied for now. ``--calls N`` ends it after that many calls, ``--minutes N``
after so long, whichever comes first; SIGTERM and SIGINT end it after the calls under way, with its counts. It prints a line every
``--report`` calls.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from tools.bench.measure import pss
from tools.soak.faults import Every, Faults
from tools.soak.installations import Installation, OneFile, Package
from tools.soak.judging import POLICIES, Outcome, Tally, expected, judge
from tools.soak.lateness import Lateness
from tools.soak.registries import KINDS
from tools.soak.run import Run

CALL_SECONDS = 30.0
"""After which a call that has not ended is killed, and counts as one without a verdict."""
ARTIFACTS = 3000
"""Attested images that are made; then the first ones come again, which no cache holds any more."""
UNSEEN = 0.35
SHARES = {"quick": 0.9, "slow": 0.05, "dead": 0.05}
"""Of calls by registry."""


class Scene:
    """Registries, and the calls that ask them; safe under threads.

    Args:
        folder: for the trusted root.
        seed: of the choices.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._root = folder / "trusted_root.json"
        command = [sys.executable, "-m", "tools.soak.registries", str(folder)]
        # A process group of its own, as for each call: a terminal's Ctrl-C ends the soak, and nothing that is counted.
        self._registries = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, process_group=0
        )
        # Its backlog is full with the one connection that it has: nothing is ever answered.
        self._dead = socket.create_server(("127.0.0.1", 0), backlog=0)
        self._addresses = {**self._read(), "dead": f"127.0.0.1:{self._dead.getsockname()[1]}"}
        self._made: list[tuple[str, dict[str, Any]]] = []
        self._next = 0

    def call(self) -> tuple[str, dict[str, str], bytes, str]:
        """Return the registry of the next call, its variables, its standard input, and the reason it must come to."""
        with self._lock:
            kind, artifact = self._artifact()
            registry = self._random.choices([*SHARES], [*SHARES.values()])[0]
            policy = self._random.choice(list(POLICIES))
        stdin = {
            "config": {"name": "slsla", **POLICIES[policy], "trustedRoot": {"path": str(self._root)}},
            "storeConfig": {"version": "1.0.0", "store": {"name": "oras", "useHttp": True}},
            "referenceDesc": {name: artifact[name] for name in ("mediaType", "digest", "size")},
        }
        image = artifact["image"]
        if registry == "dead":
            # An artifact that nobody has: one that is known would be answered from memory.
            stdin["referenceDesc"]["digest"] = f"sha256:{self._random.getrandbits(256):064x}"
        variables = {
            "RATIFY_VERIFIER_COMMAND": "VERIFY",
            "RATIFY_VERIFIER_SUBJECT": f"{self._addresses[registry]}/{image}",
            "RATIFY_VERIFIER_VERSION": "1.0.0",
        }
        return registry, variables, json.dumps(stdin).encode(), expected(kind, policy)

    def close(self) -> None:
        """End the registries."""
        assert self._registries.stdin is not None
        self._registries.stdin.close()
        self._registries.wait(20)
        self._dead.close()

    def _artifact(self) -> tuple[str, dict[str, Any]]:
        if self._made and self._random.random() > UNSEEN:
            return self._random.choice(self._made[max(0, self._next - 50) : self._next] or self._made[:50])
        if len(self._made) < ARTIFACTS:
            kind = self._random.choice(KINDS)
            assert self._registries.stdin is not None
            self._registries.stdin.write(kind + "\n")
            self._registries.stdin.flush()
            self._made.append((kind, self._read()))
        self._next = self._next % len(self._made) + 1
        return self._made[self._next - 1]

    def _read(self) -> dict[str, Any]:
        assert self._registries.stdout is not None
        line: dict[str, Any] = json.loads(self._registries.stdout.readline())
        return line


def main() -> int:
    """Soak for as long as the command line says, and say what became of it."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    add = parser.add_argument
    add("--minutes", type=float, help="end after so long (default 5, without end where --calls is given)")
    add("--calls", type=int, default=0, help="end after this many calls (default: with the minutes)")
    add("--report", type=int, default=1000, help="print a line every so many calls (default 1000)")
    add("--callers", type=int, default=8, help="calls at once (default 8)")
    add("--plugin", type=Path, default=Path("dist/slsa"), help="the one-file plugin")
    add("--client", choices=("C", "Python", "both"), default="both")
    add("--seed", type=int, default=1)
    options = parser.parse_args()
    if options.minutes is None:
        options.minutes = float("inf") if options.calls else 5.0
    run = Run(options.minutes * 60, options.calls, options.report)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: run.end())
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folder = Path(name)
        installations: list[Installation] = []
        if options.client != "Python":
            installations.append(OneFile(folder / "c", options.plugin.resolve()))
        if options.client != "C":
            installations.append(Package(folder / "p"))
        scene = Scene(folder, options.seed)
        tallies = [Tally(installation.name) for installation in installations]
        try:
            tried = list(zip(installations, tallies, strict=True))
            with (
                Lateness() as lateness,
                _memory(installations, tallies),
                Faults(installations, Every(), options.seed) as faults,
            ):
                _call_until(run, options.callers, scene, tried, lateness)
        finally:
            for installation in installations:
                for pid in installation.processes():
                    with suppress(psutil.Error):
                        psutil.Process(pid).kill()
            scene.close()
    print("faults:", ", ".join(f"{count} {name}" for name, count in faults.done.items()))
    for tally in tallies:
        print(tally.line())
        for what, examples in tally.examples.items():
            print(*(f"  {what}: {example}" for example in examples[:4]), sep="\n")
    problems = [f"{tally.client} client: {problem}" for tally in tallies for problem in tally.problems()]
    print(*problems or ["all as it must be"], sep="\n")
    right = sum(tally.counts["right"] for tally in tallies)
    print(f"soak: {right} passed, {len(problems)} failed")
    return 1 if problems else 0


def _call_until(
    run: Run,
    callers: int,
    scene: Scene,
    tried: list[tuple[Installation, Tally]],
    lateness: Lateness,
) -> None:
    """Make calls, ``callers`` at once, until the run is over."""

    def work(number: int) -> None:
        while run.goes_on():
            installation, tally = tried[number % len(tried)]
            number += 1
            registry, variables, stdin, reason = scene.call()
            started = time.monotonic()
            outcome = replace(_made(installation, variables, stdin), late=lateness.since(started))
            tally.add(judge(outcome, reason, registry), registry, outcome)
            run.count([tally for _, tally in tried])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _made(installation: Installation, variables: dict[str, str], stdin: bytes) -> Outcome:
    started = time.monotonic()
    try:
        done = subprocess.run(
            installation.command(),
            input=stdin,
            capture_output=True,
            env={**installation.environment, **variables},
            timeout=CALL_SECONDS,
            check=False,
            process_group=0,
        )
    except subprocess.TimeoutExpired as error:
        return Outcome(None, error.stdout or b"", error.stderr or b"", time.monotonic() - started)
    return Outcome(done.returncode, done.stdout, done.stderr, time.monotonic() - started)


@contextmanager
def _memory(installations: list[Installation], tallies: list[Tally]) -> Iterator[None]:
    """Note the most memory (PSS) of each installation's processes together."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.5):
            for installation, tally in zip(installations, tallies, strict=True):
                tally.peak_bytes = max(tally.peak_bytes, sum(map(pss, installation.processes())))

    thread = threading.Thread(target=watch, name="memory")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


if __name__ == "__main__":
    sys.exit(main())
