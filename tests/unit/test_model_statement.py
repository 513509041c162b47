"""In-toto statements: the versions that are read, and malformed ones that are not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf import json_format
from in_toto_attestation.v1 import statement_pb2

from slsa_verifier_plugin.errors import Reason, StatementError
from slsa_verifier_plugin.model.statement import (
    MAX_SUBJECTS,
    PAYLOAD_TYPE,
    STATEMENT_TYPES,
    Subject,
    parse_statement,
    predicate_type_in,
)
from tests.support.sigstore import REMOVED, changed, vsa

GOOD: dict[str, Any] = {
    "_type": STATEMENT_TYPES[0],
    "subject": [
        {"digest": {"sha256": "ab"}, "annotations": {"refs": ["x"]}},
        {"name": "n", "digest": {"gitCommit": "c"}},
    ],
    "predicateType": "https://example.com/p",
    "predicate": {"deep": {"er": [1, None]}},
}


def encoded(value: object) -> bytes:
    return json.dumps(value).encode()


@pytest.mark.parametrize("version", STATEMENT_TYPES)
def test_a_statement_is_read(version: str) -> None:
    statement = parse_statement(PAYLOAD_TYPE, encoded({**GOOD, "_type": version}))
    assert statement.type == version
    assert statement.predicate_type == "https://example.com/p"
    assert statement.predicate == GOOD["predicate"]
    assert statement.subjects == (Subject({"sha256": "ab"}, {"refs": ["x"]}), Subject({"gitCommit": "c"}, {}))


def test_digests_of_images_are_those_that_images_have() -> None:
    subjects = [
        {"digest": {"sha256": "ab", "gitCommit": "c"}},
        {"digest": {"sha512": "cd", "sha1": "e", "SHA256": "f"}},
    ]
    statement = parse_statement(PAYLOAD_TYPE, encoded({**GOOD, "subject": subjects}))
    assert statement.digests == {"sha256:ab", "sha512:cd"}


def test_what_nobody_knows_yet_does_no_harm() -> None:
    more = parse_statement(PAYLOAD_TYPE, encoded({**GOOD, "tomorrow": {"a": [1]}}))
    assert more == parse_statement(PAYLOAD_TYPE, encoded(GOOD))


@pytest.mark.parametrize("payload_type", ["", "application/json", PAYLOAD_TYPE + " ", PAYLOAD_TYPE.upper()])
def test_another_payload_type_is_refused(payload_type: str) -> None:
    with pytest.raises(StatementError, match="the payload type is") as caught:
        parse_statement(payload_type, encoded(GOOD))
    assert caught.value.reason is Reason.NO_VSA


@pytest.mark.parametrize(
    "payload",
    [b"", b"{", b"\xff", b'{"_type":1,"_type":1}', b"[" * 99 + b"]" * 99, b'{"a":NaN}', b'{"a":"\\ud800"}'],
)
def test_what_is_no_json_with_one_meaning_is_refused(payload: bytes) -> None:
    with pytest.raises(StatementError, match="not JSON with one meaning"):
        parse_statement(PAYLOAD_TYPE, payload)


@pytest.mark.parametrize("place", [0, 15, 16, 99])
@pytest.mark.parametrize(
    "wrong", [None, "x", 7, [], {}, {"name": "x"}, {"digest": {}}, {"digest": {"a": 1}}, {"digest": "x"}]
)
def test_every_subject_is_looked_at(place: int, wrong: Any) -> None:
    """The library reads the first few; the others are held against the same rules here."""
    subjects: list[Any] = [{"name": "a", "digest": {"sha256": "0" * 64}} for _ in range(100)]
    assert len(parse_statement(PAYLOAD_TYPE, encoded(changed(GOOD, {"subject": subjects}))).subjects) == 100
    subjects[place] = wrong
    with pytest.raises(StatementError, match=r"malformed|not an object of strings"):
        parse_statement(PAYLOAD_TYPE, encoded(changed(GOOD, {"subject": subjects})))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"_type": "https://in-toto.io/Statement/v2"}, "expected an in-toto statement"),
        ({"_type": "https://in-toto.io/Statement/v1 "}, "expected an in-toto statement"),
        ({"_type": REMOVED}, "has no _type, expected an in-toto statement"),
        ({"_type": None}, "has no _type"),
        ({"_type": ""}, "has no _type"),
        ({"_type": 1}, "expected an in-toto statement"),
        ({"predicate": REMOVED}, "no predicate object"),
        ({"predicate": None}, "no predicate object"),
        ({"predicate": []}, "no predicate object"),
        ({"predicateType": REMOVED}, "has no predicateType"),
        ({"predicateType": ""}, "has no predicateType"),
        ({"predicateType": None}, "has no predicateType"),
        ({"predicateType": 1}, "its predicateType is not a string"),
        ({"subject": REMOVED}, "has no subject"),
        ({"subject": None}, "has no subject"),
        ({"subject": []}, "has no subject"),
        ({"subject": {}}, "malformed"),
        ({"subject": "x"}, "malformed"),
        ({"subject.0": None}, "malformed"),
        ({"subject.0": "x"}, "malformed"),
        ({"subject.0": {}}, "malformed"),
        ({"subject.0": {"name": "x"}}, "malformed"),
        ({"subject.0.digest": {}}, "malformed"),
        ({"subject.0.digest": None}, "malformed"),
        ({"subject.0.digest": []}, "malformed"),
        ({"subject.0.digest.sha256": 1}, "malformed|not an object of strings"),
        ({"subject.0.digest.sha256": None}, "malformed|not an object of strings"),
        ({"subject.0.name": ["x"]}, "a part of a subject is not of the type that in-toto gives it"),
        ({"subject.0.annotations": []}, "malformed|not an object"),
        ({"subject.0.annotations": "x"}, "malformed|not an object"),
        ({"subject.1.digest": REMOVED}, "malformed"),
    ],
)
def test_a_malformed_statement_is_refused(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(StatementError, match=problem):
        parse_statement(PAYLOAD_TYPE, encoded(changed(GOOD, changes)))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"subject.1.digest": "c"}, "subject 2 has no digest"),
        ({"subject.1.digest": None}, "subject 2 has no digest"),
        ({"subject.1.digest.gitCommit": 1}, "a digest of its subject 2 is not a string"),
        ({"subject.1.digest.gitCommit": None}, "a digest of its subject 2 is not a string"),
        ({"subject.1.annotations": ["x"]}, "annotations of its subject 2 are not an object"),
        ({"subject.1.annotations": False}, "annotations of its subject 2 are not an object"),
        ({"subject.1.annotations": None}, None),
        ({}, None),
    ],
)
def test_a_shape_is_not_taken_on_protobufs_word(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], problem: str | None
) -> None:
    """What we go on to read is looked at here, whatever the library takes."""
    accepted = json_format.ParseDict({**GOOD, "predicate": {"opaque": True}}, statement_pb2.Statement())
    monkeypatch.setattr(json_format, "ParseDict", lambda *_, **__: accepted)
    payload = encoded(changed(GOOD, changes))
    if problem is None:
        assert len(parse_statement(PAYLOAD_TYPE, payload).subjects) == 2
        return
    with pytest.raises(StatementError, match=problem):
        parse_statement(PAYLOAD_TYPE, payload)


def test_protobufs_other_names_are_not_these_names() -> None:
    other = changed(GOOD, {"predicateType": REMOVED})
    with pytest.raises(StatementError, match="has no predicateType"):
        parse_statement(PAYLOAD_TYPE, encoded({**other, "predicate_type": "https://example.com/p"}))


@pytest.mark.parametrize("value", [[], [GOOD], None, "x", 1])
def test_what_is_no_object_is_no_statement(value: object) -> None:
    with pytest.raises(StatementError, match="expected an in-toto statement"):
        parse_statement(PAYLOAD_TYPE, encoded(value))
    assert predicate_type_in(value) is None


def test_subjects_are_bounded() -> None:
    subject = {"digest": {"sha256": "ab"}}
    assert (
        len(parse_statement(PAYLOAD_TYPE, encoded({**GOOD, "subject": [subject] * MAX_SUBJECTS})).subjects)
        == 4096
    )
    with pytest.raises(StatementError, match="more than 4096"):
        parse_statement(PAYLOAD_TYPE, encoded({**GOOD, "subject": [subject] * (MAX_SUBJECTS + 1)}))


def test_a_look_says_the_type_without_checking_the_rest() -> None:
    assert predicate_type_in(vsa()) == "https://slsa.dev/verification_summary/v1"
    assert predicate_type_in({"predicateType": "x"}) == "x"
    assert predicate_type_in({"predicateType": 1}) is None


def test_foreign_text_in_a_message_is_harmless() -> None:
    with pytest.raises(StatementError) as caught:
        parse_statement(
            PAYLOAD_TYPE, encoded({**GOOD, "_type": 'x\n{"isSuccess":true}\x1b[31m' + "y" * 9999})
        )
    assert "\n" not in caught.value.message
    assert "{" not in caught.value.message
    assert "\x1b" not in caught.value.message
    assert len(caught.value.message) < 400


@pytest.mark.parametrize(
    "subject", [None, 7, "x", {}, [7], [None], [{}], [{"digest": 7}], [{"digest": {"a": 7}}]]
)
def test_a_claim_is_read_without_the_library_and_says_no_less_wrong(subject: object) -> None:
    """What nobody vouches for is read the quick way; what cannot be read on is refused all the same."""
    content = json.dumps({**changed(vsa(), {}), "subject": subject}).encode()
    for is_claim in (True, False):
        with pytest.raises(StatementError):
            parse_statement(PAYLOAD_TYPE, content, is_claim=is_claim)


def test_a_good_claim_reads_as_what_is_verified_later() -> None:
    content = json.dumps(vsa()).encode()
    assert parse_statement(PAYLOAD_TYPE, content, is_claim=True) == parse_statement(PAYLOAD_TYPE, content)
