"""What programs read: JSON as the documented schemas say, JUnit and CSV as their readers do."""

from __future__ import annotations

import copy
import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from jsonschema import Draft202012Validator

from slsa_verifier_plugin import sinks
from slsa_verifier_plugin.checking.status import Decision
from slsa_verifier_plugin.cli.render.render_audit import COLUMNS, csv_of
from slsa_verifier_plugin.cli.render.render_junit import junit_of
from slsa_verifier_plugin.cli.render.report_item import ReportItem
from tests.support.audit_page import row
from tests.support.command_line import ARTIFACT_TYPE, LEVEL_1, LEVEL_3, ROOT, Done, cli, verifier, write_yaml
from tests.support.embedded_registry import EmbeddedRegistry
from tests.support.hostile import HOSTILE, commands_in, unseen_in

SCHEMAS = ROOT / "docs" / "schemas"


def schema(name: str) -> Draft202012Validator:
    value = json.loads((SCHEMAS / f"{name}.schema.json").read_text("utf-8"))
    Draft202012Validator.check_schema(value)
    return Draft202012Validator(value)


@pytest.fixture(scope="module")
def images() -> Iterator[list[str]]:
    with EmbeddedRegistry() as registry:
        for name, notes in (
            ("low", [LEVEL_1]),
            ("high", [LEVEL_3]),
            ("both", [LEVEL_1, LEVEL_3]),
            ("bare", []),
        ):
            image = registry.push_image(f"shop/{name}", "v1")
            for note in notes:
                registry.attach(f"shop/{name}", image, ARTIFACT_TYPE, [note.read_bytes()])
        yield [f"{registry.host}/shop/{name}:v1" for name in ("low", "high", "both", "bare", "gone")]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    policy = write_yaml(tmp_path / "verifier.yaml", verifier())
    return lambda command, *more: cli(command, "--policy", policy, "--plain-http", *more)


@pytest.mark.parametrize("command", ["verify", "audit"])
def test_json_is_as_its_schema_says(run: Callable[..., Done], images: list[str], command: str) -> None:
    document = json.loads(run(command, *images, "--json").out)
    assert [error.message for error in schema(command).iter_errors(document)] == []
    assert {item["decision"] for item in document["images"]} == {"admitted", "denied", "undecided"}


def test_an_audits_evidence(run: Callable[..., Done], images: list[str], tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(f"{images[0]}\n")
    state = tmp_path / "a.db"
    first = json.loads(run("audit", "--images", tmp_path / "list.txt", "--state", state, "--json").out)
    merged = json.loads(cli("audit", "merge", state, state, "--json").out)
    for document in (first, merged):
        assert [error.message for error in schema("audit").iter_errors(document)] == []
        evidence = document["evidence"]
        (asked,) = evidence["runs"]
        assert asked["command"].startswith("slsa-verifier-plugin audit --policy ")
        assert asked["sources"] == [f"list {tmp_path / 'list.txt'}"]
        assert asked["parameters"]["verifier-slsa"]["expectedVerifiedLevels"] == ["SLSA_SOURCE_LEVEL_2"]
        assert len(evidence["policyDigest"]) == 64
        assert len(evidence["trustedRoots"]) == 1
        steps = document["images"][0]["steps"]
        assert [step["outcome"] for step in steps][-1] == "failed"
        assert document["images"][0]["artifact"].startswith("sha256:")
    assert merged["evidence"]["policyDigest"] == first["evidence"]["policyDigest"]


def test_a_file_and_an_audit_of_nothing_are_as_the_schema_says(
    run: Callable[..., Done], tmp_path: Path
) -> None:
    document = json.loads(run("verify", "--bundle", LEVEL_1, "--json").out)
    assert [error.message for error in schema("verify").iter_errors(document)] == []
    (tmp_path / "none.txt").write_text("")
    document = json.loads(run("audit", "--images", tmp_path / "none.txt", "--allow-empty", "--json").out)
    assert [error.message for error in schema("audit").iter_errors(document)] == []


@pytest.mark.parametrize("command", ["verify", "audit"])
def test_the_schema_finds_what_is_wrong(run: Callable[..., Done], images: list[str], command: str) -> None:
    document = json.loads(run(command, *images[:1], "--json").out)

    def broken(change: Callable[[dict[str, Any]], object]) -> int:
        other = copy.deepcopy(document)
        change(other["images"][0])
        return len(list(schema(command).iter_errors(other)))

    assert broken(lambda image: None) == 0
    assert broken(lambda image: image.pop("reason")) == 1
    assert broken(lambda image: image.update(more=1)) == 1
    assert broken(lambda image: image.update(decision="passed")) == 1


@pytest.mark.parametrize("command", ["verify", "audit"])
def test_junit_counts_what_a_ci_system_shows(
    run: Callable[..., Done], images: list[str], command: str
) -> None:
    suites = ElementTree.fromstring(run(command, *images, "--format", "junit").out.encode())
    (suite,) = suites
    assert suite.attrib | suites.attrib == {
        "name": "slsa-verifier-plugin",
        "tests": "5",
        "failures": "3",
        "errors": "1",
    }
    kinds = {
        case.attrib["name"].split("/")[-1].split(":")[0]: [child.tag for child in case] for case in suite
    }
    assert kinds == {
        "low": ["failure"],
        "high": [],
        "both": ["failure"],
        "bare": ["failure"],
        "gone": ["error"],
    }
    failed = suite.find("testcase/failure[@type='NO_ATTESTATION']")
    assert failed is not None
    assert failed.text == failed.attrib["message"]


def test_junit_says_that_an_audit_is_incomplete(run: Callable[..., Done], images: list[str]) -> None:
    done = run("audit", images[1], "--shard", "0/1", "--format", "junit")
    assert ElementTree.fromstring(done.out.encode()).attrib["errors"] == "0"
    text = "".join(junit_of([], {}, ("1 Task: not looked at",)))
    assert ElementTree.fromstring(text).attrib == {"tests": "1", "failures": "0", "errors": "1"}


def test_csv_has_a_line_for_each_place() -> None:
    text = "".join(csv_of([row(number) for number in range(10)]))
    lines = list(csv.DictReader(io.StringIO(text, newline="")))
    assert tuple(lines[0]) == COLUMNS
    assert len(lines) == sum(len(row(number).uses) for number in range(10))
    assert [lines[1][name] for name in ("decision", "workload", "highestLevel")] == [
        "denied",
        "Deployment/app1",
        "SLSA_SOURCE_LEVEL_1",
    ]


@given(HOSTILE)
def test_junit_and_csv_hold_text_and_nothing_else(text: str) -> None:
    case = ReportItem(text, Decision.DENIED, text, text, group=text)
    document = "".join(junit_of([case], {Decision.DENIED: 1}, (text,)))
    assert [item.tag for item in ElementTree.fromstring(document).iter()] == [
        *("testsuites", "testsuite", "testcase", "failure", "testcase", "error")
    ]
    written = sinks.csv_line([text, f"={text}", f"\t={text}", f"\r@{text}", "a"])
    (cells,) = csv.reader(io.StringIO(written, newline=""))
    assert len(cells) == 5
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in cells)
    for shown in (document, written):
        assert commands_in(shown) == []
        assert unseen_in(shown.replace("\r\n", "\n")) == []


@pytest.mark.parametrize("mark", "=+-@\uff1d\uff0b\uff0d\uff20")
def test_no_cell_begins_with_a_formula_whatever_parts_the_cells(mark: str) -> None:
    written = sinks.csv_line([f"{mark}1+1", f"a;{mark}1+1;{mark}2", f"a; {mark}1", "a;b"])
    (cells,) = csv.reader(io.StringIO(written, newline=""))
    assert cells == [f"'{mark}1+1", f"a;'{mark}1+1;'{mark}2", f"a; {mark}1", "a;b"]
    for cell in written.rstrip("\n").split(";"):
        assert not cell.strip('"').startswith(mark)
