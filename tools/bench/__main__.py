"""``python -m tools.bench [--plugin PATH] [--pairs N] [--long] [ROW ...]``: prints the table of ``docs/performance.md``.

Every figure is a ratio to a real Go program run in turn with ours, or an absolute one where the target is. Nothing is asserted: a
machine that is busy with something else measures that.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

from tools.bench import command_line, doors, rows
from tools.bench.rows import Bench
from tools.bench.scene import scene

ROWS = {**rows.ROWS, **command_line.ROWS, **doors.ROWS}


def main() -> int:
    """Measure the rows that the command line asks for, and print them."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument(
        "rows", nargs="*", metavar="ROW", help=f"rows to measure (default all): {', '.join(ROWS)}"
    )
    parser.add_argument("--plugin", type=Path, help="the one-file plugin (default dist/slsa where it exists)")
    parser.add_argument("--pairs", type=int, default=30, help="pairs of calls a row (default 30)")
    parser.add_argument(
        "--long", action="store_true", help="100,000 calls over 10,000 digests for the memory row"
    )
    options = parser.parse_args()
    unknown = set(options.rows) - set(ROWS)
    if unknown:
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    plugin = options.plugin or Path("dist/slsa")
    load = os.getloadavg()[0]
    print(f"# load before the run: {load:.1f}")
    print(
        f"# {platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}, {options.pairs} pairs"
    )
    print(
        f"# one-file plugin: {plugin if plugin.exists() else 'not built (make dist); the thin client stands in'}"
    )
    print(f"{'row':<26} {'target':<26} result: median (first to third quartile)")
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, scene(Path(folder)) as place:
        thin = _installed(Path(folder) / "plugins")
        bench = Bench(place, thin, plugin.resolve() if plugin.exists() else thin, options.pairs, options.long)
        try:
            for name, (target, measure) in ROWS.items():
                if not options.rows or name in options.rows:
                    print(f"{name:<26} {target:<26} {measure(bench)}", flush=True)
        finally:
            bench.close()
    return 0


def _installed(folder: Path) -> Path:
    """Return the thin client as ``slsa-verifier-plugin install`` puts it into a plugin directory."""
    program = Path(sys.executable).with_name("slsa-verifier-plugin")
    subprocess.run([program, "install", "--plugins-dir", folder], check=True, stdout=subprocess.DEVNULL)
    return folder / "slsla"


if __name__ == "__main__":
    sys.exit(main())
