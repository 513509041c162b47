"""The use case over simulators: a success needs every step, and whatever else happens is a denial that says why."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import InternalError, Reason, RegistryError
from slsa_verifier_plugin.model.digest import Descriptor, Digest
from slsa_verifier_plugin.model.envelope import Candidate
from slsa_verifier_plugin.model.signer import Claim, Signer, Verified
from slsa_verifier_plugin.policy.binding import NOT_BOUND
from slsa_verifier_plugin.policy.steps import StepOutcome
from slsa_verifier_plugin.policy.trusted import EARLIER_VERIFIER_ID
from slsa_verifier_plugin.verification import verify as verifying
from slsa_verifier_plugin.verification.binder import NoBinder
from slsa_verifier_plugin.verification.judged import ArtifactRequest, AttachedArtifact
from slsa_verifier_plugin.verification.readings import Readings
from slsa_verifier_plugin.verification.verify import verify
from tests.support.policies import RESOURCE, policy
from tests.support.scene import (
    Scene,
    assert_admitted,
    assert_denied,
    outcomes,
)
from tests.support.sigstore import (
    COMMIT,
    LEVEL_1_COMMIT,
    REMOVED,
    SIGNED_AT,
    github_source_actions,
    person,
    provenance_v1,
    source_provenance,
    vsa,
)
from tests.support.simulators import (
    IMAGE_TYPE,
    INDEX_TYPE,
    ROOT,
    MemoryStore,
    Notary,
    as_json,
    lines,
    reference,
)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_an_honest_attestation_is_admitted_and_everything_is_said(scene: Scene) -> None:
    artifact = scene.attach(scene.notary.sign(source_provenance()), scene.notary.sign())
    verdict = scene.verify(artifact)
    assert_admitted(verdict)
    assert verdict.subject == str(reference(scene.image.digest))
    assert verdict.artifact == str(artifact.digest)
    assert (verdict.others, len(verdict.findings), verdict.binding, verdict.transient) == (
        1,
        1,
        "none",
        False,
    )
    assert verdict.roots == (ROOT,)
    assert verdict.best is verdict.findings[0]
    assert verdict.best.verified is not None
    for text in ("SLSA_SOURCE_LEVEL_3", RESOURCE, COMMIT, github_source_actions().san, NOT_BOUND):
        assert text in verdict.message
    assert outcomes(verdict)[14] is StepOutcome.NOT_CHECKED


# Step 2


def test_step_2_bytes_that_are_not_the_descriptors(scene: Scene) -> None:
    """The store promises to check; what it gives is checked once more."""
    artifact = scene.attach(scene.notary.sign())
    content = scene.store.content[artifact.digest]

    class Lying(MemoryStore):
        def manifest(self, image: Any, descriptor: Descriptor, deadline: Deadline) -> bytes:
            return content

    for told in (
        replace(artifact, size=artifact.size + 1),
        replace(artifact, digest=Digest.of(content + b" ")),
        replace(artifact, digest=Digest.of(b"", "sha512")),
    ):
        lying = Lying()
        lying.content = scene.store.content
        request = ArtifactRequest(reference(scene.image.digest), told, policy())
        verdict = verify(request, lying, scene.notary, Deadline(30))
        assert_denied(verdict, Reason.ARTIFACT_INVALID, 2, "is not the")


@pytest.mark.parametrize(
    "media_type", [INDEX_TYPE, "application/vnd.docker.distribution.manifest.list.v2+json"]
)
def test_step_2_an_index_is_no_attestation(scene: Scene, media_type: str) -> None:
    index = {"schemaVersion": 2, "mediaType": media_type, "manifests": [], "subject": as_json(scene.image)}
    verdict = scene.verify(scene.store.put_json(index, media_type))
    assert_denied(verdict, Reason.ARTIFACT_INVALID, 2, "is an index")


def test_step_2_what_hangs_elsewhere_is_refused(scene: Scene) -> None:
    other = scene.store.put_image(note="another")
    blob = lines([scene.notary.sign()])
    assert_denied(
        scene.verify(scene.store.attach(other, blob)),
        Reason.SUBJECT_MISMATCH,
        2,
        str(other.digest),
        str(scene.image.digest),
    )
    assert_denied(scene.verify(scene.store.attach(None, blob)), Reason.SUBJECT_MISMATCH, 2, "no image")
    sha512 = replace(scene.image, digest=Digest.of(b"x", "sha512"))
    assert_denied(scene.verify(scene.store.attach(sha512, blob)), Reason.SUBJECT_MISMATCH, 2)
    assert scene.notary.verified == []


def test_step_2_a_manifest_that_is_none(scene: Scene) -> None:
    verdict = scene.verify(scene.store.put(b"{}", IMAGE_TYPE))
    assert_denied(verdict, Reason.ARTIFACT_INVALID, 2, "schemaVersion")


@pytest.mark.parametrize("transient", [True, False])
def test_a_registry_that_fails_is_a_denial_that_says_so(scene: Scene, transient: bool) -> None:
    artifact = scene.attach(scene.notary.sign())
    scene.store.failures[artifact.digest] = RegistryError(
        "the registry is away", reason=Reason.REGISTRY_UNREACHABLE, transient=transient
    )
    verdict = scene.verify(artifact)
    assert_denied(verdict, Reason.REGISTRY_UNREACHABLE, 2, "the registry is away")
    assert verdict.transient is transient


# Steps 3 and 4


def test_step_3_a_blob_that_is_missing(scene: Scene) -> None:
    blob = lines([scene.notary.sign()])
    artifact = scene.store.attach(scene.image, blob)
    del scene.store.content[Digest.of(blob)]
    assert_denied(scene.verify(artifact), Reason.REGISTRY_NOT_FOUND, 3)


def test_step_3_blobs_together_are_bounded_before_they_are_read(scene: Scene) -> None:
    padding, good = b"x" * 1000, lines([scene.notary.sign()])
    artifact = scene.store.attach(scene.image, padding, good)
    both = len(padding) + len(good)
    assert_admitted(scene.verify(artifact, policy(maxAttestationBytes=both)))
    scene.store.asked.clear()
    verdict = scene.verify(artifact, policy(maxAttestationBytes=both - 1))
    assert_denied(verdict, Reason.LIMIT_EXCEEDED, 3, "maxAttestationBytes")
    assert scene.store.asked[Digest.of(good)] == 0


def test_step_3_bundles_of_all_blobs_together_are_bounded(scene: Scene) -> None:
    signed = scene.notary.sign()
    pretty = json.dumps(json.loads(signed), indent=1).encode()
    artifact = scene.store.attach(scene.image, signed, pretty, lines([signed, signed]))
    assert_admitted(scene.verify(artifact, policy(maxBundles=4)))
    for most in (1, 2, 3):
        assert_denied(scene.verify(artifact, policy(maxBundles=most)), Reason.LIMIT_EXCEEDED, 3, "maxBundles")


def test_step_3_every_blob_is_read_and_empty_ones_are_passed_over(scene: Scene) -> None:
    others = [b"other %d" % number for number in range(20)]
    artifact = scene.store.attach(scene.image, b"{}", *others, lines([scene.notary.sign()]))
    del scene.store.content[Digest.of(b"{}")]
    verdict = scene.verify(artifact)
    assert_admitted(verdict)
    assert verdict.others == 20
    assert verdict.best is not None
    assert (verdict.best.blob, verdict.best.line) == (22, 1)


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", "found nothing"), (b"\n\n", "found nothing"), (b"a\nb\n", "found 2 lines of other kinds")],
)
def test_step_4_nothing_to_look_at(scene: Scene, content: bytes, says: str) -> None:
    verdict = scene.verify(scene.store.attach(scene.image, content))
    assert_denied(verdict, Reason.NO_ATTESTATION, 4, says)


def test_step_4_another_form_is_named_and_the_first_of_several(scene: Scene) -> None:
    packed, wide = gzip.compress(b"x", mtime=0), "x".encode("utf-16")
    assert_denied(
        scene.verify(scene.store.attach(scene.image, packed)), Reason.NO_ATTESTATION, 4, "gzip data"
    )
    verdict = scene.verify(scene.store.attach(scene.image, packed, wide))
    assert_denied(verdict, Reason.NO_ATTESTATION, 4, "gzip data")


def test_step_4_beside_an_attestation_another_form_is_not_the_reason(scene: Scene) -> None:
    packed = gzip.compress(b"x", mtime=0)
    artifact = scene.store.attach(scene.image, packed, lines([scene.notary.sign(provenance_v1())]))
    assert_denied(scene.verify(artifact), Reason.NO_VSA, 6, "https://slsa.dev/provenance/v1")


def test_step_4_attestations_of_other_kinds_alone(scene: Scene) -> None:
    verdict = scene.judge(scene.notary.sign(source_provenance()), scene.notary.sign(provenance_v1()))
    assert_denied(verdict, Reason.NO_VSA, 6, "https://slsa.dev/provenance/v1", "source-provenance")
    assert outcomes(verdict)[4] is StepOutcome.PASSED
    assert scene.notary.verified == []


# Step 5


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
    run = verifying._Verification(artifact, scene.notary, Deadline(30), SIGNED_AT, Readings())
    run._contents = artifact.read()
    (entry,) = run._entries()
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


def test_an_image_without_a_digest_is_a_defect(scene: Scene) -> None:
    request = ArtifactRequest(replace(reference(scene.image.digest), digest=None), scene.attach(), policy())
    with pytest.raises(InternalError):
        verify(request, scene.store, scene.notary, Deadline(30))


# Steps 6 to 13 are tests/unit/test_policy_checks.py's; here is only that they are asked, and with what.


@pytest.mark.parametrize(
    ("statement", "changes", "reason", "step"),
    [
        (vsa(verifier_id="https://x"), {}, Reason.VERIFIER_ID_MISMATCH, 6),
        (vsa(subjects=[{"digest": {"sha256": "00" * 32}}]), {}, Reason.SUBJECT_MISMATCH, 7),
        (vsa(LEVEL_1_COMMIT), {}, Reason.CERTIFICATE_MISMATCH, 8),
        (vsa(result="FAILED"), {}, Reason.VERIFICATION_RESULT_FAILED, 9),
        (vsa(), {"expectedResourceUri": "git+https://github.com/x/y"}, Reason.RESOURCE_URI_MISMATCH, 10),
        (vsa(levels=[]), {}, Reason.LEVEL_TOO_LOW, 11),
        (vsa(), {"expectedSourceRefs": ["refs/heads/dev"]}, Reason.SOURCE_REF_MISMATCH, 12),
        (vsa(), {"maxAge": "59m"}, Reason.TOO_OLD, 13),
    ],
)
def test_every_step_of_the_policy_is_asked(
    scene: Scene, statement: Any, changes: dict[str, Any], reason: Reason, step: int
) -> None:
    verdict = scene.judge(scene.notary.sign(statement), a_policy=policy(**changes))
    assert_denied(verdict, reason, step)
    assert verdict.best is not None
    assert verdict.best.verified is not None


def test_the_age_is_that_of_the_verified_time(scene: Scene) -> None:
    assert_admitted(scene.judge(scene.notary.sign(), a_policy=policy(maxAge="1h")))
    late = scene.notary.sign(at=SIGNED_AT + timedelta(hours=1, minutes=6))
    assert_denied(scene.judge(late, a_policy=policy(maxAge="1h")), Reason.TIME_INVALID, 13)
    unstamped = scene.notary.sign(vsa(changes={"predicate.timeVerified": REMOVED}), at=None)
    assert_denied(scene.judge(unstamped, a_policy=policy(maxAge="1h")), Reason.TIME_INVALID, 13)


@pytest.mark.parametrize("trusted", ["first", "second"])
def test_one_of_several_signers_that_is_trusted_is_enough_whichever_it_is(scene: Scene, trusted: str) -> None:
    """Two configured keys signed: the policy tries both, and names the one that counts."""
    keys = {"/first.pem": "key:" + "aa" * 32, "/second.pem": "key:" + "bb" * 32}

    class TwoKeys(Notary):
        def verify(self, candidate: Candidate) -> Verified:
            first, second = (Signer(identity, "") for identity in keys.values())
            verified = super().verify(candidate)
            return replace(verified, claim=replace(verified.claim, signer=first), cosigners=(second,))

        def claims(self, candidate: Candidate) -> list[Claim]:
            return [
                Claim(candidate.payload_type, candidate.payload, Signer(one, "")) for one in keys.values()
            ]

    path = f"/{trusted}.pem"
    wanted = policy(trustedVerifiers=[{"verifierId": EARLIER_VERIFIER_ID, "publicKey": path}])
    verdict = scene.verify(scene.attach(scene.notary.sign()), wanted, by=TwoKeys(keys=keys))
    assert_admitted(verdict)
    assert keys[path] in verdict.message
    neither = policy(trustedVerifiers=[{"verifierId": EARLIER_VERIFIER_ID, "publicKey": "/third.pem"}])
    by = TwoKeys(keys={**keys, "/third.pem": "key:" + "cc" * 32})
    assert_denied(scene.verify(scene.attach(scene.notary.sign()), neither, by=by), Reason.SIGNER_UNTRUSTED, 6)
