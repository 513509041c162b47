"""``python -m tools.workflows``: zizmor and actionlint over the workflows and actions; part of ``make lint``.

zizmor finds what an attacker could use, actionlint what GitHub would not run. actionlint is built by Go. On a machine without
Go it is left out, and that is said; where nothing may be skipped (CI is set) that is a failure.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.e2e.peers import PeerError, peer

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 300
ACTIONLINT = ("-shellcheck=", "-pyflakes=", "-no-color")
"""Without the further linters that happen to be installed: the outcome is the same everywhere."""
ZIZMOR = ("--offline", "--no-progress", "--quiet", "--persona=regular", ".github")


def main() -> int:
    """Run both; return the exit status, 1 where one of them found something or is missing in CI."""
    status = _run([str(Path(sys.executable).with_name("zizmor")), *ZIZMOR])
    if shutil.which("go") is None:
        sys.stderr.write("actionlint was left out: Go is not installed, which builds it\n")
        return 1 if os.environ.get("CI") else status
    try:
        return _run([str(peer("actionlint")), *ACTIONLINT]) or status
    except PeerError as error:
        sys.stderr.write(f"actionlint was left out: {error}\n")
        return 1 if os.environ.get("CI") else status


def _run(command: list[str]) -> int:
    name = Path(command[0]).name
    done = subprocess.run(command, cwd=ROOT, timeout=SECONDS, check=False)
    sys.stdout.write(f"{name}: {'clean' if done.returncode == 0 else f'status {done.returncode}'}\n")
    return 1 if done.returncode else 0


if __name__ == "__main__":
    sys.exit(main())
