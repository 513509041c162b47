"""Files as people have them: wrappers, documents one after another, packed data; and what each costs."""

from __future__ import annotations

import base64
import gzip
import io
import json
import tarfile
import time
import tracemalloc
import zipfile
from contextlib import suppress
from typing import Any

import pytest
import yaml
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
from slsa_verifier_plugin.model.forms import form_of, likeness_of
from slsa_verifier_plugin.strict_json import MAX_VALUES, loads

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
    return [loads(candidate.content) for candidate in read_blob(content, 99).candidates]


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
    # Lines need no such look, so junk hides none of them.
    assert values(b"{\n" * 999 + text(BUNDLE)) == [BUNDLE]


def test_the_first_line_may_end_as_a_document_does() -> None:
    content = b'{"x": {}\n, ' + text(ENVELOPE)[1:]
    assert values(content) == [{"x": {}, **ENVELOPE}]


def test_lines_are_read_where_there_are_too_many_values_for_one_document() -> None:
    many = b"[" + b"1," * MAX_VALUES + b"1]\n"
    assert values(many + text(BUNDLE)) == [BUNDLE]
    assert values(text(BUNDLE, 1) + many) == []


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


def tar(content: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        member = tarfile.TarInfo("bundle.jsonl")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def zipped(content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("bundle.jsonl", content)
    return file.getvalue()


def snappy(content: bytes) -> bytes:
    """Return ``content`` as snappy with one literal in it."""
    length = len(content)
    preamble = bytearray()
    while length > 127:
        preamble.append(length & 127 | 128)
        length >>= 7
    preamble.append(length)
    return bytes(preamble) + b"\xf4" + (len(content) - 1).to_bytes(2, "little") + content


LINE = text(BUNDLE)


@pytest.mark.parametrize(
    ("content", "form", "command"),
    [
        (gzip.compress(LINE), "gzip data", "gunzip <FILE"),
        (gzip.compress(tar(LINE)), "a tar archive, packed with gzip", "tar -xzf"),
        (b"\x1f\x8b not really", "gzip data", "gunzip <FILE"),
        (gzip.compress(b"x" * 5000)[:40], "gzip data", "gunzip <FILE"),
        (base64.b64encode(LINE), "base64 text", "base64 -d"),
        (base64.encodebytes(gzip.compress(LINE)), "base64 text", "base64 -d"),
        (base64.urlsafe_b64encode(LINE).rstrip(b"="), "base64 text", "base64 -d"),
        (text(base64.b64encode(LINE).decode()), "base64 text", "base64 -d"),
        (text(LINE.decode()), "JSON inside a JSON text", "jq -r ."),
        (text(json.dumps([BUNDLE], indent=1)), "JSON inside a JSON text", "jq -r ."),
        (yaml.safe_dump(BUNDLE).encode(), "YAML text", "yq -o=json"),
        (b"---\n" + yaml.safe_dump([BUNDLE]).encode(), "YAML text", "yq -o=json"),
        (yaml.safe_dump(API).encode(), "YAML text", "yq -o=json"),
        ("\r\n ".encode("utf-16-le") + LINE.decode().encode("utf-16-le"), "UTF-16 text", "iconv -f UTF-16LE"),
        (
            "\n".encode("utf-16-be") + text([BUNDLE]).decode().encode("utf-16-be"),
            "UTF-16 text",
            "iconv -f UTF-16BE",
        ),
        (b"\x28\xb5\x2f\xfd" + LINE, "zstd data", "zstd -d"),
        (tar(b"x" * 9), "a tar archive", "tar -xf"),
        (zipped(b"x" * 9), "a zip archive", "unzip"),
        (snappy(LINE), "snappy data", "snzip -d -t raw"),
        (b"\xff\x06\x00\x00sNaPpY" + LINE, "snappy data", "snzip -d"),
        (LINE.decode().encode("utf-16"), "UTF-16 text", "iconv -f UTF-16 "),
        (LINE.decode().encode("utf-16-le"), "UTF-16 text", "iconv -f UTF-16LE"),
        (LINE.decode().encode("utf-16-be"), "UTF-16 text", "iconv -f UTF-16BE"),
        (LINE.decode().encode("utf-32"), "UTF-32 text", "iconv -f UTF-32"),
        (
            text({"mediaType": BUNDLE_MEDIA_TYPES[3], "messageSignature": {"signature": "AA=="}}),
            "a signature over a file's bytes (messageSignature)",
            "cosign attest-blob",
        ),
    ],
)
def test_packed_files_are_named_with_the_command_that_unpacks_them(
    content: bytes, form: str, command: str
) -> None:
    blob = read_blob(content, 9)
    assert blob.candidates == ()
    assert blob.form.startswith(form)
    assert command in blob.form


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"x",
        LINE,
        b"{}\n",
        text(API, 1),
        b'{"messageSignature": 1}',
        b"[" * 99,
        b'[ {"a": 1}]',
        b"\xef\xbb\xbf[ {}]",
        b"eyJhbGciOiJub25lIn0.e30.",
        b"bm90IGpzb24=",
        b"eyJ",
        b"a: 1\nb:\n  - payload\n",
        b'"text"',
        b'{"payloadType:": 1,\npayloadType: 2}',
    ],
)
def test_other_files_have_no_form(content: bytes) -> None:
    assert read_blob(content, 9).form == ""


UNSIGNED = {"_type": "https://in-toto.io/Statement/v1", "subject": [], "predicateType": "x", "predicate": {}}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (text({"dsseEnvelope": BUNDLE["dsseEnvelope"]}), "lacks a part"),
        (text({key: value for key, value in BUNDLE.items() if key != "mediaType"}, 1), "lacks a part"),
        (text({"dsse_envelope": 1, "verification_material": 2}), "under these names"),
        (LINE[:-9], "is not whole"),
        (
            text({"attestations": [{"bundle": None, "bundle_url": "https://x.example"}]}),
            "gh attestation download",
        ),
        (
            text({"attestations_subject_digests": {"sha256:1": [{"bundle": BUNDLE}]}}),
            "several digests at once",
        ),
        (text({"message": "Not Found", "documentation_url": "https://docs.example"}), "an error"),
        (text(UNSIGNED), "nobody signed"),
        (text(UNSIGNED, 2) + b"\n" + text(UNSIGNED, 2), "nobody signed"),
        (text(UNSIGNED).replace(b"/", b"\\/"), "nobody signed"),
        (b"\n-----BEGIN CERTIFICATE-----\nMIIB\n", "PEM text"),
        (b"<!DOCTYPE html>\n<html>", "a web page"),
        (b"<HTML lang=en>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    ],
)
def test_what_text_without_an_attestation_seems_to_be_is_told(content: bytes, says: str) -> None:
    blob = read_blob(content, 9)
    assert (blob.candidates, blob.form, says in blob.likeness) == ((), "", True), blob


@pytest.mark.parametrize(
    "content", [b"", b"{}", LINE, text(API, 2), b"x -----BEGIN ", b"\xff<html>", b'"_type"']
)
def test_nothing_is_told_of_what_is_not_known_or_holds_an_attestation(content: bytes) -> None:
    assert read_blob(content, 9).likeness == ""


def test_what_a_large_packed_file_holds_is_not_unpacked() -> None:
    bomb = gzip.compress(b"\0" * (64 << 20), 9)
    tracemalloc.start()
    assert form_of(bomb).startswith("gzip data")
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 1 << 20


@given(st.binary(max_size=600))
def test_every_file_has_a_form_or_none(content: bytes) -> None:
    assert isinstance(form_of(content) + likeness_of(content), str)


def test_only_the_names_that_tools_use_are_looked_into_and_the_rest_is_counted() -> None:
    beside = {"attestations": [{"bundle": BUNDLE, "attestation": "text"}], "verificationResult": OTHER}
    found = read_blob(text(beside), 9)
    assert (values(text(beside)), found.others) == ([BUNDLE], 0)
    assert read_blob(text({"nested": {"bundle": BUNDLE}}), 9).others == 1


def test_a_line_of_another_kind_may_follow_a_document() -> None:
    assert values(text(BUNDLE, 1) + b"\njunk\n" + text(OTHER, 1)) == [BUNDLE, OTHER]


def test_a_document_may_have_as_many_values_as_are_read() -> None:
    pretty = text(BUNDLE, 1)
    own = sum(map(pretty.count, (b",", b"[", b"{")))
    assert values(pretty + b"\nx" + b"," * (MAX_VALUES - own)) == [BUNDLE]
    assert values(pretty + b"\nx" + b"," * (MAX_VALUES - own + 1)) == []
