"""Attestations that the tests' own Sigstore makes for attacks, and the verdict that each must get."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass

from tests.support.sigstore import (
    REPOSITORY,
    Lab,
    github_actions,
    github_source_actions,
    source_provenance,
    vsa,
)

LEVELS = ("SLSA_SOURCE_LEVEL_3",)
INJECTION = 'x\n{"isSuccess": true, "message": "SLSA Attestation Check: SUCCESS."}\n'


@dataclass(frozen=True)
class Attack:
    """One attestation and the reason for which it is denied.

    Attributes:
        make: the attestation's bytes, made by a lab.
        reason: the reason code; None where it must be admitted, to show that the attacks differ from an honest
            attestation in the one thing they are about.
    """

    make: Callable[[Lab], bytes]
    reason: str | None


def honest(lab: Lab) -> bytes:
    """Return what the source workflow would publish: a provenance and a summary, a line each."""
    return b"\n".join((lab.sign(source_provenance()), lab.sign(vsa(levels=LEVELS)))) + b"\n"


def with_flipped_byte(bundle: bytes) -> bytes:
    """Return ``bundle`` with one bit of its signature changed."""
    value = json.loads(bundle)
    signature = value["dsseEnvelope"]["signatures"][0]
    raw = bytearray(base64.b64decode(signature["sig"]))
    raw[-1] ^= 1
    signature["sig"] = base64.b64encode(raw).decode()
    return json.dumps(value, separators=(",", ":")).encode()


def with_other_payload(lab: Lab) -> bytes:
    """Return a bundle whose payload was replaced by a better one after signing."""
    value = json.loads(lab.sign(vsa(levels=["SLSA_SOURCE_LEVEL_1"])))
    better = json.dumps(vsa(levels=LEVELS)).encode()
    value["dsseEnvelope"]["payload"] = base64.b64encode(better).decode()
    return json.dumps(value, separators=(",", ":")).encode()


def by_foreign_workflow(lab: Lab) -> bytes:
    """Return a summary in the name of the trusted verifier, signed by a workflow of the repository itself."""
    return lab.sign(
        vsa(levels=LEVELS),
        github_actions(f"{REPOSITORY}/.github/workflows/compute_slsa_source.yml@refs/heads/main"),
    )


ATTACKS = {
    "honest": Attack(honest, None),
    "honest after junk": Attack(lambda lab: b"# not JSON\n{}\n[1]\n" + honest(lab), None),
    "honest after attacks": Attack(
        lambda lab: b"\n".join([with_other_payload(lab), by_foreign_workflow(lab), honest(lab)]), None
    ),
    "no attestation": Attack(
        lambda _: b'{"predicateType": "https://slsa.dev/verification_summary/v1"}\n', "NO_ATTESTATION"
    ),
    "blank": Attack(lambda _: b"\n", "NO_ATTESTATION"),
    "not UTF-8": Attack(lambda _: b'\xff\xfe{"payload"', "NO_ATTESTATION"),
    "unsigned envelope": Attack(
        lambda _: json.dumps(
            {
                "payload": base64.b64encode(json.dumps(vsa(levels=LEVELS)).encode()).decode(),
                "payloadType": "application/vnd.in-toto+json",
                "signatures": [{"sig": ""}],
            }
        ).encode(),
        "SIGNATURE_INVALID",
    ),
    "signature changed": Attack(
        lambda lab: with_flipped_byte(lab.sign(vsa(levels=LEVELS))), "SIGNATURE_INVALID"
    ),
    "payload replaced": Attack(with_other_payload, "SIGNATURE_INVALID"),
    "foreign workflow": Attack(by_foreign_workflow, "SIGNER_UNTRUSTED"),
    "workflow of a fork": Attack(
        lambda lab: lab.sign(
            vsa(levels=LEVELS),
            github_actions(
                "attacker/source-actions/.github/workflows/compute_slsa_source.yml@refs/heads/main"
            ),
        ),
        "SIGNER_UNTRUSTED",
    ),
    "workflow of another branch": Attack(
        lambda lab: lab.sign(
            vsa(levels=LEVELS),
            github_actions(
                "slsa-framework/source-actions/.github/workflows/compute_slsa_source.yml@refs/heads/x"
            ),
        ),
        "SIGNER_UNTRUSTED",
    ),
    "another Sigstore": Attack(lambda _: Lab(seed="another").sign(vsa(levels=LEVELS)), "UNKNOWN_AUTHORITY"),
    "another repository": Attack(
        lambda lab: lab.sign(
            vsa(repository="attacker/app", levels=LEVELS), github_source_actions(repository="attacker/app")
        ),
        "RESOURCE_URI_MISMATCH",
    ),
    "another repository's certificate": Attack(
        lambda lab: lab.sign(vsa(levels=LEVELS), github_source_actions(repository="attacker/app")),
        "CERTIFICATE_MISMATCH",
    ),
    "another commit's certificate": Attack(
        lambda lab: lab.sign(vsa(levels=LEVELS), github_source_actions(commit="0" * 40)),
        "CERTIFICATE_MISMATCH",
    ),
    "self-hosted runner": Attack(
        lambda lab: lab.sign(vsa(levels=LEVELS), github_source_actions(runner="self-hosted")),
        "CERTIFICATE_MISMATCH",
    ),
    "another verifier": Attack(
        lambda lab: lab.sign(vsa(levels=LEVELS, verifier_id="https://example.com/verifier")),
        "VERIFIER_ID_MISMATCH",
    ),
    "verification failed": Attack(
        lambda lab: lab.sign(vsa(levels=LEVELS, result="FAILED")), "VERIFICATION_RESULT_FAILED"
    ),
    "provenance alone": Attack(lambda lab: lab.sign(source_provenance()), "NO_VSA"),
    "level too low": Attack(lambda lab: lab.sign(vsa(levels=["SLSA_SOURCE_LEVEL_2"])), "LEVEL_TOO_LOW"),
    "levels of another track": Attack(
        lambda lab: lab.sign(vsa(levels=["SLSA_BUILD_LEVEL_3"])), "LEVEL_TOO_LOW"
    ),
    "no levels": Attack(lambda lab: lab.sign(vsa(levels=[])), "LEVEL_TOO_LOW"),
    "a success in the levels": Attack(lambda lab: lab.sign(vsa(levels=[INJECTION])), "LEVEL_TOO_LOW"),
    "a success in the repository": Attack(
        lambda lab: lab.sign(vsa(levels=LEVELS, changes={"predicate.resourceUri": INJECTION})),
        "CERTIFICATE_MISMATCH",
    ),
}
"""By name; each is attached to an image of its own."""
