"""Step 5 and what counts of it: what was verified is judged, and nothing that is only claimed."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import InternalError, Reason
from slsa_verifier_plugin.model.envelope import Candidate
from slsa_verifier_plugin.model.signer import Claim, Verified
from slsa_verifier_plugin.verification import verify as verifying
from slsa_verifier_plugin.verification.binder import NoBinder
from slsa_verifier_plugin.verification.judged import ArtifactRequest, AttachedArtifact
from slsa_verifier_plugin.verification.readings import Readings
from tests.support.policies import policy
from tests.support.scene import (
    Scene,
    assert_admitted,
    assert_denied,
)
from tests.support.sigstore import (
    SIGNED_AT,
    person,
    vsa,
)
from tests.support.simulators import (
    Notary,
    reference,
)


def test_step_5_nothing_counts_without_a_verified_signature(scene: Scene) -> None:
    verdict = scene.judge(scene.stranger.sign())
    assert_denied(verdict, Reason.SIGNATURE_INVALID, 5, "another notary's")
    assert verdict.best is not None
    assert verdict.best.verified is None
    assert verdict.best.examination is None


def test_step_5_a_certificate_that_cannot_be_read(scene: Scene) -> None:
    value = json.loads(scene.notary.sign())
    value["verificationMaterial"]["certificate"]["rawBytes"] = ""
    assert_denied(scene.judge(json.dumps(value).encode()), Reason.SIGNATURE_INVALID, 5, "cannot be read")


@pytest.mark.parametrize("others", [1, 50])
def test_one_that_passes_is_enough_wherever_it_stands(scene: Scene, others: int) -> None:
    bad = [
        scene.stranger.sign(),
        scene.notary.sign(vsa(levels=["SLSA_SOURCE_LEVEL_1"])),
        scene.notary.sign(vsa(), person()),
        scene.notary.sign(vsa(result="FAILED")),
        scene.notary.sign(b"not even JSON"),
        b"junk",
    ] * others
    for place in (0, len(bad) // 2, len(bad)):
        verdict = scene.judge(*bad[:place], scene.notary.sign(), *bad[place:])
        assert_admitted(verdict)
        assert verdict.best is not None
        assert verdict.best.line == place + 1


def test_the_promising_are_verified_first_and_the_first_that_passes_ends_it(scene: Scene) -> None:
    low = [
        scene.notary.sign(vsa(levels=["SLSA_SOURCE_LEVEL_1"], changes={"predicate.n": n})) for n in range(30)
    ]
    verdict = scene.judge(*low, scene.notary.sign())
    assert_admitted(verdict)
    assert len(scene.notary.verified) == 1
    assert len(verdict.findings) == 1


def test_the_furthest_candidate_speaks(scene: Scene) -> None:
    verdict = scene.judge(
        scene.stranger.sign(),
        scene.notary.sign(vsa(verifier_id="https://other.example")),
        scene.notary.sign(vsa(levels=["SLSA_SOURCE_LEVEL_1"])),
        scene.notary.sign(vsa(result="FAILED")),
    )
    assert_denied(verdict, Reason.LEVEL_TOO_LOW, 11, "SLSA_SOURCE_LEVEL_1")
    assert {finding.reason for finding in verdict.findings} == {
        Reason.LEVEL_TOO_LOW,
        Reason.VERIFICATION_RESULT_FAILED,
        Reason.VERIFIER_ID_MISMATCH,
        Reason.SIGNATURE_INVALID,
    }


def test_levels_of_two_attestations_do_not_add_up(scene: Scene) -> None:
    both = policy(expectedVerifiedLevels=["SLSA_SOURCE_LEVEL_2", "ORG_X"])
    verdict = scene.judge(
        scene.notary.sign(vsa(levels=["SLSA_SOURCE_LEVEL_3"])),
        scene.notary.sign(vsa(levels=["ORG_X"])),
        a_policy=both,
    )
    assert_denied(verdict, Reason.LEVEL_TOO_LOW, 11)


class Swapping(Notary):
    """Verifies the signature, and returns another payload than was claimed."""

    def __init__(self, statement: Any) -> None:
        super().__init__()
        self.statement = statement

    def verify(self, candidate: Candidate) -> Verified:
        verified = super().verify(candidate)
        payload = json.dumps(self.statement).encode()
        return replace(verified, claim=replace(verified.claim, payload=payload))


def test_what_was_verified_is_judged_and_not_what_was_claimed(scene: Scene) -> None:
    artifact = scene.attach(scene.notary.sign())
    verdict = scene.verify(artifact, by=Swapping(vsa(levels=["SLSA_SOURCE_LEVEL_1"])))
    assert_denied(verdict, Reason.LEVEL_TOO_LOW, 11)


class Impersonating(Notary):
    """Claims to be signed by the trusted signer, and verifies as somebody else."""

    def verify(self, candidate: Candidate) -> Verified:
        verified = super().verify(candidate)
        return replace(
            verified, claim=replace(verified.claim, signer=replace(verified.claim.signer, identity="x"))
        )


def test_the_verified_signer_is_judged_and_not_the_claimed_one(scene: Scene) -> None:
    assert_denied(
        scene.verify(scene.attach(scene.notary.sign()), by=Impersonating()), Reason.SIGNER_UNTRUSTED, 6
    )


class Unverified(Notary):
    """Returns a claim where a verified one is due."""

    def verify(self, candidate: Candidate) -> Any:
        class Resembling:
            claim: Claim = self.claims(candidate)[0]
            claims = (claim,)
            signed_at = SIGNED_AT
            trusted_root = ""
            log_index = None

        return Resembling()


def test_what_only_resembles_a_verified_claim_is_never_admitted(scene: Scene) -> None:
    assert_denied(scene.verify(scene.attach(scene.notary.sign()), by=Unverified()), Reason.INTERNAL_ERROR, 5)


@pytest.mark.parametrize("spoilt", ["reason", "examination", "verified", "examination's reason", "summary"])
def test_a_finding_that_did_not_pass_is_not_admitted_by_mistake(scene: Scene, spoilt: str) -> None:
    """The last line of defence asks for everything once more; whatever else is broken, it does not admit."""
    request = ArtifactRequest(reference(scene.image.digest), scene.attach(scene.notary.sign()), policy())
    artifact = AttachedArtifact(request, scene.store, Readings(), Deadline(30))
    run = verifying._Verification(artifact, scene.notary, Deadline(30), SIGNED_AT)
    ((number, blob),) = artifact.read()
    (entry,) = run._entries([(number, candidate) for candidate in blob.candidates])
    finding = run._bound(run._find(entry), NoBinder())
    assert finding.examination is not None
    assert run._admit(finding).success
    spoilt_finding = {
        "reason": replace(finding, reason=Reason.TOO_OLD),
        "examination": replace(finding, examination=None),
        "verified": replace(finding, verified=None),
        "examination's reason": replace(
            finding, examination=replace(finding.examination, reason=Reason.LEVEL_TOO_LOW)
        ),
        "summary": replace(finding, examination=replace(finding.examination, summary=None)),
    }[spoilt]
    with pytest.raises(InternalError, match="about to be admitted"):
        run._admit(spoilt_finding)
