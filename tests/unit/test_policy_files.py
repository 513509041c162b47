"""What ``policy check`` reads of folders and patterns, and what it passes over."""

from __future__ import annotations

from pathlib import Path

import pytest

from slsa_verifier_plugin.checking.status import Status
from slsa_verifier_plugin.errors import UsageError
from slsa_verifier_plugin.resources.policy_files import read_policy_files
from tests.support.command_line import cli, parameters, verifier, write_yaml

GOOD = verifier(spec={"parameters": parameters(sourceBinding="annotation")})


def folder(tmp_path: Path) -> Path:
    """Make a folder of a Verifier, a kustomization with patches, chart values, a chart, and other files."""
    root = tmp_path / "deploy"
    (root / "overlay").mkdir(parents=True)
    write_yaml(root / "verifier.yaml", GOOD)
    (root / "values.yaml").write_text("image: {tag: x}\n")
    (root / "list.json").write_text("[1, 2]")
    (root / "empty.yaml").write_text("# nothing\n")
    (root / "overlay" / "kustomization.yaml").write_text(
        "resources: [../verifier.yaml]\n"
        "patches: [{path: patch.yaml}]\n"
        "patchesStrategicMerge: [strategic.yaml]\n"
        "replacements: [{path: replace.yaml}]\n"
    )
    patch = {**GOOD, "spec": {"parameters": {"expectedLevels": 3}}}
    for name in ("patch.yaml", "strategic.yaml", "replace.yaml"):
        write_yaml(root / "overlay" / name, patch)
    (root / "chart" / "templates").mkdir(parents=True)
    (root / "chart" / "Chart.yaml").write_text("name: c\n")
    (root / "chart" / "values.yaml").write_text("a: 1\n")
    (root / "chart" / "templates" / "v.yaml").write_text(
        "kind: Verifier\nspec: {{ .Values.spec }}\n{{- end }}"
    )
    return root


def test_a_folder_is_read_whole_and_the_rest_passed_over_with_a_word(tmp_path: Path) -> None:
    root = folder(tmp_path)
    done = cli("policy", "check", root)
    assert done.status == Status.ADMITTED, done.out
    assert done.out.startswith("1 resource checked, 1 of kind Verifier checked for ")
    assert (
        f"passed over: 1 kustomization: {root}/overlay/kustomization.yaml; what kustomize builds" in done.out
    )
    assert "passed over: 3 patches of a kustomization: " in done.out
    assert "passed over: 2 templates of a chart: " in done.out
    assert "passed over: 2 files of chart values: " in done.out
    assert "passed over: 2 files without a Kubernetes resource: " in done.out


def test_patterns_are_read_as_a_shell_reads_them(tmp_path: Path) -> None:
    root = folder(tmp_path)
    for pattern in (f"{root}/*.yaml", f"{root}/**/verif*.yaml", f"{tmp_path}/*"):
        assert [item.name for item in read_policy_files([pattern]).resources] == ["verifier-slsa"]
    with pytest.raises(UsageError, match="no file matches"):
        read_policy_files([f"{root}/*.none"])
    # A file with brackets in its name is that file.
    write_yaml(tmp_path / "[x].yaml", GOOD)
    assert len(read_policy_files([f"{tmp_path}/[x].yaml"]).resources) == 1


def test_what_has_no_resource_at_all_is_no_success(tmp_path: Path) -> None:
    root = folder(tmp_path)
    (root / "verifier.yaml").unlink()
    done = cli("policy", "check", root)
    assert (done.status, done.out, done.err.count("\n")) == (Status.USAGE, "", 1)
    assert "nothing to check in " in done.err
    assert "2 templates of a chart; " in done.err
    assert "3 patches of a kustomization" in done.err
    values = cli("policy", "check", root / "values.yaml")
    assert (values.status, "1 file of chart values passed over" in values.err) == (Status.USAGE, True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("apiVersion: config.ratify.deislabs.io/v1beta1\nknid: Verifier\n", ':2:1: error: "knid" is no field of a resource\n'),
        ("apiVersion: config.ratify.deislabs.io/v1beta1\n", ":1:1: error: a resource without a kind\n"),
        ("Kind: Verifier\n", ':1:1: error: "Kind" is no field of a resource\n    is kind meant?'),
        ("kind: [Verifier]\n", ":1:1: error: a resource without a kind\n"),
    ],
)  # fmt: skip
def test_what_was_meant_to_be_a_resource_is_a_problem(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "v.yaml").write_text(text)
    done = cli("policy", "check", tmp_path)
    assert (done.status, expected in done.out) == (Status.DENIED, True), done.out
    assert done.out.endswith("0 resources: 1 error, 0 warnings\n")


def test_a_file_that_is_named_twice_is_read_once(tmp_path: Path) -> None:
    path = write_yaml(tmp_path / "v.yaml", verifier())
    done = cli("policy", "check", tmp_path, path, f"{tmp_path}/../{tmp_path.name}/*.yaml")
    assert done.out.endswith("1 resource: 0 errors, 1 warning\n"), done.out


def test_lists_of_one_kind_as_an_api_server_has_them(tmp_path: Path) -> None:
    items = [{key: value for key, value in GOOD.items() if key not in ("kind", "apiVersion")}]
    listed = {"kind": "VerifierList", "apiVersion": GOOD["apiVersion"], "items": items}
    done = cli("policy", "check", write_yaml(tmp_path / "l.yaml", listed))
    assert (done.status, done.out.startswith("1 resource checked, 1 of kind Verifier")) == (
        Status.ADMITTED,
        True,
    )
    # kubectl's own List tells no kind for its items.
    path = write_yaml(tmp_path / "l.yaml", GOOD, {**listed, "kind": "List", "items": items * 2})
    assert "2 not looked at (2 objects without a kind)" in cli("policy", "check", path).out


def test_values_of_a_chart_may_have_names_like_kind(tmp_path: Path) -> None:
    write_yaml(tmp_path / "verifier.yaml", GOOD)
    write_yaml(tmp_path / "values.yaml", {"bind": "0.0.0.0", "kinds": ["Pod"], "find": True, "metadata": {}})
    done = cli("policy", "check", tmp_path)
    assert (done.status, "1 file of chart values" in done.out) == (Status.ADMITTED, True), done.out


def test_variants_of_one_name_are_alternatives(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_yaml(tmp_path / name / "v.yaml", GOOD)
    assert cli("policy", "check", tmp_path).status == Status.ADMITTED
    write_yaml(tmp_path / "b" / "v.yaml", {**GOOD, "metadata": {"name": "other"}})
    assert "are both for slsla/attestation" in cli("policy", "check", tmp_path).out


def test_a_field_that_a_kustomization_fills_in_is_not_missed(tmp_path: Path) -> None:
    provider = {
        "apiVersion": "externaldata.gatekeeper.sh/v1beta1",
        "kind": "Provider",
        "metadata": {"name": "p"},
        "spec": {"url": "https://r.svc/verify", "timeout": 5, "caBundle": ""},
    }
    write_yaml(tmp_path / "p.yaml", provider)
    assert "there is no caBundle" in cli("policy", "check", tmp_path).out
    (tmp_path / "kustomization.yaml").write_text(
        "replacements: [{targets: [{fieldPaths: [spec.caBundle]}]}]\n"
    )
    done = cli("policy", "check", tmp_path)
    assert (done.status, "not checked: the caBundle that a kustomization puts" in done.out) == (
        Status.ADMITTED,
        True,
    )
