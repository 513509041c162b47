"""What a file without an attestation is, and how people make it one."""

from __future__ import annotations

import base64
import gzip
import io
import json
import tarfile
import tracemalloc
import zipfile

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from slsa_verifier_plugin.model.envelope import BUNDLE_MEDIA_TYPES, read_blob
from slsa_verifier_plugin.model.forms import form_of, likeness_of
from slsa_verifier_plugin.strict_json import MAX_VALUES
from tests.unit.test_model_wrappers import API, BUNDLE, OTHER, text, values


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
        (gzip.compress(LINE, mtime=0), "gzip data", "gunzip <FILE"),
        (gzip.compress(tar(LINE), mtime=0), "a tar archive, packed with gzip", "tar -xzf"),
        (b"\x1f\x8b not really", "gzip data", "gunzip <FILE"),
        (gzip.compress(b"x" * 5000, mtime=0)[:40], "gzip data", "gunzip <FILE"),
        (base64.b64encode(LINE), "base64 text", "base64 -d"),
        (base64.encodebytes(gzip.compress(LINE, mtime=0)), "base64 text", "base64 -d"),
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
