"""Whatever a file or an attestation says, the command line ends in its own words: property tests."""

from __future__ import annotations

import contextlib
import json
import re
import unicodedata
from collections import Counter
from datetime import UTC, datetime
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slsa_verifier_plugin.audit import image_sources as images
from slsa_verifier_plugin.audit.audit_row import Row
from slsa_verifier_plugin.audit.audit_summary import summary_of
from slsa_verifier_plugin.audit.image_sources import Use
from slsa_verifier_plugin.audit.pod_images import from_pods
from slsa_verifier_plugin.checking.inspecting import look_at_file
from slsa_verifier_plugin.checking.reports import ImageReport
from slsa_verifier_plugin.checking.status import Decision
from slsa_verifier_plugin.cli.render import render_audit, render_inspect, render_verify
from slsa_verifier_plugin.cli.render.painter import Painter
from slsa_verifier_plugin.cli.render.render_html import page_of
from slsa_verifier_plugin.cli.render.render_markdown import markdown_of
from slsa_verifier_plugin.cli.render.render_sarif import sarif_of
from slsa_verifier_plugin.errors import Reason, UsageError
from slsa_verifier_plugin.resources import policy_lint
from slsa_verifier_plugin.resources.documents import parse_documents
from slsa_verifier_plugin.resources.ratify_resources import flattened, read_setup
from tests.support.command_line import LEVEL_3, parameters, verifier
from tests.support.hostile import CONTROLS, commands_in

FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
TEXT = st.text(max_size=200) | st.lists(st.sampled_from(CONTROLS) | st.text(max_size=20), max_size=4).map(
    "".join
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
LEVELS = ("SLSA_SOURCE_LEVEL_1", "SLSA_SOURCE_LEVEL_2")
CREATED = datetime(2026, 1, 1, tzinfo=UTC)


def is_shown_safely(text: str) -> bool:
    """Return True if nothing in ``text`` but its newlines controls anything."""
    return not commands_in(text) and all(
        char == "\n" or unicodedata.category(char)[0] != "C" for char in text
    )


def row(text: str) -> Row:
    return Row(
        text, text, Decision.DENIED, "LEVEL_TOO_LOW", text,
        dict.fromkeys(LEVELS, Decision.DENIED), (text,), text, text, text, uses=(Use(text, text, text, text, 3),),
    )  # fmt: skip


@FEW
@given(TEXT)
def test_reports_hold_no_control_character_and_no_more_lines(text: str) -> None:
    report = ImageReport(text, text, Decision.DENIED, Reason.LEVEL_TOO_LOW, text, notes=(text,))
    shown = list(render_verify.text_of([report], Painter(), verbose=True))
    # The verdict, the message, the command that explains the code, the note.
    assert len(shown) == 4
    assert is_shown_safely("".join(shown))
    assert "{" not in "".join(shown)
    json.loads(render_verify.json_of([report]))
    json.loads(sarif_of(render_verify.items_of([report])))
    assert is_shown_safely(markdown_of([report]))
    assert len(markdown_of([report]).splitlines()) == 5


@FEW
@given(TEXT)
def test_an_audits_reports_hold_no_control_character(text: str) -> None:
    summary = summary_of([row(text)], text, LEVELS, CREATED)
    assert is_shown_safely("\n".join(render_audit.text_of(summary, [row(text)], Painter())))
    found = json.loads("".join(render_audit.json_of(summary, [row(text)])))
    assert len(found["images"]) == 1
    json.loads(render_audit.audit_sarif([row(text)]))


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        # Where a name may be broken is no element that shows or does anything.
        if tag == "wbr":
            return
        self.tags.append(tag + "".join(sorted(name for name, _ in attrs)))


def tags_of(text: str) -> list[str]:
    rows = [row(text)]
    parser = Tags()
    parser.feed("".join(page_of(summary_of(rows, text, LEVELS, CREATED), rows)))
    return parser.tags


@FEW
@given(st.text(alphabet="<>\"'&/=abscript !-\n\0\u2028", min_size=1, max_size=60))
def test_the_page_has_the_same_elements_whatever_it_is_told(text: str) -> None:
    assert tags_of(f"x{text}x") == tags_of_plain()


@cache
def tags_of_plain() -> list[str]:
    return tags_of("plain")


@FEW
@given(st.binary(max_size=400))
def test_any_bytes_are_yaml_or_a_usage_error(content: bytes) -> None:
    with contextlib.suppress(UsageError):
        parse_documents(content, "f")


@FEW
@given(JSON)
def test_any_json_is_pods_or_a_usage_error(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "f.json"
    for content in (
        value,
        {"items": [value]},
        {"items": [{"spec": value, "status": value, "metadata": value}]},
    ):
        path.write_text(json.dumps(content))
        with contextlib.suppress(UsageError):
            list(from_pods(str(path)))
        with contextlib.suppress(UsageError):
            list(images.from_manifests(str(path), Counter()))


KINDS = (
    ("config.ratify.deislabs.io/v1beta1", "Verifier"),
    ("config.ratify.deislabs.io/v1beta1", "Store"),
    ("config.ratify.deislabs.io/v1beta1", "Policy"),
    ("externaldata.gatekeeper.sh/v1beta1", "Provider"),
    ("templates.gatekeeper.sh/v1", "ConstraintTemplate"),
    ("constraints.gatekeeper.sh/v1beta1", "Any"),
    ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration"),
)
FIELDS = st.sampled_from(
    ("parameters", "artifactVerificationPolicies", "targets", "code", "source", "rego", "crd", "name", "type", "timeout", "url")
)  # fmt: skip
SPEC = st.dictionaries(
    FIELDS, JSON | st.dictionaries(FIELDS, JSON | st.lists(JSON, max_size=2), max_size=3), max_size=5
)


@FEW
@given(st.sampled_from(KINDS), JSON, SPEC, JSON)
def test_any_resource_is_checked_without_a_failure(
    kind: tuple[str, str], metadata: Any, spec: dict[str, Any], other: Any
) -> None:
    value = {"apiVersion": kind[0], "kind": kind[1], "metadata": metadata, "spec": spec, "webhooks": other}
    documents = [
        value,
        verifier(),
        {**value, "spec": other},
        {**value, "webhooks": [other, {"name": "gatekeeper"}]},
    ]
    content = "\n---\n".join(json.dumps(document) for document in documents).encode()
    try:
        resources = list(flattened(parse_documents(content, "f")))
    except UsageError:
        return  # characters that YAML does not have
    problems = policy_lint.lint(resources).problems
    assert all(problem.message and problem.remedy for problem in problems)


@FEW
@given(st.sampled_from(("metadata", "spec", "apiVersion")), JSON)
def test_any_verifier_is_a_policy_or_a_usage_error(tmp_path: Path, field: str, value: Any) -> None:
    path = tmp_path / "v.json"
    for changed in (
        {**verifier(), field: value},
        verifier(spec={"parameters": {**parameters(), "trustedRoot": value}}),
        verifier(
            spec={"parameters": {**parameters(), "trustedVerifiers": value, "trustedBuilders": [value]}}
        ),
    ):
        path.write_text(json.dumps(changed))
        with contextlib.suppress(UsageError):
            read_setup(str(path))


@FEW
@given(st.binary(max_size=300))
def test_any_file_can_be_looked_into(content: bytes) -> None:
    view = look_at_file(content, "f")
    assert is_shown_safely("\n".join(render_inspect.text_of(view, Painter(), verified=False, verbose=True)))
    json.loads(render_inspect.json_of(view, verified=False))


BUNDLE: dict[str, Any] = json.loads(LEVEL_3.read_bytes().splitlines()[1])
PATHS = (
    ("mediaType",),
    ("dsseEnvelope", "payload"),
    ("dsseEnvelope", "payloadType"),
    ("dsseEnvelope", "signatures"),
    ("verificationMaterial",),
    ("verificationMaterial", "certificate"),
    ("verificationMaterial", "certificate", "rawBytes"),
    ("verificationMaterial", "tlogEntries"),
    ("verificationMaterial", "tlogEntries", 0),
    ("verificationMaterial", "tlogEntries", 0, "integratedTime"),
    ("verificationMaterial", "tlogEntries", 0, "kindVersion"),
    ("verificationMaterial", "timestampVerificationData"),
)


@FEW
@given(st.sampled_from(PATHS), JSON)
def test_a_bundle_with_any_part_changed_can_be_looked_into(path: tuple[str | int, ...], value: Any) -> None:
    changed = json.loads(json.dumps(BUNDLE))
    parent: Any = changed
    for part in path[:-1]:
        parent = parent[part]
    parent[path[-1]] = value
    view = look_at_file(json.dumps(changed).encode(), "f")
    assert len(view.lines) == 1
    assert is_shown_safely("\n".join(render_inspect.text_of(view, Painter(), verified=False, verbose=True)))
    json.loads(render_inspect.json_of(view, verified=False))


@FEW
@given(TEXT, st.integers(16, 120), st.integers(0, 20))
def test_broken_lines_lose_nothing(text: str, width: int, columns: int) -> None:
    painter = Painter(color=True, width=width)
    words = [word for word in re.split(r"\s+", text) if word]
    joined = " ".join(painter.broken(painter.paint(" ".join(words), "red"), columns))
    assert joined.split(" ") == painter.paint(" ".join(words), "red").split(" ")


@FEW
@given(st.dictionaries(st.text(max_size=30), st.text(max_size=60), max_size=3))
def test_sarif_of_anything_is_json(properties: dict[str, str]) -> None:
    from slsa_verifier_plugin.cli.render.report_item import ReportItem

    text = next(iter(properties.values()), "")
    item = ReportItem(text, Decision.UNDECIDED, "REGISTRY_ERROR", text, text, 1, properties)
    (result,) = json.loads(sarif_of([item]))["runs"][0]["results"]
    assert re.fullmatch(r"[!-~]*", result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"])
