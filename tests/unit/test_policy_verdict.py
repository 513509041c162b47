"""The result object: what it says, and that it fits Ratify's line whatever is in it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slsa_verifier_plugin.errors import Reason
from slsa_verifier_plugin.model.signer import Claim, Signer, Verified
from slsa_verifier_plugin.model.vsa import SourceSubject, VerificationSummary
from slsa_verifier_plugin.policy.checks import Examination
from slsa_verifier_plugin.policy.steps import (
    STEP_NAMES,
    Step,
    StepOutcome,
    completed,
    failed,
    not_checked,
    passed,
)
from slsa_verifier_plugin.policy.verdict import (
    FAILURE_PREFIX,
    MAX_RESULT,
    SUCCESS_PREFIX,
    Finding,
    RootInfo,
    Verdict,
    encode,
    result,
    result_line,
)
from slsa_verifier_plugin.problem import Problem
from tests.support.policies import claim
from tests.support.scene import Scene
from tests.support.sigstore import COMMIT, MAIN, vsa

DATE = datetime(2025, 9, 23, 1, 2, 3, tzinfo=UTC)
ROOT = RootInfo("public-good", "ab" * 32, DATE)


def honest() -> Verdict:
    scene = Scene()
    return scene.judge(scene.notary.sign(), scene.notary.sign(vsa(levels=["SLSA_SOURCE_LEVEL_1"])), b"junk")


def denied() -> Verdict:
    scene = Scene()
    return scene.judge(scene.notary.sign(vsa(levels=["SLSA_SOURCE_LEVEL_1"])), scene.stranger.sign())


def test_a_success_says_all_of_it() -> None:
    verdict = replace(honest(), roots=(ROOT,), others=3)
    built = result(verdict, "slsla", "slsa", 12)
    assert built == json.loads(encode(built))
    assert {key: built[key] for key in ("isSuccess", "name", "type")} == {
        "isSuccess": True,
        "name": "slsla",
        "type": "slsa",
    }
    assert built["message"] == verdict.message
    assert built["message"].startswith(SUCCESS_PREFIX)
    extensions = built["extensions"]
    steps = extensions.pop("steps")
    assert [(step["number"], step["name"]) for step in steps] == list(STEP_NAMES.items())
    assert {step["outcome"] for step in steps} == {"passed", "not checked"}
    assert extensions.pop("candidates") == [
        {
            "blob": 1,
            "line": 1,
            "reason": "VERIFIED",
            "message": "",
            "steps": [
                {key: step[key] for key in ("number", "name", "outcome")}
                for step in steps
                if step["number"] >= 5
            ],
            "verifiedLevels": ["SLSA_SOURCE_LEVEL_3"],
            "revision": COMMIT,
        }
    ]
    assert extensions == {
        "reason": "VERIFIED",
        "transient": False,
        "subject": verdict.subject,
        "artifact": verdict.artifact,
        "sourceBinding": "none",
        "durationMs": 12,
        "verified": True,
        "signer": {
            "identity": claim().signer.identity,
            "issuer": "https://token.actions.githubusercontent.com",
        },
        "verifierId": "https://github.com/slsa-framework/source-actions",
        "resourceUri": "git+https://github.com/example/source-demo",
        "verifiedLevels": ["SLSA_SOURCE_LEVEL_3"],
        "revision": COMMIT,
        "refs": [MAIN],
        "logIndex": 7,
        "signedAt": "2025-11-03T10:00:00Z",
        "trustedRoot": {
            "source": "public-good",
            "digest": "sha256:" + "ab" * 32,
            "date": "2025-09-23T01:02:03Z",
        },
        "candidatesTotal": 2,
        "candidatesLookedAt": 1,
        "candidatesOmitted": 1,
        "otherLines": 3,
    }


def test_a_denial_says_how_far_each_candidate_got() -> None:
    built = result(denied(), "slsla", "", 1)
    assert built["isSuccess"] is False
    assert built["message"].startswith(FAILURE_PREFIX)
    assert "type" not in built
    extensions = built["extensions"]
    assert extensions["reason"] == "LEVEL_TOO_LOW"
    assert [one["reason"] for one in extensions["candidates"]] == ["LEVEL_TOO_LOW", "SIGNATURE_INVALID"]
    assert [one["steps"][-1]["number"] for one in extensions["candidates"]] == [11, 5]
    assert extensions["verified"] is True
    assert [step["outcome"] for step in extensions["steps"]].count("failed") == 1


def test_a_denial_without_a_candidate_has_no_facts() -> None:
    verdict = Scene().judge(b"junk")
    extensions = result(verdict, "slsla", "", 1)["extensions"]
    assert extensions["candidates"] == []
    assert not {"signer", "verified", "revision", "logIndex"} & extensions.keys()


def test_what_was_not_verified_is_marked() -> None:
    finding = replace(denied().findings[0], verified=None, signature_checked=False)
    extensions = result(replace(denied(), best=finding, findings=(finding,)), "n", "", 1)["extensions"]
    assert extensions["verified"] is False
    assert extensions["candidates"][0]["signatureChecked"] is False
    assert extensions["candidatesLookedAt"] == 0
    assert not {"logIndex", "signedAt"} & extensions.keys()


def test_the_root_that_vouched_is_named_among_several() -> None:
    mine = RootInfo("mine", "cd" * 32, DATE)
    verdict = honest()
    assert verdict.best is not None
    assert verdict.best.verified is not None
    by_mine = replace(verdict.best, verified=replace(verdict.best.verified, trusted_root=mine.digest))
    extensions = result(replace(verdict, best=by_mine, roots=(ROOT, mine)), "n", "", 1)["extensions"]
    assert extensions["trustedRoot"] == {
        "source": "mine",
        "digest": f"sha256:{mine.digest}",
        "date": f"{DATE:%Y-%m-%dT%H:%M:%SZ}",
    }
    assert [root["source"] for root in extensions["trustedRoots"]] == ["public-good", "mine"]
    by_key = replace(verdict.best, verified=replace(verdict.best.verified, trusted_root=""))
    extensions = result(replace(verdict, best=by_key, roots=(ROOT, mine)), "n", "", 1)["extensions"]
    assert extensions["trustedRoot"]["source"] == "public-good"
    assert "trustedRoot" not in result(replace(verdict, roots=()), "n", "", 1)["extensions"]


def test_warnings_are_passed_on() -> None:
    verdict = replace(honest(), warnings=("one root\ncannot be used {x}",))
    assert result(verdict, "n", "", 1)["extensions"]["warnings"] == ["one root?cannot be used (x)"]


def test_steps_are_completed_in_order_and_the_later_word_counts() -> None:
    steps = completed([passed(1), failed(2, Problem((), "why", remedy="do this")), passed(1, "again")])
    assert [step.number for step in steps] == list(STEP_NAMES)
    assert steps[0] == Step(1, StepOutcome.PASSED, "again")
    assert steps[1] == Step(2, StepOutcome.FAILED, "why", "do this")
    assert steps[1].sentence == "why; do this"
    assert all(step == not_checked(step.number) for step in steps[2:])


def test_reached_is_the_failed_step_or_the_one_after_the_last() -> None:
    assert Finding(1, 1, (passed(5), failed(6, Problem((), "why"))), Reason.NO_VSA, "").reached == 6
    assert Finding(1, 1, (passed(5), passed(6), not_checked(7)), None, "").reached == 8


def verdict_of(text: str, count: int, findings: int) -> Verdict:
    """Return a verdict that is as large as can be, with ``text`` wherever anybody may write."""
    signer = Signer(text * 2048, text * 2048)
    summary = VerificationSummary(
        text * 2048,
        text * 2048,
        text * 2048,
        (text * 2048,) * count,
        DATE,
        (SourceSubject(COMMIT, (text * 2048,) * count),),
        frozenset(),
    )
    steps = tuple(passed(number, text * 4096) for number in range(6, 14))
    examination = Examination(
        steps, signer, Reason.LEVEL_TOO_LOW, text * 4096, summary, (text * 2048,) * count, summary.sources
    )
    verified = Verified(Claim(text, b"", signer), DATE, 1 << 62, "ab" * 32)
    finding = Finding(
        1 << 20, 1 << 20, (passed(5), *steps), Reason.LEVEL_TOO_LOW, text * 9999, False, examination, verified
    )
    return Verdict(
        success=False,
        reason=Reason.LEVEL_TOO_LOW,
        sentence=text * 99_999,
        subject="r/" + "a" * 1000,
        artifact="sha512:" + "ab" * 64,
        steps=completed([*steps, failed(14, Problem((), text * 4096, remedy=text * 4096))]),
        binding="provenance",
        best=finding,
        findings=(finding,) * findings,
        roots=(RootInfo(text * 2048, "ab" * 32, DATE),) * 8,
        warnings=(text * 4096,) * 8,
    )


@pytest.mark.parametrize("text", ["x", '"', "\\", "\u00e9", "\u4e2d", "\U0001f600", "\ud800", "\n", "{"])
@pytest.mark.parametrize(("count", "findings"), [(0, 0), (1, 1), (256, 1), (256, 65_536)])
def test_any_result_fits(text: str, count: int, findings: int) -> None:
    built = result(verdict_of(text, count, findings), text * 253, text * 253, 1)
    line = encode(built)
    assert len(line) <= MAX_RESULT
    assert line.isascii()
    assert b"\n" not in line
    assert json.loads(line) == built
    extensions = built["extensions"]
    assert extensions["reason"] == "LEVEL_TOO_LOW"
    assert len(extensions["steps"]) == 14
    assert (
        len(extensions["candidates"]) + extensions["candidatesOmitted"]
        == findings
        == extensions["candidatesTotal"]
    )


def test_as_many_candidates_as_fit_are_shown_the_furthest_first() -> None:
    scene = Scene()
    bundles: list[Any] = [scene.stranger.sign(vsa(changes={"predicate.n": n})) for n in range(100)]
    verdict = scene.judge(*bundles, scene.notary.sign(vsa(levels=["SLSA_SOURCE_LEVEL_1"])))
    extensions = result(verdict, "n", "", 1)["extensions"]
    assert len(extensions["candidates"]) == 64
    assert extensions["candidatesOmitted"] == 37
    assert extensions["candidates"][0]["reason"] == "LEVEL_TOO_LOW"


@settings(max_examples=20)
@given(st.text(max_size=8), st.integers(0, 40), st.integers(0, 80))
def test_any_text_fits(text: str, count: int, findings: int) -> None:
    line = result_line(verdict_of(text, count, findings), text, text, 1)
    assert line == encode(result(verdict_of(text, count, findings), text, text, 1))
    assert len(line) <= MAX_RESULT
    values = json.loads(line)
    for value in (values["message"], values["extensions"].get("resourceUri", "")):
        assert not set("{}\n\r\x1b\u2028") & set(value)
