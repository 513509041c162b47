"""``policy check``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from slsa_verifier_plugin.checking.status import Status
from tests.support.command_line import (
    ARTIFACT_TYPE,
    CA_BUNDLE,
    ROOT,
    cli,
    parameters,
    verifier,
    write_yaml,
)

RATIFY = "config.ratify.deislabs.io/v1beta1"


def policy_resource(rules: dict[str, str]) -> dict[str, Any]:
    parameters = {"artifactVerificationPolicies": rules}
    return {
        "apiVersion": RATIFY,
        "kind": "Policy",
        "metadata": {"name": "ratify-policy"},
        "spec": {"parameters": parameters},
    }


def provider(**spec: Any) -> dict[str, Any]:
    usual = {"url": "https://ratify.svc/verify", "timeout": 7, "caBundle": CA_BUNDLE}
    return {
        "apiVersion": "externaldata.gatekeeper.sh/v1beta1",
        "kind": "Provider",
        "metadata": {"name": "ratify-provider"},
        "spec": {**usual, **spec},
    }


def template(rego: str, kind: str = "RatifyVerification", engine: bool = False) -> dict[str, Any]:
    code = {"code": [{"engine": "Rego", "source": {"rego": rego}}]} if engine else {"rego": rego}
    return {
        "apiVersion": "templates.gatekeeper.sh/v1",
        "kind": "ConstraintTemplate",
        "metadata": {"name": kind.lower()},
        "spec": {"crd": {"spec": {"names": {"kind": kind}}}, "targets": [code]},
    }


def webhook(**changes: Any) -> dict[str, Any]:
    hook = {"name": "validation.gatekeeper.sh", "failurePolicy": "Fail", "timeoutSeconds": 8, **changes}
    kind = "ValidatingWebhookConfiguration"
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": "w"},
        "webhooks": [hook],
    }


def constraint(kind: str = "RatifyVerification", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "constraints.gatekeeper.sh/v1beta1",
        "kind": kind,
        "metadata": {"name": "c"},
        "spec": spec,
    }


ASKED = """package closed
images contains image if some image in ["a"]
response := external_data({"provider": "ratify-provider", "keys": [image | some image in images]})
"""
CLOSED = f"""{ASKED}
verified contains item[0] if {{
  some item in response.responses
  item[1].isSuccess == true  # "not" is no part of it
}}

violation contains {{"msg": image}} if {{
  some image in images
  not image in verified
}}
"""
BOUND = verifier(spec={"parameters": parameters(sourceBinding="annotation")})
GOOD = [
    BOUND,
    policy_resource({ARTIFACT_TYPE: "any", "default": "all"}),
    provider(),
    template(CLOSED),
    webhook(),
    constraint(),
]


def check(path: Path, *resources: object, options: tuple[str, ...] = ()) -> tuple[int, list[dict[str, Any]]]:
    done = cli("policy", "check", write_yaml(path / "all.yaml", *resources), "--json", *options)
    assert done.err == ""
    problems: list[dict[str, Any]] = json.loads(done.out)["problems"]
    return done.status, problems


def test_nothing_is_wrong_with_a_good_set_up(tmp_path: Path) -> None:
    assert check(tmp_path, *GOOD) == (Status.ADMITTED, [])
    shown = cli("policy", "check", tmp_path / "all.yaml").out
    assert shown.startswith(
        "6 resources checked, 1 of kind ConstraintTemplate checked for provider and closed form, 1 of kind"
    )
    assert shown.endswith("\n6 resources: nothing is wrong\n")


def bad(**spec: Any) -> dict[str, Any]:
    return verifier(spec={"parameters": parameters(sourceBinding="annotation"), **spec})


def with_parameters(**changes: Any) -> dict[str, Any]:
    return verifier(spec={"parameters": parameters(**{"sourceBinding": "annotation", **changes})})


@pytest.mark.parametrize(
    ("resources", "severity", "line", "expected"),
    [
        ([verifier()], "warning", 8, "sourceBinding is none"),
        ([verifier(apiVersion="config.ratify.deislabs.io/v1")], "error", 1, '"config.ratify.deislabs.io/v1" is served by nobody'),
        ([verifier(apiVersion="ratify.dev/v1beta1")], "error", 1, "is not Ratify v1's"),
        ([{**bad(), "apiVersion": "config.ratify.deislabs.io/v1alpha1"}], "warning", 1, "v1alpha1 is deprecated"),
        ([bad(name="slsla-verifier")], "error", 6, 'the type "slsla-verifier" is no name that this plugin'),
        ([bad(type="slsal")], "error", 15, 'the type "slsal" is no name'),
        ([bad(artifactTypes="slsa/attestation")], "warning", 7, '"slsa/attestation" is not slsla/attestation'),
        ([bad(artifactTypes="a/b, slsla/attestation")], "error", 7, "has blanks, which Ratify does not take away"),
        ([bad(artifactTypes="*")], "warning", 7, "* hands every artifact to this verifier"),
        ([bad(artifactTypes=7)], "error", 7, "spec.artifactTypes is not text"),
        ([with_parameters(expectedLevels=["x"])], "error", 15, "expectedLevels: unknown parameter"),
        ([with_parameters(expectedVerifiedLevels=[])], "error", 9, "expectedVerifiedLevels: must not be empty"),
        ([with_parameters(expectedVerifiedLevels=["A", 2])], "error", 11, "expectedVerifiedLevels[1]: found"),
        ([with_parameters(trustedRoot={"path": "root.json"})], "error", 13, 'trustedRoot.path: "root.json" is relative'),
        ([with_parameters(timeout="5s")], "warning", 15, "is not below Ratify's own 5 s"),
        ([BOUND, {**BOUND, "metadata": {"name": "second"}}], "error", 22, "are both for slsla/attestation"),
        ([BOUND, policy_resource({"default": "all"})], "error", 22, "slsla/attestation is not named"),
        ([BOUND, policy_resource({ARTIFACT_TYPE: "all"})], "warning", 23, "takes the image down"),
        ([BOUND, policy_resource({ARTIFACT_TYPE: "any", "slsa/attestation": "any"})], "error", 24, "every image is denied"),
        ([BOUND, policy_resource({ARTIFACT_TYPE: "some"})], "error", 23, 'found "some", expected any or all'),
        ([BOUND, webhook(failurePolicy="Ignore")], "error", 22, "everything is admitted"),
        ([BOUND, webhook(timeoutSeconds=3)], "error", 23, "waits 3 s, not more than the plugin's 4 s"),
        ([provider(url="http://ratify/verify")], "error", 6, "is not HTTPS"),
        ([provider(caBundle="")], "error", 5, "there is no caBundle"),
        ([provider(timeout=4)], "error", 7, "Gatekeeper waits 4 s"),
        ([template(CLOSED.replace("ratify-provider", "ratify")), provider()], "error", 11, 'asks the provider "ratify"'),
        ([template('external_data({"provider": "r"}).errors')], "error", 11, "looks at errors alone"),
        ([template('external_data({"provider": "r"}).errors # responses')], "error", 11, "looks at errors alone"),
        ([template('external_data({"provider": "r"}).errors', engine=True)], "error", 14, "looks at errors alone"),
        ([constraint("Other"), template(CLOSED)], "error", 2, 'no ConstraintTemplate here makes the kind "Other"'),
        ([constraint(enforcementAction="dryrun")], "warning", 6, '"dryrun" denies nothing'),
        (
            [{"apiVersion": RATIFY, "kind": "Store", "metadata": {"name": "s"}, "spec": {"parameters": {"useHttp": True}}}],
            "warning",
            7,
            "useHttp",
        ),
    ],
)  # fmt: skip
def test_each_problem_has_its_place_and_remedy(
    tmp_path: Path, resources: list[object], severity: str, line: int, expected: str
) -> None:
    status, problems = check(tmp_path, *resources)
    found = [item for item in problems if expected in item["message"]]
    assert len(found) == 1, problems
    (problem,) = found
    assert (problem["severity"], problem["line"], problem["file"]) == (
        severity,
        line,
        str(tmp_path / "all.yaml"),
    )
    assert problem["remedy"]
    assert problem["column"] >= 1
    # One mistake is one problem.
    assert problems == found
    assert status == (Status.DENIED if severity == "error" else Status.ADMITTED)
    strict, _ = check(tmp_path, *resources, options=("--strict",))
    assert strict == Status.DENIED


def test_a_template_that_names_no_kind_makes_none(tmp_path: Path) -> None:
    nameless = {**template(CLOSED), "spec": {"targets": []}}
    _, problems = check(tmp_path, constraint("Other"), nameless, provider())
    assert [item for item in problems if item["line"] < 6] == []
    shown = cli("policy", "check", tmp_path / "all.yaml").out
    assert (
        "not checked: whether templates make the kinds of constraints (no ConstraintTemplate is here)"
        in shown
    )


@pytest.mark.parametrize(
    "rules",
    [
        # As in Ratify's own library: false is looked for, so that what is absent passes.
        "violation[{}] {\n  item := response.responses[_]\n  item[1].isSuccess == false\n}",
        "violation[{}] {\n  item := response.responses[_]\n  not passes(item[1])\n}\n"
        "passes(result) if {\n  result.isSuccess == true\n}",
        "violation[{}] {\n  item := response.responses[_]\n  fails(item[1])\n}\nfails(result) if {\n  not passes(result)\n}\n"
        "passes(result) if {\n  one(result) > 0\n}\none(result) := n if {\n  n := count([x | result[i].isSuccess == true])\n}",
        "violation[{}] {\n  item := response.responses[_]\n  not item[1].isSuccess == true\n}",
        # A comment is no rule.
        "# some image in images; not image in verified; isSuccess == true\nviolation[{}] { response.responses[_][1].x }",
        # Another set than that of the positive answers.
        "verified contains item[0] if {\n  some item in response.responses\n  item[1].isSuccess == true\n}\n"
        "exempt contains 1\nviolation[{}] {\n  some image in images\n  not image in exempt\n}",
        "verified contains item[0] if {\n  some item in response.responses\n  item[1].isSuccess != false\n}\n"
        "violation[{}] {\n  some image in images\n  not image in verified\n}",
    ],
)
def test_templates_that_admit_what_is_not_answered_are_found(tmp_path: Path, rules: str) -> None:
    status, (problem,) = check(tmp_path, provider(), template(ASKED + rules))
    assert (status, problem["severity"]) == (Status.DENIED, "error")
    assert "leaves out of its answer" in problem["message"]
    indented = "\n".join(f"    {line}" for line in (ASKED + rules).splitlines())
    assert len(check(tmp_path, provider(), template(indented))[1]) == 1


@pytest.mark.parametrize(
    "rules",
    [
        "verified[item[0]] {\n  item := response.responses[_]\n  item[1].isSuccess == true\n}\n"
        "violation[{}] {\n  image := images[_]\n  not verified[image]\n}",
        "verified := {item[0] | item := response.responses[_]; item[1].isSuccess == true}\n"
        "violation[{}] {\n  image := images[_]\n  not image in verified\n}",
        'verified(image) if {\n  some item in response.responses\n  item[0] == image\n  item[1]["isSuccess"] == true\n}\n'
        "violation[{}] {\n  image := images[_]\n  not verified(image)\n}",
        "verified contains item[0] if {\n  some item in response.responses\n"
        '  object.get(item[1], "isSuccess", false) == true\n}\n'
        "violation[{}] {\n  some image in images\n  not image in verified\n}",
    ],
)
def test_templates_of_the_closed_form_are_good(tmp_path: Path, rules: str) -> None:
    for text in (ASKED + rules, "\n".join(f"    {line}" for line in (ASKED + rules).splitlines())):
        assert check(tmp_path, provider(), template(text))[1] == []


def test_the_library_of_a_template_is_read_with_it(tmp_path: Path) -> None:
    resource = template("package x\nviolation[{}] { data.lib.r.ask.errors }")
    resource["spec"]["targets"][0]["libs"] = ['package lib.r\nask := external_data({"provider": "p"})']
    (problem,) = check(tmp_path, resource)[1]
    assert "looks at errors alone" in problem["message"]


def test_a_kind_that_is_none_is_told_with_the_nearest(tmp_path: Path) -> None:
    wrong = {**BOUND, "kind": "Verifer"}
    status, (problem,) = check(tmp_path, wrong)
    assert (status, problem["line"], problem["remedy"]) == (Status.DENIED, 2, "write Verifier")
    assert 'the kind "Verifer" is none that is known here: nothing of it is checked' in problem["message"]
    assert len(check(tmp_path, BOUND, wrong)[1]) == 1


def test_files_with_nothing_that_is_known_are_not_called_good(tmp_path: Path) -> None:
    others = [{"apiVersion": "v1", "kind": kind, "metadata": {"name": "x"}} for kind in ("Pod", "Secret")]
    status, (problem,) = check(tmp_path, *others)
    assert (status, problem["message"]) == (
        Status.DENIED,
        "nothing here is looked at, for there is only Pod, Secret",
    )
    assert check(tmp_path, BOUND, *others) == (Status.ADMITTED, [])


@pytest.mark.parametrize(("action", "warnings"), [("deny", 0), ("warn", 1)])
def test_scoped_enforcement_denies_where_a_scope_does(tmp_path: Path, action: str, warnings: int) -> None:
    scoped = constraint(enforcementAction="scoped", scopedEnforcementActions=[{"action": action}])
    assert len(check(tmp_path, scoped)[1]) == warnings


def test_a_path_may_have_a_colon_and_a_blank(tmp_path: Path) -> None:
    folder = tmp_path / "a: b"
    folder.mkdir()
    status, (problem,) = check(folder, bad(artifactTypes=7))
    assert (status, problem["file"], problem["line"]) == (Status.DENIED, str(folder / "all.yaml"), 7)
    assert problem["message"].startswith("spec.artifactTypes is not text")


def test_a_mutating_provider_may_be_quick(tmp_path: Path) -> None:
    assert check(tmp_path, provider(url="https://ratify.svc/ratify/gatekeeper/v1/mutate", timeout=2))[1] == []


def test_verifiers_of_other_plugins_are_left_alone(tmp_path: Path) -> None:
    other = verifier(
        spec={"name": "notation", "artifactTypes": "application/vnd.cncf.notary.signature", "parameters": {}}
    )
    assert check(tmp_path, BOUND, other) == (Status.ADMITTED, [])
    # Alone it is nothing to check, which must not pass for a check.
    status, (problem,) = check(tmp_path, other)
    assert (status, "only Verifier of another plugin" in problem["message"]) == (Status.DENIED, True)
    assert check(tmp_path, other, options=("--allow-empty",)) == (Status.ADMITTED, [])


def test_the_plugin_directory_is_looked_into(tmp_path: Path) -> None:
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    status, (problem,) = check(tmp_path, BOUND, options=("--plugins-dir", str(plugins)))
    assert (status, 'has no executable "slsla"' in problem["message"]) == (Status.DENIED, True)
    (plugins / "slsla").write_text("")
    (plugins / "slsla").chmod(0o755)
    assert check(tmp_path, BOUND, options=("--plugins-dir", str(plugins)))[1] == []


def test_text_reads_like_a_compilers(tmp_path: Path) -> None:
    path = write_yaml(tmp_path / "v.yaml", with_parameters(expectedLevels=["x"]))
    done = cli("policy", "check", path)
    assert done.out.startswith(f"{path}:15:5: error: expectedLevels: unknown parameter\n    did you mean ")
    assert done.out.endswith("1 resource: 1 error, 0 warnings\n")


def test_our_own_manifests_are_good() -> None:
    done = cli("policy", "check", ROOT / "deploy")
    assert (done.status, "error:" in done.out) == (Status.ADMITTED, False), done.out
    assert "3 of kind Assign checked for provider and failurePolicy" in done.out
    assert "passed over: 3 files of chart values: " in done.out
    assert " not looked at (" in done.out
    pattern = cli("policy", "check", ROOT / "deploy" / "ratify" / "[hs]*" / "*.yaml")
    assert (pattern.status, "2 resources checked" in pattern.out) == (Status.ADMITTED, True), pattern.out


def test_a_file_that_is_none() -> None:
    done = cli("policy", "check", "/nowhere.yaml")
    assert (done.status, done.err.count("\n")) == (Status.USAGE, 1)
