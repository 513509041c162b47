"""The parts of the tests' own Sigstore by themselves: keys, tree, plain signatures, statements."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope as ReferenceEnvelope
from securesystemslib.signer._key import SSlibKey

from tests.support.sigstore import (
    COMMIT,
    IMAGE_DIGEST,
    REMOVED,
    Key,
    Lab,
    Scheme,
    build_vsa,
    changed,
    derive_key,
    keyed_envelope,
    provenance_v02,
    provenance_v1,
    sign_envelope,
    source_provenance,
    statement,
    tag_provenance,
    vsa,
)
from tests.support.sigstore import keys as making_keys
from tests.support.sigstore.encoding import b64, unb64
from tests.support.sigstore.envelope import pre_authentication_encoding
from tests.support.sigstore.merkle import Tree

MESSAGE = b"message"


def check(scheme: Scheme, pem: bytes, signature: bytes, message: bytes) -> None:
    """Verify a signature with ``cryptography`` alone, by what the scheme's name says."""
    key = load_pem_public_key(pem)
    if isinstance(key, ec.EllipticCurvePublicKey):
        assert key.key_size == (256 if scheme is Scheme.ECDSA_P256 else 384)
        digest = hashes.SHA384() if scheme is Scheme.ECDSA_P384 else hashes.SHA256()
        key.verify(signature, message, ec.ECDSA(digest))
    elif isinstance(key, rsa.RSAPublicKey):
        assert key.key_size == 2048
        pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
        key.verify(
            signature, message, pss if scheme is Scheme.RSA_PSS else padding.PKCS1v15(), hashes.SHA256()
        )
    else:
        assert isinstance(key, ed25519.Ed25519PublicKey)
        assert scheme is Scheme.ED25519
        key.verify(signature, message)


@pytest.mark.parametrize("scheme", Scheme)
def test_keys_sign_by_their_scheme(scheme: Scheme) -> None:
    key = derive_key("seed", "label", scheme)
    check(scheme, key.pem, key.sign(MESSAGE), MESSAGE)
    with pytest.raises(InvalidSignature):
        check(scheme, key.pem, key.sign(MESSAGE), MESSAGE + b".")


@pytest.mark.parametrize("scheme", Scheme)
def test_keys_come_out_of_seed_and_label(scheme: Scheme) -> None:
    first = derive_key("seed", "label", scheme)
    making_keys._rsa.cache_clear()
    again = derive_key.__wrapped__("seed", "label", scheme)
    assert again.spki == first.spki
    assert derive_key("seed", "other", scheme).spki != first.spki
    assert derive_key("other", "label", scheme).spki != first.spki
    if scheme is not Scheme.RSA_PSS:
        assert again.sign(MESSAGE) == first.sign(MESSAGE)


def merkle_hash(entries: list[bytes]) -> bytes:
    """MTH of RFC 6962 section 2.1, word for word."""
    if not entries:
        return hashlib.sha256(b"").digest()
    if len(entries) == 1:
        return hashlib.sha256(b"\0" + entries[0]).digest()
    k = 1
    while k * 2 < len(entries):
        k *= 2
    return hashlib.sha256(b"\1" + merkle_hash(entries[:k]) + merkle_hash(entries[k:])).digest()


def merkle_path(m: int, entries: list[bytes]) -> list[bytes]:
    """PATH of RFC 6962 section 2.1.1, word for word."""
    if len(entries) == 1:
        return []
    k = 1
    while k * 2 < len(entries):
        k *= 2
    if m < k:
        return [*merkle_path(m, entries[:k]), merkle_hash(entries[k:])]
    return [*merkle_path(m - k, entries[k:]), merkle_hash(entries[:k])]


def test_the_tree_is_that_of_the_rfc() -> None:
    tree, entries = Tree(), list[bytes]()
    assert tree.root() == merkle_hash([])
    for number in range(70):
        entries.append(b"entry %d" % number)
        assert tree.append(entries[-1]) == number
        assert len(tree) == number + 1
        assert tree.root() == merkle_hash(entries)
        for index in {0, number // 3, number - 1, number} & set(range(number + 1)):
            assert tree.inclusion_proof(index) == merkle_path(index, entries)


@given(st.binary(max_size=200), st.text(st.characters(max_codepoint=127), max_size=40))
def test_envelopes_encode_as_the_reference_library_does(payload: bytes, payload_type: str) -> None:
    reference = ReferenceEnvelope(payload, payload_type, {})
    assert pre_authentication_encoding(payload_type, payload) == reference.pae()


@pytest.mark.parametrize("scheme", [Scheme.ECDSA_P256, Scheme.ECDSA_P384, Scheme.ED25519])
def test_plain_envelopes_verify_with_securesystemslib(scheme: Scheme) -> None:
    key = derive_key("seed", "envelope", scheme)
    public = SSlibKey.from_crypto(load_pem_public_key(key.pem), keyid="a hint")
    document = json.loads(keyed_envelope(vsa(), key, key_id="a hint"))
    envelope = ReferenceEnvelope.from_dict(document)
    assert set(envelope.verify([public], 1)) == {"a hint"}
    assert json.loads(envelope.payload) == vsa()


@pytest.mark.parametrize("scheme", Scheme)
def test_keyed_bundles_hold_a_hint_and_no_key(scheme: Scheme) -> None:
    key = derive_key("seed", "bundle", scheme)
    raw = Lab().sign_with_key(vsa(), key, log="v1", timestamp=True)
    bundle = json.loads(raw)
    assert bundle["verificationMaterial"]["publicKey"] == {"hint": b64(key.key_id)}
    assert b64(key.spki).encode() not in raw
    envelope = bundle["dsseEnvelope"]
    message = pre_authentication_encoding(envelope["payloadType"], unb64(envelope["payload"]))
    check(scheme, key.pem, unb64(envelope["signatures"][0]["sig"]), message)
    body = json.loads(unb64(bundle["verificationMaterial"]["tlogEntries"][0]["canonicalizedBody"]))
    assert unb64(body["spec"]["signatures"][0]["verifier"]) == key.pem


def test_rekor_v2_logs_no_pure_ed25519() -> None:
    with pytest.raises(ValueError, match="not over a digest"):
        Lab().sign_with_key(vsa(), derive_key("seed", "v2", Scheme.ED25519), log="v2", timestamp=True)


def test_envelopes_take_several_signatures() -> None:
    keys: list[Key] = [derive_key("seed", f"key {number}") for number in range(3)]
    envelope = sign_envelope(b"{}", keys[0], others=tuple(keys[1:]))
    message = pre_authentication_encoding(envelope.payload_type, b"{}")
    for key, signature in zip(keys, envelope.signatures, strict=True):
        check(Scheme.ECDSA_P256, key.pem, signature, message)


@pytest.mark.parametrize(
    ("make", "predicate_type", "subject"),
    [
        (vsa, "https://slsa.dev/verification_summary/v1", {"gitCommit": COMMIT}),
        (build_vsa, "https://slsa.dev/verification_summary/v1", {"sha256": IMAGE_DIGEST}),
        (provenance_v1, "https://slsa.dev/provenance/v1", {"sha256": IMAGE_DIGEST}),
        (provenance_v02, "https://slsa.dev/provenance/v0.2", {"sha256": IMAGE_DIGEST}),
        (source_provenance, None, {"gitCommit": COMMIT}),
        (tag_provenance, None, {"gitCommit": COMMIT}),
    ],
)
def test_statements_are_about_what_they_say(
    make: Any, predicate_type: str | None, subject: dict[str, str]
) -> None:
    document = make()
    assert document["subject"][0]["digest"] == subject
    if predicate_type:
        assert document["predicateType"] == predicate_type
    else:
        assert document["predicateType"].endswith("-provenance/v1-draft")


def test_every_field_can_be_changed_or_removed() -> None:
    document = vsa(
        changes={
            "predicate.verifier.id": "https://example.com/other",
            "predicate.policy": REMOVED,
            "subject.0.annotations.source_refs.0": "refs/tags/v1",
            "/predicate/a.dotted.name": 1,
        }
    )
    assert document["predicate"]["verifier"] == {"id": "https://example.com/other"}
    assert "policy" not in document["predicate"]
    assert document["subject"][0]["annotations"] == {"source_refs": ["refs/tags/v1"]}
    assert document["predicate"]["a.dotted.name"] == 1
    assert "policy" in vsa()["predicate"]


def test_changes_leave_the_original_alone() -> None:
    original = vsa()
    changed(original, {"subject.0.digest.gitCommit": "00" * 20})
    assert original == vsa()
    with pytest.raises(KeyError):
        changed(original, {"predicate.nowhere.name": 1})
    with pytest.raises(KeyError):
        changed(original, {"predicate.nowhere": REMOVED})


def test_statements_that_the_library_refuses_are_not_made() -> None:
    with pytest.raises(ValueError, match="At least one subject"):
        statement([], "https://example.com/type", {"a": 1})
    with pytest.raises(ValueError, match="digest"):
        statement([{"name": "no digest"}], "https://example.com/type", {"a": 1})


@pytest.mark.parametrize("refs_key", ["source_refs", "source_branches", "sourceRefs"])
def test_refs_stand_under_any_of_the_names_in_use(refs_key: str) -> None:
    assert vsa(refs=["refs/heads/x"], refs_key=refs_key)["subject"][0]["annotations"] == {
        refs_key: ["refs/heads/x"]
    }
    assert "annotations" not in vsa(refs=None)["subject"][0]
