"""Names the form of a file that holds no readable attestation, and says how to make it one. Decides nothing."""

from __future__ import annotations

import re

_RAW_SNAPPY = re.compile(
    rb"[\x80-\xff]{0,4}[\x00-\x7f](?:[\x00\x04-\xec]|\xf0.|\xf4..|\xf8...|\xfc....)[{\[]", re.DOTALL
)
"""The length of the whole, then a literal that begins a JSON document (snappy ``format_description.txt``, sections 1 and 2.1)."""

_BEGINNINGS = (
    (b"\x1f\x8b", "gzip data", "gunzip <FILE >bundle.jsonl (where that is an archive, tar -xf)"),
    (b"\x28\xb5\x2f\xfd", "zstd data", "zstd -d <FILE >bundle.jsonl"),
    (b"\xfd7zXZ\x00", "xz data", "xz -d <FILE >bundle.jsonl"),
    (b"BZh", "bzip2 data", "bunzip2 <FILE >bundle.jsonl"),
    (b"PK\x03\x04", "a zip archive", "unzip FILE"),
    (b"PK\x05\x06", "an empty zip archive", "unzip FILE, which shows that nothing is in it"),
    (b"\xff\x06\x00\x00sNaPpY", "snappy data", "snzip -d <FILE >bundle.jsonl"),
    (b"\xff\xfe\x00\x00", "UTF-32 text", "iconv -f UTF-32 -t UTF-8 FILE >bundle.jsonl"),
    (b"\x00\x00\xfe\xff", "UTF-32 text", "iconv -f UTF-32 -t UTF-8 FILE >bundle.jsonl"),
    (b"\xff\xfe", "UTF-16 text", "iconv -f UTF-16 -t UTF-8 FILE >bundle.jsonl"),
    (b"\xfe\xff", "UTF-16 text", "iconv -f UTF-16 -t UTF-8 FILE >bundle.jsonl"),
    (b"{\x00", "UTF-16 text", "iconv -f UTF-16LE -t UTF-8 FILE >bundle.jsonl"),
    (b"[\x00", "UTF-16 text", "iconv -f UTF-16LE -t UTF-8 FILE >bundle.jsonl"),
    (b"\x00{", "UTF-16 text", "iconv -f UTF-16BE -t UTF-8 FILE >bundle.jsonl"),
    (b"\x00[", "UTF-16 text", "iconv -f UTF-16BE -t UTF-8 FILE >bundle.jsonl"),
)
_TAR_MAGIC = slice(257, 262)
"""Where a tar archive says what it is (POSIX.1-2001, pax Interchange Format)."""


def form_of(content: bytes) -> str:
    """Return what a file is and the command that unpacks it, as ``gzip data; unpack it (gunzip ...)``; "" where it is not known.

    Args:
        content: the file. Only its first bytes are looked at, and for a signature over a file, its text.
    """
    for beginning, name, command in _BEGINNINGS:
        if content.startswith(beginning):
            return _unpacked(name, command)
    if content[_TAR_MAGIC] == b"ustar":
        return _unpacked("a tar archive", "tar -xf FILE")
    if _RAW_SNAPPY.match(content[:12]):
        return _unpacked(
            "snappy data", "snzip -d -t raw <FILE >bundle.jsonl (or fetch it with: gh attestation download)"
        )
    if b'"messageSignature"' in content and b'"application/vnd.dev.sigstore.bundle' in content:
        return (
            "a signature over a file's bytes (messageSignature), which holds no statement; nothing unpacks it: "
            "have the statement itself signed, as the source workflow and 'cosign attest-blob' do"
        )
    return ""


def _unpacked(name: str, command: str) -> str:
    return f"{name}; unpack it with: {command}, and take what comes out, Sigstore bundles as JSON"
