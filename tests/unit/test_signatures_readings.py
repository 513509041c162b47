"""Bundles that can be read in two ways, keys, and what is kept of what verified."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from slsa_verifier_plugin.errors import Reason, SignatureError
from slsa_verifier_plugin.lru import LruCache
from slsa_verifier_plugin.model.envelope import Candidate
from slsa_verifier_plugin.model.signer import Verified
from slsa_verifier_plugin.signatures.keys import load_key
from slsa_verifier_plugin.signatures.trust import load_root
from slsa_verifier_plugin.signatures.verifier import AttestationVerifier, RootVerifier, SignatureCache
from tests.support.sigstore import (
    TAMPERINGS,
    Lab,
    derive_key,
    keyed_envelope,
    person,
    vsa,
)
from tests.support.sigstore.encoding import compact
from tests.support.sigstore.envelope import payload_bytes
from tests.unit.test_signatures_verifier import KEY, PAYLOAD, ROOTS, candidate, refusal, verifier

# One reading


def edited(edit: Callable[[Any], None], **how: Any) -> bytes:
    value = json.loads(Lab().sign(PAYLOAD, **how))
    edit(value)
    return compact(value)


def two_certificates(value: Any) -> None:
    material = value["verificationMaterial"]
    other = json.loads(Lab("other").sign(PAYLOAD, person(), bundle_version="0.2"))["verificationMaterial"]
    material["x509CertificateChain"] = other["x509CertificateChain"]


def certificate_and_key(value: Any) -> None:
    value["verificationMaterial"]["publicKey"] = {"hint": "x"}


def snake_case_envelope(value: Any) -> None:
    other = json.loads(Lab().sign(payload_bytes(vsa(levels=["SLSA_SOURCE_LEVEL_4"]))))["dsseEnvelope"]
    value["dsse_envelope"] = other


def snake_case_payload(value: Any) -> None:
    value["dsseEnvelope"]["payload_type"] = "application/json"


@pytest.mark.parametrize(
    "edit", [two_certificates, certificate_and_key, snake_case_envelope, snake_case_payload]
)
def test_a_bundle_that_can_be_read_in_two_ways_verifies_as_what_was_read_or_not_at_all(
    edit: Callable[[Any], None],
) -> None:
    one = candidate(edited(edit))
    try:
        verified = verifier(key=True).verify(one)
    except SignatureError:
        return
    assert (verified.claim.payload_type, verified.claim.payload) == (one.payload_type, one.payload)
    assert verified.claim == verifier().claims(one)[0]


def test_the_payload_that_was_verified_must_be_the_one_that_was_read() -> None:
    """Whatever a library makes of a bundle, the candidate's own reading is what a success is about."""
    one = candidate(Lab().sign(PAYLOAD))
    for other in (
        Candidate(one.content, 1, True, one.payload_type, b"other", one.certificate),
        Candidate(one.content, 1, True, "application/json", one.payload, one.certificate),
    ):
        with pytest.raises(SignatureError, match="carrying two payloads"):
            verifier().verify(other)


def test_the_certificate_that_was_verified_must_be_the_one_that_was_read() -> None:
    one = candidate(Lab().sign(PAYLOAD))
    stranger = candidate(Lab().sign(PAYLOAD, person())).certificate
    with pytest.raises(SignatureError, match="carrying two certificates"):
        verifier().verify(Candidate(one.content, 1, True, one.payload_type, one.payload, stranger))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("verificationMaterial", "tlogEntries"), "x"),
        (("verificationMaterial", "tlogEntries"), [{}]),
        (("verificationMaterial", "tlogEntries"), [None]),
        (("verificationMaterial", "timestampVerificationData"), []),
        (("verificationMaterial", "timestampVerificationData"), {"rfc3161Timestamps": "x"}),
        (("verificationMaterial", "timestampVerificationData"), {"rfc3161Timestamps": [{}]}),
        (("dsseEnvelope", "signatures"), None),
        (("dsseEnvelope", "signatures"), [{"sig": 7}]),
        (("dsseEnvelope", "signatures"), [{}]),
        (("mediaType",), "application/vnd.dev.sigstore.bundle+json;version=0.1"),
    ],
)
def test_malformed_bundles_are_signature_errors(place: tuple[str, ...], value: Any) -> None:
    def edit(bundle: Any) -> None:
        for step in place[:-1]:
            bundle = bundle[step]
        bundle[place[-1]] = value

    assert refusal(edited(edit)).reason is Reason.SIGNATURE_INVALID


def test_a_certificate_that_is_none() -> None:
    def edit(bundle: Any) -> None:
        bundle["verificationMaterial"]["certificate"]["rawBytes"] = base64.b64encode(
            b"0\x03\x02\x01\x01"
        ).decode()

    one = candidate(edited(edit))
    for attempt in (verifier().verify, verifier().claims):
        with pytest.raises(SignatureError, match="certificate cannot be read"):
            attempt(one)


# Keys


def test_a_keys_signature_is_of_the_configured_keys() -> None:
    for content in (keyed_envelope(PAYLOAD, KEY), Lab().sign_with_key(PAYLOAD, KEY)):
        checked = verifier(key=True)
        verified = checked.verify(candidate(content))
        assert verified.claim == checked.claims(candidate(content))[0]
        assert verified.claim.signer.identity == checked.key_identities["configured"]
        assert (verified.signed_at, verified.trusted_root, verified.log_index) == (None, "", None)
        assert verifier().claims(candidate(content)) == []
        with pytest.raises(SignatureError, match="no key is configured"):
            verifier().verify(candidate(content))


def test_a_keys_signature_needs_no_root_and_a_certificates_no_key() -> None:
    keyed = AttestationVerifier([], {"configured": load_key(KEY.pem.decode())})
    assert keyed.verify(candidate(keyed_envelope(PAYLOAD, KEY))).claim.payload == PAYLOAD
    with pytest.raises(SignatureError):
        keyed.verify(candidate(Lab().sign(PAYLOAD)))


# The cache


def test_what_was_verified_is_kept_by_content_and_root() -> None:
    cache: SignatureCache = LruCache(1 << 20)
    one = candidate(Lab().sign(PAYLOAD))
    first = verifier(cache=cache).verify(one)
    assert verifier(cache=cache).verify(one) is first
    assert verifier(cache=cache).claims(one) == [first.claim]
    other = RootVerifier(load_root(Lab("other").trusted_root(), "other"))
    with pytest.raises(SignatureError):
        AttestationVerifier([other], {}, cache).verify(one)
    again = AttestationVerifier([other, ROOTS["v1-only"]], {}, cache).verify(one)
    assert again.trusted_root == ROOTS["v1-only"].root.info.digest
    assert len(cache) == 2


def test_a_tampered_bundle_is_not_taken_for_the_cached_one() -> None:
    cache: SignatureCache = LruCache(1 << 20)
    verifier(cache=cache).verify(candidate(Lab().sign(PAYLOAD)))
    for name in ("signature-flipped", "certificate-signature-flipped", "set-flipped", "payload-extended"):
        with pytest.raises(SignatureError):
            verifier(cache=cache).verify(candidate(TAMPERINGS[name](Lab(), PAYLOAD)))
    assert len(cache) == 1


def test_what_does_not_verify_is_not_kept() -> None:
    cache: LruCache[tuple[bytes, str], Verified] = LruCache(1 << 20)
    with pytest.raises(SignatureError):
        verifier(cache=cache).verify(candidate(TAMPERINGS["signature-flipped"](Lab(), PAYLOAD)))
    assert len(cache) == 0


def test_keys_that_are_no_longer_configured_no_longer_count() -> None:
    cache: SignatureCache = LruCache(1 << 20)
    one = candidate(keyed_envelope(PAYLOAD, KEY))
    verifier(key=True, cache=cache).verify(one)
    with pytest.raises(SignatureError):
        verifier(cache=cache).verify(one)
    other = {"other": load_key(derive_key("somebody", "else").pem.decode())}
    with pytest.raises(SignatureError):
        AttestationVerifier([], other, cache).verify(one)
    assert [claim.signer.identity for claim in AttestationVerifier([], other, cache).claims(one)] == [
        other["other"].identity
    ]
