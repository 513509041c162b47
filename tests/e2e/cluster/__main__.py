"""``python -m tests.e2e.cluster [PYTEST-ARGUMENTS]``: build what is missing, then run the checks in a sandbox."""

from __future__ import annotations

import logging
import os
import shutil
import sys
from pathlib import Path

from tests.e2e.cluster import builds, sandbox
from tests.e2e.peers import PeerError

_HERE = Path(__file__).resolve().parent


def main(arguments: list[str]) -> int:
    """Build, enter the namespaces and hand over to pytest there; returns only where that fails."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
    try:
        optional = ["kyverno"] if "SLSA_E2E_KYVERNO" in os.environ else []
        if shutil.which("kubectl") is None:
            optional.append("kubectl")
        os.environ[builds.PLUGIN] = str(builds.everything(*optional))
        if "kubectl" in optional:
            os.environ["PATH"] += f"{os.pathsep}{builds.program('kubectl').parent}"
        builds.charts()
        builds.definitions()
        os.chdir(_HERE.parents[2])
        sandbox.enter(["-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider", str(_HERE), *arguments])
    except PeerError as error:
        sys.stderr.write(f"{error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
