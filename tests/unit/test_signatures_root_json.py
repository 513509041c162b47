"""Trusted roots as tools write them: lists left out, several in one file; and GitHub's own, which verifies GitHub's bundles."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from slsa_verifier_plugin.errors import Reason, SignatureError, TrustRootError
from slsa_verifier_plugin.model.envelope import Candidate, read_blob
from slsa_verifier_plugin.policy.parameters import RootSource
from slsa_verifier_plugin.service.service import Service
from slsa_verifier_plugin.signatures.root_json import documents
from slsa_verifier_plugin.signatures.trust import MAX_ROOTS, load_root, load_roots
from slsa_verifier_plugin.signatures.verifier import AttestationVerifier, RootVerifier
from slsa_verifier_plugin.strict_json import JsonError
from tests.support.policies import policy
from tests.support.sigstore import Lab, vsa
from tests.support.sigstore.encoding import compact
from tests.support.sigstore.envelope import payload_bytes
from tests.support.sigstore.trusted_root import trusted_root

PAYLOAD = payload_bytes(vsa())
FULL = json.loads(Lab().trusted_root())
ONE_LINE = compact(FULL)
OTHER = compact(json.loads(Lab("other").trusted_root()))
BROKEN = b'{"mediaType":"x"}'
FIELD = Path(__file__).parents[2].parent / "shared" / "data" / "field" / "github-trusted-root"


def candidate(content: bytes) -> Candidate:
    (found,) = read_blob(content, 1).candidates
    return found


def verified_by(content: bytes, **how: Any) -> bytes:
    """Return the payload of a bundle of the lab's, verified with the roots in ``content``."""
    verifiers = [RootVerifier(root) for root in load_roots(content, "x").roots]
    return AttestationVerifier(verifiers, {}).verify(candidate(Lab().sign(PAYLOAD, **how))).claim.payload


def without(*names: str, null: bool = False) -> bytes:
    return compact(
        {key: None if key in names else value for key, value in FULL.items() if null or key not in names}
    )


@pytest.mark.parametrize(
    "path",
    [
        ("tlogs", "baseUrl"),
        ("tlogs", "publicKey", "validFor", "end"),
        ("certificateAuthorities", "uri"),
        ("certificateAuthorities", "subject"),
        ("certificateAuthorities", "subject", "organization"),
        ("ctlogs", "baseUrl"),
    ],
)
def test_what_is_null_is_as_good_as_left_out(path: tuple[str, ...]) -> None:
    value = json.loads(ONE_LINE)
    inner: Any = value[path[0]][0]
    for name in path[1:-1]:
        inner = inner[name]
    inner[path[-1]] = None
    assert verified_by(compact(value)) == PAYLOAD


@pytest.mark.parametrize("name", ["logId", "publicKey"])
def test_what_a_log_must_have_must_not_be_null(name: str) -> None:
    value = json.loads(ONE_LINE)
    value["tlogs"][0][name] = None
    with pytest.raises(TrustRootError, match=rf"tlogs\[0\]\.{name} is missing"):
        load_roots(compact(value), "x")


@pytest.mark.parametrize("null", [False, True])
def test_lists_that_are_left_out_are_empty(null: bool) -> None:
    assert verified_by(without("timestampAuthorities", null=null)) == PAYLOAD
    assert verified_by(without("tlogs", "ctlogs", null=null), log=None, timestamp=True, sct=False) == PAYLOAD
    assert verified_by(without("tlogs", null=null), log=None, timestamp=True) == PAYLOAD
    with pytest.raises(SignatureError) as caught:
        verified_by(without("ctlogs", null=null))
    assert caught.value.reason is Reason.UNKNOWN_LOG
    with pytest.raises(TrustRootError, match="has no certificate authority"):
        load_roots(without("certificateAuthorities", null=null), "x")
    with pytest.raises(TrustRootError, match="neither a transparency log nor a timestamp authority"):
        load_roots(without("tlogs", "timestampAuthorities", null=null), "x")


def test_a_list_that_is_left_out_weakens_no_other_demand() -> None:
    """A root without CT logs demands no SCT only where it has no log either; with one, an SCT of no known log is unknown."""
    with pytest.raises(SignatureError):
        verified_by(without("ctlogs"), sct=False)
    with pytest.raises(SignatureError, match="no signed timestamp"):
        verified_by(without("tlogs", "ctlogs"))


def test_empty_texts_that_are_left_out() -> None:
    """Protobuf's JSON leaves out what has its default: a CA's organization that it has not, a URL that nobody gave."""
    value = json.loads(ONE_LINE)
    del value["tlogs"][0]["baseUrl"]
    del value["certificateAuthorities"][0]["subject"]["organization"]
    del value["certificateAuthorities"][0]["uri"]
    del value["timestampAuthorities"][0]["subject"]
    assert verified_by(compact(value)) == PAYLOAD
    assert verified_by(compact(value), log="v2", timestamp=True) == PAYLOAD


def test_the_names_of_protobuf_are_read_as_well() -> None:
    value = json.loads(ONE_LINE)
    for name, other in (
        ("certificateAuthorities", "certificate_authorities"),
        ("timestampAuthorities", "timestamp_authorities"),
        ("mediaType", "media_type"),
    ):
        value[other] = value.pop(name)
    assert verified_by(compact(value), log="v2", timestamp=True) == PAYLOAD


@pytest.mark.parametrize(
    "content",
    [
        OTHER + b"\n" + ONE_LINE,
        ONE_LINE + b"\n" + OTHER + b"\n",
        OTHER + b"\r\n\r\n" + ONE_LINE + b"\r\n",
        OTHER + ONE_LINE,
        b"\xef\xbb\xbf" + OTHER + b"\n" + ONE_LINE + b"\n",
        Lab("other").trusted_root() + Lab().trusted_root(),
        BROKEN + b"\n" + ONE_LINE,
        ONE_LINE + b"\n" + BROKEN,
        b"{}\n[]\n7\n" + ONE_LINE,
    ],
)
def test_several_roots_in_one_file_each_count_alone(content: bytes) -> None:
    assert verified_by(content) == PAYLOAD
    assert verified_by(content, log="v2", timestamp=True) == PAYLOAD


def test_each_root_of_a_file_is_told_by_its_line() -> None:
    found = load_roots(BROKEN + b"\n\n" + OTHER + b"\n" + ONE_LINE + b"\n", "roots.jsonl")
    assert [root.info.source for root in found.roots] == ["roots.jsonl (line 3)", "roots.jsonl (line 4)"]
    assert [root.info.digest for root in found.roots] == [
        hashlib.sha256(content).hexdigest() for content in (OTHER, ONE_LINE)
    ]
    (problem,) = found.problems
    assert (
        '"roots.jsonl (line 1)" cannot be used: mediaType has a value that is not known here'
        in problem.message
    )


def test_a_root_alone_is_its_file() -> None:
    content = Lab().trusted_root()
    (root,) = load_roots(content, "root.json").roots
    assert (root.info.source, root.info.digest) == ("root.json", hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (BROKEN + b"\n" + BROKEN, r"\(line 1\)"),
        (ONE_LINE + b"\n{", "no JSON in line 2"),
        (ONE_LINE + b"\nx", "no JSON in line 2"),
        (b"", "it is empty"),
        (b" \n", "it is empty"),
        (b"\xff", "not UTF-8"),
        (ONE_LINE.decode().encode("utf-16"), "it is UTF-16 text; unpack it with: iconv"),
        (ONE_LINE.decode().encode("utf-16-le"), "it is UTF-16 text; unpack it with: iconv -f UTF-16LE"),
        (gzip.compress(ONE_LINE, mtime=0), "it is gzip data; unpack it with: gunzip <FILE >OTHER-FILE"),
        (b"[" + ONE_LINE + b"]", "it is a JSON array and no object"),
        (b"[" * 100_000, "no JSON in line 1"),
        (b"\n".join([ONE_LINE] * (MAX_ROOTS + 1)), f"more than {MAX_ROOTS} documents"),
        (ONE_LINE.replace(b'"tlogs":', b'"tlogs":[],"tlogs":', 1), "twice"),
    ],
)
def test_what_holds_no_root_is_told(content: bytes, says: str) -> None:
    with pytest.raises(TrustRootError, match=says):
        load_roots(content, "root.json")


def test_as_many_roots_as_there_may_be() -> None:
    assert len(load_roots(b"\n".join([ONE_LINE] * MAX_ROOTS), "x").roots) == MAX_ROOTS


def test_documents_are_cut_where_they_end() -> None:
    assert documents(b' {"a": "}{\\""}\n[1]\t7', 9) == [(1, b'{"a": "}{\\""}'), (2, b"[1]"), (2, b"7")]
    with pytest.raises(JsonError):
        documents(b"{} {}", 1)


def test_a_certificate_of_one_root_and_a_log_of_another_make_no_bundle() -> None:
    """Roots in one file are as apart as roots in two: each must vouch for all of a bundle."""
    ours, others = json.loads(ONE_LINE), json.loads(OTHER)
    for name in ("tlogs", "ctlogs", "certificateAuthorities"):
        mixed = [{**ours, name: others[name]}, {**others, name: ours[name]}]
        with pytest.raises(SignatureError):
            verified_by(b"\n".join(map(compact, mixed)))


def test_a_service_uses_every_root_of_a_file_and_says_which_it_cannot(tmp_path: Path) -> None:
    path = tmp_path / "roots.jsonl"
    path.write_bytes(BROKEN + b"\n" + OTHER + b"\n" + ONE_LINE)
    service = Service({})
    verifier = service.verifier(policy(trustedRoot={"path": str(path)}))
    assert verifier.verify(candidate(Lab().sign(PAYLOAD))).claim.payload == PAYLOAD
    assert len(verifier.roots) == 2
    (warning,) = verifier.warnings
    assert "(line 1)" in warning
    assert service.usage()["unusableRoots"] == [warning]
    path.write_bytes(OTHER + b"\n" + ONE_LINE)
    assert service.verifier(policy(trustedRoot={"path": str(path)})).warnings == ()
    assert service.usage()["unusableRoots"] == []


# GitHub's own Sigstore


def github_like(lab: Lab) -> bytes:
    """Return a root as GitHub's own: six generations of authorities, no logs of either kind and no lists of them."""
    value = json.loads(trusted_root(lab, parts={"ca", "tsa"}))
    made: dict[str, Any] = {"mediaType": value["mediaType"]}
    for name in ("certificateAuthorities", "timestampAuthorities"):
        made[name] = []
        for year in range(2019, 2024):
            stranger = json.loads(trusted_root(Lab(f"generation {year}"), parts={"ca", "tsa"}))[name][0]
            stranger["validFor"] = {"start": f"{year}-01-01T00:00:00Z", "end": f"{year}-12-31T00:00:00Z"}
            made[name].append(stranger)
        made[name] += value[name]
    return compact(made)


@pytest.mark.parametrize("several", [False, True])
def test_bundles_of_the_shape_of_githubs_verify(several: bool) -> None:
    content = github_like(Lab())
    if several:
        content = OTHER + b"\n" + content + b"\n"
    bundle = Lab().sign(PAYLOAD, log=None, timestamp=True, sct=False)
    assert "tlogEntries" not in json.loads(bundle)["verificationMaterial"]
    verifiers = [RootVerifier(root) for root in load_roots(content, "x").roots]
    verified = AttestationVerifier(verifiers, {}).verify(candidate(bundle))
    assert (verified.claim.payload, verified.log_index) == (PAYLOAD, None)
    for wrong in (
        Lab().sign(PAYLOAD, log=None, timestamp=False, sct=False),
        Lab("generation 2021").sign(PAYLOAD, log=None, timestamp=True, sct=False),
        Lab("stranger").sign(PAYLOAD, log=None, timestamp=True, sct=False),
    ):
        with pytest.raises(SignatureError):
            AttestationVerifier(verifiers, {}).verify(candidate(wrong))


@pytest.mark.skipif(not FIELD.is_dir(), reason=f"there is no {FIELD.name} beside the repository")
@pytest.mark.parametrize("name", ["trusted_root_github.json", "trusted_root.jsonl"])
def test_githubs_own_root_verifies_githubs_own_bundle_offline(name: str) -> None:
    service = Service({"SLSA_VERIFIER_TUF_DIR": "/nonexistent"})
    verifier = service.verifier(policy(trustedRoot={"path": str(FIELD / name)}))
    assert verifier.warnings == ()
    one = candidate((FIELD / "bundle.jsonl").read_bytes())
    verified = verifier.verify(one)
    assert verified.claim.signer.identity.startswith("https://github.com/actions/attest-demo/")
    assert verified.signed_at is not None
    changed = one.content.replace(b'"payload":"ey', b'"payload":"fy', 1).replace(
        b'"payload": "ey', b'"payload": "fy', 1
    )
    assert changed != one.content
    with pytest.raises(SignatureError):
        verifier.verify(candidate(changed))


@pytest.mark.parametrize("kind", ["public-good", "staging"])
def test_the_shipped_roots_have_parts_of_every_kind(kind: str) -> None:
    from slsa_verifier_plugin.signatures.sources import read_root

    root = load_root(*read_root(RootSource(kind), {"SLSA_VERIFIER_TUF_DIR": "/nonexistent"}))
    assert all((root.parts.authorities, root.parts.logs, root.parts.ct_logs))
    assert all(log.key is not None for log in (*root.parts.logs, *root.parts.ct_logs))


@pytest.mark.parametrize("name", ["tlogs", "ctlogs", "certificateAuthorities", "timestampAuthorities"])
@pytest.mark.parametrize("item", ["x", 7, ["x"]])
def test_a_list_of_something_else_is_named(name: str, item: object) -> None:
    with pytest.raises(TrustRootError, match=rf"cannot be used: {name}\[0\]"):
        load_root(compact({**FULL, name: [item]}), "root.json")
