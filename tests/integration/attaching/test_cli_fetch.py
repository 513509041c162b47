"""``fetch`` and what its layouts are good for, ``inspect`` of an image, ``registry check``, ``trust export``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slsa_verifier_plugin.checking.status import Status
from slsa_verifier_plugin.model.digest import Digest
from tests.support.attach_scene import REPOSITORY, image_of
from tests.support.command_line import (
    ARTIFACT_TYPE,
    LEVEL_1,
    LEVEL_3,
    TRUSTED_ROOT,
    cli,
    verifier,
    write_yaml,
)
from tests.support.embedded_registry import EmbeddedRegistry


def test_fetched_attestations_verify_without_a_registry(tmp_path: Path) -> None:
    policy = write_yaml(tmp_path / "v.yaml", verifier())
    layout = tmp_path / "layout"
    with EmbeddedRegistry() as registry:
        image = registry.push_image(REPOSITORY, "v1")
        registry.attach(REPOSITORY, image, ARTIFACT_TYPE, [LEVEL_3.read_bytes()])
        registry.attach(REPOSITORY, image, "other/type", [b"{}"])
        name = image_of(registry)
        done = cli("fetch", name, "-o", layout, "--plain-http")
        assert (done.status, f"{name}@{image.digest}: 2 artifacts" in done.out) == (Status.ADMITTED, True)
        only = tmp_path / "only"
        done = cli("fetch", name, "-o", only, "--plain-http", "--artifact-type", "other/type")
        assert ": 1 artifact\n" in done.out
    verified = cli("verify", name, "--offline", "--layout", layout, "--policy", policy)
    assert (verified.status, verified.err) == (Status.ADMITTED, "")
    pinned = f"{name.removesuffix(':v1')}@{image.digest}"
    assert (
        cli("verify", pinned, "--offline", "--layout", layout, "--policy", policy).status == Status.ADMITTED
    )
    missing = cli("verify", name, "--offline", "--layout", only, "--policy", policy)
    assert (missing.status, "NO_ATTESTATION" in missing.out) == (Status.DENIED, True)
    shown = cli("inspect", name, "--layout", layout)
    assert (shown.status, "slsla/attestation" in shown.out) == (Status.ADMITTED, True)
    # Tampered with on the way.
    blob = layout / "blobs" / "sha256" / Digest.of(LEVEL_3.read_bytes()).hex
    blob.write_bytes(LEVEL_1.read_bytes())
    tampered = cli("verify", name, "--offline", "--layout", layout, "--policy", policy)
    assert (tampered.status, "REGISTRY_INVALID_RESPONSE" in tampered.out) == (Status.UNDECIDED, True)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["a/b", "--offline"], "with --offline give --layout DIR or --bundle FILE"),
        (["a/b", "--layout", "/nowhere"], "is no OCI image layout"),
        (["a/b", "--layout", "x", "--bundle", "y"], "--bundle and --layout exclude each other"),
        (["--bundle", str(LEVEL_3), "--at", "yesterday"], '--at: "yesterday" is not an RFC 3339 time'),
    ],
)
def test_misuse_of_offline_options(tmp_path: Path, arguments: list[str], expected: str) -> None:
    done = cli("verify", *arguments, "--policy", write_yaml(tmp_path / "v.yaml", verifier()))
    assert (done.status, done.err.count("\n")) == (Status.USAGE, 1)
    assert expected in done.err


@pytest.mark.parametrize(
    ("at", "reason"),
    [
        ("2025-11-03T12:00:00Z", "VERIFIED"),
        ("2025-12-25T00:00:00Z", "TOO_OLD"),
        ("2025-01-01T00:00:00Z", "TIME_INVALID"),
    ],
)
def test_the_age_is_judged_as_of_a_time(tmp_path: Path, at: str, reason: str) -> None:
    policy = write_yaml(tmp_path / "v.yaml", verifier())
    done = cli("verify", "--bundle", LEVEL_3, "--policy", policy, "--max-age", "240h", "--at", at, "--json")
    assert json.loads(done.out)["images"][0]["reason"] == reason


def test_a_tree_of_an_image(registry: EmbeddedRegistry) -> None:
    image = registry.push_image(
        REPOSITORY, "labelled", {"org.opencontainers.image.revision": "c" * 40, "other": "x"}
    )
    registry.attach(REPOSITORY, image, ARTIFACT_TYPE, [LEVEL_3.read_bytes(), b"junk"])
    name = f"{registry.host}/{REPOSITORY}:labelled"
    done = cli("inspect", name, "--plain-http")
    assert done.status == Status.ADMITTED
    lines = done.out.splitlines()
    assert lines[0] == f"{name}@{image.digest} (image)"
    assert f"├─ org.opencontainers.image.revision: {'c' * 40}" in lines
    assert any(line.startswith("└─ slsla/attestation sha256:") for line in lines)
    assert any("line 1: no JSON" in line for line in lines)
    assert "other: x" not in done.out
    assert "├─ other: x" in cli("inspect", name, "--plain-http", "--verbose").out
    bare = cli("inspect", f"{registry.host}/{REPOSITORY}:v1", "--plain-http")
    assert "└─ nothing is attached" in bare.out
    checked = cli("inspect", name, "--plain-http", "--verify", "--trusted-root", TRUSTED_ROOT)
    assert (checked.status, checked.out.count("the signature verifies")) == (Status.ADMITTED, 2)


def test_a_registry_is_checked_step_by_step(tmp_path: Path) -> None:
    with EmbeddedRegistry() as registry:
        image = registry.push_image(REPOSITORY, "v1")
        registry.attach(REPOSITORY, image, ARTIFACT_TYPE, [LEVEL_3.read_bytes()])
        name = image_of(registry)
        done = cli("registry", "check", name, "--plain-http")
        assert (done.status, done.err) == (Status.ADMITTED, "")
        names = [line.split()[1] for line in done.out.splitlines()]
        assert names == [
            "resolve",
            "connect",
            "ping",
            "authenticate",
            "manifest",
            "referrers",
            "artifact",
            "blob",
        ]
        assert all(line.startswith("✓ ") for line in done.out.splitlines())
        verbose = cli("registry", "check", name, "--plain-http", "--verbose")
        assert "GET http://" in verbose.out
        store = write_yaml(
            tmp_path / "s.yaml",
            {
                "apiVersion": "config.ratify.deislabs.io/v1beta1",
                "kind": "Store",
                "metadata": {"name": "s"},
                "spec": {"name": "oras", "parameters": {"useHttp": True}},
            },
        )
        assert cli("registry", "check", name, "--store", store).status == Status.ADMITTED
        gone = json.loads(
            cli("registry", "check", f"{registry.host}/no/such:v1", "--plain-http", "--json").out
        )
    assert [step["outcome"] for step in gone] == ["passed"] * 4 + ["failed"] + ["skipped"] * 3
    assert gone[4]["reason"] == "REGISTRY_NOT_FOUND"
    away = cli("registry", "check", "127.0.0.1:9/app:v1", "--plain-http")
    assert away.status == Status.UNDECIDED
    assert "REGISTRY_UNREACHABLE; a retry may help" in away.out
    none = cli("registry", "check", "a/b", "--store", write_yaml(tmp_path / "v.yaml", verifier()))
    assert (none.status, "holds no Store" in none.err) == (Status.USAGE, True)


def test_a_trusted_root_is_taken_along(tmp_path: Path) -> None:
    path = tmp_path / "root.json"
    done = cli("trust", "export", "-o", path)
    assert (done.status, done.err) == (Status.ADMITTED, "")
    assert json.loads(path.read_text())["mediaType"].startswith("application/vnd.dev.sigstore.trustedroot")
    again = cli("trust", "export", "-o", path)
    assert (again.status, "exists; --force replaces it" in again.err) == (Status.USAGE, True)
    assert cli("trust", "export", "-o", path, "--force", "--root", "staging").status == Status.ADMITTED
    wrong = cli("trust", "export", "-o", path, "--root", "mine")
    assert (wrong.status, "is not one of 'public-good', 'staging'" in wrong.err) == (Status.USAGE, True)
