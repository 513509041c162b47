"""Rows about what a Pod's admission costs on each door: a real API server and Gatekeeper in front of each, in one run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from tools.bench.rows import Bench

OURS, YES = "our provider", "a provider that only answers"
RATIFY, RATIFY_YES = "Ratify with our plugin", "Ratify with a plugin that only answers"


def ours(bench: Bench) -> str:
    """Our provider, beside one that only answers and beside Ratify with our plugin."""
    found = _figures(bench)
    own, yes, ratify = found[OURS], found[YES], found[RATIFY]
    return (
        f"{_shown(own)}: {own['rate'] / yes['rate']:.2f} of the one that only answers; "
        f"CPU {own['cpu'] / ratify['cpu']:.2f} and memory {own['memory'] / ratify['memory']:.2f} of Ratify with our plugin"
    )


def _other(name: str) -> Callable[[Bench], str]:
    def row(bench: Bench) -> str:
        return _shown(_figures(bench)[name])

    return row


def _shown(door: dict[str, Any]) -> str:
    low, high = min(door["rates"]), max(door["rates"])
    late = f", {door['late']} Pods too late" if door["late"] else ""
    return (
        f"{door['rate']:.0f} Pods/s ({low:.0f} to {high:.0f}), p50 {door['p50']:.0f} ms, p99 {door['p99']:.0f} ms, "
        f"CPU {door['cpu']:.1f} ms a Pod, {door['memory']:.0f} MiB{late}"
    )


def _figures(bench: Bench) -> dict[str, dict[str, Any]]:
    """Return what one run of the cluster measured.

    Raises:
        SystemExit: the cluster did not come up, or a decision was wrong.
    """
    return _measured(bench.scene.folder / "doors.json", bench.plugin if bench.plugin != bench.thin else None)


@cache
def _measured(file: Path, plugin: Path | None) -> dict[str, dict[str, Any]]:
    environment = {**os.environ, "SLSA_E2E_DOORS": str(file)}
    if plugin is not None:
        environment["SLSA_E2E_PLUGIN"] = str(plugin)
    command = [sys.executable, "-m", "tests.e2e.cluster", "-k", "what_a_pod_costs"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(
            f"the cluster's run ended with status {done.returncode}:\n{done.stdout}{done.stderr}"
        )
    found: dict[str, dict[str, Any]] = json.loads(file.read_text())
    return found


ROWS: dict[str, tuple[str, Callable[[Bench], str]]] = {
    "Pods: our provider": ("0.95; half of Ratify", ours),
    "Pods: only a yes": ("(what is left)", _other(YES)),
    "Pods: Ratify": ("(for comparison)", _other(RATIFY)),
    "Pods: Ratify, only a yes": ("fewer than our provider", _other(RATIFY_YES)),
}
"""The rows by name: target and measurement. They need root, as ``make e2e-cluster`` does."""
