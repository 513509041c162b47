"""``inspect`` on files: what each line claims, and that nothing was verified."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from slsa_verifier_plugin.checking.inspecting import look_at_file
from slsa_verifier_plugin.checking.status import Status
from slsa_verifier_plugin.cli.render.render_inspect import MAX_LINES, NOT_SIGNED, NOT_VERIFIED
from tests.support.command_line import LEVEL_1, LEVEL_3, SOURCE, TESTDATA, TRUSTED_ROOT, cli
from tests.support.sigstore import COMMIT, GITHUB_ISSUER, Lab, github_source_actions, provenance_v1, vsa

SIGNER = "https://github.com/slsa-framework/source-actions/.github/workflows/compute_slsa_source.yml@refs/heads/main"


def as_json(*arguments: str | Path, stdin: bytes = b"", status: int = 0) -> dict[str, Any]:
    done = cli("inspect", *arguments, "--json", stdin=stdin)
    assert (done.status, done.err) == (status, "")
    value: dict[str, Any] = json.loads(done.out)
    return value


def test_each_line_says_what_it_claims() -> None:
    document = as_json(LEVEL_3)
    assert document["verified"] is False
    provenance, summary = document["file"]["lines"]
    assert provenance["predicateType"].endswith("/source-provenance/v1-draft")
    assert summary["kind"] == "bundle 0.3"
    assert summary["statementType"] == "https://in-toto.io/Statement/v1"
    assert summary["summary"]["levels"] == ["SLSA_SOURCE_LEVEL_3", "TAG_HYGIENE"]
    assert summary["summary"]["resourceUri"] == SOURCE
    assert summary["summary"]["commits"][0]["commit"] == COMMIT
    assert summary["signer"]["identity"] == SIGNER
    assert summary["signer"]["issuer"] == GITHUB_ISSUER
    assert summary["signer"]["extensions"]["13"] == COMMIT
    assert summary["signedTimestamp"] is True
    assert summary["logEntries"][0]["index"].isdigit()
    assert "signature" not in summary


def test_the_tree_says_plainly_that_nothing_was_verified() -> None:
    done = cli("inspect", LEVEL_3)
    assert done.status == Status.ADMITTED
    assert done.out.startswith(f"{LEVEL_3} sha256:")
    assert "└─ line 2: bundle 0.3, https://slsa.dev/verification_summary/v1" in done.out
    assert "   ├─ levels SLSA_SOURCE_LEVEL_3, TAG_HYGIENE, result PASSED" in done.out
    assert done.out.endswith(f"{NOT_VERIFIED}\n")
    assert NOT_VERIFIED not in cli("inspect", LEVEL_3, "--verify", "--trusted-root", TRUSTED_ROOT).out


def test_verify_checks_each_signature() -> None:
    good = cli("inspect", "--verify", "--trusted-root", TRUSTED_ROOT, LEVEL_3)
    assert (good.status, good.out.count("✓ the signature verifies")) == (Status.ADMITTED, 2)
    bad = as_json(
        "--verify", "--trusted-root", TRUSTED_ROOT, TESTDATA / "tampered.intoto.jsonl", status=Status.DENIED
    )
    (line,) = bad["file"]["lines"]
    assert (bad["verified"], line["signature"]["verifies"]) == (True, False)
    assert line["signature"]["problem"]
    unknown = as_json("--verify", LEVEL_1, status=Status.DENIED)
    assert "is in no trusted root" in unknown["file"]["lines"][0]["signature"]["problem"]


@pytest.mark.parametrize("text", ["", '{"schemaVersion": 2}', "no JSON\n"])
def test_where_nothing_is_signed_nothing_has_verified(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(text)
    assert cli("inspect", path).status == Status.ADMITTED
    done = cli("inspect", path, "--verify", "--trusted-root", TRUSTED_ROOT)
    assert (done.status, done.out.splitlines()[-1]) == (Status.DENIED, NOT_SIGNED)


def test_a_key_is_told_by_its_hint() -> None:
    (line,) = as_json(TESTDATA / "keyed.dsse.json")["file"]["lines"]
    assert (line["kind"], "signer" in line) == ("envelope", False)
    assert "signed with a key" in cli("inspect", TESTDATA / "keyed.dsse.json").out


def test_provenance_names_builder_and_materials() -> None:
    lab = Lab()
    content = lab.sign(provenance_v1(COMMIT), github_source_actions(commit=COMMIT))
    (line,) = as_json("-", stdin=content)["file"]["lines"]
    assert line["provenance"]["materials"][0].endswith(f"@{COMMIT}")
    assert line["provenance"]["builderId"].startswith("https://")
    assert line["subjects"][0]["sha256"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"not json", "no JSON"),
        (b"[1]", "a JSON list"),
        (b'{"kind":"Pod"}', 'JSON with kind "Pod"'),
        (b'{"a":1,"b":2}', "JSON with a, b"),
        (b"{}", "JSON with nothing in it"),
        (b'{"payload": 1}', "JSON with payload"),
    ],
)
def test_lines_of_other_kinds_are_named(content: bytes, expected: str) -> None:
    bundle = LEVEL_3.read_bytes().splitlines()[1]
    lines = as_json("-", stdin=content + b"\n" + bundle + b"\n")["file"]["lines"]
    assert [line["kind"] for line in lines] == [expected, "bundle 0.3"]


def test_one_document_over_several_lines() -> None:
    bundle = json.dumps(json.loads(LEVEL_3.read_bytes().splitlines()[1]), indent=2).encode()
    (line,) = as_json("-", stdin=bundle)["file"]["lines"]
    assert line["summary"]["result"] == "PASSED"


def test_a_broken_part_is_a_problem_of_its_line() -> None:
    lab = Lab()
    odd = lab.sign(
        vsa(COMMIT, changes={"predicate.verifiedLevels": "none"}), github_source_actions(commit=COMMIT)
    )
    (line,) = as_json("-", stdin=odd)["file"]["lines"]
    assert "verifiedLevels is no list" in line["problem"]
    assert line["signer"]["identity"] == SIGNER
    assert "! the verification summary's verifiedLevels" in cli("inspect", "-", stdin=odd).out


def test_an_empty_file_and_one_of_very_many_lines() -> None:
    assert "it is empty" in cli("inspect", "-", stdin=b"").out
    many = b"{}\n" * (MAX_LINES + 5)
    assert "5 more lines; --verbose shows them" in cli("inspect", "-", stdin=many).out
    assert cli("inspect", "-", "--verbose", stdin=many).out.count("nothing in it") == MAX_LINES + 5
    too_many = as_json("-", stdin=b"x\n" * 70_000)
    assert "more than 65536 lines" in too_many["file"]["problem"]


def test_what_is_neither_file_nor_image() -> None:
    done = cli("inspect", "NO SUCH THING")
    assert (done.status, done.err.count("\n")) == (Status.USAGE, 1)


def test_foreign_text_stays_text() -> None:
    lab = Lab()
    evil = "x\033[2J\n└─ line 9: forged {}"
    content = lab.sign(
        vsa(COMMIT, changes={"predicate.resourceUri": evil}), github_source_actions(commit=COMMIT)
    )
    out = cli("inspect", "-", stdin=content).out
    assert "\033" not in out
    assert "\n└─ line 9" not in out
    assert "{" not in out


def test_log_entries_that_lie_are_shown_as_far_as_they_can_be() -> None:
    bundle = json.loads(LEVEL_3.read_bytes().splitlines()[1])
    bundle["verificationMaterial"]["tlogEntries"][0]["integratedTime"] = "99999999999999999"
    view = look_at_file(json.dumps(bundle).encode(), "x")
    assert view.lines[0].logs[0].time is None
    bundle["verificationMaterial"]["tlogEntries"] = "none"
    assert look_at_file(json.dumps(bundle).encode(), "x").lines[0].logs == ()
