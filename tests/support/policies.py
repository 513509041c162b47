"""Policies and claims for tests that need no signatures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from slsa_verifier_plugin.model.signer import Claim, Signer
from slsa_verifier_plugin.model.statement import PAYLOAD_TYPE
from slsa_verifier_plugin.policy.parameters import Policy, parse_policy
from tests.support.sigstore import REPOSITORY, Identity, github_source_actions, vsa

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
