"""Real Ratify v1.4.4, real registries, the demo's real attestations: who is admitted, and why not.

The expected decisions are those of issue A: commit fcf594d has source level 3, the other two have level 1.
"""

from __future__ import annotations

import urllib.error
import urllib.request

import pytest

from tests.e2e import plugin
from tests.e2e.conftest import DEMO, NOTES
from tests.e2e.oras import ATTESTATION, Oras
from tests.e2e.ratify import Decision, Parameters, Ratify
from tests.e2e.servers import Registry

LEVEL_FOUND = {"fcf594d": 3, "9bef61f": 1, "4be84a6": 1}
SUCCESS = "SLSA Attestation Check: SUCCESS."
FAILURE = "SLSA attestation verified FAILED: "


def expecting(level: int) -> Parameters:
    return {**DEMO, "expectedVerifiedLevels": [f"SLSA_SOURCE_LEVEL_{level}"]}


def check_decision(decision: Decision, commit: str, expected: int) -> None:
    found = LEVEL_FOUND[commit]
    report = decision.report
    assert decision.admitted == report["isSuccess"] == (found >= expected), decision
    assert report["name"] == "slsla"
    assert decision.reason == ("VERIFIED" if decision.admitted else "LEVEL_TOO_LOW"), decision
    if decision.admitted:
        assert decision.message.startswith(SUCCESS)
        assert report["extensions"]["revision"].startswith(commit)
        assert f"SLSA_SOURCE_LEVEL_{found}" in report["extensions"]["verifiedLevels"]
    else:
        assert decision.message.startswith(FAILURE)
        assert f"SLSA_SOURCE_LEVEL_{found}" in decision.message
        assert f"SLSA_SOURCE_LEVEL_{expected}" in decision.message


@pytest.mark.parametrize("expected", [1, 2, 3])
@pytest.mark.parametrize("commit", NOTES)
def test_ratify_verify(
    ratify: Ratify, registry: Registry, demo_images: dict[str, str], commit: str, expected: int
) -> None:
    decision = ratify.verify(demo_images[commit], expecting(expected), artifact_type=registry.artifact_type)
    check_decision(decision, commit, expected)


@pytest.mark.parametrize("expected", [1, 2, 3])
def test_ratify_serve_answers_a_provider_request(
    ratify: Ratify, registry: Registry, demo_images: dict[str, str], expected: int
) -> None:
    with ratify.serve(expecting(expected), artifact_type=registry.artifact_type) as provider:
        decisions = provider.ask(list(demo_images.values()))
    assert sorted(decisions) == sorted(demo_images.values())
    for commit, image in demo_images.items():
        check_decision(decisions[image], commit, expected)


def test_both_names_of_the_plugin(ratify: Ratify, plain_registry: Registry, oras: Oras) -> None:
    """The demo's Verifier is called slsla, other guides write slsa."""
    plugins = ratify.home / ".ratify" / "plugins"
    assert {"slsa", "slsla"} <= {entry.name for entry in plugins.iterdir()}
    image = oras.new_image(plain_registry.address)
    oras.attach(image, b'{"no": "bundle"}\n')
    decision = ratify.verify(image, DEMO, name="slsa")
    assert not decision.admitted
    assert decision.report["name"] == "slsa"
    assert decision.reason == "NO_ATTESTATION", decision


def test_referrers_as_each_registry_has_them(
    registry: Registry, demo_images: dict[str, str], oras: Oras
) -> None:
    """The registries differ as the tests above mean them to: otherwise those would test one thing thrice."""
    repository, _, digest = demo_images["fcf594d"].partition("@")
    path = repository.partition("/")[2]
    fallback_tag = digest.replace(":", "-")
    try:
        with urllib.request.urlopen(f"http://{registry.address}/v2/{path}/referrers/{digest}") as answer:
            status = answer.status
    except urllib.error.HTTPError as error:
        with error:
            status = error.code
    tags = oras.run("repo", "tags", "--plain-http", repository).decode().split()
    assert (status, fallback_tag in tags) == {
        "ociregistry": (200, False),
        "ggcr": (200, True),
        "docker-registry": (404, True),
    }[registry.kind]


def test_registry_that_reports_another_type(
    ratify: Ratify, registries: dict[str, Registry], oras: Oras
) -> None:
    """go-containerregistry reports the config's media type: Ratify then finds no verifier, and denies."""
    image = oras.new_image(registries["ggcr"].address)
    attached = oras.attach(image, b"{}\n")
    assert oras.manifest(attached)["artifactType"] == ATTESTATION
    decision = ratify.verify(image, DEMO)
    assert not decision.admitted
    assert "No verification results" in decision.report["errorReason"]


def test_ratify_does_not_wait_for_the_resident_verifier(
    ratifies: dict[str, Ratify], plain_registry: Registry, all_demo_images: dict[str, dict[str, str]]
) -> None:
    """Ratify waits until every holder of the plugin's output has closed it; the resident verifier outlives that."""
    ratify = ratifies["resident"]
    plugin.stop_resident(ratify.environment)
    decision = ratify.verify(all_demo_images[plain_registry.kind]["fcf594d"], DEMO)
    assert decision.admitted, decision
    assert plugin.processes_of(f"SLSA_VERIFIER_DIR={ratify.environment['SLSA_VERIFIER_DIR']}")
