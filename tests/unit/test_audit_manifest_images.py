"""Images in the well-known places of other projects' kinds, and what of them cannot be read."""

from __future__ import annotations

from typing import Any

import pytest

from slsa_verifier_plugin.audit.manifest_images import images_in, mentioned_in, names_more


def thing(api_version: str, kind: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": "n"}, "spec": spec}


TEKTON_TASK = {"steps": [{"image": "a:1"}], "sidecars": [{"image": "b:1"}], "stepTemplate": {"image": "c:1"}}
PIPELINE = {"tasks": [{"taskSpec": TEKTON_TASK}], "finally": [{"taskSpec": {"steps": [{"image": "d:1"}]}}]}
ARGO = {
    "templates": [
        {"container": {"image": "a:1"}, "sidecars": [{"image": "b:1"}], "initContainers": [{"image": "c:1"}]},
        {"script": {"image": "d:1", "source": "echo"}},
        {"containerSet": {"containers": [{"image": "e:1"}]}},
    ]
}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (thing("tekton.dev/v1", "Task", **TEKTON_TASK), {"a:1", "b:1", "c:1"}),
        (thing("tekton.dev/v1beta1", "ClusterTask", **TEKTON_TASK), {"a:1", "b:1", "c:1"}),
        (thing("tekton.dev/v1", "TaskRun", taskSpec=TEKTON_TASK), {"a:1", "b:1", "c:1"}),
        (thing("tekton.dev/v1", "Pipeline", **PIPELINE), {"a:1", "b:1", "c:1", "d:1"}),
        (thing("tekton.dev/v1", "PipelineRun", pipelineSpec={"tasks": [{"taskSpec": TEKTON_TASK}]}), {"a:1", "b:1", "c:1"}),
        (thing("tekton.dev/v1beta1", "StepAction", image="a:1"), {"a:1"}),
        (thing("argoproj.io/v1alpha1", "Workflow", **ARGO), {"a:1", "b:1", "c:1", "d:1", "e:1"}),
        (thing("argoproj.io/v1alpha1", "ClusterWorkflowTemplate", **ARGO), {"a:1", "b:1", "c:1", "d:1", "e:1"}),
        (thing("argoproj.io/v1alpha1", "CronWorkflow", workflowSpec=ARGO), {"a:1", "b:1", "c:1", "d:1", "e:1"}),
        (thing("argoproj.io/v1alpha1", "Rollout", template={"spec": {"containers": [{"image": "a:1"}]}}), {"a:1"}),
        (thing("serving.knative.dev/v1", "Service", template={"spec": {"containers": [{"image": "a:1"}]}}), {"a:1"}),
        (
            thing("serving.kserve.io/v1beta1", "InferenceService", predictor={"model": {"image": "a:1", "storageUri": "oci://m:1"}}),
            {"a:1", "m:1"},
        ),
        (thing("serving.kserve.io/v1beta1", "InferenceService", predictor={"sklearn": {"storageUri": "s3://bucket"}}), set()),
        (thing("serving.kserve.io/v1alpha1", "ServingRuntime", containers=[{"image": "a:1"}]), {"a:1"}),
        (thing("sparkoperator.k8s.io/v1beta2", "SparkApplication", image="a:1", driver={"image": "b:1"}), {"a:1", "b:1"}),
        (thing("monitoring.coreos.com/v1", "Prometheus", image="a:1"), {"a:1"}),
    ],
)  # fmt: skip
def test_images_in_well_known_places_are_read(value: dict[str, Any], expected: set[str]) -> None:
    found = images_in(value)
    assert set(found.values()) == expected
    assert not names_more(value, found)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (thing("tekton.dev/v1", "Task", steps=[{"image": "$(params.image)"}, {"image": "a:1"}]), {"a:1"}),
        (thing("argoproj.io/v1alpha1", "Workflow", templates=[{"script": {"image": "{{inputs.parameters.i}}"}}]), set()),
        (thing("argoproj.io/v1alpha1", "Workflow", templates=[{"container": {"image": "r.example/a:{{workflow.name}}"}}]), set()),
        (thing("argoproj.io/v1alpha1", "Workflow", templates=[{"resource": {"manifest": "kind: Pod\nimage: a:1\n"}}]), set()),
        # Another kind of the same group, and the same kind of another group.
        (thing("argoproj.io/v1alpha1", "Application", source={"helm": {"valuesObject": {"image": "a:1"}}}), set()),
        (thing("example.com/v1", "Task", steps=[{"image": "a:1"}]), set()),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_reported(value: dict[str, Any], expected: set[str]) -> None:
    found = images_in(value)
    assert set(found.values()) == expected
    assert names_more(value, found)


def test_the_schema_of_a_tasks_parameter_is_no_image() -> None:
    task = thing("tekton.dev/v1", "Task", params=[{"properties": {"image": {"type": "string"}}}], steps=[])
    assert images_in(task) == {}
    assert not names_more(task, {})


def test_a_parameter_in_a_kind_of_kubernetes_stays_in_the_audit() -> None:
    # It is no image reference: the audit denies it, and so does the cluster.
    value = thing("apps/v1", "Deployment", template={"spec": {"containers": [{"image": "$(IMAGE)"}]}})
    assert list(images_in(value).values()) == ["$(IMAGE)"]


DIGEST = f"sha256:{'a' * 64}"


def told(
    *, env: dict[str, str] | None = None, args: list[Any] | None = None, command: list[Any] | None = None
) -> set[str]:
    """What a Deployment's container mentions."""
    variables = [{"name": name, "value": value} for name, value in (env or {}).items()]
    container = {"name": "c", "image": "operator:1", "env": variables, "args": args, "command": command}
    return set(mentioned_in(thing("apps/v1", "Deployment", template={"spec": {"containers": [container]}})))


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        # As operators of OLM do, and others.
        ({"env": {"RELATED_IMAGE_WEB": f"quay.io/team/web@{DIGEST}"}}, {f"quay.io/team/web@{DIGEST}"}),
        ({"env": {"RELATED_IMAGE_WEB": "quay.io/team/web:1.2"}}, {"quay.io/team/web:1.2"}),
        ({"env": {"SIDECAR_IMAGE": "nginx:1.25"}}, {"nginx:1.25"}),
        ({"env": {"RELATED_IMAGE_WEB": "quay.io/team/web"}}, {"quay.io/team/web"}),
        ({"env": {"PROXY": "registry.example:5000/team/proxy:v2"}}, {"registry.example:5000/team/proxy:v2"}),
        ({"env": {"WEB": f"web@{DIGEST}"}}, {f"web@{DIGEST}"}),
        ({"args": ["--acme-http01-solver-image=quay.io/jetstack/solver:v1"]}, {"quay.io/jetstack/solver:v1"}),
        ({"args": ["--config-reloader", "quay.io/x/reloader:v1"]}, {"quay.io/x/reloader:v1"}),
        ({"args": ["-image", "reloader:v1"]}, {"reloader:v1"}),
        ({"command": ["sh", "-c", "docker run --rm ghcr.io/team/tool:3 --verbose"]}, {"ghcr.io/team/tool:3"}),
        # What would be shown in a report, and may be a password.
        ({"env": {"IMAGE_REGISTRY_AUTH": "me:hunter2", "IMAGE_PULL_SECRET": "r.example/me:hunter2"}}, set()),
        ({"args": ["--image-password=me:hunter2", "--image-token", "r.example/me:hunter2"]}, set()),
        # What is no image, though some of it could be read as one.
        ({"env": {"IMAGE_PULL_POLICY": "Always", "IMAGE_TAG": "v1", "HOME": "/home/app", "MODE": "web"}}, set()),
        ({"env": {"ENDPOINT": "localhost:8080", "URL": "https://quay.io/a/b:1", "HOST": "db.example:5432"}}, set()),
        ({"env": {"RELATED_IMAGE_WEB": "$(WEB)", "IMAGE": "", "IMAGE_PATH": "/images/a:1"}}, set()),
        ({"args": ["--listen=0.0.0.0:8080", "--leader-elect", 7, None, {"image": "a:1"}]}, set()),
        ({}, set()),
    ],
)  # fmt: skip
def test_images_in_variables_and_arguments_are_mentioned(how: dict[str, Any], expected: set[str]) -> None:
    assert told(**how) == expected


def test_what_a_container_runs_is_not_mentioned_beside_it() -> None:
    pod = {
        "containers": [
            {"name": "c", "image": "quay.io/a/b:1", "env": [{"name": "X", "valueFrom": {}}, "odd"]}
        ]
    }
    assert list(mentioned_in(thing("v1", "Pod", **pod))) == []
