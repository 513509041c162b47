"""Step 4, files as people have them: wrappers of GitHub's tools, documents one after another, packed data."""

from __future__ import annotations

import base64
import io
import json
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

import yaml

from tests.conformance.case import Case, attested, signed
from tests.support.sigstore import Lab, vsa

GOOD = signed()
BUNDLE: dict[str, Any] = json.loads(GOOD)
LOW: dict[str, Any] = json.loads(signed(vsa(levels=("SLSA_SOURCE_LEVEL_1",))))
API = {"attestations": [{"bundle": BUNDLE, "repository_id": 1, "bundle_url": "https://blobs.example/1.sn"}]}


def cases() -> Iterator[Case]:
    """Yield the cases."""
    yield from _read()
    yield from _refused()
    yield from _packed()


def text(value: object, indent: int | None = None) -> bytes:
    """Return ``value`` as JSON, over several lines where there is an indent."""
    return json.dumps(value, indent=indent).encode()


def _read() -> Iterator[Case]:
    many = [{"bundle": LOW}] * 7
    good = {
        "github-api": (text(API), "The answer of GitHub's attestation API, in one line."),
        "github-api-pretty": (text(API, 2), "The answer of GitHub's attestation API, as `gh api` shows it."),
        "github-api-pages": (
            text([API, API], 2),
            "Pages of answers, as `gh api --paginate --slurp` writes them.",
        ),
        "github-api-many": (
            text({"attestations": [*many, {"bundle": BUNDLE}, *many]}),
            "The good one stands among others.",
        ),
        "github-api-lines": (text(API) + b"\n" + text({"attestations": many}) + b"\n", "One answer a line."),
        "gh-verify": (
            text([{"attestation": {"bundle": BUNDLE}, "verificationResult": {"mediaType": "x"}}], 4),
            "What `gh attestation verify --format json` prints.",
        ),
        "array": (text([BUNDLE]), "A JSON array of bundles."),
        "array-pretty": (
            text([LOW, BUNDLE], 1),
            "A JSON array over several lines; the second bundle passes.",
        ),
        "array-envelope": (text([LOW["dsseEnvelope"], BUNDLE]), "An array of a bare envelope and a bundle."),
        "one-after-another": (
            text(LOW, 2) + b"\n" + text(BUNDLE, 2),
            "Indented documents one after another.",
        ),
        "no-line-between": (text(LOW) + text(BUNDLE), "Documents one after another in one line."),
        "lines-then-document": (text(LOW) + b"\n" + text(BUNDLE, 2), "A line, then a document over several."),
        "document-then-lines": (text(LOW, 2) + b"\n" + text(BUNDLE) + b"\nend\n", "A document, then lines."),
        "byte-order-mark": (b"\xef\xbb\xbf" + text(API, 1), "A byte order mark before a wrapper."),
        "crlf": (text(API, 1).replace(b"\n", b"\r\n"), "A wrapper whose lines end as on Windows."),
    }
    for name, (content, why) in good.items():
        yield Case(f"wrapper-{name}", why, "VERIFIED", blobs=attested(content))


def _refused() -> Iterator[Case]:
    twice = text(API).replace(b'"repository_id": 1', b'"attestations": []')
    outside = text(API).replace(b'{"attestations"', b'{"attestations": [], "attestations"', 1)
    doubled = text(API, 1).replace(b'"dsseEnvelope": {', b'"dsseEnvelope": {}, "dsseEnvelope": {', 1)
    nested: Any = BUNDLE
    for _ in range(9):
        nested = [nested]
    bad = {
        "twice": (outside, "A wrapper with one name twice has two meanings."),
        "twice-inside": (doubled, "A wrapped bundle with one name twice."),
        "not-a-number": (text(API).replace(b'"repository_id": 1', b'"id": NaN'), "A wrapper with NaN in it."),
        "truncated": (text(API)[:-2], "Half an answer."),
        "text-behind": (text([BUNDLE]) + b" or so", "An array with other text behind it."),
        "elsewhere": (text({"data": {"inner": BUNDLE}}), "A bundle under a name that no tool uses."),
        "nested": (text(nested), "A bundle in nine arrays."),
        "no-bundle": (
            text({"attestations": [{"bundle": None, "bundle_url": 'https://x.example/"payload"'}]}),
            "GitHub's answer without the bundle itself.",
        ),
        "empty": (text({"attestations": []}), "GitHub's answer for a digest that it has nothing for."),
    }
    for name, (content, why) in bad.items():
        yield Case(f"wrapper-{name}", why, "NO_ATTESTATION", blobs=attested(content), step=4)
    # Nearest success of the doubled name: another name for it.
    yield Case(
        "wrapper-other-name",
        "A name beside the list that nobody knows.",
        "VERIFIED",
        blobs=attested(twice.replace(b'"attestations": []', b'"other": []')),
    )
    lab = Lab()
    good, other = json.loads(lab.sign(vsa())), json.loads(lab.sign(vsa(levels=("SLSA_SOURCE_LEVEL_1",))))
    forged = {**good, "dsseEnvelope": {**good["dsseEnvelope"], "payload": other["dsseEnvelope"]["payload"]}}
    yield Case(
        "wrapper-forged",
        "A wrapped bundle whose payload is another's.",
        "SIGNATURE_INVALID",
        parameters={"expectedVerifiedLevels": ["SLSA_SOURCE_LEVEL_1"]},
        blobs=attested(text({"attestations": [{"bundle": forged}]})),
        step=5,
    )
    yield Case(
        "wrapper-low",
        "The wrapped summary is below the level; what stands beside the wrapper does not help.",
        "LEVEL_TOO_LOW",
        blobs=attested(text({"attestations": [{"bundle": LOW}], "verifiedLevels": ["SLSA_SOURCE_LEVEL_3"]})),
        step=11,
    )
    yield Case(
        "wrapper-over-limit",
        "Wrapped bundles count against maxBundles.",
        "LIMIT_EXCEEDED",
        parameters={"maxBundles": 2},
        blobs=attested(text([LOW, LOW, BUNDLE])),
        says=("maxBundles",),
        step=3,
    )
    yield Case(
        "wrapper-at-limit",
        "As many wrapped bundles as maxBundles allows.",
        "VERIFIED",
        parameters={"maxBundles": 3},
        blobs=attested(text([LOW, LOW, BUNDLE])),
    )


def _gzip(content: bytes) -> bytes:
    # Not the module gzip, whose header differs between versions of Python.
    packer = zlib.compressobj(9, wbits=31)
    return packer.compress(content) + packer.flush()


def _packed() -> Iterator[Case]:
    file, archive = io.BytesIO(), io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        member = tarfile.TarInfo("bundle.jsonl")
        member.size = len(GOOD)
        tar.addfile(member, io.BytesIO(GOOD))
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr(zipfile.ZipInfo("bundle.jsonl", (2025, 11, 1, 0, 0, 0)), GOOD, zipfile.ZIP_STORED)
    short = GOOD[:60]
    digest = {"algorithm": "SHA2_256", "digest": "AAAA"}
    message = {key: value for key, value in BUNDLE.items() if key != "dsseEnvelope"}
    forms = {
        "gzip": (_gzip(short), "gzip data", "gunzip"),
        "tar-gzip": (_gzip(file.getvalue()), "a tar archive, packed with gzip", "tar -xzf"),
        "base64": (base64.b64encode(GOOD), "base64 text", "base64 -d"),
        "json-in-text": (text(GOOD.decode()), "JSON inside a JSON text", "jq -r ."),
        "yaml": (yaml.safe_dump(BUNDLE).encode(), "YAML text", "yq -o=json"),
        "zstd": (b"\x28\xb5\x2f\xfd\x20\x3c\xe1\x01\x00" + short, "zstd data", "zstd -d"),
        "snappy": (b"\x3c\xec" + short, "snappy data", "snzip -d -t raw"),
        "snappy-framed": (b"\xff\x06\x00\x00sNaPpY" + short, "snappy data", "snzip -d"),
        "tar": (file.getvalue(), "a tar archive", "tar -xf"),
        "zip": (archive.getvalue(), "a zip archive", "unzip"),
        "utf-16": (
            b"\xff\xfe" + GOOD.decode().encode("utf-16-le"),
            "UTF-16 text",
            "iconv -f UTF-16 -t UTF-8",
        ),
        "utf-16-bare": (GOOD.decode().encode("utf-16-be"), "UTF-16 text", "iconv -f UTF-16BE"),
        "message": (
            text({**message, "messageSignature": {"messageDigest": digest, "signature": "AAAA"}}),
            "a signature over a file's bytes",
            "cosign attest-blob",
        ),
    }
    unsigned = base64.b64decode(BUNDLE["dsseEnvelope"]["payload"])
    alike = {
        "envelope-alone": (
            text({"dsseEnvelope": BUNDLE["dsseEnvelope"]}),
            "lacks a part",
            "verificationMaterial",
        ),
        "unsigned": (
            unsigned,
            "a statement that nobody signed",
            "1 line of other kinds, expected Sigstore bundles",
        ),
        "pem": (
            b"-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----\n",
            "PEM text",
            "holds no statement",
        ),
        "bundle-elsewhere": (
            text({"attestations": [{"bundle": None, "bundle_url": "https://blobs.example/1.sn"}]}),
            "names only where the bundles are",
            "gh attestation download",
        ),
    }
    for name, (content, says, more) in alike.items():
        yield Case(
            f"alike-{name}",
            "No attestation, and yet it is plain what it is: the message says so.",
            "NO_ATTESTATION",
            blobs=attested(content),
            says=(says, more),
            step=4,
        )
    for name, (content, form, command) in forms.items():
        yield Case(
            f"packed-{name}",
            f"An attestation as {form}: the message says so, and what to do.",
            "NO_ATTESTATION",
            blobs=attested(content),
            says=(form, command),
            step=4,
        )
