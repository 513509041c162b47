"""Where an audit's images come from."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from slsa_verifier_plugin.cli import images
from slsa_verifier_plugin.cli.images import Use
from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import UsageError
from slsa_verifier_plugin.registry.reference import Reference

DIGEST = "sha256:" + "a" * 64


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
    first, init = images.from_pods(path)
    assert first == Use(expected, "shop", "Pod/p", path)
    assert init.image == "init:1"


def test_pods_belong_to_their_owners(tmp_path: Path) -> None:
    owner: dict[str, Any] = {"ownerReferences": [{"kind": "ReplicaSet", "name": "app-1"}]}
    path = write(tmp_path / "p.json", {"kind": "List", "items": [pod("p", "a:1", **owner)]})
    assert next(iter(images.from_pods(path))).workload == "ReplicaSet/app-1"
    (tmp_path / "p.yaml").write_text(yaml.safe_dump(pod("single", "a:1")))
    assert next(iter(images.from_pods(str(tmp_path / "p.yaml")))).workload == "Pod/single"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"kind": "List", "items": [{"kind": "Service"}]}', 'found "Service", expected Pods'),
        ('{"items": [7]}', 'found "int", expected Pods'),
        ('{"items": ', "not JSON"),
        ("a: 1\n---\nb: 2\n", "expected one list of Pods"),
        ("- 1\n", 'found "list", expected Pods'),
    ],
)
def test_what_is_no_list_of_pods(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "p").write_text(text)
    with pytest.raises(UsageError, match=expected):
        list(images.from_pods(str(tmp_path / "p")))


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
    assert found(images.from_manifests(str(path))) == [
        ("init:1", "shop", "Deployment/web", 8),
        ("web:1", "shop", "Deployment/web", 11),
        ("job:1", "", "CronJob/nightly", 16),
        ("agent:1", "", "Agent/agent", 25),
        ("pod:1", "", "Pod/p", 32),
    ]


def test_a_folder_of_manifests(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.yml").write_text(MANIFESTS)
    (tmp_path / "notes.txt").write_text("kind: [broken")
    assert len(list(images.from_manifests(str(tmp_path)))) == 5
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"holds no \.yaml"):
        list(images.from_manifests(str(tmp_path / "empty")))


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
    assert "web:1" in [use.image for use in images.from_manifests(str(folder))]


def test_a_kustomization_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Kustomization").write_text("")
    fake_kubectl(tmp_path, "echo 'error: no such base' >&2; exit 1", monkeypatch)
    with pytest.raises(UsageError, match=r"failed: error: no such base"):
        list(images.from_manifests(str(tmp_path)))
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(UsageError, match="needs kubectl or kustomize on the PATH"):
        list(images.from_manifests(str(tmp_path)))


class Catalog:
    def repositories(self, registry: str, deadline: Deadline) -> list[str]:
        assert registry == "r.example"
        return ["a", "b/c"]

    def tags(self, image: Reference, deadline: Deadline) -> list[str]:
        return {"a": ["1", f"sha256-{'0' * 64}"], "b/c": []}[image.repository]


def test_a_registry_without_its_fallback_tags() -> None:
    assert [use.image for use in images.from_registry("r.example", Catalog())] == ["r.example/a:1"]
    assert [use.image for use in images.from_registry("r.example/a", Catalog())] == ["r.example/a:1"]
    assert list(images.from_registry("r.example/b/c", Catalog())) == []
