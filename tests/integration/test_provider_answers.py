"""The provider's answers: shapes, keys, policies, what is kept, what is logged and counted."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from tests.support.command_line import ARTIFACT_TYPE, LEVEL_1, LEVEL_3, cli, verifier, write_yaml
from tests.support.embedded_registry import EmbeddedRegistry
from tests.support.provider import (
    STORE,
    policy_resource,
    provider,
    provider_request,
    said,
    store,
    wait_for,
)
from tests.support.provider_place import REPOSITORY, CountingRegistry, Place, push


def test_the_value_is_ratifys(place: Place) -> None:
    reply = place.running.ask(place.level_3)
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json"
    assert reply.body["apiVersion"] == "externaldata.gatekeeper.sh/v1beta1"
    assert reply.body["kind"] == "ProviderResponse"
    assert reply.body["response"]["idempotent"] is True
    assert reply.system_error == ""
    (item,) = reply.items
    assert set(item) == {"key", "value"}
    assert item["key"] == place.level_3
    value = item["value"]
    assert list(value) == ["version", "isSuccess", "traceID", "timestamp", "verifierReports"]
    assert value["version"] == "0.2.0"
    assert value["isSuccess"] is True
    (report,) = value["verifierReports"]
    assert report["subject"] == place.level_3
    assert report["isSuccess"] is True
    assert report["name"] == report["verifierName"] == "verifier-slsa"
    assert report["type"] == report["verifierType"] == "slsla"
    assert report["artifactType"] == ARTIFACT_TYPE
    assert report["referenceDigest"] == report["extensions"]["artifact"]
    assert report["extensions"]["reason"] == "VERIFIED"
    assert report["message"].startswith("SLSA Attestation Check: SUCCESS")


def test_the_words_of_a_denial_are_those_of_the_command_line(place: Place, tmp_path: Path) -> None:
    (item,) = place.running.ask(place.level_1).items
    assert said(item) == "denied LEVEL_TOO_LOW"
    (report,) = item["value"]["verifierReports"]
    policies = write_yaml(tmp_path / "policies.yaml", verifier(), STORE)
    done = cli(
        "verify", place.level_1, "--policy", policies, "--json", environ={"HOME": str(tmp_path / "home")}
    )
    (image,) = json.loads(done.out)["images"]
    (artifact,) = image["artifacts"]
    assert report["message"] == artifact["result"]["message"]
    assert report["extensions"]["steps"] == artifact["result"]["extensions"]["steps"]


def test_every_key_is_answered_in_its_place_and_one_s_failure_is_its_own(place: Place) -> None:
    nowhere = "127.0.0.1:1/team/app:1"
    keys = [
        place.level_3,
        nowhere,
        place.level_1,
        "[team-a]" + place.level_3,
        "..",
        place.bare,
        place.level_3,
    ]
    reply = place.running.ask(*keys)
    assert [item["key"] for item in reply.items] == keys
    found = [said(item) for item in reply.items]
    assert found[0] == found[6] == "admitted"
    assert found[1].startswith("error REGISTRY_UNREACHABLE: ")
    assert found[2] == "denied LEVEL_TOO_LOW"
    assert found[3].startswith("error NAMESPACE_REFUSED: ")
    assert found[4].startswith("error KEY_INVALID: ")
    assert found[5] == "denied NO_ATTESTATION"


def test_no_keys_are_no_items(place: Place) -> None:
    assert place.running.ask().items == []
    assert place.running.ask(body=provider_request([], request={"keys": None})).items == []


def test_the_older_version_is_answered_in_kind(place: Place) -> None:
    body = provider_request([place.level_3], apiVersion="externaldata.gatekeeper.sh/v1alpha1")
    reply = place.running.ask(body=body)
    assert reply.body["apiVersion"] == "externaldata.gatekeeper.sh/v1alpha1"
    assert said(reply.items[0]) == "admitted"


def test_ratify_2_is_answered_in_its_shape(place: Place) -> None:
    yes, no, failed = (
        item for item in place.running.ask(place.level_3, place.level_1, "..", path="v2/verify").items
    )
    assert yes["value"]["succeeded"] is True
    (report,) = yes["value"]["artifactReports"]
    assert report["subject"] == place.level_3
    assert report["artifact"].startswith("sha256:")
    assert report["results"][0]["verifierName"] == "verifier-slsa"
    assert "errorReason" not in report["results"][0]
    assert no["value"]["succeeded"] is False
    assert "SLSA_SOURCE_LEVEL_1" in no["value"]["artifactReports"][0]["results"][0]["errorReason"]
    assert failed["error"].startswith("KEY_INVALID")
    (bare,) = place.running.ask(place.bare, path="v2/verify").items
    assert bare["value"]["succeeded"] is False
    assert "found nothing attached" in bare["value"]["artifactReports"][0]["results"][0]["errorReason"]


@pytest.mark.parametrize("path", ["v1/mutate", "v2/mutate"])
def test_a_tag_becomes_its_digest(place: Place, path: str) -> None:
    tag = f"{place.registry.host}/{REPOSITORY}:level-3"
    missing = f"{place.registry.host}/{REPOSITORY}:none"
    reply = place.running.ask(tag, place.level_1, missing, "http://x", path=path)
    first, second, third, fourth = reply.items
    assert reply.body["response"]["idempotent"] is True
    assert (first["value"], second["value"]) == (place.level_3, place.level_1)
    assert third["error"].startswith("REGISTRY_NOT_FOUND")
    assert fourth["error"].startswith("KEY_INVALID")


def test_what_is_no_request_is_refused_as_a_whole(place: Place) -> None:
    running = place.running
    for body, status, words in (
        (b"", 400, "not JSON"),
        (b"{", 400, "not JSON"),
        (b"[]", 400, "kind ProviderRequest"),
        (b'{"kind":"ProviderRequest","kind":"ProviderRequest"}', 400, "not JSON"),
        (provider_request([], kind="Other"), 400, "kind ProviderRequest"),
        (provider_request([], apiVersion="v2"), 400, "apiVersion"),
        (provider_request([], request={}), 400, "request.keys"),
        (provider_request([], request={"keys": [1]}), 400, "request.keys"),
        (provider_request([], request={"keys": "a"}), 400, "request.keys"),
        (b'{"a":' * 100, 400, "not JSON"),
        (provider_request([], request=[[{"a": [1]}] * 40_000]), 400, "objects and lists"),
        (provider_request([place.level_3] * 257), 413, "257 keys"),
        (provider_request(["a" * 1024] * 600), 413, "larger than"),
    ):
        reply = running.ask(body=body)
        assert (reply.status, reply.items) == (status, []), body[:60]
        assert words in reply.system_error
    assert running.ask("x", path="v1/else").status == 404
    with running.connection() as connection:
        connection.request("GET", "/ratify/gatekeeper/v1/verify")
        assert connection.getresponse().status == 405
    # An honest neighbour of the largest that is answered.
    assert [said(item) for item in running.ask(*[place.level_3] * 256).items] == ["admitted"] * 256


def test_health_is_readable_without_a_certificate_and_nothing_else_is(place: Place) -> None:
    running = place.running
    assert running.get("/healthz") == (200, "ok\n")
    assert running.get("/readyz") == (200, "ok\n")
    for path in ("/ratify/gatekeeper/v1/verify", "/", "/metrics/../ratify/gatekeeper/v1/verify"):
        assert running.get(path)[0] in (404, 405), path


def test_the_metrics_tell_what_was_decided(place: Place) -> None:
    running = place.running
    before = running.metric('slsa_provider_decisions_total{decision="denied"')
    running.ask(place.level_1)
    assert running.metric('slsa_provider_decisions_total{decision="denied"') == before + 1
    _, text = running.get("/metrics")
    assert 'reason="LEVEL_TOO_LOW"' in text
    assert 'policy="verifier-slsa"' in text
    for name in (
        "slsa_provider_decision_seconds_bucket",
        'slsa_provider_cache_lookups_total{cache="content",outcome="hit"}',
        "slsa_provider_registry_errors_total",
        "slsa_provider_trusted_root_age_seconds{",
        'slsa_provider_certificate_expiry_timestamp_seconds{file="certificate"}',
        'slsa_provider_certificate_expiry_timestamp_seconds{file="client-ca"}',
        "process_resident_memory_bytes",
    ):
        assert name in text, name


def test_each_decision_is_one_line_without_secrets(place: Place) -> None:
    running = place.running
    # Whoever types a password where an image belongs does not find it in the log.
    secret = "https://user:hunter2-hunter2@registry.example/app"
    running.ask(place.level_3, secret)
    wait_for(lambda: any(event["image"] is None for event in running.events("decision")))
    log = running.log.read_text()
    assert "hunter2" not in log
    last = [event for event in running.events("decision") if event["image"] == place.level_3][-1]
    assert last["decision"] == "admitted"
    assert last["policy"] == "verifier-slsa"
    assert last["digest"] == place.level_3.partition("@")[2]
    assert last["ms"] >= 0


def test_many_who_ask_for_one_image_are_answered_by_one_look(tmp_path: Path) -> None:
    policies = write_yaml(
        tmp_path / "p.yaml", verifier(), store(cacheEnabled=False), policy_resource(slsla="any")
    )
    with CountingRegistry() as registry, provider(tmp_path, [policies], "--timeout", "20s") as running:
        image = push(registry, "level-3", LEVEL_3)
        registry.open.clear()
        found: list[str] = []
        askers = [
            threading.Thread(target=lambda: found.append(said(running.ask(image).items[0]))) for _ in range(8)
        ]
        for asker in askers:
            asker.start()
        wait_for(lambda: registry.lists == 1)
        registry.open.set()
        for asker in askers:
            asker.join()
        assert found == ["admitted"] * 8
        # Nothing is kept where the Store says so.
        before = registry.lists
        assert said(running.ask(image).items[0]) == "admitted"
        assert registry.lists > before


def test_a_decision_counts_for_as_long_as_the_store_says_and_an_error_never(tmp_path: Path) -> None:
    policies = write_yaml(tmp_path / "p.yaml", verifier(), store(cacheEnabled=True, ttl=60))
    with CountingRegistry() as registry, provider(tmp_path, [policies]) as running:
        image = push(registry, "level-3", LEVEL_3)
        missing = f"{registry.host}/{REPOSITORY}:later"
        assert said(running.ask(image).items[0]) == "admitted"
        asked = registry.lists
        assert said(running.ask(image).items[0]) == "admitted"
        assert registry.lists == asked
        assert said(running.ask(missing).items[0]).startswith("error REGISTRY_NOT_FOUND")
        push(registry, "later", LEVEL_3)
        assert said(running.ask(missing).items[0]) == "admitted"


def test_junk_beside_one_that_passes_is_not_looked_at(tmp_path: Path) -> None:
    policies = write_yaml(tmp_path / "p.yaml", verifier(), STORE, policy_resource(slsla="any"))
    strict = write_yaml(tmp_path / "s.yaml", verifier(), STORE)
    for name, rule, outcome in (("any", policies, "admitted"), ("all", strict, "denied")):
        folder = tmp_path / name
        with EmbeddedRegistry() as registry, provider(folder, [rule]) as running:
            # Before the good one and behind it: whoever may push chooses no place.
            image = push(registry, "level-3", *[LEVEL_1] * 20, LEVEL_3, *[LEVEL_1] * 20)
            (item,) = running.ask(image).items
            assert said(item).startswith(outcome)
            if rule is policies:
                assert any(report["isSuccess"] for report in item["value"]["verifierReports"])


def test_a_type_that_the_policy_requires_and_nobody_verifies_denies(tmp_path: Path) -> None:
    other = "application/vnd.cncf.notary.signature"
    policies = write_yaml(
        tmp_path / "p.yaml", verifier(), STORE, policy_resource(slsla="any", **{other: "any"})
    )
    with EmbeddedRegistry() as registry, provider(tmp_path, [policies]) as running:
        image = push(registry, "level-3", LEVEL_3)
        (item,) = running.ask(image).items
        assert item["value"]["isSuccess"] is False
        # Each report is a success: the template says that the policy requires another type.
        assert [report["isSuccess"] for report in item["value"]["verifierReports"]] == [True]
        assert any(other in event["message"] for event in running.events("remark"))
