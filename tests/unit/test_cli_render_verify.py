"""How verdicts are shown, and how those on several artifacts become the image's."""

from __future__ import annotations

import json

import pytest

from slsa_verifier_plugin.checking.reports import ArtifactReport, ImageReport, combined, failure, rule_of
from slsa_verifier_plugin.checking.status import Decision
from slsa_verifier_plugin.cli.render import render_verify
from slsa_verifier_plugin.cli.render.painter import Painter, short
from slsa_verifier_plugin.errors import Reason, RegistryError
from slsa_verifier_plugin.policy.steps import completed, failed, not_checked, passed
from slsa_verifier_plugin.policy.verdict import Verdict
from slsa_verifier_plugin.problem import Problem

IMAGE = "registry.example/app@sha256:" + "a" * 64
GREEN, RED = "\033[32m", "\033[31m"


def artifact(
    reason: Reason, step: int = 11, kind: str = "slsla/attestation", sentence: str = "so it is."
) -> ArtifactReport:
    success = reason is Reason.VERIFIED
    steps = [passed(number, "seen") for number in range(1, step)]
    steps.append(passed(step) if success else failed(step, Problem((), "found this", "that", "do something")))
    verdict = Verdict(
        success=success,
        reason=reason,
        sentence=sentence,
        subject=IMAGE,
        artifact="sha256:" + "b" * 64,
        steps=completed([*steps, *([not_checked(14, "not bound")] if success else [])]),
        binding="none",
    )
    return ArtifactReport("verifier-slsa", "slsla", kind, verdict, 12)


def of(*artifacts: ArtifactReport, rules: dict[str, str] | None = None) -> ImageReport:
    return combined("app:1", IMAGE, artifacts, rules or {})


GOOD, LOW, AWAY = (
    artifact(Reason.VERIFIED),
    artifact(Reason.LEVEL_TOO_LOW),
    artifact(Reason.REGISTRY_UNREACHABLE, 3),
)
INVALID = artifact(Reason.SIGNATURE_INVALID, 5)


@pytest.mark.parametrize(
    ("artifacts", "rule", "decision", "reason"),
    [
        ([GOOD], "all", Decision.ADMITTED, Reason.VERIFIED),
        ([GOOD, LOW], "all", Decision.DENIED, Reason.LEVEL_TOO_LOW),
        ([LOW, GOOD], "any", Decision.ADMITTED, Reason.VERIFIED),
        ([GOOD, AWAY], "all", Decision.UNDECIDED, Reason.REGISTRY_UNREACHABLE),
        ([LOW, AWAY], "all", Decision.DENIED, Reason.LEVEL_TOO_LOW),
        ([LOW, AWAY], "any", Decision.UNDECIDED, Reason.REGISTRY_UNREACHABLE),
        ([INVALID, LOW], "any", Decision.DENIED, Reason.LEVEL_TOO_LOW),
        ([INVALID, LOW], "all", Decision.DENIED, Reason.LEVEL_TOO_LOW),
    ],
)
def test_any_and_all(artifacts: list[ArtifactReport], rule: str, decision: Decision, reason: Reason) -> None:
    report = of(*artifacts, rules={"default": rule})
    assert (report.decision, report.reason) == (decision, reason)
    assert report.deciding is not None
    assert report.deciding.verdict.reason is reason


def test_each_artifact_type_has_its_own_rule() -> None:
    other = artifact(Reason.LEVEL_TOO_LOW, kind="x/y")
    assert of(GOOD, LOW, other, rules={"slsla/attestation": "any"}).decision is Decision.DENIED
    assert of(GOOD, LOW, rules={"slsla/attestation": "any"}).decision is Decision.ADMITTED
    assert rule_of({}, "x") == "all"
    assert rule_of({"default": "any", "x": "all"}, "x") == "all"


def shown(report: ImageReport, verbose: bool = False, **painter: object) -> str:
    return "\n".join(render_verify.text_of([report], Painter(**painter), verbose))  # type: ignore[arg-type]


def test_text_shows_the_decision_the_reason_and_every_step() -> None:
    text = shown(of(LOW), symbols=True)
    lines = text.splitlines()
    assert lines[0] == f"DENIED  LEVEL_TOO_LOW  {IMAGE}"
    assert lines[1] == "  so it is."
    assert "    ✓ 10 resource URI         seen" in lines
    assert "    ✗ 11 levels               found this, expected that" in lines
    assert "    · 12 source refs          not checked" in lines
    assert sum(line[:6] in ("    ✓ ", "    ✗ ", "    · ") for line in lines) == 14


def test_letters_stand_for_signs_where_there_are_none() -> None:
    text = shown(of(LOW))
    assert text.isascii()
    assert "    ok 10 resource URI" in text
    assert "    X  11 levels" in text
    assert "    -  12 source refs" in text


def test_colours_only_where_asked_for() -> None:
    assert "\033" not in shown(of(LOW))
    assert RED in shown(of(LOW), color=True)
    assert GREEN in shown(of(GOOD), color=True)


def test_only_the_deciding_artifact_unless_verbose() -> None:
    report = of(GOOD, LOW)
    brief, full = shown(report), shown(report, verbose=True)
    assert "1 more attached; --verbose shows them" in brief
    assert brief.count("slsla/attestation, by verifier-slsa") == 1
    assert full.count("slsla/attestation, by verifier-slsa") == 2
    assert "more attached" not in full


@pytest.mark.parametrize("width", [40, 60, 100])
def test_text_keeps_to_the_terminals_width(width: int) -> None:
    report = of(artifact(Reason.LEVEL_TOO_LOW, sentence="a long sentence that goes on " * 8))
    lines = shown(report, width=width, symbols=True).splitlines()
    # The image's name is one word, which is not broken so that it can be copied.
    assert [line for line in lines[1:] if len(line) > width] == []


def test_foreign_text_moves_no_cursor_and_starts_no_line() -> None:
    evil = 'x\033[2J\r\n{"isSuccess":true}\u202e\u2028'
    report = of(artifact(Reason.LEVEL_TOO_LOW, sentence=evil))
    text = shown(report)
    assert "\033" not in text
    assert "{" not in text
    assert len(text.splitlines()) == len(shown(of(LOW)).splitlines())


def test_several_images_are_counted() -> None:
    lines = list(render_verify.text_of([of(GOOD), of(LOW), of(AWAY)], Painter(), verbose=False))
    assert lines[-1] == "3 images: 1 admitted, 1 denied, 1 undecided"


def test_json_holds_what_ratify_would_read() -> None:
    report = failure("app:1", "", RegistryError("gone", reason=Reason.REGISTRY_UNREACHABLE, transient=True))
    document = json.loads(render_verify.json_of([of(LOW), report]))
    assert (document["version"], document["status"]) == (1, 1)
    denied, undecided = document["images"]
    assert (denied["decision"], denied["reason"], denied["image"]) == ("denied", "LEVEL_TOO_LOW", "app:1")
    result = denied["artifacts"][0]["result"]
    assert result["isSuccess"] is False
    assert result["extensions"]["reason"] == "LEVEL_TOO_LOW"
    assert len(result["extensions"]["steps"]) == 14
    assert (undecided["decision"], undecided["transient"], undecided["artifacts"]) == ("undecided", True, [])
    assert undecided["message"] == "gone."


def test_short_digests() -> None:
    assert short("sha256:" + "ab" * 32) == "sha256:abababababab"
    assert short("ab" * 32) == "abababababab"
