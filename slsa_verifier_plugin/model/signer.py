"""Who signed: what a certificate or a configured key says of a signature's maker.

What a CI run claims are certificate extensions below 1.3.6.1.4.1.57264.1 (Fulcio ``docs/oid-info.md``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

GITHUB = "https://github.com"
GITHUB_ISSUER = "https://token.actions.githubusercontent.com"
REPOSITORY, COMMIT, REF = (12, 5), (13, 3), (14, 6)
"""Certificate extensions of the source, all providers' and GitHub's old ones: the last arcs of their OIDs."""
RUNNER = 11
"""The extension that says whose machine it ran on."""
KEY_PREFIX = "key:"
"""How the identity of a configured key's signatures begins; no certificate may name one."""


@dataclass(frozen=True, slots=True)
class Signer:
    """A signing identity.

    ``identity`` is the certificate's subject alternative name (URI or e-mail address) and ``issuer`` who vouched for it;
    for a configured key ``identity`` is ``key:`` and the SHA-256 of its DER form, and ``issuer`` is empty. ``claims`` holds the
    certificate's extension values by the last arc of their OID below 1.3.6.1.4.1.57264.1.
    """

    identity: str
    issuer: str
    claims: Mapping[int, str] = field(default_factory=dict, hash=False)

    @property
    def is_github(self) -> bool:
        """True where the certificate speaks of a GitHub Actions run: by its issuer, or by extensions that only GitHub has."""
        return (
            self.issuer == GITHUB_ISSUER
            or self.issuer.startswith(f"{GITHUB_ISSUER}/")  # an enterprise's own
            # Arcs 2 to 6 are GitHub's own extensions (Fulcio ``docs/oid-info.md``): a GitHub server with an issuer of
            # its own has them as well.
            or any(arc in self.claims for arc in (2, 3, 4, 5, 6))
        )

    @property
    def is_ci_run(self) -> bool:
        """True where the certificate speaks of a run of any provider: its runner, or the source that it ran for."""
        # Runner, source repository, commit and ref: providers other than GitHub set these alone (Fulcio ``docs/oid-
        # info.md``).
        return self.is_github or any(arc in self.claims for arc in (11, 12, 13, 14))


@dataclass(frozen=True, slots=True)
class Claim:
    """What a candidate says was signed, and by whom. Nothing vouches for it yet."""

    payload_type: str
    payload: bytes
    signer: Signer


@dataclass(frozen=True, slots=True)
class Verified:
    """A claim whose signature verified, and what vouches for its time.

    ``signed_at`` (UTC) is the earliest time that a log or a timestamp authority vouched for, None for a key's signature without
    one. ``trusted_root`` is the SHA-256 of the root that vouched, empty for a key. ``cosigners`` are the other configured keys
    that signed the same payload.
    """

    claim: Claim
    signed_at: datetime | None = None
    log_index: int | None = None
    trusted_root: str = ""
    cosigners: tuple[Signer, ...] = ()

    @property
    def claims(self) -> tuple[Claim, ...]:
        """What was verified, once for each signer: any one of them may be the one that the policy trusts."""
        # The order is that of the configuration, not of the envelope: whoever relays it may put its signatures in another
        # one.
        return (self.claim, *(replace(self.claim, signer=signer) for signer in self.cosigners))
