"""The audit's Jobs, their command lines run as their Pods would run them."""

from __future__ import annotations

import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.cluster.conftest import Say
from tests.e2e.cluster.images import NONROOT
from tests.e2e.cluster.kube import Object
from tests.e2e.cluster.kubelet import container_script
from tests.e2e.cluster.lab import Lab


def _run(lab: Lab, rootfs: Path, job: Object, volumes: dict[str, Path], index: int, *more: str) -> str:
    """Run the container of the Job's Pod with that completion index; returns what it printed."""
    (container,) = job["spec"]["template"]["spec"]["containers"]
    command = [*container["command"], *container["args"], *more]
    command = [word.replace("$(JOB_COMPLETION_INDEX)", str(index)) for word in command]
    script = container_script(rootfs, volumes, command)
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script],
        env={"HOME": "/home/nonroot", "PATH": "/usr/bin:/bin"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _images(report: Object) -> list[str]:
    return [str(entry["image"]) for entry in report["images"]]


@pytest.mark.through("ratify")
@pytest.mark.parametrize("count", [8])
def test_shards_and_their_merge(lab: Lab, count: int, level_1: bytes, level_3: bytes, say: Say) -> None:
    """four shards of an Indexed Job audit the images once each, and the merge reports all of them"""
    images = [lab.image("audited", (level_1, level_3)[number % 2]) for number in range(count)]
    objects = {
        thing["metadata"]["name"]: thing
        for thing in lab.kustomize("audit/job")
        if thing["kind"] != "ConfigMap"
    }
    job = objects["slsa-audit"]
    (merge,) = lab.kustomize("audit/merge")
    folder = lab.work / "audit-job"
    rootfs = lab.ratify.images.copy(lab.ratify_image, folder)
    volumes = {}
    for name in ("config", "state", "tmp"):
        volumes[name] = lab.work / f"audit-job-{name}"
        volumes[name].mkdir()
        os.chown(volumes[name], NONROOT, NONROOT)
        (rootfs / name).mkdir(exist_ok=True)
    (volumes["config"] / "images.txt").write_text("".join(f"{image}\n" for image in images))
    policy = (lab.manifests / "audit" / "job" / "policy.yaml").read_text()
    (volumes["config"] / "policy.yaml").write_text(policy)
    (rootfs / "proc").mkdir()
    (rootfs / "etc" / "hosts").touch()
    volumes["etc/hosts"] = Path("/etc/hosts")
    completions = job["spec"]["completions"]

    def shard(index: int) -> Object:
        listed: Object = json.loads(_run(lab, rootfs, job, volumes, index, "--plain-http", "--json"))
        return listed

    with ThreadPoolExecutor(job["spec"]["parallelism"]) as pool:
        listed = list(pool.map(shard, range(completions)))
    found = sorted(name for shard in listed for name in _images(shard))
    assert found == sorted(images), "each image is in one shard"
    _run(lab, rootfs, merge, {name: volumes[name] for name in ("state", "tmp", "etc/hosts")}, 0)
    # The page marks where a long word may break.
    report = (volumes["state"] / "report.html").read_text().replace("<wbr>", "")
    for image in images:
        assert image.partition("@")[2] in report
    say(f"{completions} shards, {count} images, report of {len(report) // 1024} KiB")
