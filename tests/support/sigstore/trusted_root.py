"""``trusted_root.json`` of a lab, whole or in part (Sigstore protobuf specifications, ``TrustedRoot``)."""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any, Protocol, TypedDict

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.support.sigstore.certificates import CREATED, ORGANIZATION, CertificateAuthority, CtLog
from tests.support.sigstore.encoding import b64, rfc3339
from tests.support.sigstore.keys import Key
from tests.support.sigstore.logs import RekorV1, RekorV2
from tests.support.sigstore.timestamps import TimestampAuthority

MEDIA_TYPE = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"

CA, CT, REKOR_V1, REKOR_V2, TSA = "ca", "ct", "v1", "v2", "tsa"
EVERYTHING = frozenset({CA, CT, REKOR_V1, REKOR_V2, TSA})


class Instance(Protocol):
    """The parts of a lab that a trusted root names."""

    authority: CertificateAuthority
    ct_log: CtLog
    rekor_v1: RekorV1
    rekor_v2: RekorV2
    timestamp_authority: TimestampAuthority


class TrustedRootOptions(TypedDict, total=False):
    """What ``trusted_root`` takes beside the lab."""

    parts: Collection[str]
    start: datetime
    end: datetime | None
    only_for: Collection[str]


def trusted_root(
    lab: Instance,
    *,
    parts: Collection[str] = EVERYTHING,
    start: datetime = CREATED,
    end: datetime | None = None,
    only_for: Collection[str] = EVERYTHING,
) -> bytes:
    """Return the trusted root as indented JSON with a final newline.

    Args:
        lab: whose keys and certificates.
        parts: which of ``EVERYTHING`` it names; the other lists stay empty.
        start: from when on the parts in ``only_for`` count.
        end: until when they do; None for no end.
        only_for: the parts that ``start`` and ``end`` are for; all others count from ``CREATED`` on.
    """

    def window(part: str) -> dict[str, str]:
        first, last = (start, end) if part in only_for else (CREATED, None)
        return {"start": rfc3339(first), **({"end": rfc3339(last)} if last else {})}

    logs = {
        REKOR_V1: _log(
            f"https://{lab.rekor_v1.host}", lab.rekor_v1.key, lab.rekor_v1.log_id, window(REKOR_V1)
        ),
        REKOR_V2: _log(
            f"https://{lab.rekor_v2.host}", lab.rekor_v2.key, lab.rekor_v2.log_id, window(REKOR_V2)
        ),
    }
    ct = _log("https://ctfe.lab.invalid/2025", lab.ct_log.key, lab.ct_log.key.key_id, window(CT))
    fulcio = _authority(
        "https://fulcio.lab.invalid", [lab.authority.intermediate, lab.authority.root], window(CA)
    )
    tsa = _authority(
        "https://timestamp.lab.invalid/api/v1/timestamp",
        [lab.timestamp_authority.certificate, lab.timestamp_authority.root],
        window(TSA),
    )
    root = {
        "mediaType": MEDIA_TYPE,
        "tlogs": [log for part, log in logs.items() if part in parts],
        "certificateAuthorities": [fulcio] if CA in parts else [],
        "ctlogs": [ct] if CT in parts else [],
        "timestampAuthorities": [tsa] if TSA in parts else [],
    }
    return json.dumps(root, indent=1).encode() + b"\n"


ENDED = datetime(2025, 1, 1, tzinfo=UTC)
"""Before the lab signs anything by default."""

VARIANTS: dict[str, TrustedRootOptions] = {
    "full": {},
    "v1-only": {"parts": EVERYTHING - {REKOR_V2}},
    "v2-only": {"parts": EVERYTHING - {REKOR_V1}},
    "logs-only": {"parts": EVERYTHING - {TSA}},
    "timestamps-only": {"parts": {CA, TSA}},
    "no-ct-log": {"parts": EVERYTHING - {CT}},
    "no-authority": {"parts": EVERYTHING - {CA}},
    "empty": {"parts": ()},
    "all-expired": {"end": ENDED},
    "not-yet-valid": {"start": datetime(2054, 1, 1, tzinfo=UTC)},
    "authority-expired": {"end": ENDED, "only_for": {CA}},
    "ct-log-expired": {"end": ENDED, "only_for": {CT}},
    "v1-expired": {"end": ENDED, "only_for": {REKOR_V1}},
    "v2-expired": {"end": ENDED, "only_for": {REKOR_V2}},
    "timestamps-expired": {"end": ENDED, "only_for": {TSA}},
}
"""Trusted roots by name; ``timestamps-only`` is like GitHub's own Sigstore: no logs of either kind."""


def _log(url: str, key: Key, log_id: bytes, window: dict[str, str]) -> dict[str, Any]:
    return {
        "baseUrl": url,
        "hashAlgorithm": "SHA2_256",
        "publicKey": {"rawBytes": b64(key.spki), "keyDetails": key.details, "validFor": window},
        "logId": {"keyId": b64(log_id)},
    }


def _authority(url: str, chain: list[x509.Certificate], window: dict[str, str]) -> dict[str, Any]:
    return {
        "subject": {"organization": ORGANIZATION, "commonName": _common_name(chain[-1])},
        "uri": url,
        "certChain": {"certificates": [{"rawBytes": b64(one.public_bytes(Encoding.DER))} for one in chain]},
        "validFor": window,
    }


def _common_name(certificate: x509.Certificate) -> str:
    value = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value
    return value if isinstance(value, str) else value.decode()
