"""The way without Ratify: from a cluster that has nothing but Gatekeeper to the first denial."""

from __future__ import annotations

import json

import pytest

from tests.e2e.cluster import charts
from tests.e2e.cluster.conftest import Say
from tests.e2e.cluster.lab import Lab, install_provider
from tests.e2e.cluster.provider import NAME

pytestmark = pytest.mark.through("provider")


def test_three_commands(bare_lab: Lab, door: str, agent_images: dict[str, str], say: Say) -> None:
    """kubectl apply -k deploy/provider, the script of the certificates, and kubectl run: denied, with the reason"""
    assert door == bare_lab.provider.name
    applied, scripted = install_provider(bare_lab)
    assert f"deployment.apps/{NAME} created" in applied
    assert "constrainttemplate.templates.gatekeeper.sh/ratifyverification created" in applied
    assert f'deployment "{NAME}" successfully rolled out' in scripted
    assert "ratifyverification.constraints.gatekeeper.sh/ratify-constraint created" in scripted
    registry = bare_lab.registry
    denied = bare_lab.developer.attempt("run", "agent", f"--image={registry}/agents/demo-agent:level-1")
    assert not denied.admitted, denied.text
    for part in (
        "[ratify-constraint]",
        agent_images["level-1"],
        "SLSA_SOURCE_LEVEL_1",
        "SLSA_SOURCE_LEVEL_2",
    ):
        assert part in denied.text
    admitted = bare_lab.developer.attempt("run", "agent", f"--image={registry}/agents/demo-agent:level-3")
    assert admitted.admitted, admitted.text
    stored = bare_lab.kubectl.get("pod", "agent", "-n", "default")["spec"]["containers"][0]["image"]
    assert stored == agent_images["level-3"], "the tag has become its digest"
    say(denied.text)


def test_the_pods_have_no_rights(lab: Lab, say: Say) -> None:
    """the Pods that the cluster made of the Deployment run without privileges, token and writable root, on nodes of their own"""
    pods = lab.kubectl.get("pods", "-n", charts.NAMESPACE, "-l", f"app.kubernetes.io/name={NAME}")["items"]
    assert len(pods) == 2
    for pod in pods:
        spec = pod["spec"]
        (container,) = spec["containers"]
        assert spec["automountServiceAccountToken"] is False
        assert not [volume for volume in spec["volumes"] if "projected" in volume], "no token is mounted"
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        }
        assert spec["securityContext"]["runAsNonRoot"] is True
        spread = {one["topologyKey"] for one in spec["topologySpreadConstraints"]}
        assert spread == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}
        assert "PRIVATE" not in json.dumps(pod)
    budget = lab.kubectl.get("poddisruptionbudget", NAME, "-n", charts.NAMESPACE)["spec"]
    assert budget["minAvailable"] == 1
    account = f"system:serviceaccount:{charts.NAMESPACE}:{NAME}"
    for what in ("secrets", "pods", "serviceaccounts"):
        allowed = lab.kubectl.attempt("auth", "can-i", "get", what, "-n", charts.NAMESPACE, f"--as={account}")
        assert allowed.text.splitlines()[-1] == "no", what
    say(f"{len(pods)} Pods, budget of {budget['minAvailable']}")


def test_only_gatekeeper_may_ask(lab: Lab, say: Say) -> None:
    """who shows no certificate of Gatekeeper's authority gets no answer; Gatekeeper does"""
    refused = lab.ask_provider(lab.image("asked"), user=None)
    assert "refused" in refused
    stranger = lab.ask_provider(lab.image("asked"), user=lab.plane.admin)
    assert "refused" in stranger
    answered = lab.ask_provider(lab.image("asked"), user=lab.gatekeeper.pair)
    assert '"isSuccess":false' in answered.replace(" ", "")
    say(f"without: {refused}; of another authority: {stranger}")
