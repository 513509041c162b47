"""The lab's reader of docs/operations: a clone with its settings filled in, and what a cluster's nodes would do meanwhile."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from tests.e2e.cluster import bring_up, builds
from tests.e2e.cluster.lab import Lab
from tests.e2e.cluster.page import Reader, Step, section, steps
from tests.e2e.shared import REPOSITORY
from tests.support.typing_person import installed

PAGE = REPOSITORY / "docs" / "operations" / "install.md"
BEFORE, DIRECT, RATIFY = "Before either: what is yours", "Without Ratify", "With Ratify"
SOURCE = "git+https://github.com/DahuK/slsa-attestation-action-demo"


def new_reader(lab: Lab) -> Reader:
    """Somebody with a clone of the project who has filled in its settings, and with an administrator's kubectl."""
    folder = lab.work / "clone"
    folder.mkdir()
    shutil.copytree(REPOSITORY / "deploy", folder / "deploy", symlinks=True)
    port = lab.registry.rpartition(":")[2]
    # The command line speaks plain HTTP to this machine by itself, as the registry of the test wants it.
    registry = f"localhost:{port}/first"
    settings = {
        "REGISTRY": registry,
        "SOURCE": SOURCE,
        "NAMESPACES": '"default kagent"',
        "BASE": f"{lab.registry}/static:nonroot",
    }
    file = folder / "deploy" / "settings.env"
    text = file.read_text()
    for name, value in settings.items():
        text, count = re.subn(rf"^{name}=.*$", f"{name}={value}", text, flags=re.MULTILINE)
        assert count == 1, name
    file.write_text(text)
    environment = {
        **installed(folder, folder),
        "KUBECONFIG": str(lab.plane.folder / "admin.kubeconfig"),
        "CRANE": f"{lab.programs['crane']} --insecure",
        "PLUGIN": os.environ[builds.PLUGIN],
    }
    names = {registry: "localhost:5000/first", SOURCE: "git+https://github.com/OWNER/REPOSITORY"}
    return Reader(folder, {**names, "Pods of default kagent": "Pods of default"}, environment)


def follow(lab: Lab, reader: Reader, steps: Iterable[Step]) -> tuple[dict[str, str], list[str]]:
    """Have the reader type each command; a kubelet's part is played meanwhile. Returns outputs, and what was left out."""
    printed, left = {}, []
    for step in steps:
        if step.left_out:
            left.append(f"left out: {step.command} ({step.left_out})")
        elif "certificates.sh" in step.command or "rollout status" in step.command:
            with ThreadPoolExecutor(1) as aside:
                running = aside.submit(reader.type, step)
                lab.provider.await_secret()
                lab.provider.kill()
                lab.provider.start()
                while not running.done():
                    lab.provider.mark_ready()
                printed[step.command] = running.result()
        else:
            printed[step.command] = reader.type(step)
        if step.command.startswith("deploy/configure.sh"):
            # What the machine dictates: plain HTTP, an address by hand.
            bring_up.fit(reader.folder / "mine")
    return printed, left


def prepare(lab: Lab, reader: Reader) -> None:
    """Have the reader's manifests and images made where no check before this one has: some checks are run alone."""
    needed = ["set -a"]
    if not (reader.folder / "mine").exists():
        needed.append("deploy/configure.sh")
    if not (reader.folder / "slsa-demo").exists():
        needed += ["deploy/image/build.sh", "slsa-verifier-plugin demo"]
    before = steps(section(PAGE, BEFORE, DIRECT))
    follow(lab, reader, [one for one in before if one.command.startswith(tuple(needed))])
