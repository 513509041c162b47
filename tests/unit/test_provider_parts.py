"""The provider without its server: keys, requests, answers, stamps, addresses, the log, what is kept."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slsa_verifier_plugin.checking.reports import ArtifactReport, ImageReport
from slsa_verifier_plugin.checking.status import Decision
from slsa_verifier_plugin.deadline import Deadline
from slsa_verifier_plugin.errors import ArtifactError, Reason, UsageError
from slsa_verifier_plugin.policy.steps import completed
from slsa_verifier_plugin.policy.verdict import Verdict
from slsa_verifier_plugin.provider import answers, external_data
from slsa_verifier_plugin.provider.answers import Decided, decided, refused, value_1, value_2
from slsa_verifier_plugin.provider.decision_log import MAX_LINES, DecisionLog
from slsa_verifier_plugin.provider.decisions import Decisions, KeyWork
from slsa_verifier_plugin.provider.policy_sets import PolicyScope, PolicySet
from slsa_verifier_plugin.provider.provider_metrics import ProviderMetrics
from slsa_verifier_plugin.provider.provider_settings import Address, ProviderSettings, read_address
from slsa_verifier_plugin.provider.reloading import Reloader
from slsa_verifier_plugin.provider.tls_files import TlsFiles
from slsa_verifier_plugin.registry.reference import Reference
from slsa_verifier_plugin.regular_files import stamp_of
from slsa_verifier_plugin.sinks import Json

DIGEST = "sha256:" + "a" * 64
IMAGE = f"registry.example/app@{DIGEST}"


def verdict(reason: Reason = Reason.VERIFIED) -> Verdict:
    success = reason is Reason.VERIFIED
    return Verdict(success, reason, "It is so.", IMAGE, DIGEST, completed([]), "none")


def report(decision: Decision, *reasons: Reason, **changes: Any) -> ImageReport:
    artifacts = tuple(ArtifactReport("slsla", "slsla", "a/b", verdict(reason), 1) for reason in reasons)
    first = reasons[0] if reasons else Reason.NO_ATTESTATION
    return replace(ImageReport(IMAGE, IMAGE, decision, first, "It is so.", artifacts), **changes)


@pytest.mark.parametrize(
    "key", [IMAGE, "app", "registry.example:5000/a/b:1", "localhost/app", "10.0.0.1:5000/app:1"]
)
def test_what_is_an_image_is_a_key(key: str) -> None:
    assert external_data.read_key(key).namespace == ""
    assert external_data.read_key(f"[team-a]{key}").namespace == "team-a"


@pytest.mark.parametrize(
    "host", ["169.254.169.254", "metadata.google.internal", "2852039166", "0xa9fea9fe", "[fd00:ec2::254]"]
)
def test_no_image_is_at_a_metadata_service_however_it_is_written(host: str) -> None:
    # Without a port a number alone is the name of somebody's folder at docker.io.
    port = ":80" if "." not in host and ":" not in host else ""
    for key in (
        f"{host}{port}/app:1",
        f"{host}:80/app:1",
        f"[team-a]{host}{port}/app:1",
        f"[team-a]{host}:80/app:1",
    ):
        assert is_refused(key), key
    assert not is_refused("registry.example/app:1")


def is_refused(key: str) -> bool:
    try:
        external_data.read_key(key)
    except ArtifactError:
        return True
    return False


def test_an_item_always_says_something() -> None:
    assert json.loads(external_data.item("a")) == {"key": "a", "error": "no answer"}
    assert json.loads(external_data.item("a", b"{}", "wrong")) == {"key": "a", "error": "wrong"}
    odd = 'a"\n\u202e\U0001f600'
    assert json.loads(external_data.item(odd, b"1"))["key"] == odd


@pytest.mark.parametrize("decision", list(Decision))
def test_only_what_is_admitted_is_a_success(decision: Decision) -> None:
    found = decided(report(decision, Reason.VERIFIED), Reference.parse(IMAGE), "policy")
    assert json.loads(value_1(found))["isSuccess"] is (decision is Decision.ADMITTED)
    assert json.loads(value_2(found))["succeeded"] is (decision is Decision.ADMITTED)


def test_what_could_not_be_looked_at_is_an_error_and_a_verdict_is_a_value() -> None:
    asked = Reference.parse(IMAGE)
    nothing = decided(report(Decision.UNDECIDED, reason=Reason.REGISTRY_UNREACHABLE), asked, "policy")
    assert nothing.error == "REGISTRY_UNREACHABLE: It is so"
    assert not nothing.admitted
    late = decided(report(Decision.UNDECIDED, Reason.DEADLINE_EXCEEDED), asked, "policy")
    assert not late.error
    assert json.loads(value_1(late))["isSuccess"] is False
    bare = decided(report(Decision.DENIED), asked, "policy")
    (only,) = json.loads(value_1(bare))["verifierReports"]
    assert (only["isSuccess"], only["extensions"]["reason"]) == (False, "NO_ATTESTATION")


def test_an_error_is_no_admission_whatever_else_it_says() -> None:
    assert not replace(refused("X", "y"), decision=Decision.ADMITTED).admitted


def test_of_many_reports_those_that_decide_are_shown() -> None:
    many = report(Decision.DENIED, *[Reason.LEVEL_TOO_LOW] * 500)
    worst = ArtifactReport("slsla", "slsla", "a/b", verdict(Reason.SIGNATURE_INVALID), 1)
    many = replace(many, artifacts=(*many.artifacts, worst), reason=Reason.SIGNATURE_INVALID)
    found = decided(many, Reference.parse(IMAGE), "policy")
    shown = json.loads(value_1(found))["verifierReports"]
    assert len(shown) == answers.MAX_REPORTS
    assert shown[0]["extensions"]["reason"] == "SIGNATURE_INVALID"
    assert found.v1.size <= answers.MAX_REPORTED + 2048


def test_a_stamp_changes_with_the_file_behind_a_link(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    link = tmp_path / "..data"
    link.symlink_to("a")
    path = tmp_path / "..data" / "file"
    before = stamp_of([str(path), str(tmp_path / "missing"), "\0"])
    assert stamp_of([str(path), str(tmp_path / "missing"), "\0"]) == before
    link.unlink()
    link.symlink_to("b")
    assert stamp_of([str(path), str(tmp_path / "missing"), "\0"]) != before


@pytest.mark.parametrize("text", ["127.0.0.1:0", "[::1]:6001", "localhost:80", "0.0.0.0:65535"])
def test_addresses(text: str) -> None:
    assert str(read_address(text, "--listen")) == text


@pytest.mark.parametrize("text", ["", ":80", "127.0.0.1", "::1:80", "a:b", "a:65536", "a:-1", "a:٣", "[::1]"])
def test_no_addresses(text: str) -> None:
    with pytest.raises(UsageError, match="expected ADDRESS:PORT"):
        read_address(text, "--listen")


def test_a_log_that_nobody_reads_delays_nobody() -> None:
    stuck = threading.Event()
    dropped: list[int] = []

    def write(lines: Sequence[Json]) -> None:
        stuck.wait(60)

    log = DecisionLog(write, lambda: dropped.append(1))
    for number in range(MAX_LINES * 3):
        log.event("decision", number=number)
    assert dropped
    stuck.set()
    log.close()


def test_a_line_is_one_json_object_whatever_is_in_it() -> None:
    written: list[Json] = []
    log = DecisionLog(written.extend)
    log.event("decision", image='a"}\n{"event":"forged"}\x1b[2J\u2028')
    log.close()
    (line,) = written
    assert "\n" not in line
    assert "\x1b" not in line
    assert json.loads(line)["event"] == "decision"


def test_a_closed_log_is_no_end() -> None:
    def broken(lines: Sequence[Json]) -> None:
        raise BrokenPipeError

    dropped: list[int] = []
    log = DecisionLog(broken, lambda: dropped.append(1))
    log.event("a")
    log.event("b")
    log.close()
    assert len(dropped) == 2


def deciding(checker: Any, keep: float, **settings: Any) -> tuple[Decisions, DecisionLog]:
    """Return decisions by one scope whose checker is a double."""
    scope = PolicyScope(1, "", "policy", checker, keep)
    chosen = ProviderSettings(
        ("p",), Address("127.0.0.1", 1), Address("127.0.0.1", 2), TlsFiles("c", "k"), **settings
    )
    log = DecisionLog(lambda lines: None)
    return Decisions(chosen, lambda: PolicySet({"": scope}), nullcontext, log, ProviderMetrics()), log


@pytest.mark.parametrize(
    ("found", "keep", "looks"),
    [
        (report(Decision.ADMITTED, Reason.VERIFIED), 60.0, 1),
        (report(Decision.DENIED, Reason.LEVEL_TOO_LOW), 60.0, 1),
        (report(Decision.ADMITTED, Reason.VERIFIED), 0.0, 3),
        (report(Decision.UNDECIDED, reason=Reason.REGISTRY_UNREACHABLE), 60.0, 3),
        (report(Decision.DENIED, Reason.DEADLINE_EXCEEDED, transient=True), 60.0, 3),
        (RuntimeError("a secret"), 60.0, 3),
        (MemoryError(), 60.0, 3),
    ],
    ids=["admitted", "denied", "not-kept", "unreachable", "transient", "unforeseen", "memory"],
)
def test_what_is_kept(monkeypatch: pytest.MonkeyPatch, found: Any, keep: float, looks: int) -> None:
    calls: list[str] = []

    def look(scope: PolicyScope, image: Reference, deadline: Any) -> Decided:
        calls.append(str(image))
        if isinstance(found, BaseException):
            raise found
        return decided(found, image, scope.name)

    monkeypatch.setattr("slsa_verifier_plugin.provider.decisions._look", look)

    async def ask() -> list[Decided]:
        decisions, log = deciding(None, keep)
        answered = [await decisions.answer("v1/verify", IMAGE) for _ in range(3)]
        decisions.close()
        log.close()
        return answered

    answered = asyncio.run(ask())
    assert len(calls) == looks
    assert len({(one.decision, one.reason, one.error) for one in answered}) == 1
    assert "a secret" not in str(answered)
    if isinstance(found, BaseException):
        assert all(one.reason == "INTERNAL_ERROR" and one.error for one in answered)


def test_an_image_that_takes_too_long_is_an_error_in_time_and_others_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    go_on = threading.Event()

    def look(scope: PolicyScope, image: Reference, deadline: Any) -> Decided:
        if image.repository == "slow":
            go_on.wait(60)
        return decided(report(Decision.ADMITTED, Reason.VERIFIED), image, scope.name)

    monkeypatch.setattr("slsa_verifier_plugin.provider.decisions._look", look)

    async def ask() -> list[Decided]:
        decisions, log = deciding(None, 60.0, seconds=0.5)
        keys = ["registry.example/slow:1", "registry.example/quick:1"]
        answered = list(await asyncio.gather(*(decisions.answer("v1/verify", key) for key in keys)))
        go_on.set()
        decisions.close()
        log.close()
        return answered

    slow, quick = asyncio.run(ask())
    assert slow.reason == "DEADLINE_EXCEEDED"
    assert slow.error
    assert quick.admitted


def test_reports_that_do_not_fit_are_left_out_and_the_decision_stays() -> None:
    found = decided(report(Decision.DENIED, *[Reason.LEVEL_TOO_LOW] * 9), Reference.parse(IMAGE), "policy")
    for value, reports in ((value_1, "verifierReports"), (value_2, "artifactReports")):
        counts = [len(json.loads(value(found, room))[reports]) for room in (0, 1500, 1 << 20)]
        assert counts[0] == 1
        assert counts[2] == 9
        assert counts == sorted(counts)
    (short,) = json.loads(value_1(found, 0))["verifierReports"]
    assert short["extensions"] == {"reason": "LEVEL_TOO_LOW", "transient": False}
    assert (short["isSuccess"], short["message"].startswith("SLSA")) == (False, True)


def test_files_that_failed_are_read_once_more_though_none_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slsa_verifier_plugin.provider.reloading.RETRY_SECONDS", 0.0)
    file = tmp_path / "file"
    file.write_text("a")
    outcomes: list[Exception | None] = []

    def load() -> tuple[str, ...]:
        outcome = outcomes.pop(0)
        if outcome is not None:
            raise outcome
        return ("a remark",)

    lines: list[Json] = []
    log, metrics = DecisionLog(lines.extend), ProviderMetrics()
    reloader = Reloader("policies", lambda: [str(file)], load)
    outcomes = [None]
    assert list(reloader.begin()) == ["a remark"]
    reloader.look(log, metrics)
    # No descriptor is left at the moment at which the file changes, nor a moment later.
    outcomes = [OSError(24), OSError(24), None]
    file.write_text("other")
    for _ in range(4):
        reloader.look(log, metrics)
    assert not outcomes
    log.close()
    told = [(line["event"], line.get("outcome")) for line in map(json.loads, lines)]
    assert told == [("reload", "failed"), ("reload", "done"), ("remark", None)]


def test_a_registry_that_hangs_leaves_room_for_the_images_of_others() -> None:
    decisions, log = deciding(None, 60.0)
    lane = decisions._lanes["new"]
    jobs = []
    while lane.has_room("hangs.example"):
        # Counted, and not worked on.
        job = KeyWork("hangs.example", Deadline(1.0), lambda: refused("X", "y"))
        lane._unfinished += 1
        lane._of_registry[job.registry] += 1
        jobs.append(job)
    assert lane.has_room("other.example")
    assert len(jobs) > 500
    lane.ended(jobs.pop())
    assert lane.has_room("hangs.example")
    for job in jobs:
        lane.ended(job)
    assert not lane._of_registry
    decisions.close()
    log.close()
