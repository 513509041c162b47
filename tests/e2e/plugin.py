"""The installed plugin: where it is, and the processes it leaves behind while it is in use."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

INSTALLED = Path(sys.executable).parent
"""The folder of the console scripts of the environment that pytest runs in."""
COMMAND = INSTALLED / "slsa-verifier-plugin"
_SECONDS = 30


def install(plugins: Path, environment: Mapping[str, str]) -> None:
    """Put the plugin into ``plugins`` the way a person does."""
    done = subprocess.run(
        [COMMAND, "install", "--plugins-dir", plugins],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"install ended with status {done.returncode}: {done.stdout}{done.stderr}")


def processes_of(setting: str) -> list[int]:
    """Return the ids of the processes whose environment has ``setting`` (``NAME=VALUE``)."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                variables = (entry / "environ").read_bytes().split(b"\0")
            except OSError:  # it ended meanwhile, or is another user's
                continue
            if setting.encode() in variables:
                found.append(int(entry.name))
    return found


def stop_resident(environment: Mapping[str, str]) -> list[int]:
    """Stop the resident verifier of ``environment``; returns the processes that had to be killed."""
    setting = f"SLSA_VERIFIER_DIR={environment['SLSA_VERIFIER_DIR']}"
    if not processes_of(setting):
        return []
    subprocess.run(
        [COMMAND, "resident", "stop"],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_SECONDS,
        check=False,
    )
    end = time.monotonic() + _SECONDS
    while (left := processes_of(setting)) and time.monotonic() < end:
        time.sleep(0.1)
    for process in left:
        os.kill(process, signal.SIGKILL)
    return left
