"""The plugin as people install it, with the C client (the one-file plugin) and with the Python one; both can be upgraded."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from abc import ABC, abstractmethod
from io import BytesIO
from pathlib import Path

from tools.dist import archive

_LOOKS = 3
"""At a process of another's, after which it stays one."""
PROJECT = Path(__file__).resolve().parents[2]


class Installation(ABC):
    """One installation, in a folder of its own.

    Args:
        folder: where; made.
    """

    name = ""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self._others: dict[str, int] = {}

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment of its calls."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "SLSA_VERIFIER_DIR": str(self.folder / "d"),
            "SLSA_VERIFIER_REFRESH_HOURS": "0",
        }

    @abstractmethod
    def command(self) -> list[str]:
        """Return how the plugin is called."""

    @abstractmethod
    def upgrade(self) -> None:
        """Put another build in its place, which calls and verifiers that run must survive."""

    def processes(self) -> list[int]:
        """Return the ids of all processes that belong to it."""
        mark = f"SLSA_VERIFIER_DIR={self.folder / 'd'}\0".encode()
        found = []
        names = {name for name in os.listdir("/proc") if name.isdigit()}  # noqa: PTH208 (often)
        for name in names:
            # The machine's many others are not read again and again; one that was just forked may still become ours.
            looks = self._others.get(name, 0)
            if looks >= _LOOKS:
                continue
            try:
                is_own = mark in Path(f"/proc/{name}/environ").read_bytes()
            except OSError:
                continue
            if is_own:
                found.append(int(name))
            else:
                self._others[name] = looks + 1
        for name in self._others.keys() - names:
            del self._others[name]
        return found

    def residents(self) -> list[int]:
        """Return those that are resident verifiers, without their forks."""
        found = []
        for pid in self.processes():
            try:
                line = Path(f"/proc/{pid}/cmdline").read_bytes()
                parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if b"resident\0serve" in line:
                found.append((pid, parent))
        ids = {pid for pid, _ in found}
        return [pid for pid, parent in found if parent not in ids]


class OneFile(Installation):
    """The one-file plugin; an upgrade renames a file with another payload over it."""

    name = "C"

    def __init__(self, folder: Path, plugin: Path) -> None:
        super().__init__(folder)
        self._builds = [folder / "build-0", folder / "build-1"]
        shutil.copy2(plugin, self._builds[0])
        _repack(plugin, self._builds[1])
        self._program = folder / "slsa"
        self._next = 0
        self.upgrade()

    def command(self) -> list[str]:
        return [str(self._program)]

    def upgrade(self) -> None:
        part = self.folder / "slsa.new"
        part.hardlink_to(self._builds[self._next])
        part.replace(self._program)
        self._next = 1 - self._next


class Package(Installation):
    """The Python package, copied, with its clock under ``shift``; an upgrade writes one of its files anew."""

    name = "Python"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        shutil.copytree(PROJECT / "slsa_verifier_plugin", folder / "p" / "slsa_verifier_plugin")
        # As pip does; modules that the first calls compiled would change the build's identity under them.
        subprocess.run(
            [sys.executable, "-m", "compileall", "-q", folder / "p"], check=True, stdin=subprocess.DEVNULL
        )
        self._clock = folder / "clock"
        self.jump(0)
        self._shim = folder / "shift.so"
        source = Path(__file__).with_name("shift.c")
        subprocess.run(
            ["gcc", "-shared", "-fPIC", "-O2", "-o", self._shim, source, "-ldl"],
            check=True,
            stdin=subprocess.DEVNULL,
        )

    @property
    def environment(self) -> dict[str, str]:
        return {
            **super().environment,
            "PYTHONPATH": str(self.folder / "p"),
            "LD_PRELOAD": str(self._shim),
            "SOAK_CLOCK": str(self._clock),
            "SLSA_VERIFIER_PASS_ENV": "SOAK_CLOCK",
        }

    def command(self) -> list[str]:
        # Not what lies in the directory of the caller, which is this checkout.
        return [sys.executable, "-P", "-m", "slsa_verifier_plugin"]

    def upgrade(self) -> None:
        for name in ("__init__.py", "verification/verify.py"):
            path = self.folder / "p" / "slsa_verifier_plugin" / name
            part = path.with_suffix(".new")
            part.write_bytes(path.read_bytes() + b"#\n")
            part.replace(path)

    def jump(self, seconds: int) -> None:
        """Set its clock that many seconds from the machine's."""
        part = self._clock.with_suffix(".new")
        part.write_text(str(seconds))
        part.replace(self._clock)


def _repack(plugin: Path, target: Path) -> None:
    """Write the same plugin with a payload of another digest: with one more file."""
    content = plugin.read_bytes()
    magic, size, _, _, _ = archive.TRAILER.unpack(content[-archive.TRAILER.size :])
    if magic != archive.MAGIC:
        raise SystemExit(f"{plugin} is no one-file plugin; build it with 'make dist'")
    begin = len(content) - archive.TRAILER.size - size
    done = subprocess.run(
        ["zstd", "-d", "--stdout", "--quiet", "-"],
        input=content[begin : begin + size],
        capture_output=True,
        check=True,
    )
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        root = Path(folder) / "root"
        with tarfile.open(fileobj=BytesIO(done.stdout)) as tar:
            tar.extractall(root, filter="data")
        (root / "another-build").write_text("for the soak\n")
        packed = archive.pack_tree(root)
        launcher = Path(folder) / "launcher"
        launcher.write_bytes(content[:begin])
        archive.write_one_file(launcher, packed, archive.compress(packed, 1), target)
