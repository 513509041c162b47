"""``trust``: what is in use, and what a refresh brings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from slsa_verifier_plugin.checking.status import Status
from slsa_verifier_plugin.cli.render import render_trust
from slsa_verifier_plugin.cli.render.painter import Painter
from slsa_verifier_plugin.errors import TrustRootError
from slsa_verifier_plugin.policy.parameters import RootSource
from slsa_verifier_plugin.resources.trust_roots import RootState
from slsa_verifier_plugin.signatures import refresh
from slsa_verifier_plugin.signatures.refresh import Refreshed
from tests.support.command_line import TRUSTED_ROOT, cli, parameters, verifier, write_yaml


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SLSA_VERIFIER_TUF_DIR", str(tmp_path / "tuf"))


def policy_with(path: Path, *roots: object) -> Path:
    return write_yaml(path / "v.yaml", verifier(spec={"parameters": parameters(trustedRoot=list(roots))}))


def test_the_shipped_root_is_listed() -> None:
    done = cli("trust", "list")
    assert (done.status, done.err) == (Status.ADMITTED, "")
    assert "✓ public-good\n  in use      public-good\n" in done.out
    assert " days ago" in done.out
    (root,) = json.loads(cli("trust", "list", "--json").out)
    assert root["source"] == "public-good"
    assert root["certificateAuthorities"] >= 1
    assert root["digest"].startswith("sha256:")


def test_the_roots_of_a_policy_are_listed_with_their_problems(tmp_path: Path) -> None:
    tuf = {"tufUrl": "https://tuf.example", "rootPath": str(TRUSTED_ROOT)}
    path = policy_with(tmp_path, {"path": str(TRUSTED_ROOT)}, {"path": "missing.json"}, tuf)
    done = cli("trust", "list", "--policy", path)
    assert done.status == Status.UNDECIDED
    assert f"✓ {TRUSTED_ROOT}" in done.out
    assert f"✗ {tmp_path / 'missing.json'}" in done.out
    assert "has not been fetched yet" in done.out
    roots = json.loads(cli("trust", "list", "--policy", path, "--json").out)
    assert [bool(root["problem"]) for root in roots] == [False, True, True]


def test_an_invalid_policy_is_refused(tmp_path: Path) -> None:
    path = write_yaml(tmp_path / "v.yaml", verifier(spec={"parameters": {}}))
    done = cli("trust", "list", "--policy", path)
    assert (done.status, "expectedResourceUri" in done.err) == (Status.USAGE, True)


def test_a_refresh_tells_each_outcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers: dict[str, Any] = {
        "public-good": Refreshed("https://x", "a" * 64, changed=True),
        "staging": Refreshed("https://y", "b" * 64, changed=False),
        "path": None,
    }
    monkeypatch.setattr(refresh, "refresh", lambda source, environ: answers[source.kind])
    path = policy_with(tmp_path, "public-good", "staging", {"path": str(TRUSTED_ROOT)}, "public-good")
    done = cli("trust", "refresh", "--policy", path)
    assert done.status == Status.ADMITTED
    assert done.out.splitlines() == [
        f"✓ public-good: changed, sha256:{'a' * 64}",
        f"✓ staging: up to date, sha256:{'b' * 64}",
        f"· {TRUSTED_ROOT}: a file, which nothing refreshes",
    ]


def test_a_refresh_that_fails_goes_on_with_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(source: RootSource, environ: object) -> Refreshed:
        if source.kind == "public-good":
            raise TrustRootError("the repository is away", transient=True)
        return Refreshed("https://y", "b" * 64, changed=False)

    monkeypatch.setattr(refresh, "refresh", answer)
    done = cli("trust", "refresh", "--policy", policy_with(tmp_path, "public-good", "staging"))
    assert done.status == Status.UNDECIDED
    assert "✗ public-good: the repository is away" in done.out
    assert "✓ staging: up to date" in done.out


def test_what_a_root_holds_is_counted_in_words() -> None:
    state = RootState("a", "b", "c" * 64, None, 1, 2, 1)
    (line,) = [line for line in render_trust.text_of([state], Painter()) if "holds" in line]
    assert line.endswith("1 certificate authority, 2 transparency logs, 1 timestamp authority")
