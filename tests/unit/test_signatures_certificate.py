"""A certificate to the signer it names: one identity, one issuer, and claims that are read as Fulcio writes them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from slsa_verifier_plugin.errors import SignatureError
from slsa_verifier_plugin.model.signer import GITHUB_ISSUER, Signer
from slsa_verifier_plugin.signatures.certificate import ct_log_ids, load, signer_of
from tests.support.policies import signer
from tests.support.sigstore import (
    SIGNED_AT,
    Identity,
    Lab,
    attest_build_provenance,
    github_source_actions,
    person,
)

LAB = Lab()
ARC = "1.3.6.1.4.1.57264.1"


def issue(identity: Identity, sct: bool = True) -> x509.Certificate:
    lab = Lab()
    log = lab.ct_log if sct else None
    return lab.authority.issue(lab.next_key.elliptic.public_key(), identity, SIGNED_AT, log)


def with_names(
    names: Sequence[x509.GeneralName] | None, more: Sequence[tuple[str, bytes]] = ()
) -> x509.Certificate:
    """Return a certificate with any names and extensions, which the lab's own identities cannot have."""
    key = Lab().next_key.elliptic
    builder = (
        x509.CertificateBuilder(subject_name=x509.Name([]), issuer_name=LAB.authority.intermediate.subject)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(SIGNED_AT)
        .not_valid_after(SIGNED_AT + timedelta(minutes=10))
    )
    if names is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
    for oid, value in more:
        builder = builder.add_extension(
            x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value), critical=False
        )
    return builder.sign(LAB.authority.key.elliptic, LAB.authority.key.digest)


URI = x509.UniformResourceIdentifier("https://example.com/workflow@main")
MAIL = x509.RFC822Name("someone@example.com")


@pytest.mark.parametrize(
    "identity",
    [
        github_source_actions(),
        github_source_actions().only_new(),
        github_source_actions().only_old(),
        attest_build_provenance(),
        person(),
        Identity("https://example.com/x"),
        github_source_actions(ref="refs/heads/" + "\u00e4" * 60),
    ],
    ids=range(7),
)
def test_a_certificate_names_its_signer(identity: Identity) -> None:
    assert signer_of(issue(identity)) == signer(identity)


def test_claims_are_read_by_their_arc() -> None:
    named = signer_of(issue(github_source_actions()))
    assert named.issuer == GITHUB_ISSUER
    assert named.claims[12] == "https://github.com/example/source-demo"
    assert named.claims[11] == "github-hosted"
    assert not {1, 8} & named.claims.keys()
    assert named.is_github


@pytest.mark.parametrize(
    ("identity", "issuer"),
    [
        (person().without(8), "https://accounts.google.com"),
        (person().without(1), "https://accounts.google.com"),
        (person().without(1, 8), ""),
        (person().having({8: ""}), None),
        (person().having({1: "https://other.example"}), None),
        (person().having({8: "https://other.example"}), None),
    ],
)
def test_old_and_new_issuer_must_be_one(identity: Identity, issuer: str | None) -> None:
    if issuer is not None:
        assert signer_of(issue(identity)).issuer == issuer
        return
    with pytest.raises(SignatureError, match="names two issuers"):
        signer_of(issue(identity))


@pytest.mark.parametrize(
    "names",
    [
        [],
        [URI, MAIL],
        [URI, URI],
        [x509.DNSName("example.com")],
        [x509.RegisteredID(x509.ObjectIdentifier("1.2.3"))],
        [x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.7"), b"\x0c\x01x")],
        [x509.DirectoryName(x509.Name([]))],
    ],
)
def test_no_single_uri_or_mail_address_is_no_identity(names: list[x509.GeneralName]) -> None:
    with pytest.raises(SignatureError, match=r"exactly one URI or e-mail|cannot be read"):
        signer_of(with_names(names))


def test_no_names_at_all_is_no_identity() -> None:
    with pytest.raises(SignatureError, match=r"extensions cannot be read: .*; attach the original bundle"):
        signer_of(with_names(None))


@pytest.mark.parametrize("uri", ["key:" + "ab" * 32, "key:"])
def test_no_certificate_may_name_a_key(uri: str) -> None:
    with pytest.raises(SignatureError, match="names a key"):
        signer_of(with_names([x509.UniformResourceIdentifier(uri)]))
    assert signer_of(with_names([x509.UniformResourceIdentifier("x" + uri)])).identity == "x" + uri


def test_an_identity_is_bounded() -> None:
    longest = "https://e.example/" + "x" * (2048 - 18)
    assert signer_of(with_names([x509.UniformResourceIdentifier(longest)])).identity == longest
    with pytest.raises(SignatureError, match="2049 characters"):
        signer_of(with_names([x509.UniformResourceIdentifier(longest + "x")]))


@pytest.mark.parametrize(
    ("oid", "value", "claims"),
    [
        (f"{ARC}.13", b"\x0c\x03abc", {13: "abc"}),
        (f"{ARC}.3", b"abc", {3: "abc"}),
        (f"{ARC}.3", b"\x0c\x03abc", {3: "\x0c\x03abc"}),
        (f"{ARC}.24", b"\x0c\x03abc", {24: "abc"}),
        (f"{ARC}.25", b"\x0c\x03abc", {}),
        (f"{ARC}.7", b"abc", {}),
        (f"{ARC}.0", b"abc", {}),
        (f"{ARC}.13.1", b"\x0c\x03abc", {}),
        (f"{ARC}.3.0", b"abc", {}),
        (f"{ARC}3", b"abc", {}),
        ("1.3.6.1.4.1.57264.2.13", b"\x0c\x03abc", {}),
    ],
)
def test_only_fulcios_own_extensions_are_claims(oid: str, value: bytes, claims: dict[int, str]) -> None:
    assert signer_of(with_names([URI], [(oid, value)])) == Signer(URI.value, "", claims)


def test_an_extension_below_another_does_not_replace_it() -> None:
    extensions = [(f"{ARC}.13", b"\x0c\x04good"), (f"{ARC}.13.1", b"\x0c\x03bad")]
    for order in (extensions, extensions[::-1]):
        assert signer_of(with_names([URI], order)).claims == {13: "good"}


@pytest.mark.parametrize(
    ("arc", "value"),
    [
        (3, b"\xff"),
        (13, b"abc"),
        (13, b""),
        (13, b"\x0c\x04abc"),
        (13, b"\x0c\x02abc"),
        (13, b"\x0c\x01\xff"),
        (13, b"\x13\x03abc"),
        (13, b"\x04\x03abc"),
    ],
)
def test_an_extension_that_is_encoded_wrongly_is_an_error(arc: int, value: bytes) -> None:
    with pytest.raises(SignatureError, match=r"extensions cannot be read: .*; attach the original bundle"):
        signer_of(with_names([URI], [(f"{ARC}.{arc}", value)]))


def test_certificate_timestamps_name_their_logs() -> None:
    assert ct_log_ids(issue(person())) == [LAB.ct_log.key.key_id]
    assert ct_log_ids(issue(person(), sct=False)) == []


@pytest.mark.parametrize(("size", "says"), [(32768, "cannot be read"), (32769, "has 32769 bytes")])
def test_a_huge_certificate_is_not_parsed(size: int, says: str) -> None:
    with pytest.raises(SignatureError, match=says):
        load(b"\x30" * size)


@pytest.mark.parametrize("der", [b"", b"x", b"0\x03\x02\x01\x01", b"0" * 10_000])
def test_what_is_no_certificate_is_an_error(der: bytes) -> None:
    with pytest.raises(SignatureError, match=r"certificate cannot be read: .*; attach the original bundle"):
        load(der)


GENUINE = issue(github_source_actions()).public_bytes(Encoding.DER)


def test_a_genuine_certificate_is_loaded() -> None:
    assert signer_of(load(GENUINE)) == signer(github_source_actions())
    with pytest.raises(SignatureError):
        load(GENUINE + b"\0")


@given(st.integers(0, len(GENUINE) - 1), st.integers(1, 255))
def test_any_changed_byte_gives_a_signer_or_an_error(position: int, change: int) -> None:
    changed = bytearray(GENUINE)
    changed[position] ^= change
    message = ""
    try:
        assert isinstance(signer_of(load(bytes(changed))), Signer)
    except SignatureError as error:
        message = error.message
    assert not set("{}\n") & set(message)
