"""A service whose decision a test gives: what is left is the contract, from bytes to bytes."""

from __future__ import annotations

from collections.abc import Callable

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.policy.parameters import Policy
from slsa_verifier_plugin.policy.verdict import Verdict
from slsa_verifier_plugin.ratify import Call
from slsa_verifier_plugin.service.service import Service

Decide = Callable[[Call, Policy, Deadline], Verdict]


class DecidingService(Service):
    """Answers calls as ever; what it decides is what ``decide`` returns or raises."""

    def __init__(self, decide: Decide) -> None:
        super().__init__({})
        self._decide = decide

    def decide(self, call: Call, policy: Policy, deadline: Deadline) -> Verdict:
        """Return what the test says."""
        return self._decide(call, policy, deadline)
