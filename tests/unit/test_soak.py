"""How the soak judges calls, and that its clock shifts what it must and nothing else."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tools.soak.judging import MOST_SECONDS, POLICIES, Outcome, Tally, expected, judge
from tools.soak.lateness import Lateness
from tools.soak.registries import KINDS
from tools.soak.run import Run

SHIM = Path(__file__).parents[2] / "tools" / "soak" / "shift.c"


def outcome(success: bool, reason: str, transient: bool = False, seconds: float = 0.1) -> Outcome:
    verdict = {"isSuccess": success, "extensions": {"reason": reason, "transient": transient}}
    return Outcome(0, json.dumps(verdict).encode(), b"", seconds)


@pytest.mark.parametrize(
    ("kind", "policy", "reason"),
    [
        ("level 3", "level 2", "VERIFIED"),
        ("level 2", "level 2", "VERIFIED"),
        ("level 2", "level 3", "LEVEL_TOO_LOW"),
        ("level 1", "other", "RESOURCE_URI_MISMATCH"),
        ("other", "other", "VERIFIED"),
        ("other", "level 2", "RESOURCE_URI_MISMATCH"),
        ("forged", "level 2", "SIGNATURE_INVALID"),
        ("stranger", "other", "SIGNER_UNTRUSTED"),
        ("failed", "other", "VERIFICATION_RESULT_FAILED"),
    ],
)
def test_what_must_come_of_a_call(kind: str, policy: str, reason: str) -> None:
    assert expected(kind, policy) == reason


def test_each_kind_is_known_under_each_policy_and_some_pass() -> None:
    reasons = [expected(kind, policy) for kind in KINDS for policy in POLICIES]
    assert reasons.count("VERIFIED") == 4


@pytest.mark.parametrize(
    ("found", "reason", "registry", "judged"),
    [
        (outcome(True, "VERIFIED"), "VERIFIED", "quick", "right"),
        (outcome(True, "VERIFIED"), "LEVEL_TOO_LOW", "quick", "wrong"),
        (outcome(True, "VERIFIED"), "VERIFIED", "dead", "wrong"),
        (outcome(False, "LEVEL_TOO_LOW"), "LEVEL_TOO_LOW", "slow", "right"),
        (outcome(False, "SIGNATURE_INVALID"), "LEVEL_TOO_LOW", "quick", "wrong"),
        (outcome(False, "INTERNAL_ERROR"), "VERIFIED", "quick", "wrong"),
        (outcome(False, "INTERNAL_ERROR", transient=True), "VERIFIED", "quick", "for now"),
        (outcome(False, "DEADLINE_EXCEEDED", transient=True), "VERIFIED", "dead", "right"),
        (outcome(False, "LEVEL_TOO_LOW"), "LEVEL_TOO_LOW", "dead", "wrong"),
        (Outcome(0, b"", b"", 1.0), "VERIFIED", "quick", "none"),
        (Outcome(0, b"{}", b"", 1.0), "VERIFIED", "quick", "none"),
        (Outcome(0, b"[]", b"", 1.0), "VERIFIED", "quick", "none"),
        (Outcome(None, b"", b"", 30.0), "VERIFIED", "quick", "none"),
        (Outcome(-9, outcome(True, "VERIFIED").stdout, b"", 1.0), "VERIFIED", "quick", "none"),
        (Outcome(1, b'{"code":4,"msg":"","details":""}', b"", 1.0), "VERIFIED", "quick", "none"),
    ],
)
def test_what_came_of_it(found: Outcome, reason: str, registry: str, judged: str) -> None:
    assert judge(found, reason, registry) == judged


def tally(*added: tuple[str, str, Outcome]) -> Tally:
    made = Tally("C")
    for what, registry, found in added:
        made.add(what, registry, found)
    return made


def test_what_makes_it_fail() -> None:
    good = ("right", "quick", outcome(True, "VERIFIED"))
    assert tally(good).problems() == []
    assert tally().problems() == ["no calls were made"]
    assert tally(good, ("wrong", "quick", outcome(True, "VERIFIED"))).problems() == ["1 wrong decisions"]
    assert tally(good, ("none", "dead", Outcome(None, b"", b"", 1.0))).problems() == [
        "1 calls without a verdict"
    ]
    late = ("right", "dead", outcome(False, "DEADLINE_EXCEEDED", transient=True, seconds=MOST_SECONDS + 0.1))
    found = tally(good, late)
    assert found.problems() == ["1 calls took more than 4.5 s besides what the machine was late, one 4.60 s"]
    assert len(found.examples["late"]) == 1
    excused = ("right", "quick", replace(outcome(True, "VERIFIED", seconds=MOST_SECONDS + 0.1), late=0.2))
    assert tally(good, excused).problems() == []
    undecided = ("for now", "quick", outcome(False, "DEADLINE_EXCEEDED", transient=True))
    assert tally(*[good] * 99, undecided).problems() == []
    assert "were denied for now" in tally(*[good] * 9, undecided).problems()[0]
    assert (
        tally(good, ("for now", "slow", outcome(False, "DEADLINE_EXCEEDED", transient=True))).problems() == []
    )
    large = tally(good)
    large.peak_bytes = 301 << 20
    assert "301 MiB" in large.problems()[0]


def test_what_the_machine_is_late_is_counted_from_the_calls_start() -> None:
    with Lateness() as lateness:
        started = time.monotonic()
        total = 0
        # This thread lets the sleeper wait for the interpreter: whole sums take longer than the switch interval.
        for _ in range(20):
            total += sum(range(2_000_000))
        late = lateness.since(started)
        assert lateness.since(time.monotonic()) == 0.0
    assert total > 0
    assert 0.0 < late <= time.monotonic() - started


def test_the_clock_is_shifted_and_no_other(tmp_path: Path) -> None:
    shim, clock = tmp_path / "shift.so", tmp_path / "clock"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O2", "-o", shim, SHIM, "-ldl"], check=True)
    program = (
        "import time, datetime, pathlib, sys\n"
        "for shift in (0, 86400, -3600):\n"
        "    pathlib.Path(sys.argv[1]).write_text(str(shift))\n"
        "    print(int(time.time()), int(time.monotonic()), int(datetime.datetime.now().timestamp()))\n"
    )
    environ = {"LD_PRELOAD": str(shim), "SOAK_CLOCK": str(clock)}
    before, since = time.time(), time.monotonic()
    done = subprocess.run(
        [sys.executable, "-I", "-c", program, clock], env=environ, capture_output=True, text=True, check=True
    )
    took = time.monotonic() - since + 2
    for line, shift in zip(done.stdout.splitlines(), (0, 86400, -3600), strict=True):
        wall, monotonic, now = map(int, line.split())
        assert -2 <= wall - before - shift <= took
        assert -2 <= now - before - shift <= took
        assert -2 <= monotonic - since <= took


def test_a_run_ends_with_its_calls_its_time_or_a_signal(capsys: pytest.CaptureFixture[str]) -> None:
    three = Run(60.0, 3, 2)
    tally = Tally("C")
    while three.goes_on():
        tally.add("right", "quick", outcome(True, "VERIFIED"))
        three.count([tally])
    assert tally.counts["calls"] == 3
    (line,) = capsys.readouterr().out.splitlines()
    assert re.match(r"after \d+ s and 2 calls: C client: 2 calls, 2 right", line)
    assert not Run(0.0, 3, 2).goes_on()
    told = Run(60.0, 0, 2)
    assert told.goes_on()
    told.end()
    assert not told.goes_on()
