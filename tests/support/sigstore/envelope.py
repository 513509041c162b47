"""DSSE envelopes (secure-systems-lab/dsse v1), and signing them with a plain key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.support.sigstore.encoding import b64, compact
from tests.support.sigstore.keys import Key

IN_TOTO = "application/vnd.in-toto+json"

Payload = Mapping[str, Any] | bytes
"""A statement, or any bytes."""


@dataclass(frozen=True)
class Envelope:
    """A payload, its type and the signatures over both."""

    payload: bytes
    payload_type: str
    signatures: tuple[bytes, ...]
    key_ids: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return the envelope as protobuf's JSON mapping writes it; no ``keyid`` where there is none."""
        ids = self.key_ids or ("",) * len(self.signatures)
        return {
            "payload": b64(self.payload),
            "payloadType": self.payload_type,
            "signatures": [
                {"sig": b64(one), **({"keyid": key_id} if key_id else {})}
                for one, key_id in zip(self.signatures, ids, strict=True)
            ],
        }


def payload_bytes(payload: Payload) -> bytes:
    """Return ``payload`` as it is signed: bytes as they are, anything else as compact JSON."""
    return payload if isinstance(payload, bytes) else compact(payload)


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """Return what a DSSE signature is over (dsse ``protocol.md``); lengths count bytes."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sign_envelope(
    payload: Payload, key: Key, *, payload_type: str = IN_TOTO, key_id: str = "", others: tuple[Key, ...] = ()
) -> Envelope:
    """Return an envelope signed with ``key``, then with each of ``others``."""
    content = payload_bytes(payload)
    message = pre_authentication_encoding(payload_type, content)
    signatures = tuple(one.sign(message) for one in (key, *others))
    return Envelope(content, payload_type, signatures, (key_id, *("" for _ in others)))


def keyed_envelope(payload: Payload, key: Key, *, payload_type: str = IN_TOTO, key_id: str = "") -> bytes:
    """Return a bare envelope, signed with a plain key, as one line of JSON."""
    return compact(sign_envelope(payload, key, payload_type=payload_type, key_id=key_id).as_json())
