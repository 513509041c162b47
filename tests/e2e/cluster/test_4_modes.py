"""The same violations without a denial: warn, dryrun and the audit; and tags turned into digests."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.e2e.cluster.conftest import Say
from tests.e2e.cluster.kube import Object
from tests.e2e.cluster.lab import Lab

_NAME = "ratify-constraint"


def _action(action: str) -> Callable[[Object], None]:
    def change(thing: Object) -> None:
        if thing["kind"] == "RatifyVerification":
            thing["spec"]["enforcementAction"] = action

    return change


def test_warn(lab: Lab, level_1: bytes, say: Say) -> None:
    """enforcementAction warn admits the Pod and prints the same violation as a warning"""
    image = lab.image("level-1", level_1)
    denied = lab.run(image)
    assert not denied.admitted
    lab.apply("gatekeeper/demo", change=_action("warn"))
    warned = lab.run(image)
    assert warned.admitted, warned.text
    violation = f"[{_NAME}] {denied.text.partition(f'[{_NAME}] ')[2]}"
    assert f"Warning: {violation}" in warned.text
    say(warned.text.splitlines()[-1])


def test_dryrun_and_audit(lab: Lab, level_1: bytes, level_3: bytes, say: Say) -> None:
    """enforcementAction dryrun admits the Pod in silence, and Gatekeeper's audit lists its violation"""
    lab.apply("gatekeeper/demo", change=_action("dryrun"))
    bad, good = lab.pod(lab.image("level-1", level_1)), lab.pod(lab.image("level-3", level_3))
    outcomes = [lab.create(pod) for pod in (bad, good)]
    assert all(outcome.admitted for outcome in outcomes)
    assert not any("Warning" in outcome.text for outcome in outcomes)
    lab.gatekeeper.stop_audit()
    lab.gatekeeper.start_audit(audit_interval="3")
    try:
        listed = ("get", "ratifyverification", _NAME, "-o", "jsonpath={.status.violations}")
        text = lab.kubectl.until(bad["metadata"]["name"], *listed, seconds=60)
    finally:
        lab.gatekeeper.stop_audit()
        lab.gatekeeper.start_audit()
    assert "SLSA_SOURCE_LEVEL_1" in text
    assert "dryrun" in text
    assert good["metadata"]["name"] not in text
    total = lab.kubectl.run("get", "ratifyverification", _NAME, "-o", "jsonpath={.status.totalViolations}")
    say(f"{total} violations in status, the level 3 Pod's not among them")


@pytest.fixture
def hardened(lab: Lab) -> Iterator[None]:
    """Only digests are admitted, everywhere."""
    lab.apply("gatekeeper/hardened")
    yield
    lab.apply("gatekeeper/mutation")


@pytest.mark.usefixtures("hardened")
def test_tags_become_digests(lab: Lab, level_1: bytes, level_3: bytes, say: Say) -> None:
    """with the mutation, a Pod that names tags is stored with digests, in all its containers"""
    good = lab.image("level-3", level_3)
    tag = f"{good.partition('@')[0]}:v1"
    pod = lab.pod(tag, initContainers=[{"name": "init", "image": tag}])
    outcome = lab.create(pod)
    assert outcome.admitted, outcome.text
    name = pod["metadata"]["name"]
    stored = lab.kubectl.get("pod", name, "-n", "default")["spec"]
    assert [stored[key][0]["image"] for key in ("containers", "initContainers")] == [good, good]
    debug = lab.kubectl.attempt("debug", name, f"--image={tag}", "--attach=false")
    assert debug.admitted, debug.text
    stored = lab.kubectl.get("pod", name, "-n", "default")["spec"]
    assert stored["ephemeralContainers"][0]["image"] == good
    bad = lab.image("level-1", level_1)
    denied = lab.run(f"{bad.partition('@')[0]}:v1")
    assert not denied.admitted
    assert bad in denied.text, "the denial names the digest that the tag stood for"
    say(f"{tag} became {stored['containers'][0]['image']}")


def test_a_tag_that_cannot_be_resolved_is_denied(lab: Lab, say: Say) -> None:
    """with the mutation, a Pod whose tag does not resolve is denied"""
    denied = lab.run(f"{lab.registry}/nothing:v1")
    assert not denied.admitted
    say(denied.text.partition("denied the request: ")[2])


@pytest.mark.usefixtures("hardened")
def test_a_tag_is_denied_without_the_mutation(lab: Lab, level_3: bytes, say: Say) -> None:
    """without the mutation, a tag is denied even where its image would pass"""
    image = lab.image("level-3", level_3)
    for thing in lab.kustomize("gatekeeper/mutation"):
        lab.kubectl.run("delete", "assign", thing["metadata"]["name"])
    denied = lab.kubectl.until(
        "is not named by its digest", "run", "tagged", f"--image={image.partition('@')[0]}:v1"
    )
    assert "tagged created" not in denied
    assert lab.run(image).admitted
    say(denied.partition("[ratify-constraint] ")[2])
