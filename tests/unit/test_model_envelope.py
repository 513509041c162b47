"""What counts as a candidate in a blob, and what is passed over."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slsa_verifier_plugin.errors import ArtifactError, Reason
from slsa_verifier_plugin.model.documents_in_text import MAX_LINES
from slsa_verifier_plugin.model.envelope import BUNDLE_MEDIA_TYPES, Candidate, candidates_about, read_blob

PAYLOAD = b'{"a":1}'
ENVELOPE: dict[str, Any] = {
    "payload": base64.b64encode(PAYLOAD).decode(),
    "payloadType": "application/x",
    "signatures": [{"sig": "AAAA", "keyid": "a hint"}],
}
BUNDLE: dict[str, Any] = {
    "mediaType": BUNDLE_MEDIA_TYPES[3],
    "verificationMaterial": {"certificate": {"rawBytes": base64.b64encode(b"der").decode()}},
    "dsseEnvelope": ENVELOPE,
}


def line(value: object) -> bytes:
    return json.dumps(value).encode()


def only(content: bytes) -> Candidate:
    (candidate,) = read_blob(content, 1).candidates
    return candidate


@pytest.mark.parametrize("media_type", BUNDLE_MEDIA_TYPES)
def test_a_bundle_is_a_candidate(media_type: str) -> None:
    content = line({**BUNDLE, "mediaType": media_type})
    assert only(content) == Candidate(content, 1, True, "application/x", PAYLOAD, b"der")


def test_a_bundle_with_a_chain_names_its_leaf() -> None:
    chain = {"certificates": [{"rawBytes": "bGVhZg=="}, {"rawBytes": "cm9vdA=="}]}
    candidate = only(line({**BUNDLE, "verificationMaterial": {"x509CertificateChain": chain}}))
    assert candidate.certificate == b"leaf"


def test_a_certificate_goes_before_a_chain() -> None:
    """Both at once are no bundle; whoever verifies it says so of the one that is looked at."""
    both = {
        "certificate": {"rawBytes": "b25l"},
        "x509CertificateChain": {"certificates": [{"rawBytes": "bGVhZg=="}]},
    }
    assert only(line({**BUNDLE, "verificationMaterial": both})).certificate == b"one"


@pytest.mark.parametrize(
    ("material", "certificate", "hint"),
    [
        ({"publicKey": {"hint": "abc"}}, None, "abc"),
        ({"publicKey": {}}, None, ""),
        ({"publicKey": {"hint": 7}}, None, ""),
        ({}, None, ""),
        ({"certificate": {}}, b"", ""),
        ({"certificate": {"rawBytes": "***"}}, b"", ""),
        ({"certificate": "x"}, None, ""),
        ({"x509CertificateChain": {"certificates": []}}, None, ""),
        ({"x509CertificateChain": {"certificates": "x"}}, None, ""),
    ],
)
def test_a_bundle_without_a_usable_certificate(
    material: dict[str, Any], certificate: bytes | None, hint: str
) -> None:
    candidate = only(line({**BUNDLE, "verificationMaterial": material}))
    assert (candidate.certificate, candidate.key_hint) == (certificate, hint)


def test_an_envelope_is_a_candidate() -> None:
    content = line(ENVELOPE)
    assert only(content) == Candidate(content, 1, False, "application/x", PAYLOAD, None, "a hint")
    assert only(line({**ENVELOPE, "signatures": [None, {"keyid": 1}, {"keyid": "b"}]})).key_hint == "b"
    assert only(line({**ENVELOPE, "signatures": []})).key_hint == ""


@pytest.mark.parametrize(
    "value",
    [
        {**BUNDLE, "mediaType": "application/vnd.dev.sigstore.bundle.v0.4+json"},
        {**BUNDLE, "mediaType": None},
        {**BUNDLE, "verificationMaterial": None},
        {**BUNDLE, "dsseEnvelope": {**ENVELOPE, "payload": "not base64!"}},
        {**BUNDLE, "dsseEnvelope": {**ENVELOPE, "payload": "YQ"}},
        {**BUNDLE, "dsseEnvelope": {**ENVELOPE, "payload": None}},
        {**BUNDLE, "dsseEnvelope": {**ENVELOPE, "payloadType": None}},
        {**BUNDLE, "dsseEnvelope": "payload"},
        {**ENVELOPE, "payload": "\u00e4\u00e4\u00e4\u00e4"},
        {**ENVELOPE, "payloadType": 1},
        {**ENVELOPE, "signatures": None},
        {**ENVELOPE, "signatures": {"sig": "AAAA"}},
        [[[[[[[[ENVELOPE]]]]]]]],
        "payload",
        {"payload": 1},
        {"unrelated": True},
    ],
)
def test_other_json_is_passed_over_and_counted(value: object) -> None:
    blob = read_blob(line(value) + b"\n" + line(BUNDLE), 1)
    assert [candidate.line for candidate in blob.candidates] == [2]
    assert blob.others == 1


@pytest.mark.parametrize("value", [BUNDLE, ENVELOPE])
def test_who_escapes_the_payloads_name_is_passed_over(value: object) -> None:
    escaped = line(value).replace(b'"payload"', b'"p\\u0061yload"')
    assert json.loads(escaped) == value
    assert read_blob(escaped + b"\n" + line(value), 1) == read_blob(b"junk\n" + line(value), 1)


@pytest.mark.parametrize(
    "junk", [b"x", b"{", b'{"payload":', b"\xff\xfe", b'{"payload":"","payload":""}', b'"payload"', b"\x00"]
)
def test_other_lines_are_passed_over_and_counted(junk: bytes) -> None:
    blob = read_blob(b"\r\n \n" + line(BUNDLE) + b"\r\n" + junk + b"\n\n" + line(ENVELOPE), 2)
    assert [candidate.line for candidate in blob.candidates] == [3, 6]
    assert blob.others == 1


@pytest.mark.parametrize("value", [BUNDLE, ENVELOPE])
@pytest.mark.parametrize("indent", [1, 4])
def test_one_document_over_several_lines_is_one_candidate(value: object, indent: int) -> None:
    content = json.dumps(value, indent=indent).encode()
    candidate = only(b"\n\n" + content + b"\n")
    assert (candidate.content, candidate.line, candidate.payload) == (content, 3, PAYLOAD)


def test_url_safe_base64_is_base64() -> None:
    payload = b"\xfb\xff\xfe"
    for encoded in (base64.b64encode(payload), base64.urlsafe_b64encode(payload)):
        assert only(line({**ENVELOPE, "payload": encoded.decode()})).payload == payload


@pytest.mark.parametrize("content", [b"", b"\n", b" \r\n\t\n"])
def test_an_empty_blob_holds_nothing(content: bytes) -> None:
    assert read_blob(content, 9) == read_blob(b"", 9)
    assert read_blob(content, 9).others == 0


@pytest.mark.parametrize("rest", [b"", b"\n" + line(BUNDLE)])
def test_a_byte_order_mark_hides_no_attestation(rest: bytes) -> None:
    assert read_blob(b"\xef\xbb\xbf" + line(BUNDLE) + rest, 9) == read_blob(line(BUNDLE) + rest, 9)
    assert read_blob(line(BUNDLE) + b"\n\xef\xbb\xbf" + line(BUNDLE), 9).others == 1


def test_candidates_are_bounded() -> None:
    three = (line(BUNDLE) + b"\n") * 3
    assert len(read_blob(three, 3).candidates) == 3
    for most in (2, 1, 0, -1):
        with pytest.raises(ArtifactError, match=f"more than {most} .* maxBundles") as caught:
            read_blob(three, most)
        assert caught.value.reason is Reason.LIMIT_EXCEEDED


@pytest.mark.parametrize("most", [0, -1])
def test_a_document_over_several_lines_counts_like_any_other(most: int) -> None:
    document = json.dumps(BUNDLE, indent=1).encode()
    assert len(read_blob(document, 1).candidates) == 1
    with pytest.raises(ArtifactError, match="maxBundles"):
        read_blob(document, most)


def test_lines_are_bounded_whatever_they_hold() -> None:
    assert read_blob(b"x\n" * MAX_LINES, 1).others == MAX_LINES
    for junk in (b"x\n", b"\n"):
        with pytest.raises(ArtifactError, match=f"more than {MAX_LINES} lines") as caught:
            read_blob(junk * (MAX_LINES + 1), 1)
        assert caught.value.reason is Reason.LIMIT_EXCEEDED


@given(
    st.lists(
        st.sampled_from([line(BUNDLE), line(ENVELOPE), b"junk", b"", b"{}", b'{"payload":1}']), max_size=8
    )
)
def test_every_line_is_a_candidate_or_counted_or_blank(lines: list[bytes]) -> None:
    blob = read_blob(b"\n".join(lines), len(lines) + 1)
    expected = [number for number, one in enumerate(lines, 1) if one in (line(BUNDLE), line(ENVELOPE))]
    assert [candidate.line for candidate in blob.candidates] == expected
    assert blob.others == sum(one in (b"junk", b"{}", b'{"payload":1}') for one in lines)


HEX = "0123456789abcdef" * 4


def about(content: bytes, start: int = 0) -> list[bytes]:
    """Return the payloads of the candidates that hold ``HEX``."""
    return [candidate.payload for _, candidate in candidates_about(content, HEX, start) if candidate]


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=40).map(lambda text: text.replace(b"\n", b"")),
            st.builds(
                lambda before, after, tail: (
                    line({**ENVELOPE, "payload": base64.b64encode(before + HEX.encode() + after).decode()})
                    + tail
                ),
                st.binary(max_size=5),
                st.binary(max_size=5),
                st.sampled_from([b"", b" ", b"\r", b"}"]),
            ),
            st.just(line(BUNDLE)),
            st.just(b'{"payload":"' + base64.b64encode(HEX.encode())),
        ),
        max_size=8,
    ),
    st.booleans(),
)
def test_candidates_about_a_digest_are_those_that_hold_it(parts: list[bytes], ends: bool) -> None:
    content = b"\n".join(parts) + b"\n" * ends
    expected = {item.payload for item in read_blob(content, 99).candidates if HEX.encode() in item.payload}
    found = list(candidates_about(content, HEX))
    assert {item.payload for _, item in found if item} == expected
    for number, (place, _) in enumerate(found, 1):
        # Whoever goes on behind one gets all that is left, and may get again what stands before a broken line.
        left = {item.payload for _, item in found[number:] if item}
        assert left <= set(about(content, place)) <= expected


@pytest.mark.parametrize("ahead", [b"", b"\xef\xbb\xbf", b"\n\n"])
def test_a_pretty_document_about_a_digest_is_found_whole(ahead: bytes) -> None:
    payload = b"x" + HEX.encode()
    value = {**BUNDLE, "dsseEnvelope": {**ENVELOPE, "payload": base64.b64encode(payload).decode()}}
    content = ahead + json.dumps(value, indent=2).encode()
    ((place, candidate),) = candidates_about(content, HEX)
    assert about(content, place) == []
    assert candidate is not None
    assert candidate.payload == payload
    assert candidate.certificate == b"der"


def test_lines_without_the_digest_are_passed_over_unparsed() -> None:
    """None of them holds the digest, so none is parsed."""
    junk = b'{"payload":"%b"}\n' % base64.b64encode(b"z" * 200)
    good = line({**ENVELOPE, "payload": base64.b64encode(HEX.encode()).decode()})
    ((_, candidate),) = candidates_about(junk * 60_000 + good, HEX)
    assert candidate is not None
    assert candidate.payload == HEX.encode()


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_broken_line_has_the_others_read_once_more_and_not_twice(end: bytes) -> None:
    encoded = base64.b64encode(HEX.encode())
    good = line({**ENVELOPE, "payload": encoded.decode()})
    found = [item for _, item in candidates_about(good + b"\n" + encoded + end, HEX) if item]
    assert [item.payload for item in found] == [HEX.encode()]
    assert about(encoded + end) == []


@pytest.mark.parametrize("apart", [b",", b",\n"])
def test_a_wrapper_about_a_digest_is_read_part_by_part(apart: bytes) -> None:
    payloads = [b"%d%b" % (number, HEX.encode()) for number in range(5)]
    bundles = [
        line({**BUNDLE, "dsseEnvelope": {**ENVELOPE, "payload": base64.b64encode(one).decode()}})
        for one in payloads
    ]
    content = b"[" + apart.join(bundles) + b"]"
    found = list(candidates_about(content, HEX))
    assert [item.payload for _, item in found if item] == payloads
    for number, (place, _) in enumerate(found, 1):
        assert about(content, place) == payloads[number:]
