"""What lies beside the provenance that binds: provenance among other referrers, junk, and two keys."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tests.conformance.case import Case, attested, lines
from tests.conformance.catalog.bindings import BUNDLE_TYPE
from tests.conformance.catalog.sources import (
    BUILDER_KEY,
    DIGEST,
    HERE,
    KEYED,
    NO_BUILDERS,
    NOT_BOUND,
    OWN,
    VERIFIED,
    case_of,
    typed,
)
from tests.conformance.model import compact
from tests.support.sigstore import (
    COMMIT,
    Lab,
    derive_key,
    provenance_v1,
    sign_envelope,
    vsa,
)


def cases() -> Iterator[Case]:
    """Yield the cases."""
    yield from _beside_the_image()
    yield from _junk()
    yield from _two_keys()


def _beside_the_image() -> Iterator[Case]:
    both = [{"digest": {"gitCommit": COMMIT}}, {"digest": {"sha256": DIGEST}}]
    lab = Lab()
    summary, provenance = lab.sign(vsa(subjects=both)), lab.sign(provenance_v1(DIGEST), OWN)
    for binding in ("annotation", "provenance"):
        yield case_of(
            f"subject-commit-and-image-{binding}",
            "A summary about a commit and the image's digest: the commit must be bound all the same.",
            NOT_BOUND,
            {"sourceBinding": binding},
            summary,
        )
    yield case_of(
        "subject-commit-and-image-bound",
        "A summary about a commit and the image's digest, and the provenance that binds them.",
        VERIFIED,
        NO_BUILDERS,
        summary,
        provenance,
    )


def _junk() -> Iterator[Case]:
    lab, stranger = Lab(), Lab("another Sigstore")
    summary, good = lab.sign(vsa()), lab.sign(provenance_v1(DIGEST), OWN)
    lookalikes = [
        stranger.sign(provenance_v1(DIGEST, changes={"predicate.n": number}), OWN) for number in range(20)
    ]

    def referrer(file: str, number: int) -> dict[str, Any]:
        return {
            "artifactType": BUNDLE_TYPE,
            "blobs": [{"file": file, "mediaType": BUNDLE_TYPE}],
            "manifest": {"annotations": {"n": f"{number:03}"}},
        }

    for name, honest in (("", True), ("-without-the-honest-one", False)):
        junk = [referrer("lookalike.json" if number % 2 else "junk.json", number) for number in range(200)]
        blobs = {"attestation.intoto.jsonl": summary, "lookalike.json": lookalikes[0], "junk.json": b"junk"}
        if honest:
            blobs["provenance.json"] = good
            junk.insert(150, referrer("provenance.json", 999))
        yield Case(
            f"junk-200-referrers{name}",
            "200 referrers that say that they are bundles; half of them claim all that the honest one says.",
            VERIFIED if honest else NOT_BOUND,
            parameters={**NO_BUILDERS, "timeout": "60s"},
            blobs=blobs,
            referrers=junk,
            step=0 if honest else 14,
            seconds=62,
        )
    envelope = json.dumps({"payload": "e30=", "payloadType": "x", "signatures": []}).encode()
    for name, content in (
        ("lines-last", b"{}\n" * 60_000 + good),
        ("lines-first", good + b"\n" + b"{}\n" * 60_000),
        ("envelopes", lines(*([envelope] * 3000), good)),
        ("lookalikes", lines(*lookalikes, good)),
    ):
        yield Case(
            f"junk-{name}",
            "Build provenance in a referrer of its own, among lines that are none.",
            VERIFIED,
            parameters=NO_BUILDERS,
            blobs={"attestation.intoto.jsonl": summary, "provenance.jsonl": content},
            referrers=[referrer("provenance.jsonl", 1)],
        )
    yield Case(
        "junk-lookalikes-alone",
        "Provenance that claims all that an honest one says, signed by somebody else.",
        NOT_BOUND,
        parameters=NO_BUILDERS,
        blobs={"attestation.intoto.jsonl": summary, "provenance.jsonl": lines(*lookalikes)},
        referrers=[referrer("provenance.jsonl", 1)],
        step=14,
    )


def _two_keys() -> Iterator[Case]:
    """One envelope that two configured keys signed, of which one may sign summaries."""
    key, stranger = derive_key("conformance", "verifier"), derive_key("conformance", "nobody")
    verifier = "https://example.com/verifier"
    parameters = {
        **KEYED,
        "expectedVerifierId": verifier,
        "trustedVerifiers": [{"verifierId": verifier, "publicKey": key.pem.decode()}],
    }
    provenance = typed("https://example.com/build/v1", {}, HERE)
    for name, reason, keys in (
        ("first", VERIFIED, (key, BUILDER_KEY)),
        ("last", VERIFIED, (BUILDER_KEY, key)),
        ("among-strangers", VERIFIED, (stranger, BUILDER_KEY, key, stranger)),
        ("absent", "SIGNER_UNTRUSTED", (BUILDER_KEY, stranger)),
    ):
        envelope = sign_envelope(vsa(verifier_id=verifier), keys[0], others=keys[1:])
        yield Case(
            f"key-of-several-{name}",
            "An envelope that several keys signed; the order of the signatures is anybody's.",
            reason,
            parameters=parameters,
            blobs=attested(lines(compact(envelope.as_json()), provenance)),
            step=0 if reason == VERIFIED else 6,
        )
