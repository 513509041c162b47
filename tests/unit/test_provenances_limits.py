"""The search for provenance at its limits: bytes, rounds, failures and time."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import ArtifactError, DeadlineError, Reason, RegistryError
from slsa_verifier_plugin.model.digest import Descriptor, Digest
from slsa_verifier_plugin.model.envelope import Candidate, read_blob
from slsa_verifier_plugin.model.signer import Claim, Verified
from slsa_verifier_plugin.verification import provenances
from slsa_verifier_plugin.verification.capacity import Capacity
from slsa_verifier_plugin.verification.judged import ArtifactRequest
from slsa_verifier_plugin.verification.provenances import (
    FIRST_BYTES,
    MAX_AWAY,
    ProvenanceSearch,
)
from slsa_verifier_plugin.verification.verify import verify
from tests.support.attached import BUNDLE, SAID, attach, judge, lookalike
from tests.support.policies import signer
from tests.support.scene import (
    BUILDER_ID,
    Clock,
    Scene,
    assert_admitted,
    assert_denied,
    provenance,
    provenance_policy,
)
from tests.support.sigstore import (
    LEVEL_1_COMMIT,
    SIGNED_AT,
    attest_build_provenance,
    provenance_v1,
    vsa,
)
from tests.support.simulators import IMAGE_TYPE, MemoryStore, Notary, as_json, lines, reference


def test_a_fault_of_the_store_is_no_verdict(scene: Scene) -> None:
    class Faulty(MemoryStore):
        def manifest(self, image: Any, descriptor: Descriptor, deadline: Any) -> bytes:
            if descriptor.artifact_type == BUNDLE:
                raise ZeroDivisionError
            return super().manifest(image, descriptor, deadline)

    scene.store = Faulty()
    scene.image = scene.store.put_image()
    attach(scene, provenance(scene))
    attach(scene, lookalike(scene))
    artifact = scene.attach(scene.notary.sign())
    with pytest.raises(ZeroDivisionError):
        scene.verify(artifact, provenance_policy())


def test_what_was_slow_to_come_is_asked_for_again(scene: Scene) -> None:
    class SlowAtFirst(MemoryStore):
        has_waited = False

        def manifest(self, image: Any, descriptor: Descriptor, deadline: Any) -> bytes:
            if descriptor.artifact_type == BUNDLE and not self.has_waited:
                self.has_waited = True
                raise DeadlineError("the part of the time that one referrer may take in the first round")
            return super().manifest(image, descriptor, deadline)

    scene.store = SlowAtFirst()
    scene.image = scene.store.put_image()
    attach(scene, provenance(scene))
    assert_admitted(judge(scene))


def test_out_of_time_is_said(scene: Scene) -> None:
    class Hanging(MemoryStore):
        def manifest(self, image: Any, descriptor: Descriptor, deadline: Any) -> bytes:
            if descriptor.artifact_type == BUNDLE:
                threading.Event().wait(deadline.remaining())
                raise DeadlineError("the time limit was reached while waiting")
            return super().manifest(image, descriptor, deadline)

    scene.store = Hanging()
    scene.image = scene.store.put_image()
    attach(scene, b"never")
    attach(scene, b"never either")
    verdict = scene.verify(scene.attach(scene.notary.sign()), provenance_policy(), seconds=0.5)
    assert_denied(verdict, Reason.DEADLINE_EXCEEDED, None)


def test_manifests_name_what_they_like(scene: Scene) -> None:
    """A referrer with thousands of blobs has the few that fit its turn asked for, and no more before the others."""
    many = [as_json(scene.store.put(b"%d" % number)) for number in range(50)]
    manifest = {
        "schemaVersion": 2,
        "mediaType": IMAGE_TYPE,
        "artifactType": BUNDLE,
        "layers": many,
        "subject": as_json(scene.image),
    }
    listed = scene.store.put_json(manifest, IMAGE_TYPE, artifact_type=BUNDLE, annotations=SAID)
    scene.store.referring.setdefault(scene.image.digest, []).append(listed)
    attach(scene, provenance(scene))
    assert_admitted(judge(scene))
    assert not {str(digest) for digest in scene.store.asked} & {item["digest"] for item in many}


def test_a_builder_of_another_commit_is_said_with_its_run(scene: Scene) -> None:
    by = attest_build_provenance(commit=LEVEL_1_COMMIT)
    statement = provenance_v1(scene.image.digest.hex, builder_id=BUILDER_ID)
    attach(scene, scene.notary.sign(statement, by))
    assert_denied(judge(scene), Reason.SOURCE_REVISION_MISMATCH, 14, "built by a run for", LEVEL_1_COMMIT)


def test_what_is_verified_is_read_in_full(scene: Scene) -> None:
    """A subject without a digest is no in-toto statement, which the quick look at claims does not mind."""
    subjects = [{"name": "app", "digest": {"sha256": scene.image.digest.hex}}, {"name": "x", "digest": {}}]
    attach(scene, provenance(scene, changes={"subject": subjects}))
    assert_denied(judge(scene), Reason.SOURCE_NOT_BOUND, 14, "1 that do not verify")


def test_a_manifest_larger_than_its_blobs_may_be_ends(scene: Scene) -> None:
    """The limit is on attestations: a manifest of more bytes is read, and what it names is found too large."""
    layers = [as_json(scene.store.put(b"%d" % number)) for number in range(40)]
    manifest = {
        "schemaVersion": 2,
        "mediaType": IMAGE_TYPE,
        "artifactType": BUNDLE,
        "layers": layers,
        "subject": as_json(scene.image),
    }
    listed = scene.store.put_json(manifest, IMAGE_TYPE, artifact_type=BUNDLE)
    assert listed.size > 4096
    scene.store.referring.setdefault(scene.image.digest, []).append(listed)
    attach(scene, b"x" * 5000)
    verdict = judge(scene, maxAttestationBytes=4096)
    assert_denied(verdict, Reason.SOURCE_NOT_BOUND, 14, "1 referrers that cannot be read")


def test_one_that_is_listed_again_and_again_is_fetched_once(scene: Scene) -> None:
    """Whoever writes the index of the fallback tag may also list the honest one with a type that it does not have."""
    one = attach(scene, b"junk")
    good = attach(scene, provenance(scene))
    referring = scene.store.referring[scene.image.digest]
    referring[:] = [replace(good, media_type="text/plain")] + [one] * 5000 + [good]
    assert_admitted(judge(scene))
    assert scene.store.asked[one.digest] <= 1


def limited(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(provenances, "MAX_REFERRERS", most)


@pytest.mark.parametrize("said", [True, False])
def test_what_says_that_it_may_be_provenance_takes_turns_with_the_rest(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, said: bool
) -> None:
    """Of too many, the only one of its kind is among the first, however many there are of another."""
    others = BUNDLE if said else "example/other"
    for number in range(60):
        attach(scene, b"%d" % number, artifact_type=others)
    attach(scene, provenance(scene), said=said)
    limited(monkeypatch, 3)
    for _ in range(3):
        assert_admitted(judge(scene))


def test_no_more_referrers_are_fetched_than_are_looked_at(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    junk = [attach(scene, b"%d" % number) for number in range(10)]
    limited(monkeypatch, 3)
    assert_denied(judge(scene), Reason.SOURCE_NOT_BOUND, 14, "of 11 referrers, of which 3 are looked at")
    # The judged artifact is among the eleven, and known already.
    assert 2 <= len({one.digest for one in junk} & set(scene.store.asked)) <= 3


def test_a_referrer_is_left_once_its_time_is_over(scene: Scene, clock: Clock) -> None:
    """Each signature takes two seconds, by this clock; whoever attaches many must not keep the honest one from its turn."""
    content = lines([lookalike(scene, number) for number in range(5)])
    source = provenances._Source(attach(scene, content))
    looking = search(scene)._look(source, [content], 1.0)
    next(looking)
    clock.now += 2
    with pytest.raises(StopIteration) as end:
        next(looking)
    assert end.value.value is False


def test_as_many_referrers_as_are_looked_at_leave_nothing_to_say(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    attach(scene, b"1")
    attach(scene, b"2")
    limited(monkeypatch, 3)  # with the judged artifact
    verdict = judge(scene)
    assert_denied(verdict, Reason.SOURCE_NOT_BOUND, 14)
    assert "passed over" not in verdict.message


def test_other_kinds_of_statements_and_other_images_provenance_are_no_failures(scene: Scene) -> None:
    digest = scene.image.digest.hex
    about_image = vsa(subjects=[{"digest": {"sha256": digest}}])
    named = provenance(scene, digest="00" * 32, name=f"app@sha256:{digest}")
    attach(scene, lines([scene.notary.sign(about_image), named]))
    verdict = judge(scene)
    assert_denied(verdict, Reason.SOURCE_NOT_BOUND, 14, "found no signed provenance")
    assert "passed over" not in verdict.message


def test_a_referrer_that_fits_its_turn_is_fetched_once(scene: Scene, clock: Clock) -> None:
    """By a clock that stands still: on a busy machine a turn of some milliseconds may be over sooner."""
    one = attach(scene, lines([lookalike(scene, number) for number in range(3)]))
    blob = json.loads(scene.store.content[one.digest])["layers"][0]["digest"]
    assert_denied(judge(scene), Reason.SOURCE_NOT_BOUND, 14, "3 that do not verify")
    asked = {str(digest): count for digest, count in scene.store.asked.items()}
    assert asked[str(one.digest)] == asked[blob] == 1


def test_an_empty_blob_is_not_fetched(scene: Scene) -> None:
    attach(scene, b"{}")
    del scene.store.content[Digest.of(b"{}")]
    assert_denied(judge(scene), Reason.SOURCE_NOT_BOUND, 14)


def test_as_much_provenance_as_max_bundles_allows_is_looked_at(scene: Scene) -> None:
    attach(scene, provenance(scene))
    assert_admitted(judge(scene, maxBundles=1))


def test_as_many_failures_as_may_be_leave_later_rounds(scene: Scene) -> None:
    for number in range(MAX_AWAY):
        one = attach(scene, b"%d" % number)
        scene.store.failures[one.digest] = RegistryError("503", transient=True)
    attach(scene, b" " * FIRST_BYTES + provenance(scene))
    assert_admitted(judge(scene))


def test_a_lookalike_that_is_verified_as_something_else_ends_nothing(scene: Scene) -> None:
    class Swapping(Notary):
        def verify(self, candidate: Candidate) -> Verified:
            verified = super().verify(candidate)
            if b"swap me" not in candidate.payload:
                return verified
            other = json.dumps(provenance_v1("00" * 32, builder_id=BUILDER_ID)).encode()
            return replace(verified, claim=replace(verified.claim, payload=other))

    swapped = provenance(scene, changes={"predicate.note": "swap me"})
    artifact = scene.attach(swapped, scene.notary.sign(), provenance(scene))
    assert_admitted(scene.verify(artifact, provenance_policy(), by=Swapping()))


def test_provenance_by_a_key_that_is_not_configured_is_passed_over(scene: Scene) -> None:
    class NoKeys(Notary):
        def claims(self, candidate: Candidate) -> list[Claim]:
            return [] if b"provenance" in candidate.payload else super().claims(candidate)

    attach(scene, provenance(scene))
    verdict = scene.verify(scene.attach(scene.notary.sign()), provenance_policy(), by=NoKeys())
    assert_denied(verdict, Reason.SOURCE_NOT_BOUND, 14, "1 by others")


def test_of_several_signers_any_one_may_be_the_trusted_builders(scene: Scene) -> None:
    """The order is the configuration's, and the first key may be one that builds something else."""

    class CoSigned(Notary):
        def verify(self, candidate: Candidate) -> Verified:
            verified = super().verify(candidate)
            if b"provenance" not in candidate.payload:
                return verified
            own = verified.claim.signer
            return replace(verified, claim=replace(verified.claim, signer=signer()), cosigners=(own,))

    attach(scene, provenance(scene))
    artifact = scene.attach(scene.notary.sign())
    assert_admitted(scene.verify(artifact, provenance_policy(), by=CoSigned()))


def test_what_the_judged_artifact_holds_is_counted_once(scene: Scene) -> None:
    """It is among the image's referrers as well."""
    artifact = scene.attach(lookalike(scene), scene.notary.sign())
    verdict = scene.verify(artifact, provenance_policy())
    assert_denied(verdict, Reason.SOURCE_NOT_BOUND, 14, "having passed over 1 that do not verify")


def search(scene: Scene, own: Sequence[Candidate] = (), **changes: Any) -> ProvenanceSearch:
    place = (scene.store, reference(scene.image.digest), own)
    return ProvenanceSearch(*place, scene.notary, provenance_policy(**changes), Deadline(60))


@pytest.mark.parametrize("more", [0, 1])
def test_what_fits_a_round_to_the_byte(scene: Scene, more: int) -> None:
    blobs = [b"x" * 100, b"y" * 100]
    one = scene.store.attach(scene.image, *blobs, artifact_type=BUNDLE)
    for size, count, most in (
        (one.size - more, 2, 1 << 20),  # the manifest
        (one.size, 2 - more, 1 << 20),  # blobs
    ):
        source = provenances._Source(one)
        found = search(scene)._contents(source, size, count, Deadline(60))
        assert (found is None) is bool(more), (size, count, most)
    source = provenances._Source(one)
    assert search(scene)._contents(source, 1 << 20, 9, Deadline(60)) == blobs
    assert (search(scene)._contents(source, 200 - more, 9, Deadline(60)) is None) is bool(more)


@pytest.mark.parametrize("more", [0, 1])
def test_what_max_attestation_bytes_allows_to_the_byte(scene: Scene, more: int) -> None:
    one = scene.store.attach(scene.image, b"x" * 2000, b"y" * more, artifact_type=BUNDLE)
    looking = search(scene, maxAttestationBytes=2000)
    if more:
        with pytest.raises(ArtifactError, match="more than 2000 bytes"):
            looking._contents(provenances._Source(one), 1 << 20, 9, Deadline(60))
    else:
        found = looking._contents(provenances._Source(one), 1 << 20, 9, Deadline(60))
        assert found == [b"x" * 2000, b""]


@pytest.mark.parametrize("more", [0, 1])
def test_lookalikes_are_kept_for_other_summaries_as_far_as_there_is_room(scene: Scene, more: int) -> None:
    content = provenance(scene)
    (candidate,) = read_blob(content, 1).candidates
    looking = search(scene, [candidate], maxAttestationBytes=len(content) - more)
    item = looking._lookalike(candidate)
    assert item is not None
    looking._keep(item, None)
    assert looking._seen == ([] if more else [item])


def test_the_rest_of_ones_own_is_looked_at_where_there_are_no_referrers(scene: Scene, clock: Clock) -> None:
    """Verifying takes a second each, by this clock: the first turn is over after one."""

    class Slow(Notary):
        def verify(self, candidate: Candidate) -> Verified:
            clock.now += b"provenance" in candidate.payload
            return super().verify(candidate)

    content = [*(lookalike(scene, number) for number in range(5)), provenance(scene)]
    artifact = scene.attach(*content, scene.notary.sign())
    scene.store.referring.clear()
    assert_admitted(scene.verify(artifact, provenance_policy(), seconds=30, by=Slow()))


def test_hundreds_of_referrers_take_no_place_for_large_content(scene: Scene) -> None:
    """Each is dropped once it was looked at; two calls on one registry are not held up by each other's junk."""
    for number in range(300):
        attach(scene, b"%d" % number + b" " * 10_000)
    attach(scene, provenance(scene))
    artifact = scene.attach(scene.notary.sign())
    capacity = Capacity()
    request = ArtifactRequest(reference(scene.image.digest), artifact, provenance_policy())
    at = SIGNED_AT + timedelta(hours=1)
    with capacity.for_call(scene.store) as first, capacity.for_call(scene.store) as second:
        for store in (first, second):
            assert_admitted(verify(request, store, scene.notary, Deadline(30), lambda: at))
        assert capacity._large._taken.total() == capacity._medium._taken.total() == 0
