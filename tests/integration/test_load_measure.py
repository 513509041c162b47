"""What the tests under load measure: the memory of what is tested, and not that of the tests."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.support.load import proportional
from tests.support.processes import wait_until


def test_a_process_that_has_not_begun_its_own_program_does_not_count() -> None:
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        # As between the two halves of a spawn: it has the memory of the tests, until it is told to go on.
        os.close(theirs)
        os.read(ours, 1)
        os._exit(0)
    os.close(ours)
    try:
        assert proportional(child) == 0
    finally:
        os.close(theirs)
        os.waitpid(child, 0)


def test_a_process_that_runs_counts() -> None:
    command = [sys.executable, "-c", "input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        wait_until(lambda: proportional(process.pid) > 1 << 20)
        process.kill()
