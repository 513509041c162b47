"""What a resident verifier answers to ``verify``, and what it leaves to the caller's own process."""

from __future__ import annotations

import time
from typing import Any

import pytest

from slsa_verifier_plugin.checking.demands import Demands
from slsa_verifier_plugin.checking.reports import ImageReport
from slsa_verifier_plugin.checking.status import decision_of
from slsa_verifier_plugin.cli import through_resident
from slsa_verifier_plugin.cli.render.painter import Painter
from slsa_verifier_plugin.cli.verifying import Inputs, Look
from slsa_verifier_plugin.errors import Reason, RegistryError, UsageError
from slsa_verifier_plugin.resident import protocol
from slsa_verifier_plugin.resident.client import client
from slsa_verifier_plugin.resources.named_files import ReadOnce
from slsa_verifier_plugin.service.service import Service

INPUTS = Inputs(("registry.example/app:1",))


@pytest.fixture
def request_of_a_caller(monkeypatch: pytest.MonkeyPatch) -> protocol.Request:
    """Return what ``verify`` sends."""
    sent: list[protocol.Question] = []
    monkeypatch.setattr(client, "ask_running", lambda _, question, __: sent.append(question))
    look = Look("text", False, Painter())
    demands = Demands(parameters={"expectedVerifiedLevels": ["SLSA_SOURCE_LEVEL_2"]}, seconds=40.0)
    assert through_resident.ask({}, INPUTS, demands, look, ReadOnce()) is None
    assert sent[0].seconds == 45.0
    return protocol.decode_request(sent[0].frame(0.5)[protocol.HEADER_BYTES :])


def answered(
    monkeypatch: pytest.MonkeyPatch, request: protocol.Request, made: Any, elapsed: float = 1.0
) -> Any:
    def reports_on(*arguments: Any) -> Any:
        if isinstance(made, Exception):
            raise made
        return made(arguments) if callable(made) else made

    monkeypatch.setattr(through_resident, "reports_on", reports_on)
    return through_resident.answer(Service({}), request, elapsed)


def report(reason: Reason, message: str = "said") -> ImageReport:
    decision = decision_of(reason is Reason.VERIFIED, reason)
    return ImageReport("registry.example/app:1", "", decision, reason, message)


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        (Reason.VERIFIED, 0),
        (Reason.LEVEL_TOO_LOW, 1),
        (Reason.NO_ATTESTATION, 1),
        (Reason.REGISTRY_NOT_FOUND, 3),
        (Reason.REGISTRY_UNREACHABLE, 3),
        (Reason.INTERNAL_ERROR, None),
        (Reason.DEADLINE_EXCEEDED, None),
        (Reason.TRUST_ROOT_UNAVAILABLE, None),
    ],
)
def test_what_was_not_decided_is_for_the_caller(
    monkeypatch: pytest.MonkeyPatch, request_of_a_caller: protocol.Request, reason: Reason, status: int | None
) -> None:
    found = answered(monkeypatch, request_of_a_caller, [report(reason)])
    if status is None:
        assert found == through_resident.DECLINED
    else:
        assert (found[0], found[2]) == (status, through_resident._proof(request_of_a_caller[1:]))
        assert b"registry.example/app:1" in found[1]


def test_what_time_may_have_cut_short_is_for_the_caller(
    monkeypatch: pytest.MonkeyPatch, request_of_a_caller: protocol.Request
) -> None:
    def late(arguments: Any) -> list[ImageReport]:
        within = arguments[4]
        # What is left of the caller's 45 seconds; no more than a process of its own would take.
        assert within.seconds == pytest.approx(0.05)
        time.sleep(0.1)
        return [report(Reason.LEVEL_TOO_LOW)]

    assert answered(monkeypatch, request_of_a_caller, late, 44.95) == through_resident.DECLINED
    seconds: list[float] = []

    def timely(arguments: Any) -> list[ImageReport]:
        seconds.append(arguments[4].seconds)
        return [report(Reason.LEVEL_TOO_LOW)]

    assert answered(monkeypatch, request_of_a_caller, timely)[0] == 1
    assert seconds == [40.0]


@pytest.mark.parametrize("error", [UsageError("wrong"), RegistryError("wrong", reason=Reason.REGISTRY_ERROR)])
def test_errors_are_the_caller_s_to_say(
    monkeypatch: pytest.MonkeyPatch, request_of_a_caller: protocol.Request, error: Exception
) -> None:
    assert answered(monkeypatch, request_of_a_caller, error) == through_resident.DECLINED


def test_an_answer_that_fits_in_no_frame(
    monkeypatch: pytest.MonkeyPatch, request_of_a_caller: protocol.Request
) -> None:
    # Each message is cut to 4 KiB where it is shown.
    most = protocol.MAX_REPLY // 4000
    many = [report(Reason.LEVEL_TOO_LOW, "x" * 4000)] * most
    assert answered(monkeypatch, request_of_a_caller, many[:-10])[0] == 1
    assert answered(monkeypatch, request_of_a_caller, many * 2) == through_resident.DECLINED


def test_nothing_is_read_where_the_verifier_is(
    monkeypatch: pytest.MonkeyPatch, request_of_a_caller: protocol.Request
) -> None:
    # A defect, which is logged and answered without proof.
    with pytest.raises(KeyError):
        answered(monkeypatch, request_of_a_caller, lambda arguments: arguments[3]("/etc/passwd"))


def test_a_pipe_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def read(path: str) -> Any:
        calls.append(path)
        raise UsageError(f"{path} is larger than 64 MiB")

    monkeypatch.setattr("slsa_verifier_plugin.resources.named_files.read_file", read)
    once = ReadOnce()
    for _ in range(2):
        # The rest of it would be another policy.
        with pytest.raises(UsageError, match="larger"):
            once("-")
    assert calls == ["-"]
