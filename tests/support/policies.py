"""Policies and claims for tests that need no signatures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from slsa_verifier_plugin.errors import Reason
from slsa_verifier_plugin.model.digest import Digest
from slsa_verifier_plugin.model.signer import Claim, Signer
from slsa_verifier_plugin.model.statement import PAYLOAD_TYPE
from slsa_verifier_plugin.policy.checks import Context, Examination, aged, examine
from slsa_verifier_plugin.policy.parameters import Policy, parse_policy
from slsa_verifier_plugin.policy.steps import StepOutcome
from tests.support.sigstore import (
    IMAGE_DIGEST,
    REPOSITORY,
    Identity,
    github_source_actions,
    vsa,
)

RESOURCE = f"git+https://github.com/{REPOSITORY}"
BASE: dict[str, Any] = {
    "name": "slsla",
    "expectedVerifiedLevels": ["SLSA_SOURCE_LEVEL_2"],
    "expectedResourceUri": RESOURCE,
}


def policy(**changes: Any) -> Policy:
    """Return the policy of ``BASE`` with other parameters; None takes one out."""
    return parse_policy({key: value for key, value in {**BASE, **changes}.items() if value is not None})


def signer(identity: Identity | None = None) -> Signer:
    """Return the signer that a certificate for ``identity`` names."""
    named = github_source_actions() if identity is None else identity
    extensions = {
        number: value if isinstance(value, str) else value.decode()
        for number, value in named.extensions.items()
    }
    issuer = extensions.get(8) or extensions.get(1) or ""
    return Signer(named.san, issuer, {n: value for n, value in extensions.items() if n not in (1, 8)})


def claim(
    statement: Mapping[str, Any] | None = None,
    by: Identity | Signer | None = None,
    payload_type: str = PAYLOAD_TYPE,
) -> Claim:
    """Return the claim that ``by`` says ``statement``; an honest summary of the lab's signer where left out."""
    payload = json.dumps(vsa() if statement is None else statement).encode()
    return Claim(payload_type, payload, by if isinstance(by, Signer) else signer(by))


IMAGE = Digest("sha256", IMAGE_DIGEST)
NOW = datetime(2025, 11, 4, tzinfo=UTC)
KEY = Signer("key:" + "ab" * 32, "")


def run(
    a_claim: Claim,
    a_policy: Policy | None = None,
    now: datetime = NOW,
    signed_at: datetime | None = None,
    **context: Any,
) -> Examination:
    """Return what steps 6 to 13 say of ``a_claim`` as if it were verified."""
    wanted = a_policy or policy()
    return aged(examine(a_claim, Context(wanted, IMAGE, **context)), wanted.max_age, now, signed_at)


def assert_passed(examination: Examination) -> None:
    assert (examination.reason, examination.message) == (None, "")
    assert [step.number for step in examination.steps] == list(range(6, 14))
    assert all(step.outcome is not StepOutcome.FAILED for step in examination.steps)
    assert examination.reached == 14


def assert_failed(examination: Examination, step: int, reason: Reason, *says: str) -> None:
    assert (examination.reached, examination.reason) == (step, reason)
    assert [one.number for one in examination.steps] == list(range(6, step + 1))
    assert [one.number for one in examination.steps if one.outcome is StepOutcome.FAILED] == [step]
    for text in says:
        assert text in examination.message


def trusting(**entry: Any) -> Policy:
    """Return a policy that trusts one signer, for the lab's default verifier id."""
    verifier = "https://github.com/slsa-framework/source-actions"
    return policy(trustedVerifiers=[{"verifierId": verifier, **entry}])


def by_key(**changes: Any) -> tuple[Policy, dict[str, Any]]:
    """Return a policy that trusts a key, and what tells its signatures."""
    verifier = changes.pop("verifierId", "https://github.com/slsa-framework/source-actions")
    caps = {"maxLevel": changes.pop("maxLevel")} if "maxLevel" in changes else {}
    entry = {"verifierId": verifier, "publicKey": "/keys/a.pem", **caps}
    return policy(expectedVerifierId=verifier, trustedVerifiers=[entry], **changes), {
        "key_identities": {"/keys/a.pem": KEY.identity}
    }
