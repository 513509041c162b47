"""``policy check`` on Gatekeeper's mutators and constraints: names of providers, fields, and fixed values."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from slsa_verifier_plugin.checking.status import Status
from tests.support.command_line import CA_BUNDLE, cli, write_yaml

MUTATOR = "mutations.gatekeeper.sh/v1"


def provider(name: str, way: str) -> dict[str, Any]:
    return {
        "apiVersion": "externaldata.gatekeeper.sh/v1beta1",
        "kind": "Provider",
        "metadata": {"name": name},
        "spec": {"url": f"https://ratify.svc/{way}", "timeout": 5, "caBundle": CA_BUNDLE},
    }


PROVIDERS = [provider("ratify-provider", "verify"), provider("ratify-mutation-provider", "mutate")]


def assign(kind: str = "Assign", data: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    usual = {"provider": "ratify-mutation-provider", "dataSource": "ValueAtLocation", "failurePolicy": "Fail"}
    parameters = {"assign": {"externalData": {**usual, **(data or {})}}}
    whole = {"location": "spec.containers[name:*].image", "parameters": parameters, **spec}
    return {"apiVersion": MUTATOR, "kind": kind, "metadata": {"name": "a"}, "spec": whole}


def constraint(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "constraints.gatekeeper.sh/v1beta1",
        "kind": "RatifyVerification",
        "metadata": {"name": "c"},
        "spec": spec,
    }


def webhook(kind: str, **changes: Any) -> dict[str, Any]:
    hook = {"name": "validation.gatekeeper.sh", "failurePolicy": "Fail", "timeoutSeconds": 8, **changes}
    version = "admissionregistration.k8s.io/v1"
    return {"apiVersion": version, "kind": kind, "metadata": {"name": "w"}, "webhooks": [hook]}


def problems(tmp_path: Path, *resources: object) -> list[dict[str, Any]]:
    done = cli("policy", "check", write_yaml(tmp_path / "all.yaml", *resources), "--json")
    found: list[dict[str, Any]] = json.loads(done.out)["problems"]
    assert done.status == (Status.DENIED if any(p["severity"] == "error" for p in found) else Status.ADMITTED)
    return found


GOOD_MATCH = {
    "kinds": [{"apiGroups": [""], "kinds": ["Pod"]}],
    "scope": "Namespaced",
    "namespaces": ["a"],
    "excludedNamespaces": ["b"],
    "labelSelector": {"matchLabels": {"a": "b"}},
    "namespaceSelector": {"matchExpressions": []},
    "source": "All",
    "name": "x-*",
}


@pytest.mark.parametrize(
    "resource",
    [
        assign(match=GOOD_MATCH, applyTo=[{"groups": [""], "kinds": ["Pod"], "versions": ["v1"]}]),
        assign(kind="AssignMetadata", match=GOOD_MATCH),
        assign(parameters={"assign": {"value": "x"}}),
        constraint(match=GOOD_MATCH, enforcementAction="deny", parameters={"whatever": 1}),
        constraint(enforcementAction="scoped", scopedEnforcementActions=[{"action": "deny", "enforcementPoints": []}]),
        {"apiVersion": MUTATOR, "kind": "ModifySet", "metadata": {"name": "m"}, "spec": {"parameters": {"operation": "merge"}}},
        # A Provider of another project has the kind and not the group.
        {"apiVersion": "pkg.crossplane.io/v1", "kind": "Provider", "metadata": {"name": "p"}, "spec": {"package": "x"}},
    ],
)  # fmt: skip
def test_nothing_is_said_of_what_gatekeeper_knows(tmp_path: Path, resource: dict[str, Any]) -> None:
    assert problems(tmp_path, *PROVIDERS, resource) == []


@pytest.mark.parametrize(
    ("resource", "severity", "says", "remedy"),
    [
        (
            assign(data={"provider": "ratify-mutation-providr"}),
            "error", "ratify-mutation-providr", "is ratify-mutation-provider meant?",
        ),
        (
            assign(kind="AssignMetadata", data={"provider": "ratify-mutaton"}),
            "error", "none of that name", "is ratify-mutation-provider",
        ),
        (assign(data={"provider": "something.else"}), "error", "none of that name", "apply that Provider"),
        (assign(data={"provider": ""}), "error", "names no provider", "write provider"),
        (assign(data={"provider": "ratify-provider"}), "error", "verifies images", "write ratify-mutation-provider"),
        (assign(data={"failurePolicy": "Fial"}), "error", 'failurePolicy is "Fial"', "is Fail meant?"),
        (assign(data={"failurePolicy": "fail"}), "error", 'failurePolicy is "fail"', "is Fail meant?"),
        (assign(data={"failurePolicy": "Ignore"}), "warning", "leaves an image as it is", "set failurePolicy: Fail"),
        (assign(data={"failurePolicy": "UseDefault"}), "warning", "puts another image", "set failurePolicy: Fail"),
        (assign(data={"failurPolicy": "Fail"}), "error", '"failurPolicy" is no field', "is failurePolicy meant?"),
        (assign(data={"dataSource": "ValueAtLocaton"}), "error", "dataSource is", "is ValueAtLocation meant?"),
        (assign(match={"namespace": ["default"]}), "error", '"namespace" is no field of spec.match', "is namespaces meant?"),
        (assign(match={"scope": "Namespace"}), "error", "scope is", "is Namespaced meant?"),
        (constraint(match={"namespace": ["default"]}), "error", '"namespace" is no field of spec.match', "is namespaces meant?"),
        (constraint(match={"excludeNamespaces": ["x"]}), "error", "no field of spec.match", "is excludedNamespaces meant?"),
        (constraint(match={"kind": [{"kinds": ["Pod"]}]}), "error", "no field of spec.match", "is kinds meant?"),
        (
            constraint(match={"kinds": [{"apiGroup": [""], "kinds": ["Pod"]}]}),
            "error", '"apiGroup" is no field', "is apiGroups meant?",
        ),
        (constraint(match={"zone": "x"}), "warning", '"zone" is no field', "known are kinds"),
        (constraint(enforcementAction="dney"), "error", "enforcementAction is", "is deny meant?"),
        (constraint(enforcementActon="deny"), "error", '"enforcementActon" is no field', "is enforcementAction meant?"),
        ({**assign(), "kind": "Asign"}, "error", 'the kind "Asign" is none', "write Assign"),
        (
            {**assign(),
            "apiVersion": "mutation.gatekeeper.sh/v1"}, "error", "is not that of kind Assign", "write mutations.gatekeeper.sh/",
        ),
    ],
)  # fmt: skip
def test_near_misses_are_named(
    tmp_path: Path, resource: dict[str, Any], severity: str, says: str, remedy: str
) -> None:
    (found,) = problems(tmp_path, *PROVIDERS, resource)
    assert found["severity"] == severity
    assert says in found["message"]
    assert remedy in found["remedy"]


URL = "https://r.svc/ratify/gatekeeper/v1/verify"


@pytest.mark.parametrize(
    ("changes", "says", "remedy"),
    [
        ({"caBundle": "cGxhY2Vob2xkZXI="}, "holds no certificate", "base64 -w0"),
        ({"caBundle": "REPLACE_ME"}, "holds no certificate", "base64 -w0"),
        # The PEM itself, as people paste it.
        ({"caBundle": base64.b64decode(CA_BUNDLE).decode()}, "holds no certificate", "base64 -w0"),
        ({"caBundle": 7}, "holds no certificate", "base64 -w0"),
        ({"url": URL.replace("verify", "verfiy")}, "nothing answers at", "is /ratify/gatekeeper/v1/verify meant?"),
        ({"url": URL.replace("gatekeeper", "gatekeper")}, "nothing answers at", "is /ratify/gatekeeper/v1/verify meant?"),
        ({"url": f"{URL}/"}, "nothing answers at", "is /ratify/gatekeeper/v1/verify meant?"),
        ({"timeout": 4}, "Gatekeeper waits 4 s", "raise it"),
    ],
)  # fmt: skip
def test_slips_of_a_provider_are_found(
    tmp_path: Path, changes: dict[str, Any], says: str, remedy: str
) -> None:
    one = provider("one", "verify")
    (found,) = problems(tmp_path, {**one, "spec": {**one["spec"], **changes}})
    assert says in found["message"]
    assert remedy in found["remedy"]


@pytest.mark.parametrize(
    "changes",
    [
        {"url": URL},
        {"url": URL.replace("v1/verify", "v2/mutate")},
        # Another project's, and a proxy before ours.
        {"url": "https://cosign-provider.svc:8090/validate"},
        # As base64 wraps it, in a block of YAML.
        {"caBundle": f"{CA_BUNDLE[:30]}\n{CA_BUNDLE[30:]}\n"},
    ],
)
def test_honest_providers_are_good(tmp_path: Path, changes: dict[str, Any]) -> None:
    one = provider("one", "verify")
    assert problems(tmp_path, {**one, "spec": {**one["spec"], **changes}}) == []


TEMPLATE = {
    "apiVersion": "templates.gatekeeper.sh/v1",
    "kind": "ConstraintTemplate",
    "metadata": {"name": "ratifyverification"},
    "spec": {"crd": {"spec": {"names": {"kind": "RatifyVerification"}}}, "targets": []},
}
EXPRESSION = {"key": "tier", "operator": "NotIn", "values": ["test"]}
RULE = {
    "operations": ["CREATE"],
    "apiGroups": [""],
    "apiVersions": ["v1"],
    "resources": ["pods"],
    "scope": "*",
}


def scoped(*points: str) -> dict[str, Any]:
    enforced = {"action": "deny", "enforcementPoints": [{"name": point} for point in points]}
    return constraint(enforcementAction="scoped", scopedEnforcementActions=[enforced])


@pytest.mark.parametrize(
    ("good", "bad", "says", "remedy"),
    [
        (TEMPLATE, {**TEMPLATE, "metadata": {"name": "ratify-verification"}}, "is not its kind's", "write ratifyverification"),
        (TEMPLATE, {**TEMPLATE, "metadata": {"name": "RatifyVerification"}}, "is not its kind's", "write ratifyverification"),
        (
            TEMPLATE, {**TEMPLATE, "spec": {"crd": {"spec": {"names": {"knd": "RatifyVerification"}}}, "targets": []}},
            '"knd" is no field of spec.names', "is kind meant?",
        ),
        (TEMPLATE, {**TEMPLATE, "spec": {"targets": []}}, "the template names no kind", "write it at spec.crd.spec.names.kind"),
        # Without its spec a constraint is for everything, and a template makes nothing.
        (constraint(), {**constraint(), "spce": {}}, '"spce" is no field of the resource', "is spec meant?"),
        (constraint(), {**constraint(), "metadta": {}}, '"metadta" is no field of the resource', "is metadata meant?"),
        (
            {**constraint(), "metadata": {"name": "c", "namespace": "x"}},
            {**constraint(), "metadata": {"name": "c", "namspace": "x"}},
            '"namspace" is no field of metadata', "is namespace meant?",
        ),
        (
            constraint(match={"namespaceSelector": {"matchExpressions": [EXPRESSION]}}),
            constraint(match={"namespaceSelector": {"matchExpressions": [{**EXPRESSION, "operator": "NotIN"}]}}),
            "operator is", "is NotIn meant?",
        ),
        (
            constraint(match={"labelSelector": {"matchExpressions": [EXPRESSION]}}),
            constraint(match={"labelSelector": {"matchExpressions": [{"key": "tier", "operator": "Exists", "value": ["x"]}]}}),
            '"value" is no field of labelSelector.matchExpressions', "is values meant?",
        ),
        (scoped("validation.gatekeeper.sh"), scoped("validation.gatekeper.sh"), "name is", "is validation.gatekeeper.sh meant?"),
        (scoped("*"), scoped("audit.gatekeeper.sh"), "denies nothing", "set deny"),
        (
            webhook("ValidatingWebhookConfiguration", rules=[RULE]),
            webhook("ValidatingWebhookConfiguration", rules=[{**RULE, "operations": ["CREAT"]}]),
            'operations is "CREAT"', "is CREATE meant?",
        ),
        (
            webhook("MutatingWebhookConfiguration", rules=[RULE]),
            webhook("MutatingWebhookConfiguration", rules=[{**RULE, "resource": ["pods"]}]),
            '"resource" is no', "is resources meant?",
        ),
        (
            {"apiVersion": "config.ratify.deislabs.io/v1beta1", "kind": "KeyManagementProvider", "metadata": {"name": "k"}},
            {"apiVersion": "config.ratify.deislabs.io/v1beta1", "kind": "KeyManagmentProvider", "metadata": {"name": "k"}},
            'the kind "KeyManagmentProvider" is none', "write KeyManagementProvider",
        ),
    ],
)  # fmt: skip
def test_near_misses_of_whole_kinds_and_their_neighbours(
    tmp_path: Path, good: dict[str, Any], bad: dict[str, Any], says: str, remedy: str
) -> None:
    assert problems(tmp_path, *PROVIDERS, good) == []
    found = problems(tmp_path, *PROVIDERS, bad)
    assert any(says in one["message"] and remedy in one["remedy"] for one in found), found


@pytest.mark.parametrize("kind", ["ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"])
def test_a_webhooks_misspelt_policy_is_found(tmp_path: Path, kind: str) -> None:
    (found,) = problems(tmp_path, webhook(kind, failurePolicy="Fial"))
    assert ('failurePolicy is "Fial"' in found["message"], found["remedy"]) == (True, "is Fail meant?")
    assert problems(tmp_path, webhook(kind)) == []
    ignored = "error" if kind.startswith("V") else "warning"
    assert [item["severity"] for item in problems(tmp_path, webhook(kind, failurePolicy="Ignore"))] == [
        ignored
    ]


def test_without_a_provider_names_are_not_checked_and_that_is_said(tmp_path: Path) -> None:
    done = cli(
        "policy",
        "check",
        write_yaml(tmp_path / "a.yaml", assign(), {**assign(), "kind": "Job", "apiVersion": "batch/v1"}),
    )
    assert done.status == Status.ADMITTED
    assert done.out == (
        "1 resource checked, 1 of kind Assign checked for provider and failurePolicy, 1 not looked at (1 Job)\n"
        "not checked: whether the Providers that are named exist (none is here)\n"
        "2 resources: nothing is wrong\n"
    )
