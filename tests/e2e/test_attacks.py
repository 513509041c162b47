"""Attacks and mistakes under real Ratify: each denied, for its own reason, and never by a crash."""

from __future__ import annotations

import json

import pytest

from tests.e2e.conftest import DEMO
from tests.e2e.lab_cases import ATTACKS, honest, with_flipped_byte
from tests.e2e.oras import Oras
from tests.e2e.ratify import Parameters, Ratify, check_denied
from tests.e2e.servers import Registry
from tests.e2e.shared import demo_note
from tests.support.sigstore import REPOSITORY, Lab

INVALID_CONFIG, VERSION_NOT_SUPPORTED = 2, 6


@pytest.fixture(scope="session")
def attacked_images(plain_registry: Registry, oras: Oras, lab: Lab) -> dict[str, str]:
    images = {}
    for number, (name, attack) in enumerate(ATTACKS.items()):
        images[name] = oras.push_image(f"{plain_registry.address}/attacks/{number}")
        oras.attach(images[name], attack.make(lab))
    return images


@pytest.mark.parametrize("name", ATTACKS)
def test_attack(
    ratify: Ratify, attacked_images: dict[str, str], lab_parameters: Parameters, name: str
) -> None:
    decision = ratify.verify(attacked_images[name], lab_parameters)
    reason = ATTACKS[name].reason
    if reason is None:
        assert decision.admitted, decision
        assert decision.reason == "VERIFIED"
    else:
        check_denied(decision, reason)


@pytest.mark.parametrize("commit", ["fcf594d"])
def test_real_bundles_with_one_bit_changed(
    ratify: Ratify, plain_registry: Registry, oras: Oras, commit: str
) -> None:
    lines = [line for line in demo_note(commit).read_bytes().splitlines() if line.strip()]
    image = oras.new_image(plain_registry.address)
    oras.attach(image, b"\n".join(with_flipped_byte(line) for line in lines))
    check_denied(ratify.verify(image, DEMO), "SIGNATURE_INVALID")


def test_public_good_does_not_vouch_for_the_lab(ratify: Ratify, attacked_images: dict[str, str]) -> None:
    """Without ``trustedRoot`` the lab's honest attestation is one of an unknown Sigstore."""
    parameters = {**DEMO, "expectedResourceUri": f"git+https://github.com/{REPOSITORY}"}
    check_denied(ratify.verify(attacked_images["honest"], parameters), "UNKNOWN_AUTHORITY")


def test_image_without_attestation(ratify: Ratify, plain_registry: Registry, oras: Oras) -> None:
    """Ratify itself denies: there is nothing to call a verifier for."""
    image = oras.new_image(plain_registry.address)
    decision = ratify.verify(image, DEMO)
    assert not decision.admitted
    assert "No verification results" in decision.report["errorReason"]


def test_all_and_any_of_two_artifacts(
    ratify: Ratify, plain_registry: Registry, oras: Oras, lab: Lab, lab_parameters: Parameters
) -> None:
    """Beside an honest artifact a broken one denies where Ratify asks for all, and does not where it asks for any."""
    image = oras.new_image(plain_registry.address)
    oras.attach(image, honest(lab))
    oras.attach(image, with_flipped_byte(lab.sign({"_type": "none"})))
    assert not ratify.verify(image, lab_parameters, policy="all").admitted
    assert ratify.verify(image, lab_parameters, policy="any").admitted


CONTRACT_ERRORS: dict[str, tuple[dict[str, object], str]] = {
    "misspelt key": ({"expectedVerifiedLevel": ["SLSA_SOURCE_LEVEL_2"]}, "expectedVerifiedLevels"),
    "no levels": ({"expectedVerifiedLevels": []}, "expectedVerifiedLevels"),
    "levels as a string": ({"expectedVerifiedLevels": "SLSA_SOURCE_LEVEL_2"}, "expectedVerifiedLevels"),
    "no resource": ({"expectedResourceUri": ""}, "expectedResourceUri"),
    "no such binding": ({"sourceBinding": "yes"}, "sourceBinding"),
    "no duration": ({"timeout": "4"}, "timeout"),
}


@pytest.mark.parametrize("name", CONTRACT_ERRORS)
def test_invalid_parameters(ratify: Ratify, attacked_images: dict[str, str], name: str) -> None:
    wrong, key = CONTRACT_ERRORS[name]
    decision = ratify.verify(attacked_images["honest"], {**DEMO, **wrong})
    assert not decision.admitted
    error = decision.contract_error
    assert error["code"] == INVALID_CONFIG
    assert key in json.dumps(error)


@pytest.mark.parametrize("missing", ["expectedVerifiedLevels", "expectedResourceUri"])
def test_missing_parameters(ratify: Ratify, attacked_images: dict[str, str], missing: str) -> None:
    parameters = {key: value for key, value in DEMO.items() if key != missing}
    error = ratify.verify(attacked_images["honest"], parameters).contract_error
    assert error["code"] == INVALID_CONFIG
    assert missing in json.dumps(error)


def test_every_mistake_is_reported_at_once(ratify: Ratify, attacked_images: dict[str, str]) -> None:
    error = ratify.verify(attacked_images["honest"], {"levels": [], "maxAge": "old"}).contract_error
    assert error["code"] == INVALID_CONFIG
    told = json.dumps(error)
    assert all(key in told for key in ("levels", "maxAge", "expectedVerifiedLevels", "expectedResourceUri"))


def test_unsupported_version(ratify: Ratify, attacked_images: dict[str, str]) -> None:
    decision = ratify.verify(attacked_images["honest"], DEMO, version="2.0.0")
    assert not decision.admitted
    assert decision.contract_error["code"] == VERSION_NOT_SUPPORTED


def test_trusted_root_that_is_not_there(
    ratify: Ratify, attacked_images: dict[str, str], lab_parameters: Parameters
) -> None:
    parameters = {**lab_parameters, "trustedRoot": {"path": str(ratify.home / "absent.json")}}
    check_denied(ratify.verify(attacked_images["honest"], parameters), "TRUST_ROOT_UNAVAILABLE")


def test_fallback_tag_that_names_another_images_artifact(
    ratify: Ratify, registries: dict[str, Registry], oras: Oras, lab: Lab, lab_parameters: Parameters
) -> None:
    """Whoever may push may write the fallback tag; the artifact's own ``subject`` still says whose it is."""
    address = registries["docker-registry"].address
    good = oras.new_image(address)
    oras.attach(good, honest(lab))
    assert ratify.verify(good, lab_parameters).admitted
    repository, _, digest = good.partition("@")
    index = oras.run("manifest", "fetch", "--plain-http", f"{repository}:{digest.replace(':', '-')}")
    bad = oras.push_image(repository, annotations={"bad": "yes"}).partition("@")[2]
    media_type = "application/vnd.oci.image.index.v1+json"
    tag = f"{repository}:{bad.replace(':', '-')}"
    oras.run("manifest", "push", "--plain-http", f"--media-type={media_type}", tag, "-", stdin=index)
    check_denied(ratify.verify(f"{repository}@{bad}", lab_parameters), "SUBJECT_MISMATCH")


def test_attestation_deleted_from_the_registry(
    ratify: Ratify, registries: dict[str, Registry], oras: Oras, lab: Lab, lab_parameters: Parameters
) -> None:
    """The artifact is listed and its manifest is there, but what it points to is gone."""
    address = registries["docker-registry"].address
    image = oras.new_image(address)
    attached = oras.attach(image, honest(lab))
    (layer,) = oras.manifest(attached)["layers"]
    repository = image.partition("@")[0]
    oras.run("blob", "delete", "--plain-http", "--force", f"{repository}@{layer['digest']}")
    check_denied(ratify.verify(image, lab_parameters), "REGISTRY_NOT_FOUND")
