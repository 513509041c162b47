"""``policy check`` on values that fit the schema and that no summary can have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from slsa_verifier_plugin.problem import Key
from slsa_verifier_plugin.resources.lint_values import type_slips, unmatchable
from tests.support.command_line import cli, parameters, verifier, write_yaml

REPOSITORY = "git+https://github.com/example/source-demo"
BUILDER = {"builderId": "https://b.example/*", "issuer": "https://i.example", "identity": "b"}
OWN = [{"verifierId": "https://v.example", "issuer": "https://i.example", "identity": "me@example.com"}]


def _told(config: dict[str, Any]) -> list[tuple[tuple[Key, ...], str, str]]:
    """Return what can match no summary: where in the parameters, what is wrong, and what to do."""
    problems = [remark.problem for remark in unmatchable(config)]
    return [(problem.where, problem.found, problem.remedy) for problem in problems]


@pytest.mark.parametrize(
    ("name", "value", "says", "remedy"),
    [
        ("expectedResourceUri", f"{REPOSITORY}.git", "the .git at the end", f"write {REPOSITORY}"),
        ("expectedResourceUri", f"{REPOSITORY}/", "the slash at the end", f"write {REPOSITORY}"),
        ("expectedResourceUri", REPOSITORY[4:], "the git+ at the start", f"write {REPOSITORY}"),
        ("expectedResourceUri", "git+http://github.com/example/source-demo", "the scheme", f"write {REPOSITORY}"),
        ("expectedResourceUri", "git@github.com:example/source-demo.git", "the scheme", f"write {REPOSITORY}"),
        ("expectedResourceUri", "github.com/example/source-demo", "the git+ at the start", f"write {REPOSITORY}"),
        ("expectedResourceUri", "https://github.com/example/*", "the git+ at the start", "write git+https://github.com/example/*"),
        ("expectedResourceUri", "https://www.github.com/example/source-demo", "the www.", f"write {REPOSITORY}"),
        ("expectedResourceUri", "git+https://github.com:443/example/source-demo", "the port", f"write {REPOSITORY}"),
        ("expectedResourceUri", f"{REPOSITORY}/tree/main/app", "the path", f"write {REPOSITORY}"),
        ("expectedResourceUri", "**/source-demo", "nor across the host", "git+https://github.com/OWNER/*"),
        ("expectedResourceUri", "git+https://**", "matches no resourceUri", "write host and path"),
        ("expectedResourceUri", "*://github.com/example/app", "neither its scheme", "write host and path"),
        ("expectedResourceUri", "git+https://github.com/example/*?x=1", "a query", "write host and path"),
        ("expectedResourceUri", "git+https://me@github.com/example/*", "a user name", "write host and path"),
        ("expectedVerifiedLevels", "TAG_HYGEINE", 'states "TAG_HYGEINE"', "is TAG_HYGIENE meant?"),
        ("expectedVerifiedLevels", "slsa_source_level_2", "states", "is SLSA_SOURCE_LEVEL_2 meant?"),
        ("expectedVerifiedLevels", "SLSA_LEVEL_3", "states", "is SLSA_SOURCE_LEVEL_3 meant?"),
        ("expectedVerifiedLevels", "SLSA_SOURCE_L3", "states", "is SLSA_SOURCE_LEVEL_3 meant?"),
        ("expectedVerifiedLevels", "SLSA_SOURCE_LEVEL_03", "states", "is SLSA_SOURCE_LEVEL_3 meant?"),
        ("expectedVerifiedLevels", "SLSA-SOURCE-LEVEL-3", "states", "is SLSA_SOURCE_LEVEL_3 meant?"),
        ("expectedVerifiedLevels", "SLSA_SORUCE_LEVEL_3", "states", "is SLSA_SOURCE_LEVEL_3 meant?"),
        ("expectedVerifiedLevels", "SLSA_SOURCE_LEVEL3", "states", "is SLSA_SOURCE_LEVEL_3 meant?"),
        ("expectedVerifiedLevels", "L2", "states", "is SLSA_SOURCE_LEVEL_2 meant?"),
        ("expectedVerifiedLevels", "SLSA_BUILD_LEVEL_3", "source track alone", "is SLSA_SOURCE_LEVEL_3 meant?"),
        ("expectedVerifiedLevels", "SLSA_DEPENDENCY_LEVEL_1", "source track alone", "is SLSA_SOURCE_LEVEL_1 meant?"),
        ("expectedVerifiedLevels", "SLSA_SOURCE_LEVEL_5", "the levels 1 to 4", "is SLSA_SOURCE_LEVEL_4 meant?"),
        ("expectedResourceUri", "GIT+HTTPS://github.com/example/source-demo", "the scheme", f"write {REPOSITORY}"),
        ("expectedResourceUri", "example/source-demo", "it has no host", f"write {REPOSITORY}"),
        ("expectedResourceUri", "git+https://github.com/example", "that of a repository", "HOST/OWNER/REPOSITORY"),
        ("expectedResourceUri", "git+https://github.com/*", "that of a repository", "HOST/OWNER/REPOSITORY"),
        ("expectedResourceUri", "git+https://*/example", "that of a repository", "HOST/OWNER/REPOSITORY"),
        ("expectedResourceUri", f"{REPOSITORY}#main", "that of a repository", "HOST/OWNER/REPOSITORY"),
        ("expectedSourceRefs", "refs/head/main", "neither a branch nor a tag", "is refs/heads/ meant?"),
        ("expectedSourceRefs", "refs/tag/v*", "neither a branch nor a tag", "is refs/tags/ meant?"),
        ("expectedSourceRefs", "refs/heads/a..b", "git allows no such name", "write refs/heads/NAME"),
        ("expectedSourceRefs", "refs/tags/v[0-9]*", "git allows no such name", "write refs/heads/NAME"),
    ],
)  # fmt: skip
def test_what_can_match_no_summary_is_a_warning_with_the_near_miss(
    name: str, value: str, says: str, remedy: str, tmp_path: Path
) -> None:
    changes: dict[str, Any] = {name: [value]}
    resource = verifier(spec={"parameters": parameters(**changes)})
    done = cli("policy", "check", write_yaml(tmp_path / "v.yaml", resource), "--json")
    (found,) = [item for item in json.loads(done.out)["problems"] if "sourceBinding" not in item["message"]]
    assert found["severity"] == "warning"
    assert says in found["message"]
    assert remedy in found["remedy"]
    assert f"- {value}" in (tmp_path / "v.yaml").read_text().splitlines()[found["line"] - 1].replace("'", "")


@pytest.mark.parametrize(
    "config",
    [
        {"expectedResourceUri": REPOSITORY},
        {"expectedResourceUri": [REPOSITORY, "git+https://github.com/example/*", "git+https://*.ghe.com/o/**", "**"]},
        {"expectedResourceUri": f"{REPOSITORY}@refs/heads/main"},
        {"expectedResourceUri": ["git+https://github.com/*/*", "git+https://*/o/r", "git+https://github.com/o/*-app@refs/heads/*"]},
        {"expectedResourceUri": ["git+https://github.com/**", "git+https://*.example:8443/o/r*", "git+https://h.example/o/a\\*b"]},
        {"expectedResourceUri": "git+https://github.com/Example/Source-Demo"},
        {"expectedResourceUri": "https://git.example/app.git", "trustedVerifiers": OWN, "expectedVerifierId": "https://v.example"},
        {"expectedResourceUri": "https://git.example/app.git", "expectedVerifierId": "https://v.example"},
        {"expectedVerifiedLevels": ["SLSA_SOURCE_LEVEL_3", "ORG_SOURCE_TESTED", "TAG_HYGIENE"]},
        {"expectedSourceRefs": ["refs/heads/main", "refs/tags/v*", "refs/pull/1/merge", "**", "*", "refs/heads/feature/#12"]},
        {"expectedVerifiedLevels": ["SLSA_BUILD_LEVEL_3", "SLSA_SOURCE_LEVEL_10"], "expectedVerifierId": "https://v.example"},
        {"expectedVerifiedLevels": 7, "expectedResourceUri": {"a": 1}, "expectedSourceRefs": [7, None]},
        {},
    ],
)  # fmt: skip
def test_nothing_is_said_of_what_may_match(config: dict[str, Any]) -> None:
    assert _told(config) == []


def _capped(*caps: Any) -> dict[str, Any]:
    entries = [{**OWN[0], "maxLevel": cap} if cap else OWN[0] for cap in caps]
    return {"trustedVerifiers": entries, "expectedVerifierId": "https://v.example"}


@pytest.mark.parametrize(
    ("name", "caps"),
    [
        ("SLSA_SOURCE_LEVEL_3", ["SLSA_SOURCE_LEVEL_2"]),
        ("SLSA_SOURCE_LEVEL_3", ["SLSA_SOURCE_LEVEL_2", ["SLSA_SOURCE_LEVEL_1", "SLSA_BUILD_LEVEL_3"]]),
        ("TAG_HYGIENE", ["SLSA_SOURCE_LEVEL_3"]),
    ],
)
def test_what_every_signers_cap_excludes_is_a_warning(name: str, caps: list[Any]) -> None:
    ((path, what, remedy),) = _told({**_capped(*caps), "expectedVerifiedLevels": [name]})
    assert path == ("expectedVerifiedLevels", 0)
    assert f'attesting "{name}"' in what
    assert remedy.startswith("raise maxLevel")


@pytest.mark.parametrize(
    ("name", "caps"),
    [
        ("SLSA_SOURCE_LEVEL_2", ["SLSA_SOURCE_LEVEL_2"]),
        ("SLSA_SOURCE_LEVEL_3", ["SLSA_SOURCE_LEVEL_2", "SLSA_SOURCE_LEVEL_3"]),
        ("SLSA_SOURCE_LEVEL_3", ["SLSA_SOURCE_LEVEL_2", None]),
        ("TAG_HYGIENE", [None]),
        ("TAG_HYGIENE", []),
        ("SLSA_SOURCE_LEVEL_3", [7]),
    ],
)
def test_what_one_signers_cap_allows_is_none(name: str, caps: list[Any]) -> None:
    assert _told({**_capped(*caps), "expectedVerifiedLevels": [name]}) == []


def test_near_misses_are_named_whatever_else_is_wrong(tmp_path: Path) -> None:
    wrong = parameters(expectedResourceUri=f"{REPOSITORY}.git", trustedRoot={"path": "root.json"})
    broken = verifier(spec={"parameters": wrong})
    shown = cli("policy", "check", write_yaml(tmp_path / "v.yaml", broken)).out
    assert "only in the .git at the end" in shown
    assert "write an absolute path" in shown


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"expectedVerifierId": "v/*", "trustedVerifiers": [{**OWN[0], "verifierId": "v/*"}]}, "*"),
        ({"sourceBinding": "provenance", "trustedBuilders": [BUILDER]}, "*"),
        ({"allowedWorkflowDigests": ["0" * 40]}, "0" * 40),
        ({"trustedVerifiers": [{**OWN[0], "identity": f"w@{'0' * 40}"}], "expectedVerifierId": OWN[0]["verifierId"]}, "0" * 40),
    ],
)  # fmt: skip
def test_a_wildcard_in_an_identifier_and_a_digest_of_zeros_match_nothing(
    changes: dict[str, Any], line: str, tmp_path: Path
) -> None:
    resource = verifier(spec={"parameters": parameters(**{"sourceBinding": "annotation", **changes})})
    path = write_yaml(tmp_path / "v.yaml", resource)
    problems = json.loads(cli("policy", "check", path, "--json").out)["problems"]
    found = [
        item for item in problems if "stands for itself" in item["message"] or "of zeros" in item["message"]
    ]
    assert found
    assert problems == found
    assert all(line in path.read_text().splitlines()[item["line"] - 1] for item in found)


def test_a_wildcard_for_the_verifier_hides_no_other_near_miss() -> None:
    config = {
        "expectedVerifierId": "*",
        "expectedResourceUri": f"{REPOSITORY}.git",
        "expectedVerifiedLevels": ["SLSA_BUILD_LEVEL_3"],
    }
    assert {path[0] for path, _, _ in _told(config)} == set(config)


def test_the_source_workflow_is_known_where_its_signers_are_written_out() -> None:
    known = {"verifierId": "https://github.com/slsa-framework/source-actions", "issuer": "i", "identity": "j"}
    config = {"trustedVerifiers": [known], "expectedResourceUri": f"{REPOSITORY}.git"}
    assert [path for path, _, _ in _told(config)] == [("expectedResourceUri",)]


@pytest.mark.parametrize(
    ("ref", "meant"),
    [
        ("main", "refs/heads/main"),
        ("origin/main", "refs/heads/main"),
        ("heads/main", "refs/heads/main"),
        ("v1.2.0", "refs/tags/v1.2.0"),
        ("tags/v1", "refs/tags/v1"),
    ],
)
def test_a_short_ref_is_an_error_with_the_whole_one(ref: str, meant: str, tmp_path: Path) -> None:
    resource = verifier(spec={"parameters": parameters(sourceBinding="annotation", expectedSourceRefs=[ref])})
    shown = cli("policy", "check", write_yaml(tmp_path / "v.yaml", resource)).out
    assert f'expectedSourceRefs[0]: found "{ref}", expected a whole ref\n    is {meant} meant?\n' in shown


@pytest.mark.parametrize(
    "written",
    [
        "https://github.com/slsa-framework/source-actions/",
        "https://github.com/slsa-framework/source-action",
        "github.com/slsa-framework/source-actions",
    ],
)
def test_a_verifier_that_is_nearly_a_known_one_is_told(written: str, tmp_path: Path) -> None:
    resource = verifier(
        spec={"parameters": parameters(sourceBinding="annotation", expectedVerifierId=written)}
    )
    shown = cli("policy", "check", write_yaml(tmp_path / "v.yaml", resource)).out
    assert "is https://github.com/slsa-framework/source-actions meant?" in shown


GITHUB = "https://token.actions.githubusercontent.com"
WORKFLOW = "https://github.com/o/r/.github/workflows/x.yml@refs/heads/main"


@pytest.mark.parametrize("key", ["trustedVerifiers", "trustedBuilders"])
@pytest.mark.parametrize(
    ("issuer", "identity", "says", "remedy"),
    [
        (f"{GITHUB}/", WORKFLOW, "is in no certificate", f"is {GITHUB} meant?"),
        (GITHUB.replace("https", "http"), WORKFLOW, "is in no certificate", f"is {GITHUB} meant?"),
        (GITHUB.removeprefix("https://"), WORKFLOW, "is in no certificate", f"is {GITHUB} meant?"),
        (GITHUB.replace("token", "Token"), WORKFLOW, "is in no certificate", f"is {GITHUB} meant?"),
        (GITHUB.replace("actions", "action"), WORKFLOW, "is none that is known here", f"is {GITHUB} meant?"),
        (GITHUB, "https://github.com/o/r/.*", "reads like a regular expression", "identityPattern"),
        (GITHUB, f"^{WORKFLOW}$", "reads like a regular expression", "identityPattern"),
        (GITHUB, WORKFLOW.replace("main", "*"), "reads like a regular expression", "identityPattern"),
        (GITHUB, WORKFLOW.replace("https", "http"), "is no workflow's at GitHub", f"is {WORKFLOW} meant?"),
        (GITHUB, WORKFLOW.partition("@")[0], "is no workflow's at GitHub", f"is {WORKFLOW} meant?"),
        (GITHUB, WORKFLOW.replace("refs/heads/", ""), "is no workflow's at GitHub", f"is {WORKFLOW} meant?"),
        (GITHUB, WORKFLOW.replace("workflows", "workflow"), "is no workflow's at GitHub", f"is {WORKFLOW} meant?"),
        (GITHUB, "https://github.com/o/r", "is no workflow's at GitHub", "write https://github.com/OWNER/"),
    ],
)  # fmt: skip
def test_a_signer_that_nobody_can_be_is_a_warning(
    key: str, issuer: str, identity: str, says: str, remedy: str
) -> None:
    entry = {
        "verifierId" if key == "trustedVerifiers" else "builderId": "https://v.example",
        "issuer": issuer,
        "identity": identity,
    }
    ((path, what, meant),) = _told({key: [entry], "expectedVerifierId": "https://v.example"})
    assert path[:2] == (key, 0)
    assert says in what
    assert remedy in meant


@pytest.mark.parametrize(
    ("issuer", "identity"),
    [
        (GITHUB, WORKFLOW),
        (GITHUB, WORKFLOW.replace("heads/main", "tags/v1.0.0")),
        (GITHUB, WORKFLOW.replace("refs/heads/main", "a1" * 20)),
        (GITHUB, WORKFLOW.replace("main", "feature/a+b")),
        (f"{GITHUB}/an-enterprise", "https://github.com/o/r/anything"),
        ("https://gitlab.com", "https://gitlab.com/g/p//.gitlab-ci.yml@refs/heads/main"),
        ("https://accounts.google.com", "robot@project.iam.gserviceaccount.com"),
        ("https://tenant.auth0.example/", "a+b@example.com"),
        ("https://gitlab.example", "https://gitlab.example/g/p//.gitlab-ci.yml@refs/heads/main"),
        (7, ["x"]),
    ],
)
def test_a_signer_that_somebody_may_be_is_none(issuer: Any, identity: Any) -> None:
    entry = {"verifierId": "https://v.example", "issuer": issuer, "identity": identity}
    assert _told({"trustedVerifiers": [entry], "expectedVerifierId": "https://v.example"}) == []


def test_a_glob_is_no_pattern_of_an_identity() -> None:
    entry = {
        "verifierId": "https://v.example",
        "issuer": GITHUB,
        "identityPattern": "https://github.com/o/r/*",
    }
    ((path, what, remedy),) = _told({"trustedVerifiers": [entry], "expectedVerifierId": "https://v.example"})
    assert path == ("trustedVerifiers", 0, "identityPattern")
    assert ("any number of slashes" in what, remedy) == (True, "write /.* for any path")
    entry["identityPattern"] += "/.*"
    assert _told({"trustedVerifiers": [entry], "expectedVerifierId": "https://v.example"}) == []


@pytest.mark.parametrize("text", ["http://github.com/o/r", "https://gihub.com/o/r"])
def test_an_id_that_nobody_has_is_a_warning(text: str) -> None:
    entry = {"builderId": text, "issuer": GITHUB, "identity": WORKFLOW}
    ((path, _, remedy),) = _told({"trustedBuilders": [entry]})
    assert path == ("trustedBuilders", 0, "builderId")
    assert "github.com" in remedy
    assert _told({"trustedBuilders": [{**entry, "builderId": "http://builder.example/x"}]}) == []


@pytest.mark.parametrize("value", [["x"], {"a": 1}, 7, None])
def test_what_does_not_fit_the_schema_is_passed_over(value: Any, tmp_path: Path) -> None:
    # The parser of parameters says what is wrong with it, with the place.
    wrong = [
        {"verifierId": value, "issuer": value, "identity": value, "identityPattern": value, "maxLevel": value}
    ]
    for name in ("trustedVerifiers", "trustedBuilders", "expectedVerifierId", "expectedResourceUri"):
        assert _told({name: wrong, "expectedVerifiedLevels": [value]}) == []
    broken = verifier(spec={"parameters": parameters(trustedVerifiers=wrong)})
    done = cli("policy", "check", write_yaml(tmp_path / "v.yaml", broken))
    assert (done.status, done.err, "trustedVerifiers[0].verifierId" in done.out) == (1, "", True)


def test_a_host_and_a_wildcard_that_are_nearly_right_are_told() -> None:
    ((_, _, remedy),) = _told({"expectedResourceUri": "git+https://gihub.com/o/r"})
    assert remedy == "is github.com meant?"
    ((_, what, remedy),) = _told({"expectedResourceUri": "git+https://github.com/o/.*"})
    assert ("no regular expression" in what, remedy) == (True, "write * alone for any name")


@pytest.mark.parametrize(
    ("types", "severity"),
    [
        ("slsa/attestation", "warning"),
        ("SLSLA/attestation", "warning"),
        ("application/vnd.dev.sigstore.bundle.v0.3.json", "warning"),
        ("slsla/attestation,", "error"),
        ("slsla/attestation, x/y", "error"),
        ("*", "warning"),
    ],
)
def test_artifact_types_that_never_match_are_found(types: str, severity: str) -> None:
    assert [item.severity for item in type_slips(types.split(","))] == [severity]


@pytest.mark.parametrize(
    "types", ["slsla/attestation", "application/vnd.in-toto+json,application/spdx+json", "own/type"]
)
def test_artifact_types_of_ones_own_are_fine(types: str) -> None:
    assert list(type_slips(types.split(","))) == []


@pytest.mark.parametrize(
    ("changes", "message", "remedy"),
    [
        ({"expectedVerifiedLevels": ["SLSA SOURCE LEVEL 2"]}, "expected a level or control", "is SLSA_SOURCE_LEVEL_2 meant?"),
        ({"expectedVerifiedLevels": "SLSA_SOURCE_LEVEL_2"}, "expected a list", "write [SLSA_SOURCE_LEVEL_2]"),
        ({"expectedVerifiedLevels": [""]}, "must not be empty", ""),
        ({"sourceBinding": "provenence"}, "expected one of", "is provenance meant?"),
        ({"expectedSourceRefs": ["REFS/heads/main"]}, "expected a whole ref", "is refs/heads/main meant?"),
        ({"expectedSourceRefs": [""]}, "must not be empty", ""),
    ],
)  # fmt: skip
def test_a_value_that_is_refused_is_told_once_in_peoples_words(
    changes: dict[str, Any], message: str, remedy: str, tmp_path: Path
) -> None:
    path = write_yaml(
        tmp_path / "v.yaml",
        verifier(spec={"parameters": parameters(**{"sourceBinding": "provenance", **changes})}),
    )
    problems = json.loads(cli("policy", "check", path, "--json").out)["problems"]
    assert message in problems[0]["message"]
    assert remedy in problems[0]["remedy"]
    assert all("^" not in problem["message"] for problem in problems)
    assert len(problems) == (
        2 if "expectedSourceRefs" in changes and not changes["expectedSourceRefs"][0] else 1
    )


def test_the_json_says_what_was_looked_at_and_what_was_not(tmp_path: Path) -> None:
    write_yaml(tmp_path / "v.yaml", verifier())
    (tmp_path / "values.yaml").write_text("image: x\n")
    (tmp_path / "other.yaml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n")
    found = json.loads(cli("policy", "check", tmp_path, "--json").out)
    assert (found["version"], found["checked"], found["notLookedAt"]) == (
        1,
        {"Verifier": 1},
        {"ConfigMap": 1},
    )
    assert found["passedOver"] == [{"file": str(tmp_path / "values.yaml"), "why": "file of chart values"}]
    assert found["notChecked"] == []
