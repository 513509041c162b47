"""Images in the well-known places of other projects' kinds, and what of them cannot be read."""

from __future__ import annotations

from typing import Any

import pytest

from slsa_verifier_plugin.audit.manifest_images import images_in, names_more


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
