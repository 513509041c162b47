"""The service over a real registry on loopback: what it wires, what it keeps between calls, and what it does not."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slsa_verifier_plugin import ratify
from slsa_verifier_plugin.errors import TrustRootError
from slsa_verifier_plugin.model.digest import Descriptor
from slsa_verifier_plugin.policy.parameters import parse_policy
from slsa_verifier_plugin.service.service import Service
from tests.support.policies import BASE
from tests.support.registries import RecordingRegistry
from tests.support.sigstore import Lab, derive_key, keyed_envelope, vsa

KEY = derive_key("ours", "key")
OTHER_KEY = derive_key("another's", "key")
VERIFIER = "https://vsa.example.com"


class Place:
    """A registry with one image, the service's environment, and files that policies name."""

    def __init__(self, registry: RecordingRegistry, folder: Path) -> None:
        self.registry = registry
        self.folder = folder
        self.service = Service({"HOME": "/nonexistent"})
        self.image = registry.push_image("team/app", "1")
        self.artifact = self.attach(Lab().sign(vsa()))
        self.root = folder / "root.json"
        self.root.write_bytes(Lab().trusted_root())

    def attach(self, *blobs: bytes) -> Descriptor:
        return self.registry.attach("team/app", self.image, "slsla/attestation", blobs)

    def ask(
        self, store: dict[str, Any] | None = None, artifact: Descriptor | None = None, **parameters: Any
    ) -> Any:
        """Return the result of one call, after checking that it is one line and exit status 0."""
        told = artifact or self.artifact
        stdin = {
            "config": {**BASE, "trustedRoot": {"path": str(self.root)}, **parameters},
            "storeConfig": {"store": {"name": "oras", "useHttp": True, **(store or {})}},
            "referenceDesc": {"mediaType": told.media_type, "digest": str(told.digest), "size": told.size},
        }
        environment = {
            ratify.COMMAND: "VERIFY",
            ratify.SUBJECT: f"{self.registry.host}/team/app@{self.image.digest}",
            ratify.VERSION: "1.0.0",
        }
        response = self.service.respond(environment, json.dumps(stdin).encode())
        assert response.status == 0
        assert response.stdout.count(b"\n") == 1
        result = json.loads(response.stdout)
        result["warnings"] = response.stderr.decode()
        return result


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with RecordingRegistry() as registry:
        yield Place(registry, tmp_path)


def reason(result: Any) -> str:
    assert result["isSuccess"] is (result["extensions"]["reason"] == "VERIFIED")
    return str(result["extensions"]["reason"])


def test_a_call_is_answered_through_registry_root_and_policy(place: Place) -> None:
    result = place.ask()
    assert reason(result) == "VERIFIED"
    assert result["extensions"]["trustedRoot"]["source"] == str(place.root)
    assert reason(place.ask(expectedVerifiedLevels=["SLSA_SOURCE_LEVEL_4"])) == "LEVEL_TOO_LOW"
    assert place.service.calls == 2


def test_a_digest_seen_before_costs_no_network_and_the_policy_is_asked_again(place: Place) -> None:
    place.ask()
    place.registry.seen.clear()
    assert reason(place.ask()) == "VERIFIED"
    assert reason(place.ask(expectedResourceUri="git+https://github.com/x/y")) == "RESOURCE_URI_MISMATCH"
    assert reason(place.ask(maxAge="1h")) == "TOO_OLD"
    assert place.registry.paths() == []


def test_what_was_kept_is_forgotten_when_memory_is_short(place: Place) -> None:
    place.ask()
    place.service.trim()
    place.registry.seen.clear()
    assert reason(place.ask()) == "VERIFIED"
    assert len(place.registry.paths()) >= 2


def test_a_replaced_root_counts_from_the_next_call_on(place: Place) -> None:
    place.ask()
    stranger = Lab("a stranger").trusted_root()
    new = place.folder / "new.json"
    new.write_bytes(stranger)
    new.replace(place.root)
    assert reason(place.ask()) == "UNKNOWN_AUTHORITY"
    place.root.unlink()
    assert reason(place.ask()) == "TRUST_ROOT_UNAVAILABLE"
    place.root.write_bytes(Lab().trusted_root())
    assert reason(place.ask()) == "VERIFIED"


def test_a_root_rewritten_in_place_within_the_same_size_counts_too(place: Place) -> None:
    place.ask()
    content = place.root.read_bytes()
    place.root.write_bytes(content.replace(b"2024-01-01T00:00:00Z", b"2054-01-01T00:00:00Z"))
    status = place.root.stat()
    os.utime(place.root, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert reason(place.ask()) == "TRUST_ROOT_UNAVAILABLE"


def test_one_usable_root_of_several_is_enough_and_the_others_are_warned_of(place: Place) -> None:
    missing = {"path": str(place.folder / "missing.json")}
    result = place.ask(trustedRoot=[missing, {"path": str(place.root)}])
    assert reason(result) == "VERIFIED"
    assert "missing.json" in result["warnings"]
    assert result["warnings"].startswith("warn: ")
    assert any("missing.json" in text for text in result["extensions"]["warnings"])
    assert reason(place.ask(trustedRoot=[missing, missing])) == "TRUST_ROOT_UNAVAILABLE"


def test_a_cache_that_cannot_be_written_is_a_warning_of_the_call_that_met_it(place: Place) -> None:
    cache = place.folder / "cache"
    cache.mkdir()
    (cache / "ingest").write_text("a file: nothing can be written below it")
    result = place.ask({"localCachePath": str(cache)})
    assert reason(result) == "VERIFIED"
    assert "cannot be written" in result["extensions"]["warnings"][0]
    assert result["warnings"].startswith("warn: the cache in ")
    again = place.ask({"localCachePath": str(cache)})  # from memory: nothing is written
    assert (reason(again), "warnings" in again["extensions"]) == ("VERIFIED", False)


def test_a_tuf_root_is_not_fetched_while_a_verification_waits(place: Place) -> None:
    bootstrap = place.folder / "bootstrap.json"
    bootstrap.write_bytes(b"{}")
    place.ask()
    place.registry.seen.clear()
    source = {"tufUrl": f"http://{place.registry.host}", "rootPath": str(bootstrap)}
    assert reason(place.ask(trustedRoot=source)) == "TRUST_ROOT_UNAVAILABLE"
    assert place.registry.paths() == []


def keyed(path: Path, **more: Any) -> dict[str, Any]:
    return {
        "expectedVerifierId": VERIFIER,
        "trustedVerifiers": [{"verifierId": VERIFIER, "publicKey": str(path), **more}],
    }


def test_a_replaced_key_counts_from_the_next_call_on(place: Place) -> None:
    path = place.folder / "key.pem"
    path.write_bytes(KEY.pem)
    artifact = place.attach(keyed_envelope(vsa(verifier_id=VERIFIER), KEY))
    assert reason(place.ask(artifact=artifact, **keyed(path))) == "VERIFIED"
    new = place.folder / "new.pem"
    new.write_bytes(OTHER_KEY.pem)
    new.replace(path)
    assert reason(place.ask(artifact=artifact, **keyed(path))) == "SIGNATURE_INVALID"
    path.unlink()
    assert reason(place.ask(artifact=artifact, **keyed(path))) == "TRUST_ROOT_UNAVAILABLE"


def test_a_cap_of_one_call_is_not_anothers(place: Place) -> None:
    path = place.folder / "key.pem"
    path.write_bytes(KEY.pem)
    artifact = place.attach(keyed_envelope(vsa(verifier_id=VERIFIER), KEY))
    capped = keyed(path, maxLevel="SLSA_SOURCE_LEVEL_1")
    for _ in range(2):
        assert reason(place.ask(artifact=artifact, **capped)) == "LEVEL_TOO_LOW"
        assert reason(place.ask(artifact=artifact, **keyed(path))) == "VERIFIED"


def test_a_key_configured_in_one_call_is_unknown_in_the_next(place: Place) -> None:
    path = place.folder / "key.pem"
    path.write_bytes(KEY.pem)
    artifact = place.attach(keyed_envelope(vsa(), KEY))
    default = "https://github.com/slsa-framework/source-actions"
    trusting: dict[str, Any] = {"trustedVerifiers": [{"verifierId": default, "publicKey": str(path)}]}
    assert reason(place.ask(artifact=artifact, **trusting)) == "VERIFIED"
    assert reason(place.ask(artifact=artifact)) == "SIGNATURE_INVALID"


def test_equal_settings_share_a_store_and_others_do_not(place: Place) -> None:
    service = place.service
    one = service.store({"name": "oras", "useHttp": True})
    assert service.store({"useHttp": True, "name": "oras"}) is one
    assert service.store({"name": "oras", "useHttp": False}) is not one
    provider = {"name": "dockerConfig", "configPath": str(place.folder / "config.json")}
    assert service.store({"name": "oras", "useHttp": True, "authProvider": provider}) is not one


def test_an_unknown_credential_provider_is_a_denial(place: Place) -> None:
    result = place.ask(store={"authProvider": {"name": "no-such-provider"}})
    assert reason(result) == "REGISTRY_CREDENTIALS"


def test_policies_are_parsed_once_and_errors_each_time(place: Place) -> None:
    service = place.service
    assert service.policy(BASE) is service.policy(dict(reversed(BASE.items())))
    assert service.policy({**BASE, "maxAge": "1h"}) != service.policy(BASE)
    for _ in range(2):
        with pytest.raises(ValueError, match="unknown parameter"):
            service.policy({**BASE, "maxage": "1h"})


def test_warming_up_loads_the_default_root_without_a_network() -> None:
    service = Service({"HOME": "/nonexistent"})
    service.warm_up()
    (source,) = service.verifier(parse_policy(BASE)).roots
    assert source.source == "public-good"


def test_no_usable_root_is_an_error(tmp_path: Path) -> None:
    service = Service({})
    with pytest.raises(TrustRootError):
        service.verifier(parse_policy({**BASE, "trustedRoot": {"path": str(tmp_path / "missing")}}))


def test_many_threads_get_the_answers_of_their_own_calls(place: Place) -> None:
    results: list[tuple[bool, str]] = []

    def work(high: bool) -> None:
        levels = ["SLSA_SOURCE_LEVEL_4" if high else "SLSA_SOURCE_LEVEL_3"]
        results.extend((high, reason(place.ask(expectedVerifiedLevels=levels))) for _ in range(10))

    threads = [threading.Thread(target=work, args=(number % 2 == 0,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 80
    assert set(results) == {(True, "LEVEL_TOO_LOW"), (False, "VERIFIED")}
