"""Changes to what a finished bundle says of transparency log and timestamps; each of one thing."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta

from tests.support.sigstore.encoding import b64, canonical, unb64
from tests.support.sigstore.keys import derive_key
from tests.support.sigstore.lab import LOGGED_AFTER, SIGNED_AT
from tests.support.sigstore.logs import checkpoint
from tests.support.sigstore.tampering import (
    Bundle,
    Maker,
    Registry,
    Request,
    Stage,
    edited,
    entry,
    flip,
    material,
    parsed,
    register,
    timestamps,
)

LOG_EDITS: Registry = {}
MOST_TIMESTAMPS = 32
"""Signed timestamps that sigstore-python and sigstore-go read in one bundle."""


def _edit(
    name: str, stage: Stage = Stage.LOG, *, v2: bool = False, unknown_party: bool = False
) -> Callable[[Callable[[Bundle], object]], Maker]:
    """Enter an edit of a bundle logged by Rekor v1 without a timestamp, or by Rekor v2 with one."""

    def enter(edit: Callable[[Bundle], object]) -> Maker:
        choices = {"log": "v2", "timestamp": True} if v2 else {}
        return register(LOG_EDITS, name, stage, unknown_party=unknown_party)(
            lambda request: edited(request.sign(**choices), edit)
        )

    return enter


def _flip_body(bundle: Bundle, *path: str) -> None:
    """Change a character of a digest inside the canonical body, which stays canonical JSON."""
    body = json.loads(unb64(entry(bundle)["canonicalizedBody"]))
    place = body["spec"]
    for name in path:
        place = place[name]
    if "value" in place:
        place["value"] = ("1" if place["value"][0] == "0" else "0") + place["value"][1:]
    else:
        flip(place, "digest", 0)
    entry(bundle)["canonicalizedBody"] = b64(canonical(body))


@_edit("log-body-flipped")
def _(bundle: Bundle) -> None:
    _flip_body(bundle, "payloadHash")


@_edit("v2-log-body-flipped", v2=True)
def _(bundle: Bundle) -> None:
    _flip_body(bundle, "hashedRekordV002", "data")


@_edit("log-kind-changed", Stage.CONSISTENCY)
def _(bundle: Bundle) -> None:
    entry(bundle)["kindVersion"] = {"kind": "hashedrekord", "version": "0.0.1"}


@_edit("log-version-unknown", Stage.SHAPE)
def _(bundle: Bundle) -> None:
    entry(bundle)["kindVersion"]["version"] = "0.0.9"


@_edit("log-id-changed", unknown_party=True)
def _(bundle: Bundle) -> None:
    flip(entry(bundle)["logId"], "keyId", 0)


@_edit("log-index-changed")
def _(bundle: Bundle) -> None:
    entry(bundle)["logIndex"] = str(int(entry(bundle)["logIndex"]) + 1)


@_edit("integrated-time-changed")
def _(bundle: Bundle) -> None:
    """By a minute, so that it still is within the certificate's validity."""
    entry(bundle)["integratedTime"] = str(int(entry(bundle)["integratedTime"]) + 60)


@_edit("integrated-time-removed", Stage.TIME)
def _(bundle: Bundle) -> None:
    del entry(bundle)["integratedTime"]


@_edit("set-flipped")
def _(bundle: Bundle) -> None:
    flip(entry(bundle)["inclusionPromise"], "signedEntryTimestamp")


@register(LOG_EDITS, "set-flipped-beside-timestamp", Stage.LOG)
def _(request: Request) -> bytes:
    """A trusted time is there all the same, but what the log says of it is a lie."""

    def edit(bundle: Bundle) -> None:
        flip(entry(bundle)["inclusionPromise"], "signedEntryTimestamp")

    return edited(request.sign(timestamp=True), edit)


@_edit("set-removed", Stage.SHAPE)
def _(bundle: Bundle) -> None:
    del entry(bundle)["inclusionPromise"]


@_edit("set-of-unknown-log")
def _(bundle: Bundle) -> None:
    logged = entry(bundle)
    promise = {
        "body": logged["canonicalizedBody"],
        "integratedTime": int(logged["integratedTime"]),
        "logID": unb64(logged["logId"]["keyId"]).hex(),
        "logIndex": int(logged["logIndex"]),
    }
    forged = derive_key("somebody else", "rekor").sign(canonical(promise))
    logged["inclusionPromise"]["signedEntryTimestamp"] = b64(forged)


@_edit("proof-removed", Stage.SHAPE)
def _(bundle: Bundle) -> None:
    del entry(bundle)["inclusionProof"]


def _flip_proof_hash(bundle: Bundle) -> None:
    hashes = entry(bundle)["inclusionProof"]["hashes"]
    hashes[0] = b64(bytes([unb64(hashes[0])[0] ^ 1]) + unb64(hashes[0])[1:])


_edit("proof-hash-flipped")(_flip_proof_hash)
_edit("v2-proof-hash-flipped", v2=True)(_flip_proof_hash)


@_edit("proof-hash-dropped")
def _(bundle: Bundle) -> None:
    entry(bundle)["inclusionProof"]["hashes"].pop()


@_edit("proof-index-changed")
def _(bundle: Bundle) -> None:
    proof = entry(bundle)["inclusionProof"]
    proof["logIndex"] = str(int(proof["logIndex"]) - 1)


@_edit("proof-root-flipped")
def _(bundle: Bundle) -> None:
    flip(entry(bundle)["inclusionProof"], "rootHash")


@_edit("checkpoint-removed", Stage.SHAPE)
def _(bundle: Bundle) -> None:
    del entry(bundle)["inclusionProof"]["checkpoint"]


def _flip_checkpoint(bundle: Bundle) -> None:
    held = entry(bundle)["inclusionProof"]["checkpoint"]
    text, _, signature = held["envelope"].rstrip("\n").rpartition(" ")
    raw = unb64(signature)
    held["envelope"] = f"{text} {b64(raw[:-1] + bytes([raw[-1] ^ 1]))}\n"


_edit("checkpoint-signature-flipped")(_flip_checkpoint)
_edit("v2-checkpoint-signature-flipped", v2=True)(_flip_checkpoint)


@_edit("checkpoint-unsigned")
def _(bundle: Bundle) -> None:
    held = entry(bundle)["inclusionProof"]["checkpoint"]
    held["envelope"] = held["envelope"].partition("\n\n")[0] + "\n\n"


@_edit("checkpoint-key-hint-changed")
def _(bundle: Bundle) -> None:
    held = entry(bundle)["inclusionProof"]["checkpoint"]
    text, _, signature = held["envelope"].rstrip("\n").rpartition(" ")
    raw = unb64(signature)
    held["envelope"] = f"{text} {b64(bytes([raw[0] ^ 1]) + raw[1:])}\n"


@register(LOG_EDITS, "checkpoint-of-another-tree", Stage.LOG)
def _(request: Request) -> bytes:
    """The log's own signature, over a root that this proof does not lead to."""
    key = request.lab().rekor_v1.key

    def edit(bundle: Bundle) -> None:
        proof = entry(bundle)["inclusionProof"]
        origin = proof["checkpoint"]["envelope"].partition("\n")[0]
        name = origin.partition(" ")[0]
        proof["checkpoint"]["envelope"] = checkpoint(
            origin, name, int(proof["treeSize"]), bytes(32), key.key_id[:4], key
        )

    return edited(request.sign(), edit)


def _entry_of_another(request: Request, **choices: object) -> bytes:
    """Put in the genuine entry of another payload, which the same certificate's key signed."""
    other = entry(parsed(request.sign(payload=b"{}", **choices)))

    def edit(bundle: Bundle) -> None:
        material(bundle)["tlogEntries"] = [other]

    return edited(request.sign(**choices), edit)


@register(LOG_EDITS, "log-entry-of-another-bundle", Stage.CONSISTENCY)
def _(request: Request) -> bytes:
    return _entry_of_another(request)


@register(LOG_EDITS, "v2-log-entry-of-another-bundle", Stage.CONSISTENCY)
def _(request: Request) -> bytes:
    return _entry_of_another(request, log="v2", timestamp=True)


@_edit("timestamp-removed", Stage.SHAPE, v2=True)
def _(bundle: Bundle) -> None:
    del material(bundle)["timestampVerificationData"]


@_edit("timestamp-flipped", Stage.TIME, v2=True)
def _(bundle: Bundle) -> None:
    flip(timestamps(bundle)[0], "signedTimestamp")


@_edit("timestamp-garbage", Stage.SHAPE, v2=True)
def _(bundle: Bundle) -> None:
    timestamps(bundle)[0]["signedTimestamp"] = b64(b"0\x03\x02\x01\x01")


@_edit("timestamp-twice", Stage.TIME, v2=True)
def _(bundle: Bundle) -> None:
    timestamps(bundle).append(timestamps(bundle)[0])


@register(LOG_EDITS, "timestamp-of-another-signature", Stage.TIME)
def _(request: Request) -> bytes:
    choices = {"log": "v2", "timestamp": True}
    other = timestamps(parsed(request.sign(payload=b"{}", **choices)))

    def edit(bundle: Bundle) -> None:
        timestamps(bundle)[:] = other

    return edited(request.sign(**choices), edit)


@register(LOG_EDITS, "timestamps-too-many", Stage.TIME)
def _(request: Request) -> bytes:
    """Each of them is genuine, of the next second."""
    authority = request.lab().timestamp_authority
    first = request.options.get("at", SIGNED_AT) + LOGGED_AFTER

    def edit(bundle: Bundle) -> None:
        signature = unb64(bundle["dsseEnvelope"]["signatures"][0]["sig"])
        timestamps(bundle)[:] = [
            {"signedTimestamp": b64(authority.stamp(signature, first + timedelta(seconds=second)))}
            for second in range(MOST_TIMESTAMPS + 1)
        ]

    return edited(request.sign(log="v2", timestamp=True), edit)
