"""``policy check`` on what Gatekeeper's resources are for: near misses of kinds, groups, versions, times and places."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.command_line import ROOT, cli

GATEKEEPER = ROOT / "deploy" / "gatekeeper"
CONSTRAINT = GATEKEEPER / "demo" / "constraint.yaml"
PROVIDERS = GATEKEEPER / "provider" / "providers.yaml"
TEMPLATE = GATEKEEPER / "template" / "ratify-verification.yaml"
ASSIGN = GATEKEEPER / "mutation" / "assign.yaml"
WEBHOOK = """apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: gatekeeper-validating-webhook-configuration}
webhooks:
- name: validation.gatekeeper.sh
  failurePolicy: Fail
  timeoutSeconds: 30
"""
CEL = """apiVersion: templates.gatekeeper.sh/v1
kind: ConstraintTemplate
metadata: {name: ratifyverification}
spec:
  crd: {spec: {names: {kind: RatifyVerification}}}
  targets:
  - target: admission.k8s.gatekeeper.sh
    code:
    - engine: Rego
      source: {version: v1, rego: "package x"}
"""


def problems(tmp_path: Path, text: str) -> list[tuple[str, str]]:
    path = tmp_path / "one.yaml"
    path.write_text(text)
    found = json.loads(cli("policy", "check", path, "--json").out)["problems"]
    # The providers' authority is filled in by a kustomization.
    return [(item["message"], item["remedy"]) for item in found if "caBundle" not in item["message"]]


@pytest.mark.parametrize(
    ("file", "good", "bad", "says", "remedy"),
    [
        (CONSTRAINT, "constraints.gatekeeper.sh", "constraint.gatekeeper.sh", "none that is known", "the group constraints."),
        (CONSTRAINT, "gatekeeper.sh/v1beta1", "gatekeeper.sh/v1", "is served by nobody", "write constraints.gatekeeper.sh/"),
        (CONSTRAINT, 'kinds: ["Pod"]', 'kinds: ["pod"]', 'the kind "pod"', "is Pod meant?"),
        (CONSTRAINT, 'kinds: ["Pod"]', 'kinds: ["Deployments"]', 'the kind "Deployments"', "is Deployment meant?"),
        (CONSTRAINT, 'apiGroups: [""]', 'apiGroups: ["core"]', 'the API group "core"', 'write "",'),
        (CONSTRAINT, 'apiGroups: [""]', 'apiGroups: ["v1"]', 'the API group "v1"', 'write "",'),
        (CONSTRAINT, 'apiGroups: [""]', 'apiGroups: ["apps/v1"]', 'the API group "apps/v1"', "write apps,"),
        (PROVIDERS, "gatekeeper.sh/v1beta1", "gatekeeper.sh/v1betal", "is served by nobody", "write externaldata."),
        (PROVIDERS, "timeout: 5", "timeout: 5s", "timeout is 5s", "write a number such as 5"),
        (PROVIDERS, "timeout: 5", "timeout: true", "timeout is True", "write a number such as 5"),
        (PROVIDERS, "timeout: 5", "timeout: 0", "timeout is 0", "write a number such as 5"),
        (ASSIGN, "spec.containers[", "spec.container[", "is in no Pod", "is containers meant?"),
        (ASSIGN, "spec.initContainers[", "spec.initcontainers[", "is in no Pod", "is initContainers meant?"),
        (ASSIGN, "containers[name:*].image", "containers[*].image", "is no image's", "is spec.containers[name:*].image"),
        (ASSIGN, "containers[name:*].image", "containers[name:*].images", "is no image's", "is spec.containers[name:*].i"),
        (ASSIGN, 'kinds: ["Pod"]', 'kinds: ["Pods"]', 'the kind "Pods"', "is Pod meant?"),
        (ASSIGN, 'groups: [""]', 'groups: ["core"]', 'the API group "core"', 'write "",'),
        (ASSIGN, "gatekeeper.sh/v1", "gatekeeper.sh/v2", "is served by nobody", "write mutations.gatekeeper.sh/v1"),
        (TEMPLATE, "target: admission.k8s.gatekeeper.sh", "target: admission.gatekeeper.sh", "target is", "is admission.k8s."),
        (WEBHOOK, "timeoutSeconds: 30", "timeoutSeconds: 30s", "timeoutSeconds is 30s", "write a number such as 5"),
        (WEBHOOK, "timeoutSeconds: 30", "timeoutSeconds: 31", "expected whole seconds from 1 to 30", "write a number such as 5"),
        (WEBHOOK, "k8s.io/v1", "k8s.io/v1beta1", "is served by nobody", "write admissionregistration.k8s.io/v1"),
        (CEL, "engine: Rego", "engine: rego", "engine is", "is Rego meant?"),
        (CEL, "source:", "sources:", "is no field of", "is source meant?"),
    ],
)  # fmt: skip
def test_a_near_miss_is_found_with_what_is_meant(
    tmp_path: Path, file: Path | str, good: str, bad: str, says: str, remedy: str
) -> None:
    text = file.read_text() if isinstance(file, Path) else file
    assert good in text
    honest = problems(tmp_path, text)
    found = [item for item in problems(tmp_path, text.replace(good, bad, 1)) if item not in honest]
    assert any(says in message and remedy in meant for message, meant in found), found
    assert not any(says in message for message, _ in honest)


@pytest.mark.parametrize("file", [CONSTRAINT, PROVIDERS, ASSIGN, WEBHOOK, CEL])
def test_the_nearest_right_one_is_fine(tmp_path: Path, file: Path | str) -> None:
    assert problems(tmp_path, file.read_text() if isinstance(file, Path) else file) == []


@pytest.mark.parametrize(
    "location",
    [
        "spec.containers[name: *].image", 'spec.containers[name: "web"].image', "spec.volumes[name:*].image.reference",
        "spec.template.spec.containers[name:*].image", "spec.byo.deployment.image",
    ],
)  # fmt: skip
def test_places_of_images_are_fine(tmp_path: Path, location: str) -> None:
    text = ASSIGN.read_text()
    assert '"spec.containers[name:*].image"' in text
    assert problems(tmp_path, text.replace('"spec.containers[name:*].image"', f"'{location}'")) == []


@pytest.mark.parametrize("kinds", ['["Pod", "Deployment"]', '["*"]', '["Widget"]'])
def test_kinds_of_ones_own_are_fine(tmp_path: Path, kinds: str) -> None:
    text = (
        CONSTRAINT.read_text()
        .replace('["Pod"]', kinds)
        .replace('apiGroups: [""]', 'apiGroups: ["", "apps", "*"]')
    )
    assert problems(tmp_path, text) == []
