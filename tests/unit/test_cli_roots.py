"""A trusted root that cannot be used is shown: ``verify``, ``policy check``, ``trust list``, ``doctor``, ``resident status``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slsa_verifier_plugin.checking.status import Status
from slsa_verifier_plugin.cli import diagnosis
from slsa_verifier_plugin.cli.render import render_resident
from slsa_verifier_plugin.cli.render.painter import Painter
from slsa_verifier_plugin.policy.parameters import parse_policy
from slsa_verifier_plugin.problem import DoctorFinding
from slsa_verifier_plugin.resident.client import manage
from slsa_verifier_plugin.service.resident_service import ResidentService
from tests.support.command_line import LEVEL_3, TRUSTED_ROOT, cli, parameters, verifier, write_yaml
from tests.support.sigstore import Lab, vsa
from tests.support.sigstore.encoding import compact

BROKEN = b'{"mediaType":"something else"}\n'


class Files:
    """Trusted roots, good and bad, and policies that name them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.garbage = folder / "garbage.json"
        self.garbage.write_bytes(b"this is no JSON")
        self.missing = folder / "missing.json"
        self.lines = folder / "lines.jsonl"
        self.lines.write_bytes(BROKEN + compact(json.loads(TRUSTED_ROOT.read_bytes())) + b"\n")
        self.later = folder / "later.json"
        self.later.write_bytes(TRUSTED_ROOT.read_bytes().replace(b"2024-01-01", b"2053-01-01"))

    def policy(self, *roots: Any) -> Path:
        named = [root if isinstance(root, dict | str) else {"path": str(root)} for root in roots]
        spec = {
            "parameters": parameters(
                trustedRoot=named if len(named) > 1 else named[0], sourceBinding="annotation"
            )
        }
        return write_yaml(self.folder / "policy.yaml", verifier(spec=spec))


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_verify_shows_each_root_that_it_could_not_use(files: Files) -> None:
    policy = files.policy(files.garbage, files.missing, files.lines, files.later)
    done = cli("verify", "--bundle", LEVEL_3, "--policy", policy)
    assert done.status == Status.ADMITTED, done
    text = " ".join(done.out.split())
    for words in (
        'garbage.json" cannot be used: no JSON in line 1',
        'missing.json" cannot be read: No such file or directory',
        'lines.jsonl (line 1)" cannot be used: mediaType has a value that is not known here',
        'later.json" cannot be used yet',
    ):
        assert words in text
    honest = cli("verify", "--bundle", LEVEL_3, "--policy", files.policy(TRUSTED_ROOT, "public-good"))
    assert "cannot be" not in honest.out


def test_a_denial_shows_them_as_well(files: Files) -> None:
    stranger = files.folder / "stranger.jsonl"
    stranger.write_bytes(Lab("stranger").sign(vsa()))
    done = cli("verify", "--bundle", stranger, "--policy", files.policy(files.garbage, TRUSTED_ROOT))
    assert done.status == Status.DENIED
    assert 'garbage.json" cannot be used' in " ".join(done.out.split())


def test_inspect_tells_of_a_root_in_the_file_that_it_could_not_use(files: Files) -> None:
    done = cli("inspect", LEVEL_3, "--verify", "--trusted-root", files.lines, "--json")
    assert done.status == Status.ADMITTED, done
    assert json.loads(done.out)
    assert 'lines.jsonl (line 1)" cannot be used' in " ".join(done.err.split())
    assert cli("inspect", LEVEL_3, "--verify", "--trusted-root", TRUSTED_ROOT).err == ""


def test_policy_check_warns_of_a_root_in_a_list(files: Files) -> None:
    policy = files.policy(
        TRUSTED_ROOT,
        files.garbage,
        files.missing,
        files.lines,
        files.later,
        {"tufUrl": "https://tuf.example", "rootPath": str(files.missing)},
        "public-good",
    )
    done = cli("policy", "check", policy)
    assert done.status == Status.ADMITTED
    assert done.out.count("warning: the trusted root") == 5
    assert "No such file or directory on this machine" in done.out
    assert "cannot be used yet" in done.out
    assert "0 errors, 5 warnings" in done.out


def test_policy_check_says_that_the_only_root_denies_everything_where_it_can_know(files: Files) -> None:
    done = cli("policy", "check", files.policy(files.garbage))
    assert done.status == Status.DENIED
    assert "error: the trusted root" in done.out
    done = cli("policy", "check", files.policy(files.garbage, files.later))
    assert (done.status, done.out.count("error: the trusted root")) == (Status.DENIED, 2)
    # One root of a file suffices, and one of a list.
    done = cli("policy", "check", files.policy(files.lines))
    assert (done.status, done.out.count("warning: the trusted root")) == (Status.ADMITTED, 1)
    done = cli("policy", "check", files.policy(files.garbage, files.missing))
    assert (done.status, done.out.count("warning: the trusted root")) == (Status.ADMITTED, 2)
    # One that is not here is where Ratify runs, perhaps.
    assert cli("policy", "check", files.policy(files.missing)).status == Status.ADMITTED
    assert cli("policy", "check", files.policy(TRUSTED_ROOT)).out.endswith("nothing is wrong\n")


def test_trust_list_shows_every_root_of_a_file(files: Files) -> None:
    done = cli("trust", "list", "--policy", files.policy(files.lines), "--json")
    assert done.status == Status.UNDECIDED
    good, bad = json.loads(done.out)
    assert good["source"].endswith("lines.jsonl (line 2)")
    assert good["problem"] == ""
    assert "(line 1)" in bad["problem"]


@pytest.fixture
def service() -> Iterator[ResidentService]:
    made = ResidentService({"SLSA_VERIFIER_WORKERS": "1"}, lambda source, environ: None)
    yield made
    made.close()


def test_the_resident_verifiers_status_and_doctor_show_what_it_could_not_use(
    files: Files, service: ResidentService
) -> None:
    """As it is where Ratify runs: its files are not those of the person who asks."""
    roots = [{"path": str(files.missing)}, {"path": str(files.lines)}, "public-good"]
    service.service.verifier(parse_policy({"name": "x", **parameters(trustedRoot=roots)}))
    report = {"version": "1", "latestErrors": [], "service": dict(service.status())}
    status = manage.ResidentStatus(directory="/d", listens=True, pid=7, report=report, problem="")
    shown = list(render_resident.text_of(status, Painter()))
    found = list(diagnosis._roots_of_resident(report))
    assert [(item.name, item.outcome) for item in found] == [("trusted root", "warning")] * 2
    assert "missing.json" in found[0].message
    assert "(line 1)" in found[1].message
    assert all(item.remedy for item in found)
    assert sum("cannot be" in line for line in shown) == 2


def test_doctor_says_nothing_of_roots_where_all_is_well(service: ResidentService) -> None:
    service.service.verifier(parse_policy({"name": "x", **parameters()}))
    assert list(diagnosis._roots_of_resident({"service": dict(service.status())})) == []
    assert list(diagnosis._roots_of_resident({"service": None})) == []


def test_doctor_tells_a_root_that_could_not_be_refreshed() -> None:
    report = {"service": {"trustedRoots": [{"source": "x", "error": "no answer; look at the network"}]}}
    assert list(diagnosis._roots_of_resident(report)) == [
        DoctorFinding("trusted root", "warning", "no answer", "look at the network")
    ]
