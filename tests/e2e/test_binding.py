"""Under real Ratify: is the image itself bound to the commit that the attestation is about (step 14)?"""

from __future__ import annotations

import pytest

from tests.e2e.lab_cases import LEVELS, honest
from tests.e2e.oras import Oras
from tests.e2e.ratify import Parameters, Ratify, check_denied
from tests.e2e.servers import Registry
from tests.support.sigstore import (
    COMMIT,
    GITHUB_ISSUER,
    REPOSITORY,
    Lab,
    attest_build_provenance,
    provenance_v1,
)

REVISION = "org.opencontainers.image.revision"
SOURCE = "org.opencontainers.image.source"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
OTHER_COMMIT = "0123456789" * 4
HOME = f"https://github.com/{REPOSITORY}"

LABELS: dict[str, tuple[dict[str, str], str | None]] = {
    "this commit": ({REVISION: COMMIT}, None),
    "this commit of this repository": ({REVISION: COMMIT, SOURCE: HOME}, None),
    "no label": ({}, "SOURCE_NOT_BOUND"),
    "another commit": ({REVISION: OTHER_COMMIT}, "SOURCE_REVISION_MISMATCH"),
    "another repository": (
        {REVISION: COMMIT, SOURCE: "https://github.com/attacker/app"},
        "SOURCE_REVISION_MISMATCH",
    ),
}
"""Annotations of the image, and the reason for which ``sourceBinding: annotation`` denies it; None: it admits."""


def attested_image(oras: Oras, registry: Registry, lab: Lab, labels: dict[str, str]) -> str:
    image = oras.new_image(registry.address, annotations=labels)
    oras.attach(image, honest(lab))
    return image


@pytest.mark.parametrize("name", LABELS)
def test_annotation(
    ratify: Ratify, plain_registry: Registry, oras: Oras, lab: Lab, lab_parameters: Parameters, name: str
) -> None:
    labels, reason = LABELS[name]
    image = attested_image(oras, plain_registry, lab, labels)
    decision = ratify.verify(image, {**lab_parameters, "sourceBinding": "annotation"})
    if reason is None:
        assert decision.admitted, decision
    else:
        check_denied(decision, reason)
    unbound = ratify.verify(image, {**lab_parameters, "sourceBinding": "none"})
    assert unbound.admitted, unbound
    assert "not bound" in unbound.message


BUILDER = f"{HOME}/.github/workflows/release.yml@refs/heads/main"
BUILDERS = [{"builderId": BUILDER, "identity": BUILDER, "issuer": GITHUB_ISSUER}]
PROVENANCE: dict[str, tuple[dict[str, str], str | None]] = {
    "this commit": ({}, None),
    "another commit": ({"commit": OTHER_COMMIT}, "SOURCE_REVISION_MISMATCH"),
    "another image": ({"digest": "ab" * 32}, "SOURCE_NOT_BOUND"),
    "another builder": ({"repository": "attacker/app"}, "SOURCE_NOT_BOUND"),
}
"""What the provenance says otherwise than it should, and the reason for which it is then denied."""


@pytest.mark.parametrize("name", PROVENANCE)
def test_provenance(
    ratify: Ratify, registry: Registry, oras: Oras, lab: Lab, lab_parameters: Parameters, name: str
) -> None:
    """GitHub's attest-build-provenance pushes its bundle as a referrer of its own."""
    wrong, reason = PROVENANCE[name]
    image = attested_image(oras, registry, lab, {})
    facts = {"digest": image.rpartition(":")[2], "repository": REPOSITORY, "commit": COMMIT, **wrong}
    signer = attest_build_provenance(facts["repository"], facts["commit"])
    statement = provenance_v1(facts["digest"], repository=facts["repository"], commit=facts["commit"])
    oras.attach(image, lab.sign(statement, signer), artifact_type=BUNDLE, media_type=BUNDLE)
    parameters = {**lab_parameters, "sourceBinding": "provenance", "trustedBuilders": BUILDERS}
    # the empty type that go-containerregistry reports is that of the provenance too, so either artifact may do
    decision = ratify.verify(image, parameters, artifact_type=registry.artifact_type, policy="any")
    if registry.kind == "ggcr":
        verdicts = [report["extensions"]["reason"] for report in decision.result["verifierReports"]]
        assert sorted(verdicts) == sorted(["NO_VSA", reason or "VERIFIED"]), decision
        assert decision.admitted == (reason is None)
    elif reason is None:
        assert decision.admitted, decision
    else:
        check_denied(decision, reason)


def test_provenance_that_is_missing(
    ratify: Ratify, registry: Registry, oras: Oras, lab: Lab, lab_parameters: Parameters
) -> None:
    image = attested_image(oras, registry, lab, {})
    parameters = {**lab_parameters, "sourceBinding": "provenance", "trustedBuilders": BUILDERS}
    check_denied(ratify.verify(image, parameters, artifact_type=registry.artifact_type), "SOURCE_NOT_BOUND")


def test_levels_are_those_of_the_lab(lab_parameters: Parameters) -> None:
    """The attestations above have the level that is asked for: no other step can have denied them."""
    assert lab_parameters["expectedVerifiedLevels"] == list(LEVELS)
