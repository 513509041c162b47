"""Inputs that each fuzz target begins with: the nearest to what is accepted."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any

from slsa_verifier_plugin.resident import protocol
from tests.fuzz.attestation_pool import KEY, pool
from tests.support.policies import BASE
from tests.support.sigstore import SIGNED_AT, Lab, provenance_v02, provenance_v1, vsa
from tests.support.sigstore.encoding import unb64
from tests.support.simulators import MemoryStore, as_json


def _genuine_lines() -> list[bytes]:
    return [made.line for made in pool() if made.signed is not None]


def _blob_seeds() -> list[bytes]:
    lines = _genuine_lines()
    bundles = [json.loads(line) for line in lines[:2]]
    api = {"attestations": [{"bundle": bundle, "repository_id": 1} for bundle in bundles]}
    pretty = json.dumps(bundles[0], indent=1).encode()
    return [
        b"\n".join(lines[:3]),
        pretty,
        pretty + lines[1] + pretty,
        json.dumps(bundles).encode(),
        json.dumps(api, indent=1).encode(),
    ]


def _manifest_seeds() -> list[bytes]:
    layer = as_json(MemoryStore().put_image())
    contents: list[Any] = [
        {"schemaVersion": 2, "config": layer, "layers": [layer], "subject": layer},
        {"schemaVersion": 2, "manifests": [{**layer, "platform": {"os": "linux", "architecture": "amd64"}}]},
        {"artifactType": "a/b", "blobs": [layer], "annotations": {"a": "b"}},
    ]
    return [bytes([kind]) + json.dumps(content).encode() for kind in range(6) for content in contents]


def _statement_seeds() -> list[bytes]:
    statements = [vsa(), vsa(levels=["SLSA_SOURCE_LEVEL_1"], refs=None), provenance_v1(), provenance_v02()]
    return [json.dumps(one).encode() for one in statements]


def _certificate_seeds() -> list[bytes]:
    materials = [json.loads(line).get("verificationMaterial", {}) for line in _genuine_lines()]
    return [unb64(one["certificate"]["rawBytes"]) for one in materials if "certificate" in one][:6]


def _stdin() -> bytes:
    value = {
        "config": {**BASE, "maxAge": "720h", "sourceBinding": "annotation"},
        "storeConfig": {"store": {"name": "oras"}},
        "referenceDesc": as_json(MemoryStore().put_image()),
    }
    return json.dumps(value).encode()


_SUBJECT = b"registry.example:5000/a/b_c@sha256:" + b"ab" * 32
SEEDS: dict[str, Callable[[], list[bytes]]] = {
    "strict_json": lambda: [
        b'[1e308,"\\ud83d\\ude00",-0.0,null,true]',
        b"[" * 64 + b"]" * 64,
        *_statement_seeds(),
    ],
    "blob": _blob_seeds,
    "manifest": _manifest_seeds,
    "statement": _statement_seeds,
    "frames": lambda: [
        protocol.encode_request((0.5, b"VERIFY", _SUBJECT, None, _stdin())),
        protocol.encode_answer((0, b"{}\n", b"")),
        protocol.encode_accepted(4.25),
    ],
    "reference": lambda: [_SUBJECT, b"localhost:5000/x:tag", b"ubuntu", b"[::1]:80/a@sha512:" + b"0f" * 64],
    "text": lambda: [b'{"isSuccess":true}\n', "\u202e\u00e4\U0001f600".encode(), b"\xed\xa0\x80"],
    "small_texts": lambda: [
        b"2025-11-03T10:00:00.5+02:00",
        b"git+https://github.com/a/b.git@refs/heads/main",
        b"SLSA_SOURCE_LEVEL_3|SLSA_SOURCE_LEVEL_2",
        b"git+https://github.com/**|git+https://github.com/a/b",
    ],
    "certificate": _certificate_seeds,
    "key": lambda: [KEY.pem.partition(b"\n")[2]],
    "envelope": lambda: [line for line in _genuine_lines() if b'"certificate"' not in line][:6],
    "bundle": lambda: _genuine_lines()[:10],
    "timestamp": lambda: [Lab().timestamp_authority.stamp(b"message", SIGNED_AT)],
    "trusted_root": lambda: [Lab().trusted_root()],
    "parameters": lambda: [json.dumps(BASE).encode(), b'{"trustedRoot":["staging"],"timeout":"1s"}'],
    "contract": lambda: [b"VERIFY\0" + _SUBJECT + b"\x001.0.0\0" + _stdin(), _stdin()],
    "verification": lambda: [bytes(range(start, start + 60)) for start in range(0, 196, 7)],
}


@cache
def seeds(name: str) -> tuple[bytes, ...]:
    """Return inputs to begin with: the nearest to what is accepted."""
    return tuple(SEEDS[name]())
