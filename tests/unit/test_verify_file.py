"""A file that hangs on no image, and stores that fail: the same steps, as far as they apply."""

from __future__ import annotations

from typing import Any

import pytest

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import (
    ArtifactError,
    InternalError,
    Reason,
    SignatureError,
    VerifierError,
)
from slsa_verifier_plugin.model.digest import Descriptor, Digest
from slsa_verifier_plugin.policy.binding import NOT_BOUND
from slsa_verifier_plugin.policy.steps import StepOutcome
from slsa_verifier_plugin.verification.judged import ArtifactRequest, FileRequest
from slsa_verifier_plugin.verification.verify import verify, verify_file
from tests.support.policies import policy
from tests.support.scene import (
    BUILDERS,
    Scene,
    assert_admitted,
    assert_denied,
)
from tests.support.sigstore import (
    vsa,
)
from tests.support.simulators import (
    MemoryStore,
    lines,
    reference,
)


def test_a_file_is_judged_without_a_registry(scene: Scene) -> None:
    content = lines([scene.notary.sign()])
    for binding in (
        {},
        {"sourceBinding": "annotation"},
        {"sourceBinding": "provenance", "trustedBuilders": BUILDERS},
    ):
        verdict = verify_file(FileRequest(content, None, policy(**binding)), scene.notary, Deadline(30))
        assert_admitted(verdict)
        step = verdict.steps[13]
        assert step.outcome is StepOutcome.NOT_CHECKED
        assert step.detail in verdict.message
        wanted = binding.get("sourceBinding")
        assert verdict.binding == (f"{wanted} (not checked)" if wanted else "none")
        says = (
            f"sourceBinding: {wanted} is not checked, for a file hangs on no image" if wanted else NOT_BOUND
        )
        assert step.detail == says
    denied = verify_file(
        FileRequest(content, None, policy(expectedVerifiedLevels=["ORG_X"])), scene.notary, Deadline(30)
    )
    assert_denied(denied, Reason.LEVEL_TOO_LOW, 11)
    with_bundles = policy(maxBundles=1)
    assert_denied(
        verify_file(FileRequest(content * 2, None, with_bundles), scene.notary, Deadline(30)),
        Reason.LIMIT_EXCEEDED,
        2,
    )


def test_a_file_for_no_image_is_for_no_image_at_all(scene: Scene) -> None:
    """No digest stands for "none": a summary about any image, whatever its digest, is about another one."""
    for digest in ("0" * 64, Digest.of(b"").hex, "None"):
        content = scene.notary.sign(vsa(subjects=[{"digest": {"sha256": digest}}]))
        verdict = verify_file(FileRequest(content, None, policy()), scene.notary, Deadline(30))
        assert_denied(verdict, Reason.SUBJECT_MISMATCH, 7, "of the image that the file is meant for")


def test_a_file_about_an_image_needs_that_image(scene: Scene) -> None:
    content = scene.notary.sign(vsa(subjects=[{"digest": {"sha256": scene.image.digest.hex}}]))
    assert_admitted(
        verify_file(FileRequest(content, scene.image.digest, policy()), scene.notary, Deadline(30))
    )
    for other in (None, Digest.of(b"other")):
        assert_denied(
            verify_file(FileRequest(content, other, policy()), scene.notary, Deadline(30)),
            Reason.SUBJECT_MISMATCH,
            7,
        )


@pytest.mark.parametrize("error", [VerifierError, InternalError, ArtifactError, SignatureError])
def test_whatever_verifier_error_comes_is_a_denial(scene: Scene, error: type[VerifierError]) -> None:
    class Failing(MemoryStore):
        def manifest(self, image: Any, descriptor: Descriptor, deadline: Deadline) -> bytes:
            raise error("something")

    request = ArtifactRequest(reference(scene.image.digest), scene.attach(), policy())
    verdict = verify(request, Failing(), scene.notary, Deadline(30))
    assert_denied(verdict, error("x").reason, 6 if error("x").reason is Reason.NO_VSA else 2, "something")
