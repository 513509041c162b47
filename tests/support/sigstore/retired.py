"""A Sigstore whose parties were all replaced, and whoever still has the old ones' keys.

The trusted root lists both generations: the retired parties until ``ENDED``, their successors from then on. What a retired
party made in its time still counts; what its key makes afterwards does not, whomever it claims to be.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from cryptography import x509

from tests.support.sigstore.certificates import CertificateAuthority, CtLog
from tests.support.sigstore.encoding import b64
from tests.support.sigstore.envelope import Payload
from tests.support.sigstore.keys import Key, Scheme, derive_key
from tests.support.sigstore.lab import SEED, SIGNED_AT, Departures, Lab
from tests.support.sigstore.logs import RekorV1, RekorV2
from tests.support.sigstore.timestamps import TimestampAuthority
from tests.support.sigstore.trusted_root import ENDED, trusted_root

Party = Literal["log", "log-v2", "ca", "ct", "tsa"]
PARTIES: tuple[Party, ...] = ("log", "log-v2", "ca", "ct", "tsa")
IN_ITS_TIME = datetime(2024, 6, 1, 10, 0, tzinfo=ENDED.tzinfo)
"""When the retired parties were in service."""


class NamedRekorV1(RekorV1):
    """A log that is known by, or claims, an id that is not the digest of its key."""

    def __init__(self, key: Key, log_id: bytes) -> None:
        super().__init__(key)
        self._id = log_id

    @property
    def log_id(self) -> bytes:
        return self._id


@dataclass(frozen=True)
class _NamedCtLog(CtLog):
    """As ``NamedRekorV1``, for a CT log."""

    log_id: bytes = b""

    def timestamp(self, content: bytes, issuer_key_id: bytes, at: datetime) -> bytes:
        sct = super().timestamp(content, issuer_key_id, at)
        return sct[:1] + self.log_id + sct[33:]


class _NamingAuthority(CertificateAuthority):
    """An authority whose leaves name another's key, or none, as their issuer's."""

    named: Key | None = None

    def issuer_key(self) -> x509.AuthorityKeyIdentifier | None:
        if self.named is None:
            return None
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(self.named.elliptic.public_key())


@dataclass
class Rollover:
    """Two generations of one Sigstore.

    Args:
        own_ids: the root declares ids for logs that are not the digests of their keys, as for Rekor v2.
    """

    own_ids: bool = False
    now: Lab = field(init=False)
    before: Lab = field(init=False)

    def __post_init__(self) -> None:
        self.now, self.before = Lab(), Lab(f"{SEED}, retired")
        if self.own_ids:
            for lab in (self.now, self.before):
                lab.rekor_v1 = NamedRekorV1(lab.rekor_v1.key, _declared(lab, "log"))
                lab.ct_log = _NamedCtLog(lab.ct_log.key, _declared(lab, "ct"))

    def root(self) -> bytes:
        """Return the trusted root."""
        value = json.loads(trusted_root(self.now, start=ENDED))
        old = json.loads(trusted_root(self.before, end=ENDED))
        for name in ("tlogs", "certificateAuthorities", "ctlogs", "timestampAuthorities"):
            value[name] += old[name]
        if self.own_ids:
            for log, lab in zip(value["ctlogs"], (self.now, self.before), strict=True):
                log["logId"]["keyId"] = b64(_declared(lab, "ct"))
        return json.dumps(value, indent=1).encode() + b"\n"

    def honest(self, payload: Payload, party: Party) -> bytes:
        """Return a bundle by the parties in service."""
        return self.now.sign(payload, **_how(party))

    def in_its_time(self, payload: Payload, party: Party) -> bytes:
        """Return a bundle of the time when the retired parties were in service, by them."""
        return self.before.sign(payload, at=IN_ITS_TIME, **_how(party))

    def retired(self, payload: Payload, party: Party, *, claims: bool, at: datetime = SIGNED_AT) -> bytes:
        """Return a bundle of which one part was made with a retired party's key after its time.

        Args:
            payload: what is signed.
            party: whose key was kept.
            claims: the part says that its successor made it.
            at: when.
        """
        return self.now.sign(payload, at=at, departures=self._departures(party, claims), **_how(party))

    def _departures(self, party: Party, claims: bool) -> Departures:
        now, before = self.now, self.before
        if party == "log":
            log_id = now.rekor_v1.log_id if claims else before.rekor_v1.log_id
            return Departures(log=NamedRekorV1(before.rekor_v1.key, log_id))
        if party == "log-v2":
            log = RekorV2(before.rekor_v2.key)
            log.log_id = now.rekor_v2.log_id if claims else before.rekor_v2.log_id
            return Departures(log=log)
        if party == "ct":
            log_id = _id_of(now.ct_log) if claims else _id_of(before.ct_log)
            return Departures(ct_log=_NamedCtLog(before.ct_log.key, log_id))
        if party == "ca":
            authority = _NamingAuthority(before.seed)
            authority.named = now.authority.key if claims else before.authority.key
            return Departures(authority=authority)
        stamping = TimestampAuthority(before.seed)
        if claims:
            stamping.certificate = now.timestamp_authority.certificate
        return Departures(timestamp_authority=stamping)

    def nameless_authority(self, payload: Payload) -> bytes:
        """Return a bundle whose certificate a retired authority issued, which says by name alone who that was."""
        authority = _NamingAuthority(self.before.seed)
        return self.now.sign(payload, departures=replace(Departures(), authority=authority))


def _how(party: Party) -> dict[str, Any]:
    return {"log": "v2", "timestamp": True} if party in ("log-v2", "tsa") else {}


def _declared(lab: Lab, kind: str) -> bytes:
    """Return an id that a root declares for a log, which has nothing to do with its key."""
    return derive_key(lab.seed, f"declared id/{kind}", Scheme.ECDSA_P256).key_id


def _id_of(log: CtLog) -> bytes:
    return log.log_id if isinstance(log, _NamedCtLog) else log.key.key_id
