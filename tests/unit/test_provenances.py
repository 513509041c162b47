"""The search for the provenance that binds an image: junk hides nothing, and costs no more than its share."""

from __future__ import annotations

import base64
import json
import threading
from typing import Any

import pytest

from slsa_verifier_plugin.errors import Reason, RegistryError
from slsa_verifier_plugin.model.digest import Descriptor
from slsa_verifier_plugin.model.envelope import Candidate
from slsa_verifier_plugin.model.signer import Verified
from slsa_verifier_plugin.verification import provenances
from slsa_verifier_plugin.verification.provenances import (
    FETCHERS,
    MAX_AWAY,
    MAX_REFERRERS,
    MAX_REPORTED,
)
from tests.support.attached import attach, judge, lookalike
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
    github_source_actions,
    person,
    provenance_v1,
    vsa,
)
from tests.support.simulators import IMAGE_TYPE, MemoryStore, Notary, lines


@pytest.mark.parametrize("said", [True, False])
@pytest.mark.parametrize("place", [0, 100, 200])
@pytest.mark.parametrize("junk_says_so", [True, False])
def test_the_honest_one_is_found_among_200(scene: Scene, said: bool, place: int, junk_says_so: bool) -> None:
    for number in range(201):
        if number == place:
            attach(scene, provenance(scene), said=said)
        else:
            attach(scene, b"%d" % number if number % 2 else lookalike(scene, number), said=junk_says_so)
    assert_admitted(judge(scene))


@pytest.mark.parametrize("before", [0, 20, 59_999])
def test_one_line_of_60_000_is_found(scene: Scene, before: int) -> None:
    junk = [b'{"payload":"%d"}' % number for number in range(59_999)]
    attach(scene, lines([*junk[:before], provenance(scene), *junk[before:]]), said=True)
    assert_admitted(judge(scene))


@pytest.mark.parametrize("own", [True, False])
def test_twenty_lookalikes_before_it_do_not_hide_it(scene: Scene, own: bool) -> None:
    content = [*(lookalike(scene, number) for number in range(20)), provenance(scene)]
    if own:
        verdict = scene.judge(*content, scene.notary.sign(), a_policy=provenance_policy())
    else:
        attach(scene, lines(content))
        verdict = judge(scene)
    assert_admitted(verdict)


def test_twenty_referrers_of_60_000_lookalike_lines_do_not_hide_it(scene: Scene) -> None:
    """What looks like provenance to the last and is none is read no further than the others' turn."""
    payload = base64.b64encode(b'{"predicateType":"x","d":"%b"}' % scene.image.digest.hex.encode()).decode()
    line = json.dumps({"payload": payload, "payloadType": "application/vnd.in-toto+json", "signatures": []})
    for number in range(20):
        attach(scene, b"%d\n" % number + f"{line}\n".encode() * 60_000, said=True)
    attach(scene, provenance(scene))
    assert_admitted(scene.verify(scene.attach(scene.notary.sign()), provenance_policy(), seconds=10))


def test_each_referrer_has_a_first_turn_before_any_has_a_second(scene: Scene, clock: Clock) -> None:
    """Verifying takes a second each, by this clock: only one candidate of each referrer fits a turn."""

    class Slow(Notary):
        def verify(self, candidate: Candidate) -> Verified:
            clock.now += b"provenance" in candidate.payload
            return super().verify(candidate)

    for number in range(10):
        attach(scene, lines([lookalike(scene, 100 * number + n) for n in range(100)]), said=True)
    attach(scene, provenance(scene))
    slow = Slow()
    assert_admitted(scene.verify(scene.attach(scene.notary.sign()), provenance_policy(), seconds=30, by=slow))
    assert len(slow.verified) <= 12  # the summary, and one of each referrer


def test_large_referrers_are_looked_at_after_small_ones(scene: Scene) -> None:
    large = [attach(scene, b"%d" % number + b" " * (1 << 20), said=True) for number in range(5)]
    attach(scene, provenance(scene))
    blobs = [json.loads(scene.store.content[one.digest])["layers"][0]["digest"] for one in large]
    assert_admitted(judge(scene))
    assert not {str(digest) for digest in scene.store.asked} & set(blobs)
    scene.store.referring[scene.image.digest].clear()
    attach(scene, b" " * (1 << 20) + provenance(scene))
    assert_admitted(judge(scene))


def test_a_large_bundle_in_a_pretty_document_is_found(scene: Scene) -> None:
    value = json.loads(provenance(scene))
    value["note"] = "x" * 300_000
    attach(scene, json.dumps(value, indent=1).encode())
    assert_admitted(judge(scene))


@pytest.mark.parametrize("before", [b"no JSON\n", b'{"other": [\n1]}\n'])
def test_what_is_no_bundle_before_a_pretty_document_hides_nothing(scene: Scene, before: bytes) -> None:
    attach(scene, before + json.dumps(json.loads(provenance(scene)), indent=1).encode())
    assert_admitted(judge(scene))


def test_a_registry_that_is_slow_with_one_referrer_hides_no_other(scene: Scene) -> None:
    class Hanging(MemoryStore):
        hangs: Descriptor

        def manifest(self, image: Any, descriptor: Descriptor, deadline: Any) -> bytes:
            if descriptor.digest == self.hangs.digest:
                threading.Event().wait(deadline.remaining())
                deadline.check("waiting for a registry")
            return super().manifest(image, descriptor, deadline)

    scene.store = Hanging()
    scene.image = scene.store.put_image()
    scene.store.hangs = attach(scene, b"never", said=True)
    attach(scene, provenance(scene))
    assert_admitted(judge(scene, timeout="8s"))


def test_a_registry_that_fails_again_and_again_is_asked_no_more(scene: Scene) -> None:
    away = [attach(scene, b"%d" % number) for number in range(100)]
    scene.store.failures |= {one.digest: RegistryError("503", transient=True) for one in away}
    assert_denied(judge(scene), Reason.REGISTRY_ERROR, 14, "503")
    assert sum(scene.store.asked[one.digest] for one in away) <= MAX_AWAY + 2 + 2 * FETCHERS


def test_others_provenance_is_not_verified_but_counted(scene: Scene) -> None:
    """By the hundred, it would take all the time there is."""
    statement = provenance_v1(scene.image.digest.hex, builder_id=BUILDER_ID)
    foreign = [scene.notary.sign(statement, person()) for _ in range(3)]
    foreign.append(provenance(scene, builder_id="https://other.example"))
    attach(scene, lines(foreign))
    artifact = scene.attach(scene.notary.sign())
    verdict = scene.verify(artifact, provenance_policy())
    assert_denied(verdict, Reason.SOURCE_NOT_BOUND, 14, "passed over 4 by others", person().san)
    assert len(scene.notary.verified) == 1  # the summary
    attach(scene, provenance(scene))
    assert_admitted(scene.verify(artifact, provenance_policy()))


def test_signed_provenance_of_other_commits_costs_no_verification_where_the_honest_one_is_there(
    scene: Scene,
) -> None:
    """Anybody's workflow can sign provenance about this image; by its claims it is of another commit or repository."""
    for number in range(100):
        commit = f"{number:040x}"
        attach(scene, provenance(scene, commit=commit), said=True)
    attach(scene, provenance(scene))
    assert_admitted(judge(scene))
    assert len(scene.notary.verified) == 2


def test_of_what_binds_nothing_a_few_are_verified_to_say_so(scene: Scene) -> None:
    for number in range(50):
        attach(scene, provenance(scene, commit=f"{number:040x}"))
    assert_denied(judge(scene), Reason.SOURCE_REVISION_MISMATCH, 14, "was built by a run for")
    assert len(scene.notary.verified) <= 1 + MAX_REPORTED


def test_says_what_was_not_read(scene: Scene) -> None:
    attach(scene, lines([lookalike(scene, 1), lookalike(scene, 2)]))
    attach(scene, b"x" * 20_000)
    for number in range(MAX_REFERRERS + 1):
        one = scene.store.put(b"%d" % number, IMAGE_TYPE, artifact_type="example/other")
        scene.store.referring[scene.image.digest].append(one)
    verdict = judge(scene, maxBundles=1, maxAttestationBytes=16_384)
    said = (
        f"4 of {MAX_REFERRERS + 4} referrers, of which {MAX_REFERRERS} are looked at",
        "referrers that cannot be read",
        "1 referrers with more provenance than maxBundles allows",
        "1 that do not verify",
    )
    assert_denied(verdict, Reason.SOURCE_NOT_BOUND, 14, *said)


def test_of_too_many_referrers_chance_picks(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenances, "MAX_REFERRERS", 10)
    for number in range(12):
        attach(scene, b"%d" % number, said=True)
    attach(scene, provenance(scene), said=True)
    artifact = scene.attach(scene.notary.sign())
    # Missed a hundred times in a row with a probability of (4/14)^100.
    assert any(scene.verify(artifact, provenance_policy()).success for _ in range(100))


def test_referrers_are_fetched_once_for_all_summaries(scene: Scene) -> None:
    junk = [attach(scene, b"junk %d" % n) for n in range(70)]
    wrong = [
        scene.notary.sign(vsa(f"{n:040x}"), github_source_actions(commit=f"{n:040x}")) for n in range(20)
    ]
    artifact = scene.attach(*wrong)
    scene.store.asked.clear()
    assert_denied(scene.verify(artifact, provenance_policy()), Reason.SOURCE_NOT_BOUND, 14)
    assert scene.store.asked["referrers"] == 1
    assert {scene.store.asked[one.digest] for one in junk} == {1}


@pytest.mark.parametrize("place", [0, 7, 20])
def test_no_summary_has_all_junk_read_before_another_is_asked(scene: Scene, place: int) -> None:
    """One artifact with summaries of many commits: whichever the image was built from, the first turns decide."""
    wrong = [
        scene.notary.sign(vsa(f"{n:040x}"), github_source_actions(commit=f"{n:040x}")) for n in range(20)
    ]
    large = [attach(scene, b"%d" % number + b" " * (1 << 20)) for number in range(3)]
    blobs = [json.loads(scene.store.content[one.digest])["layers"][0]["digest"] for one in large]
    attach(scene, provenance(scene))
    artifact = scene.attach(*wrong[:place], scene.notary.sign(), *wrong[place:])
    assert_admitted(scene.verify(artifact, provenance_policy()))
    assert not {str(digest) for digest in scene.store.asked} & set(blobs)


@pytest.mark.parametrize("order", [1, -1])
def test_what_a_later_round_finds_counts_for_each_summary(scene: Scene, order: int) -> None:
    """Whichever of two summaries has the rest read, what is found may bind the other one."""
    wrong = scene.notary.sign(
        vsa(LEVEL_1_COMMIT, changes={"predicate.first": 1}), github_source_actions(commit=LEVEL_1_COMMIT)
    )
    # Others' commits before it: more than are verified to say what the image was built from.
    others = [provenance(scene, commit=f"{number:040x}") for number in range(MAX_REPORTED)]
    attach(scene, b" " * (1 << 20) + lines([*others, provenance(scene)]))
    artifact = scene.attach(*[scene.notary.sign(), wrong][::order])
    verdict = scene.verify(artifact, provenance_policy())
    assert_admitted(verdict)
    # Looked at twice, and told once.
    for finding in verdict.findings:
        assert [step.number for step in finding.steps] == list(range(5, 15))
