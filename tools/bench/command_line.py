"""Rows of the table on the command line: an audit against cosign in a shell loop, and how soon help and completion are there."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from slsa_verifier_plugin.cli.main import COMPLETION_VARIABLE
from slsa_verifier_plugin.model.digest import Descriptor, Digest
from slsa_verifier_plugin.registry.manifests import MANIFEST_TYPE
from slsa_verifier_plugin.registry.push import Pusher
from slsa_verifier_plugin.registry.reference import Reference
from tests.e2e.peers import peer
from tests.support.sigstore import github_source_actions, vsa
from tools.bench.measure import Spread
from tools.bench.rows import Bench
from tools.bench.scene import RESOURCE

PLACES, DIGESTS, LOOP = 2000, 200, 100
"""Places that use an image, distinct images, and images of cosign's loop."""
BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
REPOSITORY = "bench/audit"
COMMAND = Path(sys.executable).with_name("slsa-verifier-plugin")
CALLS = 20


def audit(bench: Bench) -> str:
    """2,000 places of 200 digests audited, against cosign verify-attestation on 100 of the same images, one after another."""
    images = _push(bench, DIGESTS)
    pods = bench.scene.folder / "pods.json"
    pods.write_text(
        json.dumps({"kind": "PodList", "items": [_pod(n, images[n % DIGESTS]) for n in range(PLACES)]})
    )
    ours = _audit(bench, pods)
    started = time.perf_counter()
    for image in images[:LOOP]:
        _cosign(bench, image)
    theirs = LOOP / (time.perf_counter() - started)
    rate = PLACES / ours["wall"]
    return (
        f"{rate:.0f} images/s ({DIGESTS / ours['wall']:.0f} digests/s), CPU {ours['cpu']:.1f} s, {ours['rss']:.0f} MiB; "
        f"cosign {theirs:.1f} images/s: {rate / theirs:.0f} times as many ({DIGESTS / ours['wall'] / theirs:.0f} by digests)"
    )


def quick(bench: Bench) -> str:
    """Help and completion, beside a bare interpreter."""
    words = {COMPLETION_VARIABLE: "bash_complete", "COMP_WORDS": "x verify --", "COMP_CWORD": "2"}
    commands: Mapping[str, tuple[list[str], dict[str, str]]] = {
        "bare interpreter": ([sys.executable, "-c", ""], {}),
        "--help": ([str(COMMAND), "--help"], {}),
        "completion": ([str(COMMAND), "--help"], words),
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(CALLS):
        for name, (command, more) in commands.items():
            started = time.perf_counter()
            subprocess.run(
                command,
                env={**os.environ, **more},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                check=True,
            )
            times[name].append(time.perf_counter() - started)
    return ", ".join(f"{name} {statistics.median(item) * 1000:.0f} ms" for name, item in times.items())


def verify(bench: Bench) -> str:
    """``verify`` of one image: by a resident verifier that has seen it, by a process of its own, and by cosign."""
    (image,) = _push(bench, 1)
    command = [str(COMMAND), "verify", image, *_demands(bench)]
    environ = {"PATH": os.environ["PATH"], "HOME": str(bench.scene.folder)}
    ways = {"warm": environ, "cold": {**environ, "SLSA_VERIFIER_RESIDENT": "off"}}
    times: dict[str, list[float]] = {name: [] for name in (*ways, "cosign")}
    subprocess.run([COMMAND, "resident", "start"], env=environ, stdout=subprocess.DEVNULL, check=True)
    try:
        # Not measured: the verifier imports what only this command needs, and each program is read from the disk.
        for way in ways.values():
            subprocess.run(command, env=way, stdout=subprocess.DEVNULL, check=True)
        for _ in range(CALLS):
            for name, way in ways.items():
                started = time.perf_counter()
                subprocess.run(command, env=way, stdout=subprocess.DEVNULL, check=True)
                times[name].append(time.perf_counter() - started)
            started = time.perf_counter()
            _cosign(bench, image)
            times["cosign"].append(time.perf_counter() - started)
    finally:
        subprocess.run([COMMAND, "resident", "stop"], env=environ, stdout=subprocess.DEVNULL, check=True)
    return ", ".join(f"{name} {Spread.of(item).shown(1000, 0)} ms" for name, item in times.items())


def _push(bench: Bench, count: int) -> list[str]:
    """Push images, each with a bundle in the form that cosign finds; return their names."""
    target = Reference.parse(f"{bench.scene.address}/{REPOSITORY}")
    images = []
    with Pusher(target, True, None, {}) as pusher:
        for number in range(count):
            image = _manifest(
                pusher, json.dumps({"number": number}).encode(), "application/vnd.oci.image.config.v1+json"
            )
            pusher.manifest(image, MANIFEST_TYPE, str(Digest.of(image)))
            subject = Descriptor(MANIFEST_TYPE, Digest.of(image), len(image))
            commit = f"{800_000 + number:040x}"
            # cosign wants the image's digest among the subjects.
            summary = vsa(
                commit,
                levels=["SLSA_SOURCE_LEVEL_3"],
                changes={"subject.0.digest.sha256": subject.digest.hex},
            )
            bundle = bench.scene.lab.sign(summary, github_source_actions(commit=commit))
            config = "application/vnd.oci.empty.v1+json"
            attached = _manifest(pusher, b"{}", config, [bundle], subject)
            pusher.attach(subject, attached, BUNDLE_TYPE, {})
            images.append(f"{target.name}@{subject.digest}")
    return images


def _manifest(
    pusher: Pusher,
    config: bytes,
    kind: str,
    layers: list[bytes] | None = None,
    subject: Descriptor | None = None,
) -> bytes:
    value: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": {"mediaType": kind, "digest": str(pusher.blob(config)), "size": len(config)},
        "layers": [
            {"mediaType": BUNDLE_TYPE, "digest": str(pusher.blob(layer)), "size": len(layer)}
            for layer in layers or []
        ],
    }
    if subject is not None:
        value["artifactType"] = BUNDLE_TYPE
        value["subject"] = {
            "mediaType": subject.media_type,
            "digest": str(subject.digest),
            "size": subject.size,
        }
        value["annotations"] = {
            "dev.sigstore.bundle.content": "dsse-envelope",
            "dev.sigstore.bundle.predicateType": "https://slsa.dev/verification_summary/v1",
        }
    return json.dumps(value).encode()


def _pod(number: int, image: str) -> dict[str, Any]:
    metadata = {"name": f"pod-{number}", "namespace": f"team-{number % 20}"}
    return {"kind": "Pod", "metadata": metadata, "spec": {"containers": [{"name": "app", "image": image}]}}


def _audit(bench: Bench, pods: Path) -> dict[str, float]:
    command = [str(COMMAND), "audit", "--pods", str(pods), "--plain-http", "--json"]
    command += [*_demands(bench), "--timeout", "60s"]
    environ = {"PATH": os.environ["PATH"], "HOME": str(bench.scene.folder)}
    report = bench.scene.folder / "audit.json"
    with report.open("wb") as file:
        started = time.perf_counter()
        child = subprocess.Popen(command, env=environ, stdin=subprocess.DEVNULL, stdout=file)
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - started
    child.returncode = os.waitstatus_to_exitcode(status)
    found = json.loads(report.read_bytes())["summary"]["asItStands"]
    if child.returncode != 0 or found != {"admitted": DIGESTS, "denied": 0, "undecided": 0}:
        raise SystemExit(f"the audit did not admit everything: status {child.returncode}, {found}")
    return {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "rss": usage.ru_maxrss / 1024}


def _demands(bench: Bench) -> list[str]:
    demands = ["--level", "SLSA_SOURCE_LEVEL_2", "--resource-uri", RESOURCE, "--artifact-type", BUNDLE_TYPE]
    return [*demands, "--trusted-root", str(bench.scene.trusted_root)]


def _cosign(bench: Bench, image: str) -> None:
    command = [
        str(peer("cosign")),
        "verify-attestation",
        "--allow-http-registry",
        f"--trusted-root={bench.scene.trusted_root}",
        "--certificate-identity-regexp=.*",
        "--certificate-oidc-issuer-regexp=.*",
        "--check-claims=false",
        "--type=https://slsa.dev/verification_summary/v1",
        "--output=text",
        image,
    ]
    environ = {"PATH": os.environ["PATH"], "HOME": str(bench.scene.folder)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        raise SystemExit(f"cosign did not verify {image}: {done.stderr[-1000:]}")


ROWS: dict[str, tuple[str, Callable[[Bench], str]]] = {
    "audit": ("30 times cosign, 200 MiB", audit),
    "verify, one image": ("warm 250 ms, cold 800 ms", verify),
    "help, completion": ("80 ms where bare is 10", quick),
}
"""The rows by name: target and measurement."""
