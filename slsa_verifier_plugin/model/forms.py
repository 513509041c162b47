"""Names the form of a file that holds no readable attestation, and says how to make it one. Decides nothing."""

from __future__ import annotations

import base64
import binascii
import re
import zlib

_LOOKED_AT = 1 << 16
"""Bytes of a text file that are searched for what it is."""

# Tags of literals of 1 to 60 bytes: two bits of zero, and the length less one above them.
_SHORT_LITERAL = re.escape(bytes(range(0, 60 << 2, 4)))
_RAW_SNAPPY = re.compile(
    rb"(?!\s*[{\[\"]|\xef\xbb\xbf)[\x80-\xff]{0,4}[\x00-\x7f](?:["
    + _SHORT_LITERAL
    + rb"]|\xf0.|\xf4..|\xf8...|\xfc....)[{\[]",
    re.DOTALL,
)
"""The length of the whole, then a literal that begins a JSON document (snappy ``format_description.txt``, sections 1 and 2.1).

What begins as JSON does is JSON, with a byte order mark or not.
"""

# The first bytes of each format, its name, and the command that unpacks it.
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
)
_WIDE = (
    ("UTF-16LE", re.compile(rb"(?:[ \t\r\n]\x00){0,64}[{\[]\x00")),
    ("UTF-16BE", re.compile(rb"(?:\x00[ \t\r\n]){0,64}\x00[{\[]")),
)
"""How JSON begins in UTF-16 without a byte order mark."""

_TAR_MAGIC = slice(257, 262)
"""Where a tar archive says what it is (POSIX.1-2001, pax Interchange Format)."""

_YAML = re.compile(
    rb"^(?:- |  |  - )?(?:mediaType|dsseEnvelope|verificationMaterial|payloadType|attestations|bundle):",
    re.MULTILINE,
)
# Of both alphabets (RFC 4648, sections 4 and 5).
_BASE64 = re.compile(rb"[A-Za-z0-9+/_\-\r\n]+={0,2}\s*")
_QUOTED_JSON = re.compile(rb'\s*"\s*[{\[]+\s*\\["n]')

BUNDLE = "a Sigstore bundle, as --bundle takes it"
ROOT = "a trusted root, as --trusted-root takes it"
RESOURCE = "a Kubernetes resource, as --policy takes it where it is a Verifier"
_OWN_KINDS = (
    (re.compile(rb'"application/vnd\.dev\.sigstore\.bundle'), BUNDLE),
    (re.compile(rb'"application/vnd\.dev\.sigstore\.trustedroot'), ROOT),
    (re.compile(rb'^[ {\[]{0,64}"?apiVersion"?[ ]{0,8}:', re.MULTILINE), RESOURCE),
)
"""The kinds of files that commands read, by what only they have: two that were given for each other are a common slip."""

_ALIKE = (
    # A whole bundle would have been read as one; what is left of one is named below.
    *_OWN_KINDS[1:],
    (
        re.compile(rb'"attestations_subject_digests"\s*:'),
        "GitHub's answer about several digests at once, whose bundles "
        "'jq -c \".attestations_subject_digests[][].bundle\" FILE' prints",
    ),
    (
        re.compile(rb'"(?:dsseEnvelope|dsse_envelope|verificationMaterial|verification_material)"\s*:'),
        "what looks like a Sigstore bundle lacks a part, or is not whole: one has mediaType, verificationMaterial and "
        "dsseEnvelope, under these names",
    ),
    (
        re.compile(rb'"bundle_url"\s*:'),
        "GitHub's answer names only where the bundles are (bundle_url); 'gh attestation download' fetches them",
    ),
    (re.compile(rb'"documentation_url"\s*:'), "an error that GitHub's API answered with"),
    (
        re.compile(rb'"_type"\s*:\s*"https:(?:/|\\/){2}in-toto\.io'),
        "a statement that nobody signed; what counts is the signed bundle with it inside",
    ),
    (
        re.compile(rb"\A\s*-----BEGIN "),
        "PEM text, which is a key, certificate or signature and holds no statement",
    ),
    (re.compile(rb"\A\s*<(?:!doctype )?html", re.IGNORECASE), "a web page, perhaps a sign-in page"),
    (re.compile(rb"\Aversion https://git-lfs"), "a pointer of Git LFS; 'git lfs pull' fetches the file"),
)
"""Text that holds no attestation, by what only it has. The first that is found is named."""


def form_of(content: bytes) -> str:
    """Return what a file is and the command that unpacks it, as ``gzip data; unpack it (gunzip ...)``; "" where it is not known.

    Args:
        content: the file. Its beginning is looked at, and for a signature over a file, all of its text.
    """
    # Before plain gzip: a packed archive needs another command than a packed file.
    if content.startswith(b"\x1f\x8b") and _is_tar(_gunzipped(content)):
        return _unpacked("a tar archive, packed with gzip", "tar -xzf FILE")
    # UTF-32 stands before UTF-16 in the table, whose mark it begins with.
    for beginning, name, command in _BEGINNINGS:
        # By the first bytes, which each of these formats fixes.
        if content.startswith(beginning):
            return _unpacked(name, command)
    # Without a mark: each second byte of ASCII is zero, on one side or the other.
    for encoding, pattern in _WIDE:
        if pattern.match(content):
            return _unpacked("UTF-16 text", f"iconv -f {encoding} -t UTF-8 FILE >bundle.jsonl")
    # A tar archive begins with its first file's name, so it is told by what stands further in.
    if _is_tar(content):
        return _unpacked("a tar archive", "tar -xf FILE")
    # Raw snappy has no mark of its own. GitHub serves bundles so (``bundle_url``), and people attach what they have
    # fetched.
    if _RAW_SNAPPY.match(content[:12]):
        return _unpacked(
            "snappy data", "snzip -d -t raw <FILE >bundle.jsonl (or fetch it with: gh attestation download)"
        )
    # A bundle of ``cosign sign-blob``: nothing is wrong with it, but it says nothing of the file.
    if b'"messageSignature"' in content and b'"application/vnd.dev.sigstore.bundle' in content:
        return (
            "a signature over a file's bytes (messageSignature), which holds no statement; nothing unpacks it: "
            "have the statement itself signed, as the source workflow and 'cosign attest-blob' do"
        )
    return _text_form(content[:_LOOKED_AT])


def name_of(content: bytes, meant: str) -> str:
    """Return what was given in the place of another file, with a command that unpacks it or the option that takes it.

    Args:
        content: the file.
        meant: the kind that it should be of; "" is returned where it is, or where the file's kind is not known.
    """
    form = form_of(content).partition(", and take")[0].replace(">bundle.jsonl", ">OTHER-FILE")
    kind = form or _first(_OWN_KINDS, content)
    return kind if kind != meant else ""


def likeness_of(content: bytes) -> str:
    """Return what a file without any attestation seems to be, for people; "" where it is not known.

    Args:
        content: the file, of which the beginning is looked at.
    """
    return _first(_ALIKE, content)


def _first(kinds: tuple[tuple[re.Pattern[bytes], str], ...], content: bytes) -> str:
    head = content[:_LOOKED_AT]
    return next((name for pattern, name in kinds if pattern.search(head)), "")


def _text_form(head: bytes) -> str:
    # JSON that was put into JSON once more, as a script does that prints what another one printed.
    if _QUOTED_JSON.match(head):
        return _unpacked("JSON inside a JSON text", "jq -r . FILE >bundle.jsonl")
    # In quotes where a script printed it as JSON.
    if _is_base64(head.strip().strip(b'"')):
        return _unpacked("base64 text", "base64 -d <FILE >bundle.jsonl (without the quotes, if it has any)")
    # Only where it does not begin as JSON, of which nearly all is YAML as well.
    if _YAML.search(head) and head.lstrip()[:1] not in (b"{", b"["):
        return _unpacked("YAML text", "yq -o=json -I=0 . FILE >bundle.jsonl")
    return ""


def _is_base64(text: bytes) -> bool:
    """Return True for base64 of JSON or of gzip data."""
    if not _BASE64.fullmatch(text):
        return False
    # Eight characters are enough to see what is inside; the rest may be megabytes.
    beginning = text.translate(None, b"\r\n")[:8].replace(b"-", b"+").replace(b"_", b"/")
    try:
        found = base64.b64decode(beginning, validate=True).lstrip()
    except binascii.Error:
        return False
    return found[:1] in (b"{", b"[") or found.startswith(b"\x1f\x8b")


def _is_tar(content: bytes) -> bool:
    return content[_TAR_MAGIC] == b"ustar"


def _gunzipped(content: bytes) -> bytes:
    """Return the first 512 bytes of what is packed. Nothing more is unpacked, so a large file costs no more than a small one."""
    try:
        # 31 is 16, for gzip's own header, and 15, for the largest window.
        return zlib.decompressobj(31).decompress(content[:4096], 512)
    except zlib.error:
        return b""


def _unpacked(name: str, command: str) -> str:
    return f"{name}; unpack it with: {command}, and take what comes out, Sigstore bundles as JSON"
