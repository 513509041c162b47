"""The honest answers that a caller may get, whatever happens to the resident verifier: each test says which.

They are the resident verifier's, that of a process of the caller's own, or a denial because the time is over. Never a
success that nobody gave, never silence; and the next call works.
"""

from __future__ import annotations

from slsa_verifier_plugin.resident import protocol
from slsa_verifier_plugin.resident.protocol import Answer
from tests.support.resident import OWN

LATE: Answer = (0, protocol.DEADLINE_LINE, b"")
"""A denial because the time is over."""


def is_own(answer: Answer, reason: bytes = b"") -> bool:
    """Return True for the answer of a process of its own, that says why on standard error."""
    status, stdout, stderr = answer
    assert b"{" not in stderr
    return (status, stdout) == OWN[:2] and stderr.startswith(b"warn: ") and reason in stderr


def pid_elsewhere(answer: Answer, reason: bytes) -> int:
    """Return the resident verifier in another folder that an answer is from, which says why it is not in its own."""
    status, stdout, stderr = answer
    assert stderr.startswith(b"warn: "), answer
    assert reason in stderr, answer
    assert stderr.endswith(b"; a resident verifier in another folder is used\n"), answer
    return pid_of((status, stdout, b""))


def pid_of(answer: Answer) -> int:
    """Return the resident verifier that an answer is from."""
    status, stdout, stderr = answer
    assert (status, stderr) == (0, b""), answer
    assert stdout.startswith(b"resident "), answer
    return int(stdout.split()[1])
