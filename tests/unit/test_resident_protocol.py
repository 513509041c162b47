from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slsa_verifier_plugin.resident import protocol
from slsa_verifier_plugin.resident.protocol import FrameError

DOCUMENT = Path(__file__).parents[2] / "docs" / "resident-protocol.md"
LINES = {
    name: value
    for name, value in vars(protocol).items()
    if name.endswith("_LINE") and isinstance(value, bytes)
}
fields = st.none() | st.binary(max_size=200)
milliseconds = st.integers(0, 0xFFFFFFFF)
LONGEST = round((protocol.MAX_BUDGET + protocol.GRACE_SECONDS) * 1000)


def body_of(frame: bytes, kind: int) -> bytes:
    found, length = protocol.parse_header(frame, protocol.MAX_REQUEST)
    assert found == kind
    assert len(frame) == protocol.HEADER_BYTES + length
    return frame[protocol.HEADER_BYTES :]


def test_verify_frame_is_these_bytes() -> None:
    frame = protocol.encode_request((1.5, b"VERIFY", None, b"", b"{}"))
    assert frame == (
        b"SLSV\x00\x01\x00\x01\x00\x00\x00\x1c"
        b"\x00\x00\x05\xdc\x00\x00\x00\x06VERIFY\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x02{}"
    )


def test_check_frame_is_these_bytes() -> None:
    fields = (b"/p", b"r/i", b"sha256:0", b"9000")
    assert protocol.Question(protocol.CHECK, fields, 9.0).frame(1.5) == (
        b"SLSV\x00\x01\x00\x08\x00\x00\x00\x25"
        b"\x00\x00\x05\xdc\x00\x00\x00\x02/p\x00\x00\x00\x03r/i\x00\x00\x00\x08sha256:0\x00\x00\x00\x049000"
    )


@pytest.mark.parametrize("limit", [b"0", b"9000", b"600000"])
def test_a_check_has_its_own_time_limit(limit: bytes) -> None:
    check = (0.0, b"/p", b"r/i", b"sha256:0", limit)
    assert protocol.asked_seconds(protocol.CHECK, check) == int(limit) / 1000


def test_a_report_has_its_time_limit_before_its_files() -> None:
    assert protocol.asked_seconds(protocol.REPORT, (0.0, None, None, b"9000", b"1")) == 9.0
    with pytest.raises(FrameError):
        protocol.asked_seconds(protocol.REPORT, (0.0, None, None, None, b"9000"))


@pytest.mark.parametrize("limit", [b"", b"9s", b"-1", b"1.5", b" 9", b"600001", b"0000009", "٩".encode()])
def test_a_check_without_a_time_limit_is_none(limit: bytes) -> None:
    with pytest.raises(FrameError):
        protocol.asked_seconds(protocol.CHECK, (0.0, b"/p", b"r/i", b"sha256:0", limit))


@pytest.mark.parametrize("field", [1, 2, 3])
@pytest.mark.parametrize("value", [None, b""])
def test_a_check_without_one_of_its_fields_is_none(field: int, value: bytes | None) -> None:
    request: list[Any] = [0.0, b"/p", b"r/i", b"sha256:0", b"9000"]
    request[field] = value
    with pytest.raises(FrameError):
        protocol.asked_seconds(protocol.CHECK, tuple(request))


def test_answer_and_accepted_frames_are_these_bytes() -> None:
    assert protocol.encode_answer((1, b"out", b"")) == (
        b"SLSV\x00\x01\x00\x02\x00\x00\x00\x0c\x01\x00\x00\x00\x03out\x00\x00\x00\x00"
    )
    assert protocol.encode_accepted(4.25) == b"SLSV\x00\x01\x00\x03\x00\x00\x00\x04\x00\x00\x10\x9a"


@given(milliseconds, fields, fields, fields, st.binary(max_size=1000))
def test_requests_come_back(
    elapsed: int, command: bytes | None, subject: bytes | None, version: bytes | None, stdin: bytes
) -> None:
    request = (elapsed / 1000, command, subject, version, stdin)
    body = body_of(protocol.encode_request(request), protocol.VERIFY)
    assert protocol.decode_request(body) == request


@given(st.integers(0, 255), st.binary(max_size=1000), st.binary(max_size=1000))
def test_answers_come_back(status: int, stdout: bytes, stderr: bytes) -> None:
    answer = (status, stdout, stderr)
    assert protocol.decode_answer(body_of(protocol.encode_answer(answer), protocol.ANSWER)) == answer


@given(st.integers(0, LONGEST))
def test_acceptances_come_back(time: int) -> None:
    frame = protocol.encode_accepted(time / 1000)
    assert protocol.decode_accepted(body_of(frame, protocol.ACCEPTED)) == time / 1000


@pytest.mark.parametrize("time", [LONGEST + 1, 0xFFFFFFFF])
def test_no_acceptance_is_for_longer_than_a_call_can_have(time: int) -> None:
    with pytest.raises(FrameError, match=r"more than 600\.2 s"):
        protocol.decode_accepted(time.to_bytes(4))


@pytest.mark.parametrize(("seconds", "expected"), [(-1.0, 0.0), (1e9, 0xFFFFFFFF / 1000)])
def test_times_that_do_not_fit_are_cut(seconds: float, expected: float) -> None:
    frame = protocol.encode_accepted(seconds)
    assert int.from_bytes(body_of(frame, protocol.ACCEPTED)) == expected * 1000
    frame = protocol.encode_request((seconds, None, None, None, b""))
    assert protocol.decode_request(body_of(frame, protocol.VERIFY))[0] == expected


@given(st.binary(max_size=60) | st.binary(max_size=30).map(lambda tail: b"SLSV\x00\x01" + tail))
def test_no_bytes_raise_anything_but_frame_errors(data: bytes) -> None:
    for decode in (
        protocol.decode_request,
        protocol.decode_answer,
        protocol.decode_accepted,
        lambda header: protocol.parse_header(header, 1000),
    ):
        try:
            decode(data)
        except FrameError as error:
            assert "{" not in str(error)  # noqa: PT017 (there may be none)


@given(st.binary(max_size=100), st.data())
def test_a_cut_request_is_none(stdin: bytes, data: st.DataObject) -> None:
    body = body_of(protocol.encode_request((0.0, b"a", b"b", None, stdin)), protocol.VERIFY)
    cut = data.draw(st.integers(0, len(body) - 1))
    with pytest.raises(FrameError):
        protocol.decode_request(body[:cut])
    with pytest.raises(FrameError):
        protocol.decode_request(body + b"x")


@pytest.mark.parametrize(
    "header",
    [
        b"SLSW\x00\x01\x00\x01\x00\x00\x00\x00",
        b"SLSV\x00\x02\x00\x01\x00\x00\x00\x00",
        b"SLSV\x00\x01\x00\x01\xff\xff\xff\xff",
        b"SLSV\x00\x01\x00\x01\x00\x00\x03\xe9",
    ],
    ids=["magic", "version", "4 GiB", "one over the limit"],
)
def test_headers_that_are_refused(header: bytes) -> None:
    with pytest.raises(FrameError):
        protocol.parse_header(header, 1000)


def test_a_header_at_the_limit_is_read() -> None:
    assert protocol.parse_header(b"SLSV\x00\x01\x00\x07\x00\x00\x03\xe8", 1000) == (7, 1000)


def test_what_exceeds_a_frame_is_refused() -> None:
    room = protocol.MAX_REQUEST - 4 - 4 * 4
    assert protocol.encode_request((0.0, None, None, None, bytes(room)))
    with pytest.raises(FrameError):
        protocol.encode_request((0.0, None, None, None, bytes(room + 1)))
    room = protocol.MAX_REPLY - 1 - 2 * 4
    assert protocol.encode_answer((0, bytes(room), b""))
    with pytest.raises(FrameError):
        protocol.encode_answer((0, bytes(room), b"x"))
    for status in (-1, 256):
        with pytest.raises(FrameError):
            protocol.encode_answer((status, b"", b""))


def test_standard_input_must_be_set() -> None:
    with pytest.raises(FrameError):
        protocol.decode_request(b"\x00\x00\x00\x00" + b"\xff\xff\xff\xff" * 4)


@pytest.mark.parametrize("name", sorted(LINES))
def test_fixed_lines_are_one_json_line_that_is_no_success(name: str) -> None:
    line = LINES[name]
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    value = json.loads(line)
    if name.startswith("STDIN_"):
        assert value["code"] == 5
        assert value["msg"]
    else:
        assert value["isSuccess"] is False
        assert value["message"].startswith("SLSA attestation verified FAILED: ")
        assert value["extensions"]["reason"] in ("DEADLINE_EXCEEDED", "INTERNAL_ERROR")


@pytest.mark.parametrize("name", sorted(LINES))
def test_the_document_has_the_fixed_lines(name: str) -> None:
    assert f"    {LINES[name].decode().rstrip()}\n" in DOCUMENT.read_text()
