"""The plugin's way in: what runs when Ratify calls.

Nothing heavy is imported here. The resident verifier answers if it can; else the call is verified in a process of its own, a
fork whose parent only waits, and prints a denial of its own making if the child gives no complete answer in time.
"""

from __future__ import annotations

import os
import sys

from slsa_verifier_plugin.resident import client

TYPE_CHECKING = False  # importing typing for it takes longer than the whole call
if TYPE_CHECKING:
    from typing import NoReturn

START = [sys.executable, "-P", "-m", "slsa_verifier_plugin", "resident", "serve", "--detached"]
"""How a caller starts the resident verifier; the same interpreter and package as its own."""


GRACE = 0.2
"""Seconds beyond the time limit in which the child's own answer, which says more, is waited for."""


def main() -> NoReturn:
    """Answer one call of Ratify on standard output, and exit with the contract's status."""
    answer = client.refusal(os.environ) or client.call(os.environ, 0, own_process, START, _budget)
    status, stdout, stderr = answer
    _write(2, stderr)
    _write(1, stdout)
    os._exit(status)


def own_process(stdin: bytes, elapsed: float) -> tuple[int, bytes, bytes]:
    """Verify one call in a fork of this process.

    Args:
        stdin: all of standard input.
        elapsed: seconds of the time limit that are used already.
    """
    from slsa_verifier_plugin import ratify
    from slsa_verifier_plugin.errors import InternalError
    from slsa_verifier_plugin.resident.isolate import run_isolated

    environment = dict(os.environ)
    seconds = ratify.budget(stdin)
    late = ratify.late_answer(environment, stdin, ratify.deadline_error(seconds))
    if late.status != 0:
        return late.status, late.stdout, late.stderr
    crashed = ratify.late_answer(
        environment,
        stdin,
        InternalError("the verifying process ended without an answer; give it more memory, or report it"),
    )

    def work() -> tuple[int, bytes, bytes]:
        from slsa_verifier_plugin.service import Service

        response = Service(environment).respond(environment, stdin, elapsed)
        return response.status, response.stdout, response.stderr

    return run_isolated(work, max(0.0, seconds - elapsed) + GRACE, late.stdout, crashed.stdout)


def _budget(stdin: bytes) -> float:
    from slsa_verifier_plugin import ratify

    return ratify.budget(stdin)


def _write(descriptor: int, content: bytes) -> None:
    while content:
        try:
            content = content[os.write(descriptor, content) :]
        except OSError:
            # Nobody reads any more; there is nobody to tell.
            return
