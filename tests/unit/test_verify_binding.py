"""Step 14 over simulators: what is fetched to bind an image to its commit, how often, and what comes of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from slsa_verifier_plugin.errors import Reason, RegistryError
from slsa_verifier_plugin.model.digest import Descriptor
from slsa_verifier_plugin.policy.binding import NOT_BOUND, REVISION, SOURCE
from slsa_verifier_plugin.policy.steps import StepOutcome
from slsa_verifier_plugin.policy.verdict import result
from slsa_verifier_plugin.verification.evidence import MAX_PLATFORMS
from tests.support.policies import policy
from tests.support.scene import (
    BUILDERS,
    Scene,
    assert_admitted,
    assert_denied,
    outcomes,
    provenance,
    provenance_policy,
)
from tests.support.sigstore import (
    COMMIT,
    LEVEL_1_COMMIT,
    github_source_actions,
    person,
    vsa,
)
from tests.support.simulators import (
    IMAGE_TYPE,
    INDEX_TYPE,
    as_json,
)

ANNOTATION = policy(sourceBinding="annotation")


@pytest.mark.parametrize(
    ("annotations", "config"),
    [
        ({REVISION: COMMIT}, None),
        ({REVISION: COMMIT, SOURCE: "https://github.com/example/source-demo"}, None),
        (None, {"config": {"Labels": {REVISION: COMMIT}}}),
        (
            {SOURCE: "https://github.com/example/source-demo"},
            {"config": {"Labels": {REVISION: COMMIT, SOURCE: "x"}}},
        ),
    ],
)
def test_step_14_an_image_that_names_its_commit(scene: Scene, annotations: Any, config: Any) -> None:
    scene.image = scene.store.put_image(annotations, config)
    verdict = scene.judge(scene.notary.sign(), a_policy=ANNOTATION)
    assert_admitted(verdict)
    assert outcomes(verdict)[14] is StepOutcome.PASSED
    assert NOT_BOUND not in verdict.message


@pytest.mark.parametrize(
    ("annotations", "config", "reason"),
    [
        (None, None, Reason.SOURCE_NOT_BOUND),
        ({REVISION: ""}, {"config": {"Labels": {REVISION: COMMIT}}}, Reason.SOURCE_NOT_BOUND),
        (
            {REVISION: LEVEL_1_COMMIT},
            {"config": {"Labels": {REVISION: COMMIT}}},
            Reason.SOURCE_REVISION_MISMATCH,
        ),
        (
            {REVISION: COMMIT},
            {"config": {"Labels": {SOURCE: "https://x/y"}}},
            Reason.SOURCE_REVISION_MISMATCH,
        ),
        (None, {"config": {"Labels": {REVISION: 7}}}, Reason.SOURCE_NOT_BOUND),
        (None, {"config": {"Labels": [REVISION]}}, Reason.SOURCE_NOT_BOUND),
        (None, {"config": [COMMIT]}, Reason.SOURCE_NOT_BOUND),
        (None, {"Labels": {REVISION: COMMIT}}, Reason.SOURCE_NOT_BOUND),
    ],
)
def test_step_14_an_image_that_does_not(scene: Scene, annotations: Any, config: Any, reason: Reason) -> None:
    scene.image = scene.store.put_image(annotations, config)
    assert_denied(scene.judge(scene.notary.sign(), a_policy=ANNOTATION), reason, 14)


@pytest.mark.parametrize("binding", ["annotation", "provenance"])
def test_step_14_binds_to_a_commit_that_passed_step_12(scene: Scene, binding: str) -> None:
    """One summary about two commits: the image of the one is not admitted for the refs of the other."""
    scene.image = scene.store.put_image({REVISION: LEVEL_1_COMMIT})
    subjects = [
        {"digest": {"gitCommit": COMMIT}, "annotations": {"source_refs": ["refs/heads/main"]}},
        {"digest": {"gitCommit": LEVEL_1_COMMIT}, "annotations": {"source_refs": ["refs/heads/feature"]}},
    ]
    verifier = "https://verifier.example"
    signer = person()
    entry = {"verifierId": verifier, "issuer": "https://accounts.google.com", "identity": signer.san}
    changes: dict[str, Any] = {
        "expectedVerifierId": verifier,
        "trustedVerifiers": [entry],
        "sourceBinding": binding,
    }
    if binding == "provenance":
        changes["trustedBuilders"] = BUILDERS
    bundles = (
        scene.notary.sign(vsa(subjects=subjects, verifier_id=verifier), signer),
        provenance(scene, commit=LEVEL_1_COMMIT),
    )
    on_main = policy(expectedSourceRefs=["refs/heads/main"], **changes)
    assert_denied(
        scene.judge(*bundles, a_policy=on_main), Reason.SOURCE_REVISION_MISMATCH, 14, LEVEL_1_COMMIT
    )
    verdict = scene.judge(*bundles, a_policy=policy(**changes))
    assert_admitted(verdict)
    assert f"at {LEVEL_1_COMMIT}" in verdict.message
    assert COMMIT not in verdict.message
    assert result(verdict, "slsla", "", 1)["extensions"]["revision"] == LEVEL_1_COMMIT


def index(scene: Scene, children: list[tuple[Descriptor, Any]], annotations: Any = None) -> Descriptor:
    manifests = [
        {**as_json(child), **({"platform": platform} if platform else {})} for child, platform in children
    ]
    value: dict[str, Any] = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": manifests}
    if annotations:
        value["annotations"] = annotations
    return scene.store.put_json(value, INDEX_TYPE)


AMD = {"os": "linux", "architecture": "amd64"}
ARM = {"os": "linux", "architecture": "arm64"}
NO_PLATFORM = {"os": "unknown", "architecture": "unknown"}


def test_step_14_an_index_says_it_itself_or_every_platform_does(scene: Scene) -> None:
    good = scene.store.put_image({REVISION: COMMIT})
    bad = scene.store.put_image({REVISION: LEVEL_1_COMMIT})
    bare = scene.store.put_image()
    cases: list[tuple[list[tuple[Descriptor, Any]], Any, Reason | None]] = [
        ([(good, AMD), (good, ARM)], None, None),
        ([(good, AMD), (good, None)], None, None),
        ([(good, AMD), (bare, NO_PLATFORM)], None, None),
        ([(bad, AMD), (bare, ARM)], {REVISION: COMMIT}, None),
        ([(good, AMD), (bad, ARM)], None, Reason.SOURCE_REVISION_MISMATCH),
        ([(good, AMD), (bare, ARM)], None, Reason.SOURCE_NOT_BOUND),
        ([(good, AMD), (bare, None)], None, Reason.SOURCE_NOT_BOUND),
        ([(good, AMD), (bare, {"os": "unknown", "architecture": "amd64"})], None, Reason.SOURCE_NOT_BOUND),
        ([(good, AMD)], {REVISION: LEVEL_1_COMMIT}, Reason.SOURCE_REVISION_MISMATCH),
        ([(good, AMD)], {SOURCE: "https://x/y"}, None),
        ([(good, NO_PLATFORM)], None, Reason.SOURCE_NOT_BOUND),
        ([], None, Reason.SOURCE_NOT_BOUND),
    ]
    for children, own, reason in cases:
        scene.image = index(scene, children, own)
        verdict = scene.judge(scene.notary.sign(), a_policy=ANNOTATION)
        if reason is None:
            assert_admitted(verdict)
        else:
            assert_denied(verdict, reason, 14)


@pytest.mark.parametrize("platform", [ARM, None])
def test_step_14_says_which_platform_it_is(scene: Scene, platform: Any) -> None:
    good, bad = scene.store.put_image({REVISION: COMMIT}), scene.store.put_image({REVISION: LEVEL_1_COMMIT})
    scene.image = index(scene, [(good, AMD), (bad, platform)])
    named = "the image for linux/arm64 " if platform else f"the image for {bad.digest} "
    verdict = scene.judge(scene.notary.sign(), a_policy=ANNOTATION)
    assert_denied(verdict, Reason.SOURCE_REVISION_MISMATCH, 14, named)


def test_step_14_platforms_are_bounded(scene: Scene) -> None:
    good = scene.store.put_image({REVISION: COMMIT})
    scene.image = index(scene, [(good, AMD)] * MAX_PLATFORMS)
    assert_admitted(scene.judge(scene.notary.sign(), a_policy=ANNOTATION))
    scene.image = index(scene, [(good, AMD)] * (MAX_PLATFORMS + 1))
    assert_denied(
        scene.judge(scene.notary.sign(), a_policy=ANNOTATION), Reason.ARTIFACT_INVALID, 14, "65 platforms"
    )


def test_step_14_an_image_that_cannot_be_read(scene: Scene) -> None:
    artifact = scene.attach(scene.notary.sign())
    scene.store.failures[scene.image.digest] = RegistryError("503", transient=True)
    verdict = scene.verify(artifact, ANNOTATION)
    assert_denied(verdict, Reason.REGISTRY_ERROR, 14, "503")
    assert verdict.transient
    scene.store.failures[scene.image.digest] = RegistryError("404", reason=Reason.REGISTRY_NOT_FOUND)
    verdict = scene.verify(artifact, ANNOTATION)
    assert_denied(verdict, Reason.REGISTRY_NOT_FOUND, 14, "404")
    assert not verdict.transient


def test_step_14_an_image_is_asked_for_no_more_than_it_takes(scene: Scene) -> None:
    """Annotations that say everything make the config needless; without a config they are all there is."""
    config = scene.store.put(b"{}", "application/vnd.oci.image.config.v1+json")
    manifest: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": IMAGE_TYPE,
        "config": as_json(config),
        "layers": [],
        "annotations": {REVISION: COMMIT, SOURCE: "https://github.com/example/source-demo"},
    }
    scene.store.failures[config.digest] = RegistryError("not to be asked")
    scene.image = scene.store.put_json(manifest, IMAGE_TYPE)
    assert_admitted(scene.judge(scene.notary.sign(), a_policy=ANNOTATION))
    for missing in (REVISION, SOURCE):
        del manifest["annotations"][missing]
        scene.image = scene.store.put_json(manifest, IMAGE_TYPE)
        assert_denied(scene.judge(scene.notary.sign(), a_policy=ANNOTATION), Reason.REGISTRY_ERROR, 14)
        manifest["annotations"][missing] = COMMIT
    del manifest["config"]
    for own, reason in (({REVISION: COMMIT}, None), ({}, Reason.SOURCE_NOT_BOUND)):
        scene.image = scene.store.put_json({**manifest, "annotations": own}, IMAGE_TYPE)
        verdict = scene.judge(scene.notary.sign(), a_policy=ANNOTATION)
        assert_admitted(verdict) if reason is None else assert_denied(verdict, reason, 14)


def test_step_14_a_config_that_is_no_json_says_nothing(scene: Scene) -> None:
    config = scene.store.put(b"\xff", "application/vnd.oci.image.config.v1+json")
    manifest = {"schemaVersion": 2, "mediaType": IMAGE_TYPE, "config": as_json(config), "layers": []}
    scene.image = scene.store.put_json(manifest, IMAGE_TYPE)
    assert_denied(scene.judge(scene.notary.sign(), a_policy=ANNOTATION), Reason.SOURCE_NOT_BOUND, 14)


def test_step_14_the_subjects_media_type_is_not_believed(scene: Scene) -> None:
    """Whoever attaches writes the subject's descriptor: an image cannot be made to read as an index with other annotations."""
    manifest = {"schemaVersion": 2, "layers": [], "annotations": {REVISION: COMMIT}}
    for media_type in (INDEX_TYPE, "application/vnd.oci.artifact.manifest.v1+json", "text/plain"):
        image = scene.store.put_json(manifest, IMAGE_TYPE)
        scene.image = replace(image, media_type=media_type)
        assert_denied(scene.judge(scene.notary.sign(), a_policy=ANNOTATION), Reason.ARTIFACT_INVALID, 14)


def test_step_14_is_asked_once_for_all_candidates(scene: Scene) -> None:
    scene.image = scene.store.put_image({REVISION: COMMIT})
    wrong = [
        scene.notary.sign(vsa(f"{n:040x}"), github_source_actions(commit=f"{n:040x}")) for n in range(40)
    ]
    artifact = scene.attach(*wrong, scene.notary.sign())
    assert_admitted(scene.verify(artifact, ANNOTATION))
    assert scene.store.asked[scene.image.digest] == 1
    scene.store.failures[scene.image.digest] = RegistryError("503")
    scene.store.asked.clear()
    assert_denied(scene.verify(artifact, ANNOTATION), Reason.REGISTRY_ERROR, 14)
    assert scene.store.asked[scene.image.digest] == 1


def test_step_14_a_summary_of_the_image_alone_asks_nobody(scene: Scene) -> None:
    subjects = [{"digest": {"sha256": scene.image.digest.hex}}]
    for wanted in (ANNOTATION, provenance_policy()):
        artifact = scene.attach(scene.notary.sign(vsa(subjects=subjects)))
        scene.store.failures[scene.image.digest] = RegistryError("not to be asked")
        verdict = scene.verify(artifact, wanted)
        assert_admitted(verdict)
        assert outcomes(verdict)[14] is StepOutcome.PASSED


@pytest.mark.parametrize("order", [1, -1])
def test_step_14_a_commit_beside_the_image_must_be_bound_all_the_same(scene: Scene, order: int) -> None:
    """The image's digest in a summary says that the image was meant, not that it was built from the commit."""
    subjects = [{"digest": {"gitCommit": COMMIT}}, {"digest": {"sha256": scene.image.digest.hex}}][::order]
    for wanted in (ANNOTATION, provenance_policy()):
        verdict = scene.judge(scene.notary.sign(vsa(subjects=subjects)), a_policy=wanted)
        assert_denied(verdict, Reason.SOURCE_NOT_BOUND, 14)
    verdict = scene.judge(
        scene.notary.sign(vsa(subjects=subjects)), provenance(scene), a_policy=provenance_policy()
    )
    assert_admitted(verdict)
    assert f"at {COMMIT}" in verdict.message
    scene.image = scene.store.put_image({REVISION: COMMIT})
    subjects = [{"digest": {"gitCommit": COMMIT}}, {"digest": {"sha256": scene.image.digest.hex}}][::order]
    assert_admitted(scene.judge(scene.notary.sign(vsa(subjects=subjects)), a_policy=ANNOTATION))
