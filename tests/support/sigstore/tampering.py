"""What it means to be wrong in exactly one way: the stage of verification that must notice, and how it is made."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, TypedDict, Unpack

from tests.support.sigstore.encoding import b64, compact, unb64
from tests.support.sigstore.envelope import Payload
from tests.support.sigstore.identity import Identity
from tests.support.sigstore.lab import BundleVersion, Lab

Bundle = dict[str, Any]


class Stage(StrEnum):
    """The part of a verification that must refuse a bundle."""

    SHAPE = "shape"
    TIME = "time"
    CERTIFICATE = "certificate"
    SCT = "sct"
    LOG = "log"
    SIGNATURE = "signature"
    CONSISTENCY = "consistency"
    """The log entry is genuine, but of something else."""


class Options(TypedDict, total=False):
    """What a caller may choose of a tampered bundle, as in ``Lab.sign``."""

    at: datetime
    payload_type: str
    bundle_version: BundleVersion


class Request:
    """What is to be signed. Every ``sign`` starts from a fresh lab, so equal calls have equal results."""

    def __init__(self, seed: str, payload: Payload, identity: Identity | None, options: Options) -> None:
        self.seed, self.payload, self.identity, self.options = seed, payload, identity, options

    def lab(self) -> Lab:
        """Return a lab that has signed nothing yet; the first key it uses is the same each time."""
        return Lab(self.seed)

    def sign(self, **choices: Any) -> bytes:
        """Return an honest bundle; ``choices`` are arguments of ``Lab.sign`` and go before the caller's."""
        payload = choices.pop("payload", self.payload)
        identity = choices.pop("identity", self.identity)
        return self.lab().sign(payload, identity, **{**self.options, **choices})


Maker = Callable[[Request], bytes]


@dataclass(frozen=True)
class Tampering:
    """One way to be wrong.

    ``unknown_party`` is True where an authority or log is at fault that a newer trusted root might name: a verifier
    should tell that from a signature that is wrong.
    """

    name: str
    stage: Stage
    unknown_party: bool
    make: Maker

    def __call__(
        self, lab: Lab, payload: Payload, identity: Identity | None = None, **options: Unpack[Options]
    ) -> bytes:
        """Return the tampered bundle, as one line of JSON.

        Args:
            lab: whose trusted root the bundle is nearly right for; only its seed matters.
            payload: a statement, or bytes.
            identity: the signer; ``github_source_actions()`` if None.
            options: ``at``, ``payload_type`` and ``bundle_version``, as in ``Lab.sign``.
        """
        return self.make(Request(lab.seed, payload, identity, options))


Registry = dict[str, Tampering]


def register(
    registry: Registry, name: str, stage: Stage, *, unknown_party: bool = False
) -> Callable[[Maker], Maker]:
    """Return a decorator that enters a maker into ``registry`` as ``name``."""

    def enter(make: Maker) -> Maker:
        assert name not in registry
        registry[name] = Tampering(name, stage, unknown_party, make)
        return make

    return enter


def parsed(bundle: bytes) -> Bundle:
    """Return the JSON object in ``bundle``."""
    value: Bundle = json.loads(bundle)
    return value


def edited(bundle: bytes, edit: Callable[[Bundle], object]) -> bytes:
    """Return ``bundle`` after ``edit`` changed it in place."""
    value = parsed(bundle)
    edit(value)
    return compact(value)


def flipped(content: bytes, position: int = -1) -> bytes:
    """Return ``content`` with the lowest bit of one byte the other way round."""
    changed = bytearray(content)
    changed[position] ^= 1
    return bytes(changed)


def flip(place: dict[str, Any], name: str, position: int = -1) -> None:
    """Flip a bit of the base64 encoded bytes at ``name``."""
    place[name] = b64(flipped(unb64(place[name]), position))


def material(bundle: Bundle) -> dict[str, Any]:
    """Return the verification material."""
    value: dict[str, Any] = bundle["verificationMaterial"]
    return value


def entry(bundle: Bundle) -> dict[str, Any]:
    """Return the (first) log entry."""
    value: dict[str, Any] = material(bundle)["tlogEntries"][0]
    return value


def certificate(bundle: Bundle) -> dict[str, Any]:
    """Return the object that holds the leaf certificate's ``rawBytes``."""
    held = material(bundle)
    value: dict[str, Any] = held.get("certificate") or held["x509CertificateChain"]["certificates"][0]
    return value


def timestamps(bundle: Bundle) -> list[dict[str, Any]]:
    """Return the signed timestamps."""
    value: list[dict[str, Any]] = material(bundle)["timestampVerificationData"]["rfc3161Timestamps"]
    return value
