"""The installed plugin: where it is, and the processes it leaves behind while it is in use."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

COMMAND = Path(
    os.environ.get("SLSA_VERIFIER_PLUGIN") or Path(sys.executable).parent / "slsa-verifier-plugin"
).absolute()
"""What is tested: the console script beside the Python that runs pytest, or another, such as dist/slsa."""
_SECONDS = 60


def run(
    *arguments: str | Path, environment: Mapping[str, str], stdin: bytes = b"", wrapper: Sequence[str] = ()
) -> subprocess.CompletedProcess[bytes]:
    """Run the command line as a person would, at most a minute, with ``wrapper`` before it."""
    return subprocess.run(
        [*wrapper, COMMAND, *arguments],
        env=environment,
        input=stdin,
        capture_output=True,
        timeout=_SECONDS,
        check=False,
    )


def install(plugins: Path, environment: Mapping[str, str]) -> None:
    """Put the plugin into ``plugins`` the way a person does."""
    done = run("install", "--plugins-dir", plugins, environment=environment)
    if done.returncode != 0:
        raise RuntimeError(f"install ended with status {done.returncode}: {done.stdout!r} {done.stderr!r}")


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
    run("resident", "stop", environment=environment)
    end = time.monotonic() + _SECONDS
    while (left := processes_of(setting)) and time.monotonic() < end:
        time.sleep(0.1)
    for process in left:
        os.kill(process, signal.SIGKILL)
    return left
