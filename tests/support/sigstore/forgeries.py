"""Bundles with a part that somebody else made, or that was made at another time; all else is honest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from tests.support.sigstore.certificates import FULCIO_PROFILE, CertificateAuthority, CtLog, LeafProfile
from tests.support.sigstore.identity import github_source_actions
from tests.support.sigstore.keys import Scheme, derive_key
from tests.support.sigstore.lab import LOGGED_AFTER, SIGNED_AT, Departures
from tests.support.sigstore.logs import RekorV1, RekorV2
from tests.support.sigstore.tampering import Maker, Registry, Request, Stage, flipped, register
from tests.support.sigstore.timestamps import TimestampAuthority

FORGERIES: Registry = {}
STRANGER = "somebody else's Sigstore"

_V2: dict[str, Any] = {"log": "v2", "timestamp": True}
_EARLIER = timedelta(hours=-1)
_LATER = timedelta(hours=1)


def _forge(
    name: str, stage: Stage, *, unknown_party: bool = False, **choices: Any
) -> Callable[[Callable[[Request], Departures]], Maker]:
    """Enter a bundle that is signed under the departures that the decorated function returns."""

    def enter(depart: Callable[[Request], Departures]) -> Maker:
        return register(FORGERIES, name, stage, unknown_party=unknown_party)(
            lambda request: request.sign(departures=depart(request), **choices)
        )

    return enter


def _moment(request: Request) -> datetime:
    return request.options.get("at", SIGNED_AT)


@_forge("authority-unknown", Stage.CERTIFICATE, unknown_party=True)
def _(request: Request) -> Departures:
    """Same names, other keys; the CT log is the known one."""
    return Departures(authority=CertificateAuthority(STRANGER))


@_forge("leaf-issued-by-a-leaf", Stage.CERTIFICATE, unknown_party=True, bundle_version="0.1")
def _(request: Request) -> Departures:
    """Any owner of a genuine certificate could sign as anybody, were leaves taken for authorities."""
    return Departures(authority=_LeafAsAuthority(request), whole_chain=True)


class _LeafAsAuthority(CertificateAuthority):
    """The holder of a genuine leaf certificate who issues certificates with its key."""

    def __init__(self, request: Request) -> None:
        super().__init__(request.seed)
        key = derive_key(STRANGER, "leaf")
        leaf = self.issue(
            key.elliptic.public_key(),
            github_source_actions(),
            _moment(request),
            request.lab().ct_log,
            FULCIO_PROFILE,
        )
        self.key, self.intermediate = key, leaf


@_forge("certificate-without-code-signing", Stage.CERTIFICATE)
def _(request: Request) -> Departures:
    return Departures(profile=LeafProfile(code_signing=False))


@_forge("certificate-without-digital-signature", Stage.CERTIFICATE)
def _(request: Request) -> Departures:
    return Departures(profile=LeafProfile(digital_signature=False))


@_forge("certificate-is-an-authority", Stage.CERTIFICATE)
def _(request: Request) -> Departures:
    return Departures(profile=LeafProfile(is_ca=True))


@_forge("certificate-not-yet-valid", Stage.CERTIFICATE)
def _(request: Request) -> Departures:
    return Departures(certificate_at=_moment(request) + _LATER)


@_forge("certificate-expired", Stage.CERTIFICATE)
def _(request: Request) -> Departures:
    return Departures(certificate_at=_moment(request) + _EARLIER)


@_forge("certificate-not-yet-valid-at-timestamp", Stage.CERTIFICATE, **_V2)
def _(request: Request) -> Departures:
    return Departures(timestamped_at=_moment(request) + _EARLIER)


@_forge("certificate-expired-at-timestamp", Stage.CERTIFICATE, **_V2)
def _(request: Request) -> Departures:
    return Departures(timestamped_at=_moment(request) + _LATER)


@_forge("certificate-expired-at-timestamp-not-at-log", Stage.CERTIFICATE, timestamp=True)
def _(request: Request) -> Departures:
    """Two sources of time, of which one says that the certificate was no longer valid."""
    return Departures(timestamped_at=_moment(request) + _LATER)


@register(FORGERIES, "sct-missing", Stage.SCT)
def _(request: Request) -> bytes:
    return request.sign(sct=False)


@_forge("sct-of-unknown-log", Stage.SCT, unknown_party=True)
def _(request: Request) -> Departures:
    return Departures(ct_log=CtLog(derive_key(STRANGER, "ctfe")))


@_forge("sct-flipped", Stage.SCT)
def _(request: Request) -> Departures:
    return Departures(ct_log=_FlippingLog(request.lab().ct_log))


@_forge("sct-of-another-certificate", Stage.SCT)
def _(request: Request) -> Departures:
    return Departures(ct_log=_ConfusedLog(request))


@dataclass(frozen=True)
class _FlippingLog:
    """The known CT log, of whose signatures the last bit got lost on the way."""

    log: CtLog

    def timestamp(self, content: bytes, issuer_key_id: bytes, at: datetime) -> bytes:
        return flipped(self.log.timestamp(content, issuer_key_id, at))


@dataclass(frozen=True)
class _ConfusedLog:
    """The known CT log, whose SCT is for another certificate of the same authority."""

    request: Request

    def timestamp(self, content: bytes, issuer_key_id: bytes, at: datetime) -> bytes:
        lab = self.request.lab()
        key = derive_key(STRANGER, "certificate").elliptic.public_key()
        other = lab.authority.issue(key, github_source_actions(), at, None)
        return lab.ct_log.timestamp(other.tbs_certificate_bytes, issuer_key_id, at)


@_forge("log-unknown", Stage.LOG, unknown_party=True)
def _(request: Request) -> Departures:
    return Departures(log=RekorV1(derive_key(STRANGER, "rekor/v1")))


@_forge("v2-log-unknown", Stage.LOG, unknown_party=True, **_V2)
def _(request: Request) -> Departures:
    return Departures(log=RekorV2(derive_key(STRANGER, "rekor/v2", Scheme.ED25519)))


@_forge("timestamp-authority-unknown", Stage.TIME, unknown_party=True, **_V2)
def _(request: Request) -> Departures:
    return Departures(timestamp_authority=TimestampAuthority(STRANGER))


@_forge("signed-by-another-key", Stage.SIGNATURE)
def _(request: Request) -> Departures:
    """Logged and timestamped as it is; only that the certificate is for another key."""
    return Departures(signing_keys=(derive_key(STRANGER, "key"),))


@_forge("signed-by-two-keys", Stage.SHAPE)
def _(request: Request) -> Departures:
    """The certificate's key and a stranger's; Rekor knows both signatures."""
    own = request.lab().next_key
    return Departures(signing_keys=(own, derive_key(STRANGER, "key")))


@register(FORGERIES, "logged-late", Stage.CERTIFICATE)
def _(request: Request) -> bytes:
    """Logged one second after the certificate's last."""
    late = _moment(request) + FULCIO_PROFILE.lifetime + LOGGED_AFTER
    return request.sign(departures=Departures(logged_at=late))
