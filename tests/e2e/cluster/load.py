"""Many Pods at once: how fast they are decided, and whether each was decided right."""

from __future__ import annotations

import http
import random
import statistics
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tests.e2e.cluster.kube import Client
from tests.e2e.cluster.lab import Lab

_PODS = "/api/v1/namespaces/default/pods"
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
            f"{_PODS}?dryRun=All", {}
        )  # refused before admission, over a connection that stays
        ready.wait()

    def create(image: str) -> tuple[str, float, int, str]:
        started = time.monotonic()
        status, said = clients.own.create(_PODS, lab.pod(image, lab.unique("burst")))
        return image, time.monotonic() - started, status, said

    ready = threading.Barrier(at_once)
    with ThreadPoolExecutor(at_once, initializer=open_connection) as pool:
        warm = [pool.submit(ready_only) for _ in range(at_once)]
        for future in warm:
            future.result()
        started = time.monotonic()
        results = list(pool.map(create, images))
        seconds = time.monotonic() - started
    opened[0].delete_all(_PODS)
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
