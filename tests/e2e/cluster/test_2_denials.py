"""Everything that is no valid attestation is denied, and says in its own words why."""

from __future__ import annotations

import base64
import json
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.cluster.conftest import Say
from tests.e2e.cluster.kube import Object
from tests.e2e.cluster.lab import SECOND_REGISTRY_HOST, Lab
from tests.e2e.servers import in_memory_registry
from tests.support.sigstore import Lab as Sigstore
from tests.support.sigstore import github_source_actions, vsa


def _payload(line: bytes) -> bytes:
    """Return the statement in a bundle."""
    return base64.b64decode(json.loads(line)["dsseEnvelope"]["payload"])


def _raised(line: bytes) -> bytes:
    """Return the bundle with its level raised and all else, the signature too, as it was."""
    bundle = json.loads(line)
    statement = _payload(line).replace(b"SLSA_SOURCE_LEVEL_1", b"SLSA_SOURCE_LEVEL_3")
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(statement).decode()
    return json.dumps(bundle).encode()


def _expect_denied(lab: Lab, image: str, *words: str) -> str:
    outcome = lab.run(image)
    assert not outcome.admitted, f"{image} was admitted"
    for word in (image, *words):
        assert word in outcome.text, outcome.text
    return outcome.text.partition("is not admitted: ")[2]


def test_no_attestation(lab: Lab, say: Say) -> None:
    """an image without an attestation is denied"""
    words = {
        "ratify": "Ensure verifiers are properly configured",  # its own: the plugin is not asked
        "provider": "found nothing attached to",
    }
    say(_expect_denied(lab, lab.image("bare"), words[lab.door.name]))


def test_unsigned(lab: Lab, level_3: bytes, say: Say) -> None:
    """an image with bare statements, which nobody signed, is denied"""
    unsigned = b"\n".join(_payload(line) for line in level_3.splitlines())
    words = ("SLSA attestation verified FAILED: ", "lines of other kinds, expected Sigstore bundles")
    said = _expect_denied(lab, lab.image("unsigned", unsigned), *words)
    lab.check_words("unsigned", said)
    say(said)


def test_tampered(lab: Lab, level_1: bytes, say: Say) -> None:
    """an image whose level was raised in the signed text is denied"""
    raised = b"\n".join(_raised(line) for line in level_1.splitlines())
    assert any(b"SLSA_SOURCE_LEVEL_3" in _payload(line) for line in raised.splitlines())
    said = _expect_denied(
        lab, lab.image("tampered", raised), "SLSA attestation verified FAILED: ", "signature"
    )
    lab.check_words("tampered", said)
    say(said)


def test_another_repository(lab: Lab, scratch: Path, say: Say) -> None:
    """an image with a valid attestation of another repository is denied"""
    sigstore = Sigstore()
    root = lab.door.place("trusted-root", sigstore.trusted_root())
    other = "somebody/else"
    commit = "5" * 40
    statement = vsa(commit, levels=["SLSA_SOURCE_LEVEL_3"], repository=other)
    line = sigstore.sign(statement, github_source_actions(commit=commit, repository=other))

    def trust_the_tests_sigstore(thing: Object) -> None:
        if thing["kind"] == "Verifier":
            roots = ["public-good", {"path": root}]
            thing["spec"]["parameters"]["trustedRoot"] = roots

    def expect_the_other(thing: Object) -> None:
        trust_the_tests_sigstore(thing)
        if thing["kind"] == "Verifier":
            thing["spec"]["parameters"]["expectedResourceUri"] = f"git+https://github.com/{other}"

    lab.apply("ratify/demo", change=expect_the_other)
    outcome = lab.run(lab.image("foreign", line))
    assert outcome.admitted, f"the attestation must be good in all but its repository: {outcome.text}"
    lab.apply("ratify/demo", change=trust_the_tests_sigstore)
    said = _expect_denied(lab, lab.image("foreign", line), other, "DahuK/slsa-attestation-action-demo")
    lab.check_words("another repository", said)
    say(said)


def test_registry_is_down(lab: Lab, scratch: Path, level_3: bytes, say: Say) -> None:
    """an image of a registry that is down is denied, though it would pass and its like was admitted before"""
    folder = scratch / lab.unique("second-registry")
    folder.mkdir()
    with ExitStack() as running:
        registry = running.enter_context(in_memory_registry("ociregistry", folder))
        address = f"{SECOND_REGISTRY_HOST}:{registry.address.rpartition(':')[2]}"
        image, unseen = (
            lab.oras.push_image(f"{address}/{name}", annotations={"example.name": name})
            for name in ("seen", "unseen")
        )
        for pushed in (image, unseen):
            lab.oras.attach(pushed, level_3)
        outcome = lab.run(image)
        assert outcome.admitted, outcome.text
    words = {
        "ratify": "could not resolve descriptor",  # it keeps the cause to its log
        "provider": "REGISTRY_UNREACHABLE",
    }
    say(_expect_denied(lab, unseen, words[lab.door.name]))


def test_no_such_image(lab: Lab, say: Say) -> None:
    """an image that the registry does not have is denied"""
    words = {"ratify": "could not resolve descriptor", "provider": "nothing"}
    say(_expect_denied(lab, f"{lab.registry}/nothing@sha256:{'b' * 64}", words[lab.door.name]))


def test_the_door_is_shut(lab: Lab, level_3: bytes, say: Say) -> None:
    """while what decides is stopped, an image that would pass is denied, by the mutation and without it by the constraint

    So the emergency step of rollout.md takes both away, and "dryrun" is one that has the mutation look on as well.
    """
    image = lab.image("level-3", level_3)
    both = (image, f"{image.partition('@')[0]}:v1")
    lab.door.pause()
    try:
        outcome = lab.run(image)
        assert not outcome.admitted
        assert "connection refused" in outcome.text
        assert "ratify-mutation-provider" in outcome.text
        lab.apply("gatekeeper/dryrun")
        looked_on = [lab.run(name) for name in both]
        lab.apply("gatekeeper/mutation")
        with_mutation = lab.run(image)
        for thing in lab.kustomize("gatekeeper/mutation"):
            lab.kubectl.run("delete", "assign", thing["metadata"]["name"])
        without = [lab.run(name) for name in both]
        lab.apply("gatekeeper/demo")
        said = _expect_denied(lab, image, "Ratify could not be asked", "connection refused")
    finally:
        lab.door.resume()
        lab.apply("gatekeeper/mutation", "gatekeeper/demo")
    lab.wait_for_a_yes(level_3)
    assert all(one.admitted for one in (*looked_on, *without)), "dryrun denied"
    assert not with_mutation.admitted, "dryrun beside the mutation as it is"
    assert lab.run(image).admitted
    say(said)


@pytest.mark.through("ratify")
def test_gatekeeper_is_stopped(lab: Lab, level_3: bytes, say: Say) -> None:
    """while Gatekeeper is stopped, nothing is admitted but what the cluster itself lives on: failurePolicy Fail"""
    image = lab.image("level-3", level_3)
    leases: list[Object] = [
        {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": lab.unique("lease"), "namespace": namespace},
            "spec": {"holderIdentity": "before", "leaseDurationSeconds": 40},
        }
        for namespace in ("kube-node-lease", "kube-system")
    ]
    own = lab.pod("registry.example/coredns:v1")
    own["metadata"]["namespace"] = "kube-system"
    lab.kubectl.apply(leases)
    lab.gatekeeper.stop_webhook()
    try:
        outcome = lab.run(image)
        for lease in leases:
            lease["spec"]["holderIdentity"] = "meanwhile"
        lab.kubectl.apply([*leases, own])  # raises what was refused
    finally:
        lab.gatekeeper.start_webhook()
    assert not outcome.admitted
    assert "failed calling webhook" in outcome.text
    lab.kubectl.run("delete", "pod", own["metadata"]["name"], "-n", "kube-system", "--wait=false")
    say(f"leases renewed, a Pod of kube-system created; of default: {outcome.text}")


@pytest.mark.through("ratify")
@pytest.mark.parametrize("missing", ["verifier", "policy", "store"])
def test_ratify_lacks_a_part(lab: Lab, level_3: bytes, missing: str, say: Say) -> None:
    """a Ratify without its Verifier, Policy or Store denies what it would admit with it"""
    names = {"verifier": "slsla", "policy": "ratify-policy", "store": "store-oras"}
    image = lab.image("level-3", level_3)
    lab.kubectl.run("delete", f"{missing}.config.ratify.deislabs.io", names[missing])
    outcome = lab.run(image)
    assert not outcome.admitted
    assert "CONFIG_INVALID" in outcome.text
    say(f"CONFIG_INVALID{outcome.text.partition('CONFIG_INVALID')[2]}")
