"""Step 14 over simulators by build provenance: what is fetched, and what comes of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from slsa_verifier_plugin.errors import Reason, RegistryError
from slsa_verifier_plugin.model.envelope import Candidate
from slsa_verifier_plugin.model.signer import Verified
from slsa_verifier_plugin.policy.steps import StepOutcome
from tests.support.scene import (
    BUILDER_ID,
    Scene,
    assert_admitted,
    assert_denied,
    outcomes,
    provenance,
    provenance_policy,
)
from tests.support.sigstore import (
    LEVEL_1_COMMIT,
    attest_build_provenance,
    person,
    provenance_v02,
    provenance_v1,
)
from tests.support.simulators import (
    IMAGE_TYPE,
    Notary,
)


@pytest.mark.parametrize("version", [provenance_v1, provenance_v02])
def test_step_14_provenance_in_the_same_artifact(scene: Scene, version: Callable[..., Any]) -> None:
    verdict = scene.judge(
        provenance(scene, version=version), scene.notary.sign(), a_policy=provenance_policy()
    )
    assert_admitted(verdict)
    assert outcomes(verdict)[14] is StepOutcome.PASSED
    assert scene.store.asked["referrers"] == 0


@pytest.mark.parametrize(
    "artifact_type",
    ["application/vnd.dev.sigstore.bundle.v0.3+json", "application/vnd.in-toto+json", "whatever"],
)
def test_step_14_provenance_among_the_referrers(scene: Scene, artifact_type: str) -> None:
    scene.store.attach(scene.image, provenance(scene), artifact_type=artifact_type)
    assert_admitted(scene.judge(scene.notary.sign(), a_policy=provenance_policy()))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"digest": "00" * 32}, Reason.SOURCE_NOT_BOUND),
        ({"builder_id": "https://other.example"}, Reason.SOURCE_NOT_BOUND),
        ({"commit": LEVEL_1_COMMIT}, Reason.SOURCE_REVISION_MISMATCH),
        ({"repository": "example/other"}, Reason.SOURCE_REVISION_MISMATCH),
        ({"changes": {"predicate.runDetails": {}}}, Reason.SOURCE_NOT_BOUND),
    ],
)
@pytest.mark.parametrize("referrer", [True, False])
def test_step_14_other_provenance(
    scene: Scene, fields: dict[str, Any], reason: Reason, referrer: bool
) -> None:
    other = provenance(scene, **fields)
    if referrer:
        scene.store.attach(scene.image, other)
        verdict = scene.judge(scene.notary.sign(), a_policy=provenance_policy())
    else:
        verdict = scene.judge(other, scene.notary.sign(), a_policy=provenance_policy())
    assert_denied(verdict, reason, 14)


def test_step_14_provenance_must_be_signed_by_the_builder(scene: Scene) -> None:
    statement = provenance_v1(scene.image.digest.hex, builder_id=BUILDER_ID)
    for bad in (
        scene.stranger.sign(statement, attest_build_provenance()),
        scene.notary.sign(statement, person()),
    ):
        verdict = scene.judge(bad, scene.notary.sign(), a_policy=provenance_policy())
        assert_denied(verdict, Reason.SOURCE_NOT_BOUND, 14)


def test_step_14_the_verified_provenance_counts_and_not_the_claimed_one(scene: Scene) -> None:
    class SwappingProvenance(Notary):
        def verify(self, candidate: Candidate) -> Verified:
            verified = super().verify(candidate)
            if b"provenance" not in candidate.payload:
                return verified
            other = provenance_v1("00" * 32, builder_id=BUILDER_ID)
            return replace(verified, claim=replace(verified.claim, payload=json.dumps(other).encode()))

    artifact = scene.attach(provenance(scene), scene.notary.sign())
    assert_denied(
        scene.verify(artifact, provenance_policy(), by=SwappingProvenance()), Reason.SOURCE_NOT_BOUND, 14
    )


def test_step_14_a_referrer_that_hangs_elsewhere_does_not_count(scene: Scene) -> None:
    """A registry may list what it likes: the manifest decides."""
    other = scene.store.put_image(note="another")
    listed = scene.store.attach(other, provenance(scene))
    scene.store.referring.setdefault(scene.image.digest, []).append(listed)
    nowhere = scene.store.attach(None, provenance(scene))
    scene.store.referring[scene.image.digest].append(nowhere)
    assert_denied(scene.judge(scene.notary.sign(), a_policy=provenance_policy()), Reason.SOURCE_NOT_BOUND, 14)


def test_step_14_broken_referrers_do_not_hide_the_good_one(scene: Scene) -> None:
    gone = scene.store.attach(scene.image, b"gone", artifact_type="application/vnd.in-toto+json")
    scene.store.failures[gone.digest] = RegistryError("404", reason=Reason.REGISTRY_NOT_FOUND)
    nonsense = scene.store.put(b"nonsense", IMAGE_TYPE)
    scene.store.referring[scene.image.digest].append(nonsense)
    too_large = scene.store.attach(scene.image, b"x" * 5000)
    assert_denied(
        scene.judge(scene.notary.sign(), a_policy=provenance_policy(maxAttestationBytes=4096)),
        Reason.REGISTRY_NOT_FOUND,
        14,
    )
    scene.store.attach(scene.image, provenance(scene))
    large = provenance_policy(maxAttestationBytes=4999)
    assert len(scene.store.content[too_large.digest]) < 4999
    assert_admitted(scene.judge(scene.notary.sign(), a_policy=large))


def test_step_14_a_registry_that_fails_for_now_is_said(scene: Scene) -> None:
    away = scene.store.attach(scene.image, b"x", artifact_type="application/vnd.in-toto+json")
    scene.store.failures[away.digest] = RegistryError("503", transient=True)
    scene.store.attach(scene.image, provenance(scene))
    artifact = scene.attach(scene.notary.sign())
    # What one referrer is like for now hides no other, and is said where nothing else binds the image.
    assert_admitted(scene.verify(artifact, provenance_policy()))
    wanted = provenance_policy()
    for later in ((), (RegistryError("404", reason=Reason.REGISTRY_NOT_FOUND),)):
        other = Scene()
        gone = other.store.attach(other.image, b"x", artifact_type="application/vnd.in-toto+json")
        other.store.failures[gone.digest] = RegistryError("503", transient=True)
        for failure in later:
            broken = other.store.attach(other.image, b"y", artifact_type="application/vnd.in-toto+json")
            other.store.failures[broken.digest] = failure
        verdict = other.verify(other.attach(other.notary.sign()), wanted)
        assert_denied(verdict, Reason.REGISTRY_ERROR, 14, "503")
        assert verdict.transient
    scene.store.failures = {"referrers": RegistryError("no list", transient=True)}
    assert_denied(scene.verify(artifact, provenance_policy()), Reason.REGISTRY_ERROR, 14, "no list")
