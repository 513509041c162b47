"""The limits of a bundle's parts: what is at a limit is looked into, what is beyond is refused and says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Literal

import pytest

from slsa_verifier_plugin.errors import SignatureError
from slsa_verifier_plugin.model.envelope import read_blob
from slsa_verifier_plugin.signatures import bundles
from slsa_verifier_plugin.signatures.certificate import MAX_CERTIFICATE
from slsa_verifier_plugin.signatures.keys import load_key
from slsa_verifier_plugin.signatures.timestamps import MAX_TIMESTAMPS
from slsa_verifier_plugin.signatures.trust import load_root
from slsa_verifier_plugin.signatures.verifier import AttestationVerifier, RootVerifier
from slsa_verifier_plugin.strict_json import BYTES_A_VALUE, FREE_VALUES, is_dense
from tests.support.sigstore import SEED, SIGNED_AT, Departures, Lab, Scheme, derive_key, keyed_envelope, vsa
from tests.support.sigstore.encoding import b64, compact, unb64
from tests.support.sigstore.envelope import payload_bytes
from tests.support.sigstore.lab import TransparencyLog
from tests.support.sigstore.logs import RekorV1, RekorV2

PAYLOAD = payload_bytes(vsa())
KEY = derive_key("ours", "key")
VERIFIER = AttestationVerifier(
    [RootVerifier(load_root(Lab().trusted_root(), "full"))], {"key": load_key(KEY.pem.decode())}
)
BASE = Lab().sign(PAYLOAD, log="v2", timestamp=True)
PROMISED = Lab().sign(PAYLOAD)


def material(value: Any) -> Any:
    return value["verificationMaterial"]


def entry(value: Any) -> Any:
    return material(value)["tlogEntries"][0]


def proof(value: Any) -> Any:
    return entry(value)["inclusionProof"]


def envelope(value: Any) -> Any:
    return value["dsseEnvelope"]


def statement(**more: Any) -> bytes:
    return payload_bytes({**json.loads(PAYLOAD), **more})


def refusal(edit: Callable[[Any], object]) -> str:
    made = json.loads(BASE)
    edit(made)
    (one,) = read_blob(compact(made), 1).candidates
    with pytest.raises(SignatureError) as caught:
        VERIFIER.verify(one)
    return caught.value.message


def chain(value: Any, count: int) -> None:
    one = material(value).pop("certificate")
    value["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.2"
    material(value)["x509CertificateChain"] = {"certificates": [one, *[{"rawBytes": "AAAA"}] * (count - 1)]}


def stamp(value: Any, size: int) -> None:
    material(value)["timestampVerificationData"]["rfc3161Timestamps"][0]["signedTimestamp"] = "A" * size


def checkpoint(value: Any, size: int) -> None:
    held = proof(value)["checkpoint"]
    held["envelope"] += "x" * (size - len(held["envelope"]))


def hints(value: Any, size: int) -> None:
    """Fill all other text of the bundle up to ``size`` characters."""
    del value["dsseEnvelope"]["signatures"][0]["sig"]
    logged = entry(value)
    texts = [
        value["mediaType"],
        envelope(value)["payloadType"],
        logged["logIndex"],
        logged["logId"]["keyId"],
        *logged["kindVersion"].values(),
        proof(value)["logIndex"],
        proof(value)["rootHash"],
        proof(value)["treeSize"],
        *proof(value)["hashes"],
    ]
    value["dsseEnvelope"]["signatures"][0]["keyid"] = "x" * (size - sum(map(len, texts)))


def members(value: Any, count: int) -> None:
    def values(item: Any) -> int:
        inside = item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
        return 1 + sum(map(values, inside))

    value["extra"] = [None] * (count - values(value) - 1)


LIMITS: dict[str, tuple[Callable[[Any, int], object], int, str]] = {
    "hashes": (
        lambda value, count: proof(value).update(hashes=["AAAA"] * count),
        bundles.MAX_HASHES,
        "the bundle's hashes has 65 entries, expected at most 64",
    ),
    "certificates": (chain, bundles.MAX_CERTIFICATES, "certificates has 17 entries, expected at most 16"),
    "signatures": (
        lambda value, count: envelope(value).update(signatures=[{"sig": "AAAA"}] * count),
        bundles.MAX_SIGNATURES,
        "signatures has 17 entries, expected at most 16",
    ),
    "body": (
        lambda value, size: entry(value).update(canonicalizedBody="A" * size),
        bundles.MAX_BODY,
        "canonicalizedBody has 131073 characters, expected at most 131072",
    ),
    "timestamp": (stamp, bundles.MAX_TOKEN, "signedTimestamp has 32769 characters, expected at most 32768"),
    "checkpoint": (
        checkpoint,
        bundles.MAX_CHECKPOINT,
        "envelope has 16385 characters, expected at most 16384",
    ),
    "other text": (hints, bundles.MAX_OTHER, "expected at most 65536"),
    "members": (members, bundles.MAX_MEMBERS, "JSON has 513 values, expected at most 512"),
}


@pytest.mark.parametrize("name", LIMITS)
def test_what_is_beyond_a_limit_is_refused_for_it_and_what_is_at_it_for_something_else(name: str) -> None:
    edit, limit, says = LIMITS[name]
    assert "expected at most" not in refusal(lambda value: edit(value, limit))
    message = refusal(lambda value: edit(value, limit + 1))
    assert says in message
    assert message.endswith("; attach the original bundle, unchanged")


def test_a_bundle_that_is_much_beside_its_payload_is_not_parsed_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = json.loads(BASE)
    made["extra"] = "x" * bundles.MAX_BESIDES
    (one,) = read_blob(compact(made), 1).candidates
    monkeypatch.setattr(bundles, "loads", None)
    with pytest.raises(SignatureError, match=r"bytes beside its payload, expected at most 1048576"):
        VERIFIER.verify(one)


@pytest.mark.parametrize("name", ["kindVersion", "inclusionProof"])
def test_a_part_of_an_entry_that_is_no_object_is_told(name: str) -> None:
    message = refusal(lambda value: entry(value).update({name: "x"}))
    assert f"{name} cannot be read, or has a value of another type" in message


def test_an_entry_of_old_cosign_and_npm_is_told_as_what_it_is() -> None:
    (one,) = read_blob(Lab().sign(PAYLOAD, entry="intoto"), 1).candidates
    with pytest.raises(SignatureError, match=r"of type intoto 0\.0\.2, of an old cosign or npm"):
        VERIFIER.verify(one)
    other = refusal(lambda value: entry(value)["kindVersion"].update(kind="intoto", version="0.0.1"))
    assert "intoto 0.0.2" not in other


# What is honest, however large its parts, verifies


def verify(content: bytes) -> bytes:
    (one,) = read_blob(content, 1).candidates
    return VERIFIER.verify(one).claim.payload


def test_a_bundle_may_have_as_much_beside_its_payload_as_its_limit_says() -> None:
    besides = len(BASE) - (len(PAYLOAD) + 2) // 3 * 4
    padded = BASE.replace(b"{", b"{" + b" " * (bundles.MAX_BESIDES - besides), 1)
    assert verify(padded) == PAYLOAD
    with pytest.raises(SignatureError, match=r"1048577 bytes beside its payload, expected at most 1048576"):
        verify(padded.replace(b"{", b"{ ", 1))


def test_only_a_checkpoint_has_lines() -> None:
    made = json.loads(BASE)
    envelope(made)["signatures"][0]["keyid"] = "\n" * (bundles.MAX_CHECKPOINT_LINES + 1)
    assert verify(compact(made)) == PAYLOAD


def test_a_bundle_that_leaves_nothing_out_is_not_written_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundles, "json", None)
    assert verify(BASE) == PAYLOAD
    assert verify(PROMISED) == PAYLOAD


def test_bundles_at_the_limits_verify() -> None:
    made = json.loads(BASE)
    held = proof(made)["checkpoint"]
    witness = f"\u2014 witness.example/w {b64(bytes(76))}\n"
    count = bundles.MAX_CHECKPOINT_LINES - held["envelope"].count("\n")
    held["envelope"] += witness * count
    assert len(held["envelope"]) <= bundles.MAX_CHECKPOINT
    assert verify(compact(made)) == PAYLOAD
    held["envelope"] += witness
    with pytest.raises(SignatureError, match=r"the bundle's checkpoint has 129 lines, expected at most 128"):
        verify(compact(made))


def test_as_many_timestamps_as_there_may_be_verify() -> None:
    made = json.loads(BASE)
    signature = unb64(envelope(made)["signatures"][0]["sig"])
    authority = Lab().timestamp_authority
    stamps = [
        {"signedTimestamp": b64(authority.stamp(signature, SIGNED_AT + timedelta(seconds=second)))}
        for second in range(1, MAX_TIMESTAMPS + 1)
    ]
    material(made)["timestampVerificationData"]["rfc3161Timestamps"] = stamps
    assert verify(compact(made)) == PAYLOAD


def test_a_large_payload_verifies() -> None:
    large = statement(predicate={**json.loads(PAYLOAD)["predicate"], "note": "x" * (2 << 20)})
    for content in (
        Lab().sign(large),
        Lab().sign(large, log="v2", timestamp=True),
        keyed_envelope(large, KEY),
    ):
        assert verify(content) == large


def test_dense_is_what_nobody_signs() -> None:
    assert not is_dense(PAYLOAD)
    assert not is_dense(BASE)
    assert not is_dense(PROMISED)
    assert not is_dense(statement(subject=[{"name": "a", "digest": {"sha1": "0" * 40}}] * 5000))
    assert not is_dense(statement(predicate={"verifiedLevels": ["SLSA_SOURCE_LEVEL_3"] * 5000}))
    assert not is_dense(b"," * FREE_VALUES)
    assert is_dense(b"," * (FREE_VALUES + 2 + FREE_VALUES // (BYTES_A_VALUE - 1)))
    assert is_dense(b"[" + b"1," * 1000 + b"1]")


@pytest.mark.parametrize("name", ["tlogEntries", "kindVersion", "inclusionProof"])
def test_protobufs_own_names_are_read_as_well(name: str) -> None:
    made = json.loads(PROMISED)
    place = material(made) if name == "tlogEntries" else entry(made)
    snake = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
    place[snake] = place.pop(name)
    assert verify(compact(made)) == PAYLOAD


def test_a_certificate_may_be_as_large_as_its_own_limit() -> None:
    """Its own message tells, not the bundle's."""
    made = json.loads(BASE)
    material(made)["certificate"] = {"rawBytes": b64(bytes(MAX_CERTIFICATE))}
    with pytest.raises(SignatureError, match="the signing certificate cannot be read"):
        verify(compact(made))


@pytest.mark.parametrize("null", [False, True])
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_zeros_of_a_logs_first_entry_may_be_left_out(version: Literal["v1", "v2"], null: bool) -> None:
    log: TransparencyLog = RekorV1(derive_key(SEED, "rekor/v1"), offset=0, earlier=0)
    if version == "v2":
        log = RekorV2(derive_key(SEED, "rekor/v2", Scheme.ED25519), earlier=0)
    whole = Lab().sign(PAYLOAD, log=version, timestamp=version == "v2", departures=Departures(log=log))
    later = Lab().sign(PAYLOAD, log=version, timestamp=version == "v2")
    places = ((entry, "logIndex"), (proof, "logIndex"), (proof, "hashes"))
    for places_left_out in (*((place,) for place in places), places):
        made, other = json.loads(whole), json.loads(later)
        for part, name in places_left_out:
            for value in (made, other):
                part(value).pop(name)
                if null:
                    part(value)[name] = None
        (one,), (two,) = read_blob(compact(made), 1).candidates, read_blob(compact(other), 1).candidates
        assert VERIFIER.verify(one).claim.payload == PAYLOAD
        if places_left_out != (places[0],):
            with pytest.raises(SignatureError, match="inclusion proof"):
                VERIFIER.verify(two)


def test_an_index_under_both_names_is_read_under_one() -> None:
    made = json.loads(PROMISED)
    entry(made)["log_index"] = "7"
    (one,) = read_blob(compact(made), 1).candidates
    with pytest.raises(SignatureError):
        VERIFIER.verify(one)
