"""What a Pod costs on each door, in one run: for ``make bench``, which names a file for the figures (SLSA_E2E_DOORS)."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.e2e.cluster import charts
from tests.e2e.cluster.builds import program
from tests.e2e.cluster.conftest import Say
from tests.e2e.cluster.kube import Object
from tests.e2e.cluster.kubelet import cpu_seconds, memory
from tests.e2e.cluster.lab import Lab
from tests.e2e.cluster.load import PODS, Burst, burst, push_images, put_plugin
from tests.e2e.cluster.provider import ADDRESSES, NAME
from tests.e2e.cluster.ratify import Setting

ROUNDS = int(os.environ.get("SLSA_E2E_ROUNDS", "5"))
_YES = "yesprovider"
_YES_PORT = 444


@dataclass
class _Measured:
    """What was measured of one door, burst by burst.

    Attributes:
        usage: the CPU seconds so far and the memory of all that runs behind it.
        open: has Gatekeeper ask it.
        verifies: whether it knows a bad image from a good one.
    """

    usage: Callable[[], tuple[float, int]]
    open: Callable[[], None]
    verifies: bool
    bursts: list[Burst] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    bytes: int = 0

    def measure(self, lab: Lab, images: dict[str, bool], warm: dict[str, bool]) -> None:
        """Create the Pods of one burst, after a small one that opens Gatekeeper's connections."""
        self.open()
        expected = images if self.verifies else dict.fromkeys(images, True)
        first = burst(lab, warm if self.verifies else dict.fromkeys(warm, True), len(warm) * 4, PODS // 4)
        _check(first)
        before, _ = self.usage()
        result = burst(lab, expected, PODS, PODS)
        _check(result)
        after, now = self.usage()
        self.bursts.append(result)
        self.cpu.append((after - before) / PODS)
        self.bytes = max(self.bytes, now)

    def figures(self) -> dict[str, object]:
        """Return Pods a second (each burst's and their median), latencies in ms, CPU ms a Pod, MiB and late denials."""
        rates = [one.rate for one in self.bursts]
        latencies = sorted(latency for one in self.bursts for latency in one.latencies)
        cuts = statistics.quantiles(latencies, n=100, method="inclusive")
        return {
            "rate": statistics.median(rates),
            "rates": rates,
            "p50": cuts[49] * 1000,
            "p99": cuts[98] * 1000,
            "cpu": statistics.mean(self.cpu) * 1000,
            "memory": self.bytes / 2**20,
            "late": sum(len(one.late) for one in self.bursts),
        }


def _check(result: Burst) -> None:
    """Assert that no decision was wrong; those that came too late on a busy machine are counted and shown."""
    wrong = [one for one in result.wrong if not any(late in one for late in result.late)]
    assert not wrong, wrong[:3]


@pytest.fixture
def doors(bare_lab: Lab, setting: Setting, level_3: bytes, plugin: Path) -> Iterator[dict[str, _Measured]]:
    """All that can be asked, running side by side, each as deploy/ has it."""
    lab = bare_lab
    lab.prepare(lab.provider, level_3)
    lab.prepare(lab.ratify, level_3, setting)
    lab.provider.resume()
    tls = lab.provider.folder / "volumes-0"
    files = [tls / "tls" / "tls.crt", tls / "tls" / "tls.key", tls / "client-ca" / "ca.crt"]
    lab.processes.start(_YES, [program(_YES), f"{ADDRESSES[0]}:{_YES_PORT}", *files])
    own = Path("/proc") / str(lab.processes.process_id(_YES))

    def point(folder: str, port: int | None = None) -> Callable[[], None]:
        def change(thing: Object) -> None:
            if thing["kind"] == "Provider" and port is not None:
                host = f"{NAME}.{charts.NAMESPACE}"
                thing["spec"]["url"] = thing["spec"]["url"].replace(host, f"{host}:{port}")

        def open_it() -> None:
            lab.apply(folder, change=change)

        return open_it

    def through_ratify(executable: Path) -> Callable[[], None]:
        def open_it() -> None:
            put_plugin(lab, executable)
            point("gatekeeper/provider")()

        return open_it

    provider = "provider/gatekeeper"
    yield {
        "our provider": _Measured(lab.provider.usage, point(provider), True),
        "a provider that only answers": _Measured(
            lambda: (cpu_seconds(own), memory(own)), point(provider, _YES_PORT), False
        ),
        "Ratify with our plugin": _Measured(lab.ratify.usage, through_ratify(plugin), True),
        "Ratify with a plugin that only answers": _Measured(
            lab.ratify.usage, through_ratify(program("staticplugin")), False
        ),
    }
    put_plugin(lab, plugin)
    lab.processes.stop(_YES)
    lab.apply("gatekeeper/provider")


def test_what_a_pod_costs(
    bare_lab: Lab, doors: dict[str, _Measured], level_1: bytes, level_3: bytes, say: Say
) -> None:
    """100 Pods of 20 unseen images at once, through each door in turn"""
    # Apart: Ratify keeps the yes of a plugin that only answers for 10 s, whatever plugin is there then.
    warm = {verifies: push_images(bare_lab, level_1, level_3, 4) for verifies in (True, False)}
    for number in range(ROUNDS):
        # each goes first and last as often: what comes later finds the machine warmer
        order = list(doors.values())
        for door in order if number % 2 else reversed(order):
            door.measure(bare_lab, push_images(bare_lab, level_1, level_3), warm[door.verifies])
    figures = {name: door.figures() for name, door in doors.items()}
    Path(os.environ["SLSA_E2E_DOORS"]).write_text(json.dumps(figures))
    say(", ".join(f"{name} {one['rate']:.0f} Pods/s" for name, one in figures.items()))
