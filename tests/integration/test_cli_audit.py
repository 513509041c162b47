"""``audit`` against a registry in memory: what it finds, how it goes on after an interrupt, and every form of its report."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from slsa_verifier_plugin.audit import auditor as auditing
from slsa_verifier_plugin.audit.audit_state import AuditState
from slsa_verifier_plugin.audit.image_sources import Use
from slsa_verifier_plugin.checking.checking import Checker
from slsa_verifier_plugin.checking.status import Decision, Status
from tests.support.command_line import (
    ARTIFACT_TYPE,
    LEVEL_1,
    LEVEL_3,
    ROOT,
    TRUSTED_ROOT,
    Done,
    cli,
    parameters,
    verifier,
    write_yaml,
)
from tests.support.embedded_registry import EmbeddedRegistry
from tests.support.registry_handler import RegistryHandler

PROGRAM = (sys.executable, "-m", "slsa_verifier_plugin")
LEVELS = [f"SLSA_SOURCE_LEVEL_{number}" for number in range(1, 5)]


class SlowRegistry(EmbeddedRegistry):
    """Answers manifests of ``slow/`` only once it is told to; counts what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.broken = False
        self.go_on = threading.Event()
        self.go_on.set()

    def intercept(self, handler: RegistryHandler) -> bool:
        self.asked.append(handler.path)
        if "/slow/" in handler.path:
            self.go_on.wait(30)
        if self.broken and "/flaky/" in handler.path:
            handler.send_error(503)
            return True
        return False


@pytest.fixture(autouse=True)
def _own_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def registry() -> Iterator[SlowRegistry]:
    with SlowRegistry() as running:
        yield running


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    return write_yaml(tmp_path / "verifier.yaml", verifier())


def push(registry: EmbeddedRegistry, repository: str, tag: str, *notes: Path) -> str:
    image = registry.push_image(repository, tag)
    for note in notes:
        registry.attach(repository, image, ARTIFACT_TYPE, [note.read_bytes()])
    return f"{registry.host}/{repository}:{tag}"


@pytest.fixture
def images(registry: SlowRegistry) -> dict[str, str]:
    return {
        "low": push(registry, "shop/low", "v1", LEVEL_1),
        "high": push(registry, "shop/high", "v1", LEVEL_3),
        "bare": push(registry, "shop/bare", "v1"),
        "gone": f"{registry.host}/shop/gone:v1",
    }


def audit(policy: Path, *arguments: str | Path, stdin: bytes = b"") -> Done:
    return cli("audit", "--policy", policy, "--plain-http", *arguments, stdin=stdin)


def as_json(policy: Path, *arguments: str | Path, stdin: bytes = b"") -> dict[str, Any]:
    done = audit(policy, *arguments, "--json", stdin=stdin)
    assert (done.status, done.err) == (Status.ADMITTED, "")
    document: dict[str, Any] = json.loads(done.out)
    return document


def test_every_level_is_answered_at_once(policy: Path, images: dict[str, str]) -> None:
    document = as_json(policy, *images.values())
    by_image = {item["image"]: item for item in document["images"]}
    expected = {"low": "ADDD", "high": "AAAD", "bare": "DDDD", "gone": "UUUU"}
    letters = {"admitted": "A", "denied": "D", "undecided": "U"}
    for name, levels in expected.items():
        found = by_image[images[name]]["levels"]
        assert list(found) == LEVELS
        assert "".join(letters[decision] for decision in found.values()) == levels
    reasons = {name: by_image[image]["reason"] for name, image in images.items()}
    assert reasons == {
        "low": "LEVEL_TOO_LOW",
        "high": "VERIFIED",
        "bare": "NO_ATTESTATION",
        "gone": "REGISTRY_NOT_FOUND",
    }
    summary = document["summary"]
    assert summary["asItStands"] == {"admitted": 1, "denied": 2, "undecided": 1}
    assert summary["levels"]["SLSA_SOURCE_LEVEL_1"] == {"admitted": 2, "denied": 1, "undecided": 1}
    high = by_image[images["high"]]
    assert high["verifiedLevels"] == ["SLSA_SOURCE_LEVEL_3", "TAG_HYGIENE"]
    assert high["resourceUri"] == "git+https://github.com/example/source-demo"
    assert high["resolved"].startswith(images["high"] + "@sha256:")


@pytest.mark.parametrize("level", [1, 2, 3, 4])
def test_a_levels_answer_is_what_verify_says_with_that_level(
    policy: Path, images: dict[str, str], level: int
) -> None:
    document = as_json(policy, *images.values())
    for item in document["images"]:
        done = cli(
            "verify",
            item["image"],
            "--policy",
            policy,
            "--plain-http",
            "--level",
            f"SLSA_SOURCE_LEVEL_{level}",
        )
        decision = {0: "admitted", 1: "denied", 3: "undecided"}[done.status]
        assert item["levels"][f"SLSA_SOURCE_LEVEL_{level}"] == decision


def test_what_else_the_policy_demands_stays(tmp_path: Path, images: dict[str, str]) -> None:
    names = ["SLSA_SOURCE_LEVEL_2", "ORG_SOURCE_TESTED"]
    path = write_yaml(
        tmp_path / "v.yaml", verifier(spec={"parameters": parameters(expectedVerifiedLevels=names)})
    )
    document = as_json(path, images["high"])
    assert set(document["images"][0]["levels"].values()) == {"denied"}


def test_other_tracks_have_their_own_levels(tmp_path: Path, images: dict[str, str]) -> None:
    names = ["SLSA_BUILD_LEVEL_2"]
    path = write_yaml(
        tmp_path / "v.yaml", verifier(spec={"parameters": parameters(expectedVerifiedLevels=names)})
    )
    document = as_json(path, images["high"])
    assert list(document["images"][0]["levels"]) == [f"SLSA_BUILD_LEVEL_{number}" for number in (1, 2, 3)]


def test_one_digest_is_looked_at_once(policy: Path, registry: SlowRegistry) -> None:
    first = push(registry, "shop/app", "v1", LEVEL_3)
    digest = registry.push_image("shop/app", "v1").digest
    found = registry.storage.manifest("shop/app", "v1")
    assert found is not None
    registry.storage.put_manifest("shop/app", found[1].content, tag="v2")
    names = [first, first.replace(":v1", ":v2"), f"{first.removesuffix(':v1')}@{digest}"]
    document = as_json(policy, *names, "--jobs", "1")
    assert [item["decision"] for item in document["images"]] == ["admitted"] * 3
    assert sum("/referrers/" in path for path in registry.asked) == 1


def test_pods_manifests_and_lists(policy: Path, images: dict[str, str], tmp_path: Path) -> None:
    pods = {
        "kind": "PodList",
        "items": [
            {
                "metadata": {"name": f"p{number}", "namespace": f"team-{number % 2}"},
                "spec": {"containers": [{"name": "c", "image": images["low"]}]},
            }
            for number in range(4)
        ],
    }
    (tmp_path / "list.txt").write_text(f"{images['high']}\n")
    manifest = {"kind": "Pod", "metadata": {"name": "x"}, "spec": {"containers": [{"image": images["bare"]}]}}
    write_yaml(tmp_path / "pod.yaml", manifest)
    document = as_json(
        policy, "--pods", "-", "--images", tmp_path / "list.txt", "--manifests", tmp_path / "pod.yaml",
        stdin=json.dumps(pods).encode(),
    )  # fmt: skip
    assert (document["summary"]["images"], document["summary"]["places"]) == (3, 6)
    assert set(document["summary"]["namespaces"]) == {"team-0", "team-1", "(no namespace)"}
    sarif = json.loads(audit(policy, "--manifests", tmp_path / "pod.yaml", "--format", "sarif").out)
    location = sarif["runs"][0]["results"][0]["locations"][0]["physicalLocation"]
    assert location["artifactLocation"]["uri"] == str(tmp_path / "pod.yaml")
    assert location["region"]["startLine"] == 6


APP = {
    "apiVersion": "example.com/v1", "kind": "App", "metadata": {"name": "t"},
    "spec": {"steps": [{"name": "s", "image": "registry.example/unread:1"}]},
}  # fmt: skip


def test_a_kind_that_is_not_looked_at_is_named(policy: Path, images: dict[str, str], tmp_path: Path) -> None:
    write_yaml(tmp_path / "app.yaml", APP)
    sources = ("--manifests", tmp_path, images["high"])
    done = audit(policy, *sources, "--fail-on", "denied")
    assert "incomplete: 1 App of example.com/v1: not looked at, for it names images" in done.out
    assert done.status == Status.ADMITTED
    assert audit(policy, *sources, "--fail-on", "undecided").status == Status.UNDECIDED


def test_an_audit_that_found_no_image_is_no_success(policy: Path, tmp_path: Path) -> None:
    write_yaml(tmp_path / "app.yaml", APP)
    state = tmp_path / "a.db"
    done = audit(policy, "--manifests", tmp_path, "-o", tmp_path / "report")
    assert (done.status, done.out, done.err.count("\n")) == (Status.USAGE, "", 1)
    assert "no image was found, so nothing was audited (1 App of example.com/v1: not looked at" in done.err
    assert not (tmp_path / "report").exists()
    assert audit(policy, "--pods", "-", stdin=b'{"items": []}').status == Status.USAGE
    pods = ("--pods", "-", "--allow-empty", "--state", state)
    assert audit(policy, *pods, stdin=b'{"items": []}').status == Status.ADMITTED
    assert "no image was found" in cli("audit", "merge", state).err
    assert cli("audit", "merge", state, "--allow-empty").status == Status.ADMITTED


def test_one_shard_of_several_may_be_empty(policy: Path, images: dict[str, str]) -> None:
    counts = [as_json(policy, images["high"], "--shard", f"{i}/3")["summary"]["images"] for i in range(3)]
    assert sorted(counts) == [0, 0, 1]


def test_a_registry_is_audited_whole(policy: Path, registry: SlowRegistry, images: dict[str, str]) -> None:
    document = as_json(policy, "--registry", registry.host)
    assert {item["image"] for item in document["images"]} == set(images.values()) - {images["gone"]}
    one = as_json(policy, "--registry", images["low"].removesuffix(":v1"))
    assert [item["image"] for item in one["images"]] == [images["low"]]


def test_a_pods_image_that_is_none_is_denied_and_not_the_end(policy: Path, images: dict[str, str]) -> None:
    pods = {
        "items": [
            {
                "spec": {
                    "containers": [{"name": "a", "image": "NOT ONE"}, {"name": "b", "image": images["high"]}]
                }
            }
        ]
    }
    document = as_json(policy, "--pods", "-", stdin=json.dumps(pods).encode())
    assert [(item["decision"], item["reason"]) for item in document["images"]] == [
        ("denied", "ARTIFACT_INVALID"),
        ("admitted", "VERIFIED"),
    ]


def test_names_that_are_no_unicode_are_no_defect(
    policy: Path, images: dict[str, str], tmp_path: Path
) -> None:
    pods = {"items": [{"metadata": {"name": "\ud800"}, "spec": {"containers": [{"image": "a\ud800:1"}]}}]}
    document = as_json(policy, "--pods", "-", "--shard", "0/1", stdin=json.dumps(pods).encode())
    assert [(item["decision"], item["image"]) for item in document["images"]] == [("denied", "a\\ud800:1")]
    folder = tmp_path / "manifests"
    folder.mkdir()
    (folder / os.fsdecode(b"caf\xe9.yaml")).write_text(
        json.dumps({"kind": "Pod", "spec": {"containers": [{"image": images["high"]}]}})
    )
    document = as_json(policy, "--manifests", folder)
    assert document["images"][0]["uses"][0]["source"].endswith("caf\\udce9.yaml")


@pytest.mark.parametrize(
    ("names", "fail_on", "status"),
    [
        (["high"], "undecided", Status.ADMITTED),
        (["low", "gone"], "never", Status.ADMITTED),
        (["low", "gone"], "denied", Status.DENIED),
        (["gone"], "denied", Status.ADMITTED),
        (["gone"], "undecided", Status.UNDECIDED),
        (["low", "gone"], "undecided", Status.DENIED),
    ],
)
def test_what_is_a_failure_is_for_the_caller_to_say(
    policy: Path, images: dict[str, str], names: list[str], fail_on: str, status: Status
) -> None:
    assert audit(policy, *(images[name] for name in names), "--fail-on", fail_on).status == status


def test_the_table(policy: Path, images: dict[str, str]) -> None:
    done = audit(policy, *images.values())
    assert f"✗ DENIED LEVEL_TOO_LOW {images['low']}\n    found SLSA_SOURCE_LEVEL_1, expected " in done.out
    assert f"! UNDECIDED REGISTRY_NOT_FOUND {images['gone']}" in done.out
    assert images["high"] not in done.out
    lines = done.out.splitlines()
    assert "4 images in 4 places, policy verifier-slsa" in lines
    assert "  SLSA_SOURCE_LEVEL_1         2         1         1" in lines
    assert "       1 LEVEL_TOO_LOW: The source level is lower than expected." in lines


def test_a_state_goes_on_where_it_was(policy: Path, registry: SlowRegistry, tmp_path: Path) -> None:
    steady, flaky = push(registry, "steady/app", "v1", LEVEL_3), push(registry, "flaky/app", "v1", LEVEL_3)
    state = tmp_path / "audit.db"
    registry.broken = True
    first = as_json(policy, steady, flaky, "--state", state, "--timeout", "500ms")
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


def test_a_verifier_of_another_track_keeps_its_demands(
    tmp_path: Path, registry: SlowRegistry, images: dict[str, str]
) -> None:
    source = verifier("source", spec={"parameters": parameters(2)})
    tags = parameters(expectedVerifiedLevels=["TAG_HYGIENE"])
    other = verifier("tags", spec={"artifactTypes": "org/tags", "parameters": tags})
    image = registry.push_image("shop/two", "v1")
    registry.attach("shop/two", image, ARTIFACT_TYPE, [LEVEL_3.read_bytes()])
    registry.attach("shop/two", image, "org/tags", [LEVEL_3.read_bytes()])
    asked: list[tuple[str, ...]] = []
    whole = Checker.image

    def image_of(self: Checker, text: str) -> Any:
        asked.extend(check.policy.levels for check in self.checks if check.resource.name == "tags")
        return whole(self, text)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checker, "image", image_of)
        document = as_json(write_yaml(tmp_path / "two.yaml", source, other), f"{registry.host}/shop/two:v1")
    assert list(document["images"][0]["levels"].values()) == ["admitted"] * 3 + ["denied"]
    assert set(asked) == {("TAG_HYGIENE",)}


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


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "there is nothing to audit"),
        (["a/b", "--shard", "3/3"], "--shard 3/3: expected I/N"),
        (["a/b", "--shard", "x"], "expected I/N"),
        (["a/b", "--shard", "²/4"], "expected I/N"),
        (["a/b", "--shard", "0/" + "9" * 5000], "expected I/N"),
        (["NO IMAGE"], "the argument: "),
        (["--images", "-", "--pods", "-"], "standard input can only be one of"),
        (["--images", "/nowhere"], "cannot be read"),
        (["a/b", "--jobs", "0"], "not in the range"),
        (["a/b", "--state", "/nowhere/x.db"], "cannot be used"),
        (["merge"], "Missing argument"),
    ],
)
def test_misuse(policy: Path, arguments: list[str], expected: str) -> None:
    done = cli("audit", *arguments) if arguments[:1] == ["merge"] else audit(policy, *arguments)
    assert (done.status, done.out, done.err.count("\n")) == (Status.USAGE, "", 1)
    assert expected in done.err


def test_a_report_that_cannot_be_written_leaves_the_one_before(
    policy: Path, images: dict[str, str], tmp_path: Path
) -> None:
    report = tmp_path / "report.html"
    report.write_text("before")
    done = audit(policy, images["high"], "-o", tmp_path / "no" / "report.html", "--format", "html")
    assert (done.status, f"there is no folder {tmp_path / 'no'}" in done.err) == (Status.USAGE, True)
    assert audit(policy, images["high"], "-o", report, "--format", "html").status == Status.ADMITTED
    assert report.read_text().startswith("<!doctype html>")
    assert sorted(path.name for path in tmp_path.glob("report*")) == ["report.html"]


def test_where_the_report_goes_is_tried_before_the_audit(
    policy: Path, registry: SlowRegistry, images: dict[str, str], tmp_path: Path
) -> None:
    registry.asked.clear()
    assert audit(policy, images["high"], "-o", tmp_path / "no" / "report.html").status == Status.USAGE
    assert registry.asked == []
    report, link = tmp_path / "report.txt", tmp_path / "link.txt"
    report.write_text("before")
    link.symlink_to(report)
    # An audit that fails leaves the report before, and nothing else.
    assert audit(policy, "NO IMAGE", "-o", link).status == Status.USAGE
    assert report.read_text() == "before"
    assert audit(policy, images["high"], "-o", link).status == Status.ADMITTED
    assert link.is_symlink()
    assert report.read_text().startswith("1 images in 1 places")
    assert not list(tmp_path.glob("*.part"))
    assert audit(policy, images["high"], "-o", "/dev/null").status == Status.ADMITTED


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


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_ctrl_c_keeps_what_is_done_and_the_audit_resumes(
    policy: Path, registry: SlowRegistry, tmp_path: Path
) -> None:
    quick = [push(registry, f"shop/app{number}", "v1", LEVEL_3) for number in range(4)]
    slow = push(registry, "slow/app", "v1", LEVEL_3)
    state = tmp_path / "audit.db"
    registry.go_on.clear()
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
    assert time.monotonic() - started < 10
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


def test_a_defect_in_one_image_is_not_the_end(
    policy: Path, images: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = auditing.Auditor._look

    def breaks(self: auditing.Auditor, image: str) -> Any:
        if "/low" in image:
            raise ZeroDivisionError
        return whole(self, image)

    monkeypatch.setattr(auditing.Auditor, "_look", breaks)
    document = as_json(policy, images["low"], images["high"])
    assert [(item["decision"], item["reason"]) for item in document["images"]] == [
        ("undecided", "INTERNAL_ERROR"),
        ("admitted", "VERIFIED"),
    ]
    assert "ZeroDivisionError" in document["images"][0]["message"]


def test_the_progress_bar_is_for_terminals_only(policy: Path, images: dict[str, str]) -> None:
    done = cli("audit", "--policy", policy, "--plain-http", images["high"], images["low"], terminal=True)
    shown = re.sub("\033\\[[0-9;?]*[a-zA-Z]", "", done.err)
    assert f"2/2 {'━' * 24} 1 admitted 1 denied 0 undecided" in shown
    # The cursor is back where the bar began, and the line is empty: the report comes in its place.
    assert done.err.endswith("\r\033[1A\033[2K")
    assert audit(policy, images["high"]).err == ""


def test_workers_hand_on_what_ends_them() -> None:
    def work(image: str) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(auditing.Workers(work, ["a"], 2).rows())


def test_an_incomplete_state_is_reported_as_such(
    policy: Path, images: dict[str, str], tmp_path: Path
) -> None:
    state = tmp_path / "a.db"
    as_json(policy, images["high"], "--state", state)
    with AuditState(state) as kept:
        kept.add_uses([Use("registry.example/not-yet")])
        assert [row.decision for row in kept.rows()] == [Decision.ADMITTED]
    done = cli("audit", "merge", state)
    assert "1 more have not been looked at yet" in done.out
    page = cli("audit", "merge", state, "--format", "html").out
    assert "Incomplete: 1 image not looked at yet." in page


def peak_kilobytes(pid: int) -> int:
    """Return the most memory that a process has had since it began its program, 0 where it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)


def test_memory_stays_bounded_whatever_the_number_of_images(policy: Path, registry: SlowRegistry) -> None:
    image = push(registry, "shop/app", "v1", LEVEL_3)
    pods = {
        "items": [
            {
                "metadata": {"namespace": f"n{n % 50}", "name": f"p{n}"},
                "spec": {"containers": [{"name": "c", "image": image}]},
            }
            for n in range(20_000)
        ]
    }
    child = subprocess.Popen(
        [*PROGRAM, "audit", "--policy", policy, "--plain-http", "--pods", "-", "--format", "html"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        cwd=ROOT,
    )
    assert child.stdin is not None
    with child.stdin as stdin:
        stdin.write(json.dumps(pods).encode())
    # Not wait4's ru_maxrss: that begins with what pytest, which started it, had.
    peak = 0
    while child.poll() is None:
        peak = max(peak, peak_kilobytes(child.pid))
        time.sleep(0.005)
    assert child.returncode == Status.ADMITTED
    assert 0 < peak < 200 * 1024
