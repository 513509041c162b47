"""Where an audit's images come from."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from slsa_verifier_plugin.audit import image_sources as images
from slsa_verifier_plugin.audit.image_sources import Use
from slsa_verifier_plugin.audit.pod_images import from_pods
from slsa_verifier_plugin.errors import UsageError

DIGEST = "sha256:" + "a" * 64
GATEKEEPER = Path(__file__).parents[2] / "deploy" / "gatekeeper"


def pod(name: str, image: str, image_id: str = "", **metadata: Any) -> dict[str, Any]:
    status = {"containerStatuses": [{"name": "c", "imageID": image_id}]}
    return {
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop", **metadata},
        "spec": {
            "containers": [{"name": "c", "image": image}],
            "initContainers": [{"name": "i", "image": "init:1"}],
        },
        "status": status,
    }


def write(path: Path, value: object) -> str:
    path.write_text(json.dumps(value))
    return str(path)


def test_arguments_are_checked() -> None:
    assert list(images.from_arguments(["registry.example/a:1"])) == [Use("registry.example/a:1")]
    with pytest.raises(UsageError, match=r'the argument: "NO" is not an image reference'):
        list(images.from_arguments(["NO"]))


def test_a_list_has_one_a_line(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_text("# comment\n\n a/b:1 \nc/d\n")
    assert [(use.image, use.line) for use in images.from_list(str(path))] == [("a/b:1", 3), ("c/d", 4)]
    path.write_text("a/b\nNOT ONE\n")
    with pytest.raises(UsageError, match=rf"{path}:2: "):
        list(images.from_list(str(path)))
    path.write_bytes(b"a\xff")
    with pytest.raises(UsageError, match="not UTF-8 at byte 1"):
        list(images.from_list(str(path)))


@pytest.mark.parametrize(
    ("image", "image_id", "expected"),
    [
        ("r.example/a:1", f"r.example/a@{DIGEST}", f"r.example/a:1@{DIGEST}"),
        ("r.example/a:1", f"docker-pullable://r.example/a@{DIGEST}", f"r.example/a:1@{DIGEST}"),
        ("nginx", f"docker.io/library/nginx@{DIGEST}", f"docker.io/library/nginx@{DIGEST}"),
        # A mirror's name, a config's digest, or nothing yet: the name in the spec is all there is.
        ("r.example/a:1", f"mirror.example/a@{DIGEST}", "r.example/a:1"),
        ("r.example/a:1", DIGEST, "r.example/a:1"),
        ("r.example/a:1", "", "r.example/a:1"),
        (f"r.example/a@sha256:{'b' * 64}", f"r.example/a@{DIGEST}", f"r.example/a@sha256:{'b' * 64}"),
    ],
)
def test_the_digest_that_runs_counts(tmp_path: Path, image: str, image_id: str, expected: str) -> None:
    path = write(tmp_path / "pods.json", {"kind": "PodList", "items": [pod("p", image, image_id)]})
    first, init = from_pods(path)
    assert first == Use(expected, "shop", "Pod/p", path)
    assert init.image == "init:1"


OWNED = {"ownerReferences": [{"kind": "ReplicaSet", "name": "app-6d4cf56db6", "controller": True}]}


def workload(tmp_path: Path, *items: dict[str, Any]) -> str:
    path = write(tmp_path / "p.json", {"kind": "List", "items": list(items)})
    return next(iter(from_pods(path))).workload


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({}, "Pod/p"),
        (OWNED, "ReplicaSet/app-6d4cf56db6"),
        ({**OWNED, "labels": {"pod-template-hash": "6d4cf56db6"}}, "Deployment/app"),
        ({**OWNED, "labels": {"rollouts-pod-template-hash": "6d4cf56db6"}}, "Rollout/app"),
        # Another hash, a part of one, none, or nothing but one: the ReplicaSet is all that is known.
        ({**OWNED, "labels": {"pod-template-hash": "7d4cf56db6"}}, "ReplicaSet/app-6d4cf56db6"),
        ({**OWNED, "labels": {"pod-template-hash": "56db6"}}, "ReplicaSet/app-6d4cf56db6"),
        ({**OWNED, "labels": {"pod-template-hash": ""}}, "ReplicaSet/app-6d4cf56db6"),
        ({**OWNED, "labels": ["pod-template-hash"]}, "ReplicaSet/app-6d4cf56db6"),
        (
            {
                "ownerReferences": [{"kind": "ReplicaSet", "name": "-x"}],
                "labels": {"pod-template-hash": "x"},
            },
            "ReplicaSet/-x",
        ),
        (
            {
                "ownerReferences": [{"kind": "StatefulSet", "name": "db-x"}],
                "labels": {"pod-template-hash": "x"},
            },
            "StatefulSet/db-x",
        ),
        # A Job that somebody made by hand may be named as a CronJob's are.
        ({"ownerReferences": [{"kind": "Job", "name": "backup-28912345"}]}, "Job/backup-28912345"),
        (
            {
                "ownerReferences": [
                    {"kind": "Node", "name": "n"},
                    {"kind": "DaemonSet", "name": "d", "controller": True},
                ]
            },
            "DaemonSet/d",
        ),
    ],
)
def test_pods_belong_to_their_owners(tmp_path: Path, metadata: dict[str, Any], expected: str) -> None:
    assert workload(tmp_path, pod("p", "a:1", **metadata)) == expected


@pytest.mark.parametrize("namespace", ["shop", "other"])
def test_an_owners_owner_is_read_where_it_is_listed_in_the_same_namespace(
    tmp_path: Path, namespace: str
) -> None:
    job: dict[str, Any] = {
        "ownerReferences": [{"kind": "Job", "name": "backup-28912345", "controller": True}]
    }
    above = {"ownerReferences": [{"kind": "CronJob", "name": "backup", "controller": True}]}
    listed = {"kind": "Job", "metadata": {"name": "backup-28912345", "namespace": namespace, **above}}
    expected = "CronJob/backup" if namespace == "shop" else "Job/backup-28912345"
    assert workload(tmp_path, listed, pod("p", "a:1", **job)) == expected


def test_pods_are_read_from_yaml_too(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(yaml.safe_dump(pod("single", "a:1")))
    assert next(iter(from_pods(str(tmp_path / "p.yaml")))).workload == "Pod/single"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"kind": "List", "items": [{"kind": "Service"}]}', 'found "Service", expected Pods'),
        ('{"items": [7]}', "found something else, expected Pods"),
        (
            '{"items": ',
            r"p:1:11: not one JSON document from here on; expected what 'kubectl get pods -A -o json' prints",
        ),
        ('{"items": []}\n{"items": []}', "p:2:1: not one JSON document"),
        ('{"items": [' + "1" * 5000 + "]}", "not one JSON document"),
        ("a: 1\n---\nb: 2\n", "found something else, expected Pods"),
        ("items: []\n---\nkind: Service\n", 'found "Service", expected Pods'),
        ("# nothing\n", "expected a list of Pods"),
        ("- 1\n", "found something else, expected Pods"),
        ('{"items": ' + "[" * 200_000, "too deeply nested"),
    ],
)
def test_what_is_no_list_of_pods(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "p").write_text(text)
    with pytest.raises(UsageError, match=expected):
        list(from_pods(str(tmp_path / "p")))


def test_lists_of_several_namespaces_may_follow_each_other(tmp_path: Path) -> None:
    pod = "{metadata: {name: p}, spec: {containers: [{image: '%s'}]}}"
    for ends in ("\n", "\r\n"):
        text = f"\ufeffitems: [{pod % 'a:1'}]\n---\nkind: Pod\nspec: {{containers: [{{image: b:1}}]}}\n---\n"
        (tmp_path / "p.yaml").write_bytes(text.replace("\n", ends).encode())
        assert [use.image for use in from_pods(str(tmp_path / "p.yaml"))] == ["a:1", "b:1"]


MANIFESTS = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  template:
    spec:
      initContainers:
      - image: init:1
      containers:
      - name: web
        image: web:1
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly}
spec: {jobTemplate: {spec: {template: {spec: {containers: [{image: "job:1"}]}}}}}
---
apiVersion: kagent.dev/v1alpha2
kind: Agent
metadata: {name: agent}
spec:
  type: BYO
  byo:
    deployment:
      image: agent:1
---
apiVersion: v1
kind: List
items:
- kind: Pod
  metadata: {name: p}
  spec: {containers: [{image: "pod:1"}, {name: without}]}
---
kind: ConfigMap
data: {image: not-one}
"""


def found(uses: Iterable[Use]) -> list[tuple[str, str, str, int]]:
    return [(use.image, use.namespace, use.workload, use.line) for use in uses]


def test_manifests_of_every_kind(tmp_path: Path) -> None:
    path = tmp_path / "all.yaml"
    path.write_text(MANIFESTS)
    assert found(images.from_manifests(str(path), Counter())) == [
        ("init:1", "shop", "Deployment/web", 8),
        ("web:1", "shop", "Deployment/web", 11),
        ("job:1", "", "CronJob/nightly", 16),
        ("agent:1", "", "Agent/agent", 25),
        ("pod:1", "", "Pod/p", 32),
    ]


def nested(path: Iterable[str], value: object) -> Any:
    for key in reversed(list(path)):
        value = {key: value}
    return value


def images_of_template() -> tuple[list[list[str]], list[str], str]:
    """Return where the template looks for Pods' specifications, the lists of containers, and the text of its ``images_of``."""
    template = yaml.safe_load((GATEKEEPER / "template" / "ratify-verification.yaml").read_text())
    rego = template["spec"]["targets"][0]["code"][0]["source"]["rego"]
    paths = re.search(r"pod_spec_paths := (\[.*?\n\])", rego, re.DOTALL)
    lists = re.search(r"container_lists := (\[.*?\])", rego)
    body = re.search(r"images_of\(thing\) := (.*?)\n\n", rego, re.DOTALL)
    assert paths
    assert lists
    assert body
    parsed: list[list[str]] = yaml.safe_load(paths[1])
    return parsed, json.loads(lists[1]), body[1]


def test_manifests_images_are_those_that_admission_asks_about(tmp_path: Path) -> None:
    paths, lists, body = images_of_template()
    # What the template looks for beside containers; whoever adds to it adds to these, and to the audit.
    others = re.findall(r"\w+\.image\.reference|\"volumes\"|\[\"spec\", [^]]*\]", body)
    assert others == [
        "volume.image.reference", '"volumes"', '["spec", "byo", "deployment", "image"]', '["spec", "skills", "refs"]',
    ]  # fmt: skip
    assert (body.count(":="), body.count("some ")) == (2, 6)
    values: list[Any] = [nested([*path, name], [{"image": "low:1"}]) for path in paths for name in lists]
    values += [nested([*path, "volumes"], [{"image": {"reference": "low:1"}}]) for path in paths]
    values += [
        {"spec": {"byo": {"deployment": {"image": "low:1"}}}},
        {"spec": {"skills": {"refs": ["low:1"]}}},
    ]
    for value in values:
        path = write(tmp_path / "object.json", {"kind": "Any", **value})
        assert [use.image for use in images.from_manifests(path, Counter())] == ["low:1"], value


def test_every_image_of_the_templates_own_tests_is_audited() -> None:
    for path in (GATEKEEPER / "test" / "objects").glob("*-agent-are-checked.yaml"):
        assert "registry.example/low:1" in [
            use.image for use in images.from_manifests(str(path), Counter())
        ], path
    both = GATEKEEPER / "test" / "objects" / "extra-containers-of-an-agent-are-checked.yaml"
    assert [use.image for use in images.from_manifests(str(both), Counter())] == [
        "registry.example/good:1", "registry.example/low:1",
    ]  # fmt: skip


def test_what_only_looks_like_a_place_of_images_is_none(tmp_path: Path) -> None:
    skills = {"spec": {"skills": {"refs": [7, ""]}, "declarative": {"a2aConfig": {"skills": [{"id": "x"}]}}}}
    other = {"data": {"skills": {"refs": ["no:1"]}}, "byo": {"deployment": "no:1"}, "byo2": {"image": "no:1"}}
    volumes = {"spec": {"volumes": [{"name": "v", "emptyDir": {}}, {"image": "no:1"}, 7], "containers": "no"}}
    for value in (skills, other, volumes):
        assert list(images.from_manifests(write(tmp_path / "object.json", value), Counter())) == []


def test_volumes_of_running_pods_are_images_too(tmp_path: Path) -> None:
    value = pod("p", "a:1")
    value["spec"]["volumes"] = [
        {"name": "v", "image": {"reference": "model:1"}},
        {"name": "w", "emptyDir": {}},
    ]
    path = write(tmp_path / "p.json", value)
    assert [use.image for use in from_pods(path)] == ["a:1", "init:1", "model:1"]


def test_texts_that_are_no_unicode_are_written_out() -> None:
    use = images.storable(Use("a\udce9:1", "n", "Pod/\ud800", "caf\udce9.yaml", 3))
    assert use == Use("a\\udce9:1", "n", "Pod/\\ud800", "caf\\udce9.yaml", 3)
    assert images.storable(Use("café:1")) == Use("café:1")


def test_a_folder_of_manifests(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.yml").write_text(MANIFESTS)
    (tmp_path / "notes.txt").write_text("kind: [broken")
    assert len(list(images.from_manifests(str(tmp_path), Counter()))) == 5
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"holds no \.yaml"):
        list(images.from_manifests(str(tmp_path / "empty"), Counter()))


def fake_kubectl(folder: Path, body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "bin" / "kubectl"
    path.parent.mkdir()
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}{os.pathsep}{os.environ['PATH']}")


def test_a_kustomization_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "k"
    folder.mkdir()
    (folder / "kustomization.yaml").write_text("resources: [a.yaml]\n")
    (folder / "a.yaml").write_text(MANIFESTS.replace("web:1", "ignored:1"))
    (tmp_path / "built.yaml").write_text(MANIFESTS)
    fake_kubectl(tmp_path, f'test "$1 $2" = "kustomize {folder}" && cat {tmp_path}/built.yaml', monkeypatch)
    assert "web:1" in [use.image for use in images.from_manifests(str(folder), Counter())]


def test_a_kustomization_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Kustomization").write_text("")
    fake_kubectl(tmp_path, "echo 'error: no such base' >&2; exit 1", monkeypatch)
    with pytest.raises(
        UsageError, match=r"kubectl kustomize .*: error: no such base; check the kustomization"
    ):
        list(images.from_manifests(str(tmp_path), Counter()))
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(UsageError, match="needs kubectl or kustomize on the PATH"):
        list(images.from_manifests(str(tmp_path), Counter()))


@pytest.mark.parametrize(
    ("value", "found", "unread"),
    [
        ({"apiVersion": "example.com/v1", "kind": "App", "spec": {"image": {"repository": "a", "tag": "1"}}}, [], 1),
        # One image that is read does not speak for another that is not.
        (
            {"apiVersion": "e.com/v1", "kind": "App", "spec": {"containers": [{"image": "a:1"}], "sidecar": {"image": "b:1"}}},
            ["a:1"],
            1,
        ),
        ({"apiVersion": "e.com/v1", "kind": "App", "spec": {"containers": [{"image": "a:1"}]}}, ["a:1"], 0),
        (
            {"apiVersion": "e.com/v1", "kind": "App", "spec": {"volumes": [{"image": {"reference": "v:1"}}]}},
            ["v:1"],
            0,
        ),
        ({"apiVersion": "e.com/v1", "kind": "App", "spec": {"replicas": 2}}, [], 0),
        ({"apiVersion": "v1", "kind": "ConfigMap", "data": {"image": "a:1"}}, [], 0),
        ({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "spec": {"image": {}}}, [], 0),
        ({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"containers": [{"image": "a:1"}]}}, ["a:1"], 0),
    ],
)  # fmt: skip
def test_kinds_that_are_not_looked_at_are_counted(
    tmp_path: Path, value: dict[str, Any], found: list[str], unread: int
) -> None:
    counted: Counter[str] = Counter()
    path = write(tmp_path / "object.json", {"kind": "List", "items": [value]})
    assert [use.image for use in images.from_manifests(path, counted)] == found
    assert counted == ({f"{value['kind']} of {value['apiVersion']}": unread} if unread else {})
