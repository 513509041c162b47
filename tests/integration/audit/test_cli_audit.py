"""``audit`` against a registry in memory: what it finds, how it goes on after an interrupt, and every form of its report."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from slsa_verifier_plugin.audit import auditor as auditing
from slsa_verifier_plugin.checking.decider import Decider
from slsa_verifier_plugin.checking.status import Status
from tests.support.auditing import APP, LEVELS, PROGRAM, SlowRegistry, as_json, audit, push
from tests.support.command_line import (
    ARTIFACT_TYPE,
    LEVEL_3,
    ROOT,
    cli,
    parameters,
    verifier,
    write_yaml,
)
from tests.support.processes import number_in_status


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
    whole = Decider.image

    def image_of(self: Decider, text: str) -> Any:
        asked.extend(check.policy.levels for check in self.verifiers if check.resource.name == "tags")
        return whole(self, text)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Decider, "image", image_of)
        document = as_json(write_yaml(tmp_path / "two.yaml", source, other), f"{registry.host}/shop/two:v1")
    assert list(document["images"][0]["levels"].values()) == ["admitted"] * 3 + ["denied"]
    assert set(asked) == {("TAG_HYGIENE",)}


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
        (["a/b", "--state", "/nowhere/x.db"], "there is no folder for it"),
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
    assert report.read_text().startswith("1 image in 1 place,")
    assert not list(tmp_path.glob("*.part"))
    assert audit(policy, images["high"], "-o", "/dev/null").status == Status.ADMITTED


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


def peak_kilobytes(pid: int) -> int:
    """Return the most memory that a process has had since it began its program, 0 where it has ended."""
    return number_in_status(pid, "VmHWM")


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
