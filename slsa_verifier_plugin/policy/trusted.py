"""Who may sign for whom: the built-in table and what a configuration puts in its place."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from slsa_verifier_plugin.model.signer import GITHUB_ISSUER, Signer
from slsa_verifier_plugin.policy.matching import IdentityPattern
from slsa_verifier_plugin.policy.releases import known_releases

CURRENT_VERIFIER_ID = "https://github.com/slsa-framework/actions"
EARLIER_VERIFIER_ID = "https://github.com/slsa-framework/source-actions"
FIRST_VERIFIER_ID = "https://github.com/slsa-framework/slsa-source-poc"
"""The SLSA source workflow's ``verifier.id`` since it moved (after source-tool 0.7.0), before, and at first."""

DEFAULT_VERIFIER_IDS = (CURRENT_VERIFIER_ID, EARLIER_VERIFIER_ID)
"""Expected where nothing is configured: summaries of the time before the move stay on images."""

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
# In upper case as well: a commit must be recognized in any spelling, and the lists have lower case alone.
_BARE_DIGEST = re.compile(r"[0-9a-fA-F]{40}|[0-9a-fA-F]{64}")


@dataclass(frozen=True, slots=True)
class TrustedSigner:
    """One that may sign for ``id``, a verifier's or a builder's.

    Either ``issuer`` with ``identity`` (exact) or ``pattern``, or ``public_key`` (PEM, or a path).
    ``caps`` are the highest levels it is trusted to attest; ``workflow_digests`` the commits accepted after an identity's ``@``.
    ``builds_foreign_source`` says of a builder that its runs are for another repository than the one that they build. ``note`` is
    what is to be known of a built-in one, empty for those that are configured.
    """

    id: str
    issuer: str = ""
    identity: str = ""
    pattern: IdentityPattern | None = None
    public_key: str = ""
    caps: tuple[str, ...] = ()
    workflow_digests: frozenset[str] = frozenset()
    builds_foreign_source: bool = False
    note: str = ""
    is_current_workflow: bool = False

    @classmethod
    def parse(cls, item: Mapping[str, Any], id_key: str) -> TrustedSigner:
        """Return the signer in one entry of ``trustedVerifiers`` or ``trustedBuilders``.

        Raises:
            PatternError: its ``identityPattern`` cannot be compiled.
        """
        # The schema has seen the entry: what is here is of the right type, and either a certificate's or a key's.
        caps = item.get("maxLevel", ())
        pattern = IdentityPattern(item["identityPattern"]) if "identityPattern" in item else None
        # Compiled here, so that a broken pattern is reported as a parameter and not in the middle of a verification.
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
            builds_foreign_source=item.get("buildsForeignSource", False),
        )

    @property
    def is_built_in(self) -> bool:
        """True where it is of the built-in table."""
        return bool(self.note)

    def is_signer(self, signer: Signer, key_identities: Mapping[str, str]) -> bool:
        """Return True if ``signer`` is this one.

        Args:
            signer: the verified signer.
            key_identities: configured public key (as written) to the identity of its signatures.
        """
        if self.public_key:
            # A certificate always has an issuer; without that, one whose name is a key's identity would be that key.
            return not signer.issuer and key_identities.get(self.public_key) == signer.identity
        # Issuer and identity together: anybody can have a certificate with any identity of an issuer of their own.
        return signer.issuer == self.issuer and self._is_identity(signer.identity)

    def unlisted_commit(self, signer: Signer) -> str:
        """Return the commit after the ``@`` where ``signer`` would be this one if that commit were listed; empty otherwise."""
        commit = signer.identity.rpartition("@")[2]
        if self.public_key or commit in self.workflow_digests or not _COMMIT.fullmatch(commit):
            return ""
        # Tried with the commit listed: only if that alone is missing may a message tell people to list it.
        return commit if replace(self, workflow_digests=frozenset((commit,))).is_signer(signer, {}) else ""

    def _is_identity(self, identity: str) -> bool:
        # An exact identity counts as it is written, also where it ends with a commit: whoever configured it has seen that
        # commit.
        if self.identity and identity == self.identity:
            return True
        workflow, _, ref = identity.rpartition("@")
        if _BARE_DIGEST.fullmatch(ref):
            # A commit after the @ may be one of a fork: GitHub serves a fork's commits under its parent's name. An @ before it
            # belongs to a branch's name, which then only looks as if it ended with a commit.
            # Listed commits alone: a fork's commit has the same name here, and its workflow may attest what it likes.
            if ref not in self.workflow_digests or "@" in workflow:
                return False
            if self.identity:
                return workflow == self.identity.rpartition("@")[0]
        return self.pattern is not None and self.pattern.matches(identity)

    def shown(self) -> str:
        """Return the signer as a message names it."""
        if self.public_key:
            return "a configured public key"
        if self.is_current_workflow:
            # Its pattern is an escaped expression, which tells people less than its name.
            return f"{ACTIONS_WORKFLOW} at the tag or commit of a release (issuer {self.issuer})"
        identity = f"identities like {self.pattern.pattern}" if self.pattern else self.identity
        return f"{identity} (issuer {self.issuer})"


def _source_workflow(repository: str) -> str:
    return f"https://github.com/slsa-framework/{repository}/.github/workflows/compute_slsa_source.yml"


ACTIONS_WORKFLOW = _source_workflow("actions")
"""The workflow that signs since the move, without the ref that callers name it at."""


def built_in_verifiers(more_digests: Iterable[str] = ()) -> tuple[TrustedSigner, ...]:
    """Return the signers known without configuration; ``docs/verification.md`` has the table and its reasons.

    Args:
        more_digests: commits of ``ACTIONS_WORKFLOW`` that may sign beside those of known releases.
    """
    # In the package, not fetched: whoever controlled a list on a server could add a commit of theirs.
    digests = known_releases().commits | frozenset(more_digests)
    # A release's tag, or a bare commit, which counts only if it is listed.
    pattern = IdentityPattern(
        re.escape(ACTIONS_WORKFLOW) + r"@(?:refs/tags/v[0-9]+\.[0-9]+\.[0-9]+|[0-9a-f]{40})"
    )

    moved = TrustedSigner(
        CURRENT_VERIFIER_ID,
        GITHUB_ISSUER,
        pattern=pattern,
        workflow_digests=digests,
        note="since the workflow moved: source-tool after 0.7.0",
        is_current_workflow=True,
    )
    source_actions, poc = (
        f"{_source_workflow(name)}@refs/heads/main" for name in ("source-actions", "slsa-source-poc")
    )
    earlier = "before the workflow moved: source-tool until 0.6.2"
    first = "the first workflow, before source-actions"
    return (
        moved,
        # source-tool 0.7.0 runs in the moved workflow and still writes the id from before.
        replace(moved, id=EARLIER_VERIFIER_ID, note="source-tool 0.7.0: moved, under its earlier id"),
        TrustedSigner(EARLIER_VERIFIER_ID, GITHUB_ISSUER, source_actions, note=earlier),
        TrustedSigner(FIRST_VERIFIER_ID, GITHUB_ISSUER, poc, note=first),
    )


BUILT_IN_VERIFIERS = built_in_verifiers()
"""Signers known without configuration."""
