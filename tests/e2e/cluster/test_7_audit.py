"""docs/operations/audit.md as it stands: from deploy/audit to the report; containers run as their Pods would run them."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.cluster.conftest import Say
from tests.e2e.cluster.images import NONROOT
from tests.e2e.cluster.kube import Object
from tests.e2e.cluster.kubelet import Volumes, container_script, make_mount_points
from tests.e2e.cluster.lab import Lab
from tests.e2e.cluster.page import Reader, Step, steps
from tests.e2e.cluster.reading import follow, prepare
from tests.e2e.shared import REPOSITORY
from tests.support.registries import BasicRegistry

PAGE = REPOSITORY / "docs" / "operations" / "audit.md"
NAMESPACE, JOB = "slsa-audit", "slsa-audit"
USER, PASSWORD = "auditor", "a-word-that-no-report-has"
_ADDED = "batch.kubernetes.io/job-completion-index"

pytestmark = pytest.mark.through("provider")


@pytest.fixture
def private() -> Iterator[BasicRegistry]:
    """A registry that wants a login."""
    with BasicRegistry({USER: PASSWORD}) as running:
        yield running


def _docker_config(folder: Path, registry: str) -> Path:
    secret = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"auths": {registry: {"auth": secret}}}))
    return folder


def _pods(lab: Lab, job: str) -> list[Object]:
    return list(lab.kubectl.get("pods", "-n", NAMESPACE, "-l", f"job-name={job}")["items"])


def _run(lab: Lab, pod: Object, state: Path) -> str:
    """Run the one container of a Job's Pod, and say of the Pod what a kubelet says; returns its log.

    Args:
        lab: the cluster.
        pod: as the Job's controller made it.
        state: the volume that is claimed.
    """
    name, spec = pod["metadata"]["name"], pod["spec"]
    (container,) = spec["containers"]
    assert spec["automountServiceAccountToken"] is False
    folder = lab.work / name
    rootfs = lab.provider.images.copy(lab.provider.image, folder)
    volumes = Volumes(lab.kubectl, NAMESPACE, spec, lab.work / f"{name}-volumes")
    mounts = volumes.mounts() | {"state": state, "etc/hosts": Path("/etc/hosts")}
    make_mount_points(rootfs, mounts)
    index = pod["metadata"].get("annotations", {}).get(_ADDED, "")
    words = [
        word.replace("$(JOB_COMPLETION_INDEX)", index) for word in (*container["command"], *container["args"])
    ]
    environment = {one["name"]: one["value"] for one in container.get("env", ()) if "value" in one}
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", container_script(rootfs, mounts, words, read_only=True)],
        env={"HOME": "/home/nonroot", "PATH": "/usr/bin:/bin", **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        # A Pod's log has both.
        stderr=subprocess.STDOUT,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    patch = json.dumps({"status": {"phase": "Succeeded"}})
    lab.kubectl.run(
        "patch", "pod", name, "-n", NAMESPACE, "--subresource=status", "--type=merge", "-p", patch
    )
    return done.stdout


def _until_pods(lab: Lab, job: str, count: int) -> list[Object]:
    lab.kubectl.until(
        str(count), "get", "job", job, "-n", NAMESPACE, "-o", "jsonpath={.status.active}", seconds=60
    )
    found = _pods(lab, job)
    assert len(found) == count
    return found


def test_the_page_word_for_word(
    lab: Lab, reader: Reader, elsewhere: str, private: BasicRegistry, level_3: bytes, say: Say, tell: Say
) -> None:
    """docs/operations/audit.md as it stands: images of the cluster's Pods, a registry with a login, four shards, the report"""
    prepare(lab, reader)
    login = _docker_config(lab.work / "login", private.host)
    push = Step(
        f"DOCKER_CONFIG={login} slsa-verifier-plugin demo --push {private.host} -o {lab.work}/pushed", "…"
    )
    reader.type(push)
    admitted = lab.image("audited", level_3)
    named = [admitted, *(f"{private.host}/slsa-demo:{tag}" for tag in ("level-1", "level-3", "unattested"))]
    for image in named:
        outcome = lab.create(lab.pod(image), elsewhere)
        assert outcome.admitted, outcome.text
    state = lab.work / "audit-state"
    state.mkdir()
    os.chown(state, NONROOT, NONROOT)
    parts = _parts(list(steps(PAGE.read_text("utf-8"))))
    printed, left = follow(lab, reader, parts["until the wait"])
    # What the page leaves to its reader: the login, of a registry with another name here.
    secret = ("create", "secret", "docker-registry", "slsa-audit-registry", "-n", NAMESPACE)
    lab.kubectl.run(
        *secret,
        f"--docker-server={private.host}",
        f"--docker-username={USER}",
        f"--docker-password={PASSWORD}",
    )
    try:
        logs = _shards(lab, state)
        more, also_left = follow(lab, reader, parts["until the merge's wait"])
        (pod,) = _until_pods(lab, f"{JOB}-merge", 1)
        report = _run(lab, pod, state)
        last, left_last = follow(lab, reader, parts["the rest"])
    finally:
        # The namespace stays: nobody here takes the finalizer of its volume away, and it would be ending for ever.
        lab.kubectl.run("delete", "jobs", "--all", "-n", NAMESPACE, "--wait=false")
    assert report.startswith(("<!DOCTYPE html>", "<!doctype html>")), report[:200]
    # The page marks where a long word may break.
    text = report.replace("<wbr>", "")
    for image in named:
        assert image in text, image
    assert PASSWORD not in report + "".join(logs)
    assert "NO_ATTESTATION" in text, "the login was used: an image there was looked at"
    assert "REGISTRY_UNAUTHORIZED" not in text
    for line in (*left, *also_left, *left_last):
        tell(line)
    say(
        f"{len(printed | more | last)} commands, report of {len(report) // 1024} KiB about {len(logs)} shards"
    )


def _shards(lab: Lab, state: Path) -> list[str]:
    pods = _until_pods(lab, JOB, 4)
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda pod: _run(lab, pod, state), pods))


def _parts(all_steps: list[Step]) -> Mapping[str, list[Step]]:
    """Return the page's commands, in pieces that end where its reader waits for Pods."""
    first, second = (number for number, one in enumerate(all_steps) if one.command.startswith("kubectl wait"))
    return {
        "until the wait": all_steps[:first],
        "until the merge's wait": all_steps[first:second],
        "the rest": all_steps[second:],
    }


def test_the_audits_own_image_is_exempt_by_its_digest(
    lab: Lab, reader: Reader, elsewhere: str, say: Say
) -> None:
    """under the hardened constraint the audit's image is denied, and admitted after the page's line, which exempts its digest"""
    prepare(lab, reader)
    (exempt,) = [one for one in steps(PAGE.read_text("utf-8")) if "exemptImages" in one.command]
    (job,) = [thing for thing in lab.kustomize("audit/job") if thing["kind"] == "Job"]
    registry = next(there for there in reader.names if there.startswith("localhost"))
    (container,) = job["spec"]["template"]["spec"]["containers"]
    image = container["image"].replace(lab.registry, registry)
    other = lab.image("other")
    lab.apply("gatekeeper/hardened")
    try:
        denied = lab.run(image, elsewhere)
        assert not denied.admitted
        assert "NO_ATTESTATION" in denied.text, denied.text
        reader.type(
            Step(exempt.command, "…ratifyverification.constraints.gatekeeper.sh/ratify-constraint patched")
        )
        pod = lab.pod(image)
        lab.kubectl.until("created", "run", "audit", f"--image={image}", "-n", elsewhere)
        stored = lab.kubectl.get("pod", "audit", "-n", elsewhere)["spec"]["containers"][0]["image"]
        assert stored.partition("@")[2] == lab.provider.image.partition("@")[2]
        assert pod["spec"]["containers"][0]["image"] == image
        assert not lab.run(other, elsewhere).admitted, "the exemption is for that one"
    finally:
        lab.apply("gatekeeper/mutation", "gatekeeper/demo")
    say(f"{stored} alone")
