"""``audit`` that is interrupted, resumed, or done in shards: what a state keeps, and what its report says is missing."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from slsa_verifier_plugin.audit import auditor as auditing
from slsa_verifier_plugin.audit.audit_state import AuditState
from slsa_verifier_plugin.audit.image_sources import Use
from slsa_verifier_plugin.checking.status import Decision, Status
from tests.support import interrupts
from tests.support.auditing import PROGRAM, SlowRegistry, as_json, audit, push
from tests.support.command_line import (
    LEVEL_1,
    LEVEL_3,
    ROOT,
    TRUSTED_ROOT,
    cli,
    parameters,
    verifier,
    write_yaml,
)
from tests.support.processes import wait_until


def test_a_state_goes_on_where_it_was(policy: Path, registry: SlowRegistry, tmp_path: Path) -> None:
    steady, flaky = push(registry, "steady/app", "v1", LEVEL_3), push(registry, "flaky/app", "v1", LEVEL_3)
    state = tmp_path / "audit.db"
    registry.broken = True
    first = as_json(policy, steady, flaky, "--state", state, "--timeout", "5s")
    assert [item["decision"] for item in first["images"]] == ["undecided", "admitted"]
    registry.broken = False
    registry.asked.clear()
    second = as_json(policy, steady, flaky, "--state", state)
    assert [item["decision"] for item in second["images"]] == ["admitted", "admitted"]
    assert not [path for path in registry.asked if "/steady/" in path]
    other = write_yaml(tmp_path / "other.yaml", verifier(level=3))
    done = audit(other, steady, "--state", state)
    assert (done.status, "made with another policy" in done.err) == (Status.USAGE, True)
    assert audit(other, steady, "--state", state, "--restart").status == Status.ADMITTED


@pytest.mark.parametrize("kind", ["path", "rootPath", "publicKey"])
def test_another_trusted_root_or_key_is_another_policy(
    images: dict[str, str], tmp_path: Path, kind: str
) -> None:
    file, state = tmp_path / "file", tmp_path / "audit.db"
    file.write_bytes(TRUSTED_ROOT.read_bytes())
    signer = {"verifierId": "https://verifier.example", "publicKey": "file"}
    options: dict[str, dict[str, Any]] = {
        "path": {"trustedRoot": {"path": "file"}},
        "rootPath": {"trustedRoot": {"tufUrl": "http://127.0.0.1:9", "rootPath": "file"}},
        "publicKey": {"trustedVerifiers": [signer], "expectedVerifierId": "https://verifier.example"},
    }
    policy = write_yaml(tmp_path / "v.yaml", verifier(spec={"parameters": parameters(2, **options[kind])}))
    for _ in range(2):
        assert audit(policy, images["bare"], "--state", state).status == Status.ADMITTED
    file.write_bytes(b"{}")
    done = audit(policy, images["bare"], "--state", state)
    assert (done.status, "made with another policy" in done.err) == (Status.USAGE, True)


def test_shards_are_joined(policy: Path, registry: SlowRegistry, tmp_path: Path) -> None:
    names = [
        push(registry, f"shop/app{number}", "v1", LEVEL_3 if number % 2 else LEVEL_1) for number in range(8)
    ]
    whole = as_json(policy, *names)
    seen = 0
    for index in range(3):
        part = as_json(policy, *names, "--shard", f"{index}/3", "--state", tmp_path / f"{index}.db")
        seen += part["summary"]["images"]
    assert seen == len(names)
    states = [tmp_path / f"{index}.db" for index in range(3)]
    done = cli("audit", "merge", *states, "--json", "--state", tmp_path / "all.db")
    joined = json.loads(done.out)
    assert done.status == Status.ADMITTED
    assert joined["images"] == whole["images"]
    assert joined["summary"] == whole["summary"]
    assert cli("audit", "merge", tmp_path / "all.db", "--fail-on", "denied").status == Status.DENIED


def test_another_list_with_the_same_state_is_reported_alone(
    policy: Path, images: dict[str, str], tmp_path: Path
) -> None:
    state = tmp_path / "audit.db"
    as_json(policy, images["high"], images["low"], "--state", state)
    document = as_json(policy, images["high"], images["bare"], "--state", state)
    assert {item["image"] for item in document["images"]} == {images["high"], images["bare"]}


def test_what_was_not_looked_at_counts_as_undecided(
    policy: Path, images: dict[str, str], tmp_path: Path
) -> None:
    state = tmp_path / "a.db"
    as_json(policy, images["high"], "--state", state)
    whole = cli("audit", "merge", state, "--fail-on", "undecided")
    assert (whole.status, "incomplete" in whole.out) == (Status.ADMITTED, False)
    with AuditState(state) as kept:
        kept.add_uses([Use("registry.example/not-yet")])
    assert cli("audit", "merge", state, "--fail-on", "undecided").status == Status.UNDECIDED
    assert cli("audit", "merge", state, "--fail-on", "denied").status == Status.ADMITTED


def test_shards_that_are_absent_are_named(policy: Path, images: dict[str, str], tmp_path: Path) -> None:
    state = tmp_path / "1.db"
    as_json(policy, *images.values(), "--shard", "1/3", "--state", state)
    # Which shard an image is of depends on the registry's port: this one may have none.
    merge = ("audit", "merge", state, "--allow-empty")
    done = cli(*merge, "--fail-on", "undecided")
    assert "incomplete: without the shards 0/3, 2/3\n" in done.out
    assert done.status != Status.ADMITTED
    assert cli(*merge).status == Status.ADMITTED
    page = cli(*merge, "--format", "html").out
    assert "Incomplete: without the shards 0/3, 2/3." in page
    gaps = json.loads(cli(*merge, "--json").out)["summary"]["gaps"]
    assert gaps == ["without the shards 0/3, 2/3"]


def test_one_shard_of_several_may_be_empty(policy: Path, images: dict[str, str]) -> None:
    counts = [as_json(policy, images["high"], "--shard", f"{i}/3")["summary"]["images"] for i in range(3)]
    assert sorted(counts) == [0, 0, 1]


def test_ctrl_c_keeps_what_is_done_and_the_audit_resumes(
    policy: Path, registry: SlowRegistry, tmp_path: Path
) -> None:
    quick = [push(registry, f"shop/app{number}", "v1", LEVEL_3) for number in range(4)]
    slow = push(registry, "slow/app", "v1", LEVEL_3)
    state = tmp_path / "audit.db"
    registry.go_on.clear()
    with interrupts.heard():
        child = subprocess.Popen(
            [*PROGRAM, "audit", "--policy", policy, "--plain-http", *quick, slow, "--state", state],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            text=True,
        )
    wait_until(lambda: sum("/blobs/" in path for path in registry.asked) >= 1)
    wait_until(lambda: sum("/referrers/" in path for path in registry.asked) >= len(quick))
    # Every quick one is decided once the workers have nothing but the slow one left.
    wait_until(lambda: sum("/slow/" in path for path in registry.asked) >= 1)
    time.sleep(1.0)
    started = time.monotonic()
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=30)
    assert time.monotonic() - started < 25, "the slow one would be waited for 30 s"
    registry.go_on.set()
    assert (child.returncode, out) == (Status.INTERRUPTED, "")
    assert err == (
        f"slsa-verifier-plugin: interrupted with 4 of 5 images decided; run it again with --state {state} to go on\n"
    )
    registry.asked.clear()
    document = as_json(policy, *quick, slow, "--state", state)
    assert document["summary"]["asItStands"] == {"admitted": 5, "denied": 0, "undecided": 0}
    assert not [path for path in registry.asked if "/shop/" in path]


def test_an_interrupt_without_a_state_says_what_would_have_helped(
    policy: Path, images: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(auditing, "run", interrupted)
    done = audit(policy, images["high"])
    assert done.status == Status.INTERRUPTED
    assert done.err.endswith(
        "interrupted with 0 of 1 images decided; with --state FILE it could go on from there\n"
    )


def test_an_incomplete_state_is_reported_as_such(
    policy: Path, images: dict[str, str], tmp_path: Path
) -> None:
    state = tmp_path / "a.db"
    as_json(policy, images["high"], "--state", state)
    with AuditState(state) as kept:
        kept.add_uses([Use("registry.example/not-yet")])
        assert [row.decision for row in kept.rows()] == [Decision.ADMITTED]
    done = cli("audit", "merge", state)
    assert "incomplete: 1 image not looked at yet" in done.out
    page = cli("audit", "merge", state, "--format", "html").out
    assert "Incomplete: 1 image not looked at yet." in page
