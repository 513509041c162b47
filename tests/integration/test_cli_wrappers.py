"""``verify --bundle``, ``inspect`` and ``attach`` on files as people have them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from slsa_verifier_plugin.checking.status import Status
from tests.support.command_line import LEVEL_3, ROOT, cli, verifier, write_yaml
from tests.support.embedded_registry import EmbeddedRegistry

FIELD = ROOT.parent / "shared" / "data" / "field" / "wrappers"
BUNDLES = [json.loads(line) for line in LEVEL_3.read_bytes().splitlines()]
LAYOUTS = {
    "api": json.dumps({"attestations": [{"bundle": bundle} for bundle in BUNDLES]}, indent=2),
    "array": json.dumps(BUNDLES),
    "documents": "\n".join(json.dumps(bundle, indent=1) for bundle in BUNDLES),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_wrappers_are_verified_shown_attached_and_admitted(layout: str, tmp_path: Path) -> None:
    file, policy = tmp_path / "file.json", write_yaml(tmp_path / "v.yaml", verifier())
    file.write_text(LAYOUTS[layout])
    assert cli("verify", "--bundle", file, "--policy", policy).status == Status.ADMITTED
    shown = json.loads(cli("inspect", file, "--json").out)
    assert [line["kind"] for line in shown["file"]["lines"]] == ["bundle 0.3"] * len(BUNDLES)
    with EmbeddedRegistry() as registry:
        registry.push_image("team/app", "v1")
        image = f"{registry.host}/team/app:v1"
        done = cli("attach", image, file, "--plain-http", "--policy", policy)
        assert done.status == Status.ADMITTED, done
        assert f"(slsla/attestation, {len(BUNDLES)} attestations)" in done.out
        assert cli("verify", image, "--policy", policy, "--plain-http").status == Status.ADMITTED


def test_packed_files_are_named_by_every_command(tmp_path: Path) -> None:
    file, policy = tmp_path / "bundle.gz", write_yaml(tmp_path / "v.yaml", verifier())
    file.write_bytes(gzip.compress(LEVEL_3.read_bytes()))
    done = cli("verify", "--bundle", file, "--policy", policy)
    assert (done.status, "gzip data; unpack it with: gunzip" in done.out) == (Status.DENIED, True)
    done = cli("inspect", file)
    assert (done.status, "gzip data; unpack it with: gunzip" in done.out) == (Status.ADMITTED, True)
    assert cli("inspect", file, "--verify").status == Status.UNDECIDED
    with EmbeddedRegistry() as registry:
        registry.push_image("team/app", "v1")
        done = cli("attach", f"{registry.host}/team/app:v1", file, "--plain-http")
    assert (done.status, "gzip data; unpack it with: gunzip" in done.err) == (Status.USAGE, True)


@pytest.mark.shared_data
@pytest.mark.skipif(not FIELD.is_dir(), reason="../shared/data/field is not on this machine")
@pytest.mark.parametrize(
    ("name", "status", "says"),
    [
        ("api-pretty.json", Status.ADMITTED, "ADMITTED"),
        ("array.json", Status.ADMITTED, "ADMITTED"),
        ("concat.json", Status.ADMITTED, "ADMITTED"),
        ("bundle.gz", Status.DENIED, "gunzip"),
        ("utf16.jsonl", Status.DENIED, "iconv"),
    ],
)
def test_the_files_of_the_field(
    name: str, status: Status, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(FIELD)
    done = cli("verify", "--bundle", name, "--policy", "actions-tag.policy.json")
    assert (done.status, says in done.out) == (status, True), done
