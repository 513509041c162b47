"""The tests' own Sigstore against the real verifiers: what is honest verifies, what is tampered does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from rfc3161_client import VerifierBuilder, decode_timestamp_response
from sigstore.errors import Error, VerificationError
from sigstore.models import Bundle, InvalidBundle, TrustedRoot
from sigstore.verify import Verifier
from sigstore.verify.policy import AnyOf, OIDCIssuer, OIDCIssuerV2, UnsafeNoOp
from sigstore.verify.policy import Identity as ExactIdentity

from tests.support.sigstore import (
    ACCEPTED_BY_COSIGN,
    COMMIT,
    GITHUB_ISSUER,
    LOGGED_AFTER,
    SIGNED_AT,
    TAMPERINGS,
    VARIANTS,
    Departures,
    Identity,
    Lab,
    Stage,
    Tampering,
    attest_build_provenance,
    generic_generator,
    github_source_actions,
    person,
    slsa_framework_actions,
    vsa,
)
from tests.support.sigstore.encoding import unb64
from tests.support.sigstore.envelope import payload_bytes, pre_authentication_encoding
from tests.support.sigstore.lab import BundleVersion, Log
from tests.support.sigstore.timestamps import TimestampAuthority

PAYLOAD = payload_bytes(vsa())
REAL_NOTES = Path(__file__).parents[3] / "shared" / "data" / "demo-notes"

COMBINATIONS: list[tuple[BundleVersion, Log, bool]] = [
    ("0.1", "v1", False),
    ("0.1", "v1", True),
    ("0.2", "v1", False),
    ("0.2", "v1", True),
    ("0.2", "v2", True),
    ("0.3", "v1", False),
    ("0.3", "v1", True),
    ("0.3", "v2", True),
    ("0.3-old", "v1", False),
    ("0.3-old", "v2", True),
]

REFUSALS = {
    Stage.SHAPE: r"failed to load bundle|expected certificate|exactly one|must be non-empty|must contain|"
    r"parsing asn1|Invalid Timestamp Response|Expected log entry version",
    Stage.TIME: r"not enough sources of verified time|duplicate timestamp|too many signed timestamp",
    Stage.CERTIFICATE: r"failed to build timestamp certificate chain|usage (does not contain|is not of type)|"
    r"missing digital signature usage|KeyUsage.keyCertSign=|non-leaf certificate in the leaf position",
    Stage.SCT: r"failed to verify SCT",
    Stage.LOG: r"invalid log entry",
    Stage.SIGNATURE: r"DSSE: invalid signature",
    Stage.CONSISTENCY: r"does not match bundle|inconsistent with other materials|Unsupported DSSE log entry type",
}
"""What sigstore-python says when the stage that must notice is the one that did."""


@pytest.fixture
def lab() -> Lab:
    return Lab()


@pytest.fixture
def verifier_of(lab: Lab, tmp_path: Path) -> Callable[[str], Verifier]:
    def make(variant: str) -> Verifier:
        path = tmp_path / f"{variant}.json"
        path.write_bytes(lab.trusted_root(**VARIANTS[variant]))
        return Verifier(trusted_root=TrustedRoot.from_file(str(path)))

    return make


def verify(verifier: Verifier, bundle: bytes, identity: Identity | None = None) -> tuple[str, bytes]:
    signer = identity or github_source_actions()
    issuer = signer.extensions.get(8) or signer.extensions[1]
    assert isinstance(issuer, str)
    named = AnyOf([OIDCIssuer(issuer), OIDCIssuerV2(issuer)])
    return verifier.verify_dsse(Bundle.from_json(bundle), named)


def leaf_of(bundle: bytes) -> x509.Certificate:
    return x509.load_der_x509_certificate(
        unb64(json.loads(bundle)["verificationMaterial"]["certificate"]["rawBytes"])
    )


@pytest.mark.parametrize(("version", "log", "timestamp"), COMBINATIONS)
def test_honest_bundles_verify(
    lab: Lab,
    verifier_of: Callable[[str], Verifier],
    version: BundleVersion,
    log: Log,
    timestamp: bool,
) -> None:
    bundle = lab.sign(PAYLOAD, bundle_version=version, log=log, timestamp=timestamp)
    assert verify(verifier_of("full"), bundle) == ("application/vnd.in-toto+json", PAYLOAD)


@pytest.mark.parametrize(
    "identity",
    [
        github_source_actions("example/other", "ab" * 20, "refs/tags/v1", "self-hosted"),
        github_source_actions().only_new(),
        github_source_actions().only_old(),
        slsa_framework_actions("v2.3.4"),
        slsa_framework_actions("cd" * 20),
        attest_build_provenance(),
        generic_generator(),
        person(),
        github_source_actions(ref="refs/heads/" + "long/" * 60),
        github_source_actions().having({23: "production", 24: "a claim of tomorrow"}),
    ],
    ids=lambda identity: identity.san[-24:],
)
def test_any_identity_can_sign(lab: Lab, verifier_of: Callable[[str], Verifier], identity: Identity) -> None:
    bundle = lab.sign(PAYLOAD, identity)
    assert verify(verifier_of("full"), bundle, identity)[1] == PAYLOAD
    names = leaf_of(bundle).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [one.value for one in names] == [identity.san]


def test_any_bytes_of_any_type_can_be_signed(lab: Lab, verifier_of: Callable[[str], Verifier]) -> None:
    payload = b"\x00\xff not even text"
    bundle = lab.sign(payload, payload_type="application/x-\u00e9")
    assert json.loads(bundle)["dsseEnvelope"]["payloadType"] == "application/x-\u00e9"
    with pytest.raises(VerificationError, match="DSSE: invalid signature"):
        # sigstore-python counts characters where DSSE says bytes, so no other type than ASCII agrees.
        verify(verifier_of("full"), bundle)
    assert verify(verifier_of("full"), lab.sign(payload, payload_type="text/plain")) == (
        "text/plain",
        payload,
    )


@pytest.mark.parametrize("version", ["0.1", "0.2"])
def test_old_bundles_may_carry_the_whole_chain(
    lab: Lab, verifier_of: Callable[[str], Verifier], version: BundleVersion
) -> None:
    bundle = lab.sign(PAYLOAD, bundle_version=version, departures=Departures(whole_chain=True))
    assert len(json.loads(bundle)["verificationMaterial"]["x509CertificateChain"]["certificates"]) == 3
    assert verify(verifier_of("full"), bundle)[1] == PAYLOAD


def test_many_bundles_of_one_lab_verify(lab: Lab, verifier_of: Callable[[str], Verifier]) -> None:
    verifier = verifier_of("full")
    for number in range(40):
        log: Log = "v2" if number % 8 == 0 else "v1"
        bundle = lab.sign(b"%d" % number, log=log, timestamp=log == "v2")
        assert verify(verifier, bundle)[1] == b"%d" % number


@pytest.mark.parametrize("version", ["0.3", "0.2"])
@pytest.mark.parametrize("tampering", TAMPERINGS.values(), ids=TAMPERINGS)
def test_tampered_bundles_are_refused_where_they_are_wrong(
    lab: Lab, verifier_of: Callable[[str], Verifier], tampering: Tampering, version: BundleVersion
) -> None:
    bundle = tampering(lab, PAYLOAD, bundle_version=version)
    with pytest.raises(Exception, match=REFUSALS[tampering.stage]):
        # No policy: whoever signed, the bundle must not get as far as that.
        verifier_of("full").verify_dsse(Bundle.from_json(bundle), UnsafeNoOp())


@pytest.mark.parametrize("tampering", TAMPERINGS.values(), ids=TAMPERINGS)
def test_a_tampered_bundle_depends_on_its_arguments_alone(lab: Lab, tampering: Tampering) -> None:
    first = tampering(lab, PAYLOAD)
    lab.sign(b"something else")
    assert tampering(lab, PAYLOAD) == first
    later = tampering(lab, PAYLOAD, at=SIGNED_AT + timedelta(days=1))
    assert later != first


def test_the_list_of_what_cosign_accepts_names_tamperings() -> None:
    assert set(TAMPERINGS) > ACCEPTED_BY_COSIGN


@pytest.mark.parametrize(
    ("variant", "bundle", "refusal"),
    [
        ("v1-only", {"log": "v1"}, None),
        ("v1-only", {"log": "v2", "timestamp": True}, "invalid log entry"),
        ("v2-only", {"log": "v2", "timestamp": True}, None),
        ("v2-only", {"log": "v1"}, "invalid log entry"),
        ("logs-only", {"log": "v1"}, None),
        ("logs-only", {"log": "v1", "timestamp": True}, "no Timestamp Authorities"),
        ("no-ct-log", {"log": "v1"}, "CTFE keys not found"),
        ("timestamps-expired", {"log": "v2", "timestamp": True}, "not enough sources of verified time"),
        ("timestamps-expired", {"log": "v1"}, None),
    ],
)
def test_trusted_roots_name_their_parts(
    lab: Lab,
    verifier_of: Callable[[str], Verifier],
    variant: str,
    bundle: dict[str, Any],
    refusal: str | None,
) -> None:
    signed = lab.sign(PAYLOAD, **bundle)
    if refusal is None:
        assert verify(verifier_of(variant), signed)[1] == PAYLOAD
    else:
        with pytest.raises(Error, match=refusal):
            verify(verifier_of(variant), signed)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_trusted_root_is_well_formed(lab: Lab, tmp_path: Path, variant: str) -> None:
    options = VARIANTS[variant]
    path = tmp_path / "root.json"
    path.write_bytes(lab.trusted_root(**options))
    TrustedRoot.from_file(str(path))
    root = json.loads(path.read_bytes())
    named = set(options.get("parts", {"ca", "ct", "v1", "v2", "tsa"}))
    assert len(root["tlogs"]) == len(named & {"v1", "v2"})
    assert bool(root["certificateAuthorities"]) == ("ca" in named)
    assert bool(root["ctlogs"]) == ("ct" in named)
    assert bool(root["timestampAuthorities"]) == ("tsa" in named)


def test_labs_of_another_seed_are_strangers(lab: Lab, verifier_of: Callable[[str], Verifier]) -> None:
    assert Lab(lab.seed).trusted_root() == lab.trusted_root()
    assert Lab("another").trusted_root() != lab.trusted_root()
    with pytest.raises(VerificationError):
        verify(verifier_of("full"), Lab("another").sign(PAYLOAD))


def test_equal_labs_sign_equal_bytes() -> None:
    def signed() -> list[bytes]:
        lab = Lab("once more")
        return [lab.sign(PAYLOAD), lab.sign(PAYLOAD, log="v2", timestamp=True), lab.sign_blob(b"blob")]

    assert signed() == signed()


def test_older_entry_types_are_made_properly(lab: Lab, verifier_of: Callable[[str], Verifier]) -> None:
    """What is refused is the entry's type alone: certificate, SET, proof and checkpoint came before."""
    bundle = lab.sign(PAYLOAD, entry="intoto", timestamp=True)
    with pytest.raises(VerificationError, match="Integrated time only supported for dsse/hashedrekord"):
        verify(verifier_of("full"), bundle)


def test_a_signed_blob_is_no_attestation(lab: Lab, verifier_of: Callable[[str], Verifier]) -> None:
    bundle = Bundle.from_json(lab.sign_blob(b"a blob"))
    signer = ExactIdentity(identity=github_source_actions().san, issuer=GITHUB_ISSUER)
    verifier_of("full").verify_artifact(b"a blob", bundle, signer)
    with pytest.raises(VerificationError, match="without a DSSE envelope"):
        verifier_of("full").verify_dsse(bundle, signer)


@pytest.mark.parametrize("empty_list", [False, True])
def test_a_bundle_without_any_log_verifies_by_its_timestamp(lab: Lab, empty_list: bool) -> None:
    """Like GitHub's own Sigstore. sigstore-python reads no such bundle, so the parts are verified one by one."""
    departures = Departures(empty_log_list=empty_list)
    raw = lab.sign(PAYLOAD, log=None, timestamp=True, sct=False, departures=departures)
    bundle = json.loads(raw)
    with pytest.raises(InvalidBundle):
        Bundle.from_json(raw)
    assert ("tlogEntries" in bundle["verificationMaterial"]) == empty_list
    leaf, envelope = leaf_of(raw), bundle["dsseEnvelope"]
    leaf.verify_directly_issued_by(lab.authority.intermediate)
    lab.authority.intermediate.verify_directly_issued_by(lab.authority.root)
    with pytest.raises(x509.ExtensionNotFound):
        leaf.extensions.get_extension_for_class(x509.PrecertificateSignedCertificateTimestamps)
    signature = unb64(envelope["signatures"][0]["sig"])
    key = leaf.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    message = pre_authentication_encoding(envelope["payloadType"], unb64(envelope["payload"]))
    key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
    token = bundle["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"][0]
    response = decode_timestamp_response(unb64(token["signedTimestamp"]))
    authority = lab.timestamp_authority
    stamped = (
        VerifierBuilder().tsa_certificate(authority.certificate).add_root_certificate(authority.root).build()
    )
    assert stamped.verify_message(response, signature)
    assert response.tst_info.gen_time == SIGNED_AT + LOGGED_AFTER


def test_timestamps_may_embed_their_certificate(lab: Lab) -> None:
    authority = TimestampAuthority(lab.seed, embed=True)
    response = decode_timestamp_response(authority.stamp(b"message", SIGNED_AT))
    assert len(response.signed_data.certificates) == 1
    assert VerifierBuilder().add_root_certificate(authority.root).build().verify_message(response, b"message")


def test_certificates_are_as_fulcio_makes_them(lab: Lab) -> None:
    leaf = leaf_of(lab.sign(PAYLOAD))
    extensions = leaf.extensions
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc == timedelta(minutes=10)
    assert not list(leaf.subject)
    name = extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert name.critical
    assert [one.value for one in name.value] == [github_source_actions().san]
    assert list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        ExtendedKeyUsageOID.CODE_SIGNING
    ]
    values = {
        int(one.oid.dotted_string.rpartition(".")[2]): one.value.value
        for one in extensions
        if one.oid.dotted_string.startswith("1.3.6.1.4.1.57264.1.")
        and isinstance(one.value, x509.UnrecognizedExtension)
    }
    assert values[3] == COMMIT.encode()
    assert values[13] == b"\x0c\x28" + COMMIT.encode()
    assert sorted(values) == [*range(1, 7), *range(8, 23)]


def test_certificates_can_have_several_names(lab: Lab) -> None:
    several = Identity("https://example.com/a", more_names=("https://example.com/b", "c@example.com"))
    names = leaf_of(lab.sign(PAYLOAD, several)).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert list(names.value) == [
        x509.UniformResourceIdentifier("https://example.com/a"),
        x509.UniformResourceIdentifier("https://example.com/b"),
        x509.RFC822Name("c@example.com"),
    ]


def test_extensions_can_be_malformed(lab: Lab) -> None:
    odd = github_source_actions().having({12: b"\x0c\x05abc"}).without(1, 14)
    assert odd.encoded()[12] == b"\x0c\x05abc"
    der = leaf_of(lab.sign(PAYLOAD, odd))
    dotted = [one.oid.dotted_string for one in der.extensions]
    assert "1.3.6.1.4.1.57264.1.12" in dotted
    assert "1.3.6.1.4.1.57264.1.14" not in dotted


@pytest.mark.shared_data
@pytest.mark.skipif(not REAL_NOTES.is_dir(), reason="../shared/data is not on this machine")
def test_the_shape_is_that_of_real_bundles(lab: Lab) -> None:
    text = (REAL_NOTES / "fcf594d-source-level-3.intoto.jsonl").read_text()
    real, ours = text.splitlines()[-1].encode(), lab.sign(PAYLOAD, timestamp=True)
    assert shape(json.loads(ours)) == shape(json.loads(real))

    def statement(bundle: bytes) -> Any:
        return json.loads(unb64(json.loads(bundle)["dsseEnvelope"]["payload"]))

    assert shape(statement(ours)) == shape(statement(real))
    body = [
        json.loads(unb64(json.loads(one)["verificationMaterial"]["tlogEntries"][0]["canonicalizedBody"]))
        for one in (ours, real)
    ]
    assert shape(body[0]) == shape(body[1])
    described = [
        [(one.oid.dotted_string, one.critical) for one in leaf_of(bundle).extensions]
        for bundle in (ours, real)
    ]
    assert described[0] == described[1]
    assert leaf_of(ours).signature_algorithm_oid == leaf_of(real).signature_algorithm_oid


def shape(value: Any) -> Any:
    """Return the names and types in a JSON value, in their order; of a list, the first item's."""
    if isinstance(value, dict):
        return {name: shape(item) for name, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value[:1]]
    return type(value).__name__
