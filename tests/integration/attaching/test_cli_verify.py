"""``verify`` against a registry in memory: tags, referrers, any and all, files, what cannot be decided."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from slsa_verifier_plugin.checking.status import Status
from slsa_verifier_plugin.model.digest import Descriptor
from tests.support.attach_scene import REPOSITORY
from tests.support.command_line import (
    ARTIFACT_TYPE,
    LEVEL_1,
    LEVEL_3,
    SOURCE,
    TESTDATA,
    TRUSTED_ROOT,
    Done,
    cli,
    parameters,
    verifier,
    write_yaml,
)
from tests.support.embedded_registry import EmbeddedRegistry
from tests.support.registry_storage import INDEX_TYPE, to_json


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    return write_yaml(tmp_path / "verifier.yaml", verifier())


def push(registry: EmbeddedRegistry, tag: str, *notes: Path, kind: str = ARTIFACT_TYPE) -> Descriptor:
    image = registry.push_image(REPOSITORY, tag)
    for note in notes:
        registry.attach(REPOSITORY, image, kind, [note.read_bytes()])
    return image


def verify(registry: EmbeddedRegistry, policy: Path, *names: str) -> Done:
    images = [f"{registry.host}/{REPOSITORY}{name}" for name in names]
    return cli("verify", *images, "--policy", policy, "--plain-http")


def as_json(*arguments: str | Path, stdin: bytes = b"") -> tuple[int, list[dict[str, Any]]]:
    done = cli("verify", *arguments, "--json", stdin=stdin)
    assert done.err == ""
    images: list[dict[str, Any]] = json.loads(done.out)["images"]
    return done.status, images


def test_one_denied_and_one_admitted(registry: EmbeddedRegistry, policy: Path) -> None:
    low, high = push(registry, "low", LEVEL_1), push(registry, "high", LEVEL_3)
    done = verify(registry, policy, f"@{low.digest}", f"@{high.digest}")
    assert (done.status, done.err) == (Status.DENIED, "")
    assert f"DENIED  LEVEL_TOO_LOW  {registry.host}/{REPOSITORY}@{low.digest}" in done.out
    assert f"ADMITTED  {registry.host}/{REPOSITORY}@{high.digest}" in done.out
    assert done.out.endswith("2 images: 1 admitted, 1 denied\n")
    assert verify(registry, policy, f"@{high.digest}").status == Status.ADMITTED


def test_a_tag_resolves_to_its_digest_and_says_so(registry: EmbeddedRegistry, policy: Path) -> None:
    image = push(registry, "v1", LEVEL_3)
    done = verify(registry, policy, ":v1")
    assert done.status == Status.ADMITTED
    assert f"{REPOSITORY}:v1 is {image.digest} now; a tag may point elsewhere tomorrow" in done.out


def test_any_and_all_of_several_attestations(
    registry: EmbeddedRegistry, policy: Path, tmp_path: Path
) -> None:
    push(registry, "both", LEVEL_1, LEVEL_3)
    image = f"{registry.host}/{REPOSITORY}:both"
    arguments = ("verify", image, "--policy", policy, "--plain-http")
    assert cli(*arguments).status == Status.DENIED
    assert cli(*arguments, "--any").status == Status.ADMITTED
    rules = {"apiVersion": "config.ratify.deislabs.io/v1beta1", "kind": "Policy", "metadata": {"name": "p"}}
    parameters = {"artifactVerificationPolicies": {ARTIFACT_TYPE: "any"}}
    both = write_yaml(tmp_path / "both.yaml", verifier(), {**rules, "spec": {"parameters": parameters}})
    assert cli("verify", image, "--policy", both, "--plain-http").status == Status.ADMITTED
    assert cli("verify", image, "--policy", both, "--plain-http", "--all").status == Status.DENIED


def test_the_policy_from_standard_input_and_from_options(registry: EmbeddedRegistry, policy: Path) -> None:
    push(registry, "v1", LEVEL_3)
    image = f"{registry.host}/{REPOSITORY}:v1"
    piped = cli("verify", image, "--policy", "-", "--plain-http", stdin=policy.read_bytes())
    assert piped.status == Status.ADMITTED
    options: list[str | Path] = ["--resource-uri", SOURCE, "--trusted-root", TRUSTED_ROOT, "--plain-http"]
    assert cli("verify", image, "--level", "SLSA_SOURCE_LEVEL_3", *options).status == Status.ADMITTED
    assert cli("verify", image, "--level", "SLSA_SOURCE_LEVEL_4", *options).status == Status.DENIED
    assert (
        cli("verify", image, "--policy", policy, "--level", "SLSA_SOURCE_LEVEL_4", "--plain-http").status == 1
    )


def test_two_verifiers_for_one_type_must_be_chosen_between(
    registry: EmbeddedRegistry, tmp_path: Path
) -> None:
    push(registry, "v1", LEVEL_3)
    image = f"{registry.host}/{REPOSITORY}:v1"
    path = write_yaml(tmp_path / "two.yaml", verifier("strict", 4), verifier("lax", 1))
    done = cli("verify", image, "--policy", path, "--plain-http")
    assert done.status == Status.USAGE
    assert (
        "the verifiers strict and lax are for the same artifacts; give each artifactTypes of its own"
        in done.err
    )
    assert (
        cli("verify", image, "--policy", path, "--plain-http", "--verifier", "lax").status == Status.ADMITTED
    )
    assert (
        cli("verify", image, "--policy", path, "--plain-http", "--verifier", "strict").status == Status.DENIED
    )


def test_verifiers_of_different_types_both_count(registry: EmbeddedRegistry, tmp_path: Path) -> None:
    image = push(registry, "v1", LEVEL_3)
    registry.attach(REPOSITORY, image, "team/note", [LEVEL_1.read_bytes()])
    name = f"{registry.host}/{REPOSITORY}:v1"
    strict = verifier("strict", 4, spec={"artifactTypes": "team/note", "parameters": parameters(4)})
    path = write_yaml(tmp_path / "two.yaml", verifier("lax", 1), strict)
    status, (report,) = as_json(name, "--policy", path, "--plain-http")
    assert (status, report["reason"], len(report["artifacts"])) == (Status.DENIED, "LEVEL_TOO_LOW", 2)
    everything = write_yaml(
        tmp_path / "any.yaml", verifier(level=1, spec={"artifactTypes": "*", "parameters": parameters(1)})
    )
    status, (report,) = as_json(name, "--policy", everything, "--plain-http")
    assert (status, len(report["artifacts"])) == (Status.ADMITTED, 2)


def test_an_image_without_attestations_says_what_is_there(registry: EmbeddedRegistry, policy: Path) -> None:
    push(registry, "bare")
    push(registry, "other", LEVEL_3, kind="slsa/attestation")
    status, (bare, other) = as_json(
        *(f"{registry.host}/{REPOSITORY}:{tag}" for tag in ("bare", "other")),
        "--policy",
        policy,
        "--plain-http",
    )
    assert status == Status.DENIED
    assert (bare["decision"], bare["reason"]) == ("denied", "NO_ATTESTATION")
    assert bare["message"].startswith("found nothing attached to ")
    assert other["message"].startswith('found "slsa/attestation" attached to ')
    assert "expected slsla/attestation" in other["message"]


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        ("127.0.0.1:9/app:v1", "REGISTRY_UNREACHABLE"),
        ("127.0.0.1:9/app@sha256:" + "0" * 64, "REGISTRY_UNREACHABLE"),
        ("{host}/team/app:missing", "REGISTRY_NOT_FOUND"),
        ("{host}/no/such:v1", "REGISTRY_NOT_FOUND"),
    ],
)
def test_what_cannot_be_decided_is_status_3(
    registry: EmbeddedRegistry, policy: Path, image: str, reason: str
) -> None:
    push(registry, "v1", LEVEL_3)
    status, (report,) = as_json(
        image.format(host=registry.host), "--policy", policy, "--plain-http", "--timeout", "2s"
    )
    assert (status, report["decision"], report["reason"]) == (Status.UNDECIDED, "undecided", reason)


def test_a_trusted_root_that_is_missing_is_status_3(registry: EmbeddedRegistry, tmp_path: Path) -> None:
    push(registry, "v1", LEVEL_3)
    relative = parameters(trustedRoot={"path": "missing.json"})
    policy = write_yaml(tmp_path / "v.yaml", verifier(spec={"parameters": relative}))
    status, (report,) = as_json(f"{registry.host}/{REPOSITORY}:v1", "--policy", policy, "--plain-http")
    assert (status, report["reason"]) == (Status.UNDECIDED, "TRUST_ROOT_UNAVAILABLE")
    assert str(tmp_path / "missing.json") in report["message"]


def test_what_a_registry_reports_as_another_type_is_not_found_by_ratify_either(
    registry: EmbeddedRegistry, policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from slsa_verifier_plugin.registry.store import RegistryStore

    image = push(registry, "v1", LEVEL_3)
    listed = RegistryStore.matching_referrers

    def misreported(self: Any, *arguments: Any) -> list[Descriptor]:
        return [
            Descriptor(found.media_type, found.digest, found.size, "application/vnd.oci.empty.v1+json")
            for found in listed(self, *arguments)
        ]

    monkeypatch.setattr(RegistryStore, "matching_referrers", misreported)
    done = verify(registry, policy, f"@{image.digest}")
    assert done.status == Status.DENIED
    assert "NO_ATTESTATION" in done.out
    assert "Ratify goes by the registry and will not find it; use a registry that" in done.out


def ratify_policy(**rules: str) -> dict[str, Any]:
    return {
        "apiVersion": "config.ratify.deislabs.io/v1beta1",
        "kind": "Policy",
        "metadata": {"name": "ratify-policy"},
        "spec": {"type": "config-policy", "parameters": {"artifactVerificationPolicies": rules}},
    }


@pytest.mark.parametrize(
    ("types", "decision", "told"),
    [
        ("slsla/attestation,slsla/build", Status.DENIED, "found no attestation of slsla/build, but Ratify's"),
        (
            "slsla/attestation",
            Status.UNDECIDED,
            "Ratify's Policy also requires slsla/build, which none of them",
        ),
    ],
)
def test_a_type_that_ratifys_policy_names_must_be_there(
    registry: EmbeddedRegistry, tmp_path: Path, types: str, decision: Status, told: str
) -> None:
    image = push(registry, "v1", LEVEL_3)
    rules = ratify_policy(**{ARTIFACT_TYPE: "any", "slsla/build": "any", "default": "all"})
    path = write_yaml(tmp_path / "v.yaml", verifier(spec={"artifactTypes": types}), rules)
    name = f"{registry.host}/{REPOSITORY}@{image.digest}"
    status, (report,) = as_json(name, "--policy", path, "--plain-http")
    assert (status, report["reason"], len(report["artifacts"])) == (decision, "NO_ATTESTATION", 1)
    assert told in report["message"]
    # Options replace the Policy's rules.
    assert cli("verify", name, "--policy", path, "--plain-http", "--any").status == Status.ADMITTED
    audited = cli("audit", name, "--policy", path, "--plain-http", "--fail-on", "undecided")
    assert audited.status == decision
    # What is there and fails is the reason, as without the other type.
    low = push(registry, "low", LEVEL_1)
    name = f"{registry.host}/{REPOSITORY}@{low.digest}"
    status, (report,) = as_json(name, "--policy", path, "--plain-http")
    assert (status, report["reason"]) == (Status.DENIED, "LEVEL_TOO_LOW")


def test_an_attestation_that_hangs_on_the_index_or_on_a_platform_is_pointed_out(
    registry: EmbeddedRegistry, policy: Path
) -> None:
    platform = registry.push_image(REPOSITORY, "amd64")
    child = {**to_json(platform), "platform": {"os": "linux", "architecture": "amd64"}}
    content = json.dumps({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [child]}).encode()
    index = registry.storage.put_manifest(REPOSITORY, content, INDEX_TYPE, "multi")
    done = verify(registry, policy, ":multi")
    assert (done.status, "hangs on" in done.out) == (Status.DENIED, False)
    done = verify(registry, policy, f"@{platform.digest}")
    assert (done.status, "the attestation may hang on its index" in done.out) == (Status.DENIED, True)

    registry.attach(REPOSITORY, platform, ARTIFACT_TYPE, [LEVEL_3.read_bytes()])
    status, (report,) = as_json(
        f"{registry.host}/{REPOSITORY}@{index.digest}", "--policy", policy, "--plain-http"
    )
    assert (status, report["reason"]) == (Status.DENIED, "NO_ATTESTATION")
    (note,) = report["notes"]
    assert f"the attestation hangs on the manifest for linux/amd64, {platform.digest}, not on this" in note


def test_an_attestation_that_hangs_on_the_index_of_the_tag(registry: EmbeddedRegistry, policy: Path) -> None:
    platform = registry.push_image(REPOSITORY, "amd64")
    child = {**to_json(platform), "platform": {"os": "linux", "architecture": "amd64"}}
    content = json.dumps({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [child]}).encode()
    index = registry.storage.put_manifest(REPOSITORY, content, INDEX_TYPE, "multi")
    registry.attach(REPOSITORY, index, ARTIFACT_TYPE, [LEVEL_3.read_bytes()])
    name = f"{registry.host}/{REPOSITORY}:multi@{platform.digest}"
    status, (report,) = as_json(name, "--policy", policy, "--plain-http")
    assert (status, report["reason"]) == (Status.DENIED, "NO_ATTESTATION")
    (note,) = report["notes"]
    assert f"the attestation hangs on the index {registry.host}/{REPOSITORY}:multi@{index.digest}" in note


def test_an_attestation_file_needs_no_registry(policy: Path) -> None:
    assert cli("verify", "--bundle", LEVEL_3, "--policy", policy).status == Status.ADMITTED
    done = cli("verify", "--bundle", LEVEL_1, "--policy", policy)
    assert done.status == Status.DENIED
    assert f"DENIED  LEVEL_TOO_LOW  {LEVEL_1}" in done.out
    piped = cli("verify", "--bundle", "-", "--policy", policy, stdin=LEVEL_3.read_bytes())
    assert piped.status == Status.ADMITTED
    tampered = cli("verify", "--bundle", TESTDATA / "tampered.intoto.jsonl", "--policy", policy)
    assert (tampered.status, "SIGNATURE_INVALID" in tampered.out) == (Status.DENIED, True)
    nothing = cli("verify", "--bundle", "-", "--policy", policy, stdin=b"")
    assert (nothing.status, "NO_ATTESTATION" in nothing.out) == (Status.DENIED, True)


def test_a_file_for_an_image(policy: Path) -> None:
    digest = "@sha256:" + "0" * 64
    assert cli("verify", f"a/b{digest}", "--bundle", LEVEL_3, "--policy", policy).status == Status.ADMITTED
    done = cli("verify", "a/b:v1", "--bundle", LEVEL_3, "--policy", policy)
    assert (done.status, "a/b:v1 has no digest" in done.err) == (Status.USAGE, True)
    done = cli("verify", "a/b", "c/d", "--bundle", LEVEL_3, "--policy", policy)
    assert (done.status, "one IMAGE at most" in done.err) == (Status.USAGE, True)


def test_invalid_parameters_name_their_place(tmp_path: Path) -> None:
    wrong = parameters(expectedVerifiedLevels=[], expectedLevel=2)
    path = write_yaml(tmp_path / "v.yaml", verifier(spec={"parameters": wrong}))
    done = cli("verify", "a/b", "--policy", path)
    assert done.status == Status.USAGE
    assert f"{path}:8:3: the parameters are not valid: " in done.err
    assert "expectedLevel: unknown parameter; did you mean" in done.err
    assert "expectedVerifiedLevels: must not be empty" in done.err


def test_a_store_in_the_policy_file_sets_the_registry_up(registry: EmbeddedRegistry, tmp_path: Path) -> None:
    push(registry, "v1", LEVEL_3)
    store: dict[str, Any] = {
        "apiVersion": "config.ratify.deislabs.io/v1beta1",
        "kind": "Store",
        "metadata": {"name": "store-oras"},
        "spec": {"name": "oras", "parameters": {"useHttp": True}},
    }
    image = f"{registry.host}/{REPOSITORY}:v1"
    path = write_yaml(tmp_path / "v.yaml", verifier(), store)
    assert cli("verify", image, "--policy", path).status == Status.ADMITTED
    store["spec"]["parameters"] = {"useHttp": "yes"}
    done = cli("verify", image, "--policy", write_yaml(tmp_path / "v.yaml", verifier(), store))
    assert (done.status, "useHttp is a string" in done.err) == (Status.USAGE, True)
    store["spec"]["parameters"] = {"authProvider": {"name": "unknown"}, "useHttp": True}
    done = cli("verify", image, "--policy", write_yaml(tmp_path / "v.yaml", verifier(), store))
    assert (done.status, 'authProvider has the name "unknown"' in done.err) == (Status.UNDECIDED, True)
