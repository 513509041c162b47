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
from slsa_verifier_plugin.verification.judged import ArtifactRequest
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
    for contents in ((packed, wide), (b'{"x":1}', packed, wide)):
        verdict = scene.verify(scene.store.attach(scene.image, *contents))
        assert_denied(verdict, Reason.NO_ATTESTATION, 4, "gzip data")


def test_step_4_what_it_resembles_is_told_and_the_first_of_several(scene: Scene) -> None:
    half, bare = b'{"verificationMaterial":{}}', b'{"_type":"https://in-toto.io/Statement/v1"}'
    for contents, says in (
        ((half,), "looks like a Sigstore bundle"),
        ((half, bare), "looks like a Sigstore bundle"),
        ((b'{"x":1}', bare, half), "a statement that nobody signed"),
    ):
        verdict = scene.verify(scene.store.attach(scene.image, *contents))
        assert_denied(verdict, Reason.NO_ATTESTATION, 4, f"(seen: {says}" if says[0] == "a" else says)


def test_step_4_beside_an_attestation_another_form_is_not_the_reason(scene: Scene) -> None:
    packed = gzip.compress(b"x", mtime=0)
    artifact = scene.store.attach(scene.image, packed, lines([scene.notary.sign(provenance_v1())]))
    assert_denied(scene.verify(artifact), Reason.NO_VSA, 6, "https://slsa.dev/provenance/v1")


def test_step_4_attestations_of_other_kinds_alone(scene: Scene) -> None:
    verdict = scene.judge(scene.notary.sign(source_provenance()), scene.notary.sign(provenance_v1()))
    assert_denied(verdict, Reason.NO_VSA, 6, "https://slsa.dev/provenance/v1", "source-provenance")
    assert outcomes(verdict)[4] is StepOutcome.PASSED
    assert scene.notary.verified == []


def test_an_image_without_a_digest_is_a_defect(scene: Scene) -> None:
    request = ArtifactRequest(replace(reference(scene.image.digest), digest=None), scene.attach(), policy())
    with pytest.raises(InternalError):
        verify(request, scene.store, scene.notary, Deadline(30))


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
