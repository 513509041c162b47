"""One image in a simulated store, what hangs on it, and what a verdict on that must be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import Reason
from slsa_verifier_plugin.model.digest import Descriptor
from slsa_verifier_plugin.policy.parameters import Policy
from slsa_verifier_plugin.policy.steps import StepOutcome
from slsa_verifier_plugin.policy.verdict import FAILURE_PREFIX, SUCCESS_PREFIX, Verdict
from slsa_verifier_plugin.verification.judged import ArtifactRequest
from slsa_verifier_plugin.verification.verify import verify
from tests.support.policies import policy
from tests.support.sigstore import (
    COMMIT,
    SIGNED_AT,
    attest_build_provenance,
    provenance_v1,
)
from tests.support.simulators import (
    MemoryStore,
    Notary,
    lines,
    reference,
)


class Clock:
    """A clock that only tests move, in place of ``time.monotonic``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("time.monotonic", lambda: self.now)


BUILDER_ID = "https://builder.example/v1"
BUILDERS = [
    {
        "builderId": BUILDER_ID,
        "issuer": "https://token.actions.githubusercontent.com",
        "identity": attest_build_provenance().san,
    }
]


@dataclass
class Scene:
    """One image in a store, a notary, and what is asked."""

    store: MemoryStore = field(default_factory=MemoryStore)
    notary: Notary = field(default_factory=Notary)
    stranger: Notary = field(default_factory=lambda: Notary("another's"))
    image: Descriptor = field(init=False)

    def __post_init__(self) -> None:
        self.image = self.store.put_image()

    def attach(self, *bundles: bytes) -> Descriptor:
        return self.store.attach(self.image, lines(bundles))

    def verify(
        self, artifact: Descriptor, a_policy: Policy | None = None, seconds: float = 30, **signing: Any
    ) -> Verdict:
        request = ArtifactRequest(reference(self.image.digest), artifact, a_policy or policy())
        return verify(
            request,
            self.store,
            signing.get("by", self.notary),
            Deadline(seconds),
            lambda: SIGNED_AT + timedelta(hours=1),
        )

    def judge(self, *bundles: bytes, a_policy: Policy | None = None) -> Verdict:
        return self.verify(self.attach(*bundles), a_policy)


def outcomes(verdict: Verdict) -> dict[int, StepOutcome]:
    return {step.number: step.outcome for step in verdict.steps}


def assert_denied(verdict: Verdict, reason: Reason, step: int | None, *says: str) -> None:
    assert not verdict.success
    assert verdict.reason is reason
    assert verdict.message.startswith(FAILURE_PREFIX)
    failed = [number for number, outcome in outcomes(verdict).items() if outcome is StepOutcome.FAILED]
    assert failed == ([step] if step else [])
    if step:
        assert all(outcomes(verdict)[number] is StepOutcome.NOT_CHECKED for number in range(step + 1, 15))
    for text in says:
        assert text in verdict.message


def assert_admitted(verdict: Verdict) -> None:
    assert verdict.success, verdict.message
    assert verdict.reason is Reason.VERIFIED
    assert verdict.message.startswith(SUCCESS_PREFIX)
    assert StepOutcome.FAILED not in outcomes(verdict).values()
    assert all(outcomes(verdict)[number] is StepOutcome.PASSED for number in (1, 4, 5, 6, 7, 9, 10, 11))


def provenance_policy(**changes: Any) -> Policy:
    return policy(sourceBinding="provenance", trustedBuilders=BUILDERS, **changes)


def provenance(
    scene: Scene, notary: Notary | None = None, version: Callable[..., Any] = provenance_v1, **fields: Any
) -> bytes:
    fields = {"digest": scene.image.digest.hex, "builder_id": BUILDER_ID, **fields}
    by = attest_build_provenance(commit=fields.get("commit", COMMIT))
    return (notary or scene.notary).sign(version(**fields), by)
