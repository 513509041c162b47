"""``registry check``'s engine: what it finds on registries that work, and where it stops on others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.network.dialing import Resolver
from slsa_verifier_plugin.registry.probe.probe import Probe, ProbeStep
from slsa_verifier_plugin.registry.reference import Reference
from slsa_verifier_plugin.registry.settings import StoreSettings
from tests.support import toxins
from tests.support.certificates import Authority
from tests.support.content import push
from tests.support.embedded_registry import EmbeddedRegistry
from tests.support.names import nowhere
from tests.support.registries import BasicRegistry, TokenRegistry, TokenServer, ToxicRegistry

HTTP = StoreSettings(use_http=True)
NAMES = ["resolve", "connect", "ping", "authenticate", "manifest", "referrers", "artifact", "blob"]


def steps(
    image: Reference,
    settings: StoreSettings = HTTP,
    environ: dict[str, str] | None = None,
    seconds: float = 5,
) -> dict[str, ProbeStep]:
    found = list(Probe(image, settings, environ or {}, Deadline(seconds), resolver=Resolver(nowhere)).steps())
    assert [step.name for step in found] == NAMES
    return {step.name: step for step in found}


def outcomes(found: dict[str, ProbeStep]) -> list[str]:
    return [step.outcome for step in found.values()]


@pytest.mark.parametrize("api", [True, False])
def test_every_step_passes_on_an_open_registry(api: bool) -> None:
    with EmbeddedRegistry(referrers_api=api) as registry:
        pushed = push(registry)
        found = steps(pushed.image)
    assert outcomes(found) == ["passed"] * 8
    assert found["connect"].message == "connected, without TLS"
    assert found["authenticate"].facts["credentials"] == "not asked for"
    assert found["referrers"].facts["listed by"] == ("the referrers API" if api else "the fallback tag")
    assert found["referrers"].facts["artifact types"] == "slsla/attestation"
    assert found["blob"].facts["size"] == "24000"
    assert all(step.seconds >= 0 for step in found.values())
    assert [request.status for request in found["referrers"].requests] == ([200] if api else [404, 200])


def test_a_tag_is_enough() -> None:
    with EmbeddedRegistry() as registry:
        pushed = push(registry)
        found = steps(Reference.parse(f"{registry.host}/team/app:1"))
    assert found["manifest"].facts["digest"] == str(pushed.image.digest)
    assert outcomes(found) == ["passed"] * 8


def test_challenge_and_token_are_told_without_their_secrets(tmp_path: Path) -> None:
    with TokenServer({"alice": "planted"}) as server, TokenRegistry(server) as registry:
        pushed = push(registry)
        entry = {"username": "alice", "password": "planted"}
        (tmp_path / "config.json").write_text(json.dumps({"auths": {registry.host: entry}}))
        found = steps(pushed.image, environ={"DOCKER_CONFIG": str(tmp_path)})
        tokens = list(server.issued)
    assert outcomes(found) == ["passed"] * 8
    assert found["ping"].facts["challenge"].startswith(f"Bearer realm={server.url} service=test")
    assert found["authenticate"].facts == {
        "authProvider": "dockerConfig",
        "credentials": "a user name and password",
    }
    requests = found["authenticate"].requests
    assert [(request.method, request.status) for request in requests] == [
        ("HEAD", 401),
        ("GET", 200),
        ("HEAD", 200),
    ]
    assert "repository:team/app:pull" in requests[0].headers["WWW-Authenticate"]
    assert requests[1].url == f"{server.url}/..."
    assert tokens
    assert not any(secret in repr(found) for secret in [*tokens, "planted"])


def test_the_step_that_fails_says_why_and_the_rest_is_skipped() -> None:
    with BasicRegistry({"alice": "x"}) as registry:
        found = steps(push(registry).image)
    assert outcomes(found) == ["passed", "passed", "passed", "failed", *["skipped"] * 4]
    assert found["authenticate"].reason == "REGISTRY_UNAUTHORIZED"
    assert "authProvider has no credentials" in found["authenticate"].message
    assert found["blob"].message == "not tried, because authenticate failed"


def test_a_name_without_address_is_the_first_failure() -> None:
    found = steps(Reference.parse("registry.example/app:1"))
    assert outcomes(found) == ["failed", *["skipped"] * 7]
    assert found["resolve"].reason == "REGISTRY_UNREACHABLE"


def test_a_closed_port_is_a_failure_of_connecting() -> None:
    with EmbeddedRegistry() as registry:
        host = registry.host
    assert outcomes(steps(Reference.parse(f"{host}/app:1")))[:3] == ["passed", "failed", "skipped"]


def test_tls_is_described_and_a_wrong_authority_is_a_failure_of_connecting(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    context = authority.server_context(authority.server("probed", "127.0.0.1"))
    with EmbeddedRegistry(tls=context) as registry:
        pushed = push(registry)
        found = steps(pushed.image, StoreSettings(), {"SSL_CERT_FILE": str(authority.root)})
        assert outcomes(found) == ["passed"] * 8
        assert found["connect"].facts["TLS"] == "TLSv1.3"
        assert found["connect"].facts["issuer"] == "commonName=test root"
        found = steps(pushed.image, StoreSettings())
    assert found["connect"].reason == "REGISTRY_TLS"


def test_a_registry_that_answers_nobody_at_its_root_is_still_looked_into() -> None:
    with ToxicRegistry(toxins.status(404), "/v2/$") as registry:
        found = steps(push(registry).image)
    assert outcomes(found) == ["passed", "passed", "failed", *["passed"] * 5]


def test_a_blob_elsewhere_is_told_by_its_host_alone() -> None:
    with EmbeddedRegistry() as objects, ToxicRegistry(toxins.redirect("unset"), "/blobs/") as registry:
        pushed = push(registry)
        objects.storage.put_blob("b", pushed.content)
        registry.toxin = toxins.redirect(f"{objects.url}/v2/b/blobs/{pushed.blob.digest}?signature=planted")
        found = steps(pushed.image)
    assert outcomes(found) == ["passed"] * 8
    first, second = found["blob"].requests
    assert (first.status, second.status) == (307, 200)
    assert first.headers["Location"] == f"{objects.url}/..."
    assert second.url == f"{objects.url}/..."
    assert "planted" not in repr(found)


def test_all_steps_together_end_at_the_deadline() -> None:
    with ToxicRegistry(toxins.silent, "/manifests/") as registry:
        found = steps(push(registry).image, seconds=0.5)
    assert found["authenticate"].reason == "DEADLINE_EXCEEDED"
    assert found["authenticate"].transient


def test_an_image_nothing_refers_to_says_so() -> None:
    with EmbeddedRegistry() as registry:
        registry.push_image("team/app", "1")
        found = steps(Reference.parse(f"{registry.host}/team/app:1"))
    assert outcomes(found) == ["passed"] * 8
    assert found["referrers"].message.startswith("nothing refers to this digest")
    assert found["blob"].message == "there is none"


@pytest.mark.parametrize("layers", [5, "text", True, {}, None, [5]])
def test_a_referrer_of_any_form_ends_in_words(layers: object) -> None:
    with EmbeddedRegistry() as registry:
        image = registry.push_image("team/app", "1")
        subject = {"mediaType": image.media_type, "digest": str(image.digest), "size": image.size}
        artifact = {"schemaVersion": 2, "artifactType": "any/type", "layers": layers, "subject": subject}
        registry.storage.put_manifest("team/app", json.dumps(artifact).encode())
        found = steps(Reference.parse(f"{registry.host}/team/app:1"))
    assert found["artifact"].outcome == ("failed" if layers == [5] else "passed")
