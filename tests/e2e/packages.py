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
    packages += [package for path, package in LIBRARIES.items() if not Path(path).exists()]
    return packages + _sanitizers()


def _sanitizers() -> list[str]:
    """Return the package of clang's sanitizers where they are missing: clang only recommends it, by its own version."""
    clang = shutil.which("clang")
    # Debian has each version in a folder of its own: /usr/lib/llvm-14/bin/clang.
    folder = Path(clang).resolve().parents[1] if clang else None
    if folder is None or not folder.name.startswith("llvm-"):
        return []
    if any(folder.glob("lib/clang/*/lib/linux/libclang_rt.asan_static*.a")):
        return []
    return [f"libclang-rt-{folder.name.removeprefix('llvm-')}-dev"]


def main() -> int:
    """Install what is missing, or say what is."""
    for _ in range(2):  # what goes with clang is known once clang is there
        packages = missing()
        if not packages:
            return 0
        if status := _install(packages):
            return status
    return 1 if missing() else 0


def _install(packages: list[str]) -> int:
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        print(
            f"the end-to-end tests need these Debian packages or their like: {', '.join(packages)}",
            file=sys.stderr,
        )
        return 1
    for arguments in (["update", "-qq"], ["install", "-qq", "-y", "--no-install-recommends", *packages]):
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", *arguments], env=environment, stdout=subprocess.DEVNULL, check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
