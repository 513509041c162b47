"""What an audit has not looked at is told in every form of its report, and at a merge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from slsa_verifier_plugin.checking.status import Status
from tests.support.auditing import APP, audit
from tests.support.command_line import Done, cli, write_yaml


def test_a_kind_that_is_not_looked_at_is_named(policy: Path, images: dict[str, str], tmp_path: Path) -> None:
    write_yaml(tmp_path / "app.yaml", APP)
    sources = ("--manifests", tmp_path, images["high"])
    done = audit(policy, *sources, "--fail-on", "denied")
    assert "incomplete: 1 App of example.com/v1: not looked at, for it names images" in done.out
    assert done.status == Status.ADMITTED
    assert audit(policy, *sources, "--fail-on", "undecided").status == Status.UNDECIDED


OPERATOR: dict[str, Any] = {
    "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "operator", "namespace": "ops"},
    "spec": {"template": {"spec": {"containers": [{
        "name": "c", "args": ["--proxy-image=registry.example/proxy:2"],
        "env": [{"name": "RELATED_IMAGE_WEB", "value": "registry.example/web:1"}],
    }]}}},
}  # fmt: skip
SAID = (
    "2 images that environment variables or arguments name were not looked at: no container here runs them "
    "(registry.example/proxy:2, registry.example/web:1)"
)


@pytest.mark.parametrize("source", ["--manifests", "--pods"])
def test_images_that_are_only_named_are_told_in_each_format(
    policy: Path, images: dict[str, str], tmp_path: Path, source: str
) -> None:
    """And they make nothing incomplete: an operator's CI would never be green again."""
    spec = OPERATOR["spec"]["template"]["spec"]
    spec = {**spec, "containers": [{**spec["containers"][0], "image": images["high"]}]}
    value = {**OPERATOR, "spec": {"template": {"spec": spec}}}
    if source == "--pods":
        value = {"kind": "PodList", "items": [{"metadata": {"name": "p"}, "spec": spec}]}
    path = write_yaml(tmp_path / "o.yaml", value)

    def said(form: str, *more: str | Path) -> Done:
        done = audit(policy, source, path, *more, "--format", form, "--fail-on", "undecided")
        assert done.status == Status.ADMITTED
        return done

    assert SAID in said("table").out
    assert SAID in said("html").out.replace("<wbr>", "")
    assert SAID in said("csv").err
    assert SAID not in said("csv").out
    (notification,) = json.loads(said("sarif").out)["runs"][0]["invocations"][0]["toolExecutionNotifications"]
    assert notification == {"level": "note", "message": {"text": SAID}}
    suite = ElementTree.fromstring(said("junit").out)
    assert (suite.attrib["errors"], suite.findtext("testsuite/system-out")) == ("0", SAID)
    document = json.loads(said("json").out)
    assert document["summary"]["gaps"] == []
    assert document["summary"]["mentioned"] == ["registry.example/proxy:2", "registry.example/web:1"]
    # What runs somewhere among these images has been looked at.
    spec["containers"][0]["args"] = [f"--proxy-image={images['high']}"]
    write_yaml(path, value)
    document = json.loads(said("json").out)
    assert document["summary"]["mentioned"] == ["registry.example/web:1"]
    one = (
        "1 image that environment variables or arguments name was not looked at: no container here runs it ("
    )
    assert one in said("table").out


def test_what_was_not_looked_at_is_told_in_sarif_and_beside_csv(
    policy: Path, images: dict[str, str], tmp_path: Path
) -> None:
    sources = ("--manifests", write_yaml(tmp_path / "app.yaml", APP), images["high"])
    (notification,) = json.loads(audit(policy, *sources, "--format", "sarif").out)["runs"][0]["invocations"][
        0
    ]["toolExecutionNotifications"]
    assert notification["message"]["text"].startswith("incomplete: 1 App of example.com/v1: not looked at")
    assert audit(policy, *sources, "--format", "csv").err.startswith("incomplete: 1 App of example.com/v1")
    assert json.loads(audit(policy, images["high"], "--format", "sarif").out)["runs"][0]["invocations"] == [
        {"executionSuccessful": True, "toolExecutionNotifications": []}
    ]


def test_a_merge_says_what_its_shards_did_not_look_at(
    policy: Path, images: dict[str, str], tmp_path: Path
) -> None:
    value = {**OPERATOR, "spec": {"env": OPERATOR["spec"]["template"]["spec"]["containers"][0]["env"]}}
    path = write_yaml(tmp_path / "all.yaml", APP, value)
    states = [tmp_path / f"{number}.db" for number in range(2)]
    for number, state in enumerate(states):
        audit(policy, "--manifests", path, images["high"], "--state", state, "--shard", f"{number}/2")
    merged: tuple[str | Path, ...] = ("audit", "merge", *states, "--fail-on", "undecided")
    done = cli(*merged, "--json")
    summary = json.loads(done.out)["summary"]
    assert (done.status, summary["missing"], len(summary["gaps"])) == (Status.UNDECIDED, 0, 1)
    assert summary["gaps"][0].startswith("1 App of example.com/v1: not looked at")
    assert summary["mentioned"] == ["registry.example/web:1"]
    assert cli(*merged).out.count("1 App of example.com/v1") == 1
