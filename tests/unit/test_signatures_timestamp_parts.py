"""Timestamps and certificates one by one: what is a token, an authority, and a key that may sign."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtensionOID
from sigstore_models.bundle import v1 as bundle_v1

from slsa_verifier_plugin.errors import SignatureError
from slsa_verifier_plugin.signatures import timestamps
from slsa_verifier_plugin.signatures.bundles import logged_at, verified_index
from slsa_verifier_plugin.signatures.timestamps import MAX_TIMESTAMPS, names_authority, verified_times
from slsa_verifier_plugin.signatures.trust import Authority, Window, load_root
from slsa_verifier_plugin.signatures.verifier import _signed
from tests.support.sigstore import (
    IN_TOTO,
    SIGNED_AT,
    Lab,
    Scheme,
    derive_key,
)
from tests.support.sigstore.certificates import (
    CREATED,
    distinguished,
)
from tests.support.sigstore.encoding import b64, compact, unb64
from tests.support.sigstore.envelope import pre_authentication_encoding
from tests.support.sigstore.timestamps import TimestampAuthority
from tests.support.stamped import NO_LOG, PAYLOAD, STAMPED, root, sign, stamps, verify, verify_parsed


def test_timestamps_are_bounded() -> None:
    authority = Lab().timestamp_authority
    tokens = [authority.stamp(b"m", STAMPED + timedelta(seconds=n)) for n in range(MAX_TIMESTAMPS + 1)]
    authorities = root().parts.timestamp_authorities
    assert len(verified_times(tokens[:-1], b"m", authorities)) == MAX_TIMESTAMPS
    for bad in (tokens, [tokens[0], tokens[0]]):
        with pytest.raises(SignatureError, match="more than 32 timestamps, or one twice"):
            verified_times(bad, b"m", authorities)
    with pytest.raises(SignatureError, match="cannot be read"):
        verified_times([tokens[0], b"garbage"], b"m", authorities)
    # The digest's algorithm in it is none, which the library notices only when it is asked for it.
    torn = tokens[0].replace(bytes.fromhex("0609608648016503040201"), bytes.fromhex("0609608648016503048001"))
    assert torn != tokens[0]
    with pytest.raises(SignatureError, match="cannot be read"):
        verified_times([torn], b"m", authorities)
    assert verified_times(tokens[:1], b"another message", authorities) == {}
    assert verified_times(tokens[:1], b"m", []) == {}
    assert verified_times([], b"m", authorities) == {}


def test_an_authority_without_a_root_of_its_own_stamps_nothing() -> None:
    value = json.loads(Lab().trusted_root(parts=NO_LOG))
    value["timestampAuthorities"][0]["certChain"]["certificates"].pop()
    with pytest.raises(SignatureError, match="no signed timestamp"):
        verify(sign(), load_root(json.dumps(value).encode(), "x"))


def test_a_self_signed_authority_is_no_chain() -> None:
    """Sigstore's client specification wants an authority's certificate and the root that issued it."""
    authority = TimestampAuthority("alone")
    builder = x509.CertificateBuilder(subject_name=distinguished("alone"), issuer_name=distinguished("alone"))
    builder = (
        builder.public_key(authority.key.elliptic.public_key())
        .serial_number(7)
        .not_valid_before(CREATED)
        .not_valid_after(authority.certificate.not_valid_after_utc)
    )
    for extension in authority.certificate.extensions:
        if extension.oid != ExtensionOID.AUTHORITY_KEY_IDENTIFIER:
            builder = builder.add_extension(extension.value, extension.critical)
    authority.certificate = builder.sign(authority.key.elliptic, authority.key.digest)
    (of_lab,) = root().parts.timestamp_authorities
    alone = Authority((authority.certificate,), Window(CREATED, None), of_lab.model)
    assert verified_times([authority.stamp(b"m", STAMPED)], b"m", [alone]) == {}


def parsed(content: bytes) -> bundle_v1.Bundle:
    value = json.loads(content)
    value["verificationMaterial"].setdefault("tlogEntries", [])
    return bundle_v1.Bundle.from_json(json.dumps(value))


def leaf(key: Any, *extensions: tuple[x509.ExtensionType, bool]) -> x509.Certificate:
    """Return a certificate of the lab's authority with these extensions alone, for any kind of key."""
    builder = x509.CertificateBuilder(
        subject_name=x509.Name([]), issuer_name=Lab().authority.intermediate.subject
    )
    builder = (
        builder.public_key(key)
        .serial_number(7)
        .not_valid_before(SIGNED_AT)
        .not_valid_after(SIGNED_AT + timedelta(minutes=10))
    )
    for value, critical in extensions:
        builder = builder.add_extension(value, critical)
    return builder.sign(Lab().authority.key.elliptic, Lab().authority.key.digest)


GENUINE = x509.load_der_x509_certificate(
    unb64(json.loads(sign())["verificationMaterial"]["certificate"]["rawBytes"])
)
EXTENSIONS = [
    (extension.value, extension.critical)
    for extension in GENUINE.extensions
    if "57264" not in extension.oid.dotted_string
]


def test_a_bundle_without_an_envelope_has_no_signature_to_verify() -> None:
    blob = json.loads(Lab().sign_blob(b"content"))
    with pytest.raises(SignatureError, match="exactly one signature"):
        verify_parsed(parsed(compact(blob)), GENUINE, root())
    unsigned = json.loads(sign())
    unsigned["dsseEnvelope"]["signatures"] = []
    with pytest.raises(SignatureError, match="exactly one signature"):
        verify(compact(unsigned))


@pytest.mark.parametrize("missing", [x509.KeyUsage, x509.ExtendedKeyUsage])
def test_a_certificate_must_say_what_its_key_is_for(missing: type[x509.ExtensionType]) -> None:
    kept = [(value, critical) for value, critical in EXTENSIONS if not isinstance(value, missing)]
    certificate = leaf(GENUINE.public_key(), *kept)
    with pytest.raises(SignatureError, match="does not say what its key is for"):
        verify_parsed(parsed(sign()), certificate, root())


def test_only_an_elliptic_curve_key_signs() -> None:
    """Fulcio certifies no others; what other keys' signatures look like is nobody's specification here."""
    key = derive_key("ours", "ed25519", Scheme.ED25519)
    value = json.loads(sign())
    signature = key.sign(pre_authentication_encoding(IN_TOTO, PAYLOAD))
    value["dsseEnvelope"]["signatures"] = [{"sig": b64(signature)}]
    stamps(value)[0]["signedTimestamp"] = b64(Lab().timestamp_authority.stamp(signature, STAMPED))
    certificate = leaf(key.private.public_key(), *EXTENSIONS)
    with pytest.raises(SignatureError, match="not an elliptic curve key"):
        verify_parsed(parsed(compact(value)), certificate, root())


def test_a_known_authority_is_recognized_by_its_name_and_serial() -> None:
    token = Lab().timestamp_authority.stamp(b"m", STAMPED)
    foreign = TimestampAuthority("a stranger").stamp(b"m", STAMPED)
    authorities = root().parts.timestamp_authorities
    assert names_authority([token], authorities)
    assert names_authority([foreign, token], authorities)
    assert not names_authority([foreign], authorities)
    assert not names_authority([], authorities)
    assert not names_authority([token], [])
    with pytest.raises(SignatureError, match="cannot be read"):
        names_authority([token, b"garbage"], authorities)


def alone_with(serial: int, issuer: str) -> Authority:
    """Return the lab's authority with another serial and issuer in its certificate, which nobody signed."""
    (of_lab,) = root().parts.timestamp_authorities
    key = derive_key("ours", "of an authority")
    certificate = (
        x509.CertificateBuilder(subject_name=distinguished("sigstore-tsa"), issuer_name=distinguished(issuer))
        .public_key(key.elliptic.public_key())
        .serial_number(serial)
        .not_valid_before(CREATED)
        .not_valid_after(CREATED + timedelta(days=9000))
        .sign(key.elliptic, key.digest)
    )
    return Authority((certificate, of_lab.certificates[1]), of_lab.window, of_lab.model)


def test_a_serial_is_its_issuers_and_an_issuer_has_many() -> None:
    authority = Lab().timestamp_authority
    token, serial = authority.stamp(b"m", STAMPED), authority.certificate.serial_number
    assert names_authority([token], [alone_with(serial, "sigstore-tsa-selfsigned")])
    assert not names_authority([token], [alone_with(serial, "somebody")])
    assert not names_authority([token], [alone_with(serial + 1, "sigstore-tsa-selfsigned")])


def test_tokens_of_strangers_and_of_other_messages_cost_no_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    authorities = root().parts.timestamp_authorities
    foreign = TimestampAuthority("a stranger").stamp(b"m", STAMPED)
    other = Lab().timestamp_authority.stamp(b"another message", STAMPED)
    monkeypatch.setattr(timestamps, "VerifierBuilder", None)
    assert verified_times([foreign, other], b"m", authorities) == {}
    with pytest.raises(SignatureError, match="cannot be read"):
        verified_times([Lab().timestamp_authority.stamp(b"m", STAMPED)], b"m", authorities)


def test_a_token_by_a_digest_that_is_not_known_is_no_time_and_no_error() -> None:
    authorities = root().parts.timestamp_authorities
    good = Lab().timestamp_authority.stamp(b"m", STAMPED)
    # SHA-224 by its identifier, in the place of SHA-256.
    other = good.replace(bytes.fromhex("0609608648016503040201"), bytes.fromhex("0609608648016503040204"))
    assert other != good
    assert verified_times([good, other], b"m", authorities) == {good: STAMPED}


# What goes before all other steps


def with_signatures(*signatures: bytes) -> bundle_v1.Bundle:
    value = json.loads(sign())
    value["dsseEnvelope"]["signatures"] = [{"sig": b64(signature)} for signature in signatures]
    return parsed(compact(value))


def test_a_signature_is_held_against_the_certificates_key_first_of_all() -> None:
    good = unb64(json.loads(sign())["dsseEnvelope"]["signatures"][0]["sig"])
    assert _signed(with_signatures(good), GENUINE) == ((IN_TOTO, PAYLOAD), good)
    with pytest.raises(SignatureError, match="does not match the certificate's key and the content"):
        _signed(with_signatures(b"wrong"), GENUINE)
    ed25519 = leaf(derive_key("ours", "ed25519", Scheme.ED25519).private.public_key(), *EXTENSIONS)
    with pytest.raises(SignatureError, match="not an elliptic curve key"):
        _signed(with_signatures(good), ed25519)
    several = (with_signatures(good, good), with_signatures(b"wrong", good), with_signatures())
    for other in (*several, parsed(Lab().sign_blob(b"content"))):
        with pytest.raises(SignatureError, match="exactly one signature"):
            _signed(other, GENUINE)


def test_a_certificate_whose_key_is_no_point_of_its_curve_is_told() -> None:
    der = GENUINE.public_bytes(Encoding.DER)
    point = GENUINE.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    assert der.count(point) == 1
    torn = x509.load_der_x509_certificate(der.replace(point, point[:-1] + bytes([point[-1] ^ 1])))
    with pytest.raises(SignatureError, match="the certificate's key is none that there can be"):
        _signed(parsed(sign()), torn)


@pytest.mark.parametrize("seconds", [10**18, 10**12])
def test_a_logs_time_beyond_the_calendar_is_told(seconds: int) -> None:
    value = json.loads(sign(log="v1"))
    value["verificationMaterial"]["tlogEntries"][0]["integratedTime"] = str(seconds)
    with pytest.raises(SignatureError, match="the log entry's time is none that there can be"):
        logged_at(parsed(compact(value)))


@pytest.mark.parametrize("checkpoint", [None, "log", "log\n{size}", "log\n{size}1\nhash\n"])
def test_an_index_needs_a_checkpoint_that_says_the_size_of_the_tree(checkpoint: str | None) -> None:
    value = json.loads(sign(log="v2"))
    proof = value["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]
    assert verified_index(parsed(compact(value))) == int(proof["logIndex"])
    proof["checkpoint"] = checkpoint and {"envelope": checkpoint.format(size=proof["treeSize"])}
    with pytest.raises(SignatureError, match="for a tree of another size"):
        verified_index(parsed(compact(value)))
