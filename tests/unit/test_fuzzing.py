"""The fuzz targets in the normal test run, bounded; and that oracle, scenarios and driver notice what they are there for."""

from __future__ import annotations

import importlib.util
import random
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slsa_verifier_plugin.model.envelope import Candidate
from slsa_verifier_plugin.model.signer import Verified
from slsa_verifier_plugin.policy.parameters import Policy
from slsa_verifier_plugin.verification.ports import SignatureVerifier
from tests.fuzz import attestation_pool, planted, run, scenarios, seeds, targets
from tests.fuzz.choices import Choices
from tests.fuzz.oracle import Signed, World, payload_of
from tests.fuzz.run import fuzz
from tests.support.policies import signer
from tests.support.sigstore import (
    COMMIT,
    LEVEL_1_COMMIT,
    MAIN,
    SIGNED_AT,
    attest_build_provenance,
    github_source_actions,
    keyed_envelope,
    person,
    provenance_v02,
    provenance_v1,
    vsa,
)
from tests.support.sigstore.envelope import payload_bytes

ROOT = Path(__file__).parents[2]
QUICK = sorted(set(targets.TARGETS) - {"verification"})


@pytest.mark.parametrize("name", targets.TARGETS)
def test_every_target_holds_for_its_seeds(name: str) -> None:
    assert seeds.seeds(name)
    targets.warm_up(name)


def mutated(seed: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    data = bytearray(seed)
    for at, removed, added in edits:
        place = at % (len(data) + 1)
        data[place : place + removed] = added
    return bytes(data)


@pytest.mark.parametrize("name", QUICK)
@settings(max_examples=20)
@given(data=st.data())
def test_every_target_holds_for_what_is_near_its_seeds(name: str, data: st.DataObject) -> None:
    edit = st.tuples(st.integers(0, 1 << 16), st.integers(0, 8), st.binary(max_size=4))
    seed = data.draw(st.sampled_from(seeds.seeds(name)) | st.binary(max_size=64))
    targets.TARGETS[name](mutated(seed, data.draw(st.lists(edit, max_size=3))))


@settings(max_examples=100)
@given(st.binary(min_size=12, max_size=90))
def test_no_verification_admits_what_the_oracle_does_not(data: bytes) -> None:
    scenarios.check(scenarios.build(data))


def test_scenarios_reach_every_kind_of_end() -> None:
    """What never succeeds, or always for one reason, would prove nothing."""
    choose = random.Random(7)
    ends = Counter(str(scenarios.check(scenarios.build(choose.randbytes(80))).reason) for _ in range(300))
    assert ends["VERIFIED"] >= 3
    for reason in (
        "SIGNATURE_INVALID",
        "SIGNER_UNTRUSTED",
        "CERTIFICATE_MISMATCH",
        "LEVEL_TOO_LOW",
        "SOURCE_NOT_BOUND",
    ):
        assert ends[reason] >= 1, ends


class Careless:
    """A verifier that believes whatever it is told."""

    def __init__(self, policy: Policy, now: datetime) -> None:
        self._real = scenarios.verifier_for(policy, now)
        self.roots, self.warnings = self._real.roots, self._real.warnings
        self.key_identities = self._real.key_identities

    def claims(self, candidate: Candidate) -> Any:
        return self._real.claims(candidate)

    def verify(self, candidate: Candidate) -> Verified:
        claims = self._real.claims(candidate)
        return Verified(claims[0], SIGNED_AT) if claims else self._real.verify(candidate)


class Forgetful(Careless):
    """A verifier that takes every signature for the source workflow's."""

    def claims(self, candidate: Candidate) -> Any:
        return [replace(claim, signer=signer(github_source_actions())) for claim in super().claims(candidate)]

    def verify(self, candidate: Candidate) -> Verified:
        verified = self._real.verify(candidate)
        return replace(verified, claim=replace(verified.claim, signer=signer(github_source_actions())))


@pytest.mark.parametrize("broken", [Careless, Forgetful])
def test_a_verifier_that_admits_too_much_is_found_out(broken: Any) -> None:
    def make(policy: Policy, now: datetime) -> SignatureVerifier:
        verifier: SignatureVerifier = broken(policy, now)
        return verifier

    def search() -> None:
        choose = random.Random(11)
        for _ in range(2000):
            scenario = scenarios.build(choose.randbytes(80))
            scenario.untouched.clear()  # what it denies wrongly is not what is looked for
            scenarios.check(scenario, make)

    with pytest.raises(AssertionError, match="admitted"):
        search()


# The oracle


IMAGE = "cd" * 32
PARAMETERS = {
    "expectedVerifiedLevels": ["SLSA_SOURCE_LEVEL_2"],
    "expectedResourceUri": attestation_pool.RESOURCE,
}


def world(**parameters: Any) -> World:
    return World(
        image=IMAGE,
        now=SIGNED_AT + timedelta(hours=1),
        parameters={**PARAMETERS, **parameters},
        signers={attestation_pool.SOURCE_ACTIONS: [github_source_actions().san]},
        builders={attestation_pool.BUILDER: [attest_build_provenance().san]},
    )


def line_of(statement: Any) -> bytes:
    return keyed_envelope(statement, attestation_pool.KEY)


def says(
    a_world: World, statement: Any, identity: Any = None, at: Any = SIGNED_AT, more: tuple[Any, ...] = ()
) -> bool:
    a_world.add(Signed(payload_bytes(statement), identity or github_source_actions(), at))
    lines = [line_of(statement)]
    for other, by in more:
        a_world.add(Signed(payload_bytes(other), by, SIGNED_AT))
        lines.append(line_of(other))
    return a_world.may_admit(lines)


def test_the_oracle_admits_what_is_good() -> None:
    assert says(world(), vsa())
    assert says(world(maxAge="2h", expectedSourceRefs=[MAIN]), vsa())
    assert says(world(), vsa(subjects=[{"digest": {"sha256": IMAGE}}]))


@pytest.mark.parametrize(
    ("statement", "parameters", "identity"),
    [
        (vsa(levels=["SLSA_SOURCE_LEVEL_1"]), {}, None),
        (vsa(levels=["SLSA_SOURCE_LEVEL_03"]), {}, None),
        (vsa(result="FAILED"), {}, None),
        (vsa(repository="example/other"), {}, None),
        (vsa(LEVEL_1_COMMIT), {}, None),
        (vsa(refs=["refs/heads/dev"]), {}, None),
        (vsa(verifier_id="https://other.example"), {}, None),
        (vsa(subjects=[{"digest": {"sha256": "00" * 32}}]), {}, None),
        (vsa(), {}, person()),
        (vsa(), {}, github_source_actions(runner="self-hosted")),
        (vsa(), {"expectedSourceRefs": ["refs/heads/dev"]}, None),
        (vsa(refs=None), {"expectedSourceRefs": [MAIN]}, None),
        (vsa(), {"expectedVerifiedLevels": ["ORG_X"]}, None),
        (vsa(), {"sourceBinding": "annotation"}, None),
        (vsa(), {"sourceBinding": "provenance"}, None),
        (provenance_v1(), {}, None),
    ],
)
def test_the_oracle_denies_what_is_not(statement: Any, parameters: Any, identity: Any) -> None:
    assert not says(world(**parameters), statement, identity)


def test_the_oracle_knows_tag_runs_letters_controls_and_wildcards() -> None:
    tag = attestation_pool.TAG
    assert says(world(expectedSourceRefs=[tag]), vsa(), github_source_actions(ref=tag))
    assert says(world(expectedSourceRefs=["refs/tags/*"]), vsa(), github_source_actions(ref=tag))
    assert not says(world(expectedSourceRefs=[MAIN]), vsa(), github_source_actions(ref=tag))
    assert not says(world(), vsa(refs=[MAIN, "refs/tags/v2"]), github_source_actions(ref=tag))
    assert says(world(), vsa(), github_source_actions(repository="Example/Source-Demo"))
    assert says(world(), vsa(repository="Example/Source-Demo"))
    controls = ["TAG_HYGIENE", "SLSA_SOURCE_SCS_PROTECTED_REFS"]
    assert all(says(world(expectedVerifiedLevels=[a]), vsa(levels=[b])) for a in controls for b in controls)
    for pattern, good in (("EXAMPLE/*", True), ("*", False), ("**", True), ("example/x*", False)):
        assert says(world(expectedResourceUri=f"git+https://github.com/{pattern}"), vsa()) is good
    assert not says(world(expectedResourceUri="git+https://*/example/source-demo"), vsa())


def test_the_oracle_knows_ages_caps_labels_and_builders() -> None:
    assert not says(world(maxAge="1h"), vsa(), at=SIGNED_AT - timedelta(hours=2))
    capped = world()
    capped.caps = {attestation_pool.SOURCE_ACTIONS: 1}
    assert not says(capped, vsa())
    labelled = world(sourceBinding="annotation")
    labelled.labels = {attestation_pool.REVISION: COMMIT}
    assert says(labelled, vsa())
    bound = (provenance_v1(IMAGE, builder_id=attestation_pool.BUILDER), attest_build_provenance())
    assert says(world(sourceBinding="provenance"), vsa(), more=(bound,))
    for other in (
        (
            provenance_v1(IMAGE, builder_id=attestation_pool.BUILDER, commit=LEVEL_1_COMMIT),
            attest_build_provenance(),
        ),
        (provenance_v1("00" * 32, builder_id=attestation_pool.BUILDER), attest_build_provenance()),
        (provenance_v1(IMAGE, builder_id=attestation_pool.BUILDER), person()),
        (provenance_v1(IMAGE, builder_id="https://other.example"), attest_build_provenance()),
        (
            provenance_v1(IMAGE, builder_id=attestation_pool.BUILDER),
            attest_build_provenance(commit=LEVEL_1_COMMIT),
        ),
        (
            provenance_v1(IMAGE, builder_id=attestation_pool.BUILDER),
            attest_build_provenance(runner="self-hosted"),
        ),
        (used(provenance_v1), attest_build_provenance()),
        (used(provenance_v02), attest_build_provenance()),
    ):
        assert not says(world(sourceBinding="provenance"), vsa(), more=(other,))


def used(make: Callable[..., Any]) -> Any:
    """Return a provenance of another repository's build that used the attested commit."""
    made = make(IMAGE, builder_id=attestation_pool.BUILDER)
    attestation_pool._use(made, True)
    return made


def test_the_oracle_knows_failures_and_commits_beside_images() -> None:
    assert not says(world(), vsa(levels=["SLSA_SOURCE_LEVEL_3", "FAILED"]))
    both = [{"digest": {"gitCommit": COMMIT}}, {"digest": {"sha256": IMAGE}}]
    assert says(world(), vsa(subjects=both))
    assert not says(world(sourceBinding="provenance"), vsa(subjects=both))


def test_the_oracle_believes_only_what_was_signed() -> None:
    assert not world().may_admit([line_of(vsa())])
    assert not world().may_admit([b"", b"{", b"null", b"[]", b"7", b'{"payload":1}', b'{"payload":"*"}'])
    assert payload_of(line_of(vsa())) == payload_bytes(vsa())


# Choices and the driver


@given(st.binary(max_size=20), st.integers(1, 300))
def test_choices_come_from_the_bytes(data: bytes, below: int) -> None:
    first, second = Choices(data), Choices(data)
    for _ in range(12):
        number = first.number(below)
        assert 0 <= number < below
        assert number == second.number(below)


def drive(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["run.py", *arguments])
    with warnings.catch_warnings():
        try:
            return run.main()
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else 1


def test_the_driver_lists_and_repeats(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "input").write_bytes(b"anything")
    assert drive(monkeypatch, "--list") == 0
    listed = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in listed] == list(targets.TARGETS)
    assert drive(monkeypatch, "--target", "frames", "--input", str(tmp_path / "input")) == 0
    monkeypatch.setitem(targets.TARGETS, "fragile", planted.fragile)
    monkeypatch.setitem(seeds.SEEDS, "fragile", lambda: (b"",))
    (tmp_path / "input").write_bytes(b"<")
    with pytest.raises(AssertionError, match="planted"):
        drive(monkeypatch, "--target", "fragile", "--input", str(tmp_path / "input"))


def test_the_driver_refuses_what_it_does_not_know(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert drive(monkeypatch, "--target", "nothing") == 2
    assert "no target nothing; known are strict_json" in capsys.readouterr().err
    assert drive(monkeypatch, "--input", "x") == 2
    assert "--input needs --target" in capsys.readouterr().err


def test_the_driver_as_a_program() -> None:
    command = [
        sys.executable,
        str(ROOT / "tests" / "fuzz" / "run.py"),
        "--target",
        "frames",
        "--seconds",
        "1",
    ]
    done = subprocess.run(command, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    assert b"1 targets, " in done.stdout
    assert b" 0 findings" in done.stdout


@pytest.mark.parametrize("engine", ["atheris", "mutation"])
def test_the_driver_reports_a_finding_and_keeps_its_input(
    tmp_path: Path, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if engine == "mutation":
        monkeypatch.setenv(planted.WITHOUT_ATHERIS, "1")
    elif importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris is not installed")
    outcome = fuzz("fragile", 10, tmp_path, "tests.fuzz.planted")
    assert outcome.finding == tmp_path / "fragile.input", outcome.output
    assert b"<" in outcome.finding.read_bytes()
    assert "planted" in outcome.output
    with pytest.raises(AssertionError, match="planted"):
        planted.fragile(outcome.finding.read_bytes())


def test_the_driver_takes_a_process_that_dies_for_a_finding(tmp_path: Path) -> None:
    outcome = fuzz("frames", 1, tmp_path, "tests.fuzz.no_such_module")
    assert outcome.finding is not None
    assert "No module named" in outcome.output
