"""``testdata/`` and the demo's data: what the script makes, and what the README promises."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from sigstore.errors import VerificationError
from sigstore.models import Bundle, TrustedRoot
from sigstore.verify import Verifier
from sigstore.verify.policy import Identity as ExactIdentity

from tests.support import regenerate
from tests.support.sigstore import COMMIT, GITHUB_ISSUER, LEVEL_1_COMMIT, github_source_actions
from tests.support.sigstore.encoding import unb64
from tests.support.sigstore.envelope import pre_authentication_encoding

TESTDATA = regenerate.ROOT / regenerate.TESTDATA
DEMO = regenerate.ROOT / regenerate.DEMO
README = (TESTDATA / "README.md").read_text()
GENERATED = regenerate.files()

_ROW = re.compile(r"^\| `(stdin-[a-z0-9-]+\.json)` \| (\d) \| (code|reason) `?(\w+)`? \|", re.MULTILINE)
FIXTURES = _ROW.findall(README)
_SUBJECT = re.search(r"RATIFY_VERIFIER_SUBJECT=(127\S+)", README)
assert _SUBJECT is not None
SUBJECT = _SUBJECT[1]


@pytest.mark.parametrize("name", GENERATED)
def test_the_committed_files_are_what_the_script_makes(name: str) -> None:
    assert (regenerate.ROOT / name).read_bytes() == GENERATED[name]


def test_nothing_else_lies_there() -> None:
    names = {Path(name).name for name in GENERATED if name.startswith(regenerate.TESTDATA)}
    assert {path.name for path in TESTDATA.iterdir()} == {*names, "README.md"}


def test_a_check_names_what_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(regenerate, "ROOT", tmp_path)
    assert regenerate.main([]) == 0
    assert regenerate.main(["--check"]) == 0
    (tmp_path / "testdata" / "level-3.intoto.jsonl").write_text("other")
    capsys.readouterr()
    assert regenerate.main(["--check"]) == 1
    assert capsys.readouterr().out == "differs: testdata/level-3.intoto.jsonl\n"
    assert (tmp_path / "testdata" / "level-3.intoto.jsonl").read_text() == "other"


def test_the_readme_names_every_file() -> None:
    for path in TESTDATA.iterdir():
        if path.name != "README.md" and not re.fullmatch(r"stdin-.*", path.name):
            assert f"`{path.name}`" in README
    assert {row[0] for row in FIXTURES} == {path.name for path in TESTDATA.glob("stdin-*")}


def call(stdin: bytes, home: Path, **changes: str) -> tuple[int, list[bytes]]:
    """Run the plugin as Ratify does; returns its exit status and the lines that hold a brace."""
    environment = {
        "RATIFY_VERIFIER_COMMAND": "VERIFY",
        "RATIFY_VERIFIER_VERSION": "1.0.0",
        "RATIFY_VERIFIER_SUBJECT": SUBJECT,
        "SLSA_VERIFIER_RESIDENT": "off",
        "HOME": str(home),
        "PATH": "",
        **changes,
    }
    done = subprocess.run(
        [sys.executable, "-m", "slsa_verifier_plugin"],
        input=stdin,
        capture_output=True,
        env={name: value for name, value in environment.items() if value},
        cwd=regenerate.ROOT,
        timeout=60,
        check=False,
    )
    return done.returncode, [line for line in (done.stderr + done.stdout).splitlines() if b"{" in line]


@pytest.mark.parametrize(("name", "status", "kind", "expected"), FIXTURES, ids=[row[0] for row in FIXTURES])
def test_fixtures_are_answered_as_the_readme_says(
    name: str, status: str, kind: str, expected: str, tmp_path: Path
) -> None:
    returned, lines = call((TESTDATA / name).read_bytes(), tmp_path)
    assert len(lines) == 1
    answer = json.loads(lines[0])
    assert returned == int(status)
    if kind == "code":
        assert answer["code"] == int(expected)
    else:
        assert not answer["isSuccess"]
        assert answer["extensions"]["reason"] == expected


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"RATIFY_VERIFIER_COMMAND": "SIGN"}, 3),
        ({"RATIFY_VERIFIER_COMMAND": "", "RATIFY_VERIFIER_SUBJECT": "", "RATIFY_VERIFIER_VERSION": ""}, 4),
        ({"RATIFY_VERIFIER_VERSION": "2.0.0"}, 6),
        ({"RATIFY_VERIFIER_SUBJECT": "127.0.0.1:9/source-demo:latest"}, 7),
    ],
)
def test_environments_are_answered_as_the_readme_says(
    changes: dict[str, str], code: int, tmp_path: Path
) -> None:
    status, lines = call((TESTDATA / "stdin-unreachable.json").read_bytes(), tmp_path, **changes)
    assert (status, len(lines)) == (1, 1)
    assert json.loads(lines[0])["code"] == code


def verified(line: bytes, root: Path) -> bytes:
    verifier = Verifier(trusted_root=TrustedRoot.from_file(str(root / "trusted_root.json")))
    signer = ExactIdentity(identity=github_source_actions().san, issuer=GITHUB_ISSUER)
    return verifier.verify_dsse(Bundle.from_json(line), signer)[1]


@pytest.mark.parametrize("folder", [TESTDATA, DEMO], ids=["testdata", "demo"])
@pytest.mark.parametrize(
    ("name", "commit", "level"),
    [
        ("level-1.intoto.jsonl", LEVEL_1_COMMIT, "SLSA_SOURCE_LEVEL_1"),
        ("level-3.intoto.jsonl", COMMIT, "SLSA_SOURCE_LEVEL_3"),
    ],
)
def test_notes_verify_and_say_their_level(folder: Path, name: str, commit: str, level: str) -> None:
    provenance, summary = (
        json.loads(verified(line, folder)) for line in (folder / name).read_bytes().splitlines()
    )
    assert provenance["subject"] == [{"digest": {"gitCommit": commit}}]
    assert summary["subject"][0]["digest"] == {"gitCommit": commit}
    assert summary["predicate"]["verifiedLevels"][0] == level


def test_the_tampered_one_does_not_verify() -> None:
    with pytest.raises(VerificationError, match="DSSE: invalid signature"):
        verified((TESTDATA / "tampered.intoto.jsonl").read_bytes(), TESTDATA)


def test_demo_and_tests_do_not_trust_each_other() -> None:
    line = (DEMO / "level-3.intoto.jsonl").read_bytes().splitlines()[0]
    with pytest.raises(VerificationError):
        verified(line, TESTDATA)


def test_the_keyed_envelope_is_that_keys() -> None:
    envelope = json.loads((TESTDATA / "keyed.dsse.json").read_bytes())
    key = load_pem_public_key((TESTDATA / "keyed.pub.pem").read_bytes())
    assert isinstance(key, ec.EllipticCurvePublicKey)
    message = pre_authentication_encoding(envelope["payloadType"], unb64(envelope["payload"]))
    key.verify(unb64(envelope["signatures"][0]["sig"]), message, ec.ECDSA(hashes.SHA256()))
