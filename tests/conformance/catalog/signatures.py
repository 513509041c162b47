"""Step 5: signatures, certificates, logs and timestamps, and the trusted roots they are held against."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal

from tests.conformance.case import BASE, Case, attested, honest, lines, signed
from tests.support.sigstore import (
    SEED,
    TAMPERINGS,
    Departures,
    Identity,
    Lab,
    Scheme,
    derive_key,
    keyed_envelope,
    vsa,
)
from tests.support.sigstore.encoding import compact
from tests.support.sigstore.lab import TransparencyLog
from tests.support.sigstore.logs import RekorV1, RekorV2

ROOTS = "@CASES@/roots"
KEY_ID = "https://example.com/verifier"


OTHERWISE = {
    "envelope-removed": "NO_ATTESTATION",
    "media-type-unknown": "NO_ATTESTATION",
    "leaf-issued-by-a-leaf": "UNKNOWN_AUTHORITY",
}
"""Tamperings that are noticed under another reason: what is no bundle any more, and an issuer that no root names."""


def cases() -> Iterator[Case]:
    """Yield the cases."""
    yield from _versions()
    yield from _tampered()
    yield from _roots()
    yield from _keys()


def _versions() -> Iterator[Case]:
    variants: dict[str, dict[str, Any]] = {
        "bundle-0.1": {"bundle_version": "0.1"},
        "bundle-0.2": {"bundle_version": "0.2"},
        "bundle-0.3-old-name": {"bundle_version": "0.3-old"},
        "with-timestamp": {"timestamp": True},
        "rekor-v2": {"log": "v2", "timestamp": True},
        "rekor-v2-bundle-0.2": {"log": "v2", "timestamp": True, "bundle_version": "0.2"},
    }
    for name, how in variants.items():
        yield Case(
            f"signature-{name}",
            "A properly made bundle of this kind.",
            "VERIFIED",
            blobs=attested(signed(**how)),
        )
    yield from _first_entries()
    without: dict[str, tuple[dict[str, Any], str]] = {
        "no-log": (
            {"log": None, "timestamp": True},
            "A timestamp in place of a log entry, under a root that has logs.",
        ),
        "rekor-v2-no-timestamp": ({"log": "v2"}, "Rekor v2 gives no time, and there is no timestamp."),
        "no-sct": ({"sct": False}, "The certificate was not logged."),
    }
    for name, (how, why) in without.items():
        yield Case(f"signature-{name}", why, "SIGNATURE_INVALID", blobs=attested(signed(**how)), step=5)
    for name, at in (("snake-case", "dsse_envelope"), ("both-names", "")):
        value = json.loads(signed())
        other = json.loads(signed(vsa(levels=("SLSA_SOURCE_LEVEL_1",))))["dsseEnvelope"]
        if at:
            value[at] = value.pop("dsseEnvelope")
        else:
            value["dsse_envelope"] = other
        yield Case(
            f"signature-envelope-{name}",
            "The envelope under the name that sigstore-python would also read: two readers, two payloads.",
            "NO_ATTESTATION" if at else "SIGNATURE_INVALID",
            blobs=attested(json.dumps(value).encode()),
        )


def _first_entries() -> Iterator[Case]:
    """The first entry of a log: index 0 and a proof without hashes, which protobuf's JSON mapping leaves out."""
    logs: dict[Literal["v1", "v2"], TransparencyLog] = {
        "v1": RekorV1(derive_key(SEED, "rekor/v1"), offset=0, earlier=0),
        "v2": RekorV2(derive_key(SEED, "rekor/v2", Scheme.ED25519), earlier=0),
    }
    for version, log in logs.items():
        whole = signed(log=version, timestamp=version == "v2", departures=Departures(log=log))
        yield Case(
            f"signature-first-entry-{version}",
            "The first entry of a log, with its zeros.",
            "VERIFIED",
            blobs=attested(whole),
        )
        yield Case(
            f"signature-first-entry-{version}-left-out",
            "The first entry of a log, whose zeros and empty list are left out.",
            "VERIFIED",
            blobs=attested(_without_zeros(whole)),
        )
        yield Case(
            f"signature-later-entry-{version}-left-out",
            "The same is left out of a later entry: what is left out is zero, and the proof leads nowhere.",
            "SIGNATURE_INVALID",
            blobs=attested(_without_zeros(signed(log=version, timestamp=version == "v2"))),
            says=("inclusion proof",),
            step=5,
        )


def _without_zeros(bundle: bytes) -> bytes:
    value = json.loads(bundle)
    entry = value["verificationMaterial"]["tlogEntries"][0]
    del entry["logIndex"], entry["inclusionProof"]["logIndex"], entry["inclusionProof"]["hashes"]
    return compact(value)


def _tampered() -> Iterator[Case]:
    for name, tampering in sorted(TAMPERINGS.items()):
        bundle = tampering(Lab(), vsa())
        unknown = "UNKNOWN_LOG" if "log" in name else "UNKNOWN_AUTHORITY"
        reason = unknown if tampering.unknown_party else OTHERWISE.get(name, "SIGNATURE_INVALID")
        yield Case(
            f"tampered-{name}",
            f"A bundle that is properly made but for one thing, which the check of the {tampering.stage} must notice: {name}.",
            reason,
            blobs=attested(bundle),
            says=("refresh the trusted root",) if tampering.unknown_party else (),
            step=4 if reason == "NO_ATTESTATION" else 5,
        )


def _roots() -> Iterator[Case]:
    bundle = attested(signed())
    stamped = attested(signed(log=None, timestamp=True, sct=False))
    yield Case(
        "root-timestamps-only",
        "A root like GitHub's own Sigstore, with timestamp authorities and no log: a timestamp suffices.",
        "VERIFIED",
        parameters={"trustedRoot": {"path": f"{ROOTS}/timestamps-only.json"}},
        blobs=stamped,
    )
    yield Case(
        "root-timestamps-only-unstamped",
        "The same root, and a bundle without a timestamp.",
        "SIGNATURE_INVALID",
        parameters={"trustedRoot": {"path": f"{ROOTS}/timestamps-only.json"}},
        blobs=bundle,
        step=5,
    )
    for name, reason, why in (
        ("v2-only", "UNKNOWN_LOG", "A root that does not know the bundle's log."),
        ("other-instance", "UNKNOWN_AUTHORITY", "The root of another Sigstore."),
        ("authority-expired", "SIGNATURE_INVALID", "The CA was out of service when this was signed."),
        ("v1-expired", "SIGNATURE_INVALID", "The log was out of service when this was signed."),
        ("ct-log-expired", "SIGNATURE_INVALID", "The CT log was out of service when this was signed."),
        ("no-ct-log", "UNKNOWN_LOG", "A root without a CT log cannot verify an SCT."),
        ("not-yet-valid", "TRUST_ROOT_UNAVAILABLE", "A root whose parts are all still to come."),
        ("no-authority", "TRUST_ROOT_UNAVAILABLE", "A root without a certificate authority."),
        ("missing", "TRUST_ROOT_UNAVAILABLE", "A root file that is not there."),
        ("garbage", "TRUST_ROOT_UNAVAILABLE", "A root file that is no JSON."),
    ):
        yield Case(
            f"root-{name}",
            why,
            reason,
            parameters={"trustedRoot": {"path": f"{ROOTS}/{name}.json"}},
            blobs=bundle,
        )
    yield Case(
        "root-list",
        "Two roots: the second knows the signer's Sigstore.",
        "VERIFIED",
        parameters={"trustedRoot": [{"path": f"{ROOTS}/other-instance.json"}, BASE["trustedRoot"]]},
        blobs=bundle,
    )
    yield Case(
        "root-list-one-missing",
        "Two roots, one of them missing: the other serves on.",
        "VERIFIED",
        parameters={"trustedRoot": [{"path": f"{ROOTS}/missing.json"}, BASE["trustedRoot"]]},
        blobs=bundle,
    )
    yield Case(
        "root-public-good",
        "The public root does not know the tests' Sigstore.",
        "UNKNOWN_AUTHORITY",
        parameters={"trustedRoot": None},
        blobs=bundle,
        says=("public-good", "days old"),
        step=5,
    )
    yield Case(
        "root-tuf-unfetched",
        "A TUF repository that has not been fetched yet: a verification never waits for it.",
        "TRUST_ROOT_UNAVAILABLE",
        parameters={"trustedRoot": {"tufUrl": "http://127.0.0.1:9/tuf", "rootPath": f"{ROOTS}/v2-only.json"}},
        blobs=bundle,
    )


def _keys() -> Iterator[Case]:
    lab = Lab()
    statement = vsa(verifier_id=KEY_ID)
    for scheme in Scheme:
        key = derive_key("conformance", f"key/{scheme}", scheme)
        parameters = keyed(key.pem.decode())
        yield Case(
            f"key-envelope-{scheme}".lower(),
            "A bare DSSE envelope, signed with a configured key.",
            "VERIFIED",
            parameters=parameters,
            blobs=attested(keyed_envelope(statement, key, key_id="a hint")),
        )
        yield Case(
            f"key-bundle-{scheme}".lower(),
            "A bundle that names a public key, signed with a configured one.",
            "VERIFIED",
            parameters=parameters,
            blobs=attested(lab.sign_with_key(statement, key)),
        )
    good, bad = derive_key("conformance", "key/good"), derive_key("conformance", "key/bad")
    parameters = keyed(good.pem.decode())
    wrong = {
        "other": (keyed_envelope(statement, bad), "Signed with a key that is not configured."),
        "other-same-hint": (
            keyed_envelope(statement, bad, key_id=good.key_id.hex()),
            "Another key under the configured key's id.",
        ),
        "payload-changed": (
            keyed_envelope(statement, good).replace(b'"payload":"ey', b'"payload":"fy', 1),
            "The payload was changed after signing.",
        ),
        "payload-type-changed": (
            keyed_envelope(statement, good).replace(b"vnd.in-toto", b"vnd.in-tofu", 1),
            "The payload type was changed after signing.",
        ),
    }
    for name, (content, why) in wrong.items():
        yield Case(
            f"key-{name}", why, "SIGNATURE_INVALID", parameters=parameters, blobs=attested(content), step=5
        )
    yield Case(
        "key-unconfigured",
        "A key's signature where no key is configured.",
        "SIGNATURE_INVALID",
        blobs=attested(keyed_envelope(statement, good)),
        step=5,
    )
    carried = json.loads(keyed_envelope(statement, bad))
    carried["publicKey"] = bad.pem.decode()
    yield Case(
        "key-carried-along",
        "The artifact carries its own key: it is never used.",
        "SIGNATURE_INVALID",
        parameters=parameters,
        blobs=attested(json.dumps(carried).encode()),
        step=5,
    )
    disguised = Identity(f"key:{good.key_id.hex()}")
    yield Case(
        "key-name-in-certificate",
        "A certificate of the trusted CA that bears a configured key's name is not that key.",
        "SIGNATURE_INVALID",
        parameters=parameters,
        blobs=attested(signed(statement, disguised)),
        step=5,
    )
    yield Case(
        "key-for-other-verifier",
        "A configured key, but one that is trusted for another verifier.id.",
        "SIGNER_UNTRUSTED",
        parameters={
            "expectedVerifierId": [KEY_ID, "https://example.com/other"],
            "trustedVerifiers": [
                {"verifierId": KEY_ID, "publicKey": good.pem.decode()},
                {"verifierId": "https://example.com/other", "publicKey": bad.pem.decode()},
            ],
        },
        blobs=attested(keyed_envelope(statement, bad)),
        step=6,
    )
    yield Case(
        "key-missing-file",
        "A configured key whose file is not there.",
        "TRUST_ROOT_UNAVAILABLE",
        parameters=keyed("/nonexistent/key.pem"),
        blobs=attested(keyed_envelope(statement, good)),
    )
    yield Case(
        "key-beside-certificate",
        "Signed bundles and a key's envelope in one artifact.",
        "VERIFIED",
        parameters=parameters,
        blobs=attested(lines(honest().splitlines()[0], keyed_envelope(statement, good))),
    )


def keyed(pem: str, verifier_id: str = KEY_ID) -> dict[str, Any]:
    """Return the parameters that trust the key ``pem`` for ``verifier_id``."""
    return {
        "expectedVerifierId": verifier_id,
        "trustedVerifiers": [{"verifierId": verifier_id, "publicKey": pem}],
    }
