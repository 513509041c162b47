"""kagent's Agents: what their Deployment meets, and what the Agent itself meets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import yaml

from tests.e2e.cluster.conftest import Say
from tests.e2e.cluster.kube import Object
from tests.e2e.cluster.lab import Lab
from tests.e2e.shared import shared

AGENT = "demo-agent"
_DEFINITION = "agents.kagent.dev"


def deployment_of(agent: Object) -> Object:
    """Return the Deployment that kagent's controller (v0.9.12) makes of a BYO Agent, in what admission sees.

    The controller itself is not on any registry that this machine reaches.
    """
    name = agent["metadata"]["name"]
    own = agent["spec"]["byo"]["deployment"]
    labels = {"app": "kagent", "kagent": name, "app.kubernetes.io/managed-by": "kagent"}
    owner = {
        "apiVersion": agent["apiVersion"],
        "kind": agent["kind"],
        "name": name,
        "uid": agent["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
    container = {
        "name": "kagent",
        "image": own["image"],
        "imagePullPolicy": "IfNotPresent",
        "ports": [{"name": "http", "containerPort": 8080}],
        "resources": own["resources"],
    }
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels, "ownerReferences": [owner]},
        "spec": {
            "replicas": own["replicas"],
            "strategy": rolling,
            "selector": {"matchLabels": {"app": "kagent", "kagent": name}},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }


@pytest.fixture(scope="module")
def definition(bare_lab: Lab) -> None:
    """kagent's own definition of an Agent."""
    file = shared("data", "kagent", "kagent.dev_agents.crd.yaml")
    bare_lab.kubectl.run("apply", "--server-side", "-f", str(file))
    bare_lab.kubectl.wait_for_definitions(_DEFINITION)


@pytest.fixture
def agents_constraint(lab: Lab) -> Iterator[None]:
    (constraint,) = lab.apply("gatekeeper/agents")
    yield
    lab.kubectl.run("delete", "ratifyverification", constraint["metadata"]["name"])


def _apply_agent(lab: Lab, folder: str) -> Object:
    """Apply an Agent as a person does, then its Deployment as kagent's controller does."""
    if folder.endswith("level-1"):  # nothing is to be left of what was checked through another door
        lab.kubectl.run("delete", "deployment", AGENT, "-n", "default", "--ignore-not-found")
        lab.kubectl.run("delete", "events", "-n", "default", "--field-selector", "reason=FailedCreate")
        gone = ("get", "replicasets,pods", "-n", "default", "-l", f"kagent={AGENT}")
        lab.kubectl.until("No resources found", *gone)
    lab.kubectl.apply(lab.kustomize(folder), "-n", "default")
    agent = lab.kubectl.get("agent", AGENT, "-n", "default")
    lab.kubectl.apply([deployment_of(agent)], "-n", "default")
    return agent


@pytest.mark.usefixtures("definition")
def test_an_agents_replica_set_says_why(lab: Lab, agent_images: dict[str, str], say: Say) -> None:
    """a BYO Agent at level 1 gets no Pod, and its ReplicaSet's event carries the denial"""
    _apply_agent(lab, "kagent/level-1")
    events = ("get", "events", "-n", "default", "--field-selector", "reason=FailedCreate", "-o")
    text = lab.kubectl.until("SLSA_SOURCE_LEVEL_1", *events, "jsonpath={.items[*].message}")
    assert f"{agent_images['level-1']} is not admitted" in text
    owners = lab.kubectl.run(*events, "jsonpath={.items[*].involvedObject.kind}")
    assert "ReplicaSet" in owners
    assert not lab.kubectl.exists("pods", "-n", "default", "-l", f"kagent={AGENT}")
    say(text.partition("is not admitted: ")[2])


@pytest.mark.usefixtures("definition")
def test_an_upgraded_agent_gets_its_pod(lab: Lab, agent_images: dict[str, str], say: Say) -> None:
    """after the Agent's image is upgraded to level 3, its Pod exists"""
    _apply_agent(lab, "kagent/level-3")
    pods = ("get", "pods", "-n", "default", "-l", f"kagent={AGENT}", "-o")
    image = lab.kubectl.until(agent_images["level-3"], *pods, "jsonpath={.items[*].spec.containers[*].image}")
    say(f"the Pod runs {image}")


@pytest.mark.usefixtures("definition", "agents_constraint")
def test_an_agent_is_denied_on_the_terminal(lab: Lab, agent_images: dict[str, str], say: Say) -> None:
    """with the constraint on Agents, one at level 1 is denied on the terminal of who applies it"""
    lab.kubectl.run("delete", "agent", AGENT, "-n", "default", "--ignore-not-found")
    outcomes = {}
    for level, image in agent_images.items():
        (agent,) = lab.kustomize(f"kagent/{level}")
        agent["spec"]["byo"]["deployment"]["image"] = image  # by its digest, as the constraint asks
        given = yaml.safe_dump(agent)
        outcomes[level] = lab.kubectl.attempt("apply", "-n", "default", "-f", "-", given=given)
    denied, admitted = outcomes["level-1"], outcomes["level-3"]
    assert not denied.admitted
    assert "SLSA_SOURCE_LEVEL_1" in denied.text
    assert admitted.admitted, admitted.text
    say(denied.text.partition("is not admitted: ")[2])


@pytest.mark.usefixtures("definition", "agents_constraint")
def test_the_skills_of_an_agent_are_checked(lab: Lab, level_1: bytes, level_3: bytes, say: Say) -> None:
    """images that an Agent fetches as skills, past every Pod's admission, are checked with the Agent"""
    bad, good = lab.image("skill", level_1), lab.image("skill", level_3)
    results = {}
    for image in (bad, good):
        spec = {
            "type": "Declarative",
            "declarative": {"systemMessage": "Be brief.", "modelConfig": "default"},
            "skills": {"refs": [image]},
        }
        agent: Object = {"apiVersion": "kagent.dev/v1alpha2", "kind": "Agent", "spec": spec}
        agent["metadata"] = {"name": lab.unique("skilled")}
        results[image] = lab.kubectl.attempt("apply", "-n", "default", "-f", "-", given=yaml.safe_dump(agent))
    assert not results[bad].admitted
    assert bad in results[bad].text
    assert results[good].admitted, results[good].text
    say(results[bad].text.partition("is not admitted: ")[2])


@pytest.mark.usefixtures("agents_constraint")
def test_a_deployment_is_denied_on_the_terminal(lab: Lab, level_1: bytes, say: Say) -> None:
    """with the same constraint, so is a Deployment"""
    image = lab.image("level-1", level_1)
    denied = lab.kubectl.attempt("create", "deployment", lab.unique("app"), f"--image={image}")
    assert not denied.admitted
    assert image in denied.text
    say(denied.text.partition("is not admitted: ")[2])
