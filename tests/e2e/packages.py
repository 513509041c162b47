"""``python -m tests.e2e.packages``: installs what the end-to-end tests need of the system, where it is missing and may be."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

NEEDED = {
    "gcc": "gcc",
    "make": "make",
    "clang": "clang",
    "readelf": "binutils",
    "zstd": "zstd",
    "openssl": "openssl",
    "curl": "curl",
    "chromium": "chromium",
}
"""Programs, and the Debian packages that have them."""
LIBRARIES = {"/usr/include/zstd.h": "libzstd-dev", "/usr/include/stdio.h": "libc6-dev"}
"""Files of libraries, and the Debian packages that have them."""


def missing() -> list[str]:
    """Return the Debian packages that are needed and not there."""
    packages = [package for program, package in NEEDED.items() if shutil.which(program) is None]
    return packages + [package for path, package in LIBRARIES.items() if not Path(path).exists()]


def main() -> int:
    """Install what is missing, or say what is."""
    packages = missing()
    if not packages:
        return 0
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        print(
            f"the end-to-end tests need these Debian packages or their like: {', '.join(packages)}",
            file=sys.stderr,
        )
        return 1
    for arguments in (["update", "-qq"], ["install", "-qq", "-y", "--no-install-recommends", *packages]):
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", *arguments], env=environment, stdout=subprocess.DEVNULL, check=True)
    return 1 if missing() else 0


if __name__ == "__main__":
    sys.exit(main())
