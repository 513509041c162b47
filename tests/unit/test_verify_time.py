"""The deadline over simulators: where it is looked at, and what is still done while it runs out."""

from __future__ import annotations

import json

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import Reason, SignatureError
from slsa_verifier_plugin.model.digest import Descriptor
from slsa_verifier_plugin.model.envelope import Candidate
from slsa_verifier_plugin.model.signer import Claim, Verified
from slsa_verifier_plugin.registry.reference import Reference
from slsa_verifier_plugin.verification.verify import MAX_REPORTED, MAX_SOUGHT
from tests.support.scene import (
    Clock,
    Scene,
    assert_admitted,
    assert_denied,
    provenance,
    provenance_policy,
)
from tests.support.sigstore import person, vsa
from tests.support.simulators import MemoryStore, Notary


class Slow(Notary):
    """Takes a second for each signature."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock

    def verify(self, candidate: Candidate) -> Verified:
        self.clock.now += 1
        return super().verify(candidate)


def test_out_of_time_is_a_denial(scene: Scene, clock: Clock) -> None:
    forged = [scene.stranger.sign(vsa(changes={"predicate.n": n})) for n in range(20)]
    verdict = scene.verify(scene.attach(*forged, scene.notary.sign()), seconds=5, by=Slow(clock))
    assert_denied(verdict, Reason.DEADLINE_EXCEEDED, None, "the time limit of 5 s")
    assert verdict.transient
    assert len(verdict.findings) == 5


def test_the_time_is_looked_at_while_attestations_are_read(scene: Scene, clock: Clock) -> None:
    class Reading(Notary):
        def claims(self, candidate: Candidate) -> list[Claim]:
            clock.now += 1
            return super().claims(candidate)

    artifact = scene.attach(*(scene.notary.sign(vsa(changes={"predicate.n": n})) for n in range(20)))
    verdict = scene.verify(artifact, seconds=5, by=Reading())
    assert_denied(verdict, Reason.DEADLINE_EXCEEDED, None, "reading 20 attestations")


def test_of_the_hopeless_as_many_are_verified_whatever_time_that_takes(scene: Scene, clock: Clock) -> None:
    low = [
        scene.notary.sign(vsa(levels=["SLSA_SOURCE_LEVEL_1"], changes={"predicate.n": n})) for n in range(15)
    ]
    failed = [scene.notary.sign(vsa(result="FAILED")), scene.notary.sign(vsa(), person())]
    artifact = scene.attach(*failed, scene.stranger.sign(), *low)
    verdict = scene.verify(artifact, seconds=20, by=Slow(clock))
    assert_denied(verdict, Reason.LEVEL_TOO_LOW, 11)
    forged, *checked = [finding for finding in verdict.findings if finding.signature_checked]
    assert forged.reason is Reason.SIGNATURE_INVALID
    assert len(checked) == MAX_REPORTED
    (unchecked,) = [finding for finding in verdict.findings if not finding.signature_checked]
    assert (unchecked.reason, unchecked.verified, unchecked.reached) == (Reason.SIGNER_UNTRUSTED, None, 5)
    assert scene.verify(artifact, seconds=2000, by=Slow(clock)) == verdict


def test_a_registry_that_took_nearly_all_of_the_time_changes_no_report(scene: Scene, clock: Clock) -> None:
    class Slowly(MemoryStore):
        seconds = 0.0

        def blob(self, image: Reference, descriptor: Descriptor, limit: int, deadline: Deadline) -> bytes:
            clock.now += self.seconds
            return super().blob(image, descriptor, limit, deadline)

    store = scene.store = Slowly()
    scene.image = store.put_image()
    wrong = [
        scene.notary.sign(vsa(), person()),
        scene.notary.sign(vsa(result="FAILED")),
        scene.stranger.sign(),
    ]
    artifact = scene.attach(*wrong)
    quick = scene.verify(artifact, seconds=4)
    assert_denied(quick, Reason.VERIFICATION_RESULT_FAILED, 9)
    store.seconds = 3.9
    assert scene.verify(artifact, seconds=4) == quick


def test_signatures_that_do_not_verify_are_passed_over_up_to_a_count(scene: Scene, clock: Clock) -> None:
    def forged(count: int) -> list[bytes]:
        changes = ({"predicate.n": n} for n in range(count))
        return [
            scene.stranger.sign(vsa(levels=["SLSA_SOURCE_LEVEL_1"], changes=change)) for change in changes
        ]

    low = scene.notary.sign(vsa(levels=["SLSA_SOURCE_LEVEL_1"]))
    found = scene.verify(scene.attach(*forged(MAX_SOUGHT - 1), low), seconds=1000, by=Slow(clock))
    assert_denied(found, Reason.LEVEL_TOO_LOW, 11)
    assert all(finding.signature_checked for finding in found.findings)
    missed = scene.verify(scene.attach(*forged(MAX_SOUGHT), low), seconds=1000, by=Slow(clock))
    assert_denied(missed, Reason.SIGNATURE_INVALID, 5)
    assert sum(finding.signature_checked for finding in missed.findings) == MAX_SOUGHT


def test_out_of_time_before_any_of_the_hopeless_has_verified_the_reason_is_not_known(
    scene: Scene, clock: Clock
) -> None:
    forged = [
        scene.stranger.sign(vsa(levels=["SLSA_SOURCE_LEVEL_1"], changes={"predicate.n": n}))
        for n in range(20)
    ]
    low = scene.notary.sign(vsa(levels=["SLSA_SOURCE_LEVEL_1"]))
    verdict = scene.verify(scene.attach(*forged, low), seconds=5, by=Slow(clock))
    assert_denied(verdict, Reason.DEADLINE_EXCEEDED, None, "verifying attestation 6 of 21")
    assert verdict.transient


def test_one_that_cannot_be_read_and_is_not_verified_when_enough_are(scene: Scene, clock: Clock) -> None:
    class Unreadable(Slow):
        def claims(self, candidate: Candidate) -> list[Claim]:
            if candidate.certificate == b"":
                raise SignatureError("no certificate")
            return super().claims(candidate)

    low = [
        scene.notary.sign(vsa(levels=["SLSA_SOURCE_LEVEL_1"], changes={"predicate.n": n})) for n in range(40)
    ]
    bundle = json.loads(scene.notary.sign())
    bundle["verificationMaterial"] = {"certificate": {}}
    artifact = scene.attach(json.dumps(bundle).encode(), *low)
    verdict = scene.verify(artifact, seconds=20, by=Unreadable(clock))
    assert_denied(verdict, Reason.LEVEL_TOO_LOW, 11)
    unread = verdict.findings[-1]
    assert (unread.reason, unread.message) == (Reason.SIGNATURE_INVALID, "its certificate cannot be read")
    assert not unread.signature_checked


def test_among_the_hopeless_alone_time_does_not_run_out(scene: Scene, clock: Clock) -> None:
    low = [
        scene.notary.sign(vsa(levels=["SLSA_SOURCE_LEVEL_1"], changes={"predicate.n": n})) for n in range(40)
    ]
    verdict = scene.verify(scene.attach(*low), seconds=20, by=Slow(clock))
    assert_denied(verdict, Reason.LEVEL_TOO_LOW, 11)
    assert sum(finding.signature_checked for finding in verdict.findings) == MAX_REPORTED
    assert len(verdict.findings) == 40
    late = scene.verify(scene.attach(*low), seconds=5, by=Slow(clock))
    assert_denied(late, Reason.LEVEL_TOO_LOW, 11)
    assert sum(finding.signature_checked for finding in late.findings) == 5


def test_a_good_one_among_many_hopeless_is_found_in_time(scene: Scene, clock: Clock) -> None:
    low = [
        scene.notary.sign(vsa(levels=["SLSA_SOURCE_LEVEL_1"], changes={"predicate.n": n})) for n in range(500)
    ]
    assert_admitted(scene.verify(scene.attach(*low, scene.notary.sign()), seconds=2, by=Slow(clock)))


def test_the_time_is_looked_at_while_provenance_is_sought(scene: Scene, clock: Clock) -> None:
    class SlowProvenance(Notary):
        def verify(self, candidate: Candidate) -> Verified:
            clock.now += b"provenance" in candidate.payload
            return super().verify(candidate)

    many = [provenance(scene, scene.stranger, changes={"predicate.n": n}) for n in range(20)]
    verdict = scene.verify(
        scene.attach(*many, scene.notary.sign()), provenance_policy(), 5, by=SlowProvenance()
    )
    assert_denied(verdict, Reason.DEADLINE_EXCEEDED, None, "build provenance")


def test_the_time_is_looked_at_between_blobs_whatever_the_store_does(scene: Scene, clock: Clock) -> None:
    class Unhurried(MemoryStore):
        def blob(self, image: Reference, descriptor: Descriptor, limit: int, deadline: Deadline) -> bytes:
            clock.now += 1
            return self.content[descriptor.digest]

    scene.store = Unhurried()
    scene.image = scene.store.put_image()
    artifact = scene.store.attach(scene.image, *(b"blob %d" % number for number in range(20)))
    verdict = scene.verify(artifact, seconds=5)
    assert_denied(verdict, Reason.DEADLINE_EXCEEDED, None, "reading blob 6 of 20")
