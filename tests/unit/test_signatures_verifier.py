"""Step 5: honest bundles verify, every tampered one does not, and what is unknown is told from what is wrong."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from slsa_verifier_plugin.errors import Reason, SignatureError
from slsa_verifier_plugin.model.envelope import Candidate, read_blob
from slsa_verifier_plugin.signatures.keys import load_key
from slsa_verifier_plugin.signatures.trust import load_root
from slsa_verifier_plugin.signatures.verifier import AttestationVerifier, RootVerifier
from tests.support.policies import signer
from tests.support.sigstore import (
    IN_TOTO,
    LOGGED_AFTER,
    SIGNED_AT,
    TAMPERINGS,
    VARIANTS,
    Departures,
    Lab,
    Tampering,
    derive_key,
    github_source_actions,
    vsa,
)
from tests.support.sigstore.encoding import b64, compact, unb64
from tests.support.sigstore.envelope import payload_bytes
from tests.support.sigstore.lab import BundleVersion, Log

PAYLOAD = payload_bytes(vsa())
NOW = datetime(2025, 12, 3, tzinfo=UTC)
ROOTS = {
    name: RootVerifier(load_root(Lab().trusted_root(**options), name))
    for name, options in VARIANTS.items()
    if name not in ("empty", "no-authority", "not-yet-valid")
}
KEY = derive_key("somebody", "key")


def candidate(content: bytes) -> Candidate:
    (found,) = read_blob(content, 1).candidates
    return found


def verifier(*roots: str, **options: Any) -> AttestationVerifier:
    keys = {"configured": load_key(KEY.pem.decode())} if options.pop("key", False) else {}
    return AttestationVerifier([ROOTS[name] for name in roots or ("full",)], keys, now=NOW, **options)


def refusal(content: bytes, *roots: str) -> SignatureError:
    with pytest.raises(SignatureError) as caught:
        verifier(*roots).verify(candidate(content))
    assert not set("{}\n") & set(caught.value.message)
    return caught.value


@pytest.mark.parametrize(
    ("version", "log", "timestamp"),
    [
        ("0.1", "v1", False),
        ("0.2", "v1", True),
        ("0.2", "v2", True),
        ("0.3", "v1", False),
        ("0.3", "v1", True),
        ("0.3", "v2", True),
        ("0.3-old", "v1", False),
    ],
)
def test_honest_bundles_verify(version: BundleVersion, log: Log, timestamp: bool) -> None:
    content = Lab().sign(PAYLOAD, bundle_version=version, log=log, timestamp=timestamp)
    verified = verifier().verify(candidate(content))
    assert (verified.claim.payload_type, verified.claim.payload) == (IN_TOTO, PAYLOAD)
    assert verified.claim.signer == signer(github_source_actions())
    assert verified.signed_at == SIGNED_AT + LOGGED_AFTER
    assert verified.log_index is not None
    assert verified.trusted_root == ROOTS["full"].root.info.digest
    assert verifier().claims(candidate(content)) == [verified.claim]


@pytest.mark.parametrize(
    ("logged", "stamped"), [(1, 2), (2, 1), (2, 2)], ids=["log first", "stamp first", "together"]
)
def test_of_the_logs_time_and_a_timestamps_the_earliest_counts(logged: int, stamped: int) -> None:
    departures = Departures(
        logged_at=SIGNED_AT + timedelta(minutes=logged), timestamped_at=SIGNED_AT + timedelta(minutes=stamped)
    )
    content = Lab().sign(PAYLOAD, timestamp=True, departures=departures)
    verified = verifier().verify(candidate(content))
    assert verified.signed_at == SIGNED_AT + timedelta(minutes=min(logged, stamped))


def test_a_logs_time_that_no_promise_covers_does_not_count() -> None:
    """An inclusion proof says that an entry is in the log, not when it came there."""
    value = json.loads(Lab().sign(PAYLOAD, timestamp=True))
    (entry,) = value["verificationMaterial"]["tlogEntries"]
    del entry["inclusionPromise"]
    entry["integratedTime"] = str(int((SIGNED_AT + timedelta(days=300)).timestamp()))
    assert verifier().verify(candidate(compact(value))).signed_at == SIGNED_AT + LOGGED_AFTER


@pytest.mark.parametrize("time", [None, "0"])
def test_a_promise_without_a_time_vouches_for_none(time: str | None) -> None:
    value = json.loads(Lab().sign(PAYLOAD, timestamp=True))
    (entry,) = value["verificationMaterial"]["tlogEntries"]
    entry["integratedTime"] = time
    if time is None:
        del entry["integratedTime"]
    assert verifier().verify(candidate(compact(value))).signed_at == SIGNED_AT + LOGGED_AFTER


def test_the_earliest_of_several_timestamps_counts() -> None:
    value = json.loads(Lab().sign(PAYLOAD, log="v2", timestamp=True))
    stamps = value["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"]
    signature = unb64(value["dsseEnvelope"]["signatures"][0]["sig"])
    later = Lab().timestamp_authority.stamp(signature, SIGNED_AT + timedelta(minutes=3))
    for place in (0, 1):
        both = list(stamps)
        both.insert(place, {"signedTimestamp": b64(later)})
        value["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"] = both
        assert verifier().verify(candidate(compact(value))).signed_at == SIGNED_AT + LOGGED_AFTER


@pytest.mark.parametrize("version", ["0.3", "0.2"])
@pytest.mark.parametrize("tampering", TAMPERINGS.values(), ids=TAMPERINGS)
def test_tampered_bundles_do_not_verify(tampering: Tampering, version: BundleVersion) -> None:
    content = tampering(Lab(), PAYLOAD, bundle_version=version)
    found = read_blob(content, 1).candidates
    for one in found:
        with pytest.raises(SignatureError) as caught:
            verifier(key=True).verify(one)
        unknown = Reason.UNKNOWN_LOG if "log" in tampering.name else Reason.UNKNOWN_AUTHORITY
        expected = unknown if tampering.unknown_party else Reason.SIGNATURE_INVALID
        assert caught.value.reason is expected
        assert ("refresh the trusted root" in caught.value.message) is tampering.unknown_party
        assert not set("{}\n") & set(caught.value.message)
    # Those whose very shape is wrong are no candidates; nothing else may drop out of sight.
    assert found or tampering.name in ("media-type-unknown", "envelope-removed")


@pytest.mark.parametrize(
    ("root", "how", "reason", "says"),
    [
        ("v1-only", {"log": "v1"}, None, ""),
        ("v1-only", {"log": "v2", "timestamp": True}, Reason.UNKNOWN_LOG, "the transparency log"),
        ("v2-only", {"log": "v2", "timestamp": True}, None, ""),
        ("v2-only", {"log": "v1"}, Reason.UNKNOWN_LOG, "the transparency log"),
        ("logs-only", {"log": "v1"}, None, ""),
        ("logs-only", {"log": "v2", "timestamp": True}, Reason.UNKNOWN_AUTHORITY, "the timestamp authority"),
        ("logs-only", {"log": "v1", "timestamp": True}, None, ""),
        ("full", {"log": None, "timestamp": True}, Reason.SIGNATURE_INVALID, "no transparency log entry"),
        ("full", {"log": None}, Reason.SIGNATURE_INVALID, "no transparency log entry"),
        ("full", {"log": "v2"}, Reason.SIGNATURE_INVALID, ""),
        ("no-ct-log", {"log": "v1"}, Reason.UNKNOWN_LOG, "the certificate transparency log"),
        ("authority-expired", {"log": "v1"}, Reason.SIGNATURE_INVALID, "authority was not in service"),
        ("ct-log-expired", {"log": "v1"}, Reason.SIGNATURE_INVALID, "a log was not in service"),
        ("v1-expired", {"log": "v1"}, Reason.SIGNATURE_INVALID, "a log was not in service"),
        ("v1-expired", {"log": "v2", "timestamp": True}, None, ""),
        (
            "v2-expired",
            {"log": "v2", "timestamp": True},
            Reason.SIGNATURE_INVALID,
            "a log was not in service",
        ),
        ("timestamps-expired", {"log": "v2", "timestamp": True}, Reason.SIGNATURE_INVALID, ""),
        ("timestamps-expired", {"log": "v1"}, None, ""),
        ("all-expired", {"log": "v1"}, Reason.SIGNATURE_INVALID, "was not in service"),
    ],
)
def test_a_trusted_root_vouches_for_its_own_parts_alone(
    root: str, how: dict[str, Any], reason: Reason | None, says: str
) -> None:
    content = Lab().sign(PAYLOAD, **how)
    if reason is None:
        assert verifier(root).verify(candidate(content)).claim.payload == PAYLOAD
    else:
        error = refusal(content, root)
        assert error.reason is reason
        assert says in error.message


def test_timestamps_that_a_root_has_no_authority_for_are_left_out_but_must_be_well_formed() -> None:
    """They might as well have been taken out of the bundle; what is left must have the log's time."""
    value = json.loads(Lab().sign(PAYLOAD, timestamp=True))
    stamps = value["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"]
    (good,) = stamps
    for many, says in (
        ([good, good], "or one twice"),
        ([good] * 33, "more than 32 timestamps"),
        ([{"signedTimestamp": b64(b"no token")}], "cannot be read"),
    ):
        stamps[:] = many
        error = refusal(compact(value), "logs-only")
        assert error.reason is Reason.SIGNATURE_INVALID
        assert says in error.message
    stamps[:] = [good]
    verified = verifier("logs-only").verify(candidate(compact(value)))
    assert verified.signed_at == SIGNED_AT + LOGGED_AFTER
    assert verified.claim.payload == PAYLOAD
    (entry,) = value["verificationMaterial"]["tlogEntries"]
    entry["integratedTime"] = str(int((SIGNED_AT + timedelta(minutes=1)).timestamp()))
    assert refusal(compact(value), "logs-only").reason is Reason.SIGNATURE_INVALID


@pytest.mark.parametrize("part", ["inclusionPromise", "integratedTime"])
def test_timestamps_of_an_unknown_authority_are_told_where_nothing_else_gives_a_time(part: str) -> None:
    value = json.loads(Lab().sign(PAYLOAD, timestamp=True))
    del value["verificationMaterial"]["tlogEntries"][0][part]
    error = refusal(compact(value), "logs-only")
    assert error.reason is Reason.UNKNOWN_AUTHORITY
    assert error.message.startswith("the timestamp authority is in no trusted root")


@pytest.mark.parametrize("path", [("inclusionProof",), ("inclusionProof", "checkpoint")])
def test_an_entry_with_a_promise_alone_is_told_as_what_it_is(path: tuple[str, ...]) -> None:
    value = json.loads(Lab().sign(PAYLOAD, bundle_version="0.1"))
    (place,) = value["verificationMaterial"]["tlogEntries"]
    *way, last = path
    for step in way:
        place = place[step]
    del place[last]
    error = refusal(compact(value))
    assert error.reason is Reason.SIGNATURE_INVALID
    assert "has no inclusion proof with a checkpoint" in error.message
    assert "have the commit attested anew" in error.message


def test_a_root_that_is_not_valid_yet_is_no_root_until_it_is() -> None:
    now = [datetime(2053, 12, 31, tzinfo=UTC)]
    root = RootVerifier(load_root(Lab().trusted_root(**VARIANTS["not-yet-valid"]), "later"), lambda: now[0])
    late = root.not_begun()
    assert late is not None
    assert re.search(r"cannot be used yet: .* in service from 2054-01-01T00:00:00Z on", late.message)
    now[0] = datetime(2054, 1, 1, tzinfo=UTC)
    assert root.not_begun() is None


def test_in_service_until_the_very_moment() -> None:
    moment = SIGNED_AT + LOGGED_AFTER
    content = Lab().sign(PAYLOAD)
    for part in ("ca", "ct", "v1"):
        for end, good in ((moment, True), (moment - timedelta(seconds=1), False)):
            root = RootVerifier(load_root(Lab().trusted_root(end=end, only_for={part}), "ended"))
            checked = AttestationVerifier([root], {})
            if good:
                assert checked.verify(candidate(content)).signed_at == moment
            else:
                with pytest.raises(SignatureError, match="not in service"):
                    checked.verify(candidate(content))


def test_one_of_several_roots_must_satisfy_a_bundle_alone() -> None:
    """A CA of one instance and a log of another are no instance."""
    content = Lab().sign(PAYLOAD)
    other = RootVerifier(load_root(Lab("other").trusted_root(), "other"))
    for roots in ([other, ROOTS["full"]], [ROOTS["full"], other]):
        verified = AttestationVerifier(roots, {}).verify(candidate(content))
        assert verified.trusted_root == ROOTS["full"].root.info.digest
    split = [
        RootVerifier(load_root(_mixed(Lab().trusted_root(), Lab("other").trusted_root(), part), part))
        for part in ("certificateAuthorities", "tlogs", "ctlogs")
    ]
    for root in split:
        with pytest.raises(SignatureError):
            AttestationVerifier([root, other], {}).verify(candidate(content))
    with pytest.raises(SignatureError):
        AttestationVerifier(split, {}).verify(candidate(content))


def _mixed(root: bytes, other: bytes, part: str) -> bytes:
    """Return ``root`` with one part of ``other``."""
    value = json.loads(root)
    value[part] = json.loads(other)[part]
    return json.dumps(value).encode()


def test_of_wrong_and_unknown_what_is_wrong_speaks() -> None:
    other = RootVerifier(load_root(Lab("other").trusted_root(), "other"))
    content = TAMPERINGS["signature-flipped"](Lab(), PAYLOAD)
    for roots in ([other, ROOTS["full"]], [ROOTS["full"], other]):
        with pytest.raises(SignatureError) as caught:
            AttestationVerifier(roots, {}).verify(candidate(content))
        assert caught.value.reason is Reason.SIGNATURE_INVALID


def test_what_is_unknown_says_the_roots_ages() -> None:
    content = Lab("other").sign(PAYLOAD)
    error = refusal(content, "full", "v1-only")
    assert error.reason is Reason.UNKNOWN_AUTHORITY
    assert "full of 2024-01-01 (702 days old); v1-only of 2024-01-01" in error.message
    assert "refresh the trusted root, or add this Sigstore's to trustedRoot" in error.message


def test_without_roots_everything_is_unknown() -> None:
    with pytest.raises(SignatureError, match="is not known") as caught:
        AttestationVerifier([], {}).verify(candidate(Lab().sign(PAYLOAD)))
    assert caught.value.reason is Reason.UNKNOWN_AUTHORITY
