"""What holds for every test; prints what each kind of server and credential provider was tested with, a line each."""

from __future__ import annotations

import gc
import tempfile
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

_outcomes: dict[str, Counter[str]] = {}


def pytest_collection_finish() -> None:
    """Keep the ten thousand collected tests out of every later collection of garbage: an eighth of the run's CPU."""
    gc.freeze()


@pytest.fixture
def near() -> Iterator[Path]:
    """A folder like ``tmp_path`` with a short path: a socket's has at most 107 bytes, whatever TMPDIR is."""
    with tempfile.TemporaryDirectory(prefix="near-", dir="/tmp") as name:
        yield Path(name)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note in a test's report the ``server`` marks that it has; the report travels from worker to controller."""
    report = yield
    report.user_properties += [("server", mark.args[0]) for mark in item.iter_markers("server")]
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Count the outcomes."""
    if report.when == "call" or not report.passed:
        for name, value in report.user_properties:
            if name == "server":
                _outcomes.setdefault(str(value), Counter())[report.outcome] += 1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the counts."""
    if not _outcomes:
        return
    terminalreporter.section("servers and credential providers")
    for name, counts in sorted(_outcomes.items()):
        others = ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if outcome != "passed")
        word = "FAILED" if counts["failed"] else "passed" if counts["passed"] else "skipped"
        terminalreporter.write_line(
            f"{word}  {name}: {counts['passed']} passed{', ' if others else ''}{others}"
        )
