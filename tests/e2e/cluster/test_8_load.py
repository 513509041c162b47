"""A hundred Pods at once, beside a plugin that only answers."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.cluster.builds import program
from tests.e2e.cluster.conftest import Say
from tests.e2e.cluster.images import NONROOT
from tests.e2e.cluster.lab import Lab
from tests.e2e.cluster.load import IMAGES, PODS, Burst, beside, burst, push_images, put_plugin
from tests.e2e.cluster.ratify import Setting
from tests.e2e.cluster.repack import repacked

PAIRS = 5
TARGET_SHARE = 0.7
"""Of the rate with a plugin that only answers; printed with what was measured."""
LEAST_SHARE = 0.45
"""Below this something is broken (a process for each call has 0.02), however busy the machine is."""


def _resident(lab: Lab, executable: Path, *words: str) -> str:
    """Run ``resident`` of a build as Ratify's user and with its environment (``docs/operations/upgrade.md``)."""
    part = beside(lab, executable)
    (ratify,) = [entry for entry in lab.ratify.container() if (entry / "comm").read_text() == "ratify\n"]
    entries = (ratify / "environ").read_bytes().decode().split("\0")
    enter = [f"--target={ratify.name}", "--mount", "--root", f"--setuid={NONROOT}", f"--setgid={NONROOT}"]
    done = subprocess.run(
        [shutil.which("nsenter") or "nsenter", *enter, f"/.ratify/plugins/{part.name}", "resident", *words],
        env=dict(entry.split("=", 1) for entry in entries if entry),
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    part.unlink()
    return done.stdout


def _accepted(lab: Lab, executable: Path) -> tuple[int, int]:
    """Return the process of a build's resident verifier, and how many calls it has taken on."""
    said = json.loads(_resident(lab, executable, "status", "--json"))
    return said["pid"], said["report"]["calls"]["accepted"]


@pytest.fixture
def uncached_setting(setting: Setting) -> Setting:
    """Ratify without its cache of verdicts: every Pod costs a call of the plugin."""
    return replace(setting, arguments=("--cache-enabled=false",))


@pytest.fixture
def uncached(bare_lab: Lab, uncached_setting: Setting, level_3: bytes) -> Lab:
    bare_lab.prepare(bare_lab.ratify, level_3, uncached_setting)
    return bare_lab


@pytest.mark.through("ratify")
def test_a_burst_with_the_caches_of_the_chart(lab: Lab, level_1: bytes, level_3: bytes, say: Say) -> None:
    """100 Pods of 20 images at once, settings of deploy/: every decision right, none by timeout"""
    result = burst(lab, push_images(lab, level_1, level_3), PODS, PODS)
    assert not result.wrong, result.wrong[:3]
    assert not result.late, result.late[:3]
    say(str(result))


def test_a_burst_in_which_every_pod_costs_a_call(
    uncached: Lab, plugin: Path, level_1: bytes, level_3: bytes, say: Say
) -> None:
    """100 Pods of 20 unseen images at once, a plugin call each: at least 0.7 of a plugin that only answers"""
    pairs: list[tuple[Burst, Burst]] = []
    memory = (0, 0)
    for number in range(PAIRS):
        images = push_images(uncached, level_1, level_3)

        def ours(images: dict[str, bool] = images) -> Burst:
            put_plugin(uncached, plugin)
            result = burst(uncached, images, PODS, PODS)
            assert not result.wrong, result.wrong[:3]
            assert not result.late, result.late[:3]
            return result

        def only_answering(images: dict[str, bool] = images) -> Burst:
            put_plugin(uncached, program("staticplugin"))
            result = burst(uncached, dict.fromkeys(images, True), PODS, PODS)
            assert not result.wrong, result.wrong[:3]
            return result

        # each goes first half of the time: what comes second finds the machine warmer
        if number % 2:
            second, first = only_answering(), ours()
        else:
            first, second = ours(), only_answering()
        pairs.append((first, second))
        memory = max(memory, uncached.ratify.memory(), key=lambda both: both[1])
    put_plugin(uncached, plugin)
    shares = sorted(mine.rate / static.rate for mine, static in pairs)
    share = statistics.median(shares)
    mine, static = min(pairs, key=lambda pair: abs(pair[0].rate / pair[1].rate - share))
    say(
        f"share {share:.2f}, target {TARGET_SHARE} (median of {PAIRS}, {shares[0]:.2f} to {shares[-1]:.2f}); ours {mine};"
        f" only answering {static}; our processes {memory[1]} MiB, Ratify {memory[0]} MiB"
    )
    assert share >= LEAST_SHARE


def test_the_plugin_is_replaced_under_load(
    uncached: Lab, plugin: Path, level_1: bytes, level_3: bytes, say: Say
) -> None:
    """while Pods are created, the plugin is replaced by a newer build and back: no wrong decision"""
    newer = repacked(plugin, uncached.work / "newer")
    both = (newer, plugin)
    for build in both:
        _resident(uncached, build, "start")
    before = [_accepted(uncached, build) for build in both]
    expected = push_images(uncached, level_1, level_3)
    results: list[Burst] = []

    def create() -> None:
        results.append(burst(uncached, expected, 2 * PODS, 8))

    creating = threading.Thread(target=create)
    creating.start()
    replaced = 0
    while creating.is_alive():
        put_plugin(uncached, both[replaced % 2])
        replaced += 1
        creating.join(1.0)
    (result,) = results
    assert replaced >= 2, "the plugin was not replaced while Pods were created"
    assert not result.wrong, result.wrong[:3]
    calls = []
    for build, (process, accepted) in zip(both, before, strict=True):
        now, total = _accepted(uncached, build)
        calls.append(total - accepted if now == process else total)
    assert all(calls), f"calls that the newer build and the older took on: {calls}"
    put_plugin(uncached, plugin)
    say(f"{replaced} replacements, {calls[0]} calls for the newer build, {calls[1]} for the older; {result}")


def test_a_burst_without_the_resident_verifier(
    bare_lab: Lab, uncached_setting: Setting, level_1: bytes, level_3: bytes, say: Say
) -> None:
    """the same burst with a process for each call, two at a time: right as well, and what it costs"""
    setting = replace(uncached_setting, variables={"SLSA_VERIFIER_RESIDENT": "off"})
    bare_lab.prepare(bare_lab.ratify, level_3, setting)
    result = burst(bare_lab, push_images(bare_lab, level_1, level_3), IMAGES, 2)
    assert not result.wrong, result.wrong[:3]
    say(str(result))
