"""Policy files: YAML with positions, Ratify's resources, what the options change."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from slsa_verifier_plugin.checking.demands import Demands, seconds_of, setup_of, store_settings
from slsa_verifier_plugin.checking.status import Status
from slsa_verifier_plugin.errors import UsageError
from slsa_verifier_plugin.policy.parameters import parse_policy
from slsa_verifier_plugin.registry.settings import LOOPBACK_HTTP
from slsa_verifier_plugin.resources import named_files
from slsa_verifier_plugin.resources import ratify_resources as resources
from slsa_verifier_plugin.resources.documents import Document, parse_documents
from slsa_verifier_plugin.resources.named_files import read_file
from slsa_verifier_plugin.resources.ratify_resources import read_setup
from tests.support.command_line import SOURCE, verifier, write_yaml


def parsed(text: str) -> list[Document]:
    return parse_documents(text.encode(), "f.yaml")


def test_every_value_has_its_place() -> None:
    text = "a: 1\nb:\n  - x\n  - c: 2\n    d: [3, 4]\n---\n# nothing\n---\ne: 5\n"
    first, second = parsed(text)
    assert first.value == {"a": 1, "b": ["x", {"c": 2, "d": [3, 4]}]}
    assert second.value == {"e": 5}
    places = [((), "1:1"), (("b",), "2:1"), (("b", 1, "d"), "5:5"), (("b", 1, "d", 1), "5:12")]
    for path, place in places:
        assert str(first.position(path)) == f"f.yaml:{place}"
    # What is not there is reported at its parent.
    assert str(first.position(("b", 1, "z", "y"))) == "f.yaml:4:5"
    assert str(second.position(("e",))) == "f.yaml:9:1"


def test_values_are_what_kubernetes_takes_them_for() -> None:
    (document,) = parsed(
        'when: 2024-01-01\nyes: true\nnumber: 0x10\nname: "1"\nbase: &b {x: 1}\nmore: {<<: *b, y: 2}\n'
    )
    assert document.value == {
        "when": "2024-01-01",
        "yes": True,
        "number": 16,
        "name": "1",
        "base": {"x": 1},
        "more": {"x": 1, "y": 2},
    }


@pytest.mark.parametrize(
    "text", ["plain", "\U0001f600", "\\ud83d\\ude00", "\\\U0001f600", "a\\\\\U0001f600b"]
)
def test_json_in_ascii_reads_as_json_does(text: str) -> None:
    (document,) = parsed(json.dumps({"key": text}))
    assert document.value == {"key": text}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [1", "f.yaml:2:1: not YAML: "),
        ("a: 1\na: 2\n", 'f.yaml:2:1: the key "a" occurs twice'),
        ("a:\n\t- 1\n", "f.yaml:2:1: not YAML: "),
        ("? [a]\n: 1\n", "f.yaml:1:3: a key that is not text"),
        ("a: !!python/object:os.system x\n", "f.yaml:1:4: "),
        ("[" * 200 + "]" * 200, "f.yaml:1:102: too large or too deeply nested"),
        ("{a: " * 200 + "}" * 200, "f.yaml:1:402: too large or too deeply nested"),
        ("a: &a [*a]\n", "too large or too deeply nested"),
        ("a: &a {<<: *a}\n", "too large or too deeply nested"),
        ("a: {<<: 1}\n", "f.yaml:1:9: << takes an object or a list of objects"),
        ("a: {<<: [{x: 1}, [y]]}\n", "f.yaml:1:18: << takes an object or a list of objects"),
        ("a: {<<: {x: 1}, <<: {y: 1}}\n", 'f.yaml:1:17: the key "<<" occurs twice'),
        ("a: {<<: {x: 1, x: 2}}\n", 'f.yaml:1:16: the key "x" occurs twice'),
        ("a: !!timestamp x\n", 'f.yaml:1:4: a value of type "tag:yaml.org,2002:timestamp"'),
        ("a: !!bool x\n", 'f.yaml:1:4: "x" is no value that Kubernetes knows'),
        ("a: \x07\n", "f.yaml: not YAML: "),
    ],
)
def test_what_is_no_yaml_is_told_with_its_place(text: str, expected: str) -> None:
    with pytest.raises(UsageError) as raised:
        parsed(text)
    assert expected in str(raised.value)


def test_bytes_that_are_no_text() -> None:
    with pytest.raises(UsageError, match=r"^f.yaml: not YAML: "):
        parse_documents(b"a: \xff\xfe\xff\n", "f.yaml")


def test_what_is_merged_gives_way_to_what_is_written() -> None:
    text = "one: &one {a: 1, b: 1, c: 1}\ntwo: &two {c: 2, d: 2}\n"
    (document,) = parsed(f"{text}all: {{a: 0, <<: [*two, *one], d: 0}}\nlast: {{<<: *one, b: 0}}\n")
    assert document.value["all"] == {"a": 0, "b": 1, "c": 2, "d": 0}
    assert document.value["last"] == {"a": 1, "b": 0, "c": 1}
    assert str(document.position(("last", "b"))) == "f.yaml:4:18"
    assert str(document.position(("last", "a"))) == "f.yaml:1:12"


def test_what_is_nested_too_deeply_does_not_end_the_program(tmp_path: Path) -> None:
    # In a process of its own: libyaml's recursion ends in a signal, which nothing catches.
    path = tmp_path / "deep.yaml"
    path.write_text("[" * 50_000)
    command = [sys.executable, "-m", "slsa_verifier_plugin", "policy", "check", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (Status.USAGE, "")
    assert "deep.yaml:1:102: too large or too deeply nested" in done.stderr


@pytest.mark.parametrize("text", ["abc0.2s", "-1s", "1s" * 40, "1s x", "", "99ms", "6m"])
def test_a_time_limit_that_is_none(text: str) -> None:
    with pytest.raises(UsageError, match=r"--timeout .*expected a duration between 100ms and 5m"):
        seconds_of(text)


def test_a_time_limit() -> None:
    assert (seconds_of(None), seconds_of("1m30s"), seconds_of("0.5s")) == (None, 90.0, 0.5)


def test_a_closed_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(UsageError, match="standard input is closed"):
        read_file("-")


def test_a_file_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(named_files, "MAX_FILE", 10)
    path = tmp_path / "large"
    path.write_bytes(b"x" * 11)
    with pytest.raises(UsageError, match="is larger than"):
        read_file(str(path))
    path.write_bytes(b"x" * 10)
    assert read_file(str(path)) == (b"x" * 10, str(path), tmp_path)


def test_a_verifier_is_what_ratify_hands_over(tmp_path: Path) -> None:
    path = write_yaml(tmp_path / "v.yaml", verifier(spec={"type": "slsa", "artifactTypes": "a/b,c/d"}))
    (found,) = read_setup(str(path)).verifiers
    assert (found.name, found.type, found.artifact_types) == ("verifier-slsa", "slsa", ("a/b", "c/d"))
    assert found.config["name"] == "verifier-slsa"
    assert found.config["type"] == "slsa"
    assert parse_policy(found.config).levels == ("SLSA_SOURCE_LEVEL_2",)


def test_the_type_is_the_name_where_there_is_none(tmp_path: Path) -> None:
    path = write_yaml(tmp_path / "v.yaml", verifier())
    assert read_setup(str(path)).verifiers[0].type == "slsla"


def test_relative_paths_are_of_the_files_folder(tmp_path: Path) -> None:
    pem = "-----BEGIN PUBLIC KEY-----\n"
    signers = [{"publicKey": "key.pem"}, {"publicKey": pem}, {"publicKey": "/abs.pem"}, {"issuer": "x"}]
    changes: dict[str, Any] = {
        "trustedRoot": [
            "public-good",
            {"path": "root.json"},
            {"tufUrl": "https://t", "rootPath": "sub/root.json"},
        ],
        "trustedVerifiers": signers,
        "trustedBuilders": [{"builderId": "x", "publicKey": "b.pem"}],
    }
    path = write_yaml(tmp_path / "v.yaml", verifier(spec={"parameters": changes}))
    config = read_setup(str(path)).verifiers[0].config
    assert config["trustedRoot"] == [
        "public-good",
        {"path": f"{tmp_path}/root.json"},
        {"tufUrl": "https://t", "rootPath": f"{tmp_path}/sub/root.json"},
    ]
    keys = [item.get("publicKey") for item in config["trustedVerifiers"]]
    assert keys == [f"{tmp_path}/key.pem", pem, "/abs.pem", None]
    assert config["trustedBuilders"][0]["publicKey"] == f"{tmp_path}/b.pem"


def test_what_kubectl_prints_is_unwrapped(tmp_path: Path) -> None:
    others = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}}
    listing = {"apiVersion": "v1", "kind": "List", "items": [others, verifier("one"), verifier("two")]}
    path = write_yaml(tmp_path / "v.yaml", listing)
    assert [item.name for item in read_setup(str(path)).verifiers] == ["one", "two"]
    path.write_text(json.dumps(listing, indent=1))
    (chosen,) = read_setup(str(path), "two").verifiers
    assert chosen.name == "two"
    assert chosen.resource is not None
    line = chosen.resource.position("spec", "artifactTypes").line
    assert '"artifactTypes"' in path.read_text().splitlines()[line - 1]


def test_the_store_and_the_rules_come_from_the_same_file(tmp_path: Path) -> None:
    store = {
        "apiVersion": "config.ratify.deislabs.io/v1beta1",
        "kind": "Store",
        "metadata": {"name": "store-oras"},
        "spec": {"name": "oras", "parameters": {"useHttp": True}},
    }
    rules = {"slsla/attestation": "any", "default": "all"}
    policy = {
        "apiVersion": "config.ratify.deislabs.io/v1beta1",
        "kind": "Policy",
        "metadata": {"name": "ratify-policy"},
        "spec": {"type": "config-policy", "parameters": {"artifactVerificationPolicies": rules}},
    }
    setup = read_setup(str(write_yaml(tmp_path / "v.yaml", verifier(), store, policy)))
    assert (setup.store, setup.rules) == ({"useHttp": True}, rules)
    # At the command line loopback may speak HTTP by itself.
    usual = {"name": "oras", "useHttp": True, LOOPBACK_HTTP: True}
    assert store_settings(setup.store, False) == usual
    assert store_settings({"useHttp": False}, True) == usual
    policy["spec"] = {"parameters": {"artifactVerificationPolicies": {"x": "some"}}}
    with pytest.raises(UsageError, match=r'v.yaml:\d+:\d+: found "some", expected any or all'):
        read_setup(str(write_yaml(tmp_path / "v.yaml", verifier(), policy)))


@pytest.mark.parametrize(
    ("resource", "expected"),
    [
        (
            {"apiVersion": "v1", "kind": "Pod"},
            r"v.yaml:1:1: no Verifier here, but \"v1 Pod\"; expected apiVersion config",
        ),
        (verifier(apiVersion="config.ratify.deislabs.io/v2"), "no Verifier here, but"),
        (verifier(apiVersion="other/v1beta1"), "no Verifier here, but"),
        (verifier(metadata={"name": ""}), r"v.yaml:3:1: the Verifier has no metadata.name"),
        (verifier(spec={"name": ""}), "has neither spec.name nor spec.type"),
        (verifier(spec={"artifactTypes": ["x"]}), r"v.yaml:7:3: spec.artifactTypes is not text"),
        (verifier(spec={"parameters": []}), "spec.parameters is not an object"),
        (
            verifier(spec={"name": "notation"}),
            "has no Verifier of type slsa or slsla; it has verifier-slsa of type notation",
        ),
        ([1, 2], r"v.yaml:1:1: not a Kubernetes resource"),
        ("text", "not a Kubernetes resource"),
    ],
)
def test_what_is_no_verifier_is_told_with_its_place(tmp_path: Path, resource: object, expected: str) -> None:
    with pytest.raises(UsageError, match=expected):
        read_setup(str(write_yaml(tmp_path / "v.yaml", resource)))


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "v.yaml").write_text("# nothing\n")
    with pytest.raises(UsageError, match="is empty; expected a Verifier resource"):
        read_setup(str(tmp_path / "v.yaml"))


def test_a_verifier_is_chosen_by_name_or_namespace(tmp_path: Path) -> None:
    documents = [
        verifier("a", metadata={"name": "a", "namespace": "one"}, kind="NamespacedVerifier"),
        verifier("a", metadata={"name": "a", "namespace": "two"}, kind="NamespacedVerifier"),
    ]
    path = str(write_yaml(tmp_path / "v.yaml", *documents))
    assert [item.shown() for item in read_setup(path, "two/a").verifiers] == ["two/a"]
    assert len(read_setup(path, "a").verifiers) == 2
    with pytest.raises(UsageError, match=r'has no Verifier named "b"; it has one/a of type slsla, two/a'):
        read_setup(path, "b")


def test_options_alone_are_a_policy() -> None:
    demands = Demands(
        parameters={"expectedVerifiedLevels": ["SLSA_SOURCE_LEVEL_3"], "expectedResourceUri": [SOURCE]}
    )
    setup = setup_of(demands)
    (found,) = setup.verifiers
    assert found.artifact_types == ("slsla/attestation",)
    assert parse_policy(found.config).levels == ("SLSA_SOURCE_LEVEL_3",)


def test_options_change_the_file(tmp_path: Path) -> None:
    path = str(write_yaml(tmp_path / "v.yaml", verifier()))
    parameters = {"expectedVerifiedLevels": ["SLSA_SOURCE_LEVEL_4"]}
    setup = setup_of(Demands(path, None, parameters, ("x/y",), "any"))
    (found,) = setup.verifiers
    assert parse_policy(found.config).levels == ("SLSA_SOURCE_LEVEL_4",)
    assert parse_policy(found.config).resource_uris[0].pattern == SOURCE
    assert (found.artifact_types, setup.rules) == (("x/y",), {"default": "any"})


def test_ratifys_own_samples_of_versions_are_known() -> None:
    assert resources.VERSIONS == ("v1beta1", "v1alpha1")
    assert yaml.safe_load(yaml.safe_dump(verifier()))["kind"] in resources.VERIFIER_KINDS
