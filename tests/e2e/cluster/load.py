"""Many Pods at once: how fast they are decided, and whether each was decided right."""

from __future__ import annotations

import http
import os
import random
import shutil
import statistics
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.cluster.images import NONROOT
from tests.e2e.cluster.kube import Client
from tests.e2e.cluster.lab import Lab
from tests.e2e.oras import Oras

PODS = 100
IMAGES = 20

PODS_PATH = "/api/v1/namespaces/default/pods"
_LATE = ("deadline", "timed out", "time limit", "in time", "timeout")
"""What a denial says whose reason is time and not the image."""


@dataclass(frozen=True)
class Burst:
    """What became of Pods that were created at once.

    Attributes:
        seconds: from the first request to the last answer.
        latencies: of each Pod, in seconds, sorted.
        wrong: decisions that were not the expected ones, or not for the expected reason, with what was said.
        late: denials for lack of time.
    """

    seconds: float
    latencies: tuple[float, ...]
    wrong: tuple[str, ...]
    late: tuple[str, ...]

    @property
    def rate(self) -> float:
        """Pods a second."""
        return len(self.latencies) / self.seconds

    def __str__(self) -> str:
        half, most = self.percentile(50), self.percentile(99)
        return f"{self.rate:.0f} Pods/s, p50 {half * 1000:.0f} ms, p99 {most * 1000:.0f} ms"

    def percentile(self, percent: int) -> float:
        """Return the latency that so many percent of the Pods did not exceed, in seconds."""
        return statistics.quantiles(self.latencies, n=100, method="inclusive")[percent - 1]


def push_images(lab: Lab, level_1: bytes, level_3: bytes, count: int = IMAGES) -> dict[str, bool]:
    """Push new images, half of them of level 3 and half of level 1; returns which are to be admitted."""

    def push(number: int) -> tuple[str, bool]:
        name = lab.unique("load")
        folder = lab.work / name  # oras writes files where it runs
        folder.mkdir()
        oras = Oras(folder, {"HOME": str(folder), "PATH": "/usr/bin:/bin"})
        good = number % 2 == 0
        image = oras.push_image(f"{lab.registry}/{name}")
        oras.attach(image, level_3 if good else level_1)
        shutil.rmtree(folder)
        return image, good

    with ThreadPoolExecutor(4) as pool:
        return dict(pool.map(push, range(count)))


def put_plugin(lab: Lab, executable: Path) -> None:
    """Replace the plugin by a rename, as an upgrade does; its other name is a link to it."""
    beside(lab, executable).replace(lab.ratify.plugins / "slsa")


def beside(lab: Lab, executable: Path) -> Path:
    """Copy a build into the plugin directory under a name that Ratify does not call."""
    part = lab.ratify.plugins / ".slsa"
    shutil.copyfile(executable, part)
    os.chown(part, NONROOT, NONROOT)
    part.chmod(0o755)
    return part


def burst(lab: Lab, expected: Mapping[str, bool], pods: int, at_once: int) -> Burst:
    """Create ``pods`` Pods, spread evenly over the images, ``at_once`` of them at a time.

    Connections are opened before the clock starts, and the Pods are deleted after it stops.

    Args:
        expected: whether each image is to be admitted; one that is not has an attestation of level 1.
    """
    images = [image for image in expected for _ in range(pods // len(expected))]
    random.Random(0).shuffle(images)
    clients = threading.local()
    opened: list[Client] = []

    def open_connection() -> None:
        clients.own = lab.plane.client()
        opened.append(clients.own)
        clients.own.create(
            f"{PODS_PATH}?dryRun=All", {}
        )  # refused before admission, over a connection that stays
        ready.wait()

    def create(image: str) -> tuple[str, float, int, str]:
        started = time.monotonic()
        status, said = clients.own.create(PODS_PATH, lab.pod(image, lab.unique("burst")))
        return image, time.monotonic() - started, status, said

    ready = threading.Barrier(at_once)
    with ThreadPoolExecutor(at_once, initializer=open_connection) as pool:
        warm = [pool.submit(ready_only) for _ in range(at_once)]
        for future in warm:
            future.result()
        started = time.monotonic()
        results = list(pool.map(create, images))
        seconds = time.monotonic() - started
    opened[0].delete_all(PODS_PATH)
    for client in opened:
        client.close()
    wrong = tuple(
        f"{image}: {status} {said}"
        for image, _, status, said in results
        if not _is_right(status, said, admitted=expected[image])
    )
    late = tuple(said for *_, said in results if any(word in said for word in _LATE))
    return Burst(seconds, tuple(sorted(latency for _, latency, *_ in results)), wrong, late)


def _is_right(status: int, said: str, *, admitted: bool) -> bool:
    """Tell whether a Pod was created, or denied for its level and nothing else."""
    if admitted:
        return status == http.HTTPStatus.CREATED
    return status != http.HTTPStatus.CREATED and "SLSA_SOURCE_LEVEL_1" in said


def ready_only() -> None:
    """Do nothing, in a thread whose connection is open."""
