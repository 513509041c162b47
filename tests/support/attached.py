"""Referrers that tests of the search for provenance attach, and the verdict on them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from slsa_verifier_plugin.model.digest import Descriptor
from slsa_verifier_plugin.model.envelope import PREDICATE_TYPE_ANNOTATION
from tests.support.scene import (
    Scene,
    provenance,
    provenance_policy,
)

BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
SAID = {PREDICATE_TYPE_ANNOTATION: "https://slsa.dev/provenance/v1"}


def attach(scene: Scene, content: bytes, *, said: bool = False, artifact_type: str = BUNDLE) -> Descriptor:
    """Attach ``content``; ``said`` has the registry's list say that it is provenance."""
    one = scene.store.attach(scene.image, content, artifact_type=artifact_type)
    if said:
        referring = scene.store.referring[scene.image.digest]
        referring[referring.index(one)] = replace(one, annotations=SAID)
    return one


def judge(scene: Scene, **policy: Any) -> Any:
    return scene.judge(scene.notary.sign(), a_policy=provenance_policy(**policy))


def lookalike(scene: Scene, number: int = 0) -> bytes:
    """Return what claims all that the honest provenance says, and is signed by somebody else."""
    return provenance(scene, scene.stranger, changes={"predicate.n": number})
