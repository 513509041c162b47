"""Plain keys: which are accepted, and whose signature an envelope must carry."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, rsa, x25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from slsa_verifier_plugin.errors import Reason, SignatureError, TrustRootError
from slsa_verifier_plugin.model.envelope import Candidate, read_blob
from slsa_verifier_plugin.signatures.keys import (
    LARGE_PAYLOAD,
    MAX_KEY_FILE,
    MAX_SIGNATURES,
    MAX_SIGNATURES_OF_LARGE,
    Message,
    is_valid,
    load_key,
    pre_authentication_encoding,
    verify_with_keys,
)
from tests.support.sigstore import IN_TOTO, Lab, Scheme, derive_key, keyed_envelope, vsa
from tests.support.sigstore.encoding import b64, compact, unb64
from tests.support.sigstore.envelope import payload_bytes
from tests.support.sigstore.keys import raw_signature

PAYLOAD = payload_bytes(vsa())
KEY = derive_key("ours", "key")
OTHER = derive_key("another's", "key")
TRUSTED = load_key(KEY.pem.decode())


def candidate(content: bytes) -> Candidate:
    (found,) = read_blob(content, 1).candidates
    return found


def pem(key: Any) -> str:
    encoded: bytes = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return encoded.decode()


@pytest.mark.parametrize("scheme", Scheme)
@pytest.mark.parametrize("bundle", [True, False])
def test_signatures_of_every_scheme(scheme: Scheme, bundle: bool) -> None:
    key = derive_key("ours", "of every scheme", scheme)
    content = Lab().sign_with_key(PAYLOAD, key) if bundle else keyed_envelope(PAYLOAD, key)
    trusted = load_key(key.pem.decode())
    verified = verify_with_keys(candidate(content), [TRUSTED, trusted])
    assert verified.claim.payload == PAYLOAD
    assert verified.claim.signer.identity == trusted.identity == f"key:{key.key_id.hex()}"
    assert verified.claim.signer.issuer == ""
    with pytest.raises(SignatureError, match="none of the configured keys"):
        verify_with_keys(candidate(content), [TRUSTED])


def test_key_ids_are_hints_alone() -> None:
    for hint in ("", "wrong", OTHER.key_id.hex()):
        assert (
            verify_with_keys(candidate(keyed_envelope(PAYLOAD, KEY, key_id=hint)), [TRUSTED]).claim.payload
            == PAYLOAD
        )
        forged = keyed_envelope(PAYLOAD, OTHER, key_id=TRUSTED.identity)
        with pytest.raises(SignatureError):
            verify_with_keys(candidate(forged), [TRUSTED])
        assert (
            verify_with_keys(candidate(Lab().sign_with_key(PAYLOAD, KEY, hint=hint)), [TRUSTED]).claim.payload
            == PAYLOAD
        )


def test_without_a_configured_key_nothing_verifies() -> None:
    with pytest.raises(SignatureError, match="no key is configured") as caught:
        verify_with_keys(candidate(keyed_envelope(PAYLOAD, KEY)), [])
    assert caught.value.reason is Reason.SIGNATURE_INVALID


@pytest.mark.parametrize(
    "change",
    [
        {"payload": "e30="},
        {"payloadType": "application/vnd.in-toto"},
        {"signatures": []},
        {"signatures": [{"sig": ""}]},
        {"signatures": [{"sig": "***"}]},
        {"signatures": [{"sig": None}]},
        {"signatures": [None]},
        {"signatures": ["x"]},
        {"signatures": [{"keyid": "x"}]},
    ],
)
def test_a_changed_envelope_does_not_verify(change: dict[str, Any]) -> None:
    for content in (keyed_envelope(PAYLOAD, KEY), Lab().sign_with_key(PAYLOAD, KEY)):
        value = json.loads(content)
        value.get("dsseEnvelope", value).update(change)
        with pytest.raises(SignatureError):
            verify_with_keys(candidate(compact(value)), [TRUSTED])


@pytest.mark.parametrize("signatures", [None, 7, "sig", {"sig": "AAAA"}])
def test_a_bundle_whose_signatures_are_no_list_does_not_verify(signatures: object) -> None:
    value = json.loads(Lab().sign_with_key(PAYLOAD, KEY))
    value["dsseEnvelope"]["signatures"] = signatures
    with pytest.raises(SignatureError, match="between 1 and 16 signatures"):
        verify_with_keys(candidate(compact(value)), [TRUSTED])


def test_one_good_signature_among_others_is_enough_and_they_are_bounded() -> None:
    value = json.loads(keyed_envelope(PAYLOAD, KEY))
    good = value["signatures"][0]
    for bad in ([{"sig": "AAAA"}, None, {"sig": 7}, good], [good, {"sig": "***"}]):
        assert (
            verify_with_keys(candidate(compact({**value, "signatures": bad})), [TRUSTED]).claim.payload
            == PAYLOAD
        )
    most = [{"sig": "AAAA"}] * (MAX_SIGNATURES - 1)
    assert (
        verify_with_keys(candidate(compact({**value, "signatures": [*most, good]})), [TRUSTED]).claim.payload
        == PAYLOAD
    )
    with pytest.raises(SignatureError, match="between 1 and 16 signatures"):
        verify_with_keys(
            candidate(compact({**value, "signatures": [*most, {"sig": "AAAA"}, good]})), [TRUSTED]
        )


def test_every_configured_key_that_signed_counts_whatever_the_order_of_the_signatures() -> None:
    other, third = derive_key("tests", "second"), derive_key("tests", "third")
    keys = [load_key(key.pem.decode()) for key in (KEY, other, third)]
    value = json.loads(keyed_envelope(PAYLOAD, KEY))
    value["signatures"] += json.loads(keyed_envelope(PAYLOAD, other))["signatures"]
    for signatures in (value["signatures"], value["signatures"][::-1], value["signatures"] * 2):
        verified = verify_with_keys(candidate(compact({**value, "signatures": signatures})), keys)
        assert [claim.signer.identity for claim in verified.claims] == [key.identity for key in keys[:2]]
        assert verified.claims[0] == verified.claim
        assert {claim.payload for claim in verified.claims} == {PAYLOAD}
    one = verify_with_keys(candidate(compact(value)), [keys[2], keys[1]])
    assert [claim.signer.identity for claim in one.claims] == [keys[1].identity]
    assert len(verify_with_keys(candidate(compact(value)), [keys[0], keys[0]]).claims) == 1


def test_the_encoding_counts_bytes() -> None:
    assert pre_authentication_encoding("\u00e9", b"ab") == b"DSSEv1 2 \xc3\xa9 2 ab"
    assert pre_authentication_encoding("", b"") == b"DSSEv1 0  0 "
    assert pre_authentication_encoding("a b", b"c") != pre_authentication_encoding("a", b"b 1 c")


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP521R1()).public_key(),
        ec.generate_private_key(ec.SECP256K1()).public_key(),
        ed448.Ed448PrivateKey.generate().public_key(),
        x25519.X25519PrivateKey.generate().public_key(),
        rsa.generate_private_key(65537, 1024).public_key(),
        dsa.generate_private_key(1024).public_key(),
    ],
)
def test_other_keys_are_not_accepted(key: Any) -> None:
    with pytest.raises(
        TrustRootError, match="is not ECDSA P-256 or P-384, Ed25519, or RSA of at least 2048 bits"
    ):
        load_key(pem(key))


def test_keys_of_the_least_size_are_accepted() -> None:
    for scheme in (Scheme.RSA_PSS, Scheme.ECDSA_P256, Scheme.ECDSA_P384, Scheme.ED25519):
        load_key(derive_key("ours", "least", scheme).pem.decode())
    with pytest.raises(TrustRootError):
        load_key(pem(rsa.generate_private_key(65537, 2040).public_key()))


def test_a_key_may_be_a_file(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(KEY.pem)
    assert load_key(str(path)).identity == TRUSTED.identity
    path.write_bytes(KEY.pem + b"\n" * MAX_KEY_FILE)
    assert load_key(str(path)).identity == TRUSTED.identity


@pytest.mark.parametrize("name", ["missing.pem", ".", "a\0b"])
def test_a_file_that_cannot_be_read_is_said(tmp_path: Path, name: str) -> None:
    with pytest.raises(
        TrustRootError, match=r"cannot be read: .*mount the file or correct publicKey"
    ) as caught:
        load_key(f"{tmp_path}/{name}")
    assert caught.value.reason is Reason.TRUST_ROOT_UNAVAILABLE


def test_what_is_no_public_key_is_said_without_showing_it(tmp_path: Path) -> None:
    private = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    path = tmp_path / "key.pem"
    for content in (
        private,
        b"",
        b"nonsense",
        b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
    ):
        path.write_bytes(content)
        with pytest.raises(TrustRootError, match="is no PEM public key") as caught:
            load_key(str(path))
        assert not content or content.decode() not in caught.value.message
    with pytest.raises(TrustRootError, match="the configured public key is no PEM public key") as caught:
        load_key(private.decode())
    assert private.decode().splitlines()[1] not in caught.value.message


@pytest.mark.parametrize("scheme", Scheme)
def test_a_signature_is_valid_for_its_key_and_message_alone(scheme: Scheme) -> None:
    key, other = derive_key("ours", "valid", scheme), derive_key("another's", "valid", scheme)
    encoded = pre_authentication_encoding(IN_TOTO, PAYLOAD)
    signature, message = key.sign(encoded), Message(encoded)
    public, strange = load_key(key.pem.decode()).key, load_key(other.pem.decode()).key
    assert is_valid(public, signature, message)
    assert not is_valid(strange, signature, message)
    assert not is_valid(public, signature, Message(encoded + b" "))
    assert not is_valid(public, signature[:-1], message)
    assert not is_valid(public, b"", message)
    assert not is_valid(public, signature + b"\0", message)


def test_an_rsa_signature_is_as_long_as_its_key_though_its_number_is_shorter() -> None:
    """RFC 8017, sections 8.1.2 and 8.2.2: a signature of another length is none; libraries differ where it begins with zeros."""
    for scheme in (Scheme.RSA_PSS, Scheme.RSA_PKCS1):
        key = derive_key("ours", "valid", scheme)
        public = load_key(key.pem.decode()).key
        contents = (b"%d" % number for number in range(1 << 16))
        content, signature = next(
            (content, signature) for content in contents if (signature := key.sign(content))[0] == 0
        )
        assert is_valid(public, signature, Message(content))
        assert not is_valid(public, signature[1:], Message(content))
        assert not is_valid(public, b"\0" + signature, Message(content))


RAW = (Scheme.ECDSA_P256, Scheme.ECDSA_P384, Scheme.ECDSA_P384_SHA256)


@pytest.mark.parametrize("scheme", RAW)
@pytest.mark.parametrize("is_bundle", [False, True])
def test_an_ecdsa_signature_may_be_r_and_s_one_after_the_other(scheme: Scheme, is_bundle: bool) -> None:
    key = derive_key("ours", "raw", scheme)
    trusted = load_key(key.pem.decode())
    content = Lab().sign_with_key(PAYLOAD, key) if is_bundle else keyed_envelope(PAYLOAD, key)
    value = json.loads(content)
    (signature,) = value.get("dsseEnvelope", value)["signatures"]
    der = unb64(signature["sig"])
    raw = raw_signature(key, der)
    assert len(raw) == (64 if scheme is Scheme.ECDSA_P256 else 96)
    for form in (der, raw):
        signature["sig"] = b64(form)
        verified = verify_with_keys(candidate(compact(value)), [trusted])
        assert verified.claim.signer.identity == trusted.identity
    half = len(raw) // 2
    order = key.elliptic.curve.group_order
    beyond = (int.from_bytes(raw[half:]) + order).to_bytes(half + 1)[-half:]
    for wrong in (
        raw[half:] + raw[:half],
        raw + b"\0",
        b"\0" + raw,
        raw[:half] + b"\0" + raw[half:],
        raw[:-1],
        bytes(len(raw)),
        b"\xff" * len(raw),
        raw[:half] + bytes(half),
        raw[:half] + beyond,
        raw[:-1] + bytes([raw[-1] ^ 1]),
    ):
        signature["sig"] = b64(wrong)
        with pytest.raises(SignatureError, match="none of the configured keys"):
            verify_with_keys(candidate(compact(value)), [trusted])


def test_a_raw_signature_is_its_own_keys_alone() -> None:
    """96 bytes that a P-384 key made are no signature of a P-256 key, nor the other way round, nor of another kind of key."""
    keys = {scheme: derive_key("ours", "raw", scheme) for scheme in (*RAW, Scheme.ED25519, Scheme.RSA_PKCS1)}
    for scheme in RAW:
        value = json.loads(keyed_envelope(PAYLOAD, keys[scheme]))
        (signature,) = value["signatures"]
        signature["sig"] = b64(raw_signature(keys[scheme], unb64(signature["sig"])))
        others = [
            load_key(key.pem.decode())
            for other, key in keys.items()
            if other.value.partition("-sha")[0] != scheme.value.partition("-sha")[0]
        ]
        with pytest.raises(SignatureError, match="none of the configured keys"):
            verify_with_keys(candidate(compact(value)), others)


def test_a_certificates_signature_is_in_der_alone() -> None:
    """Sigstore's specification knows no other form."""
    key = derive_key("ours", "raw")
    encoded = pre_authentication_encoding(IN_TOTO, PAYLOAD)
    raw = raw_signature(key, key.sign(encoded))
    assert not is_valid(load_key(key.pem.decode()).key, raw, Message(encoded))


def test_a_large_payload_has_fewer_signatures() -> None:
    most = b"x" * LARGE_PAYLOAD
    value = json.loads(keyed_envelope(most, KEY))
    value["signatures"] = [{"sig": "AAAA"}] * (MAX_SIGNATURES - 1) + value["signatures"]
    assert verify_with_keys(candidate(compact(value)), [TRUSTED]).claim.payload == most
    large = most + b"x"
    value = json.loads(keyed_envelope(large, KEY))
    good = value["signatures"][0]
    for others, fits in ((MAX_SIGNATURES_OF_LARGE - 1, True), (MAX_SIGNATURES_OF_LARGE, False)):
        value["signatures"] = [{"sig": "AAAA"}] * others + [good]
        if fits:
            assert verify_with_keys(candidate(compact(value)), [TRUSTED]).claim.payload == large
        else:
            with pytest.raises(SignatureError, match="between 1 and 4 signatures"):
                verify_with_keys(candidate(compact(value)), [TRUSTED])


@pytest.mark.parametrize("scheme", RAW)
def test_a_signature_without_padding_is_read(scheme: Scheme) -> None:
    key = derive_key("ours", "raw", scheme)
    trusted = load_key(key.pem.decode())
    envelope = json.loads(keyed_envelope(PAYLOAD, key))
    (signature,) = envelope["signatures"]
    der = unb64(signature["sig"])
    for form in (der, raw_signature(key, der)):
        text = base64.urlsafe_b64encode(form).decode().rstrip("=")
        signature["sig"] = text
        assert verify_with_keys(candidate(compact(envelope)), [trusted]).claim.payload == PAYLOAD
        half_padded = [text + "="] if len(text) % 4 == 2 else []
        assert half_padded or form is der or scheme is not Scheme.ECDSA_P256
        for wrong in (text + "A", text[:-1], text[:4] + "=" + text[4:], text[:-2] + "!!", *half_padded):
            signature["sig"] = wrong
            with pytest.raises(SignatureError, match="none of the configured keys"):
                verify_with_keys(candidate(compact(envelope)), [trusted])


def test_without_keys_a_bare_envelope_is_told_what_it_may_lack() -> None:
    with pytest.raises(SignatureError, match="attach the whole bundle"):
        verify_with_keys(candidate(keyed_envelope(PAYLOAD, KEY)), [])
    with pytest.raises(SignatureError) as caught:
        verify_with_keys(candidate(Lab().sign_with_key(PAYLOAD, KEY)), [])
    assert "whole bundle" not in caught.value.message
