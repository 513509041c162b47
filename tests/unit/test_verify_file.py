"""A file that hangs on no image, and stores that fail: the same steps, as far as they apply."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import (
    ArtifactError,
    InternalError,
    Reason,
    RegistryError,
    SignatureError,
    VerifierError,
)
from slsa_verifier_plugin.model.digest import Descriptor, Digest
from slsa_verifier_plugin.policy.binding import NOT_BOUND
from slsa_verifier_plugin.policy.steps import StepOutcome
from slsa_verifier_plugin.verification.evidence import NoStore
from slsa_verifier_plugin.verification.verify import Request, verify, verify_content
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


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_file_is_judged_without_a_registry(scene: Scene) -> None:
    content = lines([scene.notary.sign()])
    for binding in (
        {},
        {"sourceBinding": "annotation"},
        {"sourceBinding": "provenance", "trustedBuilders": BUILDERS},
    ):
        verdict = verify_content(content, None, policy(**binding), scene.notary, Deadline(30))
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
    denied = verify_content(
        content, None, policy(expectedVerifiedLevels=["ORG_X"]), scene.notary, Deadline(30)
    )
    assert_denied(denied, Reason.LEVEL_TOO_LOW, 11)
    with_bundles = policy(maxBundles=1)
    assert_denied(
        verify_content(content * 2, None, with_bundles, scene.notary, Deadline(30)), Reason.LIMIT_EXCEEDED, 2
    )


def test_a_file_about_an_image_needs_that_image(scene: Scene) -> None:
    content = scene.notary.sign(vsa(subjects=[{"digest": {"sha256": scene.image.digest.hex}}]))
    assert_admitted(verify_content(content, scene.image.digest, policy(), scene.notary, Deadline(30)))
    for other in (None, Digest.of(b"other")):
        assert_denied(
            verify_content(content, other, policy(), scene.notary, Deadline(30)), Reason.SUBJECT_MISMATCH, 7
        )


def test_a_file_has_no_registry_to_ask(scene: Scene) -> None:
    store, image = NoStore(), reference(scene.image.digest)
    calls: list[Callable[[], object]] = [
        lambda: store.manifest(image, scene.image, Deadline(1)),
        lambda: store.blob(image, scene.image, 1, Deadline(1)),
        lambda: store.referrers(image, Deadline(1)),
        lambda: store.resolve(image, Deadline(1)),
    ]
    for call in calls:
        with pytest.raises(RegistryError, match="no registry"):
            call()


@pytest.mark.parametrize("error", [VerifierError, InternalError, ArtifactError, SignatureError])
def test_whatever_verifier_error_comes_is_a_denial(scene: Scene, error: type[VerifierError]) -> None:
    class Failing(MemoryStore):
        def manifest(self, image: Any, descriptor: Descriptor, deadline: Deadline) -> bytes:
            raise error("something")

    request = Request(reference(scene.image.digest), scene.attach(), policy())
    verdict = verify(request, Failing(), scene.notary, Deadline(30))
    assert_denied(verdict, error("x").reason, 6 if error("x").reason is Reason.NO_VSA else 2, "something")
