"""Windows belong to keys: what a retired key makes does not count, whomever it claims to be; what it made in its time does."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from slsa_verifier_plugin.errors import Reason, SignatureError
from slsa_verifier_plugin.lru import LruCache
from slsa_verifier_plugin.model.envelope import Candidate, read_blob
from slsa_verifier_plugin.model.signer import Verified
from slsa_verifier_plugin.service.service import Service
from slsa_verifier_plugin.signatures.trust import load_root
from slsa_verifier_plugin.signatures.verifier import AttestationVerifier, RootVerifier
from tests.support.policies import policy
from tests.support.sigstore import LOGGED_AFTER, SIGNED_AT, Departures, Lab, vsa
from tests.support.sigstore.encoding import b64, compact, unb64
from tests.support.sigstore.envelope import payload_bytes
from tests.support.sigstore.lab import SEED
from tests.support.sigstore.retired import IN_ITS_TIME, PARTIES, NamedRekorV1, Party, Rollover
from tests.support.sigstore.timestamps import TimestampAuthority
from tests.support.sigstore.trusted_root import ENDED

PAYLOAD = payload_bytes(vsa())
ROOTS = {own_ids: load_root(Rollover(own_ids).root(), "rollover") for own_ids in (False, True)}


def candidate(content: bytes) -> Candidate:
    (found,) = read_blob(content, 1).candidates
    return found


def verify(content: bytes, own_ids: bool, **options: Any) -> Verified:
    return AttestationVerifier([RootVerifier(ROOTS[own_ids])], {}, **options).verify(candidate(content))


@pytest.mark.parametrize("own_ids", [False, True])
@pytest.mark.parametrize("party", PARTIES)
def test_both_generations_count_in_their_time(party: Party, own_ids: bool) -> None:
    made = Rollover(own_ids)
    assert verify(made.honest(PAYLOAD, party), own_ids).signed_at == SIGNED_AT + LOGGED_AFTER
    assert verify(made.in_its_time(PAYLOAD, party), own_ids).signed_at == IN_ITS_TIME + LOGGED_AFTER


@pytest.mark.parametrize("own_ids", [False, True])
@pytest.mark.parametrize("claims", [False, True], ids=["as-itself", "as-its-successor"])
@pytest.mark.parametrize("party", PARTIES)
def test_a_retired_key_makes_nothing_that_counts(party: Party, claims: bool, own_ids: bool) -> None:
    with pytest.raises(SignatureError) as caught:
        verify(Rollover(own_ids).retired(PAYLOAD, party, claims=claims), own_ids)
    assert caught.value.reason is Reason.SIGNATURE_INVALID


@pytest.mark.parametrize("party", PARTIES)
def test_the_order_in_the_root_decides_nothing(party: Party) -> None:
    value = json.loads(Rollover(own_ids=True).root())
    for name in ("tlogs", "certificateAuthorities", "ctlogs", "timestampAuthorities"):
        value[name].reverse()
    verifier = AttestationVerifier([RootVerifier(load_root(compact(value), "reversed"))], {})
    made = Rollover(own_ids=True)
    assert verifier.verify(candidate(made.honest(PAYLOAD, party))).claim.payload == PAYLOAD
    for claims in (False, True):
        with pytest.raises(SignatureError):
            verifier.verify(candidate(made.retired(PAYLOAD, party, claims=claims)))


def test_a_certificate_that_names_its_issuer_by_name_alone_is_its_issuers() -> None:
    with pytest.raises(SignatureError, match="does not chain to an authority of the trusted root"):
        verify(Rollover().nameless_authority(PAYLOAD), own_ids=False)


def test_two_keys_under_one_id_each_count_in_their_own_window() -> None:
    """A root that declares one id for a log and its successor."""
    made = Rollover(own_ids=True)
    value = json.loads(made.root())
    one = value["tlogs"][0]["logId"]
    for log in (item for item in value["tlogs"] if "log2025" not in item["baseUrl"]):
        log["logId"] = one
    verifier = AttestationVerifier([RootVerifier(load_root(compact(value), "one id"))], {})
    assert verifier.verify(candidate(made.honest(PAYLOAD, "log"))).claim.payload == PAYLOAD
    with pytest.raises(SignatureError):
        verifier.verify(candidate(made.retired(PAYLOAD, "log", claims=True)))


def test_a_log_in_service_signs_under_no_other_logs_id() -> None:
    made = Rollover()
    log = NamedRekorV1(made.now.rekor_v1.key, made.now.rekor_v2.log_id)
    with pytest.raises(SignatureError, match="does not verify"):
        verify(made.now.sign(PAYLOAD, departures=Departures(log=log)), own_ids=False)


def test_one_key_may_have_several_windows() -> None:
    lab = Lab()
    value = json.loads(lab.trusted_root())
    (log,) = (item for item in value["tlogs"] if "log2025" not in item["baseUrl"])
    again = json.loads(json.dumps(log))
    log["publicKey"]["validFor"] = {"start": "2024-01-01T00:00:00Z", "end": "2024-06-01T00:00:00Z"}
    again["publicKey"]["validFor"] = {"start": "2025-06-01T00:00:00Z"}
    value["tlogs"].append(again)
    verifier = AttestationVerifier([RootVerifier(load_root(compact(value), "two windows"))], {})
    assert verifier.verify(candidate(Lab().sign(PAYLOAD))).claim.payload == PAYLOAD
    between = Lab().sign(PAYLOAD, at=datetime(2025, 1, 1, tzinfo=UTC))
    with pytest.raises(SignatureError, match="a log was not in service when this was signed"):
        verifier.verify(candidate(between))


@pytest.mark.parametrize(("bound", "counts"), [("end", True), ("start", False)])
def test_the_first_of_several_timestamps_says_which_log_was_in_service(bound: str, counts: bool) -> None:
    """Anybody can add a later timestamp: it brings no log into service, and takes none out."""
    value = json.loads(Lab().sign(PAYLOAD, log="v2", timestamp=True))
    signature = unb64(value["dsseEnvelope"]["signatures"][0]["sig"])
    stamped = SIGNED_AT + LOGGED_AFTER
    later = Lab().timestamp_authority.stamp(signature, stamped + timedelta(minutes=3))
    stamps = value["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"]
    stamps.append({"signedTimestamp": b64(later)})
    root = json.loads(Lab().trusted_root())
    (log,) = (item for item in root["tlogs"] if "log2025" in item["baseUrl"])
    between = f"{stamped + timedelta(minutes=1):%Y-%m-%dT%H:%M:%SZ}"
    log["publicKey"]["validFor"] = {"start": "2024-01-01T00:00:00Z", bound: between}
    verifier = AttestationVerifier([RootVerifier(load_root(compact(root), "between"))], {})
    if counts:
        assert verifier.verify(candidate(compact(value))).signed_at == stamped
    else:
        with pytest.raises(SignatureError, match="a log was not in service when this was signed"):
            verifier.verify(candidate(compact(value)))


def test_the_earliest_timestamp_counts_though_one_of_a_later_authority_is_listed_first() -> None:
    """The later one's authority was not in service yet at the earlier time, which is what the bundle is verified at."""
    value = json.loads(Lab().sign(PAYLOAD, log="v2", timestamp=True))
    signature = unb64(value["dsseEnvelope"]["signatures"][0]["sig"])
    stamped = SIGNED_AT + LOGGED_AFTER
    successor = Lab()
    successor.timestamp_authority = TimestampAuthority(SEED, "successor")
    later = successor.timestamp_authority.stamp(signature, stamped + timedelta(minutes=3))
    stamps = value["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"]
    stamps.insert(0, {"signedTimestamp": b64(later)})
    begins = stamped + timedelta(minutes=1)
    root = json.loads(Lab().trusted_root())
    added = json.loads(successor.trusted_root(parts={"tsa"}, start=begins))
    root["timestampAuthorities"] += added["timestampAuthorities"]
    verifier = AttestationVerifier([RootVerifier(load_root(compact(root), "two authorities"))], {})
    for _ in range(2):
        assert verifier.verify(candidate(compact(value))).signed_at == stamped
        stamps.reverse()


def test_an_id_that_is_not_the_digest_of_the_key_is_found_among_several_logs() -> None:
    made = Rollover(own_ids=True)
    assert {log.id for log in ROOTS[True].parts.logs} == {
        made.now.rekor_v1.log_id,
        made.now.rekor_v2.log_id,
        made.before.rekor_v1.log_id,
        made.before.rekor_v2.log_id,
    }
    assert made.now.rekor_v1.log_id != made.now.rekor_v1.key.key_id
    assert verify(made.honest(PAYLOAD, "log-v2"), own_ids=True).log_index is not None


def test_a_log_whose_key_is_of_no_known_kind_makes_nothing_that_counts_and_spoils_no_other() -> None:
    value = json.loads(Lab().trusted_root())
    value["tlogs"][0]["publicKey"]["rawBytes"] = b64(b"no key")
    root = load_root(compact(value), "one broken key")
    verifier = AttestationVerifier([RootVerifier(root)], {})
    with pytest.raises(SignatureError, match="does not verify"):
        verifier.verify(candidate(Lab().sign(PAYLOAD)))
    assert verifier.verify(candidate(Lab().sign(PAYLOAD, log="v2", timestamp=True))).claim.payload == PAYLOAD


def test_a_broken_key_under_a_logs_id_does_not_hide_the_logs_own() -> None:
    value = json.loads(Lab().trusted_root())
    broken = json.loads(json.dumps(value["tlogs"][0]))
    broken["publicKey"]["rawBytes"] = b64(b"no key")
    value["tlogs"].insert(0, broken)
    verifier = AttestationVerifier([RootVerifier(load_root(compact(value), "one broken key"))], {})
    assert verifier.verify(candidate(Lab().sign(PAYLOAD))).claim.payload == PAYLOAD


# What depends on the clock


def test_a_part_whose_window_begins_later_counts_from_then_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resident verifier lives for days: what it made of a root when it started must not decide what begins meanwhile."""
    start = SIGNED_AT - timedelta(minutes=1)
    for part in ("v1", "ca", "ct"):
        now = [start - timedelta(days=1)]
        content = Lab().trusted_root(start=start, only_for={part})
        root = RootVerifier(load_root(content, "later"), lambda: now[0])  # noqa: B023 (called within this turn)
        verifier = AttestationVerifier([root], {}, LruCache(1 << 20))
        one = candidate(Lab().sign(PAYLOAD))
        with pytest.raises(SignatureError, match="not in service"):
            verifier.verify(one)
        now[0] = start
        assert AttestationVerifier([root], {}).verify(one).claim.payload == PAYLOAD
        now[0] = SIGNED_AT + timedelta(minutes=1)
        assert verifier.verify(one).claim.payload == PAYLOAD
        # A clock that is put right again: what was verified under the wrong one is not kept.
        now[0] = start - timedelta(days=1)
        with pytest.raises(SignatureError, match="not in service"):
            verifier.verify(one)


def test_a_timestamp_authority_counts_from_when_it_begins() -> None:
    start = SIGNED_AT - timedelta(minutes=1)
    now = [start - timedelta(days=1)]
    for parts in ({"ca", "tsa"}, {"ca", "tsa", "ct", "v2"}):
        now[0] = start - timedelta(days=1)
        content = Lab().trusted_root(start=start, only_for={"tsa"}, parts=parts)
        root = RootVerifier(load_root(content, "later"), lambda: now[0])
        log: Any = "v2" if "v2" in parts else None
        one = candidate(Lab().sign(PAYLOAD, log=log, timestamp=True))
        with pytest.raises(SignatureError, match=r"no signed timestamp|no time that a trusted"):
            AttestationVerifier([root], {}).verify(one)
        for moment in (start, SIGNED_AT + timedelta(minutes=1)):
            now[0] = moment
            assert AttestationVerifier([root], {}).verify(one).claim.payload == PAYLOAD


def test_what_was_verified_counts_until_the_very_moment_at_which_a_part_begins() -> None:
    start = SIGNED_AT - timedelta(minutes=1)
    now = [start]
    root = RootVerifier(load_root(Lab().trusted_root(start=start, only_for={"v2"}), "later"), lambda: now[0])
    vouchers = []
    for seconds in (-2, -1, 0, 1):
        now[0] = start + timedelta(seconds=seconds)
        vouchers.append(root.voucher)
    assert vouchers[0] == vouchers[1] != vouchers[2] == vouchers[3]


def test_a_service_that_lives_on_notices_what_begins(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "root.json"
    start = SIGNED_AT - timedelta(minutes=1)
    path.write_bytes(Lab().trusted_root(start=start))
    now = [start - timedelta(days=1)]
    monkeypatch.setattr("slsa_verifier_plugin.signatures.verifier.utc_now", lambda: now[0])
    service = Service({})
    wanted = policy(trustedRoot={"path": str(path)})
    with pytest.raises(Exception, match="cannot be used yet"):
        service.verifier(wanted)
    now[0] = SIGNED_AT + timedelta(minutes=1)
    one = candidate(Lab().sign(PAYLOAD))
    assert service.verifier(wanted).verify(one).claim.payload == PAYLOAD
    assert service.verifier(wanted).verify(one).claim.payload == PAYLOAD
    now[0] = ENDED
    with pytest.raises(Exception, match="cannot be used yet"):
        service.verifier(wanted)


# Reported is what was verified


def edited(content: bytes, **changes: str) -> bytes:
    value = json.loads(content)
    value["verificationMaterial"]["tlogEntries"][0].update(changes)
    return compact(value)


def test_the_index_of_an_entry_is_the_one_that_something_vouches_for() -> None:
    content = Lab().sign(PAYLOAD, log="v2", timestamp=True)
    index = int(json.loads(content)["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]["logIndex"])
    assert verify_full(content).log_index == index
    assert verify_full(edited(content, logIndex="999999")).log_index == index
    promised = Lab().sign(PAYLOAD)
    own = int(json.loads(promised)["verificationMaterial"]["tlogEntries"][0]["logIndex"])
    assert verify_full(promised).log_index == own
    with pytest.raises(SignatureError):
        verify_full(edited(promised, logIndex="999999"))


def test_a_proof_for_a_tree_of_another_size_vouches_for_no_index() -> None:
    """In a tree of 3, entry 2 has a path as entry 4 has in a tree of 5: the checkpoint says which tree it is."""
    lab = Lab()
    content = lab.sign(PAYLOAD, log="v2", timestamp=True)
    value = json.loads(content)
    proof = value["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]
    index, size, hashes = int(proof["logIndex"]), int(proof["treeSize"]), len(proof["hashes"])
    lies = [
        (at, of)
        for of in range(1, 64)
        for at in range(of)
        if _same_path(at, of, index, size, hashes) and (at, of) != (index, size)
    ]
    assert lies, "this proof cannot be told otherwise, so this test shows nothing"
    for at, of in lies:
        proof["logIndex"], proof["treeSize"] = str(at), str(of)
        with pytest.raises(SignatureError, match="a tree of another size"):
            verify_full(compact(value))


def _same_path(at: int, of: int, index: int, size: int, hashes: int) -> bool:
    """Return True if the same hashes, in the same order, lead from entry ``at`` of a tree of ``of`` to its root."""

    def path(leaf: int, leaves: int) -> tuple[tuple[int, ...], int]:
        inner = (leaf ^ (leaves - 1)).bit_length()
        return tuple((leaf >> bit) & 1 for bit in range(inner)), (leaf >> inner).bit_count()

    def sides(leaf: int, leaves: int) -> tuple[int, ...]:
        bits, border = path(leaf, leaves)
        return bits + (1,) * border

    return len(sides(at, of)) == hashes and sides(at, of) == sides(index, size)


def verify_full(content: bytes) -> Verified:
    root = RootVerifier(load_root(Lab().trusted_root(), "full"))
    return AttestationVerifier([root], {}).verify(candidate(content))
