"""``resident``: started, asked and stopped by people; and what it does its work with."""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from slsa_verifier_plugin import __version__
from slsa_verifier_plugin.checking.status import Status
from slsa_verifier_plugin.cli.commands import resident_command as resident
from slsa_verifier_plugin.cli.render import render_resident
from slsa_verifier_plugin.cli.render.painter import Painter
from slsa_verifier_plugin.errors import TrustRootError
from slsa_verifier_plugin.policy.parameters import RootSource, parse_policy
from slsa_verifier_plugin.resident import protocol
from slsa_verifier_plugin.resident.client import manage
from slsa_verifier_plugin.resident.server.server_settings import read_settings
from slsa_verifier_plugin.service.resident_service import RETRY_SECONDS, ResidentService
from slsa_verifier_plugin.signatures.refresh import Refreshed
from tests.support.command_line import TESTDATA, parameters, process
from tests.support.processes import wait_until

SUBJECT = "127.0.0.1:9/source-demo@sha256:11946bd15098cf75fd99caabe2264b893b539e5082d93ad0ab006e1e2b5250c1"


@pytest.fixture
def place() -> Iterator[dict[str, str]]:
    """Variables for a resident verifier of the test's own, which is gone at its end."""
    with tempfile.TemporaryDirectory(prefix="r-") as folder:
        environ = {"SLSA_VERIFIER_DIR": f"{folder}/d", "HOME": folder, "SLSA_VERIFIER_REFRESH_HOURS": "0"}
        try:
            yield environ
        finally:
            process("resident", "stop", environ=environ)


def test_start_status_stop(place: dict[str, str]) -> None:
    none = process("resident", "status", environ=place)
    assert (none.status, none.err) == (Status.DENIED, "")
    assert "no resident verifier runs" in none.out
    assert process("resident", "stop", environ=place).out == "no resident verifier runs\n"
    started = process("resident", "start", environ=place)
    assert (started.status, started.err) == (Status.ADMITTED, "")
    assert started.out.startswith("the resident verifier started: process ")
    assert process("resident", "start", environ=place).out.startswith(
        "the resident verifier runs already: process "
    )
    shown = process("resident", "status", environ=place)
    assert shown.status == Status.ADMITTED
    assert f"version {__version__}, warm" in shown.out
    document = json.loads(process("resident", "status", "--json", environ=place).out)
    service = document["report"]["service"]
    assert f"  signatures  {service.pop('signatureProcess')}" in shown.out.splitlines()
    unused = {"hits": 0, "misses": 0, "bytes": 0}
    assert service.pop("caches") == dict.fromkeys(("content", "readings", "signatures"), unused)
    (root,) = service.pop("loadedRoots")
    assert root["source"] == "public-good"
    assert f"public-good in use: of {root['date']} (" in shown.out
    assert root["digest"] in shown.out
    assert "  cache       content: 0 hits, 0 misses, 0 KiB" in shown.out.splitlines()
    assert "  uptime      " in shown.out
    assert service == {"calls": 0, "refreshHours": 0.0, "trustedRoots": [], "unusableRoots": []}
    stopped = process("resident", "stop", environ=place)
    assert stopped.out == f"the resident verifier (process {document['pid']}) was stopped\n"
    assert process("resident", "status", environ=place).status == Status.DENIED


def test_serve_in_the_foreground_says_what_it_does(place: dict[str, str]) -> None:
    second: list[Any] = []

    def stop() -> None:
        while process("resident", "status", environ=place).status != Status.ADMITTED:
            time.sleep(0.05)
        second.append(process("resident", "serve", environ=place))
        process("resident", "stop", environ=place)

    import threading

    thread = threading.Thread(target=stop)
    thread.start()
    done = process("resident", "serve", environ=place)
    thread.join()
    assert (done.status, done.out) == (Status.ADMITTED, "")
    first, *_, last = done.err.splitlines()
    assert first.startswith("listening on ")
    assert last.startswith("ended: ")
    # Two of them at one place there cannot be.
    assert second[0].status == Status.USAGE
    assert second[0].err.count("\n") == 1


def test_one_file_plugins_start_themselves() -> None:
    one_file = {"SLSA_VERIFIER_BUILD": "a" * 64, "SLSA_VERIFIER_EXECUTABLE": "/plugins/slsla"}
    assert resident.start_command(one_file) == ["/plugins/slsla", "resident", "serve", "--detached"]
    assert resident.start_command({})[-4:] == ["slsa_verifier_plugin", "resident", "serve", "--detached"]


def test_a_report_is_shown_with_its_errors_and_roots() -> None:
    report = {
        "version": "9",
        "warm": False,
        "uptimeSeconds": 2 * 86400 + 3 * 60,
        "calls": {"accepted": 3},
        "waiting": 1,
        "running": 2,
        "memoryBytes": 50 << 20,
        "memoryLimitBytes": 192 << 20,
        "latestErrors": [f"error {number}" for number in range(8)] + ["bad\033[2J{}"],
        "service": {
            "signatureProcess": "ended: bad\033[2J",
            "caches": {"con\033tent": {"hits": 5, "misses": 2, "bytes": 4096}, "odd": {}},
            "loadedRoots": [{"source": "mine\033", "date": "not one", "digest": "ab"}],
            "trustedRoots": [{"source": "https://tuf", "refreshed": "", "error": "no network"}],
        },
    }
    lines = list(render_resident.text_of(manage.ResidentStatus("/d", True, 7, report), Painter()))
    assert "process 7, version 9, warming up" in lines[0]
    assert "  calls       accepted 3; 1 waiting, 2 running" in lines
    assert "  memory      50 MiB of 192 MiB" in lines
    assert "  signatures  ended: bad?[2J" in lines
    assert "  uptime      2 d 3 min" in lines
    assert "  cache       con?tent: 5 hits, 2 misses, 4 KiB" in lines
    assert "  cache       odd: ? hits, ? misses, 0 KiB" in lines
    assert "  root        mine? in use: of not one, sha256:ab" in lines
    assert "  root        https://tuf: not refreshed yet; no network" in lines
    assert sum("error " in line for line in lines) == 4
    assert "bad?[2J()" in lines[-1]
    assert len(list(render_resident.text_of(manage.ResidentStatus("/d", True, 7, {}), Painter()))) == 2


class Refreshes:
    """Stands in for TUF: answers as told, and keeps what it was asked."""

    def __init__(self, *answers: Refreshed | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[RootSource] = []

    def __call__(self, source: RootSource, environ: Mapping[str, str]) -> Refreshed | None:
        self.asked.append(source)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def only_root(service: ResidentService) -> dict[str, str]:
    """Return what the status says of the one trusted root."""
    roots = service.status()["trustedRoots"]
    assert isinstance(roots, list)
    (shown,) = roots
    assert isinstance(shown, dict)
    return shown


def follow(service: ResidentService, root: object = "public-good") -> None:
    """Make a call whose policy asks for ``root``."""
    service.service.verifier(parse_policy({"name": "x", **parameters(trustedRoot=root)}))


def service_following(refreshes: Refreshes, root: object = "public-good") -> ResidentService:
    service = ResidentService({}, refreshes)
    follow(service, root)
    return service


def test_calls_are_answered_as_by_the_plugin() -> None:
    service = ResidentService({})
    stdin = (TESTDATA / "stdin-unreachable.json").read_bytes()
    status, out, _ = service.handle(protocol.VERIFY, (0.0, b"VERIFY", SUBJECT.encode(), b"1.0.0", stdin), 0.0)
    result = json.loads(out)
    assert (status, result["extensions"]["reason"]) == (0, "REGISTRY_UNREACHABLE")
    status, out, _ = service.handle(protocol.VERIFY, (0.0, None, None, None, b""), 0.0)
    assert (status, json.loads(out)["code"]) == (1, 4)
    status, out, _ = service.handle(protocol.VERIFY, (0.0, b"\xff", SUBJECT.encode(), b"1.0.0", stdin), 0.0)
    assert (status, json.loads(out)["code"]) == (1, 3)
    assert service.status()["calls"] == 3
    assert service.budget(b'{"config":{"timeout":"7s"}}') == 7.0


def digests(service: ResidentService) -> dict[str, str]:
    roots = service.status()["trustedRoots"]
    assert isinstance(roots, list)
    return {item["source"]: item["digest"] for item in roots}


PUBLIC_GOOD = RootSource("public-good")


def test_a_root_that_policies_ask_for_is_refreshed() -> None:
    refreshes = Refreshes(Refreshed("u", "a" * 64, changed=True))
    service = service_following(refreshes)
    assert service._refresh_once(PUBLIC_GOOD) == 24 * 3600
    assert refreshes.asked == [PUBLIC_GOOD]
    shown = only_root(service)
    assert (shown["source"], shown["digest"], shown["error"]) == ("public-good", "a" * 64, "")
    assert shown["refreshed"].startswith(f"{datetime.now(UTC):%Y-}")


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (TrustRootError("no network {}", transient=True), "no network ()"),
        (ZeroDivisionError("secret"), "an unforeseen ZeroDivisionError"),
    ],
)
def test_a_refresh_that_fails_is_tried_again_and_told(failure: Exception, expected: str) -> None:
    service = service_following(Refreshes(failure, Refreshed("u", "a" * 64, changed=True)))
    assert service._refresh_once(PUBLIC_GOOD) == RETRY_SECONDS
    shown = only_root(service)
    assert (shown["error"], shown["refreshed"]) == (expected, "")
    assert service._refresh_once(PUBLIC_GOOD) == 24 * 3600
    assert only_root(service)["error"] == ""


def warm(refresh: Any) -> ResidentService:
    service = ResidentService({"SLSA_VERIFIER_WORKERS": "1"}, refresh)
    service.warm_up()
    return service


def test_a_refresh_that_hangs_holds_up_no_other() -> None:
    """One bad ``tufUrl`` must not keep the roots of the other policies old."""
    over, hung = threading.Event(), RootSource("tuf", "https://hangs.example", "/nonexistent")
    asked: list[RootSource] = []

    def refresh(source: RootSource, environ: Mapping[str, str]) -> Refreshed:
        asked.append(source)
        if source == hung:
            over.wait(60)
        return Refreshed("u", "a" * 64, changed=True)

    service = warm(refresh)
    for source in (hung, PUBLIC_GOOD, hung, PUBLIC_GOOD):
        service._follow(source)
    wait_until(lambda: digests(service) == {"https://hangs.example": "", "public-good": "a" * 64})
    over.set()
    wait_until(lambda: set(digests(service).values()) == {"a" * 64})
    assert sorted(source.kind for source in asked) == ["public-good", "tuf"], "each has one thread"


def test_files_are_not_refreshed() -> None:
    service = service_following(Refreshes(), {"path": str(TESTDATA / "trusted_root.json")})
    assert service.status()["trustedRoots"] == []


def test_warming_up_starts_the_refreshes_in_the_background() -> None:
    refreshes = Refreshes(Refreshed("u", "a" * 64, changed=False))
    service = ResidentService({"SLSA_VERIFIER_WORKERS": "1"}, refreshes)
    follow(service)
    before = threading.active_count()
    assert only_root(service)["digest"] == ""
    assert threading.active_count() == before, "no thread before the fork is made"
    service.warm_up()
    wait_until(lambda: only_root(service)["digest"] == "a" * 64)
    follow(service)
    assert refreshes.asked == [PUBLIC_GOOD]
    service.trim()


def test_a_warming_up_that_fails_keeps_no_root_old(monkeypatch: pytest.MonkeyPatch) -> None:
    service = ResidentService(
        {"SLSA_VERIFIER_WORKERS": "1"}, Refreshes(Refreshed("u", "a" * 64, changed=False))
    )
    monkeypatch.setattr(service.service, "warm_up", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        service.warm_up()
    follow(service)
    wait_until(lambda: only_root(service)["digest"] == "a" * 64)


def test_without_hours_nothing_is_refreshed() -> None:
    service = ResidentService({"SLSA_VERIFIER_WORKERS": "1", "SLSA_VERIFIER_REFRESH_HOURS": "0"}, Refreshes())
    service.warm_up()
    before = threading.active_count()
    follow(service)
    assert threading.active_count() == before
    assert only_root(service)["error"] == ""


def test_where_there_is_no_thread_the_next_call_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    service = warm(Refreshes(Refreshed("u", "a" * 64, changed=False)))

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as short:
        short.setattr(threading.Thread, "start", refuse)
        follow(service)
    assert only_root(service)["error"] == "the system gives no thread for it"
    follow(service)
    wait_until(lambda: only_root(service)["digest"] == "a" * 64)
    assert only_root(service)["error"] == ""


@pytest.mark.parametrize(
    ("value", "hours"), [("", 24), ("0", 0), ("6", 6), ("-1", 24), ("x", 24), ("123456", 24), ("\u0663", 24)]
)
def test_hours_between_refreshes(value: str, hours: int) -> None:
    settings, problems = read_settings({"SLSA_VERIFIER_REFRESH_HOURS": value})
    assert settings.refresh_hours == hours
    assert bool(problems) is (value not in ("", "0", "6")), "what is not understood is told"


def test_places_of_others_are_refused(near: Path) -> None:
    (near / "d").mkdir(mode=0o777)
    (near / "d").chmod(0o777)
    environ = {"SLSA_VERIFIER_DIR": str(near / "d"), "SLSA_VERIFIER_REFRESH_HOURS": "0"}
    done = process("resident", "start", environ=environ)
    assert (done.status, done.out, done.err.count("\n")) == (Status.USAGE, "", 1)
    assert "not private" in done.err
