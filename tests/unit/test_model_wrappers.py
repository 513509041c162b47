"""Files as people have them: wrappers, documents one after another, packed data; and what each costs."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slsa_verifier_plugin.errors import ArtifactError, Reason
from slsa_verifier_plugin.model.documents_in_text import (
    MAX_BROKEN,
    MAX_LINES,
    MAX_SHORT,
    MAX_WRAPPING,
    SHORT_BYTES,
    parts_of,
)
from slsa_verifier_plugin.model.envelope import BUNDLE_MEDIA_TYPES, read_blob
from slsa_verifier_plugin.strict_json import MAX_VALUES, is_dense, loads

ENVELOPE: dict[str, Any] = {"payload": "eyJhIjoxfQ==", "payloadType": "application/x", "signatures": []}
BUNDLE: dict[str, Any] = {
    "mediaType": BUNDLE_MEDIA_TYPES[3],
    "verificationMaterial": {"certificate": {"rawBytes": "ZGVy"}},
    "dsseEnvelope": ENVELOPE,
}
OTHER: dict[str, Any] = {**BUNDLE, "dsseEnvelope": {**ENVELOPE, "payload": "eyJhIjoyfQ=="}}
API = {"attestations": [{"bundle": BUNDLE, "repository_id": 1}, {"bundle": OTHER}]}
VERIFIED = [{"attestation": {"bundle": BUNDLE}, "verificationResult": {"statement": {}}}]
FORMS = [None, 0, 1, 4]


def text(value: object, indent: int | None = None) -> bytes:
    return json.dumps(value, indent=indent, ensure_ascii=False).encode()


def values(content: bytes) -> list[Any]:
    return [loads(candidate.content) for candidate in read_blob(content, 999).candidates]


@pytest.mark.parametrize("indent", FORMS)
@pytest.mark.parametrize(
    ("wrapper", "inside"),
    [
        (BUNDLE, [BUNDLE]),
        ([BUNDLE], [BUNDLE]),
        ([BUNDLE, ENVELOPE, OTHER], [BUNDLE, ENVELOPE, OTHER]),
        (API, [BUNDLE, OTHER]),
        ([API, API], [BUNDLE, OTHER] * 2),
        ({"total": 2, **API}, [BUNDLE, OTHER]),
        (VERIFIED, [BUNDLE]),
        ({"bundle": BUNDLE}, [BUNDLE]),
        ({"\u00e4 \u4e2d \U0001f600": "\u00e9\u2028", **API}, [BUNDLE, OTHER]),
    ],
    ids=["bare", "array", "mixed", "api", "pages", "api-more", "gh-verify", "item", "not-ascii"],
)
def test_wrappers_are_read_in_every_layout(indent: int | None, wrapper: object, inside: list[Any]) -> None:
    content = text(wrapper, indent)
    assert values(content) == inside
    assert values(b"\xef\xbb\xbf \r\n" + content.replace(b"\n", b"\r\n") + b"\r\n") == inside
    for candidate in read_blob(content, 99).candidates:
        assert candidate.content in content
        assert content.split(b"\n")[candidate.line - 1].strip()[:1] in b'{["'
        assert read_blob(candidate.content, 1).candidates[0].payload == candidate.payload


@pytest.mark.parametrize("between", [b"", b"\n", b" ", b"\n\n\t", b"\r\n"])
@pytest.mark.parametrize("first", FORMS)
@pytest.mark.parametrize("second", FORMS)
def test_documents_stand_one_after_another(between: bytes, first: int | None, second: int | None) -> None:
    content = text(BUNDLE, first) + between + text(API, second) + between + text(ENVELOPE, first)
    assert values(content) == [BUNDLE, BUNDLE, OTHER, ENVELOPE]


def test_lines_of_wrapped_bundles_are_their_own() -> None:
    content = b"junk\n" + text(API, 1)
    found = read_blob(content, 9)
    assert found.others == 1
    for candidate in found.candidates:
        assert b'"bundle": {' in content.split(b"\n")[candidate.line - 1]
    assert len({candidate.line for candidate in found.candidates}) == 2


@given(
    st.lists(
        st.tuples(
            st.sampled_from([BUNDLE, ENVELOPE, API, [OTHER], {"no": "payload"}]), st.sampled_from(FORMS)
        ),
        max_size=6,
    )
)
def test_any_order_of_documents_is_read(documents: list[tuple[Any, int | None]]) -> None:
    content = b"\n".join(text(value, indent) for value, indent in documents)
    expected: list[Any] = []
    for value, _ in documents:
        if value is API:
            expected += [BUNDLE, OTHER]
        elif isinstance(value, list):
            expected += value
        elif value in (BUNDLE, ENVELOPE):
            expected.append(value)
    assert values(content) == expected


@pytest.mark.parametrize("indent", FORMS)
def test_wrappers_with_two_meanings_hold_nothing(indent: int | None) -> None:
    twice = text(API, indent).replace(b'"repository_id": 1', b'"bundle": {}')
    assert json.loads(twice)
    assert read_blob(twice, 9).candidates == ()
    inner = text(API, indent).replace(b'"payloadType"', b'"payload": "", "payloadType"', 1)
    assert read_blob(inner, 9).candidates == ()
    assert read_blob(text(API, indent).replace(b'"repository_id": 1', b'"n": NaN'), 9).candidates == ()
    assert read_blob(text(API)[:-1], 9).candidates == ()


@pytest.mark.parametrize("indent", FORMS)
@pytest.mark.parametrize("name", [b"payload", b"payloadType"])
def test_a_name_that_is_escaped_is_not_looked_for(indent: int | None, name: bytes) -> None:
    content = text(ENVELOPE, indent)
    escaped = content.replace(b'"%s"' % name, b'"\\u%04x%s"' % (name[0], name[1:]))
    assert loads(escaped) == ENVELOPE
    assert read_blob(escaped, 9).candidates == ()
    assert values(escaped + b"\n" + content) == [ENVELOPE]


@pytest.mark.parametrize("behind", [b"x", b" x", b",", b"]", b"\x00", b" null"])
def test_a_value_with_other_text_behind_it_is_no_document(behind: bytes) -> None:
    assert read_blob(text(BUNDLE) + behind, 9).candidates == ()
    assert read_blob(text(BUNDLE, 1) + behind + b"\n", 9).candidates == ()
    assert values(text(BUNDLE) + behind + b"\n" + text(OTHER)) == [OTHER]


def test_what_an_envelope_or_bundle_says_beside_is_not_unwrapped() -> None:
    """The reading that verifies a bundle looks at the whole object: what is a bundle is never a wrapper too."""
    assert values(text({**BUNDLE, "attestations": [{"bundle": OTHER}]})) == [
        {**BUNDLE, "attestations": [{"bundle": OTHER}]}
    ]
    assert values(text({**ENVELOPE, "bundle": OTHER})) == [{**ENVELOPE, "bundle": OTHER}]
    assert values(text({"nested": {"bundle": BUNDLE}})) == []
    assert (
        read_blob(text({"attestations": [{"bundle": None, "bundle_url": '"payload"'}]}), 9).candidates == ()
    )


def test_arrays_nest_a_few_times_only() -> None:
    nested: Any = BUNDLE
    for _ in range(MAX_WRAPPING):
        nested = [nested]
    assert values(text(nested)) == [BUNDLE]
    assert values(text([nested])) == []


def test_wrapped_candidates_count_against_the_limit() -> None:
    for content in (text(API), text([BUNDLE, OTHER]), text(BUNDLE, 1) + text(OTHER, 1)):
        assert len(read_blob(content, 2).candidates) == 2
        with pytest.raises(ArtifactError, match="maxBundles") as caught:
            read_blob(content, 1)
        assert caught.value.reason is Reason.LIMIT_EXCEEDED


def test_documents_that_never_end_are_looked_at_a_few_times() -> None:
    for count, expected in ((MAX_BROKEN - 1, [BUNDLE]), (MAX_BROKEN, [])):
        assert values(b"{\n" * count + text(BUNDLE, 1)) == expected
    # What begins like no document costs no look.
    for junk in (b"junk\n", b"{x}\n", b"[x]\n", b'junk with a "payload"\n', b'"payload"\n', b"7\n"):
        assert values(junk * 99 + text(BUNDLE, 1)) == [BUNDLE]
    # Nor do lines that are looked at: for their marks, or for their length.
    for junk in (b'"payload" "payloadType"\n', b"{x" + b"a" * SHORT_BYTES + b"}\n"):
        assert values(junk * 9 + text(BUNDLE, 1)) == [BUNDLE]
    # Lines need no such look, so junk hides none of them.
    assert values(b"{\n" * 999 + text(BUNDLE)) == [BUNDLE]


def test_long_lines_that_never_end_are_looked_at_a_few_times() -> None:
    """A long line is looked for in any case. Each that begins like a document would cost a parse of all that follows."""
    padded = {"x": "a" * SHORT_BYTES, **BUNDLE}
    lines = text(padded, 1).replace(b"{\n", b"{", 1)
    broken = lines[: lines.index(b"\n") + 1]
    for count, expected in ((MAX_BROKEN - 1, [padded]), (MAX_BROKEN, [])):
        assert values(broken * count + lines) == expected


def test_a_document_over_several_lines_is_shown_as_one() -> None:
    (part,) = parts_of(b"\n" + text(ENVELOPE, 1))
    (shown,) = part.lines()
    assert (shown.line, shown.value) == (2, ENVELOPE)


def test_the_first_line_may_end_as_a_document_does() -> None:
    content = b'{"x": {}\n, ' + text(ENVELOPE)[1:]
    assert values(content) == [{"x": {}, **ENVELOPE}]


def test_lines_are_read_where_there_are_too_many_values_for_one_document() -> None:
    many = b"[" + b"1," * MAX_VALUES + b"1]\n"
    assert values(many + text(BUNDLE)) == [BUNDLE]
    assert values(text(BUNDLE, 1) + many) == []
    # A wrapper in front, which is looked into, is no way around it.
    wrapped = text([BUNDLE]) + b"\n" + text(BUNDLE, 1) + b"\n"
    assert values(wrapped) == [BUNDLE, BUNDLE]
    assert values(wrapped + many) == [BUNDLE]


SHORT = text({"payload": 1, "payloadType": "x"})
REAL = {**BUNDLE, "dsseEnvelope": {**ENVELOPE, "payload": "e30g" * (SHORT_BYTES // 4)}}
"""As long as what can count is."""


def test_no_number_of_short_texts_hides_one_that_can_count() -> None:
    for junk in (SHORT + b"\n", b"{}\n", b"x\n", b'"payload" "payloadType"\n'):
        found = read_blob(junk * (MAX_LINES - 1) + text(REAL), 1)
        assert [candidate.line for candidate in found.candidates] == [MAX_LINES]
        assert found.others == MAX_LINES - 1
    # What stands beside a bundle in the answer of GitHub's API is short as well.
    many = {"attestations": [{"bundle": REAL, "repository_id": 1, "initiator": "user"}] * 90}
    for indent in (None, 1):
        assert values(text(many, indent)) == [REAL] * 90


def test_short_texts_are_looked_at_as_often_as_the_files_size_allows() -> None:
    line = text(ENVELOPE) + b"\n"
    for count, found in (
        (MAX_SHORT, MAX_SHORT),
        (MAX_SHORT + 9, MAX_SHORT + len(line * MAX_SHORT) // SHORT_BYTES),
    ):
        assert len(read_blob(line * count, 999).candidates) == min(count, found)
    # Once the file has gone on, they have their turn again.
    content = (SHORT + b"\n") * (2 * MAX_SHORT) + b"x" * (3 * MAX_SHORT * SHORT_BYTES) + b"\n" + line
    assert values(content) == [ENVELOPE]


@pytest.mark.parametrize("document", [SHORT, b'{"payload":1,\n"payloadType":1}'])
def test_short_documents_one_behind_another_are_looked_at_a_few_times(document: bytes) -> None:
    assert values(document * (MAX_SHORT - 1) + text(REAL, 1)) == [REAL]
    assert values(document * (2 * MAX_SHORT) + text(REAL, 1)) == []
    assert values(document * (2 * MAX_SHORT) + b"\n" + text(REAL)) == [REAL]


def test_a_wrapper_of_many_short_values_is_read_as_far_as_its_size_allows() -> None:
    assert values(text([REAL, *([1] * (MAX_SHORT - 1)), REAL])) == [REAL, REAL]
    assert values(text([REAL, *([1] * (2 * MAX_SHORT)), REAL])) == [REAL]


def test_a_file_of_dense_values_is_looked_at_once_for_a_document_over_several_lines() -> None:
    dense = b"[" + b"1," * 999 + b"1]\n"
    assert values(text(REAL, 1) + b"\n" + dense * 9) == [REAL]
    assert values(b"{\n" + text(REAL, 1) + b"\n" + dense * 9) == []
    assert values(b"{\n" + text(REAL, 1) + b"\n") == [REAL]
    wrapped = text([REAL]) + b"\n"
    assert values(wrapped + b"{\n" + text(REAL, 1) + b"\n") == [REAL, REAL]
    assert values(wrapped + b"{\n" + text(REAL, 1) + b"\n" + dense * 9) == [REAL]


@pytest.mark.parametrize("indent", FORMS)
def test_a_wrapper_of_dense_values_holds_nothing(indent: int | None) -> None:
    assert values(text([REAL, *([1] * 99)], indent)) == [REAL]
    dense = text([REAL, *([1] * 999)], indent)
    assert is_dense(dense)
    assert values(dense) == []


def test_how_often_short_texts_are_looked_at_is_exact() -> None:
    # All of them begin in the first bytes, which allow no more than any file does.
    for count, found in ((MAX_SHORT, [REAL]), (MAX_SHORT + 1, [])):
        assert values(b"[" + b"1," * count + text(REAL) + b"]") == found
        # A document over two lines is one text.
        assert values(b"{\n}\n" * count + text(REAL, 1)) == found
    # What has as many bytes as the smallest that counts takes nobody's turn.
    padded = {**ENVELOPE, "x": ""}
    padded["x"] = "a" * (SHORT_BYTES - len(text(padded)))
    assert len(text(padded)) == SHORT_BYTES
    short = 2 * MAX_SHORT
    lines = (text(padded) + b"\n") * MAX_SHORT + (text(ENVELOPE) + b"\n") * short
    assert values(lines) == [padded] * MAX_SHORT + [ENVELOPE] * short


PIECES = [
    b"x",
    b"",
    b" ",
    b"\t\r",
    b"{}",
    b"[ ]",
    b"{",
    b'"payloadType"',
    SHORT,
    text(BUNDLE),
    b"y" * SHORT_BYTES,
    b"\x0b{\x0c",
]


@given(st.lists(st.sampled_from(PIECES), max_size=12), st.sampled_from([b"", b"\n", b"\n \n"]))
def test_what_is_passed_over_is_counted_and_shown_line_by_line(pieces: list[bytes], end: bytes) -> None:
    """Against the plain way to do it; with no text over several lines."""
    pieces = [piece for piece in pieces if piece.strip() != b"{"]
    content = b"\n".join(pieces) + end
    expected = [(piece.strip(), number) for number, piece in enumerate(pieces, 1) if piece.strip()]
    parts = list(parts_of(content))
    assert [(one.content, one.line) for part in parts for one in part.lines()] == expected
    assert sum(part.count for part in parts) == len(expected)


MEGABYTE = 1 << 20


@pytest.mark.parametrize(
    "piece",
    [
        b"{\n",
        b"[\n",
        b"[",
        b'{"payload":\n',
        b'{"payload":[\n',
        b'[{"payload":1},\n',
        b'{"payload":1}x\n',
        b'{"payload":1}{',
        b'{"payload":1} ',
        b'[1,"payload"]',
        b'"payload"\n',
        b"{}\n",
    ],
)
def test_hostile_text_costs_no_more_than_its_size(piece: bytes) -> None:
    """CPU of four times the size over that of one: about four where the cost is linear, sixteen where it is quadratic."""
    costs = []
    for size in (MEGABYTE // 8, MEGABYTE // 2):
        content = piece * (size // len(piece))
        started = time.thread_time()
        with suppress(ArtifactError):
            read_blob(content, 1 << 20)
        costs.append(time.thread_time() - started)
    assert costs[1] < max(9 * costs[0], 0.25), costs
