"""Who may sign for whom: the built-in table and what a configuration puts in its place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from slsa_verifier_plugin.model.signer import GITHUB_ISSUER, Signer
from slsa_verifier_plugin.policy.matching import IdentityPattern

DEFAULT_VERIFIER_ID = "https://github.com/slsa-framework/source-actions"
_BARE_DIGEST = re.compile(r"[0-9a-fA-F]{40}|[0-9a-fA-F]{64}")


@dataclass(frozen=True, slots=True)
class TrustedSigner:
    """One that may sign for ``id``, a verifier's or a builder's.

    Either ``issuer`` with ``identity`` (exact) or ``pattern``, or ``public_key`` (PEM, or a path).
    ``caps`` are the highest levels it is trusted to attest; ``workflow_digests`` the commits accepted after an identity's ``@``.
    """

    id: str
    issuer: str = ""
    identity: str = ""
    pattern: IdentityPattern | None = None
    public_key: str = ""
    caps: tuple[str, ...] = ()
    workflow_digests: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, item: Mapping[str, Any], id_key: str) -> TrustedSigner:
        """Return the signer in one entry of ``trustedVerifiers`` or ``trustedBuilders``.

        Raises:
            PatternError: its ``identityPattern`` cannot be compiled.
        """
        caps = item.get("maxLevel", ())
        pattern = IdentityPattern(item["identityPattern"]) if "identityPattern" in item else None
        if pattern is not None:
            pattern.check()
        return cls(
            id=item[id_key],
            issuer=item.get("issuer", ""),
            identity=item.get("identity", ""),
            pattern=pattern,
            public_key=item.get("publicKey", ""),
            caps=(caps,) if isinstance(caps, str) else tuple(caps),
            workflow_digests=frozenset(item.get("allowedWorkflowDigests", ())),
        )

    def is_signer(self, signer: Signer, key_identities: Mapping[str, str]) -> bool:
        """Return True if ``signer`` is this one.

        Args:
            signer: the verified signer.
            key_identities: configured public key (as written) to the identity of its signatures.
        """
        if self.public_key:
            return not signer.issuer and key_identities.get(self.public_key) == signer.identity
        return signer.issuer == self.issuer and self._is_identity(signer.identity)

    def _is_identity(self, identity: str) -> bool:
        if self.identity and identity == self.identity:
            return True
        workflow, _, ref = identity.rpartition("@")
        if _BARE_DIGEST.fullmatch(ref):
            # A commit after the @ may be one of a fork: GitHub serves a fork's commits under its parent's name.
            if ref not in self.workflow_digests:
                return False
            if self.identity:
                return workflow == self.identity.rpartition("@")[0]
        return self.pattern is not None and self.pattern.matches(identity)

    def shown(self) -> str:
        """Return the signer as a message names it."""
        if self.public_key:
            return "a configured public key"
        identity = f"identities like {self.pattern.pattern}" if self.pattern else self.identity
        return f"{identity} (issuer {self.issuer})"


def _source_workflow(repository: str) -> str:
    return f"https://github.com/slsa-framework/{repository}/.github/workflows/compute_slsa_source.yml"


BUILT_IN_VERIFIERS = (
    TrustedSigner(
        DEFAULT_VERIFIER_ID, GITHUB_ISSUER, identity=f"{_source_workflow('source-actions')}@refs/heads/main"
    ),
    TrustedSigner(
        "https://github.com/slsa-framework/actions",
        GITHUB_ISSUER,
        pattern=IdentityPattern(
            re.escape(_source_workflow("actions")) + r"@refs/tags/v[0-9]+\.[0-9]+\.[0-9]+"
        ),
    ),
    TrustedSigner(
        "https://github.com/slsa-framework/slsa-source-poc",
        GITHUB_ISSUER,
        identity=f"{_source_workflow('slsa-source-poc')}@refs/heads/main",
    ),
)
"""Signers known without configuration; ``docs/verification.md`` has the table and its reasons."""
