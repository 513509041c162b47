"""``explain``, and the page on reasons that the package carries."""

from __future__ import annotations

import json
from email.message import Message
from importlib.metadata import PackageNotFoundError

import pytest

from slsa_verifier_plugin.checking.status import Status
from slsa_verifier_plugin.cli import reason_page
from slsa_verifier_plugin.cli.reason_page import entries, page
from slsa_verifier_plugin.errors import Reason
from slsa_verifier_plugin.resident import protocol
from tests.support.command_line import LEVEL_1, ROOT, SOURCE, TRUSTED_ROOT, cli


def test_the_document_is_the_page_that_the_package_carries() -> None:
    # "python -m tools.reasons" writes it.
    assert (ROOT / "docs" / "reasons.md").read_text("utf-8") == page()


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_is_explained_without_markdown(reason: Reason) -> None:
    entry = entries()[reason]
    done = cli("explain", reason)
    assert (done.status, done.err) == (Status.ADMITTED, "")
    assert done.out.startswith(f"{reason}  (")
    assert entry.example in done.out
    assert f"  to do: {entry.remedy}" in done.out
    assert "`" not in done.out
    assert "](" not in done.out


@pytest.mark.parametrize(
    "typed",
    [
        "no_vsa",
        "[NO_VSA]",
        "no-vsa",
        "NO_VSA.",
        "SLSA attestation verified FAILED: found X_Y; z. [NO_VSA]",
        "DENIED  NO_VSA  r.example/a",
    ],
)
def test_a_code_is_taken_as_people_paste_it(typed: str) -> None:
    assert cli("explain", typed).out.startswith("NO_VSA  (step 6)\n")


def test_numbers_are_the_contracts_errors() -> None:
    done = cli("explain", "4")
    assert done.out.startswith("4  (contract error)\n  a RATIFY_VERIFIER_* variable is missing\n  usually: ")


def test_all_codes_are_listed() -> None:
    lines = cli("explain").out.splitlines()
    assert [line.split()[0] for line in lines] == [str(reason) for reason in Reason]
    assert [item["code"] for item in json.loads(cli("explain", "--json").out)] == list(map(str, Reason))
    assert json.loads(cli("explain", "TOO_OLD", "--json").out)["steps"] == "13"


def test_a_code_that_is_none_is_a_usage_error_with_the_nearest() -> None:
    done = cli("explain", "NO_ATESTATION")
    assert (done.status, "did you mean NO_ATTESTATION?" in done.err) == (Status.USAGE, True)
    assert "did you mean LEVEL_TOO_LOW?" in cli("explain", "level").err
    assert "lists all" in cli("explain", "XYZZY").err
    assert cli("explain", "x" * 100_000).status == Status.USAGE


def test_a_denial_ends_with_its_code_and_sarif_has_the_page() -> None:
    policy = ("--level", "SLSA_SOURCE_LEVEL_2", "--resource-uri", SOURCE, "--trusted-root", TRUSTED_ROOT)
    done = cli("verify", "--bundle", LEVEL_1, *policy, "--json")
    (artifact,) = json.loads(done.out)["images"][0]["artifacts"]
    assert artifact["result"]["message"].endswith(" [LEVEL_TOO_LOW]")
    assert "  slsa-verifier-plugin explain LEVEL_TOO_LOW\n" in cli("verify", "--bundle", LEVEL_1, *policy).out
    sarif = json.loads(cli("verify", "--bundle", LEVEL_1, *policy, "--format", "sarif").out)
    (rule,) = sarif["runs"][0]["tool"]["driver"]["rules"]
    # The package names no repository: a page that is nowhere would be worse than the specification.
    assert rule["helpUri"] == "https://slsa.dev/spec/v1.2/verifying-source"
    assert "'slsa-verifier-plugin explain LEVEL_TOO_LOW' says more" in rule["help"]["text"]
    admitted = cli("verify", "--bundle", LEVEL_1, "--level", "SLSA_SOURCE_LEVEL_1", *policy[2:], "--json")
    (artifact,) = json.loads(admitted.out)["images"][0]["artifacts"]
    assert artifact["result"]["message"].startswith("SLSA Attestation Check: SUCCESS.")
    assert "VERIFIED" not in artifact["result"]["message"]


def test_the_page_is_the_repositorys_where_the_package_names_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def named(*urls: str) -> None:
        message = Message()
        for url in urls:
            message["Project-URL"] = url
        monkeypatch.setattr(reason_page, "metadata", lambda _: message)

    named("Ratify, https://ratify.dev", "Repository, https://github.example/o/r/")
    assert reason_page.reasons_page() == "https://github.example/o/r/blob/main/docs/reasons.md"
    for urls in ([], ["Ratify, https://ratify.dev"], ["Repository, javascript:alert(1)"], ["Repository"]):
        named(*urls)
        assert reason_page.reasons_page() == reason_page.SPECIFICATION

    def absent(_: str) -> Message:
        raise PackageNotFoundError

    monkeypatch.setattr(reason_page, "metadata", absent)
    assert reason_page.reasons_page() == reason_page.SPECIFICATION


def test_denials_that_need_no_verdict_end_with_their_code() -> None:
    made = [
        value for name, value in vars(protocol).items() if name.endswith("_LINE") and b"isSuccess" in value
    ]
    made += [protocol.lack_line(number) for number in (11, 12, 23, 24, 99)]
    assert len(made) >= 6
    for line in made:
        answer = json.loads(line)
        assert answer["message"].endswith(f" [{answer['extensions']['reason']}]")


def test_the_launchers_own_denials_end_with_their_code() -> None:
    source = (ROOT / "launcher" / "src" / "answers.c").read_text()
    assert source.count("attestation verified FAILED: ") == 2
    assert "FAILED: %s [%s]" in source
    assert "resident status'. [DEADLINE_EXCEEDED]" in source
