"""docs/operations/install.md as it stands: from a cluster that has nothing but Gatekeeper to the first denials."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.e2e.cluster import builds, charts
from tests.e2e.cluster.conftest import Say
from tests.e2e.cluster.lab import Lab
from tests.e2e.cluster.page import Reader, section, steps
from tests.e2e.cluster.provider import NAME
from tests.e2e.cluster.reading import BEFORE, DIRECT, PAGE, RATIFY, follow, prepare


@pytest.mark.through("provider")
def test_the_page_word_for_word(bare_lab: Lab, door: str, reader: Reader, say: Say, tell: Say) -> None:
    """docs/operations/install.md as it stands, without Ratify: from Gatekeeper alone to three decisions and back"""
    assert door == bare_lab.provider.name
    # Ratify's chart, whose objects are in this cluster already, has a Provider of that name.
    bare_lab.kubectl.run("delete", "provider.externaldata.gatekeeper.sh", "--all")
    chosen = list(steps(section(PAGE, BEFORE, DIRECT)))
    printed, left = follow(bare_lab, reader, chosen)
    built = next(text for command, text in printed.items() if "build.sh" in command)
    assert built.strip().rpartition("@")[2] == bare_lab.provider.image.partition("@")[2], "it is reproducible"
    assert f"--version {builds.GATEKEEPER.version.removeprefix('v')}" in PAGE.read_text("utf-8")
    unattested = next(text for command, text in printed.items() if "run unattested" in command)
    assert "NO_ATTESTATION" in unattested
    held = bare_lab.kubectl.get("configmap", "slsa-verifier-policy", "-n", charts.NAMESPACE)["data"]
    assert set(held) == {"policy.yaml", "store.yaml"}, "the test root is out again"
    assert "test-only" not in held["policy.yaml"]
    # The checks that follow ask by the same authority.
    authority = reader.folder / "mine" / "provider" / "gatekeeper" / "ca.crt"
    shutil.copy(authority, bare_lab.manifests / "provider" / "gatekeeper" / "ca.crt")
    followed = list(steps(section(PAGE, BEFORE, DIRECT, RATIFY)))
    others = [one for one in steps(PAGE.read_text("utf-8")) if one not in followed]
    assert all(one.left_out for one in others), "a command in a section that nobody follows"
    for line in (*left, *(f"left out: {one.command} ({one.left_out})" for one in others)):
        tell(line)
    say(f"{len(printed)} commands, {len(left) + len(others)} left out")


@pytest.mark.through("ratify")
def test_the_page_with_ratify_word_for_word(lab: Lab, reader: Reader, say: Say, tell: Say) -> None:
    """docs/operations/install.md as it stands, with Ratify"""
    prepare(lab, reader)
    # Ratify would put its CA there by itself, and this registry speaks plain HTTP.
    shutil.copy(
        lab.manifests / "gatekeeper/provider/ca.crt", reader.folder / "mine/gatekeeper/provider/ca.crt"
    )
    store = reader.folder / "mine" / "ratify" / "store" / "store-oras.yaml"
    store.write_text(store.read_text().replace("useHttp: false", "useHttp: true"))
    printed, left = follow(lab, reader, steps(section(PAGE, RATIFY)))
    for line in left:
        tell(line)
    say(f"{len(printed)} commands, {len(left)} left out")


@pytest.mark.through("provider")
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


@pytest.mark.through("provider")
def test_only_gatekeeper_may_ask(lab: Lab, say: Say) -> None:
    """who shows no certificate of Gatekeeper's authority gets no answer; Gatekeeper does"""
    refused = lab.ask_provider(lab.image("asked"), user=None)
    assert "refused" in refused
    stranger = lab.ask_provider(lab.image("asked"), user=lab.plane.admin)
    assert "refused" in stranger
    answered = lab.ask_provider(lab.image("asked"), user=lab.gatekeeper.pair)
    assert '"isSuccess":false' in answered.replace(" ", "")
    say(f"without: {refused}; of another authority: {stranger}")
