"""``verify`` by a resident verifier: to the byte what a process of its own says, or else that process says it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from slsa_verifier_plugin.checking.status import Status
from slsa_verifier_plugin.cli import through_resident
from slsa_verifier_plugin.cli.commands import verify_command
from slsa_verifier_plugin.resident import protocol
from slsa_verifier_plugin.resident.client import manage
from tests.support.command_line import (
    ARTIFACT_TYPE,
    LEVEL_1,
    LEVEL_3,
    SOURCE,
    TRUSTED_ROOT,
    Done,
    cli,
    process,
    write_yaml,
)
from tests.support.embedded_registry import EmbeddedRegistry
from tests.support.resident_reports import NOTES, OWN, REPOSITORY, TAMPERED, patient, verified_alone
from tests.support.users import as_root

_MILLISECONDS = re.compile(r'("durationMs": |time=")[0-9.]+')


def accepted(place: dict[str, str]) -> int:
    """Return how many calls the resident verifier has accepted."""
    with contextlib.ExitStack() as stack:
        environ = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in place.items():
            environ.setenv(name, value)
        report = manage.status(os.environ).report
    assert report is not None
    return int(report["calls"]["accepted"])


def same(done: Done) -> Done:
    """Return a run without the times that it took."""
    return Done(done.status, _MILLISECONDS.sub(r"\g<1>0", done.out), done.err)


FORMS = (
    (),
    ("--verbose",),
    ("--json",),
    *(("--format", form) for form in ("sarif", "markdown", "junit")),
)


@pytest.mark.parametrize("form", FORMS, ids=" ".join)
@pytest.mark.parametrize("tag", [*NOTES, "absent"])
@pytest.mark.parametrize("rule", ["--any", "--all"])
def test_an_image_in_every_form(
    place: dict[str, str],
    registry: EmbeddedRegistry,
    policy: Path,
    monkeypatch: pytest.MonkeyPatch,
    form: tuple[str, ...],
    tag: str,
    rule: str,
) -> None:
    arguments: tuple[str | Path, ...]
    arguments = ("verify", f"{registry.host}/{REPOSITORY}:{tag}", "--policy", policy, rule, *form)
    statuses = {"high": 0, "low": 1, "tampered": 1, "none": 1, "absent": 3}
    statuses |= dict.fromkeys(("both", "many"), int(rule == "--all"))
    own = cli(*arguments, environ={**place, **OWN})
    monkeypatch.setattr(verify_command, "reports_on", verified_alone)
    assert same(cli(*arguments, environ=place)) == same(own)
    assert own.status == statuses[tag]


@pytest.mark.usefixtures("never_alone")
def test_what_the_caller_s_terminal_shows(
    place: dict[str, str], registry: EmbeddedRegistry, policy: Path
) -> None:
    arguments = ("verify", f"{registry.host}/{REPOSITORY}:high", "--policy", policy)
    plain = cli(*arguments, environ=place).out
    assert "\033" not in plain
    assert "✓" in plain
    assert "\033[32" in cli(*arguments, environ=place, terminal=True).out
    assert "\033" not in cli(*arguments, environ={**place, "NO_COLOR": "1"}, terminal=True).out
    assert "\033[32" in cli("--color", "always", *arguments, environ=place).out
    letters = cli(*arguments, environ=place, encoding="ascii").out
    assert "✓" not in letters
    assert " ok " in letters


@pytest.mark.parametrize("bundle", [LEVEL_1, LEVEL_3, TAMPERED], ids=lambda path: path.name)
@pytest.mark.parametrize("form", FORMS, ids=" ".join)
@pytest.mark.parametrize("way", ["absolute", "relative", "stdin", "for an image"])
def test_a_bundle_is_read_by_the_caller(
    place: dict[str, str],
    policy: Path,
    monkeypatch: pytest.MonkeyPatch,
    bundle: Path,
    form: tuple[str, ...],
    way: str,
) -> None:
    # Where the verifier is, a file of this name would be a reference.
    name = "localhost/notes:v1"
    (policy.parent / "localhost").mkdir()
    shutil.copy(bundle, policy.parent / name)
    monkeypatch.chdir(policy.parent)
    named = {"absolute": str(bundle), "relative": name, "stdin": "-"}.get(way, str(bundle))
    image = (f"localhost/app@sha256:{'1' * 64}",) if way == "for an image" else ()
    arguments = ("verify", *image, "--bundle", named, "--policy", policy.name, *form)
    stdin = bundle.read_bytes() if way == "stdin" else b""
    own = cli(*arguments, environ={**place, **OWN}, stdin=stdin)
    monkeypatch.setattr(verify_command, "reports_on", verified_alone)
    assert same(cli(*arguments, environ=place, stdin=stdin)) == same(own)
    assert own.status in (Status.ADMITTED, Status.DENIED)
    assert own.err == ""


@pytest.mark.usefixtures("never_alone")
def test_policies_from_everywhere(
    place: dict[str, str],
    registry: EmbeddedRegistry,
    policy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    image = f"{registry.host}/{REPOSITORY}:high"
    piped = cli("verify", image, "--policy", "-", environ=place, stdin=policy.read_bytes())
    assert piped.status == Status.ADMITTED
    options = ["--level", "SLSA_SOURCE_LEVEL_3", "--resource-uri", SOURCE]
    # Relative to where the person is, which is not where the verifier is.
    shutil.copy(TRUSTED_ROOT, tmp_path / "root.json")
    monkeypatch.chdir(tmp_path)
    assert cli("verify", image, *options, "--trusted-root", "root.json", environ=place).status == 0
    beside = patient()
    beside["spec"]["parameters"]["trustedRoot"] = {"path": "root.json"}
    (tmp_path / "deep").mkdir()
    shutil.copy(TRUSTED_ROOT, tmp_path / "deep" / "root.json")
    (tmp_path / "root.json").unlink()
    write_yaml(tmp_path / "deep" / "v.yaml", beside)
    assert cli("verify", image, "--policy", "deep/v.yaml", environ=place).status == Status.ADMITTED
    late = cli("verify", image, "--policy", policy, "--max-age", "1h", environ=place)
    assert "  TOO_OLD  " in late.out
    early = cli(
        "verify", image, "--policy", policy, "--max-age", "1h", "--at", "2025-11-24T12:00:00Z", environ=place
    )
    assert late.out != early.out


@pytest.mark.usefixtures("never_alone")
def test_what_changes_between_two_calls_is_seen_at_once(
    place: dict[str, str], policy: Path, tmp_path: Path
) -> None:
    root = tmp_path / "root.json"
    shutil.copy(TRUSTED_ROOT, root)
    with EmbeddedRegistry() as registry:
        first = registry.push_image(REPOSITORY, "moving")
        registry.attach(REPOSITORY, first, ARTIFACT_TYPE, [LEVEL_3.read_bytes()])

        def call() -> Done:
            image = f"{registry.host}/{REPOSITORY}:moving"
            return cli("verify", image, "--policy", policy, "--trusted-root", root, environ=place)

        assert call().status == Status.ADMITTED
        write_yaml(policy, patient(4))
        assert "LEVEL_TOO_LOW" in call().out
        write_yaml(policy, patient())
        assert call().status == Status.ADMITTED
        registry.attach(REPOSITORY, first, ARTIFACT_TYPE, [TAMPERED.read_bytes()])
        assert call().status == Status.DENIED
        second = registry.push_image(REPOSITORY, "moving", {"number": "2"})
        assert "NO_ATTESTATION" in call().out
        registry.attach(REPOSITORY, second, ARTIFACT_TYPE, [LEVEL_3.read_bytes()])
        assert call().status == Status.ADMITTED
        # Another root: what was verified under the first one is no help.
        value = json.loads(root.read_text())
        value["certificateAuthorities"] = value["certificateAuthorities"][:0]
        root.write_text(json.dumps(value))
        assert call().status != Status.ADMITTED


def test_what_is_wrong_is_said_as_ever(
    place: dict[str, str], registry: EmbeddedRegistry, policy: Path, tmp_path: Path
) -> None:
    image = f"{registry.host}/{REPOSITORY}:high"
    broken = tmp_path / "broken.yaml"
    broken.write_text("kind: [\n")
    wrong: list[tuple[str | Path, ...]] = [
        (image,),
        (image, "--policy", tmp_path / "missing.yaml"),
        (image, "--policy", broken),
        (image, "--policy", policy, "--verifier", "other"),
        (image, "--policy", policy, "--max-age", "soon"),
        ("./nothing.json", "--policy", policy),
        ("UPPER/app:1", "--policy", policy),
        ("--bundle", tmp_path / "missing.jsonl", "--policy", policy),
        (image, "--bundle", LEVEL_3, "--policy", policy),
        ("--bundle", "-", "--policy", "-"),
    ]
    for arguments in wrong:
        for debug in ([], ["--debug"]):
            own = cli(*debug, "verify", *arguments, environ={**place, **OWN})
            assert (own.status, own.out) == (Status.USAGE, "")
            assert cli(*debug, "verify", *arguments, environ=place) == own


def test_what_a_process_of_its_own_does_better(
    place: dict[str, str], registry: EmbeddedRegistry, policy: Path
) -> None:
    before = accepted(place)
    images = [f"{registry.host}/{REPOSITORY}:{tag}" for tag in ("high", "low")]
    assert cli("verify", *images, "--policy", policy, environ=place).status == Status.DENIED
    assert cli("verify", images[0], "--policy", policy, environ={**place, **OWN}).status == 0
    pipe = process(
        "verify", "--bundle", "/dev/stdin", "--policy", policy, environ=place, stdin=LEVEL_3.read_bytes()
    )
    assert pipe.status == Status.ADMITTED
    assert accepted(place) == before
    assert cli("verify", images[0], "--policy", policy, environ=place).status == Status.ADMITTED
    assert accepted(place) == before + 1


def test_nothing_is_started(deserted: dict[str, str], registry: EmbeddedRegistry, policy: Path) -> None:
    image = f"{registry.host}/{REPOSITORY}:high"
    assert cli("verify", image, "--policy", policy, environ=deserted).status == Status.ADMITTED
    assert not Path(deserted["SLSA_VERIFIER_DIR"]).exists()


def test_other_rights_have_a_process_of_their_own(
    place: dict[str, str], registry: EmbeddedRegistry, policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = through_resident.standing()
    image = f"{registry.host}/{REPOSITORY}:high"
    monkeypatch.setattr(through_resident, "standing", lambda: [*own[:1], [0], *own[2:]])
    before = accepted(place)
    assert cli("verify", image, "--policy", policy, environ=place).status == Status.ADMITTED
    assert accepted(place) == before + 1
    monkeypatch.setattr(verify_command, "reports_on", verified_alone)
    # The defect is this test's own: the verifier has declined.
    assert cli("verify", image, "--policy", policy, environ=place).status == Status.UNDECIDED
    monkeypatch.setattr(through_resident, "standing", lambda: own)
    assert cli("verify", image, "--policy", policy, environ=place).status == Status.ADMITTED


@as_root
def test_rights_are_groups_capabilities_and_networks() -> None:
    code = "from slsa_verifier_plugin.cli.through_resident import standing; print(standing())"

    def said(prepare: Callable[[], object]) -> str:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, preexec_fn=prepare
        )
        return done.stdout

    usual = said(lambda: None)
    assert said(lambda: None) == usual
    assert said(lambda: os.setgroups([4242])) != usual
    assert said(lambda: os.setegid(4242)) != usual


def test_what_fits_in_no_request_is_verified_here(
    place: dict[str, str], policy: Path, tmp_path: Path
) -> None:
    large = tmp_path / "large.jsonl"
    large.write_bytes(LEVEL_3.read_bytes() + b"\n" * protocol.MAX_REQUEST)
    before = accepted(place)
    own = cli("verify", "--bundle", large, "--policy", policy, environ={**place, **OWN})
    assert cli("verify", "--bundle", large, "--policy", policy, environ=place) == own
    assert accepted(place) == before


HEAVY = (
    "sigstore",
    "requests",
    "jinja2",
    "jsonschema",
    "yaml",
    "cryptography",
    "oras",
    "rich",
    "tuf",
    "google",
)


def test_the_caller_imports_little(place: dict[str, str], registry: EmbeddedRegistry, policy: Path) -> None:
    # Where this process would verify by itself, the list would be long.
    command = (sys.executable, "-X", "importtime", "-m", "slsa_verifier_plugin")
    arguments = ("verify", f"{registry.host}/{REPOSITORY}:high", "--policy", policy)
    environ = {**place, "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    if not environ["PYTHONPATH"]:
        del environ["PYTHONPATH"]
    done = subprocess.run(
        [*command, *arguments], capture_output=True, text=True, env={**os.environ, **environ}, check=True
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert {name.partition(".")[0] for name in imported}.isdisjoint(HEAVY)
    ours = {name for name in imported if name.startswith("slsa_verifier_plugin.")}
    assert not {
        name for name in ours if name.split(".")[1] in ("service", "signatures", "verification", "model")
    }
    assert done.stdout.startswith("ADMITTED")
