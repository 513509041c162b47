"""Bundles that only a timestamp authority vouches for: a root without any log, and each step that must still hold."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from sigstore_models.bundle import v1 as bundle_v1

from slsa_verifier_plugin.errors import Reason, SignatureError
from tests.support.sigstore import (
    SIGNED_AT,
    TAMPERINGS,
    Departures,
    Lab,
    derive_key,
    person,
)
from tests.support.sigstore.certificates import (
    CREATED,
    FULCIO_PROFILE,
    CertificateAuthority,
    CtLog,
    LeafProfile,
)
from tests.support.sigstore.encoding import b64, compact, unb64
from tests.support.sigstore.timestamps import TimestampAuthority
from tests.support.stamped import (
    NO_LOG,
    PAYLOAD,
    STAMPED,
    WITH_CT,
    edited,
    root,
    sign,
    stamps,
    verify,
    verify_parsed,
)


def test_a_bundle_without_log_entries_may_speak_of_them() -> None:
    value = json.loads(sign(Departures(empty_log_list=False)))
    assert "tlogEntries" not in value["verificationMaterial"]
    value["dsseEnvelope"]["signatures"][0]["keyid"] = "tlogEntries"
    assert verify(compact(value), root(*NO_LOG)).claim.payload == PAYLOAD


@pytest.mark.parametrize("parts", [NO_LOG, WITH_CT])
@pytest.mark.parametrize("entries", [True, False])
@pytest.mark.parametrize("version", ["0.2", "0.3"])
def test_a_timestamp_is_enough_where_the_root_has_no_log(
    parts: tuple[str, ...], entries: bool, version: str
) -> None:
    content = sign(Departures(empty_log_list=entries), bundle_version=version)
    verified = verify(content, root(*parts))
    assert verified.claim.payload == PAYLOAD
    assert (verified.signed_at, verified.log_index) == (STAMPED, None)


def test_a_root_that_has_a_log_demands_its_entry() -> None:
    for parts in (("ca", "tsa", "ct", "v1"), ("ca", "tsa", "v2", "ct")):
        with pytest.raises(SignatureError, match="no transparency log entry"):
            verify(sign(), root(*parts))


def test_a_log_entry_of_an_unknown_log_adds_nothing() -> None:
    assert verify(sign(log="v1"), root()).log_index is None
    with pytest.raises(SignatureError, match="no signed timestamp"):
        verify(sign(log="v1", timestamp=False), root())


def another_key(value: Any) -> None:
    value["dsseEnvelope"]["signatures"] = json.loads(
        sign(Departures(signing_keys=(derive_key("a stranger", "key"),)))
    )["dsseEnvelope"]["signatures"]


def garbage_stamp(value: Any) -> None:
    stamps(value)[0]["signedTimestamp"] = b64(b"garbage")


def flipped_stamp(value: Any) -> None:
    raw = bytearray(unb64(stamps(value)[0]["signedTimestamp"]))
    raw[-1] ^= 1
    stamps(value)[0]["signedTimestamp"] = b64(bytes(raw))


def no_stamp(value: Any) -> None:
    stamps(value).clear()


def no_stamps_at_all(value: Any) -> None:
    del value["verificationMaterial"]["timestampVerificationData"]


def stamp_twice(value: Any) -> None:
    stamps(value).append(dict(stamps(value)[0]))


def stamp_of_another_signature(value: Any) -> None:
    token = Lab().timestamp_authority.stamp(b"another signature", STAMPED)
    stamps(value)[0]["signedTimestamp"] = b64(token)


def payload_changed(value: Any) -> None:
    value["dsseEnvelope"]["payload"] = b64(PAYLOAD + b" ")


def payload_type_changed(value: Any) -> None:
    value["dsseEnvelope"]["payloadType"] = "application/vnd.in-toto"


def no_signature(value: Any) -> None:
    value["dsseEnvelope"]["signatures"] = []


def signature_twice(value: Any) -> None:
    value["dsseEnvelope"]["signatures"] *= 2


@pytest.mark.parametrize(
    "edit",
    [
        another_key,
        garbage_stamp,
        flipped_stamp,
        no_stamp,
        no_stamps_at_all,
        stamp_twice,
        stamp_of_another_signature,
        payload_changed,
        payload_type_changed,
        no_signature,
        signature_twice,
    ],
)
def test_a_changed_bundle_does_not_verify(edit: Callable[[Any], None]) -> None:
    with pytest.raises(SignatureError) as caught:
        verify(edited(edit))
    assert caught.value.reason is Reason.SIGNATURE_INVALID


@pytest.mark.parametrize(
    "name", ["certificate-key-flipped", "certificate-extension-changed", "certificate-of-another-signer"]
)
def test_a_changed_certificate_does_not_verify(name: str) -> None:
    changed = json.loads(TAMPERINGS[name](Lab(), PAYLOAD))["verificationMaterial"]["certificate"]

    def edit(value: Any) -> None:
        value["verificationMaterial"]["certificate"] = changed

    with pytest.raises(SignatureError):
        verify(edited(edit))


@pytest.mark.parametrize(
    ("departures", "says"),
    [
        (Departures(timestamped_at=SIGNED_AT - timedelta(seconds=1)), "does not chain"),
        (
            Departures(timestamped_at=SIGNED_AT + FULCIO_PROFILE.lifetime + timedelta(seconds=1)),
            "does not chain",
        ),
        (Departures(timestamp_authority=TimestampAuthority("a stranger")), "no signed timestamp"),
        (Departures(profile=LeafProfile(code_signing=False)), "not for signing code"),
        (Departures(profile=LeafProfile(digital_signature=False)), "not for signing code"),
        (Departures(profile=LeafProfile(is_ca=True)), "does not chain"),
        (Departures(signing_keys=(derive_key("a stranger", "key"),)), "does not match the certificate's key"),
        (Departures(signing_keys=(Lab().next_key, derive_key("a stranger", "key"))), "exactly one signature"),
    ],
)
def test_a_signature_made_otherwise_does_not_verify(departures: Departures, says: str) -> None:
    with pytest.raises(SignatureError, match=says):
        verify(sign(departures))


def test_an_unknown_authority_is_told_from_a_wrong_signature() -> None:
    with pytest.raises(SignatureError, match="certificate authority") as caught:
        verify(Lab("other").sign(PAYLOAD, log=None, timestamp=True))
    assert caught.value.reason is Reason.UNKNOWN_AUTHORITY
    # The same names and another key: the key id tells.
    with pytest.raises(SignatureError) as caught:
        verify(sign(Departures(authority=CertificateAuthority("a stranger"))))
    assert caught.value.reason is Reason.UNKNOWN_AUTHORITY


@pytest.mark.parametrize(
    ("options", "good"),
    [
        ({"only_for": {"ca"}, "end": STAMPED}, True),
        ({"only_for": {"ca"}, "end": STAMPED - timedelta(seconds=1)}, False),
        ({"only_for": {"ca"}, "start": STAMPED}, True),
        ({"only_for": {"ca"}, "start": STAMPED + timedelta(seconds=1)}, False),
        ({"only_for": {"tsa"}, "end": STAMPED}, True),
        ({"only_for": {"tsa"}, "end": STAMPED - timedelta(seconds=1)}, False),
        ({"only_for": {"tsa"}, "start": STAMPED + timedelta(seconds=1)}, False),
        ({"only_for": {"ct"}, "end": STAMPED - timedelta(seconds=1)}, False),
    ],
)
def test_the_authorities_must_have_been_in_service(options: dict[str, Any], good: bool) -> None:
    if good:
        assert verify(sign(), root(*WITH_CT, **options)).signed_at == STAMPED
    else:
        with pytest.raises(SignatureError):
            verify(sign(), root(*WITH_CT, **options))


@pytest.mark.parametrize("end", [STAMPED, STAMPED - timedelta(seconds=1)])
def test_no_authority_out_of_service_is_a_chains_end(end: datetime) -> None:
    """Each timestamp is held against the authorities' windows, not the earliest alone."""
    value = json.loads(sign())
    value["verificationMaterial"]["tlogEntries"] = []
    bundle = bundle_v1.Bundle.from_json(json.dumps(value))
    certificate = x509.load_der_x509_certificate(
        unb64(value["verificationMaterial"]["certificate"]["rawBytes"])
    )
    trusted = root(only_for={"ca"}, end=end)
    if end == STAMPED:
        assert verify_parsed(bundle, certificate, trusted) == STAMPED
    else:
        with pytest.raises(SignatureError, match="no certificate authority of the trusted root was valid"):
            verify_parsed(bundle, certificate, trusted)


def test_a_ct_log_in_the_root_demands_a_certificate_timestamp() -> None:
    assert verify(sign(sct=False), root()).claim.payload == PAYLOAD
    with pytest.raises(SignatureError):
        verify(sign(sct=False), root(*WITH_CT))
    foreign = sign(Departures(ct_log=CtLog(derive_key("a stranger", "ctfe"))))
    assert verify(foreign, root()).claim.payload == PAYLOAD
    with pytest.raises(SignatureError) as caught:
        verify(foreign, root(*WITH_CT))
    assert caught.value.reason is Reason.UNKNOWN_LOG
    for name in ("sct-flipped", "sct-of-another-certificate"):
        made = TAMPERINGS[name](Lab(), PAYLOAD)
        bundle = json.loads(made)
        signature = unb64(bundle["dsseEnvelope"]["signatures"][0]["sig"])
        token = Lab().timestamp_authority.stamp(signature, STAMPED)
        bundle["verificationMaterial"]["timestampVerificationData"] = {
            "rfc3161Timestamps": [{"signedTimestamp": b64(token)}]
        }
        with pytest.raises(SignatureError, match="SCT"):
            verify(compact(bundle), root(*WITH_CT))


def test_every_trusted_timestamp_must_fall_into_the_certificates_life_and_the_earliest_counts() -> None:
    signature = unb64(json.loads(sign())["dsseEnvelope"]["signatures"][0]["sig"])
    authority = Lab().timestamp_authority

    def with_stamps(*moments: Any) -> bytes:
        def edit(value: Any) -> None:
            stamps(value)[:] = [
                {"signedTimestamp": b64(authority.stamp(signature, moment))} for moment in moments
            ]

        return edited(edit)

    later = STAMPED + timedelta(minutes=3)
    assert verify(with_stamps(later, STAMPED)).signed_at == STAMPED
    assert verify(with_stamps(STAMPED, later)).signed_at == STAMPED
    outside = SIGNED_AT + FULCIO_PROFILE.lifetime + timedelta(minutes=1)
    for moments in ((STAMPED, outside), (outside, STAMPED)):
        with pytest.raises(SignatureError, match="does not chain"):
            verify(with_stamps(*moments))


def test_a_foreign_timestamp_beside_a_trusted_one_does_not_count() -> None:
    signature = unb64(json.loads(sign())["dsseEnvelope"]["signatures"][0]["sig"])
    foreign = TimestampAuthority("a stranger").stamp(signature, CREATED)

    def edit(value: Any) -> None:
        stamps(value).append({"signedTimestamp": b64(foreign)})

    assert verify(edited(edit)).signed_at == STAMPED


def test_any_identity_of_the_instance_verifies_as_itself() -> None:
    content = Lab().sign(PAYLOAD, person(), log=None, timestamp=True)
    assert verify(content).claim.signer.identity == "someone@example.com"
