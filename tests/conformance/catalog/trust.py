"""Step 5 once more: windows that belong to keys, the shapes of trusted roots, and what is unsigned and costs nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from tests.conformance.case import Case, attested, signed
from tests.support.sigstore import Lab, Scheme, derive_key, keyed_envelope, vsa
from tests.support.sigstore.encoding import b64, compact, unb64
from tests.support.sigstore.keys import raw_signature
from tests.support.sigstore.retired import PARTIES, Rollover
from tests.support.sigstore.trusted_root import trusted_root

ROOTS = "@CASES@/roots"
KEY_ID = "https://example.com/verifier"
LISTS = ("tlogs", "ctlogs", "timestampAuthorities", "certificateAuthorities")


def cases() -> Iterator[Case]:
    """Yield the cases."""
    yield from _windows()
    yield from _roots()
    yield from _entries()
    yield from _keys()


def roots() -> dict[str, bytes]:
    """Return the trusted roots that the cases use beside the lab's, by their file names."""
    lab, other = Lab(), Lab("another Sigstore")
    full, stamped = json.loads(trusted_root(lab)), json.loads(trusted_root(lab, parts={"ca", "tsa"}))
    made = {
        "rollover.json": Rollover().root(),
        "rollover-own-ids.json": Rollover(own_ids=True).root(),
        "log-later.json": trusted_root(lab, start=_FAR, only_for={"v1"}),
        "github-shape.json": compact({key: value for key, value in stamped.items() if value}),
        "lists-null.json": compact({key: value or None for key, value in stamped.items()}),
        "lines.jsonl": b"".join(compact(json.loads(trusted_root(one))) + b"\n" for one in (other, lab)),
        "documents.json": trusted_root(other) + trusted_root(lab),
        "lines-one-broken.jsonl": b'{"mediaType":"something else"}\n' + compact(full) + b"\n",
        "lines-all-broken.jsonl": b'{"mediaType":"something else"}\n{}\n',
        "lines-of-others.jsonl": b"".join(
            compact(json.loads(trusted_root(Lab(f"stranger {number}")))) + b"\n" for number in range(2)
        ),
    }
    for name in LISTS:
        made[f"without-{name}.json"] = compact({key: value for key, value in full.items() if key != name})
    return made


_FAR = Lab().authority.root.not_valid_after_utc.replace(year=2053)


def _windows() -> Iterator[Case]:
    what = {
        "log": "A transparency log (Rekor v1)",
        "log-v2": "A transparency log (Rekor v2)",
        "ca": "A certificate authority of the same name",
        "ct": "A CT log",
        "tsa": "A timestamp authority of the same name",
    }
    for own_ids in (False, True):
        root = {"trustedRoot": {"path": f"{ROOTS}/rollover{'-own-ids' if own_ids else ''}.json"}}
        ids = ", under ids that are not the digests of their keys" if own_ids else ""
        for party in PARTIES:
            if own_ids and party in ("ca", "tsa"):
                continue
            name = f"window-{party}{'-own-id' if own_ids else ''}"
            made = Rollover(own_ids)
            yield Case(
                f"{name}-retired-claims-successor",
                f"{what[party]} was retired{ids}; its key signs on and claims to be the successor.",
                "SIGNATURE_INVALID",
                parameters=root,
                blobs=attested(made.retired(vsa(), party, claims=True)),
                step=5,
            )
            yield Case(
                f"{name}-successor",
                f"{what[party]} was retired{ids}; its successor signed.",
                "VERIFIED",
                parameters=root,
                blobs=attested(Rollover(own_ids).honest(vsa(), party)),
            )
            yield Case(
                f"{name}-retired-in-its-time",
                f"{what[party]} was retired{ids}; it signed in its time.",
                "VERIFIED",
                parameters=root,
                blobs=attested(Rollover(own_ids).in_its_time(vsa(), party)),
            )
    yield Case(
        "window-ca-retired-names-no-key",
        "A retired certificate authority issued a certificate that names its issuer by name alone.",
        "SIGNATURE_INVALID",
        parameters={"trustedRoot": {"path": f"{ROOTS}/rollover.json"}},
        blobs=attested(Rollover().nameless_authority(vsa())),
        step=5,
    )
    later = {"trustedRoot": {"path": f"{ROOTS}/log-later.json"}}
    yield Case(
        "window-log-later",
        "A log whose time is still to come.",
        "SIGNATURE_INVALID",
        parameters=later,
        blobs=attested(signed()),
        says=("not in service",),
        step=5,
    )
    yield Case(
        "window-log-later-other-log",
        "A log whose time is still to come, beside the one that was used.",
        "VERIFIED",
        parameters=later,
        blobs=attested(signed(log="v2", timestamp=True)),
    )


def _roots() -> Iterator[Case]:
    logged, stamped = attested(signed()), attested(signed(log=None, timestamp=True, sct=False))
    yield from (
        Case(
            f"root-shape-{name}",
            why,
            reason,
            parameters={"trustedRoot": {"path": f"{ROOTS}/{file}"}},
            blobs=blobs,
            says=says,
        )
        for name, file, reason, blobs, says, why in (
            (
                "github",
                "github-shape.json",
                "VERIFIED",
                stamped,
                (),
                "A root as GitHub's own: lists that are empty are left out.",
            ),
            ("null-lists", "lists-null.json", "VERIFIED", stamped, (), "A root whose empty lists are null."),
            (
                "without-tsa",
                "without-timestampAuthorities.json",
                "VERIFIED",
                logged,
                (),
                "A root without the list of timestamp authorities.",
            ),
            (
                "without-ctlogs",
                "without-ctlogs.json",
                "UNKNOWN_LOG",
                logged,
                ("the certificate transparency log",),
                "A root without the list of CT logs, and a certificate with an SCT.",
            ),
            (
                "without-tlogs",
                "without-tlogs.json",
                "SIGNATURE_INVALID",
                logged,
                ("no signed timestamp",),
                "A root without the list of logs demands a timestamp.",
            ),
            (
                "without-cas",
                "without-certificateAuthorities.json",
                "TRUST_ROOT_UNAVAILABLE",
                logged,
                ("no certificate authority",),
                "A root without the list of certificate authorities.",
            ),
            ("lines", "lines.jsonl", "VERIFIED", logged, (), "Two roots in one file, one a line."),
            ("documents", "documents.json", "VERIFIED", logged, (), "Two roots in one file, indented."),
            (
                "lines-one-broken",
                "lines-one-broken.jsonl",
                "VERIFIED",
                logged,
                (),
                "Two roots in one file, of which one cannot be used.",
            ),
            (
                "lines-all-broken",
                "lines-all-broken.jsonl",
                "TRUST_ROOT_UNAVAILABLE",
                logged,
                ("(line 1)",),
                "Two roots in one file, of which none can be used.",
            ),
            (
                "lines-of-others",
                "lines-of-others.jsonl",
                "UNKNOWN_AUTHORITY",
                logged,
                (),
                "Two roots in one file, none of which knows the signer's Sigstore.",
            ),
        )
    )


def _entries() -> Iterator[Case]:
    yield Case(
        "entry-intoto",
        "A log entry of type intoto 0.0.2, of an old cosign: named as such, with what to do.",
        "SIGNATURE_INVALID",
        blobs=attested(signed(entry="intoto")),
        says=("intoto 0.0.2", "attested anew"),
        step=5,
    )
    yield Case(
        "entry-v2-index-changed",
        "Rekor v2 signs no logIndex; what is reported is the proof's.",
        "VERIFIED",
        blobs=attested(_edited(_index, log="v2", timestamp=True)),
        silent=("123456789",),
    )
    yield Case(
        "entry-v2-proof-of-another-size",
        "The proof's size and index are not those of the checkpoint's tree, though its hashes lead to its root.",
        "SIGNATURE_INVALID",
        blobs=attested(_edited(_other_size, log="v2", timestamp=True)),
        step=5,
    )
    for name, edit in _COSTLY.items():
        yield Case(
            f"unsigned-{name}",
            "A part of the bundle that no signature has been found good for is larger than any real one: it is not looked into.",
            "SIGNATURE_INVALID",
            blobs=attested(_edited(edit, log="v2", timestamp=True)),
            says=("expected at most",),
            step=5,
        )


def _edited(edit: Callable[[Any], None], **how: Any) -> bytes:
    value = json.loads(signed(**how))
    edit(value["verificationMaterial"])
    return compact(value)


def _index(material: Any) -> None:
    material["tlogEntries"][0]["logIndex"] = "123456789"


def _other_size(material: Any) -> None:
    """Entry 5 of 6 has a path as entry 9 of 10 has, of the same sides."""
    proof = material["tlogEntries"][0]["inclusionProof"]
    assert (proof["logIndex"], proof["treeSize"]) == ("5", "6")
    proof["logIndex"], proof["treeSize"] = "9", "10"


def _checkpoint(material: Any) -> None:
    held = material["tlogEntries"][0]["inclusionProof"]["checkpoint"]
    head, blank, signatures = held["envelope"].partition("\n\n")
    held["envelope"] = head + "\nx" * 5000 + blank + signatures


def _signatures(material: Any) -> None:
    held = material["tlogEntries"][0]["inclusionProof"]["checkpoint"]
    held["envelope"] += "\u2014 a AAAAAAA=\n" * 500


def _hashes(material: Any) -> None:
    material["tlogEntries"][0]["inclusionProof"]["hashes"] *= 40


def _certificates(material: Any) -> None:
    one = material.pop("certificate")
    material["x509CertificateChain"] = {"certificates": [one] * 17}


def _token(material: Any) -> None:
    (stamp,) = material["timestampVerificationData"]["rfc3161Timestamps"]
    stamp["signedTimestamp"] = b64(unb64(stamp["signedTimestamp"]) + bytes(50_000))


_COSTLY: dict[str, Callable[[Any], None]] = {
    "checkpoint-lines": _checkpoint,
    "checkpoint-signatures": _signatures,
    "proof-hashes": _hashes,
    "certificates": _certificates,
    "timestamp": _token,
}


def _keys() -> Iterator[Case]:
    for scheme in (Scheme.ECDSA_P256, Scheme.ECDSA_P384, Scheme.ECDSA_P384_SHA256):
        key = derive_key("conformance", f"key/{scheme}", scheme)
        parameters = {
            "expectedVerifierId": KEY_ID,
            "trustedVerifiers": [{"verifierId": KEY_ID, "publicKey": key.pem.decode()}],
        }
        value = json.loads(keyed_envelope(vsa(verifier_id=KEY_ID), key))
        (signature,) = value["signatures"]
        signature["sig"] = b64(raw_signature(key, unb64(signature["sig"])))
        yield Case(
            f"key-raw-{scheme}".lower(),
            "An ECDSA signature as r and s one after the other (IEEE P1363), not in DER.",
            "VERIFIED",
            parameters=parameters,
            blobs=attested(compact(value)),
        )
        raw = unb64(signature["sig"])
        signature["sig"] = b64(raw).replace("+", "-").replace("/", "_").rstrip("=")
        yield Case(
            f"key-raw-{scheme}-unpadded".lower(),
            "A raw signature as JOSE writes it: URL-safe base64 without padding.",
            "VERIFIED",
            parameters=parameters,
            blobs=attested(compact(value)),
        )
        half = len(raw) // 2
        for name, changed in (
            ("changed", raw[:-1] + bytes([raw[-1] ^ 1])),
            ("swapped", raw[half:] + raw[:half]),
            ("longer", raw + b"\0"),
            ("shorter", raw[:-1]),
            ("zero", bytes(len(raw))),
        ):
            if scheme is not Scheme.ECDSA_P256 and name != "changed":
                continue
            signature["sig"] = b64(changed)
            yield Case(
                f"key-raw-{scheme}-{name}".lower(),
                f"The same, {name}.",
                "SIGNATURE_INVALID",
                parameters=parameters,
                blobs=attested(compact(value)),
                step=5,
            )
