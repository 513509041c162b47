"""What was read is kept by its bytes, never an error, and never beyond the capacity."""

from __future__ import annotations

import pytest

from slsa_verifier_plugin.errors import ArtifactError, Reason, StatementError
from slsa_verifier_plugin.model.envelope import Candidate, read_blob
from slsa_verifier_plugin.model.manifest import IMAGE_TYPES, INDEX_TYPES, parse_manifest
from slsa_verifier_plugin.model.vsa import PREDICATE_TYPE, VerificationSummary, read
from slsa_verifier_plugin.verification.readings import Readings
from tests.support.sigstore import IN_TOTO, Lab, source_provenance, vsa
from tests.support.sigstore.envelope import payload_bytes

SUMMARY, PROVENANCE = payload_bytes(vsa()), payload_bytes(source_provenance())
TWO = Lab().sign(PROVENANCE) + b"\n" + Lab().sign(SUMMARY)


def candidate(payload: bytes, payload_type: str = IN_TOTO) -> Candidate:
    return Candidate(b"{}", 1, True, payload_type, payload, None)


def test_what_is_kept_is_what_is_read() -> None:
    readings = Readings(1 << 20)
    for _ in range(2):
        assert readings.blob(TWO, 9) == read_blob(TWO, 9)
        assert readings.said(candidate(SUMMARY)) == (PREDICATE_TYPE, read(IN_TOTO, SUMMARY))
        kind, reading = readings.said(candidate(PROVENANCE))
        assert kind not in (None, PREDICATE_TYPE)
        assert reading is None


def test_other_content_is_something_else() -> None:
    readings = Readings(1 << 20)
    for content in (TWO, Lab().sign(SUMMARY), b"", TWO):
        assert readings.blob(content, 9) == read_blob(content, 9)


def test_the_same_is_read_once() -> None:
    readings = Readings(1 << 20)
    assert readings.blob(TWO, 9) is readings.blob(bytes(bytearray(TWO)), 9)
    first = readings.said(candidate(SUMMARY))
    assert readings.said(candidate(bytes(bytearray(SUMMARY)))) is first
    readings.clear()
    assert readings.blob(TWO, 9) is not read_blob(TWO, 9)
    assert readings.said(candidate(SUMMARY)) is not first


def test_a_lower_limit_is_not_got_round() -> None:
    readings = Readings(1 << 20)
    assert len(readings.blob(TWO, 2).candidates) == 2
    with pytest.raises(ArtifactError) as caught:
        readings.blob(TWO, 1)
    assert caught.value.reason is Reason.LIMIT_EXCEEDED


def test_the_same_payload_of_another_type_is_something_else() -> None:
    readings = Readings(1 << 20)
    assert isinstance(readings.said(candidate(SUMMARY))[1], VerificationSummary)
    kind, reading = readings.said(candidate(SUMMARY, "text/plain"))
    assert kind is None
    assert isinstance(reading, StatementError)


def test_one_changed_byte_is_something_else() -> None:
    readings = Readings(1 << 20)
    before = readings.said(candidate(SUMMARY))[1]
    after = readings.said(candidate(SUMMARY.replace(b"LEVEL_3", b"LEVEL_1")))[1]
    assert isinstance(before, VerificationSummary)
    assert isinstance(after, VerificationSummary)
    assert before.levels != after.levels


@pytest.mark.parametrize(("values", "is_read"), [(100, True), (100_000, False)])
def test_a_summary_of_more_values_than_anybody_signs_is_not_parsed(values: int, is_read: bool) -> None:
    dense = SUMMARY.replace(b'"predicate":{', b'"predicate":{"x":[' + b"1," * values + b"1],", 1)
    assert dense != SUMMARY
    kind, reading = Readings(1 << 20).said(candidate(dense))
    assert isinstance(reading, VerificationSummary) is is_read
    assert (kind == PREDICATE_TYPE) is is_read


def test_errors_are_not_kept() -> None:
    readings = Readings(1 << 20)
    first, second = (readings.said(candidate(b"{"))[1] for _ in range(2))
    assert isinstance(first, StatementError)
    assert first is not second


@pytest.mark.parametrize("capacity", [0, 3 * len(TWO)])
def test_what_does_not_fit_is_not_kept(capacity: int) -> None:
    readings = Readings(capacity)
    assert readings.blob(TWO, 9) is not readings.blob(TWO, 9)
    assert readings.blob(TWO, 9) == read_blob(TWO, 9)
    if not capacity:
        assert readings.said(candidate(SUMMARY)) is not readings.said(candidate(SUMMARY))


MANIFEST = (
    b'{"schemaVersion": 2, "config": {"mediaType": "a/b", "digest": "sha256:%s", "size": 2}, "layers": []}'
    % (b"a" * 64)
)


def test_a_manifest_is_read_once_for_each_media_type_and_a_wrong_one_is_never_kept() -> None:
    readings = Readings(1 << 20)
    oci, docker = IMAGE_TYPES
    first = readings.manifest(MANIFEST, oci)
    assert first == parse_manifest(MANIFEST, oci)
    assert readings.manifest(bytes(bytearray(MANIFEST)), oci) is first
    assert readings.manifest(MANIFEST, docker) is not first
    for _ in range(2):
        with pytest.raises(ArtifactError):
            readings.manifest(MANIFEST, INDEX_TYPES[0])
    assert readings.manifest(MANIFEST.replace(b'"size": 2', b'"size": 3'), oci) != first
    readings.clear()
    assert readings.manifest(MANIFEST, oci) is not first
