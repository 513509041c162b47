"""Takes each check of the core out in turn, and sees a test fail: ``tests/mutation/run.py [--match TEXT] [--list]``.

Works in copies of the checkout. A mutant is run against the tests of its own module first; what survives those is run against
all tests of the core. Prints the survivors, then ``N mutants, K survivors``; exits 1 if there are any that ``EQUIVALENT`` does
not explain.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.mutation.equivalent import EQUIVALENT
from tests.mutation.mutants import PACKAGE, Mutant, systematic
from tests.mutation.named import named
from tests.mutation.tested import CORE, TESTS

ROOT = Path(__file__).resolve().parents[2]
COPIED = (PACKAGE, "tests", "docs", "deploy", "pyproject.toml", "requirements", "README.md")
LONGEST = 900
"""Seconds after which tests of the code as it is count as tests that hang."""
LEAST = 30
TIMES = 10
"""A mutant hangs, which tests would notice too, ``LEAST`` seconds after ``TIMES`` what its tests take without it."""
PASSED, FAILED, INVALID, HUNG = "passed", "failed", "invalid", "hung"
_UNIT = "tests/unit/"
LIBRARIES = (
    "pytest",
    "_pytest.assertion.rewrite",
    "_pytest.python",
    "_pytest.monkeypatch",
    "hypothesis",
    "hypothesis.strategies",
    "asn1crypto.cms",
    "asn1crypto.tsp",
    "cryptography.x509.verification",
    "google.protobuf.json_format",
    "in_toto_attestation.v1.statement",
    "jsonschema",
    "re2",
    "requests",
    "rfc3161_client",
    "sigstore.verify",
    "tuf.ngclient",
)
"""Loaded once, and inherited by every test process: none of them knows this project."""


@dataclass(frozen=True)
class Task:
    """One run of some tests over one mutant; None for the code as it is."""

    mutant: Mutant | None
    tests: tuple[str, ...]


@dataclass
class Worker:
    """A copy of the checkout, and the process that is testing in it, if any."""

    folder: Path
    task: Task | None = None
    process: int = 0
    began: float = 0.0
    limit: float = LONGEST
    stamp: int = field(default_factory=lambda: int(time.time()))

    @property
    def log(self) -> Path:
        """What the latest process printed."""
        return self.folder / "log"

    def start(self, task: Task, limit: float) -> None:
        """Apply a mutant and test it in a process of its own, which counts as one that hangs after ``limit`` seconds."""
        self.task, self.began, self.limit = task, time.monotonic(), limit
        if task.mutant is not None:
            path = self.folder / PACKAGE / task.mutant.path
            self._write(path, task.mutant.applied((ROOT / PACKAGE / task.mutant.path).read_text("utf-8")))
        self.process = os.fork()
        if self.process == 0:
            _test(self.folder, task.tests, self.log)

    def poll(self) -> str | None:
        """Return how the process ended, None while it runs; the copy is then as it was."""
        assert self.task is not None
        ended, status = os.waitpid(self.process, os.WNOHANG)
        outcome = None
        if ended:
            # 2 are tests that could not even be loaded, as where a key that they need is no longer accepted.
            outcome = {0: PASSED, 1: FAILED, 2: FAILED}.get(os.waitstatus_to_exitcode(status), INVALID)
        elif time.monotonic() - self.began > self.limit:
            os.kill(self.process, 9)
            os.waitpid(self.process, 0)
            outcome = HUNG
        if outcome and self.task.mutant is not None:
            path = self.task.mutant.path
            self._write(self.folder / PACKAGE / path, (ROOT / PACKAGE / path).read_text("utf-8"))
        return outcome

    def stop(self) -> None:
        """End the process, if one still runs."""
        if self.task is not None:
            os.kill(self.process, 9)
            os.waitpid(self.process, 0)
            self.task = None

    def _write(self, path: Path, content: str) -> None:
        path.write_text(content, "utf-8")
        # Compiled files are known by size and second; no two contents may share both.
        self.stamp += 2
        os.utime(path, (self.stamp, self.stamp))


def _test(folder: Path, tests: Sequence[str], log: Path) -> NoReturn:
    """Run pytest in the copy, and end with its status."""
    status = 99
    try:
        os.chdir(folder)
        with log.open("wb") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        # The libraries are inherited, the project's own modules are not.
        for name in [name for name in sys.modules if name.split(".")[0] in (PACKAGE, "tests")]:
            del sys.modules[name]
        sys.path[:] = [str(folder), *(entry for entry in sys.path if Path(entry or ".").resolve() != ROOT)]
        os.environ.update(CI="1", PYTHONPATH=str(folder), PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
        import pytest

        arguments = ["-x", "-q", "--no-header", "-p", "no:cacheprovider", "-p", "_hypothesis_pytestplugin"]
        status = int(pytest.main([*arguments, *(_UNIT + name for name in tests)]))
        sys.stdout.flush()
    finally:
        os._exit(status)


def _copy(parent: Path, number: int) -> Worker:
    folder = parent / f"copy-{number}"
    folder.mkdir()
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name,
                folder / name,
                ignore=shutil.ignore_patterns("__pycache__", "cases", "e2e"),
                symlinks=True,
            )
        else:
            shutil.copy2(ROOT / name, folder / name)
    return Worker(folder)


class Campaign:
    """What is still to be tested, and what survived so far.

    Args:
        mutants: tested in this order.
        verbose: print every mutant's end, not the survivors' alone.
    """

    def __init__(self, mutants: Sequence[Mutant], *, verbose: bool) -> None:
        used = sorted({test for mutant in mutants for test in TESTS[mutant.path]})
        self.waiting = [Task(None, (test,)) for test in used]
        self.waiting += [Task(mutant, tuple(TESTS[mutant.path])) for mutant in mutants]
        self.waiting.reverse()
        self.survivors: list[Mutant] = []
        self._verbose = verbose
        self._is_core_checked = False
        self._took: dict[tuple[str, ...], float] = {}

    def limit(self, task: Task) -> float:
        """Return the seconds that a task may take.

        Those of a mutant follow from what the same tests took without one, on this machine and as busy as it is.
        """
        if task.mutant is None:
            return LONGEST
        apart = sum(self._took.get((test,), LONGEST) for test in task.tests)
        return min(LONGEST, LEAST + TIMES * self._took.get(task.tests, apart))

    def note(self, task: Task, outcome: str, log: Path, seconds: float) -> None:
        """Note how a task ended, and after how long.

        Raises:
            RuntimeError: the tests fail without any mutant, or a mutant is no code at all.
        """
        mutant = task.mutant
        if mutant is None:
            if outcome != PASSED:
                found = f"take more than {LONGEST} s" if outcome == HUNG else "fail"
                raise RuntimeError(
                    f"{', '.join(task.tests)} {found} without any mutant:\n{log.read_text()[-3000:]}"
                )
            self._took[task.tests] = seconds
        elif outcome == INVALID:
            raise RuntimeError(f"{mutant.name}: no test could run:\n{log.read_text()[-3000:]}")
        elif outcome == PASSED and task.tests != tuple(CORE) and mutant.name not in EQUIVALENT:
            self._test_further(mutant)
        elif outcome == PASSED:
            self.survivors.append(mutant)
            mark = "equivalent" if mutant.name in EQUIVALENT else "SURVIVED"
            print(f"{mark}: {mutant.name} (line {mutant.line})", flush=True)
        elif self._verbose or outcome == HUNG:
            print(f"{outcome}: {mutant.name} ({seconds:.0f} s)", flush=True)

    def _test_further(self, mutant: Mutant) -> None:
        self.waiting.append(Task(mutant, tuple(CORE)))
        if not self._is_core_checked:
            self.waiting.append(Task(None, tuple(CORE)))
            self._is_core_checked = True


def run(mutants: Sequence[Mutant], jobs: int, *, verbose: bool = False) -> list[Mutant]:
    """Test ``mutants``, ``jobs`` at a time, and return those that survived, explained or not.

    Raises:
        RuntimeError: the tests fail without any mutant, or a mutant is no code at all.
    """
    for library in LIBRARIES:
        __import__(library)
    campaign = Campaign(mutants, verbose=verbose)
    with tempfile.TemporaryDirectory(prefix="mutation-") as name:
        workers = [_copy(Path(name), number) for number in range(jobs)]
        try:
            while campaign.waiting or any(worker.task for worker in workers):
                for worker in workers:
                    if worker.task is None and campaign.waiting:
                        task = campaign.waiting.pop()
                        worker.start(task, campaign.limit(task))
                    outcome = worker.poll() if worker.task else None
                    if outcome is not None and worker.task is not None:
                        task, worker.task = worker.task, None
                        campaign.note(task, outcome, worker.log, time.monotonic() - worker.began)
                time.sleep(0.005)
        finally:
            for worker in workers:
                worker.stop()
    return campaign.survivors


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line asks for; the process's own arguments where none are given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--match", action="append", help="only mutants whose name contains this; may be repeated"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="mutants at a time")
    parser.add_argument("--list", action="store_true", help="list the mutants")
    parser.add_argument("--verbose", action="store_true", help="print every mutant's end")
    options = parser.parse_args(arguments)
    mutants = [*named(ROOT), *systematic(ROOT)]
    stale = sorted(set(EQUIVALENT) - {mutant.name for mutant in mutants})
    if stale:
        print("explained, but no mutants (any more):", *stale, sep="\n  ")
        return 1
    chosen = [one for one in mutants if not options.match or any(text in one.name for text in options.match)]
    if options.list:
        print(*(mutant.name for mutant in chosen), sep="\n")
        return 0
    began = time.monotonic()
    print(f"{len(chosen)} mutants, {options.jobs} at a time", flush=True)
    survivors = run(chosen, options.jobs, verbose=options.verbose)
    unexplained = [mutant for mutant in survivors if mutant.name not in EQUIVALENT]
    wrong = sorted(
        {mutant.name for mutant in chosen} & set(EQUIVALENT) - {mutant.name for mutant in survivors}
    )
    for name in wrong:
        print(f"explained as equivalent, but a test fails: {name}")
    explained = len(survivors) - len(unexplained)
    seconds = round(time.monotonic() - began)
    print(f"{explained} mutants change nothing that can be seen, as equivalent.py explains; {seconds} s")
    print(f"{len(chosen)} mutants, {len(unexplained)} survivors")
    return 1 if unexplained or wrong else 0


if __name__ == "__main__":
    sys.exit(main())
