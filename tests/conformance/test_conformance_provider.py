"""A slice of the conformance cases through the provider; ``run.py --provider`` asks all of them."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.conformance.door import BATCH, not_for_the_door, run_cases
from tests.conformance.run import CASES, case_names, main

PROGRAM = [str(Path(sys.executable).with_name("slsa-verifier-plugin"))]


def test_a_slice_of_the_cases_has_the_same_answers_through_the_provider() -> None:
    asked = [name for name in case_names() if not not_for_the_door(CASES / name)]
    # One server's worth, from everywhere in the list.
    names = asked[:: len(asked) // (BATCH - 5)]
    outcomes = list(run_cases(PROGRAM, names, CASES))
    assert len(outcomes) == len(names) >= BATCH - 10
    assert [(outcome.name, outcome.problems) for outcome in outcomes if outcome.problems] == []


def test_few_cases_are_left_out_and_each_for_a_reason_of_the_contract() -> None:
    reasons = Counter(not_for_the_door(CASES / name) for name in case_names())
    assert reasons[""] >= len(case_names()) * 0.9
    assert sum(reasons.values()) == len(case_names())


def test_a_wrong_answer_fails_and_what_is_left_out_is_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = tmp_path / "cases"
    for name in ("actions-v1.0.0", "age-future", "environment-command"):
        shutil.copytree(CASES / name, cases / name)
    # With the root of another instance the good one must be denied, and the run must say that this is wrong.
    shutil.copy(CASES / "roots" / "other-instance.json", cases / "trusted_root.json")
    arguments = ["--provider", PROGRAM[0], "--cases", str(cases)]
    assert main([*arguments, "--case", "actions-v1.0.0"]) == 1
    assert "FAILED actions-v1.0.0" in capsys.readouterr().out
    shutil.copy(CASES / "trusted_root.json", cases)
    assert main([*arguments, "--case", "actions-v1.0.0"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "1 cases, 1 passed, 0 failed",
        "0 more are not for the provider",
    ]
