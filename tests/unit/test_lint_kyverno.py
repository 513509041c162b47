"""``policy check`` on Kyverno's policies: those that ask this verifier are looked at, and of the others it is said."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from slsa_verifier_plugin.checking.status import Status
from slsa_verifier_plugin.resources.lint_kyverno import NOT_CHECKED
from tests.support.command_line import ROOT, cli, write_yaml

OURS: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "kyverno" / "policy" / "policy.yaml").read_text())
ADDRESS = "https://ratify.ratify-system:6001/ratify/gatekeeper/v1/verify"


def found(tmp_path: Path, *resources: object) -> dict[str, Any]:
    done = cli("policy", "check", write_yaml(tmp_path / "all.yaml", *resources), "--json")
    value: dict[str, Any] = json.loads(done.out)
    is_bad = any(problem["severity"] == "error" for problem in value["problems"])
    assert done.status == (Status.DENIED if is_bad else Status.ADMITTED)
    return value


def spec(**changes: Any) -> dict[str, Any]:
    return {**OURS, "spec": {**copy.deepcopy(OURS["spec"]), **changes}}


def replaced(old: str, new: str) -> dict[str, Any]:
    """Our own policy with another text in its expressions."""
    text = yaml.safe_dump(OURS, width=1000)
    assert old in text
    changed: dict[str, Any] = yaml.safe_load(text.replace(old, new))
    return changed


@pytest.mark.parametrize("kind", ["ValidatingPolicy", "NamespacedValidatingPolicy"])
@pytest.mark.parametrize("version", ["v1", "v1beta1", "v1alpha1"])
def test_our_own_policy_is_good_in_each_form(tmp_path: Path, kind: str, version: str) -> None:
    value = found(tmp_path, {**OURS, "kind": kind, "apiVersion": f"policies.kyverno.io/{version}"})
    assert (value["problems"], value["checked"], value["notLookedAt"]) == ([], {kind: 1}, {})
    assert value["notChecked"] == [NOT_CHECKED]


@pytest.mark.parametrize(
    "resource",
    [
        # The direct form, and a proxy before whoever answers.
        replaced(ADDRESS, "https://slsa-verifier.slsa-verifier/ratify/gatekeeper/v1/verify"),
        replaced(ADDRESS, "https://ratify.x:6001/ratify/gatekeeper/v2/verify"),
        replaced(ADDRESS, "https://proxy.example/images"),
        spec(evaluation={"admission": {"enabled": True}, "background": {"enabled": False}}),
        spec(validationActions=["Audit", "Deny"]),
        spec(webhookConfiguration={"timeoutSeconds": 30}),
        {key: value for key, value in spec(auditAnnotations=[]).items() if key != "status"},
    ],
)
def test_honest_neighbours_are_good(tmp_path: Path, resource: dict[str, Any]) -> None:
    assert found(tmp_path, resource)["problems"] == []


@pytest.mark.parametrize(
    ("resource", "says", "remedy"),
    [
        (replaced(ADDRESS, ADDRESS.replace("https", "http")), "is not HTTPS", "write https://HOST/ratify/gatekeeper/v1/verify"),
        (replaced(ADDRESS, ADDRESS.replace("verify", "verfiy")), "nothing verifies images", "is /ratify/gatekeeper/v1/verify"),
        (replaced(ADDRESS, ADDRESS.replace("verify", "mutate")), "nothing verifies images", "is /ratify/gatekeeper/v1/verify"),
        (replaced(ADDRESS, f"{ADDRESS}/"), "nothing verifies images", "is /ratify/gatekeeper/v1/verify meant?"),
        (replaced("http.Post(", "http.Get("), "asks with GET", "write http.Post"),
        (replaced("/v1beta1", "/v1"), "no expression here has", "take the expressions of"),
        (replaced("ProviderRequest", "ProviderReqest"), 'has "ProviderRequest"', "is it meant by ProviderReqest?"),
        (replaced("isSuccess", "isSucess"), 'has isSuccess', "is it meant by"),
        (spec(failurePolicy="Ignore"), "everything is admitted", "set failurePolicy: Fail"),
        (spec(failurePolicy="Fial"), 'failurePolicy is "Fial"', "is Fail meant?"),
        (spec(failurPolicy="Fail"), '"failurPolicy" is no field', "is failurePolicy meant?"),
        (spec(validationActions=["deny"]), 'validationActions is "deny"', "is Deny meant?"),
        (spec(validationActions=["Audit"]), "validationActions Audit: denies nothing", "write validationActions"),
        (spec(validationActions=[]), "is empty: denies nothing", "write validationActions"),
        (spec(evaluation={"admission": {"enabled": False}}), "nothing is asked", "leave it out"),
        (spec(webhookConfiguration={"timeoutSeconds": 3}), "the policy waits 3 s", "raise it"),
        (spec(webhookConfiguration={"timeoutSeconds": 31}), "timeoutSeconds is 31", "a number"),
        (spec(webhookConfiguration={"timeoutSecond": 8}), "is no field", "is timeoutSeconds meant?"),
        ({**OURS, "apiVersion": "policies.kyverno.io/v2"}, "is served by nobody", "write policies.kyverno.io/v1"),
        ({**OURS, "kind": "ValidatngPolicy"}, "is none that is known here", "write ValidatingPolicy"),
        ({**OURS, "apiVersion": "policy.kyverno.io/v1"}, "is none that is known here", "write the group policies.kyverno.io"),
    ],
)  # fmt: skip
def test_what_keeps_it_from_asking_or_denying_is_found(
    tmp_path: Path, resource: dict[str, Any], says: str, remedy: str
) -> None:
    problems = found(tmp_path, resource)["problems"]
    assert any(says in one["message"] and remedy in one["remedy"] for one in problems), problems


@pytest.mark.parametrize(
    ("resource", "named"),
    [
        # Another's policy may fail open, and be of a version with other fields.
        (
            {**OURS, "spec": {"failurePolicy": "Ignore", "validation": [{"expression": "http.Get('http://x')"}]}},
            "ValidatingPolicy without a question to a verifier",
        ),
        ({**OURS, "kind": "ImageValidatingPolicy"}, "ImageValidatingPolicy"),
        ({"apiVersion": "kyverno.io/v1", "kind": "ClusterPolicy", "metadata": {"name": "x"}, "spec": {}}, "ClusterPolicy"),
    ],
)  # fmt: skip
def test_other_policies_are_named_as_not_looked_at(
    tmp_path: Path, resource: dict[str, Any], named: str
) -> None:
    value = found(tmp_path, OURS, {**resource, "metadata": {"name": "other"}})
    assert (value["problems"], value["notLookedAt"]) == ([], {named: 1})
    alone = found(tmp_path, resource)["problems"]
    assert [problem["message"] for problem in alone] == [
        f"nothing here is looked at, for there is only {named}"
    ]
