"""The provider's policies by namespace, and resources that would count for nothing."""

from __future__ import annotations

from pathlib import Path

from slsa_verifier_plugin.checking.status import Status
from tests.support.certificates import Authority
from tests.support.command_line import LEVEL_1, LEVEL_3, cli, parameters, verifier, write_yaml
from tests.support.embedded_registry import EmbeddedRegistry
from tests.support.provider import (
    STORE,
    policy_resource,
    provider,
    said,
)
from tests.support.provider_place import REPOSITORY, namespaced, push


def test_a_namespace_is_decided_by_its_own_policies_or_the_clusters(tmp_path: Path) -> None:
    lower = verifier(spec={"parameters": parameters(level=1)})
    policies = tmp_path / "policies"
    policies.mkdir()
    write_yaml(policies / "cluster.yaml", verifier(), STORE, policy_resource(slsla="any"))
    write_yaml(policies / "team-a.yml", namespaced("NamespacedVerifier", "team-a", lower))
    (policies / ".hidden.yaml").write_text("{")
    (policies / "notes.txt").write_text("{")
    with EmbeddedRegistry() as registry, provider(tmp_path, [policies], "--namespaced") as running:
        image = push(registry, "level-1", LEVEL_1)
        keys = [
            image,
            f"[team-a]{image}",
            f"[team-b]{image}",
            f"[]{image}",
            f"[Team]{image}",
            f"[a]{'b' * 2000}",
        ]
        found = [said(item) for item in running.ask(*keys).items]
        assert found[:3] == ["denied LEVEL_TOO_LOW", "admitted", "denied LEVEL_TOO_LOW"]
        assert all(one.startswith("error KEY_INVALID") for one in found[3:])
        # The other way round, too: what is kept of one namespace does not speak for another.
        assert [said(item) for item in running.ask(*keys[2::-1]).items] == found[2::-1]
        (item,) = running.ask(f"[team-a]{registry.host}/{REPOSITORY}:level-1", path="v1/mutate").items
        assert item["value"] == image


def test_a_namespace_without_any_policy_is_refused(tmp_path: Path) -> None:
    policies = write_yaml(
        tmp_path / "p.yaml",
        namespaced("NamespacedVerifier", "team-a", verifier()),
        namespaced("NamespacedStore", "team-a", STORE),
    )
    with EmbeddedRegistry() as registry, provider(tmp_path, [policies], "--namespaced") as running:
        image = push(registry, "level-3", LEVEL_3)
        found = [said(item) for item in running.ask(f"[team-a]{image}", f"[team-b]{image}", image).items]
        assert found[0] == "admitted"
        assert all(one.startswith("error NAMESPACE_REFUSED") for one in found[1:])


def test_a_namespace_whose_own_verifiers_are_not_evaluated_is_not_decided_by_the_clusters(
    tmp_path: Path,
) -> None:
    other = verifier(name="other", spec={"type": "cosign", "name": "cosign"})
    policies = write_yaml(
        tmp_path / "p.yaml",
        verifier(),
        STORE,
        namespaced("NamespacedVerifier", "team-a", other),
        namespaced("NamespacedVerifier", "team-b", other),
        {
            **namespaced("NamespacedVerifier", "team-b", verifier()),
            "metadata": {"name": "b", "namespace": "team-b"},
        },
    )
    with EmbeddedRegistry() as registry, provider(tmp_path, [policies], "--namespaced") as running:
        image = push(registry, "level-3", LEVEL_3)
        found = [said(item) for item in running.ask(f"[team-a]{image}", f"[team-b]{image}", image).items]
        assert found[0].startswith("error NAMESPACE_REFUSED: the namespace team-a has Verifiers of its own")
        assert found[1:] == ["admitted", "admitted"]


def test_a_resource_that_would_count_for_nothing_ends_it_at_the_start(tmp_path: Path) -> None:
    own = namespaced("NamespacedVerifier", "team-a", verifier())
    server = Authority(tmp_path / "pki").server("server", "127.0.0.1")
    places = [f"--tls-cert={server.certificate}", f"--tls-key={server.key}", "--listen=127.0.0.1:0"]
    for resource, says in (
        ({**own, "kind": "NamespacedVerifer"}, "is not known"),
        ({**own, "apiVersion": "config.ratify.deislabs.io/v2"}, "is not known"),
        ({**own, "metadata": {"name": "own", "namespace": "Team A"}}, "is no name of a namespace"),
    ):
        policies = write_yaml(tmp_path / "p.yaml", verifier(), STORE, resource)
        done = cli("serve", "--policy", policies, "--namespaced", *places, environ={"HOME": str(tmp_path)})
        assert (done.status, says in done.err) == (Status.USAGE, True), done
    # What others read from the same folder is none of ours.
    foreign = [{**own, "kind": kind} for kind in ("NamespacedKeyManagementProvider", "CertificateStore")]
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}}
    policies = write_yaml(tmp_path / "p.yaml", verifier(), STORE, *foreign, config)
    with provider(tmp_path, [policies], "--namespaced") as running:
        assert running.get("/readyz")[0] == 200
